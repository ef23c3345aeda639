//! Where the state of sessions is kept: a small key-value store, in this process or in a Redis that several instances share.
//!
//! Whatever uses it is written once, for both: a record is read, changed and put back only if it is still what was read; what may
//! happen once is taken out; what one instance alone may do is claimed.

mod memory;
mod records;
mod redis;
#[cfg(test)]
pub(super) mod server;
#[cfg(test)]
pub(super) mod unsteady;

use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretSlice;

pub(super) use self::memory::MemoryStore;
pub(super) use self::records::{Records, secret, secret_option};
pub(super) use self::redis::RedisStore;

/// Larger records are neither kept nor taken, in bytes. A seat with the largest tokens is far smaller.
const MAX_RECORD: usize = 1024 * 1024;

/// What a record is; names are only unique within a kind, and none crowds out another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The cookie session: the id of a seat.
    Session,
    /// A person and the person's tokens.
    Seat,
    /// A sign-in under way.
    Transaction,
    /// A call that waits.
    Operation,
    /// Which calls wait in one session.
    Waiting,
    /// A call that was handed out.
    Sent,
    /// The right to renew a seat's tokens.
    Renewal,
}

/// A record's place.
#[derive(Clone, Copy)]
pub(super) struct Key<'a> {
    pub(super) kind: Kind,
    pub(super) name: &'a str,
}

/// Tells one state of a record from every other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    /// Which of the record's places, where keys are being rotated.
    place: usize,
    mark: Vec<u8>,
}

/// A record as it was found.
pub(super) struct Found {
    text: SecretSlice<u8>,
    version: Version,
}

/// The store did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum StoreError {
    /// It cannot be reached, is late, or refuses. Whether it obeyed is not known.
    #[error("sessions cannot be reached")]
    Away,
    /// There is no room for one more of this kind.
    #[error("too many of them wait")]
    Full,
}

/// Keeps records for a while. No operation takes longer than a short deadline.
#[async_trait]
pub(super) trait Store: Send + Sync + 'static {
    /// The record; with `stay` it is kept that long from now on.
    async fn get(&self, key: Key<'_>, stay: Option<Duration>) -> Result<Option<Found>, StoreError>;

    /// Keeps a record in place of whatever is there.
    async fn put(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<(), StoreError>;

    /// Keeps a record if there is none: its version, or nothing if there is one.
    async fn put_if_absent(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<Option<Version>, StoreError>;

    /// Keeps a record in place of this version of it; `false` if that is not there any more.
    async fn replace(
        &self,
        key: Key<'_>,
        version: &Version,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<bool, StoreError>;

    /// Takes a record out: to one of all who ask at once.
    async fn take(&self, key: Key<'_>) -> Result<Option<SecretSlice<u8>>, StoreError>;

    /// Forgets a record, which need not be there.
    async fn remove(&self, key: Key<'_>) -> Result<(), StoreError>;

    /// Forgets a record if it is this version.
    async fn remove_version(&self, key: Key<'_>, version: &Version) -> Result<(), StoreError>;

    /// Does it answer? `None` for one that is part of this process.
    async fn answers(&self) -> Option<bool>;

    /// The longest that one operation may take.
    fn longest(&self) -> Duration;
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Session => "session",
            Self::Seat => "seat",
            Self::Transaction => "transaction",
            Self::Operation => "operation",
            Self::Waiting => "waiting",
            Self::Sent => "sent",
            Self::Renewal => "renewal",
        }
    }

    pub(super) fn key(self, name: &str) -> Key<'_> {
        Key { kind: self, name }
    }
}
