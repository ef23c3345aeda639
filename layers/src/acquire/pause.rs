//! When something that failed is tried again: one attempt after 1, 2, 4 .. 30 s, whoever asks meanwhile.

use std::time::Duration;

use tokio::time::Instant;

/// What failed is left alone for a growing while. A pure state machine: the caller brings the time and the randomness.
///
/// ```text
///            failed                    a while passed: one attempt
/// available --------> left alone <-----------------------------+
///     ^                   |                                    |
///     +-------------------+------ succeeded         failed: a longer while
/// ```
#[derive(Clone, Debug)]
pub(super) struct Pause {
    first: Duration,
    longest: Duration,
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
    /// Pauses from `first` up to `longest`, doubling.
    pub(super) fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            round: 0,
            failing: None,
        }
    }

    /// May it be tried now? While it fails, one attempt at the end of each pause, and the next one a pause later even if that
    /// one was cancelled.
    pub(super) fn attempt(&mut self, now: Instant) -> Option<Attempt> {
        if let Some(failing) = &mut self.failing {
            if now < failing.until {
                return None;
            }
            failing.until = now + failing.step;
            self.round = self.round.wrapping_add(1);
        }
        Some(Attempt(self.round))
    }

    pub(super) fn succeeded(&mut self, attempt: Attempt) -> Option<Change> {
        if attempt.0 != self.round {
            return None;
        }
        self.failing.take()?;
        self.round = self.round.wrapping_add(1);
        Some(Change::Recovered)
    }

    /// The pause is between half of its full length and all of it, by `random`, so that many processes do not come back at
    /// once.
    pub(super) fn failed(&mut self, attempt: Attempt, now: Instant, random: u16) -> Option<Change> {
        if attempt.0 != self.round {
            return None;
        }
        let step = self.failing.map_or(self.first, |failing| {
            failing.step.saturating_mul(2).min(self.longest)
        });
        let half = step / 2;
        let pause = half + half * u32::from(random) / u32::from(u16::MAX);
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;
    use crate::campaign::volume;

    const SECOND: Duration = Duration::from_secs(1);
    const FULL: u16 = u16::MAX;

    fn pause() -> Pause {
        Pause::new(SECOND, 30 * SECOND)
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
        assert_eq!(pause.failed(attempt, now, FULL), Some(failed));
        assert!(!pause.is_available());
        assert_eq!(pause.attempt(now), None);
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_one_success_ends_them() {
        let (mut pause, mut now) = (pause(), Instant::now());
        for round in 0..2 {
            let mut attempt = pause.attempt(now).unwrap();
            for seconds in [1, 2, 4, 8, 16, 30, 30, 30] {
                let change = pause.failed(attempt, now, FULL);
                let first = Change::Failed { pause: SECOND };
                assert_eq!(change, (seconds == 1).then_some(first), "{round}");
                let due = now + seconds * SECOND;
                assert_eq!(pause.attempt(due - Duration::from_nanos(1)), None);
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
        pause.failed(attempt, now, FULL);
        let due = now + SECOND;
        let cancelled = pause.attempt(due).unwrap();
        assert_eq!(pause.attempt(due), None);
        assert_eq!(pause.attempt(due + SECOND / 2), None);
        let second = pause.attempt(due + SECOND).unwrap();
        assert_ne!(cancelled, second);
        assert_eq!(pause.succeeded(second), Some(Change::Recovered));
    }

    #[test]
    fn attempts_that_were_under_way_count_once() {
        let (mut pause, now) = (pause(), Instant::now());
        let many: Vec<_> = (0..100).map(|_| pause.attempt(now).unwrap()).collect();
        let changes = many.iter().filter_map(|one| pause.failed(*one, now, FULL));
        assert_eq!(changes.count(), 1);
        // Nor does a late answer to one of them end the pause.
        assert_eq!(pause.succeeded(many[1]), None);
        assert_eq!(pause.attempt(now + SECOND - Duration::from_nanos(1)), None);
        let probe = pause.attempt(now + SECOND).unwrap();
        assert_eq!(pause.failed(many[2], now + SECOND, FULL), None);
        assert_eq!(pause.succeeded(probe), Some(Change::Recovered));
        assert_eq!(pause.failed(many[3], now + SECOND, FULL), None);
        assert!(pause.is_available());
    }

    #[test]
    fn random_shortens_a_pause_by_half_at_most() {
        for (random, millis) in [(0, 500), (FULL / 2, 749), (FULL, 1000)] {
            let (mut pause, now) = (pause(), Instant::now());
            let attempt = pause.attempt(now).unwrap();
            let Some(Change::Failed { pause }) = pause.failed(attempt, now, random) else {
                panic!("the first failure is a change");
            };
            assert_eq!(pause.as_millis(), millis);
        }
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
                        let change = pause.failed(attempt, now, random);
                        prop_assert_eq!(change.is_some(), before && !pause.is_available());
                    }
                    (_, attempt) => {
                        under_way.extend(attempt);
                        now += Duration::from_millis(millis);
                        let attempt = pause.attempt(now);
                        prop_assert!(attempt.is_some() || !pause.is_available());
                        under_way.extend(attempt);
                    }
                }
                let mut later = pause.clone();
                prop_assert!(later.attempt(now + 30 * SECOND).is_some());
                prop_assert_eq!(later.attempt(now + 30 * SECOND).is_some(), later.is_available());
            }
        }
    }
}
