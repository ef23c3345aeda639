//! A map whose entries expire and whose size is limited: no input can make the authority grow without bound.

use std::collections::{HashMap, VecDeque};

/// Key, second of expiry, value: an entry outside of its map.
pub(crate) type Entry<V> = (String, u64, V);

/// Entries live for a fixed time; at capacity the one that was put in first goes first.
pub(crate) struct Expiring<V> {
    entries: HashMap<String, Kept<V>>,
    /// Insertions in their order, which is that of expiry as well, unless the clock goes back: then what has expired may stay longer, until
    /// those before it have expired or the room is needed. An insertion whose key was removed or put in again stays until it reaches the
    /// front or is swept.
    order: VecDeque<(u64, String)>,
    /// Number of the next insertion.
    next: u64,
    lifetime: u64,
    capacity: usize,
    /// How often an entry was put in, taken out, or handed out to be changed.
    changes: u64,
}

struct Kept<V> {
    expires: u64,
    /// Number of its insertion.
    number: u64,
    value: V,
}

impl<V> Expiring<V> {
    pub(crate) fn new(lifetime: u64, capacity: usize) -> Self {
        Self {
            entries: HashMap::new(),
            order: VecDeque::new(),
            next: 0,
            lifetime,
            capacity,
            changes: 0,
        }
    }

    /// Puts back what [`entries`](Self::entries) gave. `None` if a key is there twice.
    ///
    /// What the map would have forgotten by now is left out, and nothing lives for longer than if it came in now.
    pub(crate) fn refill(mut self, mut entries: Vec<Entry<V>>, now: u64) -> Option<Self> {
        entries.sort_by_key(|(_, expires, _)| *expires);
        let latest = now.saturating_add(self.lifetime);
        for (key, expires, value) in entries {
            if self.is_forgotten(expires, now) {
                continue;
            }
            self.make_room(now);
            if !self.put(key, expires.min(latest), value) {
                return None;
            }
        }
        Some(self)
    }

    /// In no order.
    pub(crate) fn entries(&self) -> impl Iterator<Item = Entry<&V>> {
        self.entries
            .iter()
            .map(|(key, kept)| (key.clone(), kept.expires, &kept.value))
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes
    }

    pub(crate) fn insert(&mut self, key: String, value: V, now: u64) {
        self.changes += 1;
        // What it takes the place of needs no room.
        self.entries.remove(&key);
        self.make_room(now);
        self.put(key, now.saturating_add(self.lifetime), value);
    }

    /// Whether the key is a new one.
    fn put(&mut self, key: String, expires: u64, value: V) -> bool {
        let number = self.next;
        self.next += 1;
        self.order.push_back((number, key.clone()));
        let kept = Kept {
            expires,
            number,
            value,
        };
        self.entries.insert(key, kept).is_none()
    }

    pub(crate) fn get(&self, key: &str, now: u64) -> Option<&V> {
        self.entries
            .get(key)
            .filter(|kept| kept.expires > now)
            .map(|kept| &kept.value)
    }

    pub(crate) fn get_mut(&mut self, key: &str, now: u64) -> Option<&mut V> {
        let kept = self
            .entries
            .get_mut(key)
            .filter(|kept| kept.expires > now)?;
        self.changes += 1;
        Some(&mut kept.value)
    }

    pub(crate) fn remove(&mut self, key: &str, now: u64) -> Option<V> {
        let kept = self.entries.remove(key)?;
        self.changes += 1;
        (kept.expires > now).then_some(kept.value)
    }

    /// What is not expired, in no order.
    pub(crate) fn live(&self, now: u64) -> impl Iterator<Item = &V> {
        let live = move |kept: &&Kept<V>| kept.expires > now;
        self.entries.values().filter(live).map(|kept| &kept.value)
    }

    /// Removes every entry that is `gone`. How many of them had not expired.
    pub(crate) fn remove_where(&mut self, now: u64, gone: impl Fn(&str, &V) -> bool) -> usize {
        let gone = |(key, kept): &(&String, &Kept<V>)| gone(key, &kept.value);
        let entries = self.entries.iter().filter(gone);
        let keys: Vec<_> = entries.map(|(key, _)| key.clone()).collect();
        keys.iter()
            .filter(|key| self.remove(key, now).is_some())
            .count()
    }

    /// Whether the key is known but its time is over.
    pub(crate) fn is_expired(&self, key: &str, now: u64) -> bool {
        self.entries
            .get(key)
            .is_some_and(|kept| kept.expires <= now)
    }

    /// An expired entry stays for one more lifetime, so that it can be told from an unknown one.
    fn is_forgotten(&self, expires: u64, now: u64) -> bool {
        expires.saturating_add(self.lifetime) <= now
    }

