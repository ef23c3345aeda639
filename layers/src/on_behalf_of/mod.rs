//! Exchanges the caller's token for one of the next tier and injects it into outgoing calls.

mod future;
mod replay;
mod service;
mod step_up;
mod tee;

use std::collections::BTreeSet;
use std::sync::Arc;

use http::Request;
use tower_layer::Layer;

pub use self::future::ResponseFuture as OnBehalfOfFuture;
pub use self::replay::{CloneBody, Never, Replay};
pub use self::service::OnBehalfOf;
pub use self::step_up::StepUpTable;
pub use self::tee::{Tee, TeeBody, TeeKept};
use crate::acquire::ConfidentialClient;
use crate::challenge::Challenge;
use crate::error::ConfigError;
use crate::origin::Origin;
use crate::principal::Principal;
use crate::scope::Scope;

/// Makes calls to the next tier on behalf of the caller whose [`Principal`] the outgoing request carries.
///
/// Wraps an HTTP client (hyper-util's, a tonic `Channel`, [`HttpClient`](crate::HttpClient) over reqwest, any `Service`). For each call:
///
/// 1. The assertion is taken out of the request's extensions (put there by [`OnBehalfOfExt::on_behalf_of`]; in a gateway without a
///    handler the `Principal` that `ValidateBearer` left). None: an error, never an anonymous call.
/// 2. The request must go to the configured [`Target`], else an error.
/// 3. A token comes from the cache or from the authority (On-Behalf-Of with the caller's token as assertion, client capability `cp1`
///    declared), one request at a time per user and scope. It replaces any `Authorization` of the request. No token, no call.
/// 4. If the next tier demands claims, the authority is asked once more with them (the cache is bypassed, its entry replaced) and, where
///    the body can be sent again ([`replay`](Self::replay)), the call is repeated: one round for equal claims, three in all.
///    A demand of RFC 9470 is not answered but goes up at once: an exchange renews no sign-in. Between RFC 9470 and Entra's claims only a
///    table [translates](Self::translate); without one the caller is told 403.
/// 5. What still cannot be met comes back as [`ChallengeRequired`](crate::ChallengeRequired), everything else as [`OnBehalfOfError`], both
///    inside a `Box<dyn Error + Send + Sync>`.
///
/// A 401 of the next tier is never returned as a response: it would speak of a token that the caller never had. A 403 is returned
/// without its `WWW-Authenticate`; the parsed form is in the response's extensions as [`DownstreamChallenges`].
#[derive(Clone, Debug)]
#[must_use]
pub struct OnBehalfOfLayer<R = Never> {
    shared: Arc<Shared>,
    replay: R,
}

/// Where a token may be sent. There is no default.
#[derive(Clone, Debug)]
pub struct Target(TargetKind);

#[derive(Clone, Debug)]
enum TargetKind {
    Origin(Origin),
    BoundClient,
}

#[derive(Clone, Debug)]
struct Shared {
    client: ConfidentialClient,
    scope: Arc<str>,
    target: Target,
    step_ups: Option<StepUpTable>,
}

/// What the next tier's 403 demanded, in the extensions of that response.
#[derive(Clone, Debug)]
pub struct DownstreamChallenges(Arc<[Challenge]>);

/// Names the caller on whose behalf a request is made.
pub trait OnBehalfOfExt {
    /// Puts the caller's assertion into the request's extensions; [`OnBehalfOf`] takes it out again.
    #[must_use]
    fn on_behalf_of(self, caller: &Principal) -> Self;
}

/// The extension of an outgoing request.
#[derive(Clone)]
struct Caller(Principal);

impl Target {
    /// Only this origin, `https://host[:port]` (`http` on loopback). A request without an absolute URI is refused.
    ///
    /// # Errors
    /// Text that is not an origin.
    pub fn origin(origin: &str) -> Result<Self, ConfigError> {
        Ok(Self(TargetKind::Origin(Origin::new(origin)?)))
    }

