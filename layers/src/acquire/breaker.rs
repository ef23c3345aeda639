//! Leaves a server alone while it fails: a circuit breaker as a pure state machine over monotonic time.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// So many failures in a row open it.
const THRESHOLD: u32 = 5;
/// It stays open for so long at first, twice as long after each probe that fails.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// And never longer than this, unless the server itself asks for it.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Counts failures of one server. Closed: everything passes. Open: nothing passes until a pause is over. Then one request is let
/// through as a probe; its outcome closes the breaker or opens it again.
#[derive(Debug)]
pub(crate) struct Breaker(Mutex<State>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Closed {
        failures: u32,
    },
    Open {
        until: Instant,
        pauses: u32,
    },
    /// A probe is under way.
    Probing {
        pauses: u32,
    },
}

/// Leave to send one request. Dropped without an outcome it tells nothing about the server.
#[derive(Debug)]
#[must_use]
pub(crate) struct Permit<'a> {
    breaker: &'a Breaker,
    probe: bool,
    reported: bool,
}

impl State {
    /// Leave to send at `now`, and whether it is a probe; or how long to wait.
    fn admit(self, now: Instant) -> Result<(Self, bool), Duration> {
        match self {
            Self::Closed { .. } => Ok((self, false)),
            Self::Open { until, pauses } if now >= until => Ok((Self::Probing { pauses }, true)),
            Self::Open { until, .. } => Err(until - now),
            Self::Probing { .. } => Err(FIRST_PAUSE),
        }
    }

    /// `asked` is what the server itself wants to be left alone for; `jitter` is in 0..1.
    fn failed(self, probe: bool, now: Instant, asked: Option<Duration>, jitter: f64) -> Self {
        let pauses = match self {
            Self::Closed { failures } if asked.is_none() && failures + 1 < THRESHOLD => {
                return Self::Closed {
                    failures: failures + 1,
                };
            }
            Self::Closed { .. } => 0,
            Self::Probing { pauses } if probe => pauses.saturating_add(1),
            // A request from before it opened, or while somebody else probes, tells nothing new.
            Self::Open { .. } | Self::Probing { .. } => return self,
        };
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(pauses.min(6))).min(LONGEST_PAUSE);
        // Whole fleets lose an authority at the same moment and should not come back as one.
        let pause = pause.mul_f64(1.0 + jitter / 4.0);
        Self::Open {
            until: now + asked.unwrap_or_default().max(pause),
            pauses,
        }
    }

    /// A probe whose outcome nobody will tell: the next request probes.
    fn forgotten(self, now: Instant) -> Self {
        match self {
            Self::Probing { pauses } => Self::Open { until: now, pauses },
            other => other,
        }
    }
}

impl Breaker {
    pub(crate) fn new() -> Self {
        Self(Mutex::new(State::Closed { failures: 0 }))
    }

