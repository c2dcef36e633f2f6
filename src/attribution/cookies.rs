//! The first-party cookies of the platforms' own tags. Their forms are undocumented; what does not match exactly is left
//! out. Forms as seen live in 2025 and 2026.

use percent_encoding::percent_decode_str;

use crate::model::{ClickId, ClickKind, Cookies, Time};

/// What cookies tell.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ReadCookies {
    /// Click ids; those whose cookie tells when they were clicked have that time.
    pub clicks: Vec<ClickId>,
    /// What Meta's and Google's destinations need.
    pub cookies: Cookies,
    /// Ids of the browser at other platforms, by the cookie's name.
    pub browser_ids: Vec<(String, String)>,
}

/// Cookies that hold an id of the browser and nothing of a click: `TikTok`'s, Microsoft's, Snapchat's, Reddit's, Google's.
const BROWSER_IDS: [&str; 7] = ["_ttp", "_uetvid", "_uetsid", "_scid", "_rdt_uuid", "_gcl_au", "FPAU"];
/// The longest of them.
const BROWSER_ID_BYTES_MAX: usize = 256;

/// Reads cookies by name: click ids with the time of their click, browser and session ids.
#[must_use]
pub fn read_cookies<'a>(cookies: impl IntoIterator<Item = (&'a str, &'a str)>, now: Time) -> ReadCookies {
    let mut found = ReadCookies::default();
    for (name, value) in cookies {
        let Ok(value) = percent_decode_str(value).decode_utf8() else { continue };
        if value.len() > 1024 {
            continue;
        }
        let cookies = &mut found.cookies;
        match name {
            "_fbc" if valid_fbc(&value) => {
                found.clicks.extend(fbclid_of(&value, now));
                cookies.fbc = Some(value.into_owned());
            }
            "_fbp" if valid_fbp(&value) => cookies.fbp = Some(value.into_owned()),
            "_ga" => cookies.ga_client_id = client_id(&value).or(cookies.ga_client_id.take()),
            _ if name.starts_with("_ga_") => {
                cookies.ga_session_id = session_id(&value).or(cookies.ga_session_id.take());
            }
            _ if BROWSER_IDS.contains(&name) => {
                if is_browser_id(name, &value) {
                    found.browser_ids.push((name.to_owned(), value.into_owned()));
                }
            }
            _ => {
                if let Some(kind) = google_click(name) {
                    found.clicks.extend(clicked(kind, &value, now));
                } else if let Some((kind, id)) = others_click(name, &value) {
                    // These cookies hold no time: the click was before now, nobody knows how long.
                    found.clicks.push(ClickId { kind, value: id, first_seen: Some(now), last_seen: now });
                }
            }
        }
    }
    found
}

/// Cookies of other platforms that hold a click id. Names and layouts as general knowledge has them; a value that is no
/// plain id is left out.
fn others_click(name: &str, value: &str) -> Option<(ClickKind, String)> {
    let (kind, id) = match name {
        "ttclid" => (ClickKind::Ttclid, value),
        // Some set-ups put that in front.
        "_uetmsclkid" => (ClickKind::Msclkid, value.strip_prefix("_uet").unwrap_or(value)),
        "li_fat_id" => (ClickKind::LiFatId, value),
        "_epik" => (ClickKind::Epik, value),
        "_rdt_cid" => (ClickKind::RdtCid, value),
        "_twclid" => {
            let json: serde_json::Value = serde_json::from_str(value).ok()?;
            let id = json["twclid"].as_str().filter(|id| is_plain_id(id))?;
            return Some((ClickKind::Twclid, id.to_owned()));
        }
        _ => return None,
    };
    is_plain_id(id).then(|| (kind, id.to_owned()))
}

fn is_plain_id(id: &str) -> bool {
    (4..=BROWSER_ID_BYTES_MAX * 2).contains(&id.len())
        && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~=".contains(&b))
}

fn is_browser_id(name: &str, value: &str) -> bool {
    let parts: Vec<&str> = value.split('.').collect();
    let form = match name {
        // `1.1.<random>.<unix s>[…]`
        "_gcl_au" | "FPAU" => parts.len() >= 4 && parts[..4].iter().all(|part| digits(part)),
        // `<time>.<uuid>`
        "_rdt_uuid" => parts.len() == 2 && digits(parts[0]) && parts[1].len() == 36,
        _ => true,
    };
    form && value.len() <= BROWSER_ID_BYTES_MAX && is_plain_id(value)
}