    /// The inner client is bound to one server by itself, as a tonic `Channel` is; the request's URI is not looked at.
    #[must_use]
    pub fn bound_client() -> Self {
        Self(TargetKind::BoundClient)
    }

    fn admits<B>(&self, request: &Request<B>) -> bool {
        match &self.0 {
            TargetKind::Origin(origin) => origin.is_of(request.uri()),
            TargetKind::BoundClient => true,
        }
    }
}

impl ConfidentialClient {
    /// Calls with tokens of these scopes (of one resource: `["api://orders/.default"]`), sent to this target only.
    ///
    /// # Errors
    /// No scope, or text that is not a scope-token.
    pub fn on_behalf_of<'a>(
        &self,
        scopes: impl IntoIterator<Item = &'a str>,
        target: Target,
    ) -> Result<OnBehalfOfLayer, ConfigError> {
        // Sorted, so that the order in which scopes are written does not split the cache.
        let scopes: BTreeSet<Scope> = scopes
            .into_iter()
            .map(Scope::new)
            .collect::<Result<_, _>>()?;
        if scopes.is_empty() {
            return Err(ConfigError::Scope);
        }
        let scope = scopes
            .iter()
            .map(Scope::as_str)
            .collect::<Vec<_>>()
            .join(" ")
            .into();
        Ok(OnBehalfOfLayer {
            shared: Arc::new(Shared {
                client: self.clone(),
                scope,
                target,
                step_ups: None,
            }),
            replay: Never,
        })
    }
}

impl<R> OnBehalfOfLayer<R> {
    /// How a request is sent again after a challenge; [`Never`] by default.
    pub fn replay<N>(self, replay: N) -> OnBehalfOfLayer<N> {
        OnBehalfOfLayer {
            shared: self.shared,
            replay,
        }
    }

    /// Translates step-ups between RFC 9470 and Entra's authentication contexts by this table, for a next tier that speaks another
    /// dialect than the caller's client understands.
    ///
    /// A client of Microsoft Entra ID understands claims, and so does one of another authority where the resource
    /// [assumes](crate::Resource::assume_claims_capable_clients) it; others understand RFC 9470. Without an entry, without a table,
    /// or if more than a class or context is demanded (an age, a revocation), the caller is told 403: what cannot be said in
    /// its dialect cannot be answered by its client.
    ///
    /// - Classes that became a context are from there on a claims demand like any other: the authority is asked with it, because a token
    ///   of Entra holds the context only if it was asked for.
    /// - Contexts that became classes go up at once, as every demand of RFC 9470 does: `acr` and `auth_time` are those of the
    ///   sign-in, and no exchange renews them.
    pub fn translate(mut self, table: StepUpTable) -> Self {
        Arc::make_mut(&mut self.shared).step_ups = Some(table);
        self
    }

    /// Wraps a client; the same as [`Layer::layer`] without the import.
    pub fn wrap<S>(&self, client: S) -> OnBehalfOf<S, R>
    where
        R: Clone,
    {
        self.layer(client)
    }
}

impl<S, R: Clone> Layer<S> for OnBehalfOfLayer<R> {
    type Service = OnBehalfOf<S, R>;

    fn layer(&self, inner: S) -> Self::Service {
        OnBehalfOf::new(inner, Arc::clone(&self.shared), self.replay.clone())
    }
}

impl<B> OnBehalfOfExt for Request<B> {
    fn on_behalf_of(mut self, caller: &Principal) -> Self {
        self.extensions_mut().insert(Caller(caller.clone()));
        self
    }
}

#[cfg(feature = "tonic")]
impl<T> OnBehalfOfExt for ::tonic::Request<T> {
    fn on_behalf_of(mut self, caller: &Principal) -> Self {
        self.extensions_mut().insert(Caller(caller.clone()));
        self
    }
}

impl DownstreamChallenges {
    /// The challenges, in the order of the header.
    #[must_use]
    pub fn as_slice(&self) -> &[Challenge] {
        &self.0
    }
}
