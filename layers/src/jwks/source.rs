//! The seam between keys and where they come from.

use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

use super::KeySet;

/// Where verification keys come from. Implemented by discovery over HTTP; implement it to read keys from elsewhere.
///
/// Called by one task at a time and under a deadline, so it must not block its thread; a request never waits for a fetch that cannot
/// change its answer.
pub trait KeySource: Send + Sync + 'static {
    /// Fetches the current keys.
    fn fetch(&self) -> FetchFuture<'_>;

    /// Do the keys carry the `issuer` that each may sign for, as Entra publishes it? Not by default.
    fn supplies_issuer(&self) -> bool {
        false
    }
}

/// The future of [`KeySource::fetch`].
pub type FetchFuture<'a> = Pin<Box<dyn Future<Output = Result<Fetched, FetchError>> + Send + 'a>>;

/// A successful fetch.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Fetched {
    /// The keys, or `None` if they are still those of the last fetch.
    pub keys: Option<KeySet>,
    /// How long they may be used before they are fetched again, if the source knows.
    pub max_age: Option<Duration>,
}

/// Why keys could not be fetched.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FetchError {
    /// The metadata or the keys could not be read.
    #[error("the authority's metadata or keys are malformed")]
    Malformed,
    /// There is not one usable key: the old keys are kept.
    #[error("the authority published no usable key")]
    NoKeys,
    /// The source itself failed.
    #[error("the key source failed")]
    Source,
    /// Another status than 200 (or 304).
    #[error("the authority answered with status {0}")]
    Status(u16),
    /// The deadline passed.
    #[error("the authority did not answer in time")]
    Timeout,
    /// More bytes than a key set can need.
    #[error("the authority's answer is too large")]
    TooLarge,
    /// No connection, or it broke.
    #[error("the authority cannot be reached")]
    Unreachable,
    /// The metadata names another issuer than the one that it was fetched for (OpenID Connect Discovery 4.3).
    #[error("the metadata is of another issuer")]
    WrongIssuer,
}

impl Fetched {
    /// New keys.
    #[must_use]
    pub fn keys(keys: KeySet) -> Self {
        Self {
            keys: Some(keys),
            max_age: None,
        }
    }

    /// The keys of the last fetch are still current.
    #[must_use]
    pub fn not_modified() -> Self {
        Self {
            keys: None,
            max_age: None,
        }
    }

    /// States how long the keys may be used before they are fetched again.
    #[must_use]
    pub fn max_age(mut self, max_age: Duration) -> Self {
        self.max_age = Some(max_age);
        self
    }
}
