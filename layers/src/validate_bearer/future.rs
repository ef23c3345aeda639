//! The response of [`ValidateBearer`](super::ValidateBearer).

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::service::authenticate_again;
use crate::challenge::Answer;
use crate::jwks::{Attempts, Unavailable};
use crate::jwt::Policy;
use crate::refusal::{RefusalBody, is_grpc, respond};
use crate::resource::Resource;

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
        Refused { refusal: Option<(Answer, Resource, bool)> },
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
    policy: Arc<Policy>,
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

    pub(super) fn refused(answer: Answer, resource: &Resource, grpc: bool) -> Self {
        Self {
            state: State::Refused {
                refusal: Some((answer, resource.clone(), grpc)),
            },
        }
    }

    pub(super) fn wait_for_keys(
        inner: S,
        request: Request<B>,
        policy: Arc<Policy>,
        seen: Attempts,
    ) -> Self {
        let keys = policy.resource().authority().keys().clone();
        let wait = Box::pin(async move { keys.newer_than(seen).await });
        Self {
            state: State::WaitForKeys {
                wait,
                next: Some(Next {
                    inner,
                    request,
                    policy,
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
                    let Some((answer, resource, grpc)) = refusal.take() else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(Ok(respond(&answer, Some(&resource), grpc)));
                }
                StateProj::WaitForKeys { wait, next } => {
                    let waited = ready!(wait.as_mut().poll(cx));
                    let Some(Next {
                        inner,
                        mut request,
                        policy,
                    }) = next.take()
                    else {
                        return Poll::Pending;
                    };
                    let decided = match waited {
                        Ok(()) => authenticate_again(request.headers(), &policy),
                        Err(Unavailable { retry_after }) => {
                            Err(Answer::Unavailable { retry_after })
                        }
                    };
                    match decided {
                        Ok(principal) => {
                            request.extensions_mut().insert(principal);
                            State::Ready {
                                next: Some((inner, request)),
                            }
                        }
                        Err(answer) => {
                            let grpc = is_grpc(request.headers());
                            let resource = policy.resource().clone();
                            State::Refused {
                                refusal: Some((answer, resource, grpc)),
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
