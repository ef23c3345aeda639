//! Records of types over a store of bytes.

use std::sync::Arc;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretSlice};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::sleep;

use super::{Key, Store, StoreError, Version};

/// How often a change is tried again because somebody else changed the record meanwhile.
const ROUNDS: u32 = 100;
/// The longest wait between two of these.
const LONGEST_WAIT: Duration = Duration::from_millis(10);

/// The store that everything of the sessions is kept in. Cheap to clone.
#[derive(Clone)]
pub(in crate::spa_backend) struct Records(Arc<dyn Store>);

/// A right that one holder has until he gives it back or its time has passed.
#[must_use]
pub(in crate::spa_backend) struct Claimed(Version);

impl Records {
    pub(in crate::spa_backend) fn new(store: impl Store) -> Self {
        Self(Arc::new(store))
    }

    /// The record, which with `stay` is kept that long from now on. One that cannot be read is none.
    pub(in crate::spa_backend) async fn get<T: DeserializeOwned>(
        &self,
        key: Key<'_>,
        stay: Option<Duration>,
    ) -> Result<Option<T>, StoreError> {
        let found = self.0.get(key, stay).await?;
        Ok(found.and_then(|found| read(key, &found.text)))
    }

    pub(in crate::spa_backend) async fn put<T: Serialize>(
        &self,
        key: Key<'_>,
        record: &T,
        stay: Duration,
    ) -> Result<(), StoreError> {
        self.0.put(key, write(record)?, stay).await
    }

    /// Keeps a record if there is none; tells whether it does.
    pub(in crate::spa_backend) async fn put_if_absent<T: Serialize>(
        &self,
        key: Key<'_>,
        record: &T,
        stay: Duration,
    ) -> Result<bool, StoreError> {
        let version = self.0.put_if_absent(key, write(record)?, stay).await?;
        Ok(version.is_some())
    }

    /// Changes a record as nobody else changes it at the same time. `change` gets what is there and answers what to put there and
    /// for how long, or nothing to leave it; it may be asked several times. Tells whether it was changed.
    pub(in crate::spa_backend) async fn change<T: Serialize + DeserializeOwned>(
        &self,
        key: Key<'_>,
        mut change: impl FnMut(Option<T>) -> Option<(T, Duration)>,
    ) -> Result<bool, StoreError> {
        for round in 0..ROUNDS {
            let found = self.0.get(key, None).await?;
            let (there, version) = match found {
                Some(found) => (read(key, &found.text), Some(found.version)),
                None => (None, None),
            };
            let Some((record, stay)) = change(there) else {
                return Ok(false);
            };
            let record = write(&record)?;
            let done = match &version {
                Some(version) => self.0.replace(key, version, record, stay).await?,
                None => self.0.put_if_absent(key, record, stay).await?.is_some(),
            };
            if done {
                return Ok(true);
            }
            sleep(Duration::from_millis(round.into()).min(LONGEST_WAIT)).await;
        }
        Err(StoreError::Away)
    }

    /// Takes a record out: to one of all who ask at once.
    pub(in crate::spa_backend) async fn take<T: DeserializeOwned>(
        &self,
        key: Key<'_>,
    ) -> Result<Option<T>, StoreError> {
        let taken = self.0.take(key).await?;
        Ok(taken.and_then(|text| read(key, &text)))
    }

    pub(in crate::spa_backend) async fn remove(&self, key: Key<'_>) -> Result<(), StoreError> {
        self.0.remove(key).await
    }

    /// Claims a right, if nobody has it.
    pub(in crate::spa_backend) async fn claim(
        &self,
        key: Key<'_>,
        time: Duration,
    ) -> Result<Option<Claimed>, StoreError> {
        let version = self.0.put_if_absent(key, write(&())?, time).await?;
        Ok(version.map(Claimed))
    }

    /// Gives a right back. If the store does not hear of it, it ends by its time.
    pub(in crate::spa_backend) async fn give_back(&self, key: Key<'_>, claimed: Claimed) {
        let _ = self.0.remove_version(key, &claimed.0).await;
    }

    /// Does the store answer? `None` if it is part of this process.
    pub(in crate::spa_backend) async fn answers(&self) -> Option<bool> {
        self.0.answers().await
    }

