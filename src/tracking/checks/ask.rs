//! Asks one destination, as far as it redirects.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use reqwest::{
    Method, StatusCode,
    dns::{Addrs, Name, Resolve, Resolving},
    header,
};
use url::{Host, Url};

use super::address::is_public;

/// How long one request may take.
const TIME_MAX: Duration = Duration::from_secs(10);
/// Redirects that are followed.
const REDIRECTS_MAX: usize = 5;
/// Who asks.
const AGENT: &str = concat!("Mozilla/5.0 (compatible; ConversionRelay-Check/", env!("CARGO_PKG_VERSION"), ")");
const INSIDE: &str = "leads to an address that is not reachable from outside; it is not asked, see links.check_private";

/// What came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// There is a page.
    Well,
    /// There is none.
    Failed(String),
    /// It wants to be left alone, perhaps for a time.
    Busy(Option<Duration>),
    /// Nobody can tell.
    Unclear(String),
}

/// Sends the requests.
pub(super) struct Asker {
    client: reqwest::Client,
    private: bool,
}

impl Asker {
    pub(super) fn new(private: bool) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .timeout(TIME_MAX)
            .connect_timeout(TIME_MAX / 2)
            .redirect(reqwest::redirect::Policy::none())
            .user_agent(AGENT)
            // Kept connections would go around the look at addresses; a proxy would look names up itself.
            .pool_max_idle_per_host(0)
            .no_proxy()
            .dns_resolver(Arc::new(Resolver { private }))
            .build()?;
        Ok(Self { client, private })
    }

    pub(super) async fn ask(&self, destination: &Url) -> Answer {
        let mut url = destination.clone();
        for _ in 0..=REDIRECTS_MAX {
            if !self.may_ask(&url) {
                return Answer::Unclear(INSIDE.to_owned());
            }
            match self.hop(&url).await {
                Ok(Hop::End(answer)) => return answer,
                Ok(Hop::On(next)) => url = next,
                Err(error) => return failed(&error),
            }
        }
        Answer::Failed(format!("more than {REDIRECTS_MAX} redirects"))
    }

    /// Names are looked at when they are looked up; an address needs no looking up.
    fn may_ask(&self, url: &Url) -> bool {
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(_)) => return true,
            None => return false,
        };
        self.private || is_public(address)
    }

    /// One page: by its head, and where that is refused, by its first byte.
    async fn hop(&self, url: &Url) -> reqwest::Result<Hop> {
        let head = self.client.request(Method::HEAD, url.clone()).send().await?;
        let hop = read(url, &head);
        let refused = head.status().is_client_error() || head.status().is_server_error();
        if !refused || matches!(hop, Hop::End(Answer::Busy(_))) {
            return Ok(hop);
        }
        // Nothing is called broken because of HEAD alone: many sites know GET only.
        let get = self.client.get(url.clone()).header(header::RANGE, "bytes=0-0").send().await?;
        Ok(read(url, &get))
    }
}

enum Hop {
    End(Answer),
    On(Url),
}

fn read(url: &Url, answer: &reqwest::Response) -> Hop {
    let status = answer.status();
    let text = |name| answer.headers().get(name).and_then(|value| value.to_str().ok());
    Hop::End(match status {
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            Answer::Busy(text(header::RETRY_AFTER).and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs))
        }
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
            Answer::Unclear(format!("answers {} to programs; look at it in a browser", status.as_u16()))
        }
        // It has less than one byte.
        StatusCode::RANGE_NOT_SATISFIABLE | StatusCode::NOT_MODIFIED => Answer::Well,
        _ if status.is_success() => Answer::Well,
        _ if status.is_redirection() => match text(header::LOCATION).and_then(|next| url.join(next).ok()) {
            Some(next) if matches!(next.scheme(), "http" | "https") => return Hop::On(next),
            Some(_) => Answer::Unclear("redirects out of the web, as into an app".to_owned()),
            None => Answer::Failed("redirects to nowhere".to_owned()),
        },
        _ => Answer::Failed(format!("answers {}", status.as_u16())),
    })
}

/// Why there is no answer, in our words: those of libraries quote addresses.
fn failed(error: &reqwest::Error) -> Answer {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    let mut text = String::new();
    while let Some(error) = cause {
        if error.downcast_ref::<Inside>().is_some() {
            return Answer::Unclear(INSIDE.to_owned());
        }
        text = error.to_string();
        cause = error.source();
    }
    let certificate = text.contains("certificate");
    Answer::Failed(
        if error.is_timeout() {
            "no answer in time"
        } else if certificate {
            "its certificate is not valid"
        } else if error.is_connect() {
            "no connection: its name is not known, or nobody listens there"
        } else {
            "the connection broke"
        }
        .to_owned(),
    )
}

/// A name leads to inside addresses only.
#[derive(Debug, thiserror::Error)]
#[error("no address of the open network")]
struct Inside;

/// Looks names up, and forgets addresses that are not to be asked.
struct Resolver {
    private: bool,
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let found: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            let kept: Vec<SocketAddr> =
                found.into_iter().filter(|address| private || is_public(address.ip())).collect();
            if kept.is_empty() {
                return Err(Inside.into());
            }
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}
