//! When something that failed is tried again: a circuit breaker as a pure state machine.

use std::time::Duration;

use aws_lc_rs::rand;
use tokio::time::Instant;

/// What failed so many times in a row is left alone for a growing while. The caller brings the time and the randomness.
///
/// ```text
///         failed so often               a while passed: one attempt
/// available --------> left alone <-----------------------------+
///     ^                   |                                    |
///     +-------------------+------ succeeded         failed: a longer while
/// ```
#[derive(Clone, Debug)]
pub(super) struct Pause {
    /// So many failures in a row begin it.
    threshold: u32,
    first: Duration,
    longest: Duration,
    /// In a row, while it is available.
    failures: u32,
    /// Changes with the state, and with each attempt that is granted while failing: outcomes of older ones tell nothing new.
    round: u64,
    failing: Option<Failing>,
}

#[derive(Clone, Copy, Debug)]
struct Failing {
    /// Grows with each attempt that fails.
    step: Duration,
    until: Instant,
}

/// Leave to try. Its outcome belongs into [`Pause::succeeded`] or [`Pause::failed`]; one that was cancelled has none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) struct Attempt(u64);

/// An outcome that changed the state: worth a line in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Failed { pause: Duration },
    Recovered,
}

impl Pause {
    /// After `threshold` failures in a row pauses from `first` up to `longest`, doubling.
    pub(super) fn new(threshold: u32, first: Duration, longest: Duration) -> Self {
        Self {
            threshold,
            first,
            longest,
            failures: 0,
            round: 0,
            failing: None,
        }
    }

    /// May it be tried now, or after how long? While it fails, one attempt at the end of each pause, and the next one a pause
    /// later even if that one was cancelled.
    pub(super) fn attempt(&mut self, now: Instant) -> Result<Attempt, Duration> {
        if let Some(failing) = &mut self.failing {
            if now < failing.until {
                return Err(failing.until - now);
            }
            failing.until = now + failing.step;
            self.round = self.round.wrapping_add(1);
        }
        Ok(Attempt(self.round))
    }

    pub(super) fn succeeded(&mut self, attempt: Attempt) -> Option<Change> {
        if attempt.0 != self.round {
            return None;
        }
        self.failures = 0;
        self.failing.take()?;
        self.round = self.round.wrapping_add(1);
        Some(Change::Recovered)
    }

