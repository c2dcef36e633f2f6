//! How many requests one destination may have in flight: one more while it keeps up, a tenth fewer when it pushes back or
//! slows down. Pure: instants in, a number out.
//!
//! This is additive increase and multiplicative decrease as Vector's adaptive request concurrency has it. Requests here
//! carry anything from one event to thousands, so a request is compared only with those of about its own size: sizes are
//! put into classes by powers of two, and each class has an average of its own.
//! Source: <https://vector.dev/blog/adaptive-request-concurrency/>, read 2026-11-20.

use std::time::{Duration, Instant};

/// Where a limit starts, unless the cap is lower: one request that hangs does not hold up everything from the first second.
const START: usize = 2;
/// Weight of the latest observation in an average.
const ALPHA: f64 = 0.4;
/// What is left of the limit after a push-back.
const DECREASE: f64 = 0.9;
/// How many deviations above the average count as slowing down.
const DEVIATIONS: f64 = 2.5;
/// A deviation is taken to be at least this share of the average: an answer that always takes the same time would
/// otherwise make the first one that differs look like trouble.
const DEVIATION_SHARE_MIN: f64 = 0.1;
/// Up to this share above the average still counts as keeping up: two averages of the same are never quite the same.
const TOLERANCE: f64 = 0.05;
/// Sizes of batches up to 2¹⁵ have a class of their own.
const CLASSES: usize = 16;

/// The limit of one destination.
#[derive(Debug)]
pub(super) struct Limit {
    cap: usize,
    current: usize,
    in_flight: usize,
    /// Whether there would have been use for more since the last change.
    reached: bool,
    pushed_back: bool,
    classes: [Class; CLASSES],
    /// When the limit may change next: one round trip after it changed last.
    judge_at: Option<Instant>,
}

/// Round trips of requests of about one size, in seconds.
#[derive(Clone, Copy, Debug, Default)]
struct Class {
    average: Option<Average>,
    sum: f64,
    count: f64,
}

/// A moving average with its variance.
#[derive(Clone, Copy, Debug)]
struct Average {
    mean: f64,
    variance: f64,
}

impl Average {
    fn deviation(self) -> f64 {
        self.variance.sqrt().max(self.mean * DEVIATION_SHARE_MIN)
    }

    fn with(self, value: f64) -> Self {
        let difference = value - self.mean;
        let step = ALPHA * difference;
        Self { mean: self.mean + step, variance: (1.0 - ALPHA) * (self.variance + difference * step) }
    }
}

impl Limit {
    /// A limit that never goes over `cap`.
    pub(super) fn new(cap: usize) -> Self {
        let cap = cap.max(1);
        Self {
            cap,
            current: START.min(cap),
            in_flight: 0,
            reached: false,
            pushed_back: false,
            classes: [Class::default(); CLASSES],
            judge_at: None,
        }
    }

    /// How many requests may be in flight now.
    pub(super) const fn current(&self) -> usize {
        self.current
    }

    /// How many are.
    pub(super) const fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Whether one more may start.
    pub(super) const fn has_room(&self) -> bool {
        self.in_flight < self.current
    }

    /// Takes a place for a request.
    pub(super) fn start(&mut self) {
        self.in_flight += 1;
        self.reached |= !self.has_room();
    }

    /// Gives a place back.
    pub(super) fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Notes how long a request that carried `size` events took, and whether the platform asked for less.
    pub(super) fn answered(&mut self, now: Instant, took: Duration, size: usize, pushed_back: bool) {
        let rtt = took.as_secs_f64();
        if pushed_back {
            // How fast somebody says no tells nothing about how fast the work is done.
            self.pushed_back = true;
        } else {
            let class = &mut self.classes[(size.max(1).ilog2() as usize).min(CLASSES - 1)];
            class.sum += rtt;
            class.count += 1.0;
        }
        match self.judge_at {
            Some(at) if now < at => {}
            // The first answer only says how long to watch.
            None if !pushed_back => self.close(now, rtt),
            _ => {
                self.judge();
                self.close(now, rtt);
            }
        }
    }

