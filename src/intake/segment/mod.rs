//! The Segment HTTP tracking API: `POST /v1/track`, `identify`, `page`, `screen`, `group`, `alias` and `batch`, so that its
//! SDKs can post here unchanged. Tracks become events; pages, identities and aliases become visits and identifiers.
//!
//! What is wrong with one call costs that call alone: it is counted and logged, and the request is answered 200, as
//! Segment does. What cannot be stored is answered 503, and SDKs send it again.
//!
//! Sources: Segment's pages "HTTP API Source", "Spec: Common fields", "Spec: Identify", "Spec: V2 Ecommerce Events" and
//! "Spec: B2B SaaS" (github.com/segmentio/segment-docs); `@segment/analytics-node` 3.1.0, `@segment/analytics-next` 1.84.3,
//! `segment-analytics-python` 2.4.0; all read 2026-11-20.

mod message;
mod sighting;
#[cfg(test)]
mod tests;
mod track;

use std::{collections::HashMap, io::Read as _, net::IpAddr, sync::Arc};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{ConnectInfo, MatchedPath, State},
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header},
    middleware::map_response,
    response::{IntoResponse as _, Response},
    routing::post,
};
use base64::Engine as _;
use flate2::read::MultiGzDecoder;
use serde::Deserialize;
use serde_json::Value;

use self::{message::Message, sighting::Sighting, track::Read};
use super::{Draft, Intake, read::read_draft, sources::Worth};
use crate::{
    model::{Currency, Raw, RawEvent, RawUser, SourceName, Time},
    privacy::Country,
    store::{Accepted, StoreError},
    web::{Peer, Problem, TrustedProxies, read_body},
};

/// Bytes of a body at most, uncompressed: keys of pages are no secret, and reading JSON takes many times its size. Segment itself
/// takes 500 KB. Source: segment.com/docs/connections/sources/catalog/libraries/server/http-api, read 2026-11-20.
const BODY_BYTES_MAX: usize = 2 << 20;

/// Every path, the call it takes, and whether it is the browser's and the phone's SDKs that post to it: what posts to the
/// short ones is at the visitor's own address.
const ROUTES: [(&str, &str, bool); 15] = [
    ("/v1/track", "track", false),
    ("/v1/identify", "identify", false),
    ("/v1/page", "page", false),
    ("/v1/screen", "screen", false),
    ("/v1/group", "group", false),
    ("/v1/alias", "alias", false),
    ("/v1/batch", "batch", false),
    ("/v1/import", "batch", false),
    ("/v1/t", "track", true),
    ("/v1/i", "identify", true),
    ("/v1/p", "page", true),
    ("/v1/s", "screen", true),
    ("/v1/g", "group", true),
    ("/v1/a", "alias", true),
    ("/v1/b", "batch", true),
];

/// Settings; `[intake.segment]`.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Whether the value of an order includes tax and shipping.
    pub worth: Worth,
    /// The currency of amounts that come without one.
    pub currency: Option<Currency>,
    /// The category of consent that says whether data may go to ad platforms; `Advertising` without one.
    pub ad_consent: Option<String>,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
    /// Region of phone numbers written without a country code.
    pub default_country: Option<Country>,
}

/// Whether this path is one of these.
#[must_use]
pub fn has_path(path: &str) -> bool {
    ROUTES.iter().any(|(ours, ..)| *ours == path)
}

#[derive(Clone)]
struct Segment {
    intake: Intake,
    config: Arc<Config>,
}

pub(super) fn router(intake: Intake, config: &Config) -> Router {
    let routes = ROUTES.iter().fold(Router::new(), |router, (path, ..)| {
        router.route(path, post(receive).options(async || StatusCode::NO_CONTENT))
    });
    routes.layer(map_response(shared)).with_state(Segment { intake, config: Arc::new(config.clone()) })
}

/// Lets pages of every origin post: keys are what guards, and no cookie is used.
async fn shared(mut answer: Response) -> Response {
    let headers = answer.headers_mut();
    let mut allow = |name: HeaderName, value| drop(headers.insert(name, HeaderValue::from_static(value)));
    allow(header::ACCESS_CONTROL_ALLOW_ORIGIN, "*");
    allow(header::ACCESS_CONTROL_ALLOW_METHODS, "POST");
    allow(header::ACCESS_CONTROL_ALLOW_HEADERS, "authorization, content-type, content-encoding, x-retry-count");
    allow(header::ACCESS_CONTROL_EXPOSE_HEADERS, "retry-after");
    allow(header::ACCESS_CONTROL_MAX_AGE, "86400");
    answer
}

