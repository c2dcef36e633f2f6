//! Which of several destinations a visitor gets.

use sha2::{Digest as _, Sha256};

use crate::model::{LinkKey, Split};

/// The place in `splits` that `visitor` gets on this link; `None` if there is none to choose.
///
/// The same visitor gets the same destination as long as it is there, without anything being remembered: each destination draws
/// a number from visitor and address, and the best one for its weight wins (weighted rendezvous hashing). When one is added,
/// taken away or weighted anew, only the visitors that have to move do.
#[must_use]
pub fn pick(splits: &[Split], link: &LinkKey, visitor: &[u8]) -> Option<usize> {
    let score = |split: &Split| -draw(link, visitor, &split.destination).ln() / f64::from(split.weight.max(1));
    let scored = splits.iter().map(score).enumerate();
    scored.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(place, _)| place)
}

/// Evenly spread over what is above 0 and up to 1.
fn draw(link: &LinkKey, visitor: &[u8], destination: &str) -> f64 {
    let mut hash = Sha256::new();
    for part in [link.host.as_deref().unwrap_or("").as_bytes(), link.slug.as_bytes(), visitor, destination.as_bytes()] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let digest = hash.finalize();
    let bits = digest[..8].iter().fold(0u64, |bits, byte| bits << 8 | u64::from(*byte));
    // A double holds 53 bits exactly.
    ((bits >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn splits(of: &[(&str, u32)]) -> Vec<Split> {
        of.iter().map(|(to, weight)| Split { destination: format!("https://{to}.example/"), weight: *weight }).collect()
    }

    fn picked(splits: &[Split], link: &str, visitors: u32) -> Vec<usize> {
        let link = LinkKey::of(link);
        (0..visitors).filter_map(|visitor| pick(splits, &link, &visitor.to_le_bytes())).collect()
    }

    #[test]
    fn shares_are_as_weighted_and_the_choice_stays() {
        let three = splits(&[("a", 1), ("b", 2), ("c", 7)]);
        let all = picked(&three, "mugs", 20_000);
        for (place, share) in [(0, 0.1), (1, 0.2), (2, 0.7)] {
            let got = all.iter().filter(|picked| **picked == place).count() as f64 / 20_000.0;
            // Five standard deviations.
            assert!((got - share).abs() < 5.0 * (share * (1.0 - share) / 20_000.0_f64).sqrt(), "{place}: {got}");
        }
        assert_eq!(all, picked(&three, "mugs", 20_000));
        assert_ne!(all, picked(&three, "cups", 20_000), "who gets what on one link says nothing about another");
    }

    #[test]
    fn a_new_destination_takes_visitors_and_moves_no_others() {
        let before = picked(&splits(&[("a", 1), ("b", 1)]), "mugs", 2_000);
        let after = picked(&splits(&[("a", 1), ("b", 1), ("c", 1)]), "mugs", 2_000);
        assert!(before.iter().zip(&after).all(|(before, after)| before == after || *after == 2));
        let moved = after.iter().filter(|place| **place == 2).count();
        assert!((500..840).contains(&moved), "{moved}");
    }

    #[test]
    fn nothing_is_chosen_from_nothing() {
        assert_eq!(pick(&[], &LinkKey::of("a"), b"v"), None);
        assert_eq!(pick(&splits(&[("a", 0)]), &LinkKey::of("a"), b"v"), Some(0));
    }
}