    fn make_room(&mut self, now: u64) {
        while let Some((number, key)) = self.order.front() {
            let kept = self.entries.get(key).filter(|kept| kept.number == *number);
            if let Some(kept) = kept {
                if !self.is_forgotten(kept.expires, now) && self.entries.len() < self.capacity {
                    break;
                }
                self.entries.remove(key);
            }
            self.order.pop_front();
        }
        if self.order.len() > self.capacity.saturating_mul(2) {
            let entries = &self.entries;
            self.order.retain(|(number, key)| {
                entries.get(key).is_some_and(|kept| kept.number == *number)
            });
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
    fn what_is_live_is_listed_and_what_is_alike_goes_together() {
        let mut map = Expiring::new(10, 8);
        for (key, now) in [("a 1", 0), ("a 2", 5), ("b 1", 5)] {
            map.insert(key.into(), key, now);
        }
        let mut live: Vec<_> = map.live(10).copied().collect();
        live.sort_unstable();
        assert_eq!(live, ["a 2", "b 1"]);
        assert_eq!(map.remove_where(10, |key, _| key.starts_with("a ")), 1);
        assert_eq!(map.remove_where(10, |_, value| *value == "a 2"), 0);
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
    fn what_is_put_in_again_is_the_youngest() {
        for removed in [false, true] {
            let mut map = Expiring::new(10, 2);
            map.insert("a".into(), 1, 0);
            map.insert("b".into(), 2, 0);
            if removed {
                map.remove("a", 0);
            }
            map.insert("a".into(), 3, 0);
            map.insert("c".into(), 4, 0);
            let values = ["a", "b", "c"].map(|key| map.get(key, 0).copied());
            assert_eq!(values, [Some(3), None, Some(4)], "{removed}");
        }
    }

    #[test]
    fn what_takes_its_own_place_needs_no_room() {
        let mut map = Expiring::new(10, 2);
        for key in ["a", "b", "b"] {
            map.insert(key.into(), (), 0);
        }
        assert!(map.get("a", 0).is_some() && map.get("b", 0).is_some());
    }

    #[test]
    fn a_clock_that_goes_back_breaks_no_bound() {
        let mut map = Expiring::new(10, 2);
        map.insert("late".into(), (), 1000);
        map.insert("early".into(), (), 0);
        assert!(map.get("early", 9).is_some() && map.get("early", 10).is_none());
        map.insert("next".into(), (), 50);
        assert!(map.get("late", 50).is_none() && map.get("next", 50).is_some());
        assert_eq!(map.entries.len(), 1);
        map.insert("last".into(), (), 51);
        assert!(map.get("next", 51).is_some() && map.get("last", 51).is_some());
    }

    #[test]
    fn neither_insertion_nor_removal_grows_the_map() {
        let mut map = Expiring::new(10, 8);
        for index in 0..1000 {
            map.insert(format!("{index}"), (), 0);
            if index % 2 == 0 {
                map.remove(&format!("{index}"), 0);
            }
            map.insert("again".into(), (), 0);
        }
        assert!(map.entries.len() <= 8 && map.order.len() <= 17);
    }

    /// The map after a stop and a start at `now`.
    fn refilled(map: &Expiring<u8>, now: u64) -> Option<Expiring<u8>> {
        let entries = map
            .entries()
            .map(|(key, expires, value)| (key, expires, *value));
        Expiring::new(10, 2).refill(entries.collect(), now)
    }

    #[test]
    fn a_refilled_map_knows_what_the_old_one_knew() {
        let mut map = Expiring::new(10, 2);
        map.insert("a".into(), 1, 100);
        map.insert("b".into(), 2, 105);
        for now in [100, 109, 110, 114, 115, 119, 120, 125] {
            let new = refilled(&map, now).unwrap();
            for key in ["a", "b", "c"] {
                assert_eq!(new.get(key, now), map.get(key, now), "{key} at {now}");
            }
            let kept = now < 120;
            assert_eq!(new.is_expired("a", now), kept && map.is_expired("a", now));
        }
        let mut new = refilled(&map, 106).unwrap();
        new.insert("c".into(), 3, 106);
        assert_eq!((new.get("a", 106), new.get("b", 106)), (None, Some(&2)));
    }

    #[test]
    fn a_refilled_map_is_bounded_in_size_and_time() {
        let entry = |key: &str, expires| (key.to_owned(), expires, 0_u8);
        let fill = |entries| Expiring::new(10, 2).refill(entries, 100);
        let map = fill(vec![entry("a", 103), entry("b", 102), entry("c", 101)]).unwrap();
        assert!(map.get("a", 100).is_some() && map.get("b", 100).is_some());
        assert!(map.get("c", 100).is_none());
        let map = fill(vec![entry("a", u64::MAX)]).unwrap();
        assert!(map.get("a", 109).is_some() && map.get("a", 110).is_none());
        assert!(fill(vec![entry("a", 101), entry("a", 102)]).is_none());
    }

    #[test]
    fn changes_are_counted_and_looks_are_not() {
        let mut map = Expiring::new(10, 2);
        map.insert("a".into(), 1, 0);
        assert_eq!(map.changes(), 1);
        assert!(map.get("a", 0).is_some() && !map.is_expired("a", 0));
        assert!(map.get_mut("b", 0).is_none() && map.remove("b", 0).is_none());
        assert_eq!(map.changes(), 1);
        assert!(map.get_mut("a", 0).is_some());
        assert!(map.remove("a", 0).is_some());
        assert_eq!(map.changes(), 3);
    }
}
