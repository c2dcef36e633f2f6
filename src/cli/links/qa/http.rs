//! Requests as a browser makes them, but few at a time, and none with a cookie.

use std::{collections::HashMap, time::Duration};

use reqwest::{
    Method,
    header::{self, HeaderMap},
};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};
use url::Url;

use super::profiles::Profile;

/// So much of a page is read.
const BODY_BYTES_MAX: usize = 1 << 20;
/// Requests at once.
const AT_ONCE: usize = 4;
const TIME_MAX: Duration = Duration::from_secs(15);

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lost {
    Unknown,
    Certificate,
    Time,
    Broken,
}

impl Lost {
    pub(super) const fn why(self) -> &'static str {
        match self {
            Self::Unknown => "no connection: is its name in the DNS, and does something listen there?",
            Self::Certificate => "its certificate is not valid for this name",
            Self::Time => "no answer in 15 seconds",
            Self::Broken => "the connection broke before the whole answer was there",
        }
    }

    fn of(error: &reqwest::Error) -> Self {
        let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
        let mut text = String::new();
        while let Some(error) = cause {
            text = error.to_string();
            cause = error.source();
        }
        if error.is_timeout() {
            Self::Time
        } else if text.contains("certificate") {
            Self::Certificate
        } else if error.is_connect() {
            Self::Unknown
        } else {
            Self::Broken
        }
    }
}

/// What a server answered.
#[derive(Clone, Debug, Default)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Whether it sends somewhere else.
    pub(super) fn redirects(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }
}

/// Makes the requests.
pub(super) struct Http {
    client: reqwest::Client,
    slots: Semaphore,
    /// When each host may be asked again.
    free: Mutex<HashMap<String, Instant>>,
    between: Duration,
    /// What is put behind the user agent.
    mark: &'static str,
}

impl Http {
    /// With so many requests to each host in a second.
    pub(super) fn new(rate: f64, mark: &'static str) -> reqwest::Result<Self> {
        let client = reqwest::Client::builder()
            .timeout(TIME_MAX)
            .connect_timeout(TIME_MAX / 2)
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        let between = Duration::from_secs_f64(1.0 / rate);
        Ok(Self { client, slots: Semaphore::new(AT_ONCE), free: Mutex::default(), between, mark })
    }

    /// Asks for `url` as this browser; `host` stands in for that of the address.
    pub(super) async fn ask(
        &self,
        method: Method,
        url: &Url,
        host: Option<&str>,
        profile: &Profile,
    ) -> Result<Answer, Lost> {
        self.turn(url).await;
        let _slot = self.slots.acquire().await.map_err(|_| Lost::Broken)?;
        let mut request = self
            .client
            .request(method, url.clone())
            .header(header::USER_AGENT, format!("{}{}", profile.agent, self.mark))
            .header(header::ACCEPT, "text/html,application/xhtml+xml,*/*;q=0.8")
            .header(header::ACCEPT_LANGUAGE, "en")
            .header("sec-fetch-site", "cross-site")
            .header("sec-fetch-mode", "navigate")
            .header("sec-fetch-dest", "document")
            .header("sec-fetch-user", "?1");
        if let Some(referrer) = profile.referrer {
            request = request.header(header::REFERER, referrer);
        }
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let mut answer = request.send().await.map_err(|error| Lost::of(&error))?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|error| Lost::of(&error))? {
            let room = BODY_BYTES_MAX - body.len();
            body.extend_from_slice(&chunk[..chunk.len().min(room)]);
            if chunk.len() >= room {
                break;
            }
        }
        Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
    }

    /// Waits until the host may be asked.
    async fn turn(&self, url: &Url) {
        let at = {
            let mut free = self.free.lock().await;
            let now = Instant::now();
            let free = free.entry(url.host_str().unwrap_or_default().to_owned()).or_insert(now);
            let at = (*free).max(now);
            *free = at + self.between;
            at
        };
        tokio::time::sleep_until(at).await;
    }
}
