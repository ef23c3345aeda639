//! Single flight: those who want the same at the same time share one attempt.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use tokio::sync::oneshot;

/// Attempts under way, by what they are for.
pub(crate) struct Flights<K, V>(Arc<Mutex<HashMap<K, Flight<V>>>>);

/// Resolves to the outcome of an attempt; to nothing where it ended without one, in a panic for instance.
pub(crate) type Flight<V> = Shared<BoxFuture<'static, Option<V>>>;

/// What became of a wish.
pub(crate) enum Joined<K: Eq + Hash, V> {
    /// It is there already.
    Found(V),
    /// Somebody else is at it.
    Passenger(Flight<V>),
    /// Nobody is: whoever holds the takeoff makes the attempt, in a task that outlives its caller.
    Pilot(Takeoff<K, V>, Flight<V>),
    /// Too many different attempts are under way.
    Full,
}

/// The duty to make an attempt. Dropped without an outcome, it gives the place up and tells those who wait.
#[must_use]
pub(crate) struct Takeoff<K: Eq + Hash, V> {
    flights: Arc<Mutex<HashMap<K, Flight<V>>>>,
    id: K,
    landed: Option<oneshot::Sender<V>>,
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash,
    V: Clone + Send + Sync + 'static,
{
    pub(crate) fn new() -> Self {
        Self(Arc::default())
    }

    /// Joins the attempt for `id`, or begins one. `look` is asked under the lock: an attempt keeps its outcome before it leaves
    /// the map, so nobody falls between the two.
    pub(crate) fn join(
        &self,
        id: K,
        most: usize,
        look: impl FnOnce() -> Option<V>,
    ) -> Joined<K, V> {
        let mut flights = lock(&self.0);
        if let Some(found) = look() {
            return Joined::Found(found);
        }
        if let Some(flight) = flights.get(&id) {
            return Joined::Passenger(flight.clone());
        }
        if flights.len() >= most {
            return Joined::Full;
        }
        let (landed, landing) = oneshot::channel();
        let flight = landing.map(Result::ok).boxed().shared();
        flights.insert(id.clone(), flight.clone());
        let takeoff = Takeoff {
            flights: Arc::clone(&self.0),
            id,
            landed: Some(landed),
        };
        Joined::Pilot(takeoff, flight)
    }
}

impl<K: Eq + Hash, V> Takeoff<K, V> {
    /// Ends the attempt. What is worth keeping has been kept before.
    pub(crate) fn land(mut self, outcome: V) {
        self.give_up_place();
        if let Some(landed) = self.landed.take() {
            // Nobody may be waiting any more.
            let _ = landed.send(outcome);
        }
    }

    fn give_up_place(&self) {
        lock(&self.flights).remove(&self.id);
    }
}

impl<K: Eq + Hash, V> Drop for Takeoff<K, V> {
    fn drop(&mut self) {
        // Only where it did not land: the place may be somebody else's by now.
        if self.landed.is_some() {
            self.give_up_place();
        }
    }
}

fn lock<K, V>(flights: &Mutex<HashMap<K, Flight<V>>>) -> MutexGuard<'_, HashMap<K, Flight<V>>> {
    flights.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    /// What can happen, in any order, to three callers who want the same.
    #[derive(Clone, Copy, Debug)]
    enum Event {
        Call(usize),
        Cancel(usize),
        Land,
        Crash,
    }

    const EVENTS: [Event; 8] = [
        Event::Call(0),
        Event::Call(1),
        Event::Call(2),
        Event::Cancel(0),
        Event::Cancel(1),
        Event::Cancel(2),
        Event::Land,
        Event::Crash,
    ];

    /// Each step happens under the one lock or touches no shared state, so the orders of steps are all the interleavings there are.
    #[test]
    fn every_interleaving_makes_one_attempt_at_a_time_and_strands_nobody() {
        const LENGTH: u32 = 6;
        for word in 0..EVENTS.len().pow(LENGTH) {
            let mut rest = word;
            let events = std::iter::repeat_with(|| {
                let event = EVENTS[rest % EVENTS.len()];
                rest /= EVENTS.len();
                event
            });
            run(events.take(LENGTH as usize), word);
        }
    }

    fn run(events: impl Iterator<Item = Event>, word: usize) {
        let flights = Flights::<(), u32>::new();
        let kept = std::cell::Cell::new(None);
        let mut pilots: Vec<Takeoff<(), u32>> = Vec::new();
        let mut waiting: [Option<Flight<u32>>; 3] = [None, None, None];
        for event in events {
            match event {
                Event::Call(caller) if waiting[caller].is_none() => {
                    match flights.join((), 1, || kept.get()) {
                        Joined::Found(value) => assert_eq!(value, 7, "{word}"),
                        Joined::Passenger(flight) => waiting[caller] = Some(flight),
                        Joined::Pilot(takeoff, flight) => {
                            waiting[caller] = Some(flight);
                            pilots.push(takeoff);
                        }
                        Joined::Full => panic!("{word}: the same wish counts once"),
                    }
                }
                Event::Call(_) => {}
                Event::Cancel(caller) => waiting[caller] = None,
                Event::Land => {
                    if let Some(pilot) = pilots.pop() {
                        kept.set(Some(7));
                        pilot.land(7);
                        kept.set(None);
                    }
                }
                Event::Crash => drop(pilots.pop()),
            }
            assert!(pilots.len() <= 1, "{word}: two attempts");
            assert_eq!(lock(&flights.0).len(), pilots.len(), "{word}: the map");
            for flight in waiting.iter_mut() {
                let outcome = flight.clone().and_then(|flight| flight.now_or_never());
                match outcome {
                    Some(landed) => {
                        assert!(matches!(landed, None | Some(7)), "{word}");
                        *flight = None;
                    }
                    None => assert!(
                        flight.is_none() || pilots.len() == 1,
                        "{word}: somebody waits for nobody"
                    ),
                }
            }
        }
    }

    #[test]
    fn different_wishes_are_bounded_together() {
        let flights = Flights::<u32, u32>::new();
        let _one = flights.join(1, 2, || None);
        let _two = flights.join(2, 2, || None);
        assert!(matches!(flights.join(3, 2, || None), Joined::Full));
        assert!(matches!(flights.join(2, 2, || None), Joined::Passenger(_)));
    }

    #[test]
    fn a_place_that_was_given_up_is_not_taken_from_the_next() {
        let flights = Flights::<u32, u32>::new();
        let Joined::Pilot(first, _) = flights.join(1, 9, || None) else {
            panic!("the first flies")
        };
        first.land(1);
        let Joined::Pilot(second, _) = flights.join(1, 9, || None) else {
            panic!("the place is free")
        };
        assert!(matches!(flights.join(1, 9, || None), Joined::Passenger(_)));
        drop(second);
        assert!(matches!(flights.join(1, 9, || None), Joined::Pilot(..)));
    }
}