/// Whether `value` is a `_fbc` cookie: `fb.{n}.{ms}.{fbclid}`, with or without the appendix of Meta's own libraries.
/// Source: <https://developers.facebook.com/docs/marketing-api/conversions-api/parameters/fbp-and-fbc>, read 2026-11-20.
#[must_use]
pub fn valid_fbc(value: &str) -> bool {
    fb_parts(value).is_some_and(|(_, payload)| !payload.is_empty())
}

/// Whether `value` is a `_fbp` cookie: `fb.{n}.{ms}.{digits}`, with or without appendix. Source as for [`valid_fbc`].
#[must_use]
pub fn valid_fbp(value: &str) -> bool {
    fb_parts(value).is_some_and(|(_, payload)| digits(payload))
}

/// Creation time in milliseconds, and the fourth part.
fn fb_parts(value: &str) -> Option<(i64, &str)> {
    let parts: Vec<&str> = value.split('.').collect();
    let sound = matches!(parts.len(), 4 | 5) && parts[0] == "fb" && digits(parts[1]) && digits(parts[2]);
    let clean = !value.chars().any(|c| c.is_control() || c.is_whitespace());
    if sound && clean { Some((parts[2].parse().ok()?, parts[3])) } else { None }
}

fn fbclid_of(fbc: &str, now: Time) -> Option<ClickId> {
    let (ms, fbclid) = fb_parts(fbc)?;
    let at = Some(Time::from_ms(ms)).filter(|at| *at <= now)?;
    Some(ClickId { kind: ClickKind::Fbclid, value: fbclid.to_owned(), first_seen: Some(at), last_seen: at })
}

fn google_click(cookie: &str) -> Option<ClickKind> {
    match cookie {
        "_gcl_aw" | "FPGCLAW" => Some(ClickKind::Gclid),
        "_gcl_gb" | "FPGCLGB" => Some(ClickKind::Wbraid),
        "_gcl_ag" | "FPGCLAG" => Some(ClickKind::Gbraid),
        "_gcl_dc" | "FPGCLDC" => Some(ClickKind::Dclid),
        "_gcl_gs" | "FPGCLGS" => Some(ClickKind::GadSource),
        _ => None,
    }
}

/// `GCL.<unix s>.<id>` or `2.1.k<id>$i<unix s>[$…]`. The cookie's time is the click's.
fn clicked(kind: ClickKind, value: &str, now: Time) -> Option<ClickId> {
    let (id, seconds) = if let Some(rest) = value.strip_prefix("GCL.") {
        let (seconds, id) = rest.split_once('.')?;
        (id, seconds)
    } else {
        let mut fields = value.strip_prefix("2.1.")?.split('$');
        let id = fields.next()?.strip_prefix('k')?;
        (id, fields.find_map(|field| field.strip_prefix('i'))?)
    };
    let sound = !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-');
    let at = Some(Time::from_secs(seconds.parse().ok()?)).filter(|at| digits(seconds) && *at <= now)?;
    sound.then(|| ClickId { kind, value: id.to_owned(), first_seen: Some(at), last_seen: at })
}

/// `GA1.<n>.<random>.<first unix s>`: the client id is the last two.
fn client_id(value: &str) -> Option<String> {
    let parts: Vec<&str> = value.split('.').collect();
    let sound = parts.len() == 4 && parts[0] == "GA1" && parts[1..].iter().all(|part| digits(part));
    sound.then(|| format!("{}.{}", parts[2], parts[3]))
}

/// `GS1.1.<session>.…` or `GS2.1.s<session>$o…`, the fields of the latter in any order.
fn session_id(value: &str) -> Option<String> {
    let session = if let Some(rest) = value.strip_prefix("GS1.1.") {
        rest.split('.').next()?
    } else {
        value.strip_prefix("GS2.1.")?.split('$').find_map(|field| field.strip_prefix('s'))?
    };
    digits(session).then(|| session.to_owned())
}