    /// Leave to send a request at `now`, or how long to wait.
    pub(crate) fn admit(&self, now: Instant) -> Result<Permit<'_>, Duration> {
        let mut state = self.lock();
        let (next, probe) = state.admit(now)?;
        *state = next;
        Ok(Permit {
            breaker: self,
            probe,
            reported: false,
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit<'_> {
    /// The server answered.
    pub(crate) fn succeeded(mut self) {
        self.reported = true;
        *self.breaker.lock() = State::Closed { failures: 0 };
    }

    /// The server failed or did not answer.
    pub(crate) fn failed(mut self, now: Instant, asked: Option<Duration>, jitter: f64) {
        self.reported = true;
        let mut state = self.breaker.lock();
        *state = state.failed(self.probe, now, asked, jitter);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        if self.probe && !self.reported {
            let mut state = self.breaker.lock();
            *state = state.forgotten(Instant::now());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn fail(breaker: &Breaker, now: Instant, asked: Option<Duration>) {
        breaker.admit(now).unwrap().failed(now, asked, 0.0);
    }

    #[tokio::test(start_paused = true)]
    async fn opens_at_the_fifth_failure_in_a_row_and_not_before() {
        let now = Instant::now();
        let breaker = Breaker::new();
        for _ in 0..4 {
            fail(&breaker, now, None);
        }
        breaker.admit(now).unwrap().succeeded();
        for _ in 0..5 {
            fail(&breaker, now, None);
        }
        assert_eq!(breaker.admit(now).unwrap_err(), SECOND);
    }

    #[tokio::test(start_paused = true)]
    async fn one_probe_at_a_time_and_longer_pauses() {
        let mut now = Instant::now();
        let breaker = Breaker::new();
        for _ in 0..5 {
            fail(&breaker, now, None);
        }
        for pause in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert!(breaker.admit(now + SECOND * pause - SECOND / 2).is_err());
            now += SECOND * pause;
            let probe = breaker.admit(now).unwrap();
            assert!(breaker.admit(now).is_err(), "a second probe");
            probe.failed(now, None, 0.0);
        }
        now += SECOND * 60;
        breaker.admit(now).unwrap().succeeded();
        let (one, two) = (breaker.admit(now), breaker.admit(now));
        assert!(one.is_ok() && two.is_ok(), "closed again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_server_asks_for_is_kept_to_from_the_first_time() {
        let now = Instant::now();
        let breaker = Breaker::new();
        fail(&breaker, now, Some(SECOND * 90));
        assert_eq!(breaker.admit(now).unwrap_err(), SECOND * 90);
        assert!(breaker.admit(now + SECOND * 90).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_forgotten_lets_the_next_one_try() {
        let now = Instant::now();
        let breaker = Breaker::new();
        fail(&breaker, now, Some(SECOND));
        let later = now + SECOND * 2;
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn jitter_only_lengthens() {
        let now = Instant::now();
        for (jitter, pause) in [(0.0, 1000), (0.5, 1125), (1.0, 1250)] {
            let breaker = Breaker::new();
            for _ in 0..5 {
                breaker.admit(now).unwrap().failed(now, None, jitter);
            }
            assert_eq!(
                breaker.admit(now).unwrap_err(),
                Duration::from_millis(pause)
            );
        }
    }

    /// Every order of eight events of three requests: no state lets two probes run, none stays shut for ever.
    #[tokio::test(start_paused = true)]
    async fn every_order_of_events_leaves_it_usable() {
        #[derive(Clone, Copy)]
        enum Event {
            Admit,
            Fail,
            Succeed,
            Forget,
            Wait,
        }
        let events = [
            Event::Admit,
            Event::Fail,
            Event::Succeed,
            Event::Forget,
            Event::Wait,
        ];
        let start = Instant::now();
        for word in 0..events.len().pow(8) {
            let breaker = Breaker::new();
            *breaker.lock() = State::Closed {
                failures: THRESHOLD - 1,
            };
            let mut now = start;
            let mut permits: Vec<Permit<'_>> = Vec::new();
            let mut rest = word;
            for _ in 0..8 {
                match events[rest % events.len()] {
                    Event::Admit => permits.extend(breaker.admit(now).ok()),
                    Event::Fail => {
                        if let Some(permit) = permits.pop() {
                            permit.failed(now, None, 0.0);
                        }
                    }
                    Event::Succeed => {
                        if let Some(permit) = permits.pop() {
                            permit.succeeded();
                        }
                    }
                    Event::Forget => drop(permits.pop()),
                    Event::Wait => now += SECOND,
                }
                rest /= events.len();
                let probes = permits.iter().filter(|permit| permit.probe).count();
                let state = *breaker.lock();
                assert!(probes <= 1 || !matches!(state, State::Probing { .. }));
            }
            permits.clear();
            assert!(breaker.admit(now + LONGEST_PAUSE * 2).is_ok(), "{word}");
        }
    }
}
