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
use std::time::Instant;

use http::{Request, Response, StatusCode, Uri};
use pin_project_lite::pin_project;
use serde_json::{Value, json};
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
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() == ErrorKind::ConnectionRefused
        {
            return Reason::Unreachable;
        }
        cause = error.source();
    }
    Reason::Broken
}

impl fmt::Debug for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watched").finish_non_exhaustive()
    }
}
