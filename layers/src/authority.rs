//! Who issues tokens: the one place where issuer and tenant are written.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use crate::algorithm::Algorithm;
use crate::clock::{Clock, SharedClock};
use crate::error::ConfigError;
use crate::jwks::{DiscoverySource, KeySource, Lookup, RemoteKeySet};
use crate::origin::{has_no_user, is_loopback_http};

const ENTRA: &str = "https://login.microsoftonline.com";

/// An authority: Microsoft Entra ID or any OpenID Connect issuer. Cheap to clone; all clones share one set of keys.
///
/// From it come the [`Resource`](crate::Resource)s that accept its tokens and the
/// [`ConfidentialClient`](crate::ConfidentialClient)s that ask it for tokens.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

/// Settings of an [`Authority`] beyond its name.
#[must_use]
pub struct AuthorityBuilder {
    kind: Kind,
    algorithms: Vec<Algorithm>,
    clock: SharedClock,
    instance: Option<String>,
    key_source: Option<Arc<dyn KeySource>>,
    loopback_http: bool,
    timeout: Duration,
}

struct Inner {
    algorithms: Vec<Algorithm>,
    clock: SharedClock,
    entra: Option<Entra>,
    http: reqwest::Client,
    issuer: String,
    keys: RemoteKeySet,
}

enum Kind {
    Entra { tenant: String },
    Issuer(String),
}

/// What is known of an authority of Entra's kind.
#[derive(Debug)]
pub(crate) struct Entra {
    pub(crate) tenant: String,
    pub(crate) authorization_uri: String,
    pub(crate) token_endpoint: Url,
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

    /// Have keys been obtained, so that tokens can be validated? Waits for a fetch if there are none yet.
    pub async fn ready(&self) -> bool {
        match self.0.keys.look() {
            Lookup::Keys(..) => true,
            Lookup::Nothing(seen) => {
                let _ = self.0.keys.newer_than(seen).await;
                matches!(self.0.keys.look(), Lookup::Keys(..))
            }
        }
    }

    pub(crate) fn name(&self) -> &str {
        &self.0.issuer
    }

    pub(crate) fn algorithms(&self) -> &[Algorithm] {
        &self.0.algorithms
    }

    pub(crate) fn now(&self) -> u64 {
        self.0.clock.now()
    }

    pub(crate) fn keys(&self) -> &RemoteKeySet {
        &self.0.keys
    }

    pub(crate) fn http(&self) -> &reqwest::Client {
        &self.0.http
    }

    pub(crate) fn as_entra(&self) -> Option<&Entra> {
        self.0.entra.as_ref()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("issuer", &self.0.issuer)
            .finish_non_exhaustive()
    }
}

impl AuthorityBuilder {
    /// One tenant of Microsoft Entra ID, by its GUID, in the global cloud unless [`instance`](Self::instance) says otherwise.
    pub fn entra(tenant: &str) -> Self {
        Self::new(
            Kind::Entra {
                tenant: tenant.to_ascii_lowercase(),
            },
            vec![Algorithm::Rs256],
        )
    }

    /// An OpenID Connect issuer.
    pub fn issuer(issuer: &str, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        Self::new(
            Kind::Issuer(issuer.to_owned()),
            algorithms.into_iter().collect(),
        )
    }

    fn new(kind: Kind, algorithms: Vec<Algorithm>) -> Self {
        let timeout = Duration::from_secs(5);
        Self {
            kind,
            algorithms,
            clock: SharedClock::default(),
            instance: None,
            key_source: None,
            loopback_http: false,
            timeout,
        }
    }

    /// Another cloud of Entra, or a server that behaves like Entra: the URL before the tenant. Only for an authority
    /// that was named by its tenant.
    pub fn instance(mut self, url: &str) -> Self {
        self.instance = Some(url.trim_end_matches('/').to_owned());
        self
    }

    /// Accepts an `http` authority on a loopback address. Whoever can listen on this machine can then issue tokens.
    pub fn dangerous_loopback_http(mut self) -> Self {
        self.loopback_http = true;
        self
    }

    /// Reads the time of day from `clock`; the system's by default.
    pub fn clock(mut self, clock: impl Clock) -> Self {
        self.clock = SharedClock::new(clock);
        self
    }

    /// Takes keys from `source` in place of discovery. For an authority of Entra's kind it must supply each key's own
    /// `issuer`.
    pub fn key_source(mut self, source: impl KeySource) -> Self {
        self.key_source = Some(Arc::new(source));
        self
    }

