//! Lets a verified caller through only with a scope, an app role or an authentication context.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_layer::Layer;
use tower_service::Service;

use crate::challenge::Answer;
use crate::claims::check_context;
use crate::error::ConfigError;
use crate::principal::Principal;
use crate::refusal::{RefusalBody, is_grpc, respond};
use crate::resource::Resource;
use crate::scope::Scope;

/// Checks what the verified [`Principal`] may do. Needs no configuration of its own: the principal knows its resource.
///
/// - Without a principal in the request's extensions (no [`ValidateBearerLayer`](crate::ValidateBearerLayer) outside): 500 and an error in the
///   log, never a pass.
/// - Scope or role missing: 403 `insufficient_scope`, naming the scopes that would do.
/// - A user's token where an application's is needed, or the reverse: 403 without a challenge.
/// - Authentication context missing: 401 `insufficient_claims` if the caller's client can answer a claims challenge (`xms_cc` has
///   `cp1`), else 403.
///
/// Demands combine by stacking layers. Beware of axum's `get(a).layer(A).post(b).layer(B)`: there GET needs both A and B. Write
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

#[derive(Debug)]
enum Demand {
    Scopes { scopes: Vec<Scope>, all: bool },
    AppRole(Scope),
    UserRole(Scope),
    AuthContext(String),
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

    /// Demands one delegated scope, which only a user's token can have.
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
        Ok(Self::from_demand(Demand::Scopes {
            scopes: parse(scopes)?,
            all: false,
        }))
    }

    /// Demands each of several scopes.
    ///
    /// # Errors
    /// No scope at all, or text that is not one scope-token.
    pub fn all<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Self, ConfigError> {
        Ok(Self::from_demand(Demand::Scopes {
            scopes: parse(scopes)?,
            all: true,
        }))
    }

    /// Demands an app role of an application that calls on its own behalf (an application permission).
    ///
    /// # Errors
    /// Text that is empty or has spaces.
    pub fn app_role(role: &str) -> Result<Self, ConfigError> {
        Ok(Self::from_demand(Demand::AppRole(Scope::new(role)?)))
    }

    /// Demands an app role that is assigned to the signed-in user.
    ///
    /// # Errors
    /// Text that is empty or has spaces.
    pub fn user_role(role: &str) -> Result<Self, ConfigError> {
        Ok(Self::from_demand(Demand::UserRole(Scope::new(role)?)))
    }

    /// Demands an authentication context (`acrs`) of Entra's Conditional Access.
    ///
    /// # Errors
    /// A context that is not `c1` to `c99`.
    pub fn auth_context(context: &str) -> Result<Self, ConfigError> {
        check_context(context)?;
        Ok(Self::from_demand(Demand::AuthContext(context.to_owned())))
    }
}

fn parse<'a>(scopes: impl IntoIterator<Item = &'a str>) -> Result<Vec<Scope>, ConfigError> {
    let scopes: Vec<Scope> = scopes
        .into_iter()
        .map(Scope::new)
        .collect::<Result<_, _>>()?;
    if scopes.is_empty() {
        Err(ConfigError::Scope)
    } else {
        Ok(scopes)
    }
}

impl Demand {
    fn check(&self, principal: &Principal) -> Result<(), Answer> {
        match self {
            Self::Scopes { scopes, all } => principal.check_scopes(scopes, *all),
            Self::AppRole(role) => principal.check_role(role.as_str(), true),
            Self::UserRole(role) => principal.check_role(role.as_str(), false),
            Self::AuthContext(context) => principal.check_auth_context(context),
        }
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
                    (
                        answer,
                        Some(principal.resource().clone()),
                        is_grpc(request.headers()),
                    )
                }
            },
            None => {
                tracing::error!(
                    kind = "no_principal",
                    "RequireScope has no ValidateBearer outside of it: every request is refused"
                );
                (Answer::Internal, None, is_grpc(request.headers()))
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
    }
}
