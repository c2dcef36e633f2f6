//! The web around the tag: the pages of shops, on any name, and a relay that notes what it is told.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, Method, StatusCode, Uri, header},
    response::{IntoResponse as _, Response},
};
use serde_json::{Value, json};

use crate::driver::PATIENCE;

/// What was posted to the relay.
#[derive(Clone, Debug)]
pub(crate) struct Post {
    /// The path.
    pub(crate) path: String,
    /// Its cookies; empty without.
    pub(crate) cookies: String,
    /// Its media type.
    pub(crate) kind: String,
    /// What it said.
    pub(crate) body: Value,
}

/// How the relay answers.
#[derive(Clone, Debug)]
pub(crate) struct Relay {
    /// The visitor's id; without one, nothing is kept.
    pub(crate) id: Option<String>,
    /// Whether the id is set as a cookie too, for this domain if there is one.
    pub(crate) cookie: Option<String>,
    /// How long it takes.
    pub(crate) takes: Duration,
    /// Its status.
    pub(crate) status: u16,
    /// The tag.
    pub(crate) script: String,
}

struct Site {
    pages: BTreeMap<String, (String, Option<String>)>,
    posts: Vec<Post>,
    relay: Relay,
}

/// A server for every name below `.localhost`, on a port of its own.
#[derive(Clone)]
pub(crate) struct Web {
    site: Arc<Mutex<Site>>,
    /// Its port.
    pub(crate) port: u16,
}

impl Web {
    /// Starts it: a relay at `t.shop.localhost` that answers with the id `v1`, and no page.
    pub(crate) async fn start(script: String) -> Self {
        let relay = Relay { id: Some("v1".to_owned()), cookie: None, takes: Duration::ZERO, status: 200, script };
        let site = Arc::new(Mutex::new(Site { pages: BTreeMap::new(), posts: Vec::new(), relay }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let serve = Router::new().fallback(answer).with_state(Arc::clone(&site));
        tokio::spawn(async move { axum::serve(listener, serve).await });
        Self { site, port }
    }

    fn site(&self) -> MutexGuard<'_, Site> {
        self.site.lock().expect("no panic")
    }

    /// An address of this name: `web.at("shop", "/cart")`.
    pub(crate) fn at(&self, name: &str, path: &str) -> String {
        format!("http://{name}.localhost:{}{path}", self.port)
    }

    /// The line that loads the tag from `t.shop.localhost`, with these attributes.
    pub(crate) fn tag(&self, attributes: &str) -> String {
        format!("<script async {attributes} src=\"{}\"></script>", self.at("t.shop", "/t.js"))
    }

    /// A page at this path of every name. `window.thrown` is what was thrown in it.
    pub(crate) fn page(&self, path: &str, head: &str, body: &str) {
        let noting = "<script>window.thrown = [];
            addEventListener('error', event => thrown.push(String(event.message)));
            addEventListener('unhandledrejection', event => thrown.push(String(event.reason)));</script>";
        let html = format!("<!doctype html><html><head>{noting}{head}</head><body>{body}</body></html>");
        self.site().pages.insert(path.to_owned(), (html, None));
    }

    /// The same with this Content-Security-Policy; it has to do without scripts of its own.
    pub(crate) fn strict_page(&self, path: &str, policy: &str, head: &str, body: &str) {
        let html = format!("<!doctype html><html><head>{head}</head><body>{body}</body></html>");
        self.site().pages.insert(path.to_owned(), (html, Some(policy.to_owned())));
    }

    /// Changes how the relay answers.
    pub(crate) fn relay(&self, change: impl FnOnce(&mut Relay)) {
        change(&mut self.site().relay);
    }

    /// What was posted to the relay so far, and forgets it.
    pub(crate) fn taken(&self) -> Vec<Post> {
        std::mem::take(&mut self.site().posts)
    }

    /// What was posted to the relay, as soon as it is so many.
    pub(crate) async fn posts(&self, count: usize) -> Vec<Post> {
        let began = Instant::now();
        while self.site().posts.len() < count {
            assert!(began.elapsed() < PATIENCE, "not {count} posts: {:?}", self.site().posts);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.taken()
    }

    /// Waits for as long as something that must not come would take to come.
    pub(crate) async fn quiet(&self) {
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(self.site().posts.iter().map(|post| post.body.clone()).collect::<Vec<_>>(), [] as [Value; 0]);
    }
}

async fn answer(
    State(site): State<Arc<Mutex<Site>>>,
    method: Method,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default().to_owned();
    let path = uri.path().to_owned();
    if method == Method::POST {
        let relay = {
            let mut site = site.lock().expect("no panic");
            let body = serde_json::from_slice(&body).unwrap_or_else(|_| json!(String::from_utf8_lossy(&body)));
            site.posts.push(Post { path, cookies: text(header::COOKIE), kind: text(header::CONTENT_TYPE), body });
            site.relay.clone()
        };
        tokio::time::sleep(relay.takes).await;
        return told(&relay, &text(header::ORIGIN));
    }
    let site = site.lock().expect("no panic");
    if path.ends_with("/t.js") {
        return ([(header::CONTENT_TYPE, "text/javascript")], site.relay.script.clone()).into_response();
    }
    let empty = (String::new(), None);
    let (html, policy) = site.pages.get(&path).unwrap_or(&empty);
    let mut page = ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], html.clone()).into_response();
    if let Some(policy) = policy {
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy.parse().expect("a header"));
    }
    page
}

fn told(relay: &Relay, origin: &str) -> Response {
    let mut answer = match &relay.id {
        _ if relay.status >= 300 => StatusCode::from_u16(relay.status).expect("a status").into_response(),
        Some(id) => json!({ "visitor_id": id }).to_string().into_response(),
        None => StatusCode::NO_CONTENT.into_response(),
    };
    let mut set = |name, value: String| answer.headers_mut().insert(name, value.parse().expect("a header"));
    if !origin.is_empty() {
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.to_owned());
        set(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, "true".to_owned());
    }
    if let (Some(id), Some(domain)) = (&relay.id, &relay.cookie) {
        let domain = if domain.is_empty() { String::new() } else { format!("; Domain={domain}") };
        set(header::SET_COOKIE, format!("cr_vid={id}; Path=/; Max-Age=1000; Secure; SameSite=Lax{domain}"));
    }
    answer
}