async fn receive(
    State(segment): State<Segment>,
    ConnectInfo(Peer(connection)): ConnectInfo<Peer>,
    path: MatchedPath,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let route = ROUTES.iter().find(|(ours, ..)| *ours == path.as_str());
    let &(_, kind, direct) = route.ok_or(Problem::not_found())?;
    let Intake { clock, keys, tally, .. } = &segment.intake;
    let by_header = header_key(&headers).and_then(|key| keys.owner_of(&key));
    let refused = |source: Option<&SourceName>, reason: &'static str, problem: Problem| {
        match source {
            Some(source) => tally.refused(source, clock.now(), None, reason, &problem.detail),
            None => tracing::debug!(reason, detail = %problem.detail, "refused a call of the Segment API"),
        }
        problem
    };
    // No check of the media type: browsers send JSON as text, to need no preflight.
    let limit = segment.intake.body_bytes_max.min(BODY_BYTES_MAX);
    let body = read_body(body, limit).await.and_then(|body| inflated(&headers, body, limit));
    let body = body.map_err(|problem| refused(by_header.as_ref(), "body", theirs(problem)))?;
    let source = match by_header {
        Some(source) => source,
        None => {
            let key = body_key(&body).map_err(|problem| refused(None, "malformed", problem))?;
            let unknown = "the write key is not known; it has to be a key from [intake] keys, as the user of Basic \
                           authorisation or as writeKey in the body";
            let owner = key.and_then(|key| keys.owner_of(&key));
            owner.ok_or_else(|| refused(None, "unknown_key", Problem::unauthorized(unknown)))?
        }
    };
    tally.came(&source, clock.now());
    let body: Value =
        serde_json::from_slice(&body).map_err(|error| refused(Some(&source), "malformed", malformed(&error)))?;
    let client = segment.config.trusted_proxies.client(connection.ip(), &headers);
    let call = Call { source: &source, kind, direct, client, now: clock.now() };
    let messages = call.messages(&body, segment.intake.batch_max);
    let messages = messages.map_err(|problem| refused(Some(&source), "batch", problem))?;
    segment.take(&call, messages).await?;
    let success = serde_json::json!({ "success": true }).to_string();
    Ok(([(header::CONTENT_TYPE, "application/json")], success).into_response())
}

/// The key in the `Authorization` header: the user of `Basic`, or the token of `Bearer`.
fn header_key(headers: &HeaderMap) -> Option<String> {
    let (scheme, text) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(text.trim().to_owned());
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(text.trim()).ok()?;
    let pair = String::from_utf8(decoded).ok().filter(|_| scheme.eq_ignore_ascii_case("basic"))?;
    // The password is empty; a key may hold a colon.
    let user = pair.strip_suffix(':').or_else(|| Some(pair.split_once(':')?.0)).unwrap_or(&pair);
    Some(user.to_owned())
}

/// The key in the body, without reading anything else of it.
///
/// # Errors
/// If the body is no JSON.
fn body_key(body: &[u8]) -> Result<Option<String>, Problem> {
    #[derive(Deserialize)]
    struct Keyed {
        #[serde(rename = "writeKey", alias = "write_key")]
        key: Option<String>,
    }
    match serde_json::from_slice::<Keyed>(body) {
        Ok(Keyed { key }) => Ok(key),
        Err(error) if error.is_data() => Ok(None),
        Err(error) => Err(malformed(&error)),
    }
}

fn malformed(error: &serde_json::Error) -> Problem {
    let detail = format!("the body is no valid JSON (line {}, column {})", error.line(), error.column());
    Problem::malformed(detail, String::new())
}

/// A problem as Segment answers it: what is wrong with a whole request is 400.
fn theirs(mut problem: Problem) -> Problem {
    if matches!(problem.status, 413 | 415 | 422) {
        problem.status = 400;
    }
    problem
}

