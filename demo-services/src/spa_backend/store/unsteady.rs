//! A store for tests that is late, refuses what it is told to refuse, and notes what it was asked.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use secrecy::SecretSlice;
use tokio::time::sleep;

use super::{Found, Key, Kind, MemoryStore, Store, StoreError, Version};

/// What it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::spa_backend) enum Ask {
    Get,
    Put,
    Take,
    Remove,
}

/// Cheap to clone: all are one store.
#[derive(Clone)]
pub(in crate::spa_backend) struct Unsteady(Arc<Inner>);

struct Inner {
    memory: MemoryStore,
    late: Duration,
    refused: Mutex<Vec<(Ask, Kind)>>,
    asked: Mutex<Vec<(Ask, Kind)>>,
}

impl Unsteady {
    /// Each operation takes this long.
    pub(in crate::spa_backend) fn new(late: Duration) -> Self {
        Self(Arc::new(Inner {
            memory: MemoryStore::new(),
            late,
            refused: Mutex::default(),
            asked: Mutex::default(),
        }))
    }

    /// From now on it is away for these, and these alone.
    pub(in crate::spa_backend) fn refuse(&self, refused: &[(Ask, Kind)]) {
        *self.0.refused.lock().unwrap() = refused.to_vec();
    }

    pub(in crate::spa_backend) fn asked(&self, ask: Ask, kind: Kind) -> usize {
        let asked = self.0.asked.lock().unwrap();
        asked.iter().filter(|asked| **asked == (ask, kind)).count()
    }

    pub(in crate::spa_backend) fn count(&self, kind: Kind) -> u64 {
        self.0.memory.count(kind)
    }

    async fn pass(&self, ask: Ask, kind: Kind) -> Result<&MemoryStore, StoreError> {
        self.0.asked.lock().unwrap().push((ask, kind));
        if !self.0.late.is_zero() {
            sleep(self.0.late).await;
        }
        if self.0.refused.lock().unwrap().contains(&(ask, kind)) {
            return Err(StoreError::Away);
        }
        Ok(&self.0.memory)
    }
}

#[async_trait]
impl Store for Unsteady {
    async fn get(&self, key: Key<'_>, stay: Option<Duration>) -> Result<Option<Found>, StoreError> {
        self.pass(Ask::Get, key.kind).await?.get(key, stay).await
    }

    async fn put(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<(), StoreError> {
        let memory = self.pass(Ask::Put, key.kind).await?;
        memory.put(key, text, stay).await
    }

    async fn put_if_absent(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<Option<Version>, StoreError> {
        let memory = self.pass(Ask::Put, key.kind).await?;
        memory.put_if_absent(key, text, stay).await
    }

    async fn replace(
        &self,
        key: Key<'_>,
        version: &Version,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<bool, StoreError> {
        let memory = self.pass(Ask::Put, key.kind).await?;
        memory.replace(key, version, text, stay).await
    }

    async fn take(&self, key: Key<'_>) -> Result<Option<SecretSlice<u8>>, StoreError> {
        self.pass(Ask::Take, key.kind).await?.take(key).await
    }

    async fn remove(&self, key: Key<'_>) -> Result<(), StoreError> {
        self.pass(Ask::Remove, key.kind).await?.remove(key).await
    }

    async fn remove_version(&self, key: Key<'_>, version: &Version) -> Result<(), StoreError> {
        let memory = self.pass(Ask::Remove, key.kind).await?;
        memory.remove_version(key, version).await
    }

    async fn answers(&self) -> Option<bool> {
        None
    }

    fn longest(&self) -> Duration {
        self.0.late
    }
}
