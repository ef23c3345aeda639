//! Tower layers that turn a hyper, axum or tonic service into an OAuth 2.0 resource server and middle tier.
//!
//! ```text
//! in    client -> [PropagateChallenge] -> [ValidateBearer] -> [RequireScope] -> handler
//! out   handler -> [OnBehalfOf] -> HTTP client -> next tier
//! back  a demand of the authority, of the next tier or of this tier -> `?` -> [PropagateChallenge] -> a fresh challenge
//! ```
//!
//! An [`Authority`] issues tokens. A [`Resource`] of it accepts them: [`Resource::protect`] gives the two layers that every protected
//! service needs. A [`ConfidentialClient`] of it asks for tokens of the next tier on behalf of the caller.
//!
//! ```
//! use std::convert::Infallible;
//! use http::{Request, Response};
//! use tower::{ServiceBuilder, ServiceExt, service_fn};
//! use tower_bearer::{Authority, Principal, RequireScopeLayer};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let entra = Authority::entra("11111111-2222-3333-4444-555555555555")?;
//! let api = entra.resource("22222222-2222-3333-4444-555555555555")?;
//!
//! let service = ServiceBuilder::new()
//!     .layer(api.protect())
//!     .layer(RequireScopeLayer::new("read")?)
//!     .service(service_fn(|request: Request<String>| async move {
//!         let caller = request.extensions().get::<Principal>().and_then(Principal::object_id);
//!         Ok::<_, Infallible>(Response::new(format!("hello {caller:?}")))
//!     }));
//!
//! let anonymous = Request::new(String::new());
//! let response = service.oneshot(anonymous).await?;
//! assert_eq!(response.status(), 401);
//! assert_eq!(response.headers()["www-authenticate"], "Bearer realm=\"11111111-2222-3333-4444-555555555555\"");
//! # Ok(())
//! # }
//! ```
//!
//! `ServiceBuilder` adds layers outermost first; a chain of `Router::layer` calls in axum adds them innermost first.
//!
//! A client finds the authority of an API by RFC 9728 where the resource is described: [`ProtectedResourceMetadataLayer`]. A client that
//! is the first party learns what is demanded of it by [`DetectChallengeLayer`]. The body of a call that is repeated after a challenge
//! is kept by [`CloneBody`] or [`Tee`].
//!
//! # What a caller sees
//!
//! | case | status | `WWW-Authenticate: Bearer realm="...", ` |
//! |---|---|---|
//! | no credential | 401 | no error |
//! | two tokens, unusable header | 400 | `error="invalid_request"` |
//! | bad token, for any reason | 401 | `error="invalid_token"`, fixed description |
//! | scope or role missing | 403 | `error="insufficient_scope", scope="..."` |
//! | claims demanded, and the caller's client can answer | 401 | `error="insufficient_claims", claims="<base64>"` |
//! | stronger or fresher authentication (RFC 9470) | 401 | `error="insufficient_user_authentication", acr_values, max_age` |
//! | consent missing | 403 | `error="insufficient_scope", scope="<own>/.default"` |
//! | nothing that the client could do, or could be told in its dialect ([`OnBehalfOfLayer::translate`]) | 403 | none |
//! | our own fault: a layer or an assertion is missing, the authority refuses us | 500 | none; an error in the log |
//! | unusable answer of the authority or of the next tier | 502 | none |
//! | cannot be decided now | 503 | none; `Retry-After` |
//!
//! Of a resource that is described, those of 401 and 403 also say `resource_metadata="<url>"`.
//!
//! Over gRPC (a POST of content type `application/grpc`; HTTP 200, trailers-only): 400 and 401 are UNAUTHENTICATED, 403 PERMISSION_DENIED, 502 and 503 UNAVAILABLE, 500 INTERNAL, with
//! the same text in the `www-authenticate` metadata. A tonic server that relays challenges needs the feature `tonic`.
//!
//! # What is counted
//!
//! With the feature `metrics`, through the facade of that name; no label holds a token, a claim or a user.
//!
//! | metric | labels |
//! |---|---|
//! | `tower_bearer_requests_total` | `outcome`: `accepted`, or the refusal's kind |
//! | `tower_bearer_challenges_total` | `direction`: `originated` here, `relayed` for a handler or the next tier, `answered` with a stronger token; `kind` |
//! | `tower_bearer_tokens_total` | `from`: `memory`, `flight` (somebody else's request), `shared`, `authority` |
//! | `tower_bearer_token_requests_total` | `grant`; `outcome`: `issued`, `challenge`, or the error's kind |
//! | `tower_bearer_token_request_seconds` (histogram) | `grant` |
//! | `tower_bearer_key_fetches_total` | `issuer`; `outcome`: `fetched`, `failed` |
//! | `tower_bearer_keys_age_seconds` (gauge, set after each fetch) | `issuer` |
//!
//! The same decisions are `tracing` events, each with a `kind`; token requests and key fetches stand in spans (`token_request`,
//! `fetch_keys`). An id in `x-correlation-id` or `client-request-id` of an outgoing request goes to the authority with the
//! token request that it causes, if it is a GUID. What stands between [`OnBehalfOf`] and its client finds a [`TokenSource`] in each
//! request.
//!
//! # Features
//!
//! `axum` (extractor, responses), `metrics` (counters), `redis` (`RedisStore`, tokens shared by processes), `reqwest` (`HttpClient`), `tonic`
//! (`Status` conversions, relay out of handlers). None is on by default.

