//! A platform's limit of requests, kept by ourselves: it would answer what comes above it with refusals, and count them.
//! Pure: instants in, a wait out.

use std::time::{Duration, Instant};

use crate::destinations::Rate;

/// This share of the limit may go out at once, the rest comes back evenly: together never more than the limit in any such
/// time.
const AT_ONCE: f64 = 0.2;

/// What is left of a limit.
#[derive(Debug)]
pub(super) struct Bucket {
    most: f64,
    /// Requests that come back in a second.
    refill: f64,
    left: f64,
    seen: Option<Instant>,
}

impl Bucket {
    pub(super) fn new(rate: Rate) -> Self {
        let requests = f64::from(rate.requests.max(1));
        let most = (requests * AT_ONCE).floor().max(1.0);
        let refill = (requests * (1.0 - AT_ONCE)).max(1.0) / rate.per.as_secs_f64().max(f64::MIN_POSITIVE);
        Self { most, refill, left: most, seen: None }
    }

    fn refresh(&mut self, now: Instant) {
        let passed = self.seen.map_or(0.0, |seen| now.saturating_duration_since(seen).as_secs_f64());
        self.left = (self.left + passed * self.refill).min(self.most);
        self.seen = Some(now);
    }

    /// How long to wait for the next request; zero if it may go.
    pub(super) fn wait(&mut self, now: Instant) -> Duration {
        self.refresh(now);
        Duration::from_secs_f64(((1.0 - self.left) / self.refill).max(0.0))
    }

    /// Notes a request. One that could not wait, as it is part of taking a batch apart, is made up for later.
    pub(super) fn take(&mut self, now: Instant) {
        self.refresh(now);
        self.left -= 1.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_stretch_of_time_sees_more_than_the_limit() {
        let (start, minute) = (Instant::now(), Duration::from_secs(60));
        let mut bucket = Bucket::new(Rate { requests: 300, per: minute });
        let (mut now, mut sent) = (start, Vec::new());
        while now < start + minute * 3 {
            let wait = bucket.wait(now);
            now += wait + Duration::from_millis(1);
            bucket.take(now);
            sent.push(now);
        }
        let most = (0..sent.len()).map(|i| sent[i..].iter().take_while(|at| **at < sent[i] + minute).count()).max();
        assert!(most.is_some_and(|most| (290..=301).contains(&most)), "{most:?}");
        assert!(sent[59] < start + Duration::from_secs(1), "a fifth at once");
    }

    #[test]
    fn what_could_not_wait_is_made_up_for() {
        let now = Instant::now();
        let mut bucket = Bucket::new(Rate { requests: 1, per: Duration::from_secs(86_400) });
        assert_eq!(bucket.wait(now), Duration::ZERO);
        bucket.take(now);
        bucket.take(now);
        let wait = bucket.wait(now).as_secs();
        assert!((2 * 86_400 - 5..=2 * 86_400 + 5).contains(&wait), "{wait}");
    }
}
