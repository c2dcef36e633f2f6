//! Names that are made of segments: `{audience}-{channel}-{objective}-{variant}`.

use super::spelling::{fold, squeezed};

/// Segments of one name.
const SEGMENTS_MAX: usize = 12;

/// What the names of a field are made of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// What stands between two segments.
    pub(super) delimiter: char,
    pub(super) segments: Vec<Segment>,
}

/// One part of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// What it says: `audience`.
    pub name: String,
    /// What it may be; anything if there is nothing.
    pub values: Vec<String>,
}

/// Why a name does not fit its pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Misfit {
    /// What is wrong, and with which segment.
    pub(super) message: String,
    /// What is wrong there; nothing where a segment is missing.
    pub(super) value: Option<String>,
    /// What the segment may be.
    pub(super) accepted: Vec<String>,
}

impl Pattern {
    /// Reads `{a}-{b}-{c}`. `delimiter` is what has to stand between, if that is ruled.
    pub(super) fn read(text: &str, delimiter: Option<char>) -> Result<Self, String> {
        const FORM: &str = "names in braces with one character between them, such as {audience}-{channel}-{variant}";
        let mut segments: Vec<Segment> = Vec::new();
        let (mut rest, mut between) = (text, delimiter);
        loop {
            let inside = rest.strip_prefix('{').and_then(|rest| rest.split_once('}'));
            let (name, after) = inside.ok_or_else(|| format!("must be {FORM}"))?;
            let plain = name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
            if name.is_empty() || !plain || name.len() > 40 {
                return Err("has a segment whose name is not made of a to z, 0 to 9 and _".to_owned());
            }
            if segments.iter().any(|segment| segment.name == name) {
                return Err("has one segment twice".to_owned());
            }
            segments.push(Segment { name: name.to_owned(), values: Vec::new() });
            let Some(found) = after.chars().next() else { break };
            if found == '{' || found.is_alphanumeric() || found.is_whitespace() {
                return Err(format!("must be {FORM}"));
            }
            if between.is_some_and(|between| between != found) {
                let why = if delimiter.is_some() { ", as utm.delimiter says" } else { ", the same everywhere" };
                return Err(format!("must have {} between its segments{why}", between.unwrap_or(found)));
            }
            between = Some(found);
            rest = &after[found.len_utf8()..];
        }
        if segments.len() < 2 || segments.len() > SEGMENTS_MAX {
            return Err(format!("must have 2 to {SEGMENTS_MAX} segments"));
        }
        Ok(Self { delimiter: between.unwrap_or('-'), segments })
    }

    /// The parts of a name, in their order.
    #[must_use]
    pub fn segments(&self) -> &[Segment] {
        &self.segments
    }

    /// As it is written.
    #[must_use]
    pub fn written(&self) -> String {
        let names: Vec<String> = self.segments.iter().map(|segment| format!("{{{}}}", segment.name)).collect();
        names.join(&self.delimiter.to_string())
    }

    /// What is wrong with `value`.
    pub(super) fn misfits(&self, value: &str) -> Vec<Misfit> {
        let parts: Vec<&str> = value.split(self.delimiter).collect();
        if parts.len() == self.segments.len() {
            return self.segments.iter().zip(parts).filter_map(|(segment, part)| segment.misfit(part)).collect();
        }
        let first = self
            .segments
            .iter()
            .enumerate()
            .find(|(i, segment)| parts.get(*i).is_none_or(|part| segment.misfit(part).is_some()));
        let (have, want) = (parts.len(), self.segments.len());
        let (place, accepted) = match first {
            Some((i, segment)) if i >= have || self.is_next(i, parts[i]) => {
                (format!("segment {}, {}, is missing", i + 1, segment.name), segment.values.clone())
            }
            Some((i, segment)) => {
                (format!("segment {}, {}, is the first that does not fit", i + 1, segment.name), segment.values.clone())
            }
            None => (format!("there is something behind the last, {}", self.segments[want - 1].name), Vec::new()),
        };
        let message = format!("has {have} segment{} and must have {want}, {}: {place}", plural(have), self.written());
        vec![Misfit { message, value: None, accepted }]
    }

    /// Whether `part` is what comes behind segment `i`, which is therefore missing.
    fn is_next(&self, i: usize, part: &str) -> bool {
        let next = self.segments.get(i + 1);
        next.is_some_and(|next| !next.values.is_empty() && next.misfit(part).is_none())
    }

