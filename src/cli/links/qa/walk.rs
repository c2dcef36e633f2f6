//! Follows a link as one browser.

use std::collections::HashMap;

use reqwest::Method;
use tokio::sync::Mutex;
use url::Url;

use super::{
    http::{Answer, Http},
    page,
    profiles::Profile,
    steps::{CLICK_IDS, HOPS_MAX, TagSeen, Walk, Wanted},
};

/// Scripts of one page that are looked into.
const SCRIPTS_MAX: usize = 10;
/// What only our tag has in it, under whatever name it is served.
const TAG_MARK: &str = "cr_vid";

/// Everything that the walks share.
pub(super) struct Walker {
    pub(super) http: Http,
    /// Stands in for scheme, host and port of the links.
    pub(super) base: Option<Url>,
    /// Makes our requests count as tests.
    pub(super) token: Option<String>,
    /// Where the relay serves the tag.
    pub(super) tag_path: String,
    /// Scripts that were looked into: whether they are the tag.
    pub(super) scripts: Mutex<HashMap<Url, bool>>,
}

impl Walker {
    /// Where to ask for a link, and under which host.
    ///
    /// # Errors
    /// If its address is not known.
    pub(super) fn start(&self, wanted: &Wanted) -> anyhow::Result<(Url, Option<String>)> {
        let (mut url, host) = match (&self.base, Url::parse(&wanted.url)) {
            (Some(base), public) => {
                let mut url = base.clone();
                let path = public.map_or_else(|_| wanted.url.clone(), |public| public.path().to_owned());
                url.set_path(&path);
                // The relay tells links on their own hosts apart by it.
                (url, wanted.key.host.clone())
            }
            (None, Ok(url)) => (url, None),
            (None, Err(_)) => anyhow::bail!(
                "the relay does not know how the outside reaches it: set public.url, or say --base URL for this run"
            ),
        };
        let mut pairs = url.query_pairs_mut();
        pairs.clear();
        for (name, value) in CLICK_IDS {
            pairs.append_pair(name, value);
        }
        if let Some(token) = &self.token {
            pairs.append_pair("cr_qa", token);
        }
        drop(pairs);
        Ok((url, host))
    }

    /// Follows the link to its page.
    pub(super) async fn walk(&self, url: &Url, host: Option<&str>, profile: &Profile) -> Walk {
        let head = self.http.ask(Method::HEAD, url, host, profile).await;
        let get = self.http.ask(Method::GET, url, host, profile).await;
        let mut walk = Walk { get, head, hops: Vec::new(), end: None, tag: TagSeen::No };
        let mut next = walk.get.as_ref().ok().and_then(|answer| onward(url, answer));
        while let Some(url) = next.take() {
            let again = walk.hops.contains(&url);
            walk.hops.push(url.clone());
            if again {
                break;
            }
            let answer = self.http.ask(Method::GET, &url, None, profile).await;
            if walk.hops.len() <= HOPS_MAX {
                next = answer.as_ref().ok().and_then(|answer| onward(&url, answer));
            }
            walk.end = Some(answer);
        }
        if let (Some(url), Some(Ok(answer))) = (walk.hops.last(), &walk.end) {
            walk.tag = self.tag(url, &answer.body, profile).await;
        }
        walk
    }

    /// Whether the page loads the tag: by its path, or by a script of the site that is the tag under another name.
    async fn tag(&self, page: &Url, html: &str, profile: &Profile) -> TagSeen {
        let scripts = page::scripts(html, page);
        if scripts.iter().any(|script| script.path() == self.tag_path) {
            return TagSeen::Yes;
        }
        let own = |script: &&Url| related(script, page) && matches!(script.scheme(), "http" | "https");
        for script in scripts.iter().filter(own).take(SCRIPTS_MAX) {
            if self.is_tag(script, profile).await {
                return TagSeen::Yes;
            }
        }
        if page::has_tag_manager(html) { TagSeen::Perhaps } else { TagSeen::No }
    }

    async fn is_tag(&self, script: &Url, profile: &Profile) -> bool {
        if let Some(known) = self.scripts.lock().await.get(script) {
            return *known;
        }
        let answer = self.http.ask(Method::GET, script, None, profile).await;
        let is = answer.is_ok_and(|answer| answer.status == 200 && answer.body.contains(TAG_MARK));
        self.scripts.lock().await.insert(script.clone(), is);
        is
    }
}

/// Whether two addresses look like those of one owner: the tag is served by the site or a neighbour of it.
fn related(script: &Url, page: &Url) -> bool {
    let end = |url: &Url| {
        let labels: Vec<String> = url.host_str().unwrap_or_default().rsplit('.').take(2).map(str::to_owned).collect();
        labels.join(".")
    };
    end(script) == end(page)
}

/// Where a redirect leads, if it stays on the web.
fn onward(url: &Url, answer: &Answer) -> Option<Url> {
    let location = answer.header("location").filter(|_| answer.redirects())?;
    url.join(location).ok().filter(|next| matches!(next.scheme(), "http" | "https") && next.has_host())
}
