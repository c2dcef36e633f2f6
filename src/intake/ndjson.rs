//! `POST /v1/events` with one event on each line (NDJSON, also called JSON lines): read, checked and accepted in groups
//! while the body arrives, so that its length costs no memory but for its answer.
//!
//! The answer comes at the end, with a result for each line that is not blank. If the reading ends before the body does,
//! the answer is a problem with two more members: `lines`, how many lines from the first are done with, so that the sender
//! can go on behind them, and their `results`.

use std::mem;

use axum::{
    body::Body,
    http::{HeaderMap, StatusCode, header},
    response::{IntoResponse as _, Response},
};
use bytes::{Bytes, BytesMut};
use serde::Serialize;

use super::{
    Intake,
    api::{self, Answer, Answers},
    read::Reader,
    wire::Post,
};
use crate::{
    model::{EventId, RawEvent, SourceName},
    store::StoreError,
    web::{BODY_TIME_MAX, Problem, discard, part, read_json},
};

/// Lines of one request.
const LINES_MAX: usize = 100_000;
/// Bytes of one answer, about: what thousands of refusals say adds up.
const ANSWER_BYTES_MAX: usize = 32 << 20;
/// What a result takes up besides its texts, about.
const RESULT_BYTES: usize = 80;

/// Whether the body says that it is read line by line.
pub(super) fn is_ndjson(headers: &HeaderMap) -> bool {
    let given = headers.get(header::CONTENT_TYPE).and_then(|given| given.to_str().ok()).unwrap_or("");
    let essence = given.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    let known = ["application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonlines"];
    known.contains(&essence.as_str())
}

/// Accepts the events of a body, line by line.
pub(super) async fn accept(intake: &Intake, source: &SourceName, body: Body) -> Response {
    let mut taken = Taken { intake, source, group: Group::default(), done: 0, results: Vec::new(), bytes: 0 };
    let mut lines = Lines::new(body, intake.body_bytes_max);
    match taken.all(&mut lines).await {
        Ok(()) if taken.results.is_empty() => {
            let problem = Problem::invalid("", "the body holds no event: there has to be one on each line");
            api::refused(intake, source, &problem);
            problem.into_response()
        }
        Ok(()) => api::json(api::status(&taken.results), &Answers { results: taken.results }),
        Err(problem) => {
            if problem.status != StatusCode::REQUEST_TIMEOUT.as_u16() {
                // Closing the connection with bytes unread would cost the sender this answer.
                discard(lines.body).await;
            }
            taken.stopped(problem)
        }
    }
}

/// What of a request is done with, and what is read and waits for the rest of its group.
struct Taken<'a> {
    intake: &'a Intake,
    source: &'a SourceName,
    group: Group,
    /// Lines that are done with, from the first.
    done: usize,
    /// What became of them.
    results: Vec<Answer>,
    /// About how long these are.
    bytes: usize,
}

/// Events that are stored together.
#[derive(Default)]
struct Group {
    /// What was read of each line; the id alone of what waits to be stored.
    lines: Vec<(usize, Result<EventId, Problem>)>,
    events: Vec<RawEvent>,
    /// Of the lines.
    bytes: usize,
}

impl Taken<'_> {
    async fn all(&mut self, lines: &mut Lines) -> Result<(), Problem> {
        loop {
            let read = lines.next().await;
            let read = match read {
                Ok(Some(read)) => read,
                Ok(None) => return self.store(lines.number).await,
                Err(problem) => {
                    // What arrived whole was sent, whatever became of the rest. The line that broke off is not one.
                    self.store(lines.number).await?;
                    return Err(problem);
                }
            };
            self.take(lines.number, read);
            let Group { lines: group, bytes, .. } = &self.group;
            if group.len() >= self.intake.batch_max || *bytes >= self.intake.body_bytes_max {
                self.store(lines.number).await?;
            }
            if lines.number >= LINES_MAX || self.bytes >= ANSWER_BYTES_MAX {
                self.store(lines.number).await?;
                return if lines.is_over().await { Ok(()) } else { Err(too_long()) };
            }
        }
    }

    /// Checks one line.
    fn take(&mut self, number: usize, line: Line) {
        let read = match &line {
            Line::Whole(bytes) if bytes.iter().all(u8::is_ascii_whitespace) => return,
            Line::Whole(bytes) => {
                self.group.bytes += bytes.len();
                self.event(bytes).map_err(of_the_line)
            }
            Line::TooLong => {
                let mut problem = Problem::too_large(self.intake.body_bytes_max);
                let detail = format!("the line is over the limit of {} bytes", self.intake.body_bytes_max);
                problem.detail = detail.into();
                Err(problem)
            }
        };
        let read = match read {
            Ok(event) => {
                let id = event.event_id.clone();
                self.group.events.push(event);
                Ok(id)
            }
            Err(problem) => {
                api::refused(self.intake, self.source, &problem);
                Err(problem)
            }
        };
        self.group.lines.push((number, read));
    }

    fn event(&self, line: &[u8]) -> Result<RawEvent, Problem> {
        let post: Post<'_> = read_json(line, "")?;
        if post.events.is_some() {
            return Err(Problem::invalid("/events", "events: a line is one event, without a list around it"));
        }
        Reader { base: "", source: self.source, now: self.intake.clock.now() }.event(post)
    }

    /// Brings the group to where it is durable; then `read` lines are done with.
    async fn store(&mut self, read: usize) -> Result<(), Problem> {
        let Group { lines, events, .. } = mem::take(&mut self.group);
        let accepted = if events.is_empty() {
            Vec::new()
        } else {
            self.intake.pipeline.accept(events).await.map_err(not_all_stored)?
        };
        let mut accepted = accepted.into_iter();
        let before = self.results.len();
        for (line, read) in lines {
            let result = match read {
                Ok(id) => accepted.next().map(|accepted| api::answer(id, accepted, "")),
                Err(problem) => Some(Answer::refused(None, problem)),
            };
            let Some(result) = result else { continue };
            let id = result.event_id.as_ref().map_or(0, |id| id.as_str().len());
            let why = result.problem.as_ref().map_or(0, |problem| RESULT_BYTES + problem.detail.len());
            self.bytes += RESULT_BYTES + id + why;
            self.results.push(Answer { line: Some(line), ..result });
        }
        api::tally(self.intake, self.source, &self.results[before..]);
        self.done = read;
        Ok(())
    }

    /// The answer if the reading ended before the body did.
    fn stopped(self, problem: Problem) -> Response {
        #[derive(Serialize)]
        struct Stopped<'a> {
            #[serde(flatten)]
            problem: &'a Problem,
            lines: usize,
            results: Vec<Answer>,
        }
        tracing::warn!(source = %self.source, problem = problem.kind, lines = self.done, "stopped reading lines");
        let told = Stopped { problem: &problem, lines: self.done, results: self.results };
        let body = serde_json::to_vec(&told).unwrap_or_default();
        let (parts, _) = problem.into_response().into_parts();
        Response::from_parts(parts, body.into())
    }
}

