//! A device that waits for a person (RFC 8628), as it is remembered. Kept in memory only, as a sign-in under way is.

use crate::authorization::AuthorizeRequest;
use crate::policy::Authentication;

/// How long both codes are good, in seconds.
pub(crate) const LIFETIME: u64 = 900;
/// Seconds between two polls, before any of them came too early.
pub(crate) const INTERVAL: u64 = 5;
/// More waiting devices than that push out the oldest.
pub(crate) const MAX_DEVICES: usize = 1000;
/// Wrong user codes within ten minutes, over everybody who types any: RFC 8628 section 5.1. Of 20^9 codes at most 1000 are good at a time.
pub(crate) const MAX_WRONG: u8 = 100;

/// A device that waits.
pub(crate) struct Device {
    pub(crate) request: AuthorizeRequest,
    pub(crate) user_code: String,
    pub(crate) state: State,
    /// When it asked last.
    pub(crate) polled: Option<u64>,
    pub(crate) interval: u64,
}

/// What has become of it.
pub(crate) enum State {
    Pending,
    Declined,
    Granted(Authentication),
    Spent,
}
