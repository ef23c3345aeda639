//! Around and inside of `OnBehalfOf`: what is asked of the authority, what is sent to the next tier, and what comes back.
//!
//! Whether a token request is made is known only when the token is there, so a request is recorded as provisional before, in order that
//! a slow authority shows; it is removed if the cache had the token.

use std::error::Error;
use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use http::{Request, Response, StatusCode, Uri};
use pin_project_lite::pin_project;
use serde_json::{Value, json};
use tokio::time::Instant;
use tower::{Layer, Service};
use tower_bearer::challenge::{Demand, demand_in};
use tower_bearer::{
    BoxError, ChallengeRequired, OnBehalfOfError, OnBehalfOfErrorKind, RefusalKind, TokenSource,
};
use url::Url;
use uuid::Uuid;

use super::event::{
    Challenge, Grant, Kind, Lane, Protocol, Reason, Refusal, Source, claims_of, grpc_status,
};
use super::ring::Seq;
use super::trail::{FlowEvents, Trail};
use crate::problem::CORRELATION_ID;

/// With so many demands answered, `OnBehalfOf` asks no more.
const MAX_ROUNDS: usize = 3;

/// A layer, `OnBehalfOf`'s, that is watched on both of its sides.
#[derive(Clone, Debug)]
#[must_use]
pub struct WatchLayer<L> {
    route: Route,
    layer: L,
}

/// The calls that are watched.
#[derive(Clone, Debug)]
struct Route {
    events: FlowEvents,
    from: Lane,
    to: Lane,
    protocol: Protocol,
    /// Where the client goes by itself; other requests say it.
    origin: Option<Arc<str>>,
    scopes: Arc<[String]>,
}

/// The outer side: begins and ends a call.
#[derive(Clone, Debug)]
pub struct Outside<S> {
    inner: S,
    route: Route,
}

/// The inner side: sees each attempt.
#[derive(Clone, Debug)]
pub struct Inside<S> {
    inner: S,
}

/// From the outer side to the inner one, in the request's extensions.
#[derive(Clone)]
struct Watched(Arc<Call>);

/// One call with all its attempts.
struct Call {
    route: Route,
    trail: Trail,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The token request whose outcome is not known.
    asking: Option<(Seq, Option<Value>)>,
    /// The demands that the authority was asked with.
    asked: Vec<Value>,
    attempts: u32,
    /// A token that was refused without a reason was replaced once.
    refreshed: bool,
}

impl FlowEvents {
    /// Watches `layer`, which makes calls from `from` to `to` with tokens of these scopes. To be put around the HTTP client in place of
    /// `layer`; requests belong to the flow that their `X-Correlation-Id` names.
    pub fn watch<'a, L>(
        &self,
        [from, to]: [Lane; 2],
        scopes: impl IntoIterator<Item = &'a str>,
        layer: L,
    ) -> WatchLayer<L> {
        WatchLayer {
            route: Route {
                events: self.clone(),
                from,
                to,
                protocol: Protocol::Http,
                origin: None,
                scopes: scopes.into_iter().map(str::to_owned).collect(),
            },
            layer,
        }
    }
}

impl<L> WatchLayer<L> {
    /// The calls are gRPC, by a channel to this server.
    pub fn grpc(mut self, server: &Url) -> Self {
        self.route.protocol = Protocol::Grpc;
        self.route.origin = Some(server.origin().ascii_serialization().into());
        self
    }
}

impl<S, L: Layer<Inside<S>>> Layer<S> for WatchLayer<L> {
    type Service = Outside<L::Service>;

    fn layer(&self, inner: S) -> Self::Service {
        Outside {
            inner: self.layer.layer(Inside { inner }),
            route: self.route.clone(),
        }
    }
}

impl<S, B> Service<Request<B>> for Outside<S>
where
    S: Service<Request<B>, Error = BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = OutsideFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = self.route.begin(&request);
        if let Some(call) = &call {
            call.ask(None);
            request.extensions_mut().insert(Watched(Arc::clone(call)));
        }
        OutsideFuture {
            response: self.inner.call(request),
            call,
        }
    }
}

pin_project! {
    /// The future of [`Outside`].
    pub struct OutsideFuture<F> {
        #[pin]
        response: F,
        call: Option<Arc<Call>>,
    }
}

