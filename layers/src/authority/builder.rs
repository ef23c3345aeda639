//! The settings of an authority.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use url::Url;

use super::issuer::Tenants;
use super::{Authority, Entra, Inner, Issuer, IssuerRule, is_guid};
use crate::algorithm::Algorithm;
use crate::clock::{Clock, SharedClock};
use crate::error::ConfigError;
use crate::jwks::{Bounds, DiscoverySource, Expected, KeySource, RemoteKeySet};
use crate::origin::{has_no_user, is_loopback, is_loopback_http};

/// Settings of an [`Authority`] beyond its name.
#[must_use]
pub struct AuthorityBuilder {
    kind: Kind,
    algorithms: Vec<Algorithm>,
    bounds: Bounds,
    clock: SharedClock,
    cloud: Cloud,
    instance: Option<String>,
    key_source: Option<Arc<dyn KeySource>>,
    loopback_http: bool,
    metadata_url: Option<String>,
    /// PEM, one text per call.
    root_certificates: Vec<Vec<u8>>,
    token_endpoint: Option<String>,
    v1: bool,
    v1_key_source: Option<Arc<dyn KeySource>>,
}

enum Kind {
    Entra(Vec<String>),
    EntraAnyTenant,
    ExternalId { instance: String, tenant: String },
    Issuer(String),
}

/// What the settings come to.
struct Plan {
    entra: Option<Entra>,
    /// With the URLs of their metadata, v2.0 first.
    issuers: Vec<(IssuerRule, Url)>,
}

/// A cloud of Microsoft Entra ID.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cloud {
    /// `login.microsoftonline.com`.
    #[default]
    Global,
    /// Azure Government: `login.microsoftonline.us`.
    UsGovernment,
    /// Azure operated by 21Vianet: `login.partner.microsoftonline.cn`.
    China,
}

impl Cloud {
    fn instance(self) -> &'static str {
        match self {
            Self::Global => "https://login.microsoftonline.com",
            Self::UsGovernment => "https://login.microsoftonline.us",
            Self::China => "https://login.partner.microsoftonline.cn",
        }
    }

    /// Where the issuers of v1.0 tokens live.
    fn v1_issuer(self) -> &'static str {
        match self {
            Self::Global | Self::UsGovernment => "https://sts.windows.net",
            Self::China => "https://sts.chinacloudapi.cn",
        }
    }
}

impl AuthorityBuilder {
    /// One tenant of Microsoft Entra ID, by its GUID, in the global cloud unless [`cloud`](Self::cloud) or
    /// [`instance`](Self::instance) says otherwise.
    pub fn entra(tenant: &str) -> Self {
        Self::entra_tenants([tenant])
    }

