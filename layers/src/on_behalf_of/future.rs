//! The response of [`OnBehalfOf`](super::OnBehalfOf): acquire, send, and answer a challenge at most three times.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode, request};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::replay::Replay;
use super::step_up::Dialect;
use super::{DownstreamChallenges, Shared};
use crate::acquire::{
    Acquired, ExchangeError, OnBehalfOfError, OnBehalfOfErrorKind, Refused, Subject, TokenSource,
    Wanted,
};
use crate::challenge::{Answer, ChallengeRequired, Demand, StepUp, demand, parse};
use crate::claims::ClaimsRequest;
use crate::grpc::status_of;
use crate::refusal::BoxError;
use crate::telemetry;
use crate::token::AccessToken;

/// More rounds than this within one call are a loop, whatever their claims.
const MAX_ROUNDS: usize = 3;

pin_project! {
    /// Resolves to the next tier's response or to the reason why there is none.
    pub struct ResponseFuture<S, B, R>
    where
        S: Service<Request<B>>,
        R: Replay<B>,
    {
        #[pin]
        state: State<S::Future>,
        operation: Operation<S, B, R>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        // -> Ready | done
        Acquire { token: BoxFuture<Result<Acquired, ExchangeError>> },
        // -> Call
        Ready { token: Option<Sourced> },
        // -> Acquire | done
        Call { #[pin] response: F },
        // -> done
        Failed { error: Option<BoxError> },
    }
}

/// A token, and where it came from.
type Sourced = (AccessToken, TokenSource);

type BoxFuture<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What stays the same over the attempts of one call.
struct Operation<S, B, R: Replay<B>> {
    inner: S,
    replay: R,
    shared: Arc<Shared>,
    wanted: Option<Wanted>,
    /// The request that is to be sent next.
    next: Option<Request<B>>,
    /// What is kept of the one under way.
    kept: Option<(request::Parts, R::Kept)>,
    sent: Option<AccessToken>,
    /// The claims that were demanded last.
    demanded: Option<ClaimsRequest>,
    /// The claims with which the authority was asked so far.
    asked: Vec<ClaimsRequest>,
    /// How often the next tier demanded claims.
    rounds: usize,
    /// A token that others obtained was taken for an answer once.
    took_newer: bool,
    refreshed: bool,
}

/// What the next tier says of the token.
enum Verdict {
    Accepted,
    Forbidden,
    Claims(ClaimsRequest),
    StepUp(StepUp),
    /// A demand that the caller's client would not understand.
    Unsayable,
    Refused,
}

impl<S, B, R> ResponseFuture<S, B, R>
where
    S: Service<Request<B>>,
    R: Replay<B>,
{
    pub(super) fn new(
        inner: S,
        replay: R,
        shared: &Arc<Shared>,
        wanted: Wanted,
        request: Request<B>,
    ) -> Self {
        let mut operation = Operation::new(inner, replay, shared);
        operation.wanted = Some(wanted);
        operation.next = Some(request);
        Self {
            state: State::Ready { token: None },
            operation,
        }
    }

    /// The token is at hand and `readied` is ready.
    pub(super) fn send_now(&mut self, readied: &mut S, token: Sourced) {
        if let Some(request) = self.operation.prepare(token) {
            self.state = State::Call {
                response: readied.call(request),
            };
        }
    }

    pub(super) fn acquire(
        inner: S,
        replay: R,
        shared: &Arc<Shared>,
        wanted: Wanted,
        request: Request<B>,
    ) -> Self {
        let token = acquire(shared, wanted.clone());
        let mut future = Self::new(inner, replay, shared, wanted, request);
        future.state = State::Acquire { token };
        future
    }

    pub(super) fn failed(
        inner: S,
        replay: R,
        shared: &Arc<Shared>,
        error: OnBehalfOfError,
    ) -> Self {
        let error = Some(error.into());
        Self {
            state: State::Failed { error },
            operation: Operation::new(inner, replay, shared),
        }
    }
}

fn acquire(shared: &Arc<Shared>, wanted: Wanted) -> BoxFuture<Result<Acquired, ExchangeError>> {
    let client = shared.client.clone();
    Box::pin(async move { client.acquire(wanted).await })
}

impl<S, B, R: Replay<B>> Operation<S, B, R> {
    fn new(inner: S, replay: R, shared: &Arc<Shared>) -> Self {
        let shared = Arc::clone(shared);
        Self {
            inner,
            replay,
            shared,
            wanted: None,
            next: None,
            kept: None,
            sent: None,
            demanded: None,
            asked: Vec::new(),
            rounds: 0,
            took_newer: false,
            refreshed: false,
        }
    }

    /// The request with its token, while what is needed to repeat it is kept.
    fn prepare(&mut self, (token, source): Sourced) -> Option<Request<B>> {
        let (mut parts, body) = self.next.take()?.into_parts();
        let (body, kept) = self.replay.keep(body);
        self.kept = R::REPLAYS.then(|| (parts.clone(), kept));
        parts.headers.insert(AUTHORIZATION, token.authorization());
        parts.extensions.insert(source);
        self.sent = Some(token);
        Some(Request::from_parts(parts, body))
    }

    /// Makes ready to send again, if the body allows.
    fn rewind(&mut self) {
        self.next = self.kept.take().and_then(|(parts, kept)| {
            let body = self.replay.again(kept)?;
            Some(Request::from_parts(parts, body))
        });
    }

    /// The next tier demands claims: ask the authority with them, or give up.
    fn challenged(&mut self, claims: ClaimsRequest) -> Result<Wanted, BoxError> {
        // A newer token that was tried is no round of its own, but one more demand.
        let loops = self.asked.contains(&claims)
            || self.asked.len() >= MAX_ROUNDS
            || self.rounds > MAX_ROUNDS;
        self.rounds += 1;
        self.demanded = Some(claims.clone());
        if loops {
            return Err(self.relay(OnBehalfOfErrorKind::Blocked));
        }
        self.rewind();
        let refused = self.sent.take().map(|token| Refused {
            hash: token.hash(),
            any_newer: !self.took_newer,
        });
        self.wanted
            .clone()
            .map(|wanted| Wanted {
                claims: Some(claims),
                refused,
                ..wanted
            })
            .ok_or_else(|| self.relay(OnBehalfOfErrorKind::Blocked))
    }

    /// Another token is there: counted as a round if the authority was asked with the demanded claims, by whomever.
    fn acquired(&mut self, acquired: Acquired) -> Sourced {
        match &self.demanded {
            Some(claims) if acquired.claims.as_ref() == Some(claims) => {
                telemetry::challenge("answered", "insufficient_claims");
                tracing::debug!(
                    kind = "challenge_answered",
                    "the next tier's demand is answered with a stronger token"
                );
                self.asked.push(claims.clone());
            }
            Some(_) => self.took_newer = true,
            None => {}
        }
        (acquired.token, acquired.source)
    }

    /// The next tier refuses the token without a reason: a fresh one may do, once.
    fn refused(&mut self) -> Result<Wanted, BoxError> {
        let refused = self.sent.take().map(|token| token.hash());
        if let (Some(wanted), Some(refused)) = (&self.wanted, refused) {
            self.shared.client.evict(wanted, refused);
        }
        self.rewind();
        match (&self.wanted, refused, &self.next) {
            (Some(wanted), Some(refused), Some(_)) if !self.refreshed => {
                self.refreshed = true;
                Ok(Wanted {
                    claims: self.demanded.clone(),
                    refused: Some(Refused {
                        hash: refused,
                        any_newer: self.demanded.is_none(),
                    }),
                    ..wanted.clone()
                })
            }
            _ => Err(OnBehalfOfError::new(OnBehalfOfErrorKind::TokenRefused).into()),
        }
    }

    /// Is it this client's own right that is used?
    fn is_for_nobody(&self) -> bool {
        let subject = self.wanted.as_ref().map(|wanted| &wanted.subject);
        matches!(subject, Some(Subject::Application { .. }))
    }

    /// What the caller is told when the authority gives no token.
    fn unmet(&self, error: ExchangeError) -> BoxError {
        match error {
            ExchangeError::Other(error) => error.into(),
            // No user is spoken for, and none can do anything about it.
            ExchangeError::Challenge { .. } if self.is_for_nobody() => {
                if self.demanded.is_none() {
                    tracing::error!(
                        kind = "client_misconfigured",
                        "the authority wants a user, and this client asks for a token of its own"
                    );
                    return OnBehalfOfError::new(OnBehalfOfErrorKind::Misconfigured).into();
                }
                OnBehalfOfError::new(OnBehalfOfErrorKind::Blocked).into()
            }
            ExchangeError::Challenge {
                challenge,
                with_claims: true,
            } => challenge.into(),
            ExchangeError::Challenge {
                challenge,
                with_claims: false,
            } if self.demanded.is_none() => challenge.into(),
            ExchangeError::Challenge { .. } => self.relay(OnBehalfOfErrorKind::Blocked),
        }
    }

    /// A demand in the dialect of the caller's client. The next tier takes tokens of the caller's own authority, so that the answer is
    /// that authority's to give, whatever the header names.
    fn in_callers_dialect(&self, demand: Demand) -> Verdict {
        let subject = self.wanted.as_ref().map(|wanted| &wanted.subject);
        if self.is_for_nobody() {
            // Claims are between this client and the authority; there is nobody to sign in.
            return match demand {
                Demand::Claims(claims) => Verdict::Claims(claims),
                Demand::StepUp(_) => Verdict::Unsayable,
            };
        }
        let claims = self.shared.client.authority().as_entra().is_some()
            || subject.is_some_and(Subject::accepts_claims_challenge);
        let dialect = if claims {
            Dialect::Claims
        } else {
            Dialect::StepUp
        };
        match dialect.say(demand, self.shared.step_ups.as_ref()) {
            Some(Demand::Claims(claims)) => Verdict::Claims(claims),
            Some(Demand::StepUp(step_up)) => Verdict::StepUp(step_up),
            None => Verdict::Unsayable,
        }
    }

    /// The next tier's latest claims for the caller if its client can answer them, `otherwise` if it cannot.
    fn relay(&self, otherwise: OnBehalfOfErrorKind) -> BoxError {
        let capable = self
            .wanted
            .as_ref()
            .is_some_and(|wanted| wanted.subject.accepts_claims_challenge());
        match &self.demanded {
            Some(claims) if capable => {
                ChallengeRequired::new(Answer::InsufficientClaims(claims.clone())).into()
            }
            _ => OnBehalfOfError::new(otherwise).into(),
        }
    }
}

impl<S, B, R, Res> Future for ResponseFuture<S, B, R>
where
    S: Service<Request<B>, Response = Response<Res>>,
    S::Error: Into<BoxError>,
    R: Replay<B>,
{
    type Output = Result<Response<Res>, BoxError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let (mut state, operation) = (this.state, this.operation);
        loop {
            let next = match state.as_mut().project() {
                StateProj::Acquire { token } => match ready!(token.as_mut().poll(cx)) {
                    Ok(acquired) if operation.next.is_some() => State::Ready {
                        token: Some(operation.acquired(acquired)),
                    },
                    // The stronger token is in the cache, but this request cannot be sent again. To challenge the caller would be
                    // wrong: whoever signs in once more comes with another token, for which all this begins anew.
                    Ok(_) => {
                        let repeat = OnBehalfOfError::new(OnBehalfOfErrorKind::Unavailable);
                        return Poll::Ready(Err(repeat.into()));
                    }
                    Err(error) => return Poll::Ready(Err(operation.unmet(error))),
                },
                StateProj::Ready { token } => {
                    ready!(operation.inner.poll_ready(cx)).map_err(Into::into)?;
                    let Some(request) = token.take().and_then(|token| operation.prepare(token))
                    else {
                        return Poll::Pending;
                    };
                    State::Call {
                        response: operation.inner.call(request),
                    }
                }
                StateProj::Call { response } => {
                    let mut response = ready!(response.poll(cx)).map_err(Into::into)?;
                    let verdict = match judge(&response) {
                        Verdict::Claims(claims) => {
                            operation.in_callers_dialect(Demand::Claims(claims))
                        }
                        Verdict::StepUp(step_up) => {
                            operation.in_callers_dialect(Demand::StepUp(step_up))
                        }
                        other => other,
                    };
                    let wanted = match verdict {
                        Verdict::Accepted => return Poll::Ready(Ok(response)),
                        Verdict::Forbidden => {
                            let challenges = DownstreamChallenges(parse(response.headers()).into());
                            response.headers_mut().remove(WWW_AUTHENTICATE);
                            response.extensions_mut().insert(challenges);
                            return Poll::Ready(Ok(response));
                        }
                        Verdict::Claims(claims) => operation.challenged(claims),
                        Verdict::StepUp(step_up) => {
                            Err(ChallengeRequired::new(Answer::StepUp(step_up)).into())
                        }
                        Verdict::Unsayable => {
                            tracing::info!(
                                kind = "step_up_untranslated",
                                "the next tier demands a step-up in a dialect that the caller does not speak"
                            );
                            Err(OnBehalfOfError::new(OnBehalfOfErrorKind::Blocked).into())
                        }
                        Verdict::Refused => operation.refused(),
                    };
                    match wanted {
                        Ok(wanted) => State::Acquire {
                            token: acquire(&operation.shared, wanted),
                        },
                        Err(error) => return Poll::Ready(Err(error)),
                    }
                }
                StateProj::Failed { error } => {
                    let Some(error) = error.take() else {
                        return Poll::Pending;
                    };
                    return Poll::Ready(Err(error));
                }
            };
            // Drops the first response's future, and the permit it may hold, before the service is readied again.
            state.set(next);
        }
    }
}

fn judge<B>(response: &Response<B>) -> Verdict {
    let status = status_of(response);
    if status != StatusCode::UNAUTHORIZED && status != StatusCode::FORBIDDEN {
        return Verdict::Accepted;
    }
    match demand(status, response.headers()) {
        // Of what a downstream demands only the access token's claims concern a token.
        Some(Demand::Claims(claims)) => match claims.access_token_only() {
            Some(claims) => Verdict::Claims(claims),
            None if status == StatusCode::FORBIDDEN => Verdict::Forbidden,
            None => Verdict::Refused,
        },
        Some(Demand::StepUp(step_up)) => Verdict::StepUp(step_up),
        None if status == StatusCode::FORBIDDEN => Verdict::Forbidden,
        None => Verdict::Refused,
    }
}