    /// The name of these segments, each asked for by its name.
    pub(super) fn compose(&self, of: impl Fn(&str) -> Option<String>) -> Result<String, Vec<(String, Misfit)>> {
        let (mut parts, mut misfits) = (Vec::new(), Vec::new());
        for segment in &self.segments {
            let given = of(&segment.name).unwrap_or_default();
            let folded = fold(&given);
            let listed = segment.values.iter().find(|value| fold(value) == folded);
            let part = listed.cloned().unwrap_or(given);
            match segment.misfit(&part) {
                Some(misfit) => misfits.push((segment.name.clone(), misfit)),
                None if part.contains(self.delimiter) => misfits.push((
                    segment.name.clone(),
                    Misfit {
                        message: format!(
                            "has {} in the segment {}, which stands between segments",
                            self.delimiter, segment.name
                        ),
                        accepted: vec![squeezed(&part)],
                        value: Some(part),
                    },
                )),
                None => parts.push(part),
            }
        }
        if misfits.is_empty() { Ok(parts.join(&self.delimiter.to_string())) } else { Err(misfits) }
    }
}

impl Segment {
    fn misfit(&self, part: &str) -> Option<Misfit> {
        let message = if part.is_empty() {
            format!("has nothing in the segment {}", self.name)
        } else if !self.values.is_empty() && !self.values.iter().any(|value| value == part) {
            format!("has in the segment {} none of its values", self.name)
        } else {
            return None;
        };
        let value = Some(part.to_owned()).filter(|part| !part.is_empty());
        Some(Misfit { message, value, accepted: self.values.clone() })
    }
}

fn plural(count: usize) -> &'static str {
    if count == 1 { "" } else { "s" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern() -> Pattern {
        let mut pattern = Pattern::read("{audience}-{channel}-{objective}-{variant}", None).expect("a pattern");
        pattern.segments[0].values = vec!["new".to_owned(), "loyal".to_owned()];
        pattern.segments[1].values = vec!["ig".to_owned(), "mail".to_owned()];
        pattern
    }

    fn told(value: &str) -> Vec<String> {
        pattern().misfits(value).into_iter().map(|misfit| misfit.message).collect()
    }

    #[test]
    fn it_says_which_segment_is_wrong() {
        assert_eq!(told("new-ig-sales-a"), [""; 0]);
        assert_eq!(told("old-ig-sales-a"), ["has in the segment audience none of its values"]);
        assert_eq!(told("old-fax-sales-a").len(), 2);
        assert_eq!(told("new-ig--a"), ["has nothing in the segment objective"]);
        assert_eq!(pattern().misfits("new-fax-sales-a")[0].accepted, ["ig", "mail"]);
        let written = "{audience}-{channel}-{objective}-{variant}";
        for (value, have, place) in [
            ("ig-sales-a", "3 segments", "segment 1, audience, is missing"),
            ("new-ig-sales", "3 segments", "segment 4, variant, is missing"),
            ("new-sales-a", "3 segments", "segment 2, channel, is the first that does not fit"),
            ("new-ig-sales-a-b", "5 segments", "there is something behind the last, variant"),
            ("new", "1 segment", "segment 2, channel, is missing"),
        ] {
            assert_eq!(told(value), [format!("has {have} and must have 4, {written}: {place}")], "{value}");
        }
    }

    #[test]
    fn names_are_composed() {
        let compose = |variant: &str| {
            pattern().compose(|name| {
                let value = match name {
                    "audience" => "New",
                    "channel" => "mail",
                    "objective" => "sales",
                    _ => variant,
                };
                Some(value.to_owned())
            })
        };
        assert_eq!(compose("a").expect("fits"), "new-mail-sales-a");
        let misfits = compose("hook-a").expect_err("has a delimiter");
        assert_eq!((misfits[0].0.as_str(), misfits[0].1.accepted.as_slice()), ("variant", &["hooka".to_owned()][..]));
        assert_eq!(compose("").expect_err("is empty")[0].1.message, "has nothing in the segment variant");
    }

    #[test]
    fn a_pattern_is_names_with_one_character_between() {
        for good in ["{a}-{b}", "{a}_{b_2}_{c}", "{a}|{b}"] {
            assert_eq!(Pattern::read(good, None).expect(good).written(), good);
        }
        for bad in [
            "",
            "a-b",
            "{a}",
            "{a}{b}",
            "{a}-{a}",
            "{a}-{b}_{c}",
            "{a}-{b}-",
            "{A}-{b}",
            "{a} {b}",
            "{}-{b}",
            "x{a}-{b}",
        ] {
            assert!(Pattern::read(bad, None).is_err(), "{bad}");
        }
        assert!(Pattern::read("{a}-{b}", Some('_')).expect_err("other delimiter").contains("utm.delimiter"));
    }
}
