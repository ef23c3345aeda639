//! A store in this process: bounded for each kind of record, so that a flood of one kind never drives out another.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use moka::ops::compute::Op;
use moka::policy::EvictionPolicy;
use moka::sync::Cache;
use secrecy::{ExposeSecret, SecretSlice};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::{Found, Key, Kind, Store, StoreError, Version};

/// Signed-in sessions at one time; beyond it the least recently used one has to sign in again.
const SESSIONS: u64 = 10_000;
/// Sign-ins under way at one time; beyond it the least recently touched one is forgotten.
const TRANSACTIONS: u64 = 10_000;
/// Operations, waiting or handed out, at one time: as many as the sessions may have.
const OPERATIONS: u64 = 50_000;
/// Memory that all waiting operations share, in bytes. A new one finds no room rather than drive out somebody else's.
const ROOM: usize = 64 * 1024 * 1024;
/// No record stays longer: memory of what nobody asks for any more is given back then.
const LONGEST: Duration = Duration::from_secs(8 * 60 * 60);

/// Records in memory.
pub(in crate::spa_backend) struct MemoryStore {
    sessions: Shelf,
    seats: Shelf,
    transactions: Shelf,
    operations: Shelf,
    waiting: Shelf,
    sent: Shelf,
    renewals: Shelf,
    room: Arc<Semaphore>,
    versions: AtomicU64,
}

type Shelf = Cache<String, Arc<Entry>>;

struct Entry {
    text: SecretSlice<u8>,
    version: u64,
    until: Mutex<Instant>,
    /// Its part of the room. Given back when it leaves, which may be long before the cache gets rid of the entry.
    room: Mutex<Option<OwnedSemaphorePermit>>,
}

impl MemoryStore {
    pub(in crate::spa_backend) fn new() -> Self {
        Self::with_room(ROOM)
    }

    fn with_room(room: usize) -> Self {
        Self {
            sessions: shelf(SESSIONS),
            seats: shelf(SESSIONS),
            transactions: shelf(TRANSACTIONS),
            operations: shelf(OPERATIONS),
            waiting: shelf(SESSIONS),
            sent: shelf(OPERATIONS),
            renewals: shelf(SESSIONS),
            room: Arc::new(Semaphore::new(room)),
            versions: AtomicU64::new(0),
        }
    }

    fn shelf(&self, kind: Kind) -> &Shelf {
        match kind {
            Kind::Session => &self.sessions,
            Kind::Seat => &self.seats,
            Kind::Transaction => &self.transactions,
            Kind::Operation => &self.operations,
            Kind::Waiting => &self.waiting,
            Kind::Sent => &self.sent,
            Kind::Renewal => &self.renewals,
        }
    }

    fn entry(
        &self,
        kind: Kind,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<Arc<Entry>, StoreError> {
        let room = match kind {
            Kind::Operation => Some(self.claim_room(text.expose_secret().len())?),
            _ => None,
        };
        Ok(Arc::new(Entry {
            text,
            version: self.versions.fetch_add(1, Ordering::Relaxed),
            until: Mutex::new(Instant::now() + stay),
            room: Mutex::new(room),
        }))
    }

    fn claim_room(&self, size: usize) -> Result<OwnedSemaphorePermit, StoreError> {
        let size = u32::try_from(size).unwrap_or(u32::MAX);
        let claim = || Arc::clone(&self.room).try_acquire_many_owned(size);
        claim()
            .or_else(|_| {
                self.forget_expired();
                claim()
            })
            .map_err(|_| StoreError::Full)
    }

    /// Gives back the room of operations whose time has passed: the cache by itself knows of the longest stay only.
    fn forget_expired(&self) {
        for (name, entry) in &self.operations {
            if entry.is_alive() {
                continue;
            }
            self.operations
                .entry_by_ref(name.as_str())
                .and_compute_with(|there| match there {
                    Some(there) if !there.value().is_alive() => Op::Remove,
                    _ => Op::Nop,
                });
        }
        // What was taken out is dropped when the cache gets round to it, and that is now.
        self.operations.run_pending_tasks();
    }

    #[cfg(test)]
    pub(in crate::spa_backend) fn count(&self, kind: Kind) -> u64 {
        self.shelf(kind).run_pending_tasks();
        self.shelf(kind).entry_count()
    }
}

impl Entry {
    fn is_alive(&self) -> bool {
        *self.until() > Instant::now()
    }

    fn leave(&self) {
        let mut room = self.room.lock().unwrap_or_else(PoisonError::into_inner);
        drop(room.take());
    }

    fn until(&self) -> MutexGuard<'_, Instant> {
        self.until.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn version(&self) -> Version {
        Version {
            place: 0,
            mark: self.version.to_be_bytes().to_vec(),
        }
    }
}

#[async_trait]
impl Store for MemoryStore {
    async fn get(&self, key: Key<'_>, stay: Option<Duration>) -> Result<Option<Found>, StoreError> {
        let found = self.shelf(key.kind).get(key.name);
        Ok(found.filter(|entry| entry.is_alive()).map(|entry| {
            if let Some(stay) = stay {
                *entry.until() = Instant::now() + stay;
            }
            Found {
                text: entry.text.clone(),
                version: entry.version(),
            }
        }))
    }

