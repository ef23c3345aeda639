//! One request of the browser through all tiers: the id under which each of them logs it.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderName, HeaderValue};
use tracing::Instrument as _;
use uuid::Uuid;

use crate::problem::{CORRELATION_ID, CorrelationId};

/// A random id, in the request's extensions. What the browser sends chooses at most among those of its own session, and then the
/// handler says so in the response's extensions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Flow(CorrelationId);

impl Flow {
    pub(super) fn new() -> Self {
        Self::of(Uuid::new_v4())
    }

    pub(super) fn of(id: Uuid) -> Self {
        Self(CorrelationId(id))
    }

    pub(super) fn uuid(self) -> Uuid {
        self.0.0
    }

    /// What the log events of a call stand in that goes on with this flow and not with its request's own.
    pub(super) fn span_in(self, own: Self) -> tracing::Span {
        if self == own {
            return tracing::Span::none();
        }
        self.span()
    }

    fn span(self) -> tracing::Span {
        self.0.span("spa-backend")
    }

    pub(super) fn id(self) -> String {
        self.0.0.to_string()
    }

    /// What goes with a call to the next tier: the id, and the same as trace id of W3C Trace Context with a new span.
    pub(super) fn headers(self) -> [(HeaderName, String); 2] {
        let (span, _) = Uuid::new_v4().as_u64_pair();
        let trace = format!("00-{}-{span:016x}-01", self.0.0.simple());
        [
            (CORRELATION_ID, self.id()),
            (HeaderName::from_static("traceparent"), trace),
        ]
    }
}

/// Gives every request its flow, its log events a span that names it, and its answer the id.
pub(super) async fn begin(mut request: Request, next: Next) -> Response {
    let flow = Flow::new();
    request.extensions_mut().insert(flow);
    let mut response = next.run(request).instrument(flow.span()).await;
    let flow = response.extensions().get().copied().unwrap_or(flow);
    let id: HeaderValue = flow.0.to_header();
    response.headers_mut().insert(CORRELATION_ID, id);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_trace_is_that_of_the_id_and_each_call_a_span_of_its_own() {
        let flow = Flow::new();
        let [(_, id), (_, first)] = flow.headers();
        let [_, (_, second)] = flow.headers();
        let parts: Vec<&str> = first.split('-').collect();
        assert_eq!(parts[1], id.replace('-', ""));
        assert_eq!((parts[0], parts[2].len(), parts[3]), ("00", 16, "01"));
        assert_ne!(first, second);
        assert_ne!(Flow::new().id(), id);
    }
}
