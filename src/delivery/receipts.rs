//! What became of events whose request only got a receipt: the platform is asked later, again and again until it says.

use std::{sync::Arc, time::Duration};

use tokio::sync::watch;

use super::{
    State,
    https::{Https, NoAnswer},
    worker::{Transport, Worker},
};
use crate::{
    destinations::Report,
    model::Time,
    store::{Answer, Receipt},
};

/// Two questions are at least this far apart: 50,000 a day are allowed for each Cloud project.
/// Source: <https://developers.google.com/data-manager/api/devguides/limits>, read 2026-11-20.
const SPACING: Duration = Duration::from_millis(1800);
/// How often a destination without receipts is looked at, and the longest anything sleeps.
const LOOK_EVERY: Duration = Duration::from_secs(30);
/// A request that is still worked on is asked about after this, and then twice as long each time.
/// Source: <https://developers.google.com/data-manager/api/devguides/diagnostics>, read 2026-11-20.
const PENDING_FIRST: Duration = Duration::from_secs(30 * 60);
/// And at most this.
const PENDING_MAX: Duration = Duration::from_secs(24 * 3600);
/// When the answer could not be used, or there was none.
const RETRY: Duration = Duration::from_secs(10 * 60);
/// Platforms forget requests after about this (`REQUEST_TOO_OLD`).
/// Source: google-ads-datamanager 0.9.4, `google/ads/datamanager_v1/types/error.py`, read 2026-11-20.
const KEPT: Duration = Duration::from_secs(50 * 86_400);
/// The reason that events which were taken are counted under.
const TAKEN: &str = "taken";

impl Worker {
    /// Asks about receipts until `stopped`.
    pub(super) async fn ask_about_receipts(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        let Transport::Https(https) = &self.transport else { return };
        // When the platform could not be asked: no question about another receipt fares better.
        let mut failed_at: Option<Time> = None;
        while !*stopped.borrow() {
            let now = self.tools.clock.now();
            let rest = failed_at.map_or(Duration::ZERO, |at| at.plus(RETRY).since(now));
            let going = !matches!(self.tools.status.of(&self.place.name), State::Stopped(_));
            let wait = match self.tools.store.next_receipt(self.place.id) {
                Some(due) if going && rest.is_zero() && due <= now => {
                    // A question that is given up is asked again after the next start.
                    let failed = tokio::select! {
                        failed = self.ask_next(https, now) => failed,
                        _ = stopped.changed() => return,
                    };
                    failed_at = failed.then_some(now);
                    SPACING
                }
                Some(due) if going => rest.max(due.since(now)),
                Some(_) | None => LOOK_EVERY,
            };
            tokio::select! {
                () = tokio::time::sleep(wait.clamp(SPACING, LOOK_EVERY)) => {}
                _ = stopped.changed() => {}
            }
        }
    }

    /// Asks about the receipt that is due first. Whether the platform could not be asked.
    async fn ask_next(&self, https: &Https, now: Time) -> bool {
        let name = &self.place.name;
        let receipt = match self.tools.store.receipts(self.place.id, now, 1).await {
            Ok(receipts) => receipts.into_iter().next(),
            Err(error) => {
                tracing::error!(destination = %name, %error, "cannot read receipts");
                return true;
            }
        };
        let Some(receipt) = receipt else { return false };
        let Some(answer) = self.ask(https, &receipt, now).await else { return true };
        self.count_report(&answer);
        if let Err(error) = self.tools.store.report(self.place.id, receipt.number, answer).await {
            tracing::error!(destination = %name, %error, "cannot record what a platform reported");
            return true;
        }
        false
    }

    /// What the platform says of a receipt; `None` if it could not be asked, which counts for nothing.
    async fn ask(&self, https: &Https, receipt: &Receipt, now: Time) -> Option<Answer> {
        if receipt.sent_at.plus(KEPT) <= now {
            return Some(lost(now, "the platform forgot the request before it answered for it"));
        }
        let destination = &self.place.destination;
        let Some(request) = destination.ask(&receipt.trace_id) else {
            return Some(lost(now, "this destination cannot be asked about requests any more"));
        };
        // Questions and deliveries share the platform's limit of requests.
        self.note_start();
        match https.send(destination.profile(), &request, now).await {
            Ok(response) => Some(answer(destination.report(&response), receipt, now)),
            Err(NoAnswer::Failed { failure, .. } | NoAnswer::Blocked(failure)) => {
                let (code, message) = (&failure.code, &failure.message);
                tracing::info!(destination = %self.place.name, code, message, "cannot ask what became of events");
                None
            }
        }
    }