    /// The pause is between half of its full length and all of it, by `random`, so that many processes do not come back at
    /// once; and no shorter than what was `asked` for, which begins it at once.
    pub(super) fn failed(
        &mut self,
        attempt: Attempt,
        now: Instant,
        asked: Option<Duration>,
        random: u16,
    ) -> Option<Change> {
        if attempt.0 != self.round {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.is_available() && self.failures < self.threshold && asked.is_none() {
            return None;
        }
        let step = self.failing.map_or(self.first, |failing| {
            failing.step.saturating_mul(2).min(self.longest)
        });
        let half = step / 2;
        let pause = half + half * u32::from(random) / u32::from(u16::MAX);
        let pause = pause.max(asked.unwrap_or_default());
        let first = self.failing.is_none();
        self.failing = Some(Failing {
            step,
            until: now + pause,
        });
        self.round = self.round.wrapping_add(1);
        first.then_some(Change::Failed { pause })
    }

    /// Did the last attempt that ended succeed, or was there none?
    pub(super) fn is_available(&self) -> bool {
        self.failing.is_none()
    }
}

/// To spread what many do at the same moment.
pub(super) fn random() -> u16 {
    let mut random = [0; 2];
    match rand::fill(&mut random) {
        Ok(()) => u16::from_le_bytes(random),
        Err(_) => u16::MAX,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::campaign::volume;

    const SECOND: Duration = Duration::from_secs(1);
    const FULL: u16 = u16::MAX;

    fn pause() -> Pause {
        Pause::new(1, SECOND, 30 * SECOND)
    }

    #[test]
    fn attempts_are_unlimited_until_one_fails() {
        let (mut pause, now) = (pause(), Instant::now());
        for _ in 0..3 {
            let attempt = pause.attempt(now).unwrap();
            assert_eq!(pause.succeeded(attempt), None);
        }
        let attempt = pause.attempt(now).unwrap();
        assert!(pause.is_available());
        let failed = Change::Failed { pause: SECOND };
        assert_eq!(pause.failed(attempt, now, None, FULL), Some(failed));
        assert!(!pause.is_available());
        assert!(pause.attempt(now).is_err());
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_one_success_ends_them() {
        let (mut pause, mut now) = (pause(), Instant::now());
        for round in 0..2 {
            let mut attempt = pause.attempt(now).unwrap();
            for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
                let change = pause.failed(attempt, now, None, FULL);
                let first = Change::Failed { pause: SECOND };
                assert_eq!(change, (seconds == 1).then_some(first), "{round}");
                let due = now + seconds * SECOND;
                assert!(pause.attempt(due - Duration::from_nanos(1)).is_err());
                attempt = pause.attempt(due).unwrap();
                now = due;
            }
            assert_eq!(pause.succeeded(attempt), Some(Change::Recovered));
            assert!(pause.is_available());
        }
    }

    #[test]
    fn one_attempt_at_the_end_of_a_pause_and_another_if_it_was_cancelled() {
        let (mut pause, now) = (pause(), Instant::now());
        let attempt = pause.attempt(now).unwrap();
        pause.failed(attempt, now, None, FULL);
        let due = now + SECOND;
        let cancelled = pause.attempt(due).unwrap();
        assert!(pause.attempt(due).is_err());
        assert!(pause.attempt(due + SECOND / 2).is_err());
        let second = pause.attempt(due + SECOND).unwrap();
        assert_ne!(cancelled, second);
        assert_eq!(pause.succeeded(second), Some(Change::Recovered));
    }

    #[test]
    fn attempts_that_were_under_way_count_once() {
        let (mut pause, now) = (pause(), Instant::now());
        let many: Vec<_> = (0..100).map(|_| pause.attempt(now).unwrap()).collect();
        let changes = many
            .iter()
            .filter_map(|one| pause.failed(*one, now, None, FULL));
        assert_eq!(changes.count(), 1);
        // Nor does a late answer to one of them end the pause.
        assert_eq!(pause.succeeded(many[1]), None);
        assert!(
            pause
                .attempt(now + SECOND - Duration::from_nanos(1))
                .is_err()
        );
        let probe = pause.attempt(now + SECOND).unwrap();
        assert_eq!(pause.failed(many[2], now + SECOND, None, FULL), None);
        assert_eq!(pause.succeeded(probe), Some(Change::Recovered));
        assert_eq!(pause.failed(many[3], now + SECOND, None, FULL), None);
        assert!(pause.is_available());
    }

    #[test]
    fn random_shortens_a_pause_by_half_at_most() {
        for (random, millis) in [(0, 500), (FULL / 2, 749), (FULL, 1000)] {
            let (mut pause, now) = (pause(), Instant::now());
            let attempt = pause.attempt(now).unwrap();
            let Some(Change::Failed { pause }) = pause.failed(attempt, now, None, random) else {
                panic!("the first failure is a change");
            };
            assert_eq!(pause.as_millis(), millis);
        }
    }

    #[test]
    fn failures_count_in_a_row() {
        let (mut pause, now) = (Pause::new(3, SECOND, 30 * SECOND), Instant::now());
        for succeeds in [false, false, true, false, false] {
            let attempt = pause.attempt(now).unwrap();
            if succeeds {
                assert_eq!(pause.succeeded(attempt), None);
            } else {
                assert_eq!(pause.failed(attempt, now, None, FULL), None);
            }
        }
        let attempt = pause.attempt(now).unwrap();
        assert!(pause.failed(attempt, now, None, FULL).is_some());
        assert_eq!(pause.attempt(now), Err(SECOND));
        // Open once, a single probe that fails opens it again.
        let probe = pause.attempt(now + SECOND).unwrap();
        pause.failed(probe, now + SECOND, None, FULL);
        assert_eq!(pause.attempt(now + SECOND), Err(2 * SECOND));
    }

    #[test]
    fn what_is_asked_for_is_kept_to_from_the_first_failure_on() {
        let (mut pause, now) = (Pause::new(3, SECOND, 30 * SECOND), Instant::now());
        let attempt = pause.attempt(now).unwrap();
        let asked = Some(90 * SECOND);
        assert!(pause.failed(attempt, now, asked, FULL).is_some());
        assert_eq!(pause.attempt(now), Err(90 * SECOND));
        assert!(pause.attempt(now + 90 * SECOND).is_ok());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(volume(50_000)))]

        /// Whatever happens in whatever order: granted or not by what happened before, and never locked out.
        #[test]
        fn any_history(events in proptest::collection::vec((0..4_u8, 0..40_000_u64, any::<u16>()), 0..60)) {
            let (mut pause, mut now) = (pause(), Instant::now());
            let mut under_way = VecDeque::new();
            for (event, millis, random) in events {
                match (event, under_way.pop_front()) {
                    (0, Some(attempt)) => {
                        let before = pause.is_available();
                        let change = pause.succeeded(attempt);
                        prop_assert_eq!(change.is_some(), !before && pause.is_available());
                    }
                    (1, Some(attempt)) => {
                        let before = pause.is_available();
                        let change = pause.failed(attempt, now, None, random);
                        prop_assert_eq!(change.is_some(), before && !pause.is_available());
                    }
                    (_, attempt) => {
                        under_way.extend(attempt);
                        now += Duration::from_millis(millis);
                        let attempt = pause.attempt(now);
                        prop_assert!(attempt.is_ok() || !pause.is_available());
                        under_way.extend(attempt);
                    }
                }
                let mut later = pause.clone();
                prop_assert!(later.attempt(now + 30 * SECOND).is_ok());
                prop_assert_eq!(later.attempt(now + 30 * SECOND).is_ok(), later.is_available());
            }
        }
    }
}
