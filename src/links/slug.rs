//! Slugs, and where a link may lead.

use url::Url;

/// The longest slug.
const SLUG_MAX: usize = 64;
/// Characters of a minted slug: 31^7 are 27,512,614,111 slugs.
const MINTED: usize = 7;
/// What minted slugs are made of: none that is read as another, aloud or in print.
const LETTERS: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// The longest address that a link may lead to.
const DESTINATION_BYTES_MAX: usize = 8 * 1024;

/// First parts of paths that are the relay's own, or that browsers and crawlers ask every host for.
const RESERVED: &[&str] = &[
    "_",
    "admin",
    "ads",
    "api",
    "apple-touch-icon",
    "assets",
    "batch",
    "capi",
    "favicon",
    "files",
    "health",
    "healthz",
    "humans",
    "l",
    "login",
    "logout",
    "manifest",
    "metrics",
    "openapi",
    "privacy",
    "readyz",
    "robots",
    "security",
    "sitemap",
    "static",
    "t",
    "tag",
    "v1",
    "v2",
    "v3",
    "webhooks",
    "well-known",
];

/// Reads a slug: 1 to 64 letters a–z, digits, `-` and `_`, beginning and ending with a letter or digit. Capitals become small
/// letters: people type slugs from paper.
///
/// # Errors
/// A text that says what a slug has to be.
pub fn read_slug(text: &str) -> Result<String, String> {
    let slug = text.to_ascii_lowercase();
    let allowed = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_';
    if slug.is_empty() || slug.len() > SLUG_MAX || !slug.bytes().all(allowed) {
        return Err(format!("must be 1 to {SLUG_MAX} of the letters a-z, the digits 0-9, - and _"));
    }
    if slug.starts_with(['-', '_']) || slug.ends_with(['-', '_']) {
        return Err("must begin and end with a letter or a digit".to_owned());
    }
    if is_reserved(&slug) {
        return Err("is a path of the relay itself; choose another".to_owned());
    }
    Ok(slug)
}

/// Whether a path of this first part is not a link's.
#[must_use]
pub fn is_reserved(slug: &str) -> bool {
    let versioned = |rest: &str| !rest.is_empty() && rest.bytes().all(|b| b.is_ascii_digit());
    RESERVED.contains(&slug) || slug.strip_prefix('v').is_some_and(versioned)
}

/// A slug of seven letters and digits, chosen by `random`. It may be taken.
#[must_use]
pub fn mint_slug(random: u64) -> String {
    let mut rest = random;
    let mut letter = || {
        let letter = LETTERS[(rest % LETTERS.len() as u64) as usize];
        rest /= LETTERS.len() as u64;
        char::from(letter)
    };
    (0..MINTED).map(|_| letter()).collect()
}

/// What is wrong with `address` as a link's destination. `link_hosts` are those that serve links, `public_host` is the
/// relay's own, where links are below `/l/`: a link to a link is a detour at best, and a loop at worst.
#[must_use]
pub fn destination_problem(address: &str, link_hosts: &[String], public_host: Option<&str>) -> Option<String> {
    let problem = |why: &str| Some(why.to_owned());
    if address.len() > DESTINATION_BYTES_MAX {
        return Some(format!("must be at most {DESTINATION_BYTES_MAX} bytes"));
    }
    if address.chars().any(|c| c.is_control() || c.is_whitespace() || c == '\\') {
        return problem("must not contain spaces, line ends, other control characters or a backslash");
    }
    // What the text says and what browsers read must be the same.
    let rest = ["https://", "http://"].iter().find_map(|scheme| strip_prefix(address, scheme));
    let (Some(rest), Ok(url)) = (rest, Url::parse(address)) else {
        return problem("must be a whole http or https address, such as https://shop.example/mugs");
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or("");
    let Some(host) = url.host_str().filter(|_| !authority.is_empty()) else {
        return problem("must name a host, as in https://shop.example/mugs");
    };
    if authority.contains('@') {
        return problem("must not contain a user name or password");
    }
    if !authority.is_ascii() {
        return problem("must have its host in ASCII; write an international name in its xn-- form");
    }
    let host = host.trim_end_matches('.');
    if link_hosts.iter().any(|own| own.eq_ignore_ascii_case(host)) {
        return problem("is on a host of tracked links itself; name the page that the link is to lead to");
    }
    if public_host.is_some_and(|own| own.eq_ignore_ascii_case(host)) && url.path().starts_with("/l/") {
        return problem("is a tracked link itself; name the page that the link is to lead to");
    }
    None
}

fn strip_prefix<'a>(text: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = text.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slug_is_short_plain_and_not_ours() {
        assert_eq!(read_slug("Mugs-2026_q4").as_deref(), Ok("mugs-2026_q4"));
        assert!(read_slug("a").is_ok() && read_slug(&"a".repeat(64)).is_ok());
        for bad in ["", &"a".repeat(65), "a b", "a/b", "ä", "a.b", "%61", "-a", "a_", "v1", "V25", "healthz", "L"] {
            assert!(read_slug(bad).is_err(), "{bad}");
        }
        assert!(read_slug("velvet").is_ok() && read_slug("v1a").is_ok());
    }

    #[test]
    fn minted_slugs_are_slugs_without_letters_that_are_mixed_up() {
        for random in [0, 1, 30, 31, u64::MAX, 0x9e37_79b9_7f4a_7c15] {
            let slug = mint_slug(random);
            assert_eq!((slug.len(), read_slug(&slug).as_deref()), (7, Ok(slug.as_str())));
            assert!(!slug.contains(['0', 'o', '1', 'l', 'i']), "{slug}");
        }
        assert_ne!(mint_slug(1), mint_slug(2));
    }

    #[test]
    fn a_destination_is_a_page_elsewhere() {
        let hosts = ["go.brand.example".to_owned()];
        let problem = |address: &str| destination_problem(address, &hosts, Some("t.example.com"));
        for fine in [
            "https://shop.example",
            "HTTP://Shop.example:8443/Größe?a=%20&b=ü#x y".replace(' ', "").as_str(),
            "https://shop.example/?u=user@example.com",
            "https://[2001:db8::1]/",
            "https://t.example.com/legal",
            "https://xn--bcher-kva.example/?next=https://go.brand.example/a",
        ] {
            assert_eq!(problem(fine), None, "{fine}");
        }
        for bad in [
            "",
            "/mugs",
            "//shop.example/",
            "shop.example",
            "javascript:alert(1)",
            "ftp://shop.example/",
            "https:shop.example",
            "https:///mugs",
            "https://",
            "https://?a",
            "https://user@shop.example/",
            "https://user:pass@shop.example/",
            "https://@shop.example/",
            "https://shop.example/a b",
            "https://shop.example/\r\nSet-Cookie:a=b",
            "https://shop.example/\u{a0}",
            "https:\\\\shop.example/",
            "https://shop.example\\@evil.example/",
            "https://bücher.example/",
            "https://GO.brand.example./mugs",
            "https://t.example.com/l/mugs",
            &format!("https://shop.example/{}", "a".repeat(DESTINATION_BYTES_MAX)),
        ] {
            assert!(problem(bad).is_some(), "{bad}");
        }
    }
}