/// The body as it was before it was compressed.
///
/// # Errors
/// If it is larger than allowed then, or is not compressed as its header says.
fn inflated(headers: &HeaderMap, body: Bytes, limit: usize) -> Result<Bytes, Problem> {
    let encoding = headers.get(header::CONTENT_ENCODING).map(|value| value.to_str().unwrap_or("?").trim());
    match encoding.map(str::to_ascii_lowercase).as_deref() {
        None | Some("" | "identity") => return Ok(body),
        Some("gzip" | "x-gzip") => {}
        Some(_) => {
            let detail = "Content-Encoding: must be gzip, or left out";
            return Err(theirs(Problem::invalid_request(None, detail)));
        }
    }
    let mut whole = Vec::new();
    let beyond = limit as u64 + 1;
    let read = MultiGzDecoder::new(body.as_ref()).take(beyond).read_to_end(&mut whole);
    match read {
        Ok(_) if whole.len() > limit => Err(Problem::too_large(limit)),
        Ok(_) => Ok(whole.into()),
        Err(_) => {
            Err(Problem::malformed("the body is not compressed with gzip, as its header says".into(), String::new()))
        }
    }
}

/// One request.
struct Call<'a> {
    source: &'a SourceName,
    /// What its path stands for.
    kind: &'static str,
    /// Whether the visitor's own device posts.
    direct: bool,
    /// Who posts.
    client: IpAddr,
    now: Time,
}

impl Call<'_> {
    /// What the body tells, one message for each call in it.
    ///
    /// # Errors
    /// If it is no object, or too many at once.
    fn messages<'a>(&self, body: &'a Value, batch_max: usize) -> Result<Vec<Message<'a>>, Problem> {
        let wrong = |pointer: &str, detail: String| theirs(Problem::invalid_request(Some(pointer.into()), detail));
        if !body.is_object() {
            return Err(wrong("", "the body must be an object".into()));
        }
        if self.kind != "batch" {
            return Ok(vec![Message::new(self.kind, body, &Value::Null, self)]);
        }
        let Some(batch) = body.get("batch").and_then(Value::as_array) else {
            return Err(wrong("/batch", "batch: must be a list of calls".into()));
        };
        if batch.len() > batch_max {
            return Err(wrong("/batch", format!("batch: must be at most {batch_max} calls; see intake.batch_max")));
        }
        let kind = |entry: &'a Value| entry.get("type").and_then(Value::as_str).unwrap_or_default();
        Ok(batch.iter().map(|entry| Message::new(kind(entry), entry, body, self)).collect())
    }
}

impl Segment {
    /// Stores what the messages tell: first what was seen of visitors, which the events are then joined to.
    ///
    /// # Errors
    /// Of the store; then the whole request may be sent again.
    async fn take(&self, call: &Call<'_>, messages: Vec<Message<'_>>) -> Result<(), StoreError> {
        let Intake { pipeline, tally, .. } = &self.intake;
        let refuse = |message_id: Option<&str>, problem: &Problem| {
            tally.refused(call.source, call.now, message_id, "invalid_event", &problem.detail);
            pipeline.metrics.answered(call.source, "rejected");
        };
        let (mut events, mut ids, mut sightings) = (Vec::new(), Vec::new(), Vec::new());
        let mut people = People::default();
        for message in messages {
            let id = message.id();
            match self.read(call, &message, &mut people) {
                Ok(Taken::Event(event)) => {
                    events.push(*event);
                    ids.push(id);
                }
                Ok(Taken::Sighting(sighting)) => sightings.push(*sighting),
                Ok(Taken::Ignored(topic, reason)) => tally.ignored(call.source, &topic, reason),
                Err(problem) => refuse(id.as_deref(), &problem),
            }
        }
        sighting::store(pipeline, sightings, self.config.default_country).await?;
        let accepted = if events.is_empty() { Vec::new() } else { pipeline.accept(events).await? };
        let (mut new, mut duplicate) = (0, 0);
        for (answer, id) in accepted.into_iter().zip(ids) {
            match answer {
                Accepted::New | Accepted::Restates(_) => new += 1,
                Accepted::Duplicate(_) => duplicate += 1,
                // The pipeline has counted it.
                Accepted::Conflict(name) => {
                    let problem = Problem::id_conflict("/messageId".to_owned(), name.as_str());
                    tally.refused(call.source, call.now, id.as_deref(), "invalid_event", &problem.detail);
                }
            }
        }
        tally.took(call.source, new, duplicate);
        Ok(())
    }

