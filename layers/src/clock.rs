//! The only place that reads the time of day.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Where the time of day comes from: whole seconds since 1970-01-01T00:00:00Z, the NumericDate of RFC 7519 2.
///
/// Durations (cooldowns, cache ages) are measured with tokio's monotonic clock instead, so a step of the wall
/// clock neither storms the authority nor locks anything out.
pub trait Clock: Send + Sync + 'static {
    /// Seconds since the epoch.
    fn now(&self) -> u64;
}

/// The system's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

/// A clock that stands still until it is told otherwise; for tests.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<AtomicU64>);

/// A shared [`Clock`].
#[derive(Clone)]
pub(crate) struct SharedClock(Arc<dyn Clock>);

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the place where the time is read"
    )]
    fn now(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            // A clock that is set before the epoch must not make old tokens young.
            .map_or(u64::MAX, |elapsed| elapsed.as_secs())
    }
}

impl ManualClock {
    /// A clock that shows `now`, in seconds since the epoch.
    #[must_use]
    pub fn new(now: u64) -> Self {
        Self(Arc::new(AtomicU64::new(now)))
    }

    /// Sets the time, for all clones.
    pub fn set(&self, now: u64) {
        self.0.store(now, Ordering::SeqCst);
    }

    /// Moves the time forward, for all clones.
    pub fn advance(&self, seconds: u64) {
        self.0.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl SharedClock {
    pub(crate) fn new(clock: impl Clock) -> Self {
        Self(Arc::new(clock))
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.now()
    }
}

impl Default for SharedClock {
    fn default() -> Self {
        Self::new(SystemClock)
    }
}

impl fmt::Debug for SharedClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Clock")
    }
}

#[cfg(test)]
mod tests {
    use super::{Clock, ManualClock, SystemClock};

    #[test]
    fn system_clock_is_past_2025() {
        assert!(SystemClock.now() > 1_735_689_600);
    }

    #[test]
    fn clones_of_a_manual_clock_move_together() {
        let clock = ManualClock::new(100);
        let twin = clock.clone();
        clock.advance(5);
        assert_eq!(twin.now(), 105);
    }
}
