//! Lets a verified caller through only with a scope, an app role, an authentication context or what else is demanded.

mod demand;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use self::demand::{Demand, words};
use crate::challenge::Answer;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::refusal::{RefusalBody, is_grpc_call, respond};
use crate::resource::Resource;
use crate::telemetry;

/// Checks what the verified [`Principal`] may do. Needs no configuration of its own: the principal knows its resource.
///
/// - Without a principal in the request's extensions (no [`ValidateBearerLayer`](crate::ValidateBearerLayer) outside): 500 and an error in the
///   log, never a pass.
/// - Scope or role missing: 403 `insufficient_scope`, naming the scopes that would do (of alternatives, those of one layer:
///   [`any`](Self::any)).
/// - A user's token where an application's is needed, or the reverse: 403 without a challenge.
/// - Authentication context missing: 401 `insufficient_claims` if the caller's client can answer a claims challenge (`xms_cc` has
///   `cp1`), else 403.
/// - Authentication not strong or not fresh enough (RFC 9470): 401 `insufficient_user_authentication` with `acr_values` and
///   `max_age`; 403 for an application, which has no user to authenticate.
///
/// Demands combine by [`and`](Self::and), [`or`](Self::or) and by stacking layers:
///
/// ```
/// use tower_bearer::RequireScopeLayer;
///
/// # fn main() -> Result<(), tower_bearer::ConfigError> {
/// // Users with the scope, and applications with the role.
/// let read = RequireScopeLayer::new("Orders.Read")?.or(RequireScopeLayer::app_role("Orders.Read.All")?);
/// // Only a user who gave a second factor in the last five minutes.
/// let pay = RequireScopeLayer::new("Orders.Pay")?.and(RequireScopeLayer::authentication(["urn:example:mfa"], Some(300))?);
/// # let _ = (read, pay);
/// # Ok(())
/// # }
/// ```
///
/// Beware of axum's `get(a).layer(A).post(b).layer(B)`: there GET needs both A and B. Write
/// `get(a).layer(A).merge(post(b).layer(B))`.
#[derive(Clone, Debug)]
#[must_use]
pub struct RequireScopeLayer {
    demand: Arc<Demand>,
}

/// The service of [`RequireScopeLayer`].
#[derive(Clone, Debug)]
pub struct RequireScope<S> {
    inner: S,
    demand: Arc<Demand>,
}

pin_project! {
    /// The response of [`RequireScope`].
    pub struct RequireScopeFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Refused { refusal: Option<(Answer, Option<Resource>, bool)> },
        Inner { #[pin] future: F },
    }
}

impl RequireScopeLayer {
    fn from_demand(demand: Demand) -> Self {
        Self {
            demand: Arc::new(demand),
        }
    }

    /// Demands one delegated scope. A token that is an application's own ([`Principal::is_app`](crate::Principal::is_app)) is refused,
    /// whatever scope it carries.
    ///
    /// # Errors
    /// Text that is not one scope-token.
    pub fn new(scope: &str) -> Result<Self, ConfigError> {
        Self::any([scope])
    }

    /// Demands at least one of several scopes.
    ///
    /// # Errors
    /// No scope at all, or text that is not one scope-token.
    pub fn any<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let scopes = words(scopes)?;
        Ok(Self::from_demand(Demand::Scopes { scopes, all: false }))
    }

    /// Demands each of several scopes.
    ///
    /// # Errors
    /// No scope at all, or text that is not one scope-token.
    pub fn all<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        let scopes = words(scopes)?;
        Ok(Self::from_demand(Demand::Scopes { scopes, all: true }))
    }

    /// Demands an app role of an application that calls on its own behalf (an application permission).
    ///
    /// # Errors
    /// Text that is empty or has spaces.
    pub fn app_role(role: &str) -> Result<Self, ConfigError> {
        Self::any_app_role([role])
    }

    /// Demands at least one of several app roles of an application that calls on its own behalf.
    ///
    /// # Errors
    /// No role at all, or text that is empty or has spaces.
    pub fn any_app_role<'a>(roles: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        Self::roles(roles, true)
    }

    /// Demands an app role that is assigned to the signed-in user.
    ///
    /// # Errors
    /// Text that is empty or has spaces.
    pub fn user_role(role: &str) -> Result<Self, ConfigError> {
        Self::any_user_role([role])
    }

    /// Demands at least one of several app roles that are assigned to the signed-in user.
    ///
    /// # Errors
    /// No role at all, or text that is empty or has spaces.
    pub fn any_user_role<'a>(
        roles: impl IntoIterator<Item = &'a str>,
    ) -> Result<Self, ConfigError> {
        Self::roles(roles, false)
    }

    fn roles<'a>(
        roles: impl IntoIterator<Item = &'a str>,
        of_app: bool,
    ) -> Result<Self, ConfigError> {
        let roles = words(roles)?;
        Ok(Self::from_demand(Demand::Roles { roles, of_app }))
    }

    /// Demands that the token was issued to one of these clients (`azp`, `appid` or `client_id`); everybody else is answered
    /// 403 without a challenge.
    ///
    /// Rely on it for applications that authenticate themselves. Whoever can sign a user in can use the id of a public client.
    ///
    /// # Errors
    /// No client at all, or text that is empty or has spaces.
    pub fn client<'a>(ids: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        Ok(Self::from_demand(Demand::Clients(words(ids)?)))
    }

    /// Demands an authentication context (`acrs`) of Entra's Conditional Access.
    ///
    /// # Errors
    /// A context that is not `c1` to `c99`.
    pub fn auth_context(context: &str) -> Result<Self, ConfigError> {
        Ok(Self::from_demand(Demand::auth_context(context)?))
    }

    /// Demands one of these authentication classes (`acr`; in order of preference), an authentication at most `max_age`
    /// seconds old (`auth_time`), or both (RFC 9470).
    ///
    /// # Errors
    /// Neither a class nor an age, or a class with spaces or quotes.
    pub fn authentication<'a>(
        acr_values: impl IntoIterator<Item = &'a str>,
        max_age: Option<u64>,
    ) -> Result<Self, ConfigError> {
        Ok(Self::from_demand(Demand::authentication(
            acr_values, max_age,
        )?))
    }

    /// Demands both. Where both fail the first is answered, unless a step-up would cure only that one.
    pub fn and(self, other: Self) -> Self {
        self.combine(other, Demand::Both)
    }

    /// Demands one of the two. Where both fail the first is answered, unless nothing could be done about that one.
    pub fn or(self, other: Self) -> Self {
        self.combine(other, Demand::Either)
    }

    fn combine(self, other: Self, how: fn(Box<Demand>, Box<Demand>) -> Demand) -> Self {
        let [one, two] = [self, other].map(|layer| Box::new(Arc::unwrap_or_clone(layer.demand)));
        Self::from_demand(how(one, two))
    }
}

