//! One request: put together, sent, and read.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    file_sink::FileSink,
    https::NoAnswer,
    unknown,
    worker::{Transport, Worker},
};
use crate::{
    destinations::{Request, Response, Verdict},
    model::{Attempt, Failure, FileMark, SealedEvent},
};

/// Larger batches are put together where blocking is allowed: it takes milliseconds, in which requests are to be answered.
pub(super) const INLINE_MAX: usize = 32;

/// What came of one request.
pub(super) struct Answered {
    pub(super) verdicts: Vec<Verdict>,
    pub(super) attempt: Attempt,
    pub(super) mark: Option<FileMark>,
    /// The platform may have what is to be tried again.
    pub(super) unknown: bool,
    /// The platform has too much of us.
    pub(super) pushed_back: bool,
    /// How long it wants to be left alone.
    pub(super) throttle: Option<Duration>,
    /// The body of the request, if there was one.
    pub(super) request: Option<Bytes>,
    /// The body of the answer.
    pub(super) answer: Bytes,
}

impl Worker {
    /// The request that carries `events`, and the events.
    pub(super) async fn prepare(&self, events: Vec<SealedEvent>) -> (Vec<SealedEvent>, Request) {
        let destination = Arc::clone(&self.place.destination);
        let few = events.len() <= INLINE_MAX;
        let work = move || {
            let request = destination.prepare(&events);
            (events, request)
        };
        if few {
            return work();
        }
        unless_panicked(tokio::task::spawn_blocking(work).await)
    }

    /// Sends one request. The error says why the destination is to be paused.
    pub(super) async fn send(&self, events: &[SealedEvent], request: Request) -> Result<Answered, Failure> {
        let destination = &self.place.destination;
        let at = self.tools.clock.now();
        let began = Instant::now();
        let attempt = Attempt { at, ..Attempt::default() };
        let mut answered = Answered {
            verdicts: Vec::new(),
            attempt,
            mark: None,
            unknown: false,
            pushed_back: false,
            throttle: None,
            request: None,
            answer: Bytes::new(),
        };
        let retry_all =
            |failure: Failure, after: Option<Duration>| vec![Verdict::Retry { after, failure }; events.len()];
        match (request, &self.transport) {
            (Request::Http(request), Transport::Https(https)) => {
                match https.send(destination.profile(), &request, at).await {
                    Ok(response) => self.read(events, response, &mut answered),
                    Err(NoAnswer::Failed { failure, after, unknown }) => {
                        answered.verdicts = retry_all(failure, after);
                        (answered.unknown, answered.pushed_back) = (unknown, true);
                    }
                    Err(NoAnswer::Blocked(failure)) => return Err(failure),
                }
                answered.request = Some(request.body);
            }
            (Request::Rows(rows), Transport::File(sink)) => {
                match blocking(sink, move |sink| sink.append(&rows, at)).await {
                    Ok(written) => {
                        answered.mark = Some(written);
                        answered.verdicts = destination.interpret(events, &Response::Written);
                    }
                    Err(error) => {
                        let failure = Failure { code: "file".into(), field: None, message: error.to_string() };
                        answered.verdicts = retry_all(failure, None);
                    }
                }
            }
            _ => {
                let message = "the destination's requests do not fit its transport".to_owned();
                answered.verdicts = retry_all(Failure { code: "transport".into(), field: None, message }, None);
            }
        }
        let took = began.elapsed();
        self.tools.metrics.took(&self.place.name, took);
        answered.attempt.duration_ms = u32::try_from(took.as_millis()).unwrap_or(u32::MAX);
        answered.verdicts = complete(answered.verdicts, events.len());
        let pushed_back = answered.pushed_back
            || answered.throttle.is_some()
            || answered.verdicts.iter().all(|verdict| matches!(verdict, Verdict::Retry { .. }));
        self.with_limit(|limit| limit.answered(Instant::now(), took, events.len(), pushed_back));
        Ok(answered)
    }

    /// Reads an answer by HTTP.
    fn read(&self, events: &[SealedEvent], response: Response, answered: &mut Answered) {
        let destination = &self.place.destination;
        answered.verdicts = destination.interpret(events, &response);
        answered.attempt.trace_id = destination.trace_id(&response);
        answered.attempt.receipt = destination.is_receipt(&response);
        answered.throttle = destination.throttle(&response).filter(|wait| !wait.is_zero());
        answered.unknown = unknown::is_unknown(&response);
        if let Response::Http { status, body, .. } = response {
            answered.attempt.status = Some(status);
            answered.pushed_back = matches!(status, 429 | 500..=599);
            answered.answer = body;
        }
    }
}

/// Works on an import file where blocking is allowed.
pub(super) async fn blocking<T: Send + 'static>(
    sink: &Arc<Mutex<FileSink>>,
    work: impl FnOnce(&mut FileSink) -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    let sink = Arc::clone(sink);
    let done = tokio::task::spawn_blocking(move || work(&mut sink.lock().unwrap_or_else(PoisonError::into_inner)));
    done.await.map_err(std::io::Error::other)?
}

/// What a blocking task returned; its panic goes on here.
pub(super) fn unless_panicked<T>(done: Result<T, tokio::task::JoinError>) -> T {
    match done {
        Ok(done) => done,
        Err(error) => std::panic::resume_unwind(error.into_panic()),
    }
}

/// A destination that answers for fewer events than it was asked about loses none: the others are tried again.
fn complete(mut verdicts: Vec<Verdict>, events: usize) -> Vec<Verdict> {
    let failure = Failure { code: "no_verdict".into(), ..Failure::default() };
    verdicts.resize(events, Verdict::Retry { after: None, failure });
    verdicts
}