mod acquire;
mod algorithm;
mod authority;
pub mod challenge;
mod claims;
pub mod clock;
mod detect_challenge;
mod error;
mod facts;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod grpc;
mod json;
pub mod jwks;
pub mod jwt;
mod on_behalf_of;
mod origin;
mod principal;
mod propagate_challenge;
mod protect;
mod protected_resource;
mod protected_resource_metadata;
mod refusal;
mod require_scope;
mod resource;
mod scope;
mod telemetry;
mod token;
mod validate_bearer;

// Private, because a public module of that name would be ambiguous with the crate under a glob import.
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "tonic")]
mod tonic;

#[cfg(test)]
mod campaign;
#[cfg(test)]
mod signer;

#[cfg(all(doctest, feature = "axum", feature = "reqwest"))]
#[doc = include_str!("../../README.md")]
struct Readme;

#[cfg(feature = "redis")]
pub use self::acquire::RedisStore;
pub use self::acquire::{
    AssertionFuture, AssertionRequest, Certificate, ClientAssertion, ConfidentialClient,
    Credential, LongRunning, OnBehalfOfError, OnBehalfOfErrorKind, SealingKeys, SharedTokens,
    StoreFuture, TokenSource, TokenStore,
};
pub use self::algorithm::Algorithm;
pub use self::authority::{Authority, AuthorityBuilder, Cloud};
#[cfg(feature = "axum")]
pub use self::axum::NoPrincipal;
pub use self::challenge::{ChallengeRequired, RefusalKind};
pub use self::claims::{
    ClaimsRequest, InvalidClaims, MAX_CLAIMS_BYTES, MAX_CLAIMS_DEPTH, client_capabilities,
};
pub use self::detect_challenge::{DetectChallenge, DetectChallengeFuture, DetectChallengeLayer};
pub use self::error::ConfigError;
pub use self::on_behalf_of::{
    CloneBody, DownstreamChallenges, Never, OnBehalfOf, OnBehalfOfExt, OnBehalfOfFuture,
    OnBehalfOfLayer, Replay, StepUpTable, Target, Tee, TeeBody, TeeKept,
};
pub use self::principal::Principal;
pub use self::propagate_challenge::{
    Boxed, Cause, PropagateChallenge, PropagateChallengeFuture, PropagateChallengeLayer, Typed,
};
pub use self::protected_resource::ProtectedResource;
pub use self::protected_resource_metadata::{
    DocumentBody, FromBytes, ProtectedResourceMetadata, ProtectedResourceMetadataFuture,
    ProtectedResourceMetadataLayer,
};
pub use self::refusal::{BoxError, CallError, RefusalBody, Refused};
pub use self::require_scope::{RequireScope, RequireScopeFuture, RequireScopeLayer};
#[cfg(feature = "reqwest")]
pub use self::reqwest::HttpClient;
pub use self::resource::Resource;
pub use self::validate_bearer::{
    Revocations, Revoked, ValidateBearer, ValidateBearerFuture, ValidateBearerLayer,
};