    fn read(&self, call: &Call<'_>, message: &Message<'_>, people: &mut People) -> Result<Taken, Problem> {
        Ok(match told(message, call.source, &self.config, people)? {
            Told::Event(draft) => Taken::Event(Box::new(self.checked(call, message, *draft)?)),
            Told::Ignored(topic, reason) => Taken::Ignored(topic, reason),
            Told::Sighting(draft) => {
                let event = self.checked(call, message, *draft)?;
                if event.visitor_id.is_none() && event.user.external_ids.is_empty() {
                    return Ok(Taken::Ignored(message.kind.to_owned(), "nobody is named"));
                }
                let (landing, alias) = (message.kind == "page", message.kind == "alias");
                Taken::Sighting(Box::new(Sighting { event, landing, alias }))
            }
        })
    }

    /// Checks leniently: what is unsound and not what the event is about is left out and logged.
    fn checked(&self, call: &Call<'_>, message: &Message<'_>, draft: Draft) -> Result<RawEvent, Problem> {
        let (event, left_out) = read_draft(draft, call.source, call.now);
        for problem in left_out {
            let (source, detail, kind) = (call.source, &problem.detail, message.kind);
            tracing::warn!(%source, kind, %detail, "left out a field of a call");
        }
        event
    }
}

/// What one message tells, before its values are checked.
enum Told {
    Event(Box<Draft>),
    /// Of a visitor; its event name is that of the call, and is never stored.
    Sighting(Box<Draft>),
    /// Its topic, and why.
    Ignored(String, &'static str),
}

/// Reads one message.
///
/// # Errors
/// If it is no call of the API, or a track without a name or with an amount that is no number.
fn told(message: &Message<'_>, source: &SourceName, config: &Config, people: &mut People) -> Result<Told, Problem> {
    let kind = message.kind;
    if message.is_switched_off() {
        return Ok(Told::Ignored(kind.to_owned(), "switched off by integrations"));
    }
    let mut draft = message.draft(config);
    match kind {
        "track" => match track::read(message, draft, config)? {
            Read::Ignored(topic, reason) => return Ok(Told::Ignored(topic, reason)),
            Read::Event(mut event, key) => {
                people.complete(message, &mut event);
                key.into_iter().for_each(|key| event.known_by(source, key));
                return Ok(Told::Event(event));
            }
        },
        "identify" | "page" | "screen" => {}
        "alias" => {
            draft.visitor_id = message.text("/previousId");
            draft.user.external_ids.extend(draft.visitor_id.clone().map(Raw::new));
        }
        "group" => return Ok(Told::Ignored(kind.to_owned(), "not a conversion")),
        _ => return Err(Problem::invalid("/type", "type: must be track, identify, page, screen, group or alias")),
    }
    people.learn(message, &draft);
    draft.event = Some(kind.to_owned());
    Ok(Told::Sighting(Box::new(draft)))
}

/// What one message is to us, checked.
enum Taken {
    Event(Box<RawEvent>),
    Sighting(Box<Sighting>),
    Ignored(String, &'static str),
}

/// Who was identified in this request, by user id and anonymous id: SDKs send what belongs together in one batch, and tracks
/// do not repeat the traits.
#[derive(Default)]
struct People(HashMap<String, RawUser>);

impl People {
    fn learn(&mut self, message: &Message<'_>, draft: &Draft) {
        for id in message.ids() {
            let known = self.0.remove(&id).filter(|known| !are_two(known, &draft.user)).unwrap_or_default();
            let mut all = Draft { user: draft.user.clone(), ..Draft::default() };
            all.fill_from(Draft { user: known, ..Draft::default() });
            self.0.insert(id, all.user);
        }
    }

    fn complete(&self, message: &Message<'_>, draft: &mut Draft) {
        for user in message.ids().filter_map(|id| self.0.get(&id)) {
            if !are_two(user, &draft.user) {
                draft.fill_from(Draft { user: user.clone(), ..Draft::default() });
            }
        }
    }
}

/// Whether two users' ids say that these are not the same person: one browser may be used by several.
fn are_two(one: &RawUser, other: &RawUser) -> bool {
    let ids = |user: &RawUser| user.external_ids.first().map(|id| id.expose().to_owned());
    ids(one).zip(ids(other)).is_some_and(|(one, other)| one != other)
}
