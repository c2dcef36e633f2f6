//! Which known value somebody may have meant.

use super::spelling::squeezed;

/// Longer texts are compared by their beginning.
const CHARS_MAX: usize = 64;
/// A shorter text is not taken for the beginning of a value, nor for a value with something behind it.
const PART_CHARS_MIN: usize = 4;

/// The candidate that `text` is most like, if any is like it: the same but for case and delimiters, else with few letters
/// wrong, else the one that it begins or is the beginning of. The first of equals.
pub(super) fn nearest<'a>(text: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted: Vec<char> = squeezed(text).chars().take(CHARS_MAX).collect();
    if wanted.is_empty() {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let chars: Vec<char> = squeezed(candidate).chars().take(CHARS_MAX).collect();
        let Some(away) = away(&wanted, &chars) else { continue };
        if best.is_none_or(|(least, _)| away < least) {
            best = Some((away, candidate));
        }
        if away == 0 {
            break;
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// How far apart two texts are; `None` if they have nothing to do with each other.
fn away(wanted: &[char], candidate: &[char]) -> Option<usize> {
    if wanted == candidate {
        return Some(0);
    }
    let shorter = wanted.len().min(candidate.len());
    let allowed = match shorter {
        0..=2 => 0,
        3..=4 => 1,
        5..=8 => 2,
        _ => 3,
    };
    let longer = wanted.len().max(candidate.len());
    if longer - shorter <= allowed {
        let edits = edits(wanted, candidate);
        if edits <= allowed {
            return Some(edits);
        }
    }
    let part = shorter >= PART_CHARS_MIN && wanted[..shorter] == candidate[..shorter];
    // Behind every value with some letters wrong; the less is left over, the nearer.
    part.then_some(CHARS_MAX + longer - shorter)
}

/// How many letters have to be added, taken away, replaced, or swapped with the next one, to make one text of the other.
fn edits(a: &[char], b: &[char]) -> usize {
    let mut before = vec![0; b.len() + 1];
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let replaced = above[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = replaced.min(above[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before[j - 2] + 1);
            }
        }
        before = std::mem::replace(&mut above, row);
    }
    above[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_meant_is_found() {
        let known = ["facebook", "instagram", "linkedin", "email", "cpc", "paid-social", "tiktok", "newsletter-weekly"];
        for (text, meant) in [
            ("Insta Gram", Some("instagram")),
            ("instagarm", Some("instagram")),
            ("LinkedIn", Some("linkedin")),
            ("linkdin", Some("linkedin")),
            ("facbook", Some("facebook")),
            ("emial", Some("email")),
            ("paid_socail", Some("paid-social")),
            ("PaidSocial", Some("paid-social")),
            ("insta", Some("instagram")),
            ("facebook-ads", Some("facebook")),
            ("newsletter", Some("newsletter-weekly")),
            ("cpm", Some("cpc")),
            ("x", None),
            ("cp", None),
            ("zeitung", None),
            ("", None),
            (" - ", None),
        ] {
            assert_eq!(nearest(text, known.into_iter()), meant, "{text}");
        }
    }

    #[test]
    fn edits_are_counted() {
        let edits = |a: &str, b: &str| edits(&a.chars().collect::<Vec<_>>(), &b.chars().collect::<Vec<_>>());
        for (a, b, count) in
            [("", "abc", 3), ("abc", "acb", 1), ("kitten", "sitting", 3), ("über", "uber", 1), ("a", "a", 0)]
        {
            assert_eq!((edits(a, b), edits(b, a)), (count, count), "{a} {b}");
        }
    }
}
