//! When a delivery is tried again. Pure: an attempt number in, a span of time out.
//!
//! The schedule is the `backoff` crate's; nothing else of that crate is used, and nothing outside this file knows it. It is
//! unmaintained (RUSTSEC-2025-0012), so it can be replaced here alone.

use std::time::Duration;

use backoff::{ExponentialBackoff, backoff::Backoff as _};

/// No platform's wish is honoured beyond this. The longest that is known is six hours (a new Google conversion action).
const WISH_MAX: Duration = Duration::from_secs(24 * 3600);
/// Full jitter may draw nothing at all; this much is always waited.
const FLOOR: Duration = Duration::from_millis(50);

/// Exponential growth with full jitter: the n-th wait is drawn evenly from nothing to `first` times 2ⁿ, at most `max`.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    /// Ceiling of the first wait.
    pub first: Duration,
    /// Ceiling of every wait.
    pub max: Duration,
}

impl Schedule {
    /// How long to wait after `attempts` attempts (at least one). A platform's wish is kept if it is longer.
    #[must_use]
    pub fn wait(&self, attempts: u16, wish: Option<Duration>) -> Duration {
        // The crate draws from the interval plus or minus a share of it; a share of one around half the ceiling is full
        // jitter.
        let mut backoff = ExponentialBackoff {
            initial_interval: self.first / 2,
            current_interval: self.first / 2,
            max_interval: self.max / 2,
            multiplier: 2.0,
            randomization_factor: 1.0,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        let mut wait = Duration::ZERO;
        // After 40 doublings any ceiling is reached.
        for _ in 0..attempts.clamp(1, 40) {
            wait = backoff.next_backoff().unwrap_or(self.max);
        }
        wait.max(wish.unwrap_or_default().min(WISH_MAX)).max(FLOOR.min(self.max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule = Schedule { first: Duration::from_secs(1), max: Duration::from_secs(600) };

    #[test]
    fn waits_grow_to_their_ceiling_and_use_all_of_it() {
        for attempts in [1_u16, 2, 5, 10, 11, 40, u16::MAX] {
            let ceiling = Duration::from_secs(1_u64.checked_shl(u32::from(attempts) - 1).unwrap_or(600).min(600));
            let waits: Vec<Duration> = (0..300).map(|_| SCHEDULE.wait(attempts, None)).collect();
            let (low, high) = (waits.iter().min().expect("some"), waits.iter().max().expect("some"));
            assert!(*high <= ceiling, "{attempts}: {high:?} over {ceiling:?}");
            assert!(*high > ceiling.mul_f32(0.8), "{attempts}: {high:?} uses too little of {ceiling:?}");
            assert!(*low < ceiling.mul_f32(0.2).max(Duration::from_millis(100)), "{attempts}: {low:?} is not jittered");
        }
    }

    #[test]
    fn a_platforms_wish_is_kept_up_to_a_day() {
        let hours = |hours: u64| Some(Duration::from_secs(hours * 3600));
        assert_eq!(SCHEDULE.wait(1, hours(6)), Duration::from_secs(6 * 3600));
        assert_eq!(SCHEDULE.wait(1, hours(600)), WISH_MAX);
    }
}