    /// The longest that a token request, or a fetch of metadata and keys together, may take; 5 s by default.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Checks the settings. Nothing is fetched before the first request or [`Authority::ready`].
    ///
    /// # Errors
    /// A tenant that is not a GUID, an URL that is not https (see [`dangerous_loopback_http`](Self::dangerous_loopback_http)), or
    /// an empty list of algorithms.
    pub fn build(self) -> Result<Authority, ConfigError> {
        if self.algorithms.is_empty() {
            return Err(ConfigError::Algorithms);
        }
        let (issuer, entra) = match &self.kind {
            Kind::Issuer(_) if self.instance.is_some() => return Err(ConfigError::Instance),
            Kind::Issuer(issuer) => (issuer.clone(), None),
            Kind::Entra { tenant } => {
                let instance = self.instance.as_deref().unwrap_or(ENTRA);
                if !is_guid(tenant) {
                    return Err(ConfigError::Tenant);
                }
                let base = format!("{instance}/{tenant}");
                let entra = Entra {
                    tenant: tenant.clone(),
                    authorization_uri: format!("{base}/oauth2/v2.0/authorize"),
                    token_endpoint: Url::parse(&format!("{base}/oauth2/v2.0/token"))
                        .map_err(|_| ConfigError::Insecure)?,
                };
                (format!("{base}/v2.0"), Some(entra))
            }
        };
        let url = Url::parse(&issuer).map_err(|_| ConfigError::Insecure)?;
        let plain = url.query().is_none()
            && url.fragment().is_none()
            && has_no_user(&url)
            && url.has_host();
        let secure = url.scheme() == "https" || (self.loopback_http && is_loopback_http(&url));
        if !(plain && secure) {
            return Err(ConfigError::Insecure);
        }
        let metadata = format!(
            "{}/.well-known/openid-configuration",
            issuer.trim_end_matches('/')
        );
        let metadata = Url::parse(&metadata).map_err(|_| ConfigError::Insecure)?;
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.timeout)
            .https_only(!self.loopback_http);
        // A proxy from the environment would see secrets and assertions of plain http in clear.
        let http = if self.loopback_http {
            http.no_proxy()
        } else {
            http
        };
        let http = http.build().map_err(|_| ConfigError::HttpClient)?;
        if entra.is_some()
            && self
                .key_source
                .as_ref()
                .is_some_and(|source| !source.supplies_issuer())
        {
            return Err(ConfigError::KeyIssuer);
        }
        let source = self.key_source.unwrap_or_else(|| {
            Arc::new(DiscoverySource::new(
                http.clone(),
                metadata,
                issuer.clone(),
                self.loopback_http,
            ))
        });
        let keys = RemoteKeySet::new(source, self.timeout);
        Ok(Authority(Arc::new(Inner {
            algorithms: self.algorithms,
            clock: self.clock,
            entra,
            http,
            issuer,
            keys,
        })))
    }
}

impl fmt::Debug for AuthorityBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityBuilder").finish_non_exhaustive()
    }
}

/// `8-4-4-4-12` hexadecimal digits.
pub(crate) fn is_guid(text: &str) -> bool {
    let mut groups = text.split('-');
    let right = [8, 4, 4, 4, 12].into_iter().all(|length| {
        groups.next().is_some_and(|group| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    right && groups.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn tenant_must_be_a_guid() {
        assert!(Authority::entra(TENANT).is_ok());
        for bad in [
            "",
            "common",
            "contoso.example",
            "11111111-2222-3333-4444-55555555555",
            "{11111111-2222-3333-4444-555555555555}",
        ] {
            assert_eq!(
                Authority::entra(bad).unwrap_err(),
                ConfigError::Tenant,
                "{bad}"
            );
        }
    }

    #[test]
    fn http_is_refused_but_on_loopback_through_the_knob() {
        let local = |url: &str| AuthorityBuilder::entra(TENANT).instance(url);
        assert_eq!(
            local("http://localhost:8080").build().unwrap_err(),
            ConfigError::Insecure
        );
        assert!(
            local("http://localhost:8080")
                .dangerous_loopback_http()
                .build()
                .is_ok()
        );
        assert_eq!(
            local("http://login.example")
                .dangerous_loopback_http()
                .build()
                .unwrap_err(),
            ConfigError::Insecure
        );
        for bad in [
            "",
            "issuer",
            "https://a/?b",
            "https://a/#b",
            "https://u:p@a",
            "file:///a",
        ] {
            assert_eq!(
                Authority::issuer(bad, [Algorithm::Es256]).unwrap_err(),
                ConfigError::Insecure,
                "{bad}"
            );
        }
    }

    #[test]
    fn no_algorithm_means_no_authority() {
        assert_eq!(
            Authority::issuer("https://a", []).unwrap_err(),
            ConfigError::Algorithms
        );
    }

    #[test]
    fn issuer_of_entra_is_the_v2_one() {
        assert_eq!(
            Authority::entra(TENANT).unwrap().name(),
            format!("https://login.microsoftonline.com/{TENANT}/v2.0")
        );
    }
}