impl<S> Layer<S> for RequireScopeLayer {
    type Service = RequireScope<S>;

    fn layer(&self, inner: S) -> Self::Service {
        RequireScope {
            inner,
            demand: Arc::clone(&self.demand),
        }
    }
}

impl<S, Req, Res> Service<Request<Req>> for RequireScope<S>
where
    S: Service<Request<Req>, Response = Response<Res>> + Clone,
    Res: RefusalBody,
{
    type Response = Response<Res>;
    type Error = S::Error;
    type Future = RequireScopeFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Req>) -> Self::Future {
        let refusal = match request.extensions().get::<Principal>() {
            Some(principal) => match self.demand.check(principal) {
                Ok(()) => {
                    return RequireScopeFuture {
                        state: State::Inner {
                            future: self.inner.call(request),
                        },
                    };
                }
                Err(answer) => {
                    tracing::debug!(kind = ?answer.kind(), "a verified caller was refused");
                    telemetry::challenge("originated", answer.kind().name());
                    (
                        answer,
                        Some(principal.resource().clone()),
                        is_grpc_call(&request),
                    )
                }
            },
            None => {
                tracing::error!(
                    kind = "no_principal",
                    "RequireScope has no ValidateBearer outside of it: every request is refused"
                );
                (Answer::Internal, None, is_grpc_call(&request))
            }
        };
        // A readied service may hold a permit, which a refused request must not keep from others.
        self.inner = self.inner.clone();
        RequireScopeFuture {
            state: State::Refused {
                refusal: Some(refusal),
            },
        }
    }
}

impl<F, E, Res> Future for RequireScopeFuture<F>
where
    F: Future<Output = Result<Response<Res>, E>>,
    Res: RefusalBody,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Inner { future } => future.poll(cx),
            StateProj::Refused { refusal } => {
                let Some((answer, resource, grpc)) = refusal.take() else {
                    return Poll::Pending;
                };
                Poll::Ready(Ok(respond(&answer, resource.as_ref(), grpc)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::RequireScopeLayer;

    #[test]
    fn empty_demand_fails_at_build() {
        assert!(RequireScopeLayer::new("read").is_ok());
        assert!(RequireScopeLayer::new("").is_err());
        assert!(RequireScopeLayer::new("a b").is_err());
        assert!(RequireScopeLayer::any([]).is_err());
        assert!(RequireScopeLayer::all([]).is_err());
        assert!(RequireScopeLayer::app_role("").is_err());
        assert!(RequireScopeLayer::user_role("").is_err());
        assert!(RequireScopeLayer::auth_context("c0").is_err());
        assert!(RequireScopeLayer::auth_context("c1").is_ok());
        assert!(RequireScopeLayer::client([]).is_err());
        assert!(RequireScopeLayer::client(["a b"]).is_err());
        assert!(RequireScopeLayer::authentication([], None).is_err());
        assert!(RequireScopeLayer::authentication(["a b"], None).is_err());
        assert!(RequireScopeLayer::authentication([""], Some(1)).is_err());
        assert!(RequireScopeLayer::authentication(["a"], None).is_ok());
        assert!(RequireScopeLayer::authentication([], Some(0)).is_ok());
    }
}
