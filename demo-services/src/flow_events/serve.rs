//! `GET /flow/<id>`: the events of one flow in this service. Whoever knows the random id may read them.

use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::future::{Either, Ready, ready};
use http::{
    HeaderValue, Method, Request, Response,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde_json::json;
use tower::{Layer, Service};
use uuid::Uuid;

use super::trail::FlowEvents;

/// Serves the flows of a service; to be put inside of the host guard and outside of the validation.
#[derive(Debug)]
#[must_use]
pub struct FlowLayer<B> {
    events: FlowEvents,
    body: fn(Bytes) -> B,
}

impl<B> FlowLayer<B> {
    /// The layer, if flow events are on: what is off has no route. `body` makes the service's kind of body.
    pub fn new(events: &FlowEvents, body: fn(Bytes) -> B) -> Option<Self> {
        events.is_on().then(|| Self {
            events: events.clone(),
            body,
        })
    }
}

impl<S, B> Layer<S> for FlowLayer<B> {
    type Service = Flows<S, B>;

    fn layer(&self, inner: S) -> Flows<S, B> {
        Flows {
            inner,
            events: self.events.clone(),
            body: self.body,
        }
    }
}

/// The service of [`FlowLayer`].
#[derive(Debug)]
pub struct Flows<S, B> {
    inner: S,
    events: FlowEvents,
    body: fn(Bytes) -> B,
}

// Not derived: a body need not be `Clone`.
impl<B> Clone for FlowLayer<B> {
    fn clone(&self) -> Self {
        Self {
            events: self.events.clone(),
            body: self.body,
        }
    }
}

impl<S: Clone, B> Clone for Flows<S, B> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            events: self.events.clone(),
            body: self.body,
        }
    }
}

impl<S, ReqBody, B> Service<Request<ReqBody>> for Flows<S, B>
where
    S: Service<Request<ReqBody>, Response = Response<B>>,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Either<S::Future, Ready<Result<Response<B>, S::Error>>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let path = request.uri().path();
        let id = path
            .strip_prefix("/flow/")
            .filter(|_| request.method() == Method::GET)
            .and_then(|id| Uuid::try_parse(id).ok());
        let Some(id) = id else {
            return Either::Left(self.inner.call(request));
        };
        let text = json!({ "events": self.events.of(id) }).to_string();
        let mut response = Response::new((self.body)(text.into()));
        for (name, value) in [
            (CONTENT_TYPE, "application/json"),
            (CACHE_CONTROL, "no-store"),
        ] {
            let value = HeaderValue::from_static(value);
            response.headers_mut().insert(name, value);
        }
        Either::Right(ready(Ok(response)))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::StatusCode;
    use tower::{ServiceExt as _, service_fn};

    use super::*;
    use crate::flow_events::{Kind, Lane};

    async fn ask(layer: &FlowLayer<Bytes>, method: Method, path: &str) -> (StatusCode, String) {
        let inner = service_fn(|_: Request<()>| async {
            let answer = Response::builder().status(401).body(Bytes::new());
            Ok::<_, Infallible>(answer.unwrap())
        });
        let request = Request::builder()
            .method(method)
            .uri(path)
            .body(())
            .unwrap();
        let answer = layer.layer(inner).oneshot(request).await.unwrap();
        let text = String::from_utf8(answer.body().to_vec()).unwrap();
        (answer.status(), text)
    }

    #[tokio::test]
    async fn flows_are_told_by_their_id_alone() {
        let events = FlowEvents::new(Lane::MiddleTier, true);
        let layer = FlowLayer::new(&events, |text| text).unwrap();
        let (known, unknown) = (Uuid::new_v4(), Uuid::new_v4());
        events.trail(known).record(Kind::SignedIn {
            from: Lane::Authority,
            to: Lane::Browser,
        });
        let (status, text) = ask(&layer, Method::GET, &format!("/flow/{known}")).await;
        assert_eq!(status, 200);
        assert!(text.contains("signed_in"), "{text}");
        let (status, text) = ask(&layer, Method::GET, &format!("/flow/{unknown}")).await;
        assert_eq!((status.as_u16(), &*text), (200, r#"{"events":[]}"#));
        for (method, path) in [
            (Method::POST, format!("/flow/{known}")),
            (Method::GET, "/flow/".into()),
            (Method::GET, "/flow/x".into()),
            (Method::GET, format!("/flow/{known}/x")),
        ] {
            assert_eq!(ask(&layer, method, &path).await.0, 401, "{path}");
        }
    }

    #[test]
    fn what_is_off_has_no_route() {
        let events = FlowEvents::new(Lane::MiddleTier, false);
        assert!(FlowLayer::<Bytes>::new(&events, |text| text).is_none());
    }
}
