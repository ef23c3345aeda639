//! Exchanges the caller's token for one of the next tier and injects it into outgoing calls.

mod future;
mod replay;
mod service;
mod step_up;
mod tee;

use std::sync::Arc;

use http::Request;
use tower_layer::Layer;
use url::Url;

pub use self::future::ResponseFuture as OnBehalfOfFuture;
pub use self::replay::{CloneBody, Never, Replay};
pub use self::service::OnBehalfOf;
pub use self::step_up::StepUpTable;
pub use self::tee::{Tee, TeeBody, TeeKept};
use crate::acquire::{ConfidentialClient, LongRunning, Requested};
use crate::challenge::Challenge;
use crate::error::ConfigError;
use crate::origin::Origin;
use crate::principal::Principal;
use crate::scope::Scope;

/// Makes calls to the next tier on behalf of the caller whose [`Principal`] the outgoing request carries
/// ([`ConfidentialClient::on_behalf_of`]), of a [`LongRunning`] session, or of this client itself
/// ([`ConfidentialClient::app_only`]).
///
/// Wraps an HTTP client (hyper-util's, a tonic `Channel`, [`HttpClient`](crate::HttpClient) over reqwest, any `Service`). For each call:
///
/// 1. The assertion is taken out of the request's extensions (put there by [`OnBehalfOfExt::on_behalf_of`]; in a gateway without a
///    handler the `Principal` that `ValidateBearer` left). None: an error, never an anonymous call.
/// 2. The request must go to the configured [`Target`], else an error.
/// 3. A token comes from the cache or from the authority, one request at a time per user and scope: by On-Behalf-Of of Entra with
///    the caller's token as assertion and client capability `cp1` declared, or by RFC 8693 token exchange. It replaces any
///    `Authorization` of the request; a `Host` is removed where the target is an origin. No token, no call. See [`ConfidentialClient`].
///    Where the token came from is told to the wrapped client: a [`TokenSource`](crate::TokenSource) in the request's extensions.
/// 4. If the next tier demands claims, the authority is asked once more with them (the cache is bypassed, its entry replaced) and, where
///    the body can be sent again ([`replay`](Self::replay)), the call is repeated: one round for equal claims, three in all. A
///    token that others obtained meanwhile is tried before, once.
///    A demand of RFC 9470 is not answered but goes up at once: an exchange renews no sign-in. Between RFC 9470 and Entra's claims only a
///    table [translates](Self::translate); without one the caller is told 403.
/// 5. What still cannot be met comes back as [`ChallengeRequired`](crate::ChallengeRequired), everything else as [`OnBehalfOfError`](crate::OnBehalfOfError), both
///    inside a `Box<dyn Error + Send + Sync>`.
///
/// One layer per client: of two around each other the inner one's token would be sent.
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
    requested: Arc<Requested>,
    speaks_for: SpeaksFor,
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

    /// Puts a long-running session there in place of a caller.
    #[must_use]
    fn in_long_running(self, session: &LongRunning) -> Self;
}

/// Whom an outgoing request names in its extensions.
#[derive(Clone)]
enum Named {
    Caller(Principal),
    Session(LongRunning),
}

/// Whom the calls of a layer are made for.
#[derive(Clone, Debug)]
enum SpeaksFor {
    /// Whom each request names.
    Caller,
    /// This client itself, of that tenant (empty where the authority has none).
    Application { tenant: Arc<str> },
}

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

    fn is_origin(&self) -> bool {
        matches!(self.0, TargetKind::Origin(_))
    }

    fn admits<B>(&self, request: &Request<B>) -> bool {
        match &self.0 {
            TargetKind::Origin(origin) => origin.is_of(request.uri()),
            TargetKind::BoundClient => true,
        }
    }
}

