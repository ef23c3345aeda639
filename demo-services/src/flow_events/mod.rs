//! Flow events: what happened to one call in one service, for the picture that the page draws of it.
//!
//! A flow is one action of a person; its id is the correlation id of all requests that belong to it. Each service keeps the events of its
//! last flows in a bounded [`Ring`] and serves them under `GET /flow/<id>` ([`FlowLayer`]); the SPA backend joins them. The caller
//! records both arrows of a call, so that a tier that does not answer shows as well.
//!
//! The SPA backend bounds the flows of each session, so that nobody takes the place of all others. The tiers behind know no sessions: there
//! many calls of one person drop the events of others before their time, which is why the ring is bounded and for one machine's demo.
//!
//! Nothing of it goes to logs or spans, and no event holds a token or says who the user is. A service whose configuration does not
//! say `flow_events = true` keeps nothing.

mod accepted;
mod clock;
mod event;
mod ring;
mod serve;
mod trail;
mod watch;

pub use self::accepted::AcceptedLayer;
pub use self::clock::now;
pub use self::event::{
    Card, Challenge, Event, Grant, Kind, Lane, Protocol, Reason, Refusal, SignInReason, Source,
};
pub(crate) use self::event::{claims_of, demanded};
pub(crate) use self::ring::{EVENTS, FLOWS, LIFETIME};
pub use self::ring::{Ring, Seq};
pub use self::serve::FlowLayer;
pub use self::trail::{FlowEvents, Trail};
pub use self::watch::{Inside, Outside, WatchLayer};