    fn count_report(&self, answer: &Answer) {
        let (name, metrics) = (&self.place.name, &self.tools.metrics);
        if answer.taken > 0 {
            metrics.reported(name, TAKEN, answer.taken);
        }
        for (reason, count) in &answer.counts {
            metrics.reported(name, reason, *count);
        }
        if !answer.counts.is_empty() || answer.resend.is_some() {
            let (status, counts, resend) = (&answer.status, &answer.counts, answer.resend.is_some());
            tracing::info!(destination = %name, status, ?counts, resend, "the platform did not take everything");
        }
    }
}

fn lost(now: Time, why: &str) -> Answer {
    Answer { at: now, status: format!("lost: {why}"), taken: 0, counts: Vec::new(), again: None, resend: None }
}

/// What follows from a report.
fn answer(report: Report, receipt: &Receipt, now: Time) -> Answer {
    let open = |status: String, wait: Duration| {
        let again = now.plus(wait);
        if again > receipt.sent_at.plus(KEPT) {
            return lost(now, "the platform never said what became of it");
        }
        Answer { at: now, status, taken: 0, counts: Vec::new(), again: Some(again), resend: None }
    };
    match report {
        Report::Pending => {
            let wait = PENDING_FIRST.saturating_mul(2_u32.saturating_pow(u32::from(receipt.asked)));
            open("pending".into(), wait.min(PENDING_MAX))
        }
        Report::Final { status, taken, counts, resend_after } => {
            Answer { at: now, status, taken, counts, again: None, resend: resend_after.map(|wait| now.plus(wait)) }
        }
        Report::Lost(failure) => lost(now, &format!("{}: {}", failure.code, failure.message)),
        Report::Retry(failure) => open(format!("{}: {}", failure.code, failure.message), RETRY),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Failure;

    const SENT: Time = Time::from_secs(1_763_626_500);

    fn receipt(asked: u16) -> Receipt {
        Receipt { number: 1, trace_id: "t".into(), sent_at: SENT, asked }
    }

    #[test]
    fn the_platform_is_asked_ever_more_rarely_and_not_for_ever() {
        let now = SENT.plus(Duration::from_secs(1800));
        for (asked, minutes) in [(0, 30), (1, 60), (2, 120), (5, 960), (6, 1440), (7, 1440), (u16::MAX, 1440)] {
            let answer = answer(Report::Pending, &receipt(asked), now);
            assert_eq!(answer.again, Some(now.plus(Duration::from_secs(minutes * 60))), "{asked}");
        }
        let late = SENT.plus(KEPT - Duration::from_secs(3600));
        let last = answer(Report::Pending, &receipt(60), late);
        assert_eq!((last.again, &last.status[..5]), (None, "lost:"));
    }

    #[test]
    fn a_report_is_final_with_its_counts_and_may_ask_for_another_try() {
        let counts = vec![("TOO_RECENT_CLICK".to_owned(), 3)];
        let wait = Duration::from_secs(6 * 3600);
        let (status, taken) = ("PARTIAL_SUCCESS".to_owned(), 7);
        let report = Report::Final { status, taken, counts: counts.clone(), resend_after: Some(wait) };
        let answer = answer(report, &receipt(0), SENT);
        assert_eq!((answer.taken, answer.counts, answer.again), (7, counts, None));
        assert_eq!(answer.resend, Some(SENT.plus(wait)));
    }

    #[test]
    fn an_answer_that_cannot_be_used_is_asked_for_again_and_a_lost_one_is_not() {
        let failure = || Failure { code: "c".into(), field: None, message: "m".into() };
        let again = answer(Report::Retry(failure()), &receipt(9), SENT);
        assert_eq!((again.again, again.status.as_str()), (Some(SENT.plus(RETRY)), "c: m"));
        let gone = answer(Report::Lost(failure()), &receipt(9), SENT);
        assert_eq!((gone.again, gone.status.as_str()), (None, "lost: c: m"));
    }
}