    async fn put(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<(), StoreError> {
        let entry = self.entry(key.kind, text, stay)?;
        self.shelf(key.kind).insert(key.name.to_owned(), entry);
        Ok(())
    }

    async fn put_if_absent(
        &self,
        key: Key<'_>,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<Option<Version>, StoreError> {
        let entry = self.entry(key.kind, text, stay)?;
        let mut version = None;
        self.shelf(key.kind)
            .entry_by_ref(key.name)
            .and_compute_with(|there| {
                if there.is_some_and(|there| there.value().is_alive()) {
                    return Op::Nop;
                }
                version = Some(entry.version());
                Op::Put(entry)
            });
        Ok(version)
    }

    async fn replace(
        &self,
        key: Key<'_>,
        version: &Version,
        text: SecretSlice<u8>,
        stay: Duration,
    ) -> Result<bool, StoreError> {
        let entry = self.entry(key.kind, text, stay)?;
        let mut replaced = false;
        self.shelf(key.kind)
            .entry_by_ref(key.name)
            .and_compute_with(|there| match there {
                Some(there) if there.value().is_alive() && there.value().version() == *version => {
                    replaced = true;
                    Op::Put(entry)
                }
                _ => Op::Nop,
            });
        Ok(replaced)
    }

    async fn take(&self, key: Key<'_>) -> Result<Option<SecretSlice<u8>>, StoreError> {
        // `remove` is atomic: of all who ask one gets it.
        let taken = self.shelf(key.kind).remove(key.name);
        Ok(taken
            .filter(|entry| entry.is_alive())
            .map(|entry| entry.text.clone()))
    }

    async fn remove(&self, key: Key<'_>) -> Result<(), StoreError> {
        self.shelf(key.kind).invalidate(key.name);
        Ok(())
    }

    async fn remove_version(&self, key: Key<'_>, version: &Version) -> Result<(), StoreError> {
        self.shelf(key.kind)
            .entry_by_ref(key.name)
            .and_compute_with(|there| match there {
                Some(there) if there.value().version() == *version => Op::Remove,
                _ => Op::Nop,
            });
        Ok(())
    }

    async fn answers(&self) -> Option<bool> {
        None
    }

    fn longest(&self) -> Duration {
        Duration::ZERO
    }
}

fn shelf(capacity: u64) -> Shelf {
    Cache::builder()
        .max_capacity(capacity)
        .eviction_policy(EvictionPolicy::lru())
        .time_to_live(LONGEST)
        .eviction_listener(|_, entry: Arc<Entry>, _| entry.leave())
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn text(text: &str) -> SecretSlice<u8> {
        SecretSlice::from(text.as_bytes().to_vec())
    }

    #[tokio::test]
    async fn what_waits_shares_a_bounded_room() {
        let store = MemoryStore::with_room(10);
        let put = async |name| {
            store
                .put(Kind::Operation.key(name), text("12345678"), MINUTE)
                .await
        };
        assert_eq!(put("one").await, Ok(()));
        assert_eq!(put("two").await, Err(StoreError::Full));
        // Nothing but operations needs the room.
        let seat = store.put(Kind::Seat.key("a"), text("12345678"), MINUTE);
        assert_eq!(seat.await, Ok(()));
        assert!(
            store
                .take(Kind::Operation.key("one"))
                .await
                .unwrap()
                .is_some()
        );
        assert_eq!(put("two").await, Ok(()));
    }

    #[tokio::test(start_paused = true)]
    async fn what_nobody_came_back_for_gives_its_room_back_in_time() {
        let store = MemoryStore::with_room(10);
        let put = async |name| {
            store
                .put(Kind::Operation.key(name), text("12345678"), MINUTE)
                .await
        };
        assert_eq!(put("one").await, Ok(()));
        tokio::time::advance(MINUTE - Duration::from_secs(1)).await;
        assert_eq!(put("two").await, Err(StoreError::Full));
        let one = store.get(Kind::Operation.key("one"), None).await;
        assert!(one.unwrap().is_some());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(put("two").await, Ok(()));
    }

    #[tokio::test]
    async fn a_flood_of_sign_ins_drives_out_no_session() {
        let store = MemoryStore::new();
        let kinds = [Kind::Session, Kind::Seat, Kind::Operation, Kind::Waiting];
        for number in 0..100 {
            let name = number.to_string();
            for kind in kinds {
                store.put(kind.key(&name), text("x"), MINUTE).await.unwrap();
            }
        }
        for number in 0..TRANSACTIONS + 5_000 {
            let name = number.to_string();
            let key = Kind::Transaction.key(&name);
            store.put(key, text("x"), MINUTE).await.unwrap();
        }
        assert!(store.count(Kind::Transaction) <= TRANSACTIONS);
        for kind in kinds {
            assert_eq!(store.count(kind), 100, "{kind:?}");
        }
    }

    #[tokio::test]
    async fn the_session_that_was_used_last_stays_when_there_are_too_many() {
        let store = MemoryStore::new();
        store
            .put(Kind::Seat.key("used"), text("x"), MINUTE)
            .await
            .unwrap();
        for number in 0..SESSIONS + 1_000 {
            let name = number.to_string();
            store
                .put(Kind::Seat.key(&name), text("x"), MINUTE)
                .await
                .unwrap();
            if number % 100 == 0 {
                let used = store.get(Kind::Seat.key("used"), Some(MINUTE)).await;
                assert!(used.unwrap().is_some(), "{number}");
            }
        }
        assert!(store.count(Kind::Seat) <= SESSIONS);
        let first = store.get(Kind::Seat.key("0"), None).await;
        assert!(first.unwrap().is_none());
    }
}