/// A problem of JSON says where in the body it is; here that is the line.
fn of_the_line(mut problem: Problem) -> Problem {
    let detail = problem.detail.replacen("the body ", "the line ", 1).replacen("line 1, column", "column", 1);
    problem.detail = detail.into();
    problem
}

fn not_all_stored(error: StoreError) -> Problem {
    let full = matches!(error, StoreError::Full);
    let mut problem = Problem::from(error);
    if problem.status == StatusCode::SERVICE_UNAVAILABLE.as_u16() {
        let why = if full {
            "a destination has as many deliveries waiting as are allowed"
        } else {
            "the store cannot write at the moment"
        };
        let detail = format!("{why}; the first `lines` lines are done with, send those behind them again later");
        problem.detail = detail.into();
    }
    problem
}

fn too_long() -> Problem {
    let mut problem = Problem::too_large(0);
    let detail = format!(
        "the body has more than the {LINES_MAX} lines, or the refusals, of one request; the first `lines` lines are done \
         with, send those behind them in a request of their own"
    );
    problem.detail = detail.into();
    problem
}

fn incomplete() -> Problem {
    let mut problem = Problem::incomplete();
    let detail = "the body broke off or did not arrive in time; the first `lines` lines are done with, of the others \
                  nothing was stored";
    problem.detail = detail.into();
    problem
}

/// One line of a body.
enum Line {
    /// Without its end.
    Whole(Bytes),
    /// It is over the limit, and was not kept.
    TooLong,
}

/// Takes a body apart, holding one line and what arrived with it.
struct Lines {
    body: Body,
    arrived: BytesMut,
    /// So much of `arrived` holds no end of a line.
    searched: usize,
    /// The bytes of a line.
    limit: usize,
    /// The line at hand is over the limit, and its beginning is gone.
    too_long: bool,
    /// The body is at its end.
    ended: bool,
    /// Lines there were so far.
    number: usize,
}

impl Lines {
    fn new(body: Body, limit: usize) -> Self {
        Self { body, arrived: BytesMut::new(), searched: 0, limit, too_long: false, ended: false, number: 0 }
    }

    /// The next line, blank or not; one without an end only if the body came to its own. Who does not bring a whole line
    /// in the time that another body may take is cut off: a body may take as long as it likes, as long as it gets on.
    async fn next(&mut self) -> Result<Option<Line>, Problem> {
        match tokio::time::timeout(BODY_TIME_MAX, self.read()).await {
            Ok(read) => read,
            Err(_) => Err(incomplete()),
        }
    }

    async fn read(&mut self) -> Result<Option<Line>, Problem> {
        loop {
            if let Some(line) = self.line() {
                return Ok(Some(line));
            }
            if self.ended {
                let rest = mem::take(&mut self.arrived).freeze();
                return Ok((self.too_long || !rest.is_empty()).then(|| self.one(rest)));
            }
            self.fill().await?;
        }
    }

    async fn fill(&mut self) -> Result<(), Problem> {
        match part(&mut self.body).await {
            Some(Ok(bytes)) => self.arrived.extend_from_slice(&bytes),
            Some(Err(_)) => return Err(incomplete()),
            None => self.ended = true,
        }
        Ok(())
    }

    /// The next line, if it arrived whole.
    fn line(&mut self) -> Option<Line> {
        if let Some(length) = self.arrived[self.searched..].iter().position(|&byte| byte == b'\n') {
            let line = self.arrived.split_to(self.searched + length + 1).freeze();
            return Some(self.one(line.slice(..line.len() - 1)));
        }
        if self.arrived.len() > self.limit {
            self.too_long = true;
        }
        if self.too_long {
            self.arrived.clear();
        }
        self.searched = self.arrived.len();
        None
    }

    fn one(&mut self, bytes: Bytes) -> Line {
        self.number += 1;
        self.searched = 0;
        if mem::take(&mut self.too_long) || bytes.len() > self.limit { Line::TooLong } else { Line::Whole(bytes) }
    }

    /// Whether nothing comes any more.
    async fn is_over(&mut self) -> bool {
        let nothing_more = async {
            while self.arrived.is_empty() && !self.ended {
                self.fill().await?;
            }
            Ok::<bool, Problem>(self.arrived.is_empty())
        };
        matches!(tokio::time::timeout(BODY_TIME_MAX, nothing_more).await, Ok(Ok(true)))
    }
}