    /// Several tenants of Microsoft Entra ID, by their GUIDs: for an application that is registered as multi-tenant. Keys come
    /// from the `common` endpoint; `tid` must be listed here and be the one in `iss`.
    pub fn entra_tenants<'a>(tenants: impl IntoIterator<Item = &'a str>) -> Self {
        let tenants = tenants.into_iter().map(str::to_ascii_lowercase).collect();
        Self::new(Kind::Entra(tenants), vec![Algorithm::Rs256])
    }

    /// Every tenant of Microsoft Entra ID there is, or will be: anyone on earth can create one and get tokens for a
    /// multi-tenant application. What a caller may do must then be decided by `tid` in every handler.
    pub fn dangerous_entra_any_tenant() -> Self {
        Self::new(Kind::EntraAnyTenant, vec![Algorithm::Rs256])
    }

    /// A tenant of Microsoft Entra External ID: the URL of its host (`https://contoso.ciamlogin.com`, or a custom domain) and
    /// its GUID. The issuer is taken from the metadata of that host; its path must be `/<tenant>/v2.0`.
    pub fn external_id(instance: &str, tenant: &str) -> Self {
        let kind = Kind::ExternalId {
            instance: instance.trim_end_matches('/').to_owned(),
            tenant: tenant.to_ascii_lowercase(),
        };
        Self::new(kind, vec![Algorithm::Rs256])
    }

    /// An OpenID Connect issuer. Azure AD B2C is one, with a [`metadata_url`](Self::metadata_url) that names the user flow.
    pub fn issuer(issuer: &str, algorithms: impl IntoIterator<Item = Algorithm>) -> Self {
        Self::new(
            Kind::Issuer(issuer.to_owned()),
            algorithms.into_iter().collect(),
        )
    }

    fn new(kind: Kind, algorithms: Vec<Algorithm>) -> Self {
        Self {
            kind,
            algorithms,
            bounds: Bounds::default(),
            clock: SharedClock::default(),
            cloud: Cloud::default(),
            instance: None,
            key_source: None,
            loopback_http: false,
            metadata_url: None,
            root_certificates: Vec::new(),
            token_endpoint: None,
            v1: false,
            v1_key_source: None,
        }
    }

    /// Another cloud of Entra. Only for an authority that was named by its tenants.
    pub fn cloud(mut self, cloud: Cloud) -> Self {
        self.cloud = cloud;
        self
    }

    /// A server that behaves like Entra: the URL before the tenant. Only for an authority that was named by its tenants.
    pub fn instance(mut self, url: &str) -> Self {
        self.instance = Some(url.trim_end_matches('/').to_owned());
        self
    }

    /// Accepts Entra's v1.0 tokens beside v2.0 ones, by metadata and keys of their own. An API gets them unless its
    /// registration says `requestedAccessTokenVersion: 2`; their audience may be the application ID URI
    /// ([`Resource::audience`](crate::Resource::audience)).
    pub fn v1_tokens(mut self) -> Self {
        self.v1 = true;
        self
    }

    /// Reads the metadata from here in place of `<issuer>/.well-known/openid-configuration`; the issuer that they name must be
    /// ours all the same. Only for an authority that was named by its issuer.
    pub fn metadata_url(mut self, url: &str) -> Self {
        self.metadata_url = Some(url.to_owned());
        self
    }

    /// Where tokens are asked for (RFC 6749 3.2; `token_endpoint` of the metadata), by a
    /// [`ConfidentialClient`](crate::ConfidentialClient). It is written here because credentials are sent to it. Only for an
    /// authority that was named by its issuer; Entra's is known.
    pub fn token_endpoint(mut self, url: &str) -> Self {
        self.token_endpoint = Some(url.to_owned());
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

    /// Takes the keys of [`v1_tokens`](Self::v1_tokens) from `source` in place of discovery; Entra publishes those without an
    /// issuer each.
    pub fn v1_key_source(mut self, source: impl KeySource) -> Self {
        self.v1_key_source = Some(Arc::new(source));
        self
    }

    /// Trusts these certificates (PEM, one or several) besides the system's when metadata, keys and tokens are fetched: for an
    /// authority behind a private CA. May be called several times.
    ///
    /// ```
    /// # use tower_bearer::{AuthorityBuilder, ConfigError};
    /// let no_certificate = AuthorityBuilder::entra("11111111-2222-3333-4444-555555555555")
    ///     .instance("https://login.corp.example")
    ///     .root_certificate(b"not PEM")
    ///     .build();
    /// assert_eq!(no_certificate.unwrap_err(), ConfigError::RootCertificate);
    /// ```
    pub fn root_certificate(mut self, pem: &[u8]) -> Self {
        self.root_certificates.push(pem.to_owned());
        self
    }

    /// The longest that a token request, or a fetch of metadata and keys together, may take; 5 s by default, between 100 ms and
    /// 1 min.
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.bounds = self.bounds.with_deadline(timeout);
        self
    }

    /// The longest that keys are used before they are fetched again, and the most of the authority's own `max-age` that is
    /// honoured: 10 min by default, between 1 min and 24 h. A withdrawn key may be accepted for so long, and in an outage for
    /// [`last_known_good`](Self::last_known_good).
    pub fn max_key_age(mut self, age: Duration) -> Self {
        self.bounds = self.bounds.with_refresh(age);
        self
    }

    /// For how long known keys serve while the authority cannot be reached; 24 h by default, and never less than the time
    /// between two refreshes. After that every token is a 503.
    pub fn last_known_good(mut self, duration: Duration) -> Self {
        self.bounds = self.bounds.with_last_known_good(duration);
        self
    }

    /// Checks the settings. Nothing is fetched before the first request or [`Authority::ready`].
    ///
    /// # Errors
    /// A tenant that is not a GUID, no tenant, an URL that is not https (see
    /// [`dangerous_loopback_http`](Self::dangerous_loopback_http)), an empty list of algorithms, a setting that belongs to
    /// another kind of authority, a key source that does not fit, or a [`root_certificate`](Self::root_certificate) that cannot be read.
    pub fn build(self) -> Result<Authority, ConfigError> {
        if self.algorithms.is_empty() {
            return Err(ConfigError::Algorithms);
        }
        let Plan { entra, issuers } = self.plan()?;
        let token_endpoint = match &self.token_endpoint {
            Some(_) if !matches!(self.kind, Kind::Issuer(_)) => {
                return Err(ConfigError::TokenEndpoint);
            }
            Some(url) => Some(self.located(url)?),
            None => None,
        };
        let http = self.http(&issuers)?;
        // The keys of v1.0 tokens are published without an issuer each.
        if let Some(source) = &self.key_source
            && entra.is_some()
            && !source.supplies_issuer()
        {
            return Err(ConfigError::KeyIssuer);
        }
        let name = match issuers.first() {
            Some((rule, metadata)) => match rule.in_metadata() {
                Expected::Exactly(issuer) => issuer,
                Expected::EndingIn(_) => metadata.to_string(),
            },
            None => return Err(ConfigError::Tenant),
        };
        let sources = [self.key_source, self.v1_key_source];
        let issuers = issuers
            .into_iter()
            .zip(sources)
            .map(|((rule, metadata), source)| {
                let discovery = || -> Arc<dyn KeySource> {
                    let (http, expected) = (http.clone(), rule.in_metadata());
                    let source = DiscoverySource::new(http, metadata, expected, self.loopback_http);
                    Arc::new(source)
                };
                let keys = RemoteKeySet::new(
                    rule.to_string(),
                    source.unwrap_or_else(discovery),
                    self.bounds,
                );
                Issuer { rule, keys }
            })
            .collect();
        Ok(Authority(Arc::new(Inner {
            algorithms: self.algorithms,
            clock: self.clock,
            entra,
            http,
            issuers,
            name,
            timeout: self.bounds.deadline(),
            token_endpoint,
        })))
    }

    fn plan(&self) -> Result<Plan, ConfigError> {
        let of_entra = matches!(self.kind, Kind::Entra(_) | Kind::EntraAnyTenant);
        let named_by_issuer = matches!(self.kind, Kind::Issuer(_));
        if (self.instance.is_some() || self.cloud != Cloud::Global || self.v1) && !of_entra {
            return Err(ConfigError::Instance);
        }
        if self.metadata_url.is_some() && !named_by_issuer {
            return Err(ConfigError::Metadata);
        }
        if self.v1_key_source.is_some() && !self.v1
            || (self.v1 && self.key_source.is_some() != self.v1_key_source.is_some())
        {
            return Err(ConfigError::KeySource);
        }
        match &self.kind {
            Kind::Issuer(issuer) => {
                self.secure(issuer)?;
                let metadata = match &self.metadata_url {
                    Some(url) => self.located(url)?,
                    None => self.metadata(issuer)?,
                };
                Ok(Plan {
                    entra: None,
                    issuers: vec![(IssuerRule::Exact(issuer.clone()), metadata)],
                })
            }
            Kind::ExternalId { instance, tenant } => {
                if !is_guid(tenant) {
                    return Err(ConfigError::Tenant);
                }
                if self.secure(instance)?.path() != "/" {
                    return Err(ConfigError::Insecure);
                }
                let metadata = self.metadata(&format!("{instance}/{tenant}/v2.0"))?;
                let rule = IssuerRule::Published {
                    tenant: tenant.clone(),
                };
                Ok(Plan {
                    entra: Some(Entra::new(instance, Some(tenant))),
                    issuers: vec![(rule, metadata)],
                })
            }
            Kind::Entra(tenants) if tenants.is_empty() => Err(ConfigError::Tenant),
            Kind::Entra(tenants) if !tenants.iter().all(|tenant| is_guid(tenant)) => {
                Err(ConfigError::Tenant)
            }
            Kind::Entra(tenants) => self.entra_issuers(match tenants.as_slice() {
                [only] => Tenants::One(only.clone()),
                several => Tenants::Listed(several.iter().map(|one| one.as_str().into()).collect()),
            }),
            Kind::EntraAnyTenant => self.entra_issuers(Tenants::Any),
        }
    }

    fn entra_issuers(&self, tenants: Tenants) -> Result<Plan, ConfigError> {
        let instance = self.instance.as_deref().unwrap_or(self.cloud.instance());
        let only = match &tenants {
            Tenants::One(tenant) => Some(tenant.as_str()),
            Tenants::Listed(_) | Tenants::Any => None,
        };
        let base = format!("{instance}/{}", only.unwrap_or("common"));
        let mut issuers = vec![(
            IssuerRule::Template {
                template: format!("{instance}/{{tenantid}}/v2.0"),
                tenants: tenants.clone(),
                keys_name_issuer: true,
            },
            self.metadata(&format!("{base}/v2.0"))?,
        )];
        if self.v1 {
            let v1 = self.instance.as_deref().unwrap_or(self.cloud.v1_issuer());
            let rule = IssuerRule::Template {
                template: format!("{v1}/{{tenantid}}/"),
                tenants: tenants.clone(),
                keys_name_issuer: false,
            };
            issuers.push((rule, self.metadata(&base)?));
        }
        Ok(Plan {
            entra: Some(Entra::new(instance, only)),
            issuers,
        })
    }

    fn metadata(&self, issuer: &str) -> Result<Url, ConfigError> {
        let issuer = issuer.trim_end_matches('/');
        self.secure(&format!("{issuer}/.well-known/openid-configuration"))
    }

    fn secure(&self, url: &str) -> Result<Url, ConfigError> {
        let url = self.located(url)?;
        if url.query().is_none() {
            Ok(url)
        } else {
            Err(ConfigError::Insecure)
        }
    }

    fn located(&self, url: &str) -> Result<Url, ConfigError> {
        let url = Url::parse(url).map_err(|_| ConfigError::Insecure)?;
        let plain = url.fragment().is_none() && has_no_user(&url) && url.has_host();
        let secure = url.scheme() == "https" || (self.loopback_http && is_loopback_http(&url));
        if plain && secure {
            Ok(url)
        } else {
            Err(ConfigError::Insecure)
        }
    }

    fn http(&self, issuers: &[(IssuerRule, Url)]) -> Result<reqwest::Client, ConfigError> {
        let roots: Result<Vec<_>, _> = self
            .root_certificates
            .iter()
            .map(|pem| root_certificates(pem))
            .collect();
        let roots = roots?.into_iter().flatten();
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(self.bounds.deadline())
            .https_only(!self.loopback_http)
            .tls_certs_merge(roots);
        // A proxy from the environment would see secrets and assertions of plain http in clear, and does not reach this machine.
        let on_this_machine = issuers.iter().all(|(_, metadata)| is_loopback(metadata));
        let http = if self.loopback_http || on_this_machine {
            http.no_proxy()
        } else {
            http
        };
        http.build().map_err(|_| ConfigError::HttpClient)
    }
}

