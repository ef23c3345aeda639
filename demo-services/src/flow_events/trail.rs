//! The handles by which events are recorded: of a service, and of one flow in it. Both do nothing where flow events are off.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use uuid::Uuid;

use super::clock::now;
use super::event::{Event, Kind, Lane};
use super::ring::{Ring, Seq};

tokio::task_local! {
    static CURRENT: Trail;
}

/// The flow events of one service. Cheap to clone; all clones share one ring.
#[derive(Clone)]
pub struct FlowEvents(Option<Arc<Inner>>);

/// One flow in one service.
#[derive(Clone)]
pub struct Trail(Option<(Arc<Inner>, Uuid)>);

struct Inner {
    tier: Lane,
    ring: Mutex<Ring>,
}

impl FlowEvents {
    /// Those of `tier`; nothing is kept unless `on`.
    #[must_use]
    pub fn new(tier: Lane, on: bool) -> Self {
        Self(on.then(|| {
            Arc::new(Inner {
                tier,
                ring: Mutex::new(Ring::new()),
            })
        }))
    }

    /// Is anything kept?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// One flow's.
    #[must_use]
    pub fn trail(&self, flow: Uuid) -> Trail {
        Trail(self.0.clone().map(|inner| (inner, flow)))
    }

    /// Keeps nothing more of a flow.
    pub fn forget(&self, flow: Uuid) {
        if let Some(inner) = &self.0 {
            inner.ring().forget(flow);
        }
    }

    /// The events of a flow, in order.
    #[must_use]
    pub fn of(&self, flow: Uuid) -> Vec<Event> {
        let inner = self.0.as_ref();
        inner.map_or_else(Vec::new, |inner| inner.ring().events(flow))
    }
}

impl Trail {
    /// Of no flow: nothing is recorded.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// That of the task which this is called in, set by [`within`](Self::within).
    #[must_use]
    pub fn current() -> Self {
        CURRENT.try_with(Clone::clone).unwrap_or(Self(None))
    }

    /// Makes this the current one of everything that `future` does itself. A task that it spawns must be wrapped again.
    pub async fn within<F: Future>(self, future: F) -> F::Output {
        CURRENT.scope(self, future).await
    }

    /// Is anything kept?
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Records what happens now.
    pub fn record(&self, kind: Kind) -> Option<Seq> {
        self.record_at(now(), kind)
    }

    /// Records what happened at a time, in microseconds since the epoch.
    pub fn record_at(&self, at: u64, kind: Kind) -> Option<Seq> {
        let (inner, flow) = self.0.as_ref()?;
        let tier = inner.tier;
        inner.ring().record(*flow, Event { at, tier, kind })
    }

    /// Says what an event has come to; `None` removes it.
    pub fn settle(&self, seq: Seq, kind: Option<Kind>) {
        if let Some((inner, flow)) = &self.0 {
            inner.ring().settle(*flow, seq, kind);
        }
    }
}

impl Inner {
    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for FlowEvents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FlowEvents").finish_non_exhaustive()
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACK: Kind = Kind::SignedIn {
        from: Lane::Authority,
        to: Lane::Browser,
    };

    #[tokio::test]
    async fn what_is_off_keeps_nothing() {
        let flow = Uuid::new_v4();
        let off = FlowEvents::new(Lane::SpaBackend, false);
        assert_eq!(off.trail(flow).record(BACK), None);
        assert!(off.of(flow).is_empty() && !off.is_on());
        let on = FlowEvents::new(Lane::SpaBackend, true);
        assert!(on.trail(flow).record(BACK).is_some());
        assert_eq!(on.of(flow).len(), 1);
        assert!(on.of(Uuid::new_v4()).is_empty());
    }

    #[tokio::test]
    async fn a_flow_is_that_of_the_task() {
        let (events, flow) = (FlowEvents::new(Lane::SpaBackend, true), Uuid::new_v4());
        assert!(!Trail::current().is_on());
        events
            .trail(flow)
            .within(async { Trail::current().record(BACK) })
            .await;
        assert_eq!(events.of(flow).len(), 1);
    }
}
