//! The token as a card: what it says, at the tier that has accepted it.

use std::task::{Context, Poll};

use http::Request;
use serde_json::Value;
use tower::{Layer, Service};
use tower_bearer::Principal;

use super::clock::now;
use super::event::{Card, Kind};
use super::trail::FlowEvents;
use crate::problem::CorrelationId;

/// Records each accepted token; to be put right inside of the validation.
#[derive(Clone, Debug)]
#[must_use]
pub struct AcceptedLayer {
    events: FlowEvents,
}

impl AcceptedLayer {
    /// The layer, if flow events are on.
    pub fn new(events: &FlowEvents) -> Option<Self> {
        events.is_on().then(|| Self {
            events: events.clone(),
        })
    }
}

impl<S> Layer<S> for AcceptedLayer {
    type Service = Accepted<S>;

    fn layer(&self, inner: S) -> Accepted<S> {
        Accepted {
            inner,
            events: self.events.clone(),
        }
    }
}

/// The service of [`AcceptedLayer`].
#[derive(Clone, Debug)]
pub struct Accepted<S> {
    inner: S,
    events: FlowEvents,
}

impl<S, B> Service<Request<B>> for Accepted<S>
where
    S: Service<Request<B>>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<B>) -> S::Future {
        let extensions = request.extensions();
        if let (Some(id), Some(caller)) = (
            extensions.get::<CorrelationId>(),
            extensions.get::<Principal>(),
        ) {
            let card = card(caller, now() / 1_000_000);
            self.events.trail(id.0).record(Kind::Accepted { card });
        }
        self.inner.call(request)
    }
}

fn card(caller: &Principal, now: u64) -> Card {
    let names = |value: &Value| match value {
        Value::String(name) => vec![name.clone()],
        Value::Array(names) => {
            let names = names.iter().filter_map(Value::as_str);
            names.map(str::to_owned).collect()
        }
        _ => Vec::new(),
    };
    let claim = |name| caller.claim(name).map(names).unwrap_or_default();
    Card {
        audience: claim("aud").join(" "),
        scopes: caller.scopes().map(str::to_owned).collect(),
        contexts: claim("acrs"),
        issued_at: caller.issued_at(),
        expires_at: caller.expires_at(),
        age_s: caller.issued_at().map(|issued| now.saturating_sub(issued)),
        client: caller.client_id().map(str::to_owned),
        app_only: caller.is_app(),
    }
}
