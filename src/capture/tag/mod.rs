//! `GET /t.js`: the first-party tag, `tag.js`, made small and filled in when the relay starts.

mod shorten;

use std::{io::Write as _, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::get,
};
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use shorten::shorten;

/// The tag as it is written.
const SCRIPT: &str = include_str!("tag.js");
/// A page loads the tag without asking us for a day, and for a week after that with what it has, while the browser asks. So the
/// tag is there at once on every page but the first, and a change of our settings reaches everybody within a day of visits.
const CACHE: &str = "public, max-age=86400, stale-while-revalidate=604800";

/// What the tag has to know.
#[derive(Clone, Debug)]
pub(super) struct TagSettings {
    /// Path that visits are posted to.
    pub(super) visits_path: String,
    /// Other domains of the operator's, with all below them: links to these carry the visitor id.
    pub(super) own_domains: Vec<String>,
    /// How long the tag's own cookie is kept.
    pub(super) cookie_life: Duration,
    /// Whether a visitor about whose consent nothing is known has not given it.
    pub(super) require_consent: bool,
}

/// The script as it is served.
struct Tag {
    plain: Form,
    gzip: Form,
}

/// The script in one encoding.
struct Form {
    body: Bytes,
    etag: HeaderValue,
}

/// The route of the tag.
pub(super) fn router(path: &str, settings: &TagSettings) -> Router {
    let tag = Arc::new(Tag::new(path, settings));
    let serve = |State(tag): State<Arc<Tag>>, headers: HeaderMap| async move { tag.answer(&headers) };
    Router::new().route(path, get(serve)).with_state(tag)
}

impl Tag {
    fn new(path: &str, settings: &TagSettings) -> Self {
        let script = filled_in(path, settings);
        let mut gzip = GzEncoder::new(Vec::new(), Compression::best());
        let zipped = gzip.write_all(script.as_bytes()).and_then(|()| gzip.finish()).expect("memory takes every write");
        Self { plain: Form::new(script.into_bytes()), gzip: Form::new(zipped) }
    }

