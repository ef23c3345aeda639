//! How long a campaign runs: 1 % of its volume unless `CAMPAIGN_PERCENT` says otherwise, as in the unit tests.

/// The part of `full` that is to be run.
pub(crate) fn volume(full: u32) -> u32 {
    let percent = std::env::var("CAMPAIGN_PERCENT")
        .ok()
        .and_then(|percent| percent.parse().ok());
    (full / 100).saturating_mul(percent.unwrap_or(1)).max(1)
}
