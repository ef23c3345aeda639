//! A store for tests, in memory: of several processes, and with every fault that a test asks for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::{StoreFuture, TokenStore};

/// Clones are connections to one store.
#[derive(Clone, Default)]
pub(crate) struct ScriptedStore(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    entries: HashMap<String, Entry>,
    fault: Fault,
    calls: Vec<&'static str>,
}

#[derive(Clone)]
struct Entry {
    value: Vec<u8>,
    expires_at: Instant,
}

/// What is wrong with the store.
#[derive(Clone, Copy, Default)]
pub(crate) enum Fault {
    #[default]
    None,
    Down,
    Slow(Duration),
    Hanging,
    Panicking,
}

impl ScriptedStore {
    pub(crate) fn fault(&self, fault: Fault) {
        self.lock().fault = fault;
    }

    /// The operations since the last time.
    pub(crate) fn calls(&self) -> Vec<&'static str> {
        std::mem::take(&mut self.lock().calls)
    }

    /// Everything that is there: keys and values.
    pub(crate) fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let inner = self.lock();
        let live = inner.entries.iter().filter(|(_, entry)| entry.is_live());
        live.map(|(key, entry)| (key.clone(), entry.value.clone()))
            .collect()
    }

    /// Somebody writes to the store who should not.
    pub(crate) fn tamper(&self, change: impl Fn(&mut Vec<u8>)) {
        for entry in self.lock().entries.values_mut() {
            change(&mut entry.value);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    fn answer<T: Send + 'static>(
        &self,
        call: &'static str,
        act: impl FnOnce(&mut HashMap<String, Entry>) -> T + Send + 'static,
    ) -> StoreFuture<'_, T> {
        let this = self.clone();
        let fault = {
            let mut inner = self.lock();
            inner.calls.push(call);
            inner.fault
        };
        Box::pin(async move {
            match fault {
                Fault::None => {}
                Fault::Down => return Err("the store is down".into()),
                Fault::Slow(delay) => sleep(delay).await,
                Fault::Hanging => std::future::pending().await,
                Fault::Panicking => panic!("a fault of the store"),
            }
            let mut inner = this.lock();
            inner.entries.retain(|_, entry| entry.is_live());
            Ok(act(&mut inner.entries))
        })
    }
}

impl Entry {
    fn new(value: Vec<u8>, time_to_live: Duration) -> Self {
        let expires_at = Instant::now() + time_to_live;
        Self { value, expires_at }
    }

    fn is_live(&self) -> bool {
        Instant::now() < self.expires_at
    }
}

impl TokenStore for ScriptedStore {
    fn get(&self, key: &str) -> StoreFuture<'_, Option<Vec<u8>>> {
        let key = key.to_owned();
        self.answer("get", move |entries| {
            entries.get(&key).map(|entry| entry.value.clone())
        })
    }

    fn put(&self, key: &str, value: Vec<u8>, time_to_live: Duration) -> StoreFuture<'_, ()> {
        let key = key.to_owned();
        self.answer("put", move |entries| {
            entries.insert(key, Entry::new(value, time_to_live));
        })
    }

    fn remove(&self, key: &str) -> StoreFuture<'_, ()> {
        let key = key.to_owned();
        self.answer("remove", move |entries| {
            entries.remove(&key);
        })
    }

    fn claim(&self, key: &str, owner: &str, time_to_live: Duration) -> StoreFuture<'_, bool> {
        let (key, owner) = (key.to_owned(), owner.as_bytes().to_vec());
        self.answer("claim", move |entries| {
            let entry = entries.entry(key);
            let entry = entry.or_insert_with(|| Entry::new(owner.clone(), time_to_live));
            entry.value == owner
        })
    }

    fn release(&self, key: &str, owner: &str) -> StoreFuture<'_, ()> {
        let (key, owner) = (key.to_owned(), owner.as_bytes().to_vec());
        self.answer("release", move |entries| {
            if entries.get(&key).is_some_and(|entry| entry.value == owner) {
                entries.remove(&key);
            }
        })
    }
}
