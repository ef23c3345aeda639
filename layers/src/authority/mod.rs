//! Who issues tokens: the one place where issuer and tenant are written.

mod builder;
mod issuer;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use url::Url;

use crate::algorithm::Algorithm;
use crate::clock::SharedClock;
use crate::error::ConfigError;
use crate::jwks::{KeyStatus, Lookup};

pub use self::builder::{AuthorityBuilder, Cloud};
pub(crate) use self::issuer::{Issuer, IssuerRule, fills, is_guid};

/// An authority: Microsoft Entra ID or any OpenID Connect issuer. Cheap to clone; all clones share one set of keys per issuer.
///
/// From it come the [`Resource`](crate::Resource)s that accept its tokens and the
/// [`ConfidentialClient`](crate::ConfidentialClient)s that ask it for tokens.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    algorithms: Vec<Algorithm>,
    clock: SharedClock,
    entra: Option<Entra>,
    http: reqwest::Client,
    issuers: Vec<Issuer>,
    name: String,
    timeout: Duration,
    token_endpoint: Option<Url>,
}

/// What is known of an authority of Entra's kind.
#[derive(Debug)]
pub(crate) struct Entra {
    /// The only tenant, if there is but one.
    pub(crate) tenant: Option<String>,
    pub(crate) authorization_uri: String,
    /// The URL before the tenant.
    instance: String,
}

impl Authority {
    /// One tenant of Microsoft Entra ID (v2.0 tokens, RS256), by its GUID.
    ///
    /// # Errors
    /// A tenant that is not a GUID.
    pub fn entra(tenant: &str) -> Result<Self, ConfigError> {
        AuthorityBuilder::entra(tenant).build()
    }

    /// An OpenID Connect issuer, whose metadata stand under `<issuer>/.well-known/openid-configuration`.
    ///
    /// # Errors
    /// An issuer that is not an https URL, or no algorithm.
    pub fn issuer(
        issuer: &str,
        algorithms: impl IntoIterator<Item = Algorithm>,
    ) -> Result<Self, ConfigError> {
        AuthorityBuilder::issuer(issuer, algorithms).build()
    }

    /// Is there an issuer whose tokens both accept?
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        self.0.issuers.iter().any(|one| {
            let mut others = other.0.issuers.iter();
            others.any(|two| one.rule.overlaps(&two.rule))
        })
    }

    /// Have the keys of every issuer been obtained, so that tokens can be validated? Waits for a fetch where there are none
    /// yet, and so is what a readiness probe asks; for resources that are accepted side by side
    /// ([`Resource::or`](crate::Resource::or)) each authority has its own.
    pub async fn ready(&self) -> bool {
        let ready = self.0.issuers.iter().map(async |issuer| {
            if let Lookup::Nothing(seen) = issuer.keys.look() {
                let _ = issuer.keys.newer_than(seen).await;
            }
            matches!(issuer.keys.look(), Lookup::Keys(..))
        });
        join_all(ready).await.into_iter().all(|ready| ready)
    }

    /// The state of the keys of each issuer, in the order in which they were configured. Never waits and fetches nothing: before the
    /// first request or [`ready`](Self::ready) there are none.
    #[must_use]
    pub fn key_status(&self) -> Vec<KeyStatus> {
        self.0
            .issuers
            .iter()
            .map(|issuer| issuer.keys.status())
            .collect()
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.name
    }

    /// What clients are told to sign in at (RFC 9728 2). Entra's v1.0 issuer is the same server under another name.
    pub(crate) fn authorization_servers(&self) -> Vec<String> {
        let instance = self.0.entra.as_ref().map_or("", |entra| &entra.instance);
        let first = self.0.issuers.first();
        first.map_or_else(Vec::new, |issuer| issuer.rule.named(instance))
    }

    pub(crate) fn accepts(&self, algorithm: Algorithm) -> bool {
        self.0.algorithms.contains(&algorithm)
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now()
    }

    pub(crate) fn issuers(&self) -> &[Issuer] {
        &self.0.issuers
    }

    pub(crate) fn timeout(&self) -> Duration {
        self.0.timeout
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn trusts_tenant(&self, tenant: &str) -> bool {
        is_guid(tenant)
            && self
                .0
                .issuers
                .iter()
                .any(|issuer| issuer.rule.trusts(tenant))
    }

    /// Of an authority that is named by its issuer, where it is known.
    pub(crate) fn token_endpoint(&self) -> Option<&Url> {
        self.0.token_endpoint.as_ref()
    }

    pub(crate) fn as_entra(&self) -> Option<&Entra> {
        self.0.entra.as_ref()
    }
}

impl Entra {
    /// Where tokens of a tenant are asked for: a user's own, whatever tenants are trusted.
    pub(crate) fn token_endpoint(&self, tenant: &str) -> Option<Url> {
        Url::parse(&format!("{}/{tenant}/oauth2/v2.0/token", self.instance)).ok()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("issuer", &self.0.name)
            .finish_non_exhaustive()
    }
}
