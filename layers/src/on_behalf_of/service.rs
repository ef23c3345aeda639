//! The service: guards, then the cached token or the long way.

use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::{AUTHORIZATION, HOST};
use http::{Extensions, HeaderMap, HeaderName, HeaderValue, Method, Request, Response};
use tower_service::Service;

use super::future::ResponseFuture;
use super::replay::{Never, Replay};
use super::{Named, Shared, SpeaksFor};
use crate::acquire::{OnBehalfOfError, OnBehalfOfErrorKind, Subject, Wanted};
use crate::authority::is_guid;
use crate::principal::Principal;
use crate::refusal::BoxError;

/// Where a request may carry its id.
const CORRELATION_IDS: [HeaderName; 2] = [
    HeaderName::from_static("x-correlation-id"),
    HeaderName::from_static("client-request-id"),
];

/// The service of [`OnBehalfOfLayer`](crate::OnBehalfOfLayer).
#[derive(Clone, Debug)]
pub struct OnBehalfOf<S, R = Never> {
    inner: S,
    shared: Arc<Shared>,
    replay: R,
}

impl<S, R> OnBehalfOf<S, R> {
    pub(super) fn new(inner: S, shared: Arc<Shared>, replay: R) -> Self {
        Self {
            inner,
            shared,
            replay,
        }
    }
}

impl<S, R, B, Res> Service<Request<B>> for OnBehalfOf<S, R>
where
    S: Service<Request<B>, Response = Response<Res>> + Clone,
    S::Error: Into<BoxError>,
    R: Replay<B> + Clone,
{
    type Response = Response<Res>;
    type Error = BoxError;
    type Future = ResponseFuture<S, B, R>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let wanted = match self.admit(&mut request) {
            Ok(wanted) => wanted,
            Err(kind) => {
                match kind {
                    OnBehalfOfErrorKind::UserRequired => {
                        tracing::debug!(?kind, "a call to the next tier was not made");
                    }
                    _ => tracing::error!(?kind, "a call to the next tier was not made"),
                }
                return ResponseFuture::failed(
                    self.give_back(),
                    self.replay.clone(),
                    &self.shared,
                    OnBehalfOfError::new(kind),
                );
            }
        };
        // Whatever credential the handler copied there is not for the next tier.
        request.headers_mut().remove(AUTHORIZATION);
        if self.shared.target.is_origin() {
            // A gateway's caller may have named another host; the client names the one that the URI has.
            request.headers_mut().remove(HOST);
        }
        match self.shared.client.cached(&wanted) {
            Some(acquired) => {
                // The readied service makes the call; the clone waits for a possible second attempt.
                // https://docs.rs/tower/latest/tower/trait.Service.html#be-careful-when-cloning-inner-services
                let clone = self.inner.clone();
                let mut future =
                    ResponseFuture::new(clone, self.replay.clone(), &self.shared, wanted, request);
                future.send_now(&mut self.inner, (acquired.token, acquired.source));
                future
            }
            None => ResponseFuture::acquire(
                self.give_back(),
                self.replay.clone(),
                &self.shared,
                wanted,
                request,
            ),
        }
    }
}

impl<S: Clone, R> OnBehalfOf<S, R> {
    /// A clone to be readied later. The readied service is dropped: it may hold a permit, which must not be kept
    /// while the authority is asked or when no call is made.
    fn give_back(&mut self) -> S {
        self.inner = self.inner.clone();
        self.inner.clone()
    }
}

impl<S, R> OnBehalfOf<S, R> {
    /// Takes whoever is spoken for out of the request and checks that the call may be made.
    fn admit<B>(&self, request: &mut Request<B>) -> Result<Wanted, OnBehalfOfErrorKind> {
        let extensions = request.extensions_mut();
        let named = extensions.remove::<Named>();
        let received = extensions.remove::<Principal>();
        if extensions.is_empty() {
            // An empty map is allocated all the same, and cloned with the request.
            *extensions = Extensions::new();
        }
        if !self.shared.target.admits(request) {
            return Err(OnBehalfOfErrorKind::Origin);
        }
        // RFC 9110 9.3.8: what it carries comes back in the answer.
        if request.method() == Method::TRACE {
            return Err(OnBehalfOfErrorKind::Misconfigured);
        }
        let client = &self.shared.client;
        let subject = match (&self.shared.speaks_for, named) {
            (SpeaksFor::Application { tenant }, None) => Subject::Application {
                tenant: Arc::clone(tenant),
            },
            // Whose right is it? A request that names a user is not made with the application's own.
            (SpeaksFor::Application { .. }, Some(_)) => {
                return Err(OnBehalfOfErrorKind::Misconfigured);
            }
            (SpeaksFor::Caller, Some(Named::Session(session))) if session.is_of(client) => {
                Subject::Session(session)
            }
            (SpeaksFor::Caller, Some(Named::Session(_))) => {
                return Err(OnBehalfOfErrorKind::Misconfigured);
            }
            (SpeaksFor::Caller, named) => {
                let caller = match named {
                    Some(Named::Caller(caller)) => caller,
                    _ => received.ok_or(OnBehalfOfErrorKind::NoAssertion)?,
                };
                client.check_caller(&caller)?;
                Subject::Caller(caller)
            }
        };
        let mut wanted = Wanted::new(subject, &self.shared.requested);
        wanted.correlation_id = correlation_id(request.headers());
        Ok(wanted)
    }
}

/// The id under which the tiers log this request, if it is one that an authority takes: a GUID.
fn correlation_id(headers: &HeaderMap) -> Option<HeaderValue> {
    let sent = CORRELATION_IDS.map(|name| headers.get(name));
    let sent = sent.into_iter().flatten();
    let mut ids = sent.filter(|id| id.to_str().is_ok_and(is_guid));
    ids.next().cloned()
}
