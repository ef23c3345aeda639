//! Counters, through the `metrics` facade (feature `metrics`); without the feature nothing is counted and nothing costs.
//!
//! Names and labels are listed in the documentation of the crate. No label holds a token, a claim, a user or a client's text.

#[cfg(feature = "metrics")]
mod names {
    pub(super) const REQUESTS: &str = "tower_bearer_requests_total";
    pub(super) const CHALLENGES: &str = "tower_bearer_challenges_total";
    pub(super) const KEY_FETCHES: &str = "tower_bearer_key_fetches_total";
    pub(super) const KEYS_AGE: &str = "tower_bearer_keys_age_seconds";
    pub(super) const TOKENS: &str = "tower_bearer_tokens_total";
    pub(super) const TOKEN_REQUESTS: &str = "tower_bearer_token_requests_total";
    pub(super) const TOKEN_REQUEST_SECONDS: &str = "tower_bearer_token_request_seconds";
}

use std::time::Duration;

/// A request was accepted by `ValidateBearer`, or refused for this reason.
#[inline]
pub(crate) fn request(outcome: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(names::REQUESTS, "outcome" => outcome).increment(1);
    let _ = outcome;
}

/// A challenge was `originated` here, `relayed` from below, or `answered` with a stronger token.
#[inline]
pub(crate) fn challenge(direction: &'static str, kind: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(names::CHALLENGES, "direction" => direction, "kind" => kind).increment(1);
    let _ = (direction, kind);
}

/// Where a token for the next tier came from: `memory`, `shared`, or `authority`.
#[inline]
pub(crate) fn token(from: &'static str) {
    #[cfg(feature = "metrics")]
    metrics::counter!(names::TOKENS, "from" => from).increment(1);
    let _ = from;
}

/// A token request ended so, after this time.
#[inline]
pub(crate) fn token_request(grant: &'static str, outcome: &'static str, took: Duration) {
    #[cfg(feature = "metrics")]
    {
        metrics::counter!(names::TOKEN_REQUESTS, "grant" => grant, "outcome" => outcome)
            .increment(1);
        metrics::histogram!(names::TOKEN_REQUEST_SECONDS, "grant" => grant).record(took);
    }
    let _ = (grant, outcome, took);
}

/// A fetch of an issuer's keys ended; those in use were obtained so long ago.
#[inline]
pub(crate) fn keys(issuer: &str, good: bool, age: Option<Duration>) {
    #[cfg(feature = "metrics")]
    {
        let outcome = if good { "fetched" } else { "failed" };
        metrics::counter!(names::KEY_FETCHES, "issuer" => issuer.to_owned(), "outcome" => outcome)
            .increment(1);
        if let Some(age) = age {
            metrics::gauge!(names::KEYS_AGE, "issuer" => issuer.to_owned()).set(age.as_secs_f64());
        }
    }
    let _ = (issuer, good, age);
}
