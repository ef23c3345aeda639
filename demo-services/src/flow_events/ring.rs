//! The last flows of one service: bounded in number, in events of each, in bytes of each, and in time.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;
use uuid::Uuid;

use super::event::{Event, Kind};

/// How long a flow is kept after its first event.
pub(crate) const LIFETIME: Duration = Duration::from_secs(15 * 60);
/// Flows at one time; beyond it the oldest goes.
pub(crate) const FLOWS: usize = 500;
/// Events of one flow; what happens after them is not recorded.
pub(crate) const EVENTS: usize = 200;
/// Text of one flow's events, in bytes; an event that does not fit is not recorded.
const BYTES: usize = 96 * 1024;

/// The number of an event in its flow, by which it can be settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seq(u64);

/// Flows by id, and in the order in which they began.
#[derive(Debug, Default)]
pub struct Ring {
    flows: HashMap<Uuid, Flow>,
    order: VecDeque<Uuid>,
}

#[derive(Debug)]
struct Flow {
    since: Instant,
    bytes: usize,
    next: u64,
    events: Vec<(Seq, Event)>,
}

impl Ring {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps an event, in the order of time. `None`: its flow has too many already.
    pub fn record(&mut self, flow: Uuid, mut event: Event) -> Option<Seq> {
        event.kind = event.kind.bounded();
        let weight = event.kind.weight();
        let now = Instant::now();
        self.drop_expired(now);
        if !self.flows.contains_key(&flow) {
            if self.order.len() >= FLOWS {
                self.drop_oldest();
            }
            self.order.push_back(flow);
        }
        let kept = self.flows.entry(flow).or_insert_with(|| Flow {
            since: now,
            bytes: 0,
            next: 0,
            events: Vec::new(),
        });
        if kept.events.len() >= EVENTS || kept.bytes + weight > BYTES {
            return None;
        }
        kept.bytes += weight;
        let seq = Seq(kept.next);
        kept.next += 1;
        let place = kept
            .events
            .partition_point(|(_, other)| other.at <= event.at);
        kept.events.insert(place, (seq, event));
        Some(seq)
    }

    /// Says what an event has come to, at its time and place; `None` removes it.
    pub fn settle(&mut self, flow: Uuid, seq: Seq, kind: Option<Kind>) {
        let Some(kept) = self.flows.get_mut(&flow) else {
            return;
        };
        let Some(at) = kept.events.iter().position(|(other, _)| *other == seq) else {
            return;
        };
        match (kind, kept.events.get_mut(at)) {
            (Some(kind), Some((_, event))) => event.kind = kind.bounded(),
            _ => drop(kept.events.remove(at)),
        }
        let weights = kept.events.iter().map(|(_, event)| event.kind.weight());
        kept.bytes = weights.sum();
    }

    /// The events of a flow, in order; none of one that is not there.
    #[must_use]
    pub fn events(&mut self, flow: Uuid) -> Vec<Event> {
        self.drop_expired(Instant::now());
        let kept = self.flows.get(&flow);
        kept.map_or_else(Vec::new, |kept| {
            kept.events.iter().map(|(_, event)| event.clone()).collect()
        })
    }

    /// Keeps nothing more of a flow.
    pub fn forget(&mut self, flow: Uuid) {
        if self.flows.remove(&flow).is_some() {
            self.order.retain(|id| *id != flow);
        }
    }

    fn drop_expired(&mut self, now: Instant) {
        let is_over = |id: &Uuid| {
            let flow = self.flows.get(id);
            flow.is_none_or(|flow| now.duration_since(flow.since) >= LIFETIME)
        };
        let over = self.order.iter().take_while(|id| is_over(id)).count();
        for _ in 0..over {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(oldest) = self.order.pop_front() {
            self.flows.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow_events::{Challenge, Lane, Reason};

    fn event(kind: Kind) -> Event {
        Event {
            at: 1,
            tier: Lane::MiddleTier,
            kind,
        }
    }

    fn lost() -> Kind {
        Kind::NoAnswer {
            from: Lane::Graph,
            to: Lane::MiddleTier,
            reason: Reason::Broken,
        }
    }

    fn challenged(bytes: usize) -> Kind {
        Kind::Answer {
            from: Lane::Graph,
            to: Lane::MiddleTier,
            status: 401,
            grpc_status: None,
            challenge: Some(Challenge {
                header: "x".repeat(bytes),
                error: None,
                claims: None,
            }),
            took_ms: 0,
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_flows_drops_the_oldest() {
        let mut ring = Ring::new();
        let ids: Vec<_> = (0..FLOWS + 1).map(|_| Uuid::new_v4()).collect();
        for id in &ids {
            ring.record(*id, event(lost()));
        }
        assert!(ring.events(ids[0]).is_empty());
        assert_eq!(ring.events(ids[1]).len(), 1);
        assert_eq!(ring.events(ids[FLOWS]).len(), 1);
        assert_eq!((ring.flows.len(), ring.order.len()), (FLOWS, FLOWS));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_has_so_many_events_and_so_much_text() {
        let (mut ring, id, other) = (Ring::new(), Uuid::new_v4(), Uuid::new_v4());
        for _ in 0..EVENTS {
            assert!(ring.record(id, event(lost())).is_some());
        }
        assert_eq!(ring.record(id, event(lost())), None);
        assert_eq!(ring.events(id).len(), EVENTS);

        let mut kept = 0;
        while ring.record(other, event(challenged(8 * 1024))).is_some() {
            kept += 1;
        }
        assert_eq!(kept, BYTES / (8 * 1024));
    }

    #[tokio::test(start_paused = true)]
    async fn a_flow_is_kept_for_a_quarter_of_an_hour() {
        let (mut ring, id) = (Ring::new(), Uuid::new_v4());
        ring.record(id, event(lost()));
        tokio::time::advance(LIFETIME - Duration::from_secs(1)).await;
        ring.record(id, event(lost()));
        assert_eq!(ring.events(id).len(), 2);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(ring.events(id).is_empty());
        assert!(ring.order.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_provisional_is_settled_in_its_place() {
        let (mut ring, id) = (Ring::new(), Uuid::new_v4());
        let first = ring.record(id, event(challenged(10))).unwrap();
        let second = ring.record(id, event(challenged(20))).unwrap();
        ring.record(id, event(lost()));
        ring.settle(id, first, Some(challenged(5)));
        ring.settle(id, second, None);
        ring.settle(id, second, Some(challenged(1)));
        ring.settle(Uuid::new_v4(), first, None);
        assert_eq!(ring.events(id), [event(challenged(5)), event(lost())]);
        assert_eq!(ring.flows[&id].bytes, 5);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_forgotten_makes_room() {
        let mut ring = Ring::new();
        let [first, second] = [Uuid::new_v4(), Uuid::new_v4()];
        for id in [first, second] {
            ring.record(id, event(lost()));
        }
        ring.forget(first);
        ring.forget(first);
        assert!(ring.events(first).is_empty());
        assert_eq!(ring.events(second).len(), 1);
        assert_eq!((ring.flows.len(), ring.order.len()), (1, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn events_stand_in_the_order_of_time() {
        let (mut ring, id) = (Ring::new(), Uuid::new_v4());
        for at in [5, 7, 3, 5] {
            ring.record(
                id,
                Event {
                    at,
                    ..event(lost())
                },
            );
        }
        let times: Vec<_> = ring.events(id).iter().map(|event| event.at).collect();
        assert_eq!(times, [3, 5, 5, 7]);
    }
}