impl<F, T> Future for OutsideFuture<F>
where
    F: Future<Output = Result<T, BoxError>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        let this = self.project();
        let outcome = ready!(this.response.poll(cx));
        if let Some(call) = this.call.take() {
            let error = outcome.as_ref().err();
            call.end(error.map(|error| error.as_ref() as &(dyn Error + 'static)));
        }
        Poll::Ready(outcome)
    }
}

impl<S, B, Res> Service<Request<B>> for Inside<S>
where
    S: Service<Request<B>, Response = Response<Res>>,
    S::Error: Into<BoxError>,
{
    type Response = S::Response;
    type Error = BoxError;
    type Future = InsideFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let call = request.extensions_mut().remove::<Watched>();
        let call = call.map(|Watched(call)| {
            call.send(&request);
            (call, Instant::now())
        });
        InsideFuture {
            response: self.inner.call(request),
            call,
        }
    }
}

pin_project! {
    /// The future of [`Inside`].
    pub struct InsideFuture<F> {
        #[pin]
        response: F,
        call: Option<(Arc<Call>, Instant)>,
    }
}

impl<F, Res, E> Future for InsideFuture<F>
where
    F: Future<Output = Result<Response<Res>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Res>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let outcome = ready!(this.response.poll(cx)).map_err(Into::into);
        if let Some((call, began)) = this.call.take() {
            match &outcome {
                Ok(response) => call.answered(response, began),
                Err(error) => call.lost(error.as_ref()),
            }
        }
        Poll::Ready(outcome)
    }
}

impl Route {
    /// Only what belongs to a flow is watched.
    fn begin<B>(&self, request: &Request<B>) -> Option<Arc<Call>> {
        if !self.events.is_on() {
            return None;
        }
        let id = request.headers().get(CORRELATION_ID)?;
        let id = Uuid::try_parse_ascii(id.as_bytes()).ok()?;
        Some(Arc::new(Call {
            route: self.clone(),
            trail: self.events.trail(id),
            state: Mutex::default(),
        }))
    }

    fn url(&self, uri: &Uri) -> String {
        match (uri.scheme_str(), uri.authority()) {
            (Some(scheme), Some(authority)) => format!("{scheme}://{authority}{}", uri.path()),
            _ => format!(
                "{}{}",
                self.origin.as_deref().unwrap_or_default(),
                uri.path()
            ),
        }
    }

    fn token_request(&self, claims: Option<Value>, provisional: bool) -> Kind {
        Kind::TokenRequest {
            from: self.from,
            to: Lane::Authority,
            grant: Grant::OnBehalfOf,
            scopes: self.scopes.to_vec(),
            claims,
            provisional,
        }
    }
}

impl Call {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The authority is asked now, unless the cache has the token.
    fn ask(&self, claims: Option<Value>) {
        let request = self.route.token_request(claims.clone(), true);
        let seq = self.trail.record(request);
        self.state().asking = seq.map(|seq| (seq, claims));
    }

    /// An attempt goes out with its token.
    fn send<B>(&self, request: &Request<B>) {
        let mut state = self.state();
        state.attempts += 1;
        let source = request.extensions().get::<TokenSource>();
        let source = source.map(|source| match source {
            TokenSource::Memory => Source::Memory,
            TokenSource::Shared => Source::Shared,
            _ => Source::Authority,
        });
        if let Some((seq, claims)) = state.asking.take() {
            let asked = source == Some(Source::Authority);
            if asked {
                state.asked.extend(claims.clone());
            }
            let request = asked.then(|| self.route.token_request(claims, false));
            self.trail.settle(seq, request);
        }
        if let Some(source) = source {
            self.trail.record(Kind::Token {
                from: Lane::Authority,
                to: self.route.from,
                grant: Grant::OnBehalfOf,
                source,
                scopes: self.route.scopes.to_vec(),
            });
        }
        self.trail.record(Kind::Call {
            from: self.route.from,
            to: self.route.to,
            method: request.method().to_string(),
            url: self.route.url(request.uri()),
            protocol: self.route.protocol,
            attempt: state.attempts,
            token_source: source,
        });
    }

