//! The time of events, finer than the seconds of tokens.

use std::time::{SystemTime, UNIX_EPOCH};

/// Microseconds since the epoch: fine enough to tell the order of events of several services on one machine.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the clock")]
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| u64::try_from(since.as_micros()).unwrap_or(0))
}
