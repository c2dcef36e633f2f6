//! Who may use the admin listener: programs bring its token with each request; browsers bring it once, and a session's
//! cookie from then on.
//!
//! A session is 128 random bits of which only the hash is kept, in memory: a restart ends them all. Whoever guesses tokens
//! at the login is slowed down by address; a program that brings the token with each request never is.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use axum::{
    Router,
    body::Body,
    extract::{ConnectInfo, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, header},
    middleware::Next,
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use sha2::{Digest as _, Sha256};

use super::page;
use crate::{
    model::{Clock, Secret, Time},
    web::{Keys, Peer, Problem, read_body},
};

/// The session's cookie.
const COOKIE: &str = "cr_admin";
/// A session ends after this long, used or not.
const SESSION_ENDS_AFTER: Duration = Duration::from_secs(12 * 3600);
/// Sessions at once; the oldest ends when there would be more.
const SESSIONS_MAX: usize = 100;
/// Wrong tokens from one address before it has to wait.
const FREE_TRIES: u32 = 5;
/// The wait after the first wrong token that is too many; each further one doubles it.
const WAIT_FIRST: Duration = Duration::from_secs(1);
/// The longest wait between two tries.
const WAIT_MAX: Duration = Duration::from_secs(60);
/// A wrong token is forgotten after this long.
const FAILURE_ENDS_AFTER: Duration = Duration::from_secs(3600);
/// Addresses whose wrong tokens are remembered; the one that was wrong longest ago goes first.
const ADDRESSES_MAX: usize = 1000;
/// A form with a token in it is short.
const FORM_BYTES_MAX: usize = 16 << 10;

/// Who is let in.
#[derive(Clone)]
pub(super) struct Door {
    token: Keys<()>,
    clock: Arc<dyn Clock>,
    state: Arc<Mutex<Sessions>>,
}

#[derive(Default)]
struct Sessions {
    /// When each ends, by the hash of its id.
    open: HashMap<[u8; 32], Time>,
    failures: HashMap<IpAddr, Failures>,
}

#[derive(Clone, Copy)]
struct Failures {
    count: u32,
    last: Time,
}

impl Failures {
    /// How long after the last wrong token the next one is looked at.
    fn wait(self) -> Duration {
        let Some(doublings) = self.count.checked_sub(FREE_TRIES) else { return Duration::ZERO };
        WAIT_FIRST.saturating_mul(1 << doublings.min(16)).min(WAIT_MAX)
    }
}