    fn answered<B>(&self, response: &Response<B>, began: Instant) {
        let grpc_status = match self.route.protocol {
            Protocol::Grpc => grpc_status(response.headers()),
            Protocol::Http => None,
        };
        self.trail.record(Kind::Answer {
            from: self.route.to,
            to: self.route.from,
            status: response.status().as_u16(),
            grpc_status,
            challenge: Challenge::read(response.headers()),
            took_ms: u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX),
        });
        if let Some(claims) = self.is_answered_with(response, grpc_status) {
            self.ask(claims);
        }
    }

    /// With what claims `OnBehalfOf` asks the authority after this response, if it does.
    fn is_answered_with<B>(
        &self,
        response: &Response<B>,
        grpc_status: Option<u16>,
    ) -> Option<Option<Value>> {
        let mut state = self.state();
        match demand_in(response) {
            Some(Demand::Claims(claims)) => {
                let of_token = claims_of(&claims)?.get("access_token")?.clone();
                let claims = json!({ "access_token": of_token });
                let loops = state.asked.contains(&claims) || state.asked.len() >= MAX_ROUNDS;
                (!loops).then_some(Some(claims))
            }
            Some(_) => None,
            None => {
                let refused =
                    response.status() == StatusCode::UNAUTHORIZED || grpc_status == Some(16);
                let first = refused && !state.refreshed;
                state.refreshed |= refused;
                first.then(|| state.asked.last().cloned())
            }
        }
    }

    fn lost(&self, error: &(dyn Error + 'static)) {
        self.trail.record(Kind::NoAnswer {
            from: self.route.to,
            to: self.route.from,
            reason: reason(error),
        });
    }

    /// The call is over. What is still being asked has failed, or was never asked.
    fn end(&self, error: Option<&(dyn Error + 'static)>) {
        let Some((seq, claims)) = self.state().asking.take() else {
            return;
        };
        let Some((error, demanded)) = error.and_then(refusal) else {
            self.trail.settle(seq, None);
            return;
        };
        let request = self.route.token_request(claims, false);
        self.trail.settle(seq, Some(request));
        self.trail.record(Kind::TokenRefused {
            from: Lane::Authority,
            to: self.route.from,
            grant: Grant::OnBehalfOf,
            error,
            claims: demanded,
        });
    }
}

/// What the authority said, with the claims that it demands; `None` of an error that is not its word.
fn refusal(error: &(dyn Error + 'static)) -> Option<(Refusal, Option<Value>)> {
    if let Some(error) = error.downcast_ref::<OnBehalfOfError>() {
        let refusal = match error.kind() {
            OnBehalfOfErrorKind::Blocked => Refusal::InvalidGrant,
            OnBehalfOfErrorKind::MalformedAnswer
            | OnBehalfOfErrorKind::Throttled
            | OnBehalfOfErrorKind::Unavailable => Refusal::Unavailable,
            OnBehalfOfErrorKind::Misconfigured => Refusal::Misconfigured,
            _ => return None,
        };
        return Some((refusal, None));
    }
    let demand = ChallengeRequired::find(error)?;
    match demand.kind() {
        RefusalKind::InsufficientClaims => {
            let claims = demand.claims().and_then(claims_of);
            Some((Refusal::InteractionRequired, claims))
        }
        RefusalKind::ConsentRequired => Some((Refusal::ConsentRequired, None)),
        RefusalKind::InvalidToken => Some((Refusal::InvalidGrant, None)),
        _ => None,
    }
}

/// Why a client has no answer.
fn reason(error: &(dyn Error + 'static)) -> Reason {
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<reqwest::Error>() {
            if error.is_connect() {
                return Reason::Unreachable;
            }
            if error.is_timeout() {
                return Reason::Timeout;
            }
        }
        if error.is::<tonic::TimeoutExpired>() {
            return Reason::Timeout;
        }
        let io = error.downcast_ref::<std::io::Error>();
        if io.is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            return Reason::Unreachable;
        }
        // What an io::Error is made of is not among its sources.
        let within = io.and_then(std::io::Error::get_ref);
        cause = match within {
            Some(within) => Some(within),
            None => error.source(),
        };
    }
    Reason::Broken
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::io;

    use http::header::WWW_AUTHENTICATE;
    use tower::{ServiceExt as _, service_fn};

    use super::*;

    const ID: &str = "8a5c9f0e-54f8-4b55-9d5c-0f6a1c7b2d3e";

    /// In the place of `OnBehalfOf`: sends with tokens of these sources, one after the other.
    #[derive(Clone)]
    struct Sends(&'static [TokenSource]);

    #[derive(Clone)]
    struct Sending<S>(S, &'static [TokenSource]);

    impl<S> Layer<S> for Sends {
        type Service = Sending<S>;

        fn layer(&self, inner: S) -> Sending<S> {
            Sending(inner, self.0)
        }
    }

    impl<S> Service<Request<()>> for Sending<S>
    where
        S: Service<Request<()>, Response = Response<()>, Error = BoxError>,
        S: Clone + Send + 'static,
        S::Future: Send,
    {
        type Response = Response<()>;
        type Error = BoxError;
        type Future = futures_util::future::BoxFuture<'static, Result<Response<()>, BoxError>>;

        fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Request<()>) -> Self::Future {
            let (inner, sources) = (self.0.clone(), self.1);
            Box::pin(async move {
                let mut last = Err("no token".into());
                for source in sources {
                    let mut again = Request::new(());
                    *again.uri_mut() = request.uri().clone();
                    *again.extensions_mut() = request.extensions().clone();
                    again.extensions_mut().insert(*source);
                    last = inner.clone().oneshot(again).await;
                }
                last
            })
        }
    }

    /// The kinds that one call leaves behind, with what is claimed in token requests.
    async fn story(
        sources: &'static [TokenSource],
        id: Option<&str>,
        answer: fn() -> Result<Response<()>, io::Error>,
    ) -> Vec<String> {
        let events = FlowEvents::new(Lane::MiddleTier, true);
        let way = [Lane::MiddleTier, Lane::Graph];
        let next = service_fn(move |request: Request<()>| async move {
            assert!(request.extensions().get::<Watched>().is_none());
            answer()
        });
        let service = events.watch(way, ["scope"], Sends(sources)).layer(next);
        let mut request = Request::get("http://next.example/x?secret=1");
        if let Some(id) = id {
            request = request.header(CORRELATION_ID, id);
        }
        let _ = service.oneshot(request.body(()).unwrap()).await;
        let told = events.of(ID.parse().unwrap());
        let told = serde_json::to_value(told).unwrap();
        let told = told.as_array().unwrap().iter();
        told.map(|event| {
            assert!(!event.to_string().contains("secret"), "{event}");
            match event["kind"].as_str().unwrap() {
                "token" => format!("token {}", event["source"].as_str().unwrap()),
                "call" => format!("call {}", event["attempt"]),
                "token_request" => format!("token_request {}", event["claims"]),
                kind => kind.to_owned(),
            }
        })
        .collect()
    }

    fn good() -> Result<Response<()>, io::Error> {
        Ok(Response::new(()))
    }

    fn demanding() -> Result<Response<()>, io::Error> {
        let challenge =
            "Bearer error=\"insufficient_claims\", claims=\"eyJhY2Nlc3NfdG9rZW4iOnsiYSI6bnVsbH19\"";
        let response = Response::builder().status(401);
        Ok(response
            .header(WWW_AUTHENTICATE, challenge)
            .body(())
            .unwrap())
    }

    #[tokio::test]
    async fn a_token_request_is_what_the_authority_was_asked() {
        use TokenSource::{Authority, Memory, Shared};
        let asked = ["token_request null", "token authority", "call 1", "answer"];
        assert_eq!(story(&[Authority], Some(ID), good).await, asked);
        assert_eq!(
            story(&[Memory], Some(ID), good).await,
            ["token memory", "call 1", "answer"]
        );
        assert_eq!(
            story(&[Shared], Some(ID), good).await,
            ["token shared", "call 1", "answer"]
        );
        let claims = r#"token_request {"access_token":{"a":null}}"#;
        assert_eq!(
            story(&[Memory, Authority, Authority], Some(ID), demanding).await,
            [
                "token memory",
                "call 1",
                "answer",
                claims,
                "token authority",
                "call 2",
                "answer",
                // The same demand again is not answered again, so nothing is asked between.
                "token authority",
                "call 3",
                "answer"
            ]
        );
    }

    #[tokio::test]
    async fn a_call_of_no_flow_leaves_nothing() {
        let sources = &[TokenSource::Memory];
        for id in [
            None,
            Some("no id"),
            Some("8a5c9f0e-54f8-4b55-9d5c-0f6a1c7b2d3f"),
        ] {
            assert!(story(sources, id, good).await.is_empty(), "{id:?}");
        }
    }

    #[tokio::test]
    async fn what_was_never_asked_does_not_stay() {
        assert!(story(&[], Some(ID), good).await.is_empty());
    }

    #[tokio::test]
    async fn while_nothing_is_known_the_request_is_provisional() {
        let events = FlowEvents::new(Lane::MiddleTier, true);
        let hanging = service_fn(|_: Request<()>| async {
            std::future::pending::<Result<Response<()>, Infallible>>().await
        });
        let never = tower::layer::layer_fn(move |_| hanging.map_err(BoxError::from));
        let way = [Lane::MiddleTier, Lane::Graph];
        let service = events
            .watch(way, ["scope"], never)
            .layer(service_fn(|_: Request<()>| async { good() }));
        let request = Request::get("/")
            .header(CORRELATION_ID, ID)
            .body(())
            .unwrap();
        let mut call = Box::pin(service.oneshot(request));
        assert!(futures_util::poll!(&mut call).is_pending());
        let told = serde_json::to_value(events.of(ID.parse().unwrap())).unwrap();
        assert_eq!(told[0]["kind"], "token_request");
        assert_eq!(told[0]["provisional"], true);
    }

    #[test]
    fn reasons_are_told_apart() {
        let refused = io::Error::from(ErrorKind::ConnectionRefused);
        assert_eq!(reason(&refused), Reason::Unreachable);
        assert_eq!(reason(&io::Error::other(refused)), Reason::Unreachable);
        assert_eq!(
            reason(&io::Error::from(ErrorKind::BrokenPipe)),
            Reason::Broken
        );
    }
}
