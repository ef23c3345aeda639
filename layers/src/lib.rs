//! Tower layers for OAuth 2.0 resource servers and middle tiers.

mod algorithm;
mod authority;
pub mod challenge;
mod claims;
pub mod clock;
mod error;
mod json;
pub mod jwks;
pub mod jwt;
mod on_behalf_of;
mod origin;
mod principal;
mod propagate_challenge;
mod protect;
mod refusal;
mod require_scope;
mod resource;
mod scope;
mod token;
mod validate_bearer;

// Private, because a public module of that name would be ambiguous with the crate under a glob import.
#[cfg(feature = "axum")]
mod axum;
#[cfg(feature = "reqwest")]
mod reqwest;
#[cfg(feature = "tonic")]
mod tonic;

pub use self::algorithm::Algorithm;
pub use self::authority::{Authority, AuthorityBuilder};
#[cfg(feature = "axum")]
pub use self::axum::NoPrincipal;
pub use self::challenge::{ChallengeRequired, RefusalKind};
pub use self::claims::{
    ClaimsRequest, InvalidClaims, MAX_CLAIMS_BYTES, MAX_CLAIMS_DEPTH, client_capabilities,
};
pub use self::error::ConfigError;
pub use self::on_behalf_of::{
    CloneBody, ConfidentialClient, Credential, DownstreamChallenges, Never, OnBehalfOf,
    OnBehalfOfError, OnBehalfOfErrorKind, OnBehalfOfExt, OnBehalfOfFuture, OnBehalfOfLayer, Replay,
    Target,
};
pub use self::origin::Origin;
pub use self::principal::Principal;
pub use self::propagate_challenge::{
    Boxed, Cause, PropagateChallenge, PropagateChallengeFuture, PropagateChallengeLayer, Typed,
};
pub use self::refusal::{BoxError, CallError, RefusalBody, Refused};
pub use self::require_scope::{RequireScope, RequireScopeFuture, RequireScopeLayer};
#[cfg(feature = "reqwest")]
pub use self::reqwest::HttpClient;
pub use self::resource::Resource;
pub use self::scope::Scope;
pub use self::token::Assertion;
pub use self::validate_bearer::{ValidateBearer, ValidateBearerFuture, ValidateBearerLayer};
