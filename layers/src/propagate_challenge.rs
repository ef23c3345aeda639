//! Prints the challenge that came up from below as a fresh one of this resource.

use std::error::Error;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::header::WWW_AUTHENTICATE;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::challenge::{Answer, Carried, find};
use crate::refusal::{BoxError, RefusalBody, Refused, amend, is_grpc_call, respond};
use crate::resource::{AcceptedBy, Resource};
use crate::telemetry;

/// Turns a demand from below into the answer that this resource's caller understands: the last link of the chain at every tier.
///
/// - The inner service fails with an error that carries a demand ([`ChallengeRequired`](crate::ChallengeRequired) or an error of
///   [`OnBehalfOf`](crate::OnBehalfOf), however wrapped): a new response.
/// - The inner service responds with a demand in the response's extensions ([`CallError`](crate::CallError)): that response is amended, its
///   other headers stay.
/// - Any other error passes unchanged.
/// - A `WWW-Authenticate` that no layer of this crate printed is removed: it would challenge the caller for somebody else's token.
///
/// Not for gRPC messages already under way: a demand that comes after the head of a streaming response stays in its
/// trailers, where nothing can be printed. Check what a stream needs before it begins.
///
/// The challenge is printed for *this* resource; nothing of the downstream's header is copied but what it demands
/// (claims, or the `acr_values` and `max_age` of RFC 9470). Put it outside of
/// [`ValidateBearerLayer`](crate::ValidateBearerLayer); [`Resource::protect`](crate::Resource::protect) does.
///
/// For inner services whose error is a `Box<dyn Error + Send + Sync>` (tower's buffer or timeout inside) call
/// [`boxed_errors`](Self::boxed_errors).
#[derive(Debug)]
#[must_use]
pub struct PropagateChallengeLayer<M = Typed> {
    resource: Resource,
    errors: PhantomData<fn() -> M>,
}

/// The service of [`PropagateChallengeLayer`].
#[derive(Debug)]
pub struct PropagateChallenge<S, M = Typed> {
    inner: S,
    resource: Resource,
    errors: PhantomData<fn() -> M>,
}

/// The inner service's error is a type of its own (`Infallible` included).
#[derive(Debug)]
pub struct Typed(());

/// The inner service's error is a `Box<dyn Error + Send + Sync>`.
#[derive(Debug)]
pub struct Boxed(());

/// An error in which a demand can be looked for. Two implementations cover every service; `M` tells them apart.
#[diagnostic::on_unimplemented(
    message = "`PropagateChallenge` cannot look for a demand in `{Self}`",
    note = "call `.boxed_errors()` on the layer if the inner service's error is a `Box<dyn Error + Send + Sync>`"
)]
pub trait Cause<M>: sealed::Sealed<M> {
    /// The error as a trait object.
    fn cause(&self) -> &(dyn Error + 'static);
}

mod sealed {
    pub trait Sealed<M> {}
}

impl<E: Error + 'static> sealed::Sealed<Typed> for E {}
impl sealed::Sealed<Boxed> for BoxError {}

#[diagnostic::do_not_recommend]
impl<E: Error + 'static> Cause<Typed> for E {
    fn cause(&self) -> &(dyn Error + 'static) {
        self
    }
}

#[diagnostic::do_not_recommend]
impl Cause<Boxed> for BoxError {
    fn cause(&self) -> &(dyn Error + 'static) {
        self.as_ref()
    }
}

pin_project! {
    /// The response of [`PropagateChallenge`].
    pub struct PropagateChallengeFuture<F, M = Typed> {
        #[pin]
        inner: F,
        resource: Resource,
        accepted_by: Option<AcceptedBy>,
        grpc: bool,
        errors: PhantomData<fn() -> M>,
    }
}

impl PropagateChallengeLayer {
    /// Prints challenges for `resource`.
    pub fn new(resource: &Resource) -> Self {
        Self {
            resource: resource.clone(),
            errors: PhantomData,
        }
    }

    /// For inner services whose error is a `Box<dyn Error + Send + Sync>`.
    pub fn boxed_errors(self) -> PropagateChallengeLayer<Boxed> {
        PropagateChallengeLayer {
            resource: self.resource,
            errors: PhantomData,
        }
    }
}

impl<M> Clone for PropagateChallengeLayer<M> {
    fn clone(&self) -> Self {
        Self {
            resource: self.resource.clone(),
            errors: PhantomData,
        }
    }
}

impl<S: Clone, M> Clone for PropagateChallenge<S, M> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            resource: self.resource.clone(),
            errors: PhantomData,
        }
    }
}

impl<S, M> Layer<S> for PropagateChallengeLayer<M> {
    type Service = PropagateChallenge<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        PropagateChallenge {
            inner,
            resource: self.resource.clone(),
            errors: PhantomData,
        }
    }
}

impl<S, M, Req, Res> Service<Request<Req>> for PropagateChallenge<S, M>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Error: Cause<M>,
    Res: RefusalBody,
{
    type Response = Response<Res>;
    type Error = S::Error;
    type Future = PropagateChallengeFuture<S::Future, M>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: Request<Req>) -> Self::Future {
        let grpc = is_grpc_call(&request);
        let accepted_by = self.resource.is_one_of_several().then(AcceptedBy::default);
        if let Some(accepted_by) = &accepted_by {
            request.extensions_mut().insert(accepted_by.clone());
        }
        PropagateChallengeFuture {
            inner: self.inner.call(request),
            resource: self.resource.clone(),
            accepted_by,
            grpc,
            errors: PhantomData,
        }
    }
}

impl<F, M, E, Res> Future for PropagateChallengeFuture<F, M>
where
    F: Future<Output = Result<Response<Res>, E>>,
    E: Cause<M>,
    Res: RefusalBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let answered = ready!(this.inner.poll(cx));
        let accepted_by = this.accepted_by.as_ref().and_then(AcceptedBy::get);
        let resource = accepted_by.unwrap_or(this.resource);
        Poll::Ready(match answered {
            Ok(mut response) => {
                if let Some(carried) = carried_by(&response) {
                    log(&carried);
                    amend(&mut response, carried.answer(), Some(resource), *this.grpc);
                } else if response.extensions().get::<Refused>().is_none()
                    && response.headers_mut().remove(WWW_AUTHENTICATE).is_some()
                {
                    tracing::warn!(
                        kind = "foreign_challenge",
                        "a challenge that this service did not print was removed"
                    );
                }
                Ok(response)
            }
            Err(error) => match find(error.cause()) {
                Some(carried) => {
                    log(&carried);
                    Ok(respond(carried.answer(), Some(resource), *this.grpc))
                }
                None => Err(error),
            },
        })
    }
}

fn carried_by<B>(response: &Response<B>) -> Option<Carried> {
    let carried = response.extensions().get::<Carried>().cloned();
    #[cfg(feature = "tonic")]
    let carried = carried.or_else(|| {
        // tonic's generated servers put the handler's whole Status there.
        response
            .extensions()
            .get::<::tonic::Status>()
            .and_then(|status| find(status))
    });
    carried
}

fn log(carried: &Carried) {
    carried.printed();
    if carried.answer().is_challenge() {
        telemetry::challenge("relayed", carried.answer().kind().name());
    }
    match carried.answer() {
        Answer::Internal => tracing::error!(
            kind = "relay_misconfigured",
            "a call to the next tier failed by our own fault"
        ),
        answer => {
            tracing::info!(kind = ?answer.kind(), "a demand from below is passed on to the caller");
        }
    }
}