    fn answer(&self, headers: &HeaderMap) -> Response {
        let gzip = takes_gzip(headers);
        let form = if gzip { &self.gzip } else { &self.plain };
        let fixed = [
            (header::CACHE_CONTROL, HeaderValue::from_static(CACHE)),
            (header::VARY, HeaderValue::from_static("accept-encoding")),
            (header::ETAG, form.etag.clone()),
            (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
            // The shop is another origin, maybe another site, and may ask for isolation.
            (HeaderName::from_static("cross-origin-resource-policy"), HeaderValue::from_static("cross-origin")),
        ];
        if form.is_in(headers) {
            return (StatusCode::NOT_MODIFIED, fixed).into_response();
        }
        let mut answer = (fixed, form.body.clone()).into_response();
        let headers = answer.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/javascript; charset=utf-8"));
        if gzip {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        answer
    }
}

impl Form {
    fn new(body: Vec<u8>) -> Self {
        let hash: String = Sha256::digest(&body).iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let etag = HeaderValue::from_str(&format!("\"{hash}\"")).expect("a quoted hash is a header");
        Self { body: body.into(), etag }
    }

    /// Whether `If-None-Match` says that the browser has this.
    fn is_in(&self, headers: &HeaderMap) -> bool {
        let lists = headers.get_all(header::IF_NONE_MATCH).into_iter().filter_map(|value| value.to_str().ok());
        let mut tags = lists.flat_map(|list| list.split(',')).map(|tag| tag.trim().trim_start_matches("W/"));
        tags.any(|tag| tag == "*" || tag.as_bytes() == self.etag.as_bytes())
    }
}

fn takes_gzip(headers: &HeaderMap) -> bool {
    let lists = headers.get_all(header::ACCEPT_ENCODING).into_iter().filter_map(|value| value.to_str().ok());
    lists.flat_map(|list| list.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let gzip = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = |part: &str| part.strip_prefix("q=").and_then(|q| q.parse().ok()).is_some_and(|q: f32| q <= 0.0);
        gzip && !parts.any(refused)
    })
}

/// The script, short, with our settings in the place of its words in capitals.
fn filled_in(path: &str, settings: &TagSettings) -> String {
    let TagSettings { visits_path, own_domains, cookie_life, require_consent } = settings;
    let script = shorten(SCRIPT);
    let script = script.replace("COOKIE_SECONDS", &cookie_life.as_secs().to_string());
    let script = script.replace("REQUIRE_CONSENT", &require_consent.to_string());
    let script = script.replace("VISITS", &json!(relative(path, visits_path)).to_string());
    // Last, as these are texts from outside.
    script.replace("OWN_DOMAINS", &json!(own_domains).to_string())
}

/// The way from one path to the other. The tag resolves it against its own address, whatever a proxy has put before the paths.
fn relative(from: &str, to: &str) -> String {
    let folder: Vec<&str> = from.trim_start_matches('/').split('/').collect();
    let folder = &folder[..folder.len() - 1];
    let target: Vec<&str> = to.trim_start_matches('/').split('/').collect();
    let shared = folder.iter().zip(&target[..target.len() - 1]).take_while(|(one, other)| one == other).count();
    let up = "../".repeat(folder.len() - shared);
    let way = format!("{up}{}", target[shared..].join("/"));
    if way.is_empty() { "./".to_owned() } else { way }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    /// More would not be worth what a tag may cost a page.
    const GZIP_BYTES_MAX: usize = 3000;

    fn settings() -> TagSettings {
        TagSettings {
            visits_path: "/v1/visits".to_owned(),
            own_domains: vec!["checkout.example".to_owned(), "shop.example".to_owned()],
            cookie_life: Duration::from_secs(400 * 86_400),
            require_consent: true,
        }
    }

    fn tag() -> Tag {
        Tag::new("/t.js", &settings())
    }

    fn headers<const N: usize>(pairs: [(HeaderName, &str); N]) -> HeaderMap {
        HeaderMap::from_iter(pairs.map(|(name, value)| (name, value.parse().expect("a header"))))
    }

    async fn body(answer: Response) -> Bytes {
        axum::body::to_bytes(answer.into_body(), 1 << 20).await.expect("a body")
    }

    #[test]
    fn the_tag_is_small() {
        let bytes = tag().gzip.body.len();
        println!("{bytes} bytes");
        assert!(bytes < GZIP_BYTES_MAX, "{bytes} bytes");
    }

    #[test]
    fn the_tag_is_es2015() {
        let script = filled_in("/t.js", &settings());
        for newer in ["?.", "??", "...", "**", "async", "await", "`", "catch{", "#"] {
            assert_eq!(script.replace("[^#]", "").replace("'#'", "").find(newer), None, "{newer}");
        }
    }

    #[test]
    fn the_settings_are_in_the_script() {
        let script = filled_in("/t.js", &settings());
        for part in [r#"["checkout.example","shop.example"]"#, r#""v1/visits""#, "34560000", "!true"] {
            assert!(script.contains(part), "{part}");
        }
        for word in ["OWN_DOMAINS", "VISITS", "COOKIE_SECONDS", "REQUIRE_CONSENT", "//", "\n  "] {
            assert!(!script.contains(word), "{word}");
        }
        assert!(script.is_ascii());
    }

    #[test]
    fn the_visits_are_found_from_where_the_script_is() {
        for (tag, visits, way) in [
            ("/t.js", "/v1/visits", "v1/visits"),
            ("/js/t.js", "/v1/visits", "../v1/visits"),
            ("/js/t.js", "/js/v", "v"),
            ("/a/b/t.js", "/a/c/v", "../c/v"),
            ("/t.js", "/", "./"),
        ] {
            assert_eq!(relative(tag, visits), way, "{tag} {visits}");
            let base = url::Url::parse(&format!("https://shop.example/proxied{tag}")).expect("an address");
            let found = base.join(way).expect("an address");
            assert_eq!(found.as_str(), format!("https://shop.example/proxied{visits}"));
        }
    }

    #[tokio::test]
    async fn both_encodings_are_the_same_script_with_a_tag_of_their_own() {
        let tag = tag();
        let (plain, zipped) =
            (tag.answer(&HeaderMap::new()), tag.answer(&headers([(header::ACCEPT_ENCODING, "br, GZIP;q=0.5")])));
        assert_eq!((plain.status(), zipped.status()), (StatusCode::OK, StatusCode::OK));
        assert_eq!(plain.headers().get(header::CONTENT_ENCODING), None);
        assert_eq!(zipped.headers()[header::CONTENT_ENCODING], "gzip");
        assert_ne!(plain.headers()[header::ETAG], zipped.headers()[header::ETAG]);
        for answer in [&plain, &zipped] {
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "text/javascript; charset=utf-8");
            assert_eq!(answer.headers()[header::CACHE_CONTROL], CACHE);
            assert_eq!(answer.headers()[header::VARY], "accept-encoding");
            assert_eq!(answer.headers()["cross-origin-resource-policy"], "cross-origin");
            assert_eq!(answer.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        }
        let mut unzipped = String::new();
        flate2::read::GzDecoder::new(&body(zipped).await[..]).read_to_string(&mut unzipped).expect("gzip");
        assert_eq!(body(plain).await, unzipped);
    }

    #[tokio::test]
    async fn what_the_browser_has_is_not_sent_again() {
        let tag = tag();
        let known = tag.plain.etag.to_str().expect("is text").to_owned();
        for list in [known.clone(), format!("\"old\", W/{known}"), "*".to_owned()] {
            let answer = tag.answer(&headers([(header::IF_NONE_MATCH, &list)]));
            assert_eq!(
                (answer.status(), answer.headers()[header::ETAG].to_str().ok()),
                (StatusCode::NOT_MODIFIED, Some(&*known))
            );
            assert_eq!(answer.headers()[header::CACHE_CONTROL], CACHE, "{list}");
            assert!(body(answer).await.is_empty());
        }
        let other = tag.answer(&headers([(header::IF_NONE_MATCH, &known), (header::ACCEPT_ENCODING, "gzip")]));
        assert_eq!(other.status(), StatusCode::OK, "that is the other encoding's");
        let changed = Tag::new("/t.js", &TagSettings { require_consent: false, ..settings() });
        assert_eq!(changed.answer(&headers([(header::IF_NONE_MATCH, &known)])).status(), StatusCode::OK);
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        for (list, takes) in [
            ("gzip", true),
            ("deflate,gzip;q=1.0", true),
            ("gzip;q=0", false),
            ("gzip; q=0.000", false),
            ("br", false),
            ("", false),
        ] {
            assert_eq!(takes_gzip(&headers([(header::ACCEPT_ENCODING, list)])), takes, "{list}");
        }
    }
}