    fn judge(&mut self) {
        // The averages of the classes, weighted by what was seen of each.
        let (mut seen, mut usual, mut deviation) = (0.0, 0.0, 0.0);
        for class in &self.classes {
            if let (Some(average), true) = (class.average, class.count > 0.0) {
                seen += class.sum;
                usual += class.count * average.mean;
                deviation += class.count * average.deviation();
            }
        }
        if self.pushed_back || seen > usual + DEVIATIONS * deviation {
            // Rounded down, so that it always becomes less.
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "between 0 and the cap")]
            let fewer = (self.current as f64 * DECREASE).floor() as usize;
            self.current = fewer.max(1);
        } else if self.reached && seen <= usual * (1.0 + TOLERANCE) && self.current < self.cap {
            self.current += 1;
        }
    }

    /// Takes what was seen into the averages, and begins anew.
    fn close(&mut self, now: Instant, rtt: f64) {
        for class in &mut self.classes {
            if class.count > 0.0 {
                let mean = class.sum / class.count;
                let first = Average { mean, variance: 0.0 };
                class.average = Some(class.average.map_or(first, |average| average.with(mean)));
                (class.sum, class.count) = (0.0, 0.0);
            }
        }
        self.pushed_back = false;
        self.reached = !self.has_room();
        self.judge_at = Some(now + Duration::from_secs_f64(rtt.clamp(0.0, 60.0)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A platform with as many requests in flight as are let through, all of one size: `rounds` round trips of `took`.
    struct Platform {
        limit: Limit,
        now: Instant,
    }

    impl Platform {
        fn new(cap: usize) -> Self {
            Self { limit: Limit::new(cap), now: Instant::now() }
        }

        fn busy(&mut self, rounds: usize, ms: u64, size: usize, pushed_back: bool) {
            for _ in 0..rounds {
                let mut started = 0;
                while self.limit.has_room() {
                    self.limit.start();
                    started += 1;
                }
                self.now += Duration::from_millis(ms);
                for _ in 0..started {
                    self.limit.answered(self.now, Duration::from_millis(ms), size, pushed_back);
                    self.limit.end();
                }
            }
        }
    }

    #[test]
    fn it_grows_to_its_cap_while_the_platform_keeps_up_and_no_further() {
        let mut platform = Platform::new(16);
        assert_eq!(platform.limit.current(), START);
        platform.busy(30, 100, 1000, false);
        assert_eq!(platform.limit.current(), 16);
    }

    #[test]
    fn it_does_not_grow_without_use_for_more() {
        let mut limit = Limit::new(16);
        let mut now = Instant::now();
        for _ in 0..30 {
            assert!(limit.has_room());
            limit.start();
            now += Duration::from_millis(100);
            limit.answered(now, Duration::from_millis(100), 1, false);
            limit.end();
        }
        assert_eq!(limit.current(), START, "one request at a time needs no more");
    }

    #[test]
    fn a_push_back_takes_a_tenth_once_for_each_round_trip_and_never_the_last_one() {
        let mut platform = Platform::new(20);
        platform.busy(40, 100, 1000, false);
        assert_eq!(platform.limit.current(), 20);
        platform.busy(1, 100, 1000, true);
        assert_eq!(platform.limit.current(), 18, "twenty refusals of one moment count once");
        platform.busy(100, 100, 1000, true);
        assert_eq!(platform.limit.current(), 1);
        platform.busy(60, 100, 1000, false);
        assert_eq!(platform.limit.current(), 20, "it recovers");
    }

    #[test]
    fn a_platform_that_slows_down_gets_less() {
        let mut platform = Platform::new(20);
        platform.busy(40, 100, 1000, false);
        platform.busy(2, 400, 1000, false);
        assert_eq!(platform.limit.current(), 18);
    }

    #[test]
    fn a_large_batch_after_small_ones_is_no_sign_of_trouble() {
        let mut platform = Platform::new(20);
        platform.busy(40, 10, 1, false);
        assert_eq!(platform.limit.current(), 20);
        platform.busy(10, 900, 2000, false);
        assert_eq!(platform.limit.current(), 20);
        platform.busy(1, 10, 1, false);
        assert_eq!(platform.limit.current(), 20);
        platform.busy(2, 3600, 2000, false);
        assert_eq!(platform.limit.current(), 18, "but four times its own average is");
    }

    #[test]
    fn jitter_of_a_tenth_does_not_keep_it_from_its_cap() {
        let mut platform = Platform::new(16);
        for round in 0..80 {
            platform.busy(1, 95 + (round * 7) % 11, 1000, false);
        }
        assert!(platform.limit.current() >= 14, "{}", platform.limit.current());
    }

    /// The share of its cap that a limit has on average, with always more to send and answers that take 70 ms and an
    /// exponentially distributed rest of 30 ms on average.
    fn share_of(cap: usize) -> f64 {
        let mut limit = Limit::new(cap);
        let (began, mut random) = (Instant::now(), 1_u64);
        let mut ends: Vec<(u64, u64)> = Vec::new();
        let (mut now, mut sum, answers) = (0_u64, 0, 20_000);
        for _ in 0..answers {
            while limit.has_room() {
                limit.start();
                // Knuth's MMIX generator: the same numbers in every run.
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let uniform = ((random >> 11) as f64 / (1_u64 << 53) as f64).max(1e-9);
                let took = 70_000 + (-uniform.ln() * 30_000.0) as u64;
                ends.push((now + took, took));
            }
            ends.sort_unstable_by(|a, b| b.cmp(a));
            let (at, took) = ends.pop().expect("something is in flight");
            now = at;
            limit.answered(began + Duration::from_micros(now), Duration::from_micros(took), 1000, false);
            limit.end();
            sum += limit.current();
        }
        sum as f64 / answers as f64 / cap as f64
    }

    #[test]
    fn answers_that_take_now_longer_and_now_shorter_cost_little() {
        for cap in [2, 4, 16, 64] {
            let share = share_of(cap);
            assert!(share > 0.85, "{share} of {cap}");
        }
    }

    #[test]
    fn what_is_in_flight_stays_under_the_limit_when_that_falls() {
        let mut limit = Limit::new(10);
        limit.start();
        limit.start();
        assert!(!limit.has_room());
        let now = Instant::now();
        limit.answered(now, Duration::from_millis(5), 1, true);
        assert_eq!((limit.current(), limit.in_flight()), (1, 2));
        limit.end();
        assert!(!limit.has_room(), "one is still in flight");
        limit.end();
        assert!(limit.has_room());
    }
}
