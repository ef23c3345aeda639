//! Counting the changes of what may outlive the process, so that whoever writes it down can tell old from new.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use tokio::sync::watch;

use crate::records::Stores;

/// How many changes there were. Clones count together.
///
/// A change is counted before its lock is released. So whoever reads the count first and the values after that has seen every change
/// up to that count.
#[derive(Clone, Default)]
pub(crate) struct Changes(watch::Sender<u64>);

impl Changes {
    pub(crate) fn count(&self) -> u64 {
        *self.0.borrow()
    }

    pub(crate) fn subscribe(&self) -> watch::Receiver<u64> {
        self.0.subscribe()
    }

    fn mark(&self) {
        self.0.send_modify(|count| *count += 1);
    }
}

/// A value that cannot be changed without that being counted.
pub(crate) struct Watched<T> {
    value: RwLock<T>,
    changes: Changes,
}

impl<T> Watched<T> {
    pub(crate) fn new(value: T, changes: &Changes) -> Self {
        Self {
            value: RwLock::new(value),
            changes: changes.clone(),
        }
    }

    pub(crate) fn read(&self) -> RwLockReadGuard<'_, T> {
        self.value.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self) -> Writing<'_, T> {
        Writing {
            value: self.value.write().unwrap_or_else(PoisonError::into_inner),
            changes: &self.changes,
        }
    }
}

/// Counts one change when it is dropped, while the lock is still held.
pub(crate) struct Writing<'a, T> {
    value: RwLockWriteGuard<'a, T>,
    changes: &'a Changes,
}

impl<T> Deref for Writing<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for Writing<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

impl<T> Drop for Writing<'_, T> {
    fn drop(&mut self) {
        self.changes.mark();
    }
}

/// A value that is replaced as a whole. Readers wait for a swap, never for the making of the new value.
pub(crate) struct Swapped<T> {
    value: Watched<Arc<T>>,
    /// Held by whoever makes the next value, so that no change is lost.
    writer: Mutex<()>,
}

impl<T: Clone> Swapped<T> {
    pub(crate) fn new(value: T, changes: &Changes) -> Self {
        Self {
            value: Watched::new(Arc::new(value), changes),
            writer: Mutex::new(()),
        }
    }

    pub(crate) fn read(&self) -> Arc<T> {
        self.value.read().clone()
    }

    /// Puts a changed copy in the place of the value, or nothing on an error.
    pub(crate) fn change<D, E>(&self, change: impl FnOnce(&mut T) -> Result<D, E>) -> Result<D, E> {
        let _writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        let mut changed = T::clone(&self.read());
        let done = change(&mut changed)?;
        let old = std::mem::replace(&mut *self.value.write(), Arc::new(changed));
        // Here, where nobody waits for the lock.
        drop(old);
        Ok(done)
    }
}

/// The locked stores. They know themselves whether they were changed: most requests only read.
pub(crate) struct LockedStores<'a> {
    stores: MutexGuard<'a, Stores>,
    before: u64,
    changes: &'a Changes,
}

impl<'a> LockedStores<'a> {
    pub(crate) fn new(stores: MutexGuard<'a, Stores>, changes: &'a Changes) -> Self {
        Self {
            before: stores.changes(),
            stores,
            changes,
        }
    }
}

impl Deref for LockedStores<'_> {
    type Target = Stores;

    fn deref(&self) -> &Stores {
        &self.stores
    }
}

impl DerefMut for LockedStores<'_> {
    fn deref_mut(&mut self) -> &mut Stores {
        &mut self.stores
    }
}

impl Drop for LockedStores<'_> {
    fn drop(&mut self) {
        if self.stores.changes() != self.before {
            self.changes.mark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::records::Guess;

    #[test]
    fn writing_counts_and_reading_does_not() {
        let changes = Changes::default();
        let value = Watched::new(1, &changes);
        assert_eq!(*value.read(), 1);
        assert_eq!(changes.count(), 0);
        *value.write() = 2;
        assert_eq!((*value.read(), changes.count()), (2, 1));
    }

    #[test]
    fn a_value_can_be_read_while_the_next_one_is_made() {
        let changes = Changes::default();
        let value = Swapped::new(1, &changes);
        let done = value.change(|next| {
            *next = 2;
            Ok::<_, ()>((*value.read(), changes.count()))
        });
        assert_eq!(done, Ok((1, 0)));
        assert_eq!((*value.read(), changes.count()), (2, 1));
        let refused = value.change(|next| {
            *next = 3;
            Err::<(), _>("no")
        });
        assert_eq!(refused, Err("no"));
        assert_eq!((*value.read(), changes.count()), (2, 1));
    }

    #[test]
    fn no_change_is_lost_to_another() {
        let value = Swapped::new(0, &Changes::default());
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..250 {
                        let add = |next: &mut i32| {
                            *next += 1;
                            Ok::<_, ()>(())
                        };
                        value.change(add).unwrap();
                    }
                });
            }
        });
        assert_eq!(*value.read(), 1000);
    }

    #[test]
    fn the_stores_count_only_what_they_keep() {
        let (changes, stores) = (Changes::default(), Mutex::new(Stores::new()));
        let lock = || LockedStores::new(stores.lock().unwrap(), &changes);
        lock().revoke(uuid::Uuid::nil(), 0);
        assert_eq!(changes.count(), 1);
        lock().attempt(Guess::Code, uuid::Uuid::nil(), 0);
        assert_eq!(changes.count(), 2);
        assert!(lock().session("x", 0).is_none());
        assert!(lock().family("x.y", 0).is_err());
        assert!(lock().flows.remove("x", 0).is_none());
        lock().end_family("x", 0);
        assert_eq!(changes.count(), 2);
    }
}
