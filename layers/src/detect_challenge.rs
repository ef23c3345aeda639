//! Tells a client that is the first party what an answer demands of it.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::challenge::{Answer, ChallengeRequired, Demand, demand_in};
use crate::refusal::BoxError;

/// Turns a response that demands claims or a step-up into a [`ChallengeRequired`] error: for a client that has the user in front of it
/// (the backend of a web application, a command-line tool), over HTTP and over gRPC.
///
/// An error, because a 401 among the responses is easily taken for the end of a session. What is to be sent to the authority is in
/// [`claims`](ChallengeRequired::claims) (only what concerns the access token) or [`step_up`](ChallengeRequired::step_up); find it
/// with [`ChallengeRequired::find`], in a tonic `Status` too. Every other response passes as it is, a 401 without a demand
/// included. To look at one response, use [`challenge::demand_in`](crate::challenge::demand_in).
///
/// Not between two tiers: there [`OnBehalfOf`](crate::OnBehalfOf) asks the authority first and knows what may be passed on.
#[derive(Clone, Copy, Debug, Default)]
#[must_use]
pub struct DetectChallengeLayer(());

/// The service of [`DetectChallengeLayer`].
#[derive(Clone, Debug)]
pub struct DetectChallenge<S> {
    inner: S,
}

pin_project! {
    /// The response of [`DetectChallenge`].
    pub struct DetectChallengeFuture<F> {
        #[pin]
        inner: F,
    }
}

impl DetectChallengeLayer {
    /// The layer; there is nothing to configure.
    pub fn new() -> Self {
        Self(())
    }
}

impl<S> Layer<S> for DetectChallengeLayer {
    type Service = DetectChallenge<S>;

    fn layer(&self, inner: S) -> Self::Service {
        DetectChallenge { inner }
    }
}

impl<S, Req, Res> Service<Request<Req>> for DetectChallenge<S>
where
    S: Service<Request<Req>, Response = Response<Res>>,
    S::Error: Into<BoxError>,
{
    type Response = Response<Res>;
    type Error = BoxError;
    type Future = DetectChallengeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.inner.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        DetectChallengeFuture {
            inner: self.inner.call(request),
        }
    }
}

impl<F, Res, E> Future for DetectChallengeFuture<F>
where
    F: Future<Output = Result<Response<Res>, E>>,
    E: Into<BoxError>,
{
    type Output = Result<Response<Res>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let response = ready!(self.project().inner.poll(cx)).map_err(Into::into)?;
        let answer = match demand_in(&response) {
            Some(Demand::Claims(claims)) => {
                claims.access_token_only().map(Answer::InsufficientClaims)
            }
            Some(Demand::StepUp(step_up)) => Some(Answer::StepUp(step_up)),
            None => None,
        };
        Poll::Ready(match answer {
            Some(answer) => Err(ChallengeRequired::new(answer).into()),
            None => Ok(response),
        })
    }
}