/// All certificates of a PEM text, of which there is one at least and each can be read.
fn root_certificates(pem: &[u8]) -> Result<Vec<reqwest::Certificate>, ConfigError> {
    let wrong = |_| ConfigError::RootCertificate;
    let roots = reqwest::Certificate::from_pem_bundle(pem).map_err(wrong)?;
    if roots.is_empty() {
        return Err(ConfigError::RootCertificate);
    }
    // Beside the system's, one that cannot be read would be passed over in silence; alone it is an error.
    let alone = reqwest::Client::builder().tls_certs_only(roots.clone());
    alone.build().map_err(wrong)?;
    Ok(roots)
}

impl Entra {
    fn new(instance: &str, tenant: Option<&str>) -> Self {
        let of = tenant.unwrap_or("common");
        Self {
            tenant: tenant.map(str::to_owned),
            authorization_uri: format!("{instance}/{of}/oauth2/v2.0/authorize"),
            instance: instance.to_owned(),
        }
    }
}

impl fmt::Debug for AuthorityBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AuthorityBuilder").finish_non_exhaustive()
    }
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

    #[test]
    fn issuers_of_every_cloud() {
        let name = |builder: AuthorityBuilder| builder.build().unwrap().name().to_owned();
        let of = |cloud| name(AuthorityBuilder::entra(TENANT).cloud(cloud));
        assert_eq!(
            of(Cloud::UsGovernment),
            format!("https://login.microsoftonline.us/{TENANT}/v2.0")
        );
        assert_eq!(
            of(Cloud::China),
            format!("https://login.partner.microsoftonline.cn/{TENANT}/v2.0")
        );
        let several =
            AuthorityBuilder::entra_tenants([TENANT, "21111111-2222-3333-4444-555555555555"]);
        assert_eq!(
            name(several),
            "https://login.microsoftonline.com/{tenantid}/v2.0"
        );
    }

    #[test]
    fn settings_of_another_kind_of_authority_are_refused() {
        let issuer = || AuthorityBuilder::issuer("https://a", [Algorithm::Es256]);
        let entra = || AuthorityBuilder::entra(TENANT);
        let rows = [
            (issuer(), None),
            (issuer().instance("https://b"), Some(ConfigError::Instance)),
            (issuer().cloud(Cloud::China), Some(ConfigError::Instance)),
            (issuer().v1_tokens(), Some(ConfigError::Instance)),
            (issuer().metadata_url("https://b/x"), None),
            (
                issuer().metadata_url("http://b/x"),
                Some(ConfigError::Insecure),
            ),
            (entra(), None),
            (entra().v1_tokens(), None),
            (
                entra().metadata_url("https://b/x"),
                Some(ConfigError::Metadata),
            ),
            (
                AuthorityBuilder::entra_tenants([]),
                Some(ConfigError::Tenant),
            ),
            (
                AuthorityBuilder::entra_tenants([TENANT, "common"]),
                Some(ConfigError::Tenant),
            ),
            (
                AuthorityBuilder::external_id("https://contoso.ciamlogin.com", TENANT),
                None,
            ),
            (
                AuthorityBuilder::external_id("https://contoso.ciamlogin.com/x", TENANT),
                Some(ConfigError::Insecure),
            ),
            (
                AuthorityBuilder::external_id("https://contoso.ciamlogin.com", "contoso"),
                Some(ConfigError::Tenant),
            ),
            (
                AuthorityBuilder::external_id("https://contoso.ciamlogin.com", TENANT).v1_tokens(),
                Some(ConfigError::Instance),
            ),
        ];
        for (n, (builder, expected)) in rows.into_iter().enumerate() {
            assert_eq!(builder.build().err(), expected, "row {n}");
        }
    }

    #[test]
    fn a_root_certificate_that_cannot_be_read_is_refused() {
        let key = rcgen::KeyPair::generate().unwrap();
        let root = rcgen::CertificateParams::default()
            .self_signed(&key)
            .unwrap();
        let block = |label: &str, der: &[u8]| {
            use base64::Engine as _;
            let text = base64::prelude::BASE64_STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let good = block("CERTIFICATE", root.der());
        let of = |pem: &str| AuthorityBuilder::entra(TENANT).root_certificate(pem.as_bytes());
        assert!(of(&good).build().is_ok());
        assert!(
            of(&good.repeat(2))
                .root_certificate(good.as_bytes())
                .build()
                .is_ok()
        );
        for (what, bad) in [
            ("nothing", String::new()),
            ("no PEM", "certificate".to_owned()),
            ("a key", block("PRIVATE KEY", &key.serialize_der())),
            (
                "no certificate inside",
                block("CERTIFICATE", b"certificate"),
            ),
            ("cut off", good.replace("-----END", "")),
            (
                "one of two",
                good.clone() + &block("CERTIFICATE", b"certificate"),
            ),
        ] {
            let wrong = Some(ConfigError::RootCertificate);
            assert_eq!(of(&bad).build().err(), wrong, "{what}");
            assert_eq!(
                of(&good).root_certificate(bad.as_bytes()).build().err(),
                wrong,
                "{what}, second"
            );
        }
    }
}
