//! Failing on demand.

use std::time::Duration;

use axum::{
    RequestExt,
    body::Body,
    extract::{DefaultBodyLimit, Request},
    http::{HeaderValue, header},
    response::Response,
};
use serde::{Deserialize, Serialize};

/// One of the stand-ins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Platform {
    /// Meta Conversions API.
    Meta,
    /// Data Manager API.
    DataManager,
    /// Google's token endpoint.
    Oauth,
}

impl Platform {
    /// Every stand-in.
    pub const ALL: [Self; 3] = [Self::Meta, Self::DataManager, Self::Oauth];
}

/// How a stand-in fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultMode {
    /// Not at all.
    #[default]
    None,
    /// Refuses everything with a 503; nothing is taken.
    Outage,
    /// Refuses everything as too much; nothing is taken. Meta: code 80004 with the wait in
    /// `X-Business-Use-Case-Usage`. Google: 429. Both with `Retry-After` if the fault says how long.
    Throttle,
    /// Works, and answers only after the fault's delay: whoever stops waiting does not know that it worked.
    Slow,
    /// Meta: code 190, subcode 463. Data Manager: 401, and the token that came is not good any more. Token endpoint:
    /// `invalid_grant`.
    ExpiredToken,
    /// Takes all but the last event of a request. Meta: `events_received` is one less. Data Manager: the status of the
    /// request is `PARTIAL_SUCCESS`, or `FAILED` for a request of one. Token endpoint: no effect.
    Partial,
    /// Works, and closes the connection instead of answering.
    Reset,
}

impl FaultMode {
    /// The word for it, in the control API and among the reasons of refusals.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Outage => "outage",
            Self::Throttle => "throttle",
            Self::Slow => "slow",
            Self::ExpiredToken => "expired_token",
            Self::Partial => "partial",
            Self::Reset => "reset",
        }
    }
}

/// A way to fail, and for how long.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fault {
    /// How.
    pub mode: FaultMode,
    /// How long each answer is held back, after the work is done. Goes with every mode.
    pub delay: Duration,
    /// What `Throttle` and `Outage` say about when to come back, in whole seconds.
    pub retry_after: Option<Duration>,
    /// How many requests it hits before it ends by itself; `None`: it stays.
    pub for_requests: Option<u64>,
}

impl Fault {
    /// A fault that stays until it is replaced.
    #[must_use]
    pub const fn new(mode: FaultMode) -> Self {
        Self { mode, delay: Duration::ZERO, retry_after: None, for_requests: None }
    }

    /// Hits the next `requests` requests only.
    #[must_use]
    pub const fn for_requests(self, requests: u64) -> Self {
        Self { for_requests: Some(requests), ..self }
    }

    /// Holds each answer back for `delay`.
    #[must_use]
    pub const fn delay(self, delay: Duration) -> Self {
        Self { delay, ..self }
    }

    /// Says when to come back.
    #[must_use]
    pub const fn retry_after(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }

    /// Does to `response` what the fault does to every answer.
    pub(super) async fn apply(self, mut response: Response) -> Response {
        if matches!(self.mode, FaultMode::Throttle | FaultMode::Outage)
            && let Some(after) = self.retry_after
        {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(after.as_secs()));
        }
        if !self.delay.is_zero() {
            tokio::time::sleep(self.delay).await;
        }
        if self.mode == FaultMode::Reset { cut() } else { response }
    }
}

/// An answer whose body fails at the first read: the server then closes the connection with nothing written.
fn cut() -> Response {
    let mut request = Request::new(Body::from("longer than one byte"));
    DefaultBodyLimit::max(1).apply(&mut request);
    Response::new(request.with_limited_body().into_body())
}

/// The faults in force.
#[derive(Default)]
pub(super) struct Faults([Fault; 3]);

impl Faults {
    pub(super) const fn get(&self, platform: Platform) -> Fault {
        self.0[platform as usize]
    }

    pub(super) const fn set(&mut self, platform: Platform, fault: Fault) {
        self.0[platform as usize] = fault;
    }

    /// The fault that the request at hand meets.
    pub(super) fn take(&mut self, platform: Platform) -> Fault {
        let fault = &mut self.0[platform as usize];
        match &mut fault.for_requests {
            None => *fault,
            Some(0) => {
                *fault = Fault::default();
                *fault
            }
            Some(left) => {
                *left -= 1;
                *fault
            }
        }
    }
}
