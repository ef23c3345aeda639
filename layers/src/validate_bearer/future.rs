//! The response of [`ValidateBearer`](super::ValidateBearer).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::AUTHORIZATION;
use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::verifier::{Failure, Refusal, Verifier};
use crate::challenge::Answer;
use crate::jwks::{Attempts, RemoteKeySet, Unavailable};
use crate::principal::Principal;
use crate::refusal::{RefusalBody, is_grpc_call, respond};
use crate::resource::AcceptedBy;
use crate::telemetry;

pin_project! {
    /// Resolves to the inner service's response or to a refusal. Pending for ever once it has resolved.
    pub struct ResponseFuture<S, B>
    where
        S: Service<Request<B>>,
    {
        #[pin]
        state: State<S, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, B>
    where
        S: Service<Request<B>>,
    {
        // -> done
        Refused { refusal: Option<(Refusal, bool)> },
        // -> Refused | Ready
        WaitForKeys { wait: BoxFuture<Result<(), Unavailable>>, next: Option<Next<S, B>> },
        // -> Inner
        Ready { next: Option<(S, Request<B>)> },
        // -> done
        Inner { #[pin] future: S::Future },
    }
}

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

struct Next<S, B> {
    inner: S,
    request: Request<B>,
    verifier: Arc<Verifier>,
}

/// The only place that puts a principal into a request.
pub(super) fn admit<B>(request: &mut Request<B>, caller: Principal) {
    // So that no handler or layer further in can log it by accident.
    if let Some(value) = request.headers_mut().get_mut(AUTHORIZATION) {
        value.set_sensitive(true);
    }
    if let Some(accepted_by) = request.extensions().get::<AcceptedBy>() {
        accepted_by.set(caller.resource());
    }
    telemetry::request("accepted");
    request.extensions_mut().insert(caller);
}

impl<S, B> ResponseFuture<S, B>
where
    S: Service<Request<B>>,
{
    pub(super) fn inner(future: S::Future) -> Self {
        Self {
            state: State::Inner { future },
        }
    }

    pub(super) fn refused(refusal: Refusal, grpc: bool) -> Self {
        Self {
            state: State::Refused {
                refusal: Some((refusal, grpc)),
            },
        }
    }

    pub(super) fn wait_for_keys(
        inner: S,
        request: Request<B>,
        verifier: Arc<Verifier>,
        keys: RemoteKeySet,
        seen: Attempts,
    ) -> Self {
        let wait = Box::pin(async move { keys.newer_than(seen).await });
        Self {
            state: State::WaitForKeys {
                wait,
                next: Some(Next {
                    inner,
                    request,
                    verifier,
                }),
            },
        }
    }
}

impl<S, B, Res> Future for ResponseFuture<S, B>
where
    S: Service<Request<B>, Response = Response<Res>>,
    Res: RefusalBody,
{
    type Output = Result<Response<Res>, S::Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            let next = match state.as_mut().project() {
                StateProj::Inner { future } => return future.poll(cx),
                StateProj::Refused { refusal } => {
                    let Some((Refusal { answer, resource }, grpc)) = refusal.take() else {
                        return Poll::Pending;
                    };
                    telemetry::request(answer.kind().name());
                    return Poll::Ready(Ok(respond(&answer, Some(&resource), grpc)));
                }
                StateProj::WaitForKeys { wait, next } => {
                    let waited = ready!(wait.as_mut().poll(cx));
                    let Some(Next {
                        inner,
                        mut request,
                        verifier,
                    }) = next.take()
                    else {
                        return Poll::Pending;
                    };
                    let refusal = |answer| Refusal {
                        answer,
                        resource: verifier.resource().clone(),
                    };
                    let decided = match waited {
                        Ok(()) => match verifier.authenticate(request.headers()) {
                            Ok(caller) => Ok(caller),
                            Err(Failure::Refused(refusal)) => Err(refusal),
                            // What is still unknown after the wait is refused.
                            Err(Failure::KeysNeeded(..)) => Err(refusal(Answer::InvalidToken)),
                        },
                        Err(Unavailable { retry_after }) => {
                            Err(refusal(Answer::Unavailable { retry_after }))
                        }
                    };
                    match decided {
                        Ok(caller) => {
                            admit(&mut request, caller);
                            State::Ready {
                                next: Some((inner, request)),
                            }
                        }
                        Err(refusal) => {
                            tracing::debug!(kind = ?refusal.answer.kind(), "a request that waited for keys was refused");
                            State::Refused {
                                refusal: Some((refusal, is_grpc_call(&request))),
                            }
                        }
                    }
                }
                StateProj::Ready { next } => {
                    let Some((inner, _)) = next else {
                        return Poll::Pending;
                    };
                    ready!(inner.poll_ready(cx))?;
                    let Some((mut inner, request)) = next.take() else {
                        return Poll::Pending;
                    };
                    State::Inner {
                        future: inner.call(request),
                    }
                }
            };
            state.set(next);
        }
    }
}