    /// The longest that one look or one change may take, if nobody else changes the record meanwhile.
    pub(in crate::spa_backend) fn longest(&self) -> Duration {
        self.0.longest() * 2
    }
}

fn read<T: DeserializeOwned>(key: Key<'_>, text: &SecretSlice<u8>) -> Option<T> {
    let record = serde_json::from_slice(text.expose_secret());
    if record.is_err() {
        // The error's text quotes the record.
        tracing::warn!(kind = key.kind.name(), "a record cannot be read");
    }
    record.ok()
}

fn write<T: Serialize>(record: &T) -> Result<SecretSlice<u8>, StoreError> {
    match serde_json::to_vec(record) {
        Ok(text) if text.len() <= super::MAX_RECORD => Ok(SecretSlice::from(text)),
        _ => {
            tracing::error!("a record cannot be written, or is too large");
            Err(StoreError::Full)
        }
    }
}

/// A secret in a record.
pub(in crate::spa_backend) mod secret {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(in crate::spa_backend) fn serialize<S: Serializer>(
        secret: &SecretString,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose_secret())
    }

    pub(in crate::spa_backend) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<SecretString, D::Error> {
        SecretString::deserialize(deserializer)
    }
}

/// The same, if there is one.
pub(in crate::spa_backend) mod secret_option {
    use secrecy::{ExposeSecret, SecretString};
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    pub(in crate::spa_backend) fn serialize<S: Serializer>(
        secret: &Option<SecretString>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        let secret = secret.as_ref().map(ExposeSecret::expose_secret);
        secret.serialize(serializer)
    }

    pub(in crate::spa_backend) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<SecretString>, D::Error> {
        Option::<SecretString>::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Kind, MemoryStore};
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn changes_at_one_time_are_all_made() {
        let records = Records::new(MemoryStore::new());
        let changes = (0..50).map(|_| {
            let records = records.clone();
            tokio::spawn(async move {
                let more = |there: Option<u32>| Some((there.unwrap_or(0) + 1, MINUTE));
                records.change(Kind::Waiting.key("a"), more).await
            })
        });
        for change in futures_util::future::join_all(changes).await {
            assert_eq!(change.unwrap(), Ok(true));
        }
        let count: Option<u32> = records.get(Kind::Waiting.key("a"), None).await.unwrap();
        assert_eq!(count, Some(50));
    }

    #[tokio::test]
    async fn a_record_is_taken_out_once_and_a_right_is_held_once() {
        let records = Records::new(MemoryStore::new());
        let key = Kind::Operation.key("a");
        records.put(key, &"x", MINUTE).await.unwrap();
        assert_eq!(records.take(key).await.unwrap(), Some("x".to_owned()));
        assert_eq!(records.take::<String>(key).await.unwrap(), None);

        let key = Kind::Renewal.key("a");
        let first = records.claim(key, MINUTE).await.unwrap().unwrap();
        assert!(records.claim(key, MINUTE).await.unwrap().is_none());
        records.give_back(key, first).await;
        assert!(records.claim(key, MINUTE).await.unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_holder_that_died_costs_the_time_of_its_right() {
        let records = Records::new(MemoryStore::new());
        let key = Kind::Renewal.key("a");
        let dead = records.claim(key, MINUTE).await.unwrap().unwrap();
        tokio::time::advance(MINUTE).await;
        let next = records.claim(key, MINUTE).await.unwrap();
        assert!(next.is_some());
        // Who lost it does not give back another one's.
        records.give_back(key, dead).await;
        assert!(records.claim(key, MINUTE).await.unwrap().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_record_stays_as_long_as_it_is_asked_for() {
        let records = Records::new(MemoryStore::new());
        let key = Kind::Seat.key("a");
        records.put(key, &1, MINUTE).await.unwrap();
        for _ in 0..3 {
            tokio::time::advance(MINUTE * 2 / 3).await;
            let found: Option<u32> = records.get(key, Some(MINUTE)).await.unwrap();
            assert_eq!(found, Some(1));
        }
        tokio::time::advance(MINUTE).await;
        assert_eq!(records.get::<u32>(key, None).await.unwrap(), None);
    }
}