impl Door {
    /// A door that opens to `token`.
    pub(super) fn new(token: Secret, clock: Arc<dyn Clock>) -> Self {
        Self { token: Keys::new([(token, ())]), clock, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, Sessions> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the request carries the token, or the cookie of a session that goes on.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let now = self.clock.now();
        self.token.owner(headers).is_ok()
            || session(headers).is_some_and(|id| self.state().open.get(&id).is_some_and(|ends| now < *ends))
    }

    /// Opens a session if `token` is right. Its id, for the cookie.
    ///
    /// # Errors
    /// How long this address has to wait, or nothing if the token is wrong.
    fn open(&self, token: &str, from: IpAddr) -> Result<String, Option<Duration>> {
        let now = self.clock.now();
        let mut state = self.state();
        state.failures.retain(|_, failures| now.since(failures.last) < FAILURE_ENDS_AFTER);
        if let Some(failures) = state.failures.get(&from) {
            let left = failures.wait().saturating_sub(now.since(failures.last));
            if !left.is_zero() {
                return Err(Some(left));
            }
        }
        if self.token.owner_of(token).is_none() {
            let failures = state.failures.entry(from).or_insert(Failures { count: 0, last: now });
            *failures = Failures { count: failures.count.saturating_add(1), last: now };
            shrink(&mut state.failures, ADDRESSES_MAX, |failures| failures.last);
            return Err(None);
        }
        state.failures.remove(&from);
        let id = format!("{:032x}", rand::random::<u128>());
        state.open.retain(|_, ends| now < *ends);
        state.open.insert(hash(&id), now.plus(SESSION_ENDS_AFTER));
        shrink(&mut state.open, SESSIONS_MAX, |ends| *ends);
        Ok(id)
    }

    /// The routes that let in and out.
    pub(super) fn routes(&self) -> Router {
        Router::new().route("/login", get(ask).post(log_in)).route("/logout", post(log_out)).with_state(self.clone())
    }
}

/// Takes out what is oldest by `time` until there are at most `max`.
fn shrink<K: Copy + Eq + std::hash::Hash, V>(map: &mut HashMap<K, V>, max: usize, time: impl Fn(&V) -> Time) {
    while map.len() > max {
        let Some(oldest) = map.iter().min_by_key(|(_, value)| time(value)).map(|(key, _)| *key) else { return };
        map.remove(&oldest);
    }
}

fn hash(id: &str) -> [u8; 32] {
    Sha256::digest(id).into()
}

/// Whether the browser that sent this has a session, or thinks so.
pub(super) fn is_open(headers: &HeaderMap) -> bool {
    session(headers).is_some()
}

/// The hash of the session's id that the request carries.
fn session(headers: &HeaderMap) -> Option<[u8; 32]> {
    let cookies = headers.get_all(header::COOKIE).into_iter().filter_map(|cookies| cookies.to_str().ok());
    let mut pairs = cookies.flat_map(|cookies| cookies.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(name, _)| *name == COOKIE).map(|(_, id)| hash(id))
}

/// Lets through who may.
pub(super) async fn authorize(State(door): State<Door>, request: Request, next: Next) -> Response {
    let open = request.uri().path() == "/login" || request.uri().path() == page::STYLE_PATH;
    if open || door.admits(request.headers()) {
        return next.run(request).await;
    }
    let accepted = request.headers().get(header::ACCEPT).and_then(|kinds| kinds.to_str().ok()).unwrap_or_default();
    if accepted.contains("text/html") {
        return page::see("/login");
    }
    let detail = "the admin listener needs its token: Authorization: Bearer TOKEN, see [admin] token";
    Problem::unauthorized(detail).into_response()
}

async fn ask() -> Response {
    page::login(StatusCode::OK, None)
}

async fn log_in(State(door): State<Door>, request: Request) -> Response {
    // Behind a proxy all have one address, and wait for each other's mistakes.
    let from = request.extensions().get::<ConnectInfo<Peer>>().map(|ConnectInfo(peer)| peer.0.ip());
    let (head, body) = request.into_parts();
    let token = match form_token(body).await {
        Ok(token) => token,
        Err(problem) => return problem.into_response(),
    };
    match door.open(token.trim(), from.unwrap_or(IpAddr::from([0, 0, 0, 0]))) {
        Ok(id) => {
            tracing::info!("an operator logged in");
            let mut answer = page::see("/links");
            set_cookie(&mut answer, &head.headers, &id, SESSION_ENDS_AFTER);
            answer
        }
        Err(None) => {
            tracing::warn!("a login with a wrong token");
            page::login(StatusCode::UNAUTHORIZED, Some("This is not the token. It is the one in [admin] token."))
        }
        Err(Some(wait)) => {
            let seconds = wait.as_secs() + 1;
            let told = format!("Too many wrong tokens. Try again in {seconds} seconds.");
            let mut answer = page::login(StatusCode::TOO_MANY_REQUESTS, Some(&told));
            answer.headers_mut().insert(header::RETRY_AFTER, seconds.into());
            answer
        }
    }
}

async fn form_token(body: Body) -> Result<String, Problem> {
    let bytes = read_body(body, FORM_BYTES_MAX).await?;
    let mut fields = url::form_urlencoded::parse(&bytes);
    Ok(fields.find(|(name, _)| name == "token").map(|(_, token)| token.into_owned()).unwrap_or_default())
}

async fn log_out(State(door): State<Door>, headers: HeaderMap) -> Response {
    if let Some(id) = session(&headers) {
        door.state().open.remove(&id);
    }
    let mut answer = page::see("/login");
    set_cookie(&mut answer, &headers, "", Duration::ZERO);
    answer
}

fn set_cookie(answer: &mut Response, asked: &HeaderMap, id: &str, age: Duration) {
    // The relay itself speaks plain HTTP; the browser's word for how it came tells whether there is TLS in front.
    let tls = asked.get(header::ORIGIN).is_some_and(|origin| origin.as_bytes().starts_with(b"https://"));
    let secure = if tls { "; Secure" } else { "" };
    let cookie = format!("{COOKIE}={id}; Path=/; Max-Age={}; HttpOnly; SameSite=Strict{secure}", age.as_secs());
    answer.headers_mut().insert(header::SET_COOKIE, HeaderValue::from_str(&cookie).expect("hex and plain ASCII"));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MockClock;

    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn door() -> (Door, Arc<MockClock>) {
        let clock = Arc::new(MockClock::at(Time::from_secs(1_795_000_000)));
        (Door::new(Secret::new("right"), Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    fn with(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn a_session_lets_in_until_it_ends() {
        let (door, clock) = door();
        let id = door.open("right", HERE).expect("opens");
        assert_eq!(id.len(), 32);
        let cookie = with(header::COOKIE, &format!("a=b; {COOKIE}={id}"));
        assert!(door.admits(&cookie) && door.admits(&with(header::AUTHORIZATION, "Bearer right")));
        assert!(!door.admits(&with(header::COOKIE, &format!("{COOKIE}={}", "0".repeat(32)))));
        assert!(!door.admits(&HeaderMap::new()) && !door.admits(&with(header::AUTHORIZATION, "Bearer wrong")));
        clock.advance(SESSION_ENDS_AFTER);
        assert!(!door.admits(&cookie), "twelve hours later it is over");
    }

    #[test]
    fn guessing_is_slowed_down_and_no_more_than_that() {
        let (door, clock) = door();
        for _ in 0..FREE_TRIES {
            assert_eq!(door.open("wrong", HERE), Err(None));
        }
        let Err(Some(wait)) = door.open("right", HERE) else { panic!("has to wait") };
        assert!(wait <= WAIT_FIRST);
        assert!(door.open("right", IpAddr::from([192, 0, 2, 1])).is_ok(), "others do not wait");
        for _ in 0..20 {
            clock.advance(WAIT_MAX);
            assert_eq!(door.open("wrong", HERE), Err(None));
        }
        assert!(matches!(door.open("right", HERE), Err(Some(wait)) if wait == WAIT_MAX));
        clock.advance(WAIT_MAX);
        assert!(door.open("right", HERE).is_ok(), "whoever waits gets in");
        assert_eq!(door.open("wrong", HERE), Err(None), "and begins anew");
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let (door, clock) = door();
        let first = door.open("right", HERE).expect("opens");
        for i in 0..SESSIONS_MAX + 5 {
            clock.advance(Duration::from_secs(1));
            let from = IpAddr::from([10, 0, 0, u8::try_from(i).expect("small")]);
            assert!(door.open("right", from).is_ok() && door.open("wrong", from) == Err(None));
        }
        assert_eq!(door.state().open.len(), SESSIONS_MAX);
        assert!(!door.admits(&with(header::COOKIE, &format!("{COOKIE}={first}"))), "the oldest ended");
        clock.advance(FAILURE_ENDS_AFTER);
        let _wrong = door.open("wrong", HERE);
        assert_eq!(door.state().failures.len(), 1, "old mistakes are forgotten");
    }
}