fn digits(text: &str) -> bool {
    !text.is_empty() && text.len() <= 20 && text.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time::from_secs(1_795_000_000);

    fn click(name: &str, value: &str) -> Option<(ClickKind, String, i64)> {
        read_cookies([(name, value)], NOW)
            .clicks
            .first()
            .map(|c| (c.kind, c.value.clone(), c.first_seen.expect("has a time").as_secs()))
    }

    #[test]
    fn google_click_cookies_are_read_in_both_containers() {
        let gclid = Some((ClickKind::Gclid, "CjwK-a_B".to_owned(), 1_794_000_000));
        assert_eq!(click("_gcl_aw", "GCL.1794000000.CjwK-a_B"), gclid);
        assert_eq!(click("FPGCLAW", "2.1.kCjwK-a_B$i1794000000"), gclid);
        assert_eq!(click("_gcl_aw", "2.1.kCjwK-a_B%24i1794000000%24b7"), gclid, "decoded first");
        assert_eq!(click("_gcl_gb", "GCL.1794000000.W").expect("read").0, ClickKind::Wbraid);
        assert_eq!(click("_gcl_ag", "2.1.kG$i1794000000").expect("read").0, ClickKind::Gbraid);
    }

    #[test]
    fn what_does_not_match_is_rejected() {
        for value in [
            "",
            "GCL.x.abc",
            "GCL.1794000000.",
            "GCL.1794000000.a b",
            "GCL.9999999999.a",
            "2.1.i1$ka",
            "abc",
            "2.1.k$i1794000000",
        ] {
            assert_eq!(click("_gcl_aw", value), None, "{value}");
        }
        let source = click("_gcl_gs", "2.1.k1$i1794000000$u3").expect("is kept");
        assert!(!source.0.names_a_click(), "but is no click id");
        assert_eq!(click("_gcl_au", "1.1.1.1794000000"), None);
    }

    #[test]
    fn meta_and_analytics_cookies_are_read() {
        let all = [
            ("_fbc", "fb.1.1794000000123.IwAR0-aB"),
            ("_fbp", "fb.1.1794000000123.987654"),
            ("_ga", "GA1.1.111.1794000000"),
            ("_ga_ABC", "GS2.1.o3$s1794000001$g1"),
        ];
        let ReadCookies { clicks, cookies, .. } = read_cookies(all, NOW);
        assert_eq!(clicks[0].value, "IwAR0-aB");
        assert_eq!(clicks[0].first_seen, Some(Time::from_ms(1_794_000_000_123)));
        assert_eq!(cookies.fbp.as_deref(), Some("fb.1.1794000000123.987654"));
        assert_eq!(cookies.ga_client_id.as_deref(), Some("111.1794000000"));
        assert_eq!(cookies.ga_session_id.as_deref(), Some("1794000001"));
        assert!(valid_fbc("fb.1.1794000000123.IwAR0.AQICAQMC"), "with Meta's appendix");
        for bad in ["fb.1.x.y", "fb.1.1", "fb.1.1.a.b.c", "fa.1.1.a", "fb.1.1.", "fb.1.1.a b"] {
            assert!(!valid_fbc(bad), "{bad}");
        }
        assert!(!valid_fbp("fb.1.1794000000123.abc"));
        assert_eq!(
            read_cookies([("_ga_ABC", "GS1.1.1794000001.2.1")], NOW).cookies.ga_session_id.as_deref(),
            Some("1794000001")
        );
    }

    #[test]
    fn cookies_of_other_platforms_are_read_and_nothing_else_is() {
        let twclid = r#"{"pv_id":"x","twclid":"2-abcDEF123"}"#;
        for (name, value, kind, id) in [
            ("ttclid", "E.C.P.abc-DEF_1", ClickKind::Ttclid, "E.C.P.abc-DEF_1"),
            ("_uetmsclkid", "_uet0a1b2c3d4e5f", ClickKind::Msclkid, "0a1b2c3d4e5f"),
            (
                "li_fat_id",
                "3b2c1d00-1111-2222-3333-444455556666",
                ClickKind::LiFatId,
                "3b2c1d00-1111-2222-3333-444455556666",
            ),
            ("_epik", "dj0yJnU9abc~", ClickKind::Epik, "dj0yJnU9abc~"),
            ("_rdt_cid", "48937", ClickKind::RdtCid, "48937"),
            ("_twclid", twclid, ClickKind::Twclid, "2-abcDEF123"),
        ] {
            assert_eq!(click(name, value).map(|(kind, id, _)| (kind, id)), Some((kind, id.to_owned())), "{name}");
        }
        for (name, value) in [("ttclid", "a b c d"), ("_twclid", "{}"), ("_epik", "<script>"), ("other", "abcdef")] {
            assert_eq!(click(name, value), None, "{name}");
        }
        let ids = [
            ("_ttp", "2abCDefG-hi_j"),
            ("_rdt_uuid", "1794000000123.3b2c1d00-1111-2222-3333-444455556666"),
            ("_gcl_au", "1.1.123.1794000000"),
            ("_gcl_au", "1.1.x.1"),
            ("_scid", "a@b.example"),
        ];
        let names: Vec<String> = read_cookies(ids, NOW).browser_ids.into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["_ttp", "_rdt_uuid", "_gcl_au"]);
    }
}