impl ConfidentialClient {
    /// Calls with tokens of these scopes (of one resource: `["api://orders/.default"]`), sent to this target only, for the user whom
    /// each request names.
    ///
    /// # Errors
    /// No scope, or text that is not a scope-token.
    pub fn on_behalf_of<'a>(
        &self,
        scopes: impl IntoIterator<Item = &'a str>,
        target: Target,
    ) -> Result<OnBehalfOfLayer, ConfigError> {
        Ok(self.layer(SpeaksFor::Caller, Requested::scopes(scopes)?, target))
    }

    /// Calls with this client's own tokens (client credentials, RFC 6749 4.4), for work that is done for no user. A request that names a
    /// user is refused; a `Principal` that a gateway left in it is removed and not used.
    ///
    /// # Errors
    /// No scope, text that is not a scope-token, or an authority of several tenants
    /// ([`app_only_in`](Self::app_only_in)).
    pub fn app_only<'a>(
        &self,
        scopes: impl IntoIterator<Item = &'a str>,
        target: Target,
    ) -> Result<OnBehalfOfLayer, ConfigError> {
        let tenant = match self.authority().as_entra() {
            Some(entra) => entra.tenant.as_deref().ok_or(ConfigError::Tenant)?,
            None => "",
        };
        let speaks_for = SpeaksFor::Application {
            tenant: tenant.into(),
        };
        Ok(self.layer(speaks_for, Requested::scopes(scopes)?, target))
    }

    /// The same in one tenant, a GUID, of an authority of several.
    ///
    /// # Errors
    /// As [`app_only`](Self::app_only), or a tenant that the authority does not trust.
    pub fn app_only_in<'a>(
        &self,
        tenant: &str,
        scopes: impl IntoIterator<Item = &'a str>,
        target: Target,
    ) -> Result<OnBehalfOfLayer, ConfigError> {
        let tenant = tenant.to_ascii_lowercase();
        if !self.authority().trusts_tenant(&tenant) {
            return Err(ConfigError::Tenant);
        }
        let speaks_for = SpeaksFor::Application {
            tenant: tenant.into(),
        };
        Ok(self.layer(speaks_for, Requested::scopes(scopes)?, target))
    }

    fn layer(
        &self,
        speaks_for: SpeaksFor,
        requested: Requested,
        target: Target,
    ) -> OnBehalfOfLayer {
        OnBehalfOfLayer {
            shared: Arc::new(Shared {
                client: self.clone(),
                requested: Arc::new(requested),
                speaks_for,
                target,
                step_ups: None,
            }),
            replay: Never,
        }
    }
}

impl<R> OnBehalfOfLayer<R> {
    /// Names the `audience` that the token is for (RFC 8693 2.1), for authorities that do not tell it from the scopes.
    ///
    /// # Errors
    /// An authority of Entra's kind, or text that is empty or not visible ASCII.
    pub fn audience(self, audience: &str) -> Result<Self, ConfigError> {
        Scope::new(audience).map_err(|_| ConfigError::Audience)?;
        self.request(|requested| requested.audience = Some(audience.to_owned()))
    }

    /// Names the `resource` that the token is for (RFC 8693 2.1, RFC 8707), an absolute URI without a fragment.
    ///
    /// # Errors
    /// An authority of Entra's kind, or text that is no such URI.
    pub fn resource(self, resource: &str) -> Result<Self, ConfigError> {
        let absolute = Url::parse(resource).is_ok_and(|url| url.fragment().is_none());
        if !absolute || Scope::new(resource).is_err() {
            return Err(ConfigError::Audience);
        }
        self.request(|requested| requested.resource = Some(resource.to_owned()))
    }

    fn request(mut self, change: impl FnOnce(&mut Requested)) -> Result<Self, ConfigError> {
        if !self.shared.client.takes_audience_and_resource() {
            return Err(ConfigError::AudienceOrResource);
        }
        change(Arc::make_mut(
            &mut Arc::make_mut(&mut self.shared).requested,
        ));
        Ok(self)
    }

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
        self.extensions_mut().insert(Named::Caller(caller.clone()));
        self
    }

    fn in_long_running(mut self, session: &LongRunning) -> Self {
        self.extensions_mut()
            .insert(Named::Session(session.clone()));
        self
    }
}

#[cfg(feature = "tonic")]
impl<T> OnBehalfOfExt for ::tonic::Request<T> {
    fn on_behalf_of(mut self, caller: &Principal) -> Self {
        self.extensions_mut().insert(Named::Caller(caller.clone()));
        self
    }

    fn in_long_running(mut self, session: &LongRunning) -> Self {
        self.extensions_mut()
            .insert(Named::Session(session.clone()));
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
