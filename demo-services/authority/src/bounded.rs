//! A map whose entries expire and whose size is limited: no input can make the authority grow without bound.

use std::collections::{HashMap, VecDeque};

/// Entries live for a fixed time; at capacity the oldest goes first.
pub(crate) struct Expiring<V> {
    entries: HashMap<String, (u64, V)>,
    /// Keys in order of insertion, which is the order of expiry as well. Removed keys stay until they reach the front or are swept.
    order: VecDeque<String>,
    lifetime: u64,
    capacity: usize,
}

impl<V> Expiring<V> {
    pub(crate) fn new(lifetime: u64, capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            lifetime,
            capacity,
        }
    }

    pub(crate) fn insert(&mut self, key: String, value: V, now: u64) {
        self.make_room(now);
        if self
            .entries
            .insert(key.clone(), (now.saturating_add(self.lifetime), value))
            .is_none()
        {
            self.order.push_back(key);
        }
    }

    pub(crate) fn get(&self, key: &str, now: u64) -> Option<&V> {
        self.entries
            .get(key)
            .filter(|(expires, _)| *expires > now)
            .map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, key: &str, now: u64) -> Option<&mut V> {
        self.entries
            .get_mut(key)
            .filter(|(expires, _)| *expires > now)
            .map(|(_, value)| value)
    }

    pub(crate) fn remove(&mut self, key: &str, now: u64) -> Option<V> {
        self.entries
            .remove(key)
            .filter(|(expires, _)| *expires > now)
            .map(|(_, value)| value)
    }

    /// What is not expired, in no order.
    pub(crate) fn live(&self, now: u64) -> impl Iterator<Item = &V> {
        let live = move |(expires, _): &&(u64, V)| *expires > now;
        self.entries.values().filter(live).map(|(_, value)| value)
    }

    /// Removes every entry whose key begins so. How many there were.
    pub(crate) fn remove_all(&mut self, prefix: &str, now: u64) -> usize {
        let gone = |key: &&String| key.starts_with(prefix);
        let keys: Vec<_> = self.entries.keys().filter(gone).cloned().collect();
        keys.iter()
            .filter(|key| self.remove(key, now).is_some())
            .count()
    }

    /// Whether the key is known but its time is over.
    pub(crate) fn is_expired(&self, key: &str, now: u64) -> bool {
        self.entries
            .get(key)
            .is_some_and(|(expires, _)| *expires <= now)
    }

    fn make_room(&mut self, now: u64) {
        // An expired entry stays for one more lifetime, so that it can be told from an unknown one.
        while let Some(front) = self.order.front() {
            let keep = self
                .entries
                .get(front)
                .is_some_and(|(expires, _)| expires.saturating_add(self.lifetime) > now);
            if keep && self.entries.len() < self.capacity {
                break;
            }
            self.entries.remove(front);
            self.order.pop_front();
        }
        if self.order.len() > self.capacity.saturating_mul(2) {
            let entries = &self.entries;
            self.order.retain(|key| entries.contains_key(key));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_expire() {
        let mut map = Expiring::new(10, 4);
        map.insert("a".into(), 1, 100);
        assert_eq!(map.get("a", 109), Some(&1));
        assert_eq!(map.get("a", 110), None);
        assert!(map.is_expired("a", 110));
        assert_eq!(map.remove("a", 110), None);
    }

    #[test]
    fn what_is_live_is_listed_and_what_begins_alike_goes_together() {
        let mut map = Expiring::new(10, 8);
        for (key, now) in [("a 1", 0), ("a 2", 5), ("b 1", 5)] {
            map.insert(key.into(), key, now);
        }
        let mut live: Vec<_> = map.live(10).copied().collect();
        live.sort_unstable();
        assert_eq!(live, ["a 2", "b 1"]);
        assert_eq!(map.remove_all("a ", 10), 1);
        assert_eq!(map.live(10).copied().collect::<Vec<_>>(), ["b 1"]);
    }

    #[test]
    fn the_oldest_goes_first_at_capacity() {
        let mut map = Expiring::new(10, 2);
        for key in ["a", "b", "c"] {
            map.insert(key.into(), (), 0);
        }
        assert!(map.get("a", 0).is_none());
        assert!(map.get("b", 0).is_some() && map.get("c", 0).is_some());
    }

    #[test]
    fn neither_insertion_nor_removal_grows_the_map() {
        let mut map = Expiring::new(10, 8);
        for index in 0..1000 {
            map.insert(format!("{index}"), (), 0);
            if index % 2 == 0 {
                map.remove(&format!("{index}"), 0);
            }
        }
        assert!(map.entries.len() <= 8 && map.order.len() <= 17);
    }
}
