//! Click ids and UTM values in a page's address.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

use crate::model::{ClickId, ClickKind, Time, Utm};

/// Click ids longer than this are none.
const CLICK_BYTES_MAX: usize = 1024;
/// UTM values are cut at this.
const UTM_BYTES_MAX: usize = 512;

/// What an address tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Landing {
    /// Click ids, byte for byte.
    pub clicks: Vec<ClickId>,
    /// UTM values, decoded.
    pub utm: Utm,
    /// The visitor id that a tracked link, or a page of another own site, handed over: `cr_vid`.
    pub visitor_id: Option<String>,
}

/// The query parameter that hands a visitor over.
const VISITOR: &str = "cr_vid";
/// Query parameters that are ours: they tell nothing of the page.
const OURS: [&str; 2] = [VISITOR, "cr_qa"];

/// `url` without the parameters that are ours; everything else stays as it is.
#[must_use]
pub fn without_ours(url: &str) -> Cow<'_, str> {
    let ours = |pair: &str| OURS.contains(&pair.split('=').next().unwrap_or_default());
    let (address, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let Some((path, query)) = address.split_once('?').filter(|(_, query)| query.split('&').any(ours)) else {
        return url.into();
    };
    let rest: Vec<&str> = query.split('&').filter(|pair| !ours(pair)).collect();
    let mark = if rest.is_empty() { "" } else { "?" };
    format!("{path}{mark}{}{fragment}", rest.join("&")).into()
}

/// Reads the query of `url`. Click ids are taken as they are: decoded once, case kept; one with a control character or a
/// space is none.
#[must_use]
pub fn read_landing(url: &str, at: Time) -> Landing {
    let mut landing = Landing::default();
    let Some((_, query)) = url.split('#').next().unwrap_or(url).split_once('?') else { return landing };
    for pair in query.split('&') {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        if value.is_empty() {
            continue;
        }
        if let Some(&(kind, _)) = ClickKind::ALL.iter().find(|(_, parameter)| parameter.eq_ignore_ascii_case(name)) {
            let known = landing.clicks.iter().any(|click| click.kind == kind);
            let Ok(value) = percent_decode_str(value).decode_utf8() else { continue };
            let sound = value.len() <= CLICK_BYTES_MAX && !value.chars().any(|c| c.is_control() || c.is_whitespace());
            if sound && !known {
                landing.clicks.push(ClickId { kind, value: value.into_owned(), first_seen: Some(at), last_seen: at });
            }
            continue;
        }
        if name == VISITOR && landing.visitor_id.is_none() {
            let id = percent_decode_str(value).decode_utf8().ok().filter(|id| id.len() <= 256);
            landing.visitor_id = id.map(Cow::into_owned);
            continue;
        }
        let utm = &mut landing.utm;
        let field = match name {
            "utm_source" => &mut utm.source,
            "utm_medium" => &mut utm.medium,
            "utm_campaign" => &mut utm.campaign,
            "utm_content" => &mut utm.content,
            "utm_term" => &mut utm.term,
            _ => continue,
        };
        if field.is_none() {
            *field = Some(form_decoded(value)).filter(|value| !value.is_empty());
        }
    }
    landing
}

fn form_decoded(value: &str) -> String {
    let spaced: Cow<'_, str> = if value.contains('+') { value.replace('+', " ").into() } else { value.into() };
    let decoded = percent_decode_str(&spaced).decode_utf8_lossy();
    let mut end = decoded.len().min(UTM_BYTES_MAX);
    while !decoded.is_char_boundary(end) {
        end -= 1;
    }
    decoded[..end].chars().filter(|c| !c.is_control()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn click_ids_keep_their_case_and_utm_values_are_decoded() {
        let at = Time::from_secs(1);
        let url = "https://shop.example/?gclid=EAIaIQ-_aB&utm_source=Goo%67le&utm_campaign=black+friday%20%26%20more\
                   &FBCLID=IwAR0%2Da&wbraid=&ScCid=x&gclid=second#gclid=not-this";
        let landing = read_landing(url, at);
        let found: Vec<_> = landing.clicks.iter().map(|click| (click.kind, click.value.as_str())).collect();
        assert_eq!(found, [(ClickKind::Gclid, "EAIaIQ-_aB"), (ClickKind::Fbclid, "IwAR0-a"), (ClickKind::Sccid, "x")]);
        assert_eq!(landing.utm.source.as_deref(), Some("Google"));
        assert_eq!(landing.utm.campaign.as_deref(), Some("black friday & more"));
        assert_eq!(landing.utm.medium, None);
    }

    #[test]
    fn what_is_no_id_is_left_out() {
        for url in [
            "",
            "https://a.example/",
            "https://a.example/?gclid",
            "https://a.example/?gclid=a%20b",
            "https://a.example/?gclid=%00",
        ] {
            assert_eq!(read_landing(url, Time::default()), Landing::default(), "{url}");
        }
        let long = format!("https://a.example/?gclid={}", "x".repeat(2000));
        assert!(read_landing(&long, Time::default()).clicks.is_empty());
    }

    #[test]
    fn what_is_handed_over_is_read_and_taken_out() {
        let url = "https://a.example/x?a=1&cr_vid=01JD&gclid=A%2db&cr_qa=t#top?cr_vid=no";
        assert_eq!(read_landing(url, Time::default()).visitor_id.as_deref(), Some("01JD"));
        assert_eq!(without_ours(url), "https://a.example/x?a=1&gclid=A%2db#top?cr_vid=no");
        assert_eq!(without_ours("https://a.example/?cr_vid=1"), "https://a.example/");
        assert_eq!(without_ours("https://a.example/?&x&cr_videos=1"), "https://a.example/?&x&cr_videos=1");
    }
}
