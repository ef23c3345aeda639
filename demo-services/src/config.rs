//! What each service must be told, as typed TOML. Real tenants and the local authority differ in values only.

mod allowed_origins;
mod credential;
mod load;
pub(crate) mod network;
mod setup;

pub use allowed_origins::{AllowedOrigins, OriginError};
pub use credential::{CredentialError, credential};
pub use load::{ConfigError, ServiceConfig, load};
pub use network::{Network, NetworkError, TlsConfig};
pub use setup::SetupError;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tower_bearer::{
    Authority, AuthorityBuilder, ProtectedResource, ProtectedResourceMetadataLayer, RedisStore,
    Resource, SealingKeys, SharedTokens,
};
use url::Url;

use crate::forwarded::TrustedProxies;
use crate::lists;
use crate::trust::Trust;

/// Who issues the tokens: `instance` + `tenant`, as in Microsoft Entra ID's own URLs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorityConfig {
    /// Base URL of the cloud, `https://login.microsoftonline.com` or a local authority's `http://localhost:8080`.
    pub instance: Url,
    /// Directory (tenant) id, a GUID.
    pub tenant: String,
}

/// Configuration of the SPA backend.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpaBackendConfig {
    /// `host:port` to listen on; `localhost` means both loopback addresses; port 0 takes a free one.
    pub listen: String,
    /// The URL at which the browser sees this service, without a path.
    pub base_url: Url,
    /// The authority that signs users in.
    pub authority: AuthorityConfig,
    /// Application (client) id of the SPA backend.
    pub client_id: String,
    /// Its client secret; this or `client_certificate`.
    pub client_secret: Option<SecretString>,
    /// Its certificate, instead of the secret.
    pub client_certificate: Option<ClientCertificateConfig>,
    /// How the authority answers: `query`, or `form_post`, which keeps codes out of addresses.
    #[serde(default)]
    pub response_mode: ResponseMode,
    /// Keep the ID token, sealed, and send it as `id_token_hint` at sign-out, for authorities that ask for it. Entra does not.
    #[serde(default)]
    pub id_token_hint: bool,
    /// The one scope of the middle tier that is asked for, `api://.../user_impersonation`.
    pub scope: String,
    /// Base URL of the middle tier.
    pub middle_tier: Url,
    /// Send cookies without `Secure` and the `__Host-` prefix, for browsers that refuse Secure cookies on http://localhost.
    #[serde(default)]
    pub insecure_cookies: bool,
    /// The service's own certificate, for https without a proxy; plain http if it is absent.
    pub tls: Option<TlsConfig>,
    /// The proxies in front, which alone may connect over plain http from other machines and whose `X-Forwarded-Host` and
    /// `X-Forwarded-Proto` count; none by default.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// The page of the browser's own client; there is none without it.
    pub msal: Option<MsalConfig>,
    /// A file of certificates (PEM) that are trusted besides the system's when this service calls others: those of a private CA.
    /// Relative to the configuration file.
    #[serde(default, rename = "ca_file")]
    pub trust: Trust,
    /// Keep the events of the last flows, and show each session its own; only where this machine alone reaches the service.
    #[serde(default)]
    pub flow_events: bool,
    /// Base URLs of the services whose events are joined with ours.
    #[serde(default, deserialize_with = "lists::urls")]
    pub flow_sources: Vec<Url>,
    /// Where several instances share their sessions; each has its own, in memory, without it.
    pub sessions: Option<SealedRedisConfig>,
}

/// The page `/msal`: MSAL.js in the browser as a public client that calls the middle tier itself.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MsalConfig {
    /// Where `npm install @azure/msal-browser@5.30.0` was run, its `node_modules`, or the package's own directory. Relative to the
    /// configuration file.
    pub bundle: PathBuf,
    /// Application (client) id of the public client, with the redirect URIs `<base_url>/msal` and `<base_url>/msal/redirect` of
    /// platform "Single-page application".
    pub client_id: String,
    /// The one scope of the middle tier that is asked for, `api://.../user_impersonation`.
    pub scope: String,
    /// The URL at which browsers reach the middle tier, whose `allowed_origins` must name this service.
    pub middle_tier: Url,
}

/// A certificate that is registered with the authority, and its private key (RSA), as PEM files. In a file, relative paths begin where
/// that file is.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientCertificateConfig {
    /// The certificate.
    pub certificate: PathBuf,
    /// Its private key, PKCS #8 or PKCS #1.
    pub private_key: PathBuf,
}

/// How the authority's answer reaches the redirect URI.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResponseMode {
    /// In its query.
    #[default]
    Query,
    /// In a form that the browser posts there.
    FormPost,
}

/// A Redis in which something is kept, sealed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedRedisConfig {
    /// `redis://`, `rediss://` (TLS) or `redis+unix://`; may hold a password.
    pub redis: SecretString,
    /// Seals what is kept, the same for all processes: `openssl rand -base64 32`.
    pub sealing_secret: SecretString,
    /// Another one that still opens what it sealed. To replace the secret without losing anything: give all processes the new one
    /// here, then exchange the two, and leave the old one out when what it sealed has ended: sessions after eight hours, tokens after 28.
    pub previous_sealing_secret: Option<SecretString>,
    /// How long a request waits for each answer of Redis, in milliseconds, 10 to 5000. By default 1000 for sessions, without which
    /// nothing goes on, and 200 for tokens, which can be had elsewhere.
    pub timeout_ms: Option<u64>,
}

/// Configuration of the middle tier.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MiddleTierConfig {
    /// `host:port` to listen on.
    pub listen: String,
    /// The authority whose tokens are accepted and which is asked for downstream tokens.
    pub authority: AuthorityConfig,
    /// Application (client) id of the middle tier: the audience of v2.0 tokens.
    pub client_id: String,
    /// Its application ID URI, `api://...`.
    pub app_id_uri: String,
    /// Its client secret, for On-Behalf-Of; this or `client_certificate`.
    pub client_secret: Option<SecretString>,
    /// Its certificate, instead of the secret.
    pub client_certificate: Option<ClientCertificateConfig>,
    /// The scope that callers must hold.
    pub required_scope: String,
    /// The URL by which clients know this service; named in its challenges and its metadata (RFC 9728) if it is given. Requests for
    /// its host are answered; without it only those for a loopback name.
    #[serde(default)]
    pub public_url: Option<Url>,
    /// Base URL of the downstream API.
    pub downstream: Url,
    /// The scope of the downstream API that is asked for On-Behalf-Of.
    pub downstream_scope: String,
    /// Where several processes of the middle tier share their tokens; each has its own without it.
    pub shared_tokens: Option<SealedRedisConfig>,
    /// The caller's own profile, viewed and edited in a Graph-like API; without it `/profile` is not there (404).
    pub profile: Option<ProfileConfig>,
    /// The service's own certificate, for https without a proxy; plain http if it is absent.
    pub tls: Option<TlsConfig>,
    /// The proxies in front, which alone may connect over plain http from other machines and whose `X-Forwarded-Host` counts; none by
    /// default.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// Origins of pages that may call this service from a browser (CORS); none by default.
    #[serde(default)]
    pub allowed_origins: AllowedOrigins,
    /// A file of certificates (PEM) that are trusted besides the system's when this service calls others: those of a private CA.
    /// Relative to the configuration file.
    #[serde(default, rename = "ca_file")]
    pub trust: Trust,
    /// Serve `GET /samples/api`, which shows how a demand gets lost.
    #[serde(default)]
    pub samples_way: bool,
    /// Keep the events of the last flows and serve them to whoever knows a flow's id; only where this machine alone reaches
    /// the service.
    #[serde(default)]
    pub flow_events: bool,
}

/// Where profiles are, and what guards their change.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfileConfig {
    /// Base URL of Microsoft Graph, `https://graph.microsoft.com`, or of what speaks like it; `/v1.0/me` of it is called.
    pub graph: Url,
    /// The scope with which a profile is read, `https://graph.microsoft.com/User.Read`.
    pub read_scope: String,
    /// The scope with which it is changed, `https://graph.microsoft.com/User.ReadWrite`.
    pub write_scope: String,
    /// The scope that the authority must grant before an edit, `api://.../User.MFA`: a policy guards the application that carries
    /// it, and its tokens are sent nowhere.
    pub gate_scope: String,
}

/// Configuration of the downstream API.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DownstreamApiConfig {
    /// `host:port` to listen on.
    pub listen: String,
    /// The authority whose tokens are accepted.
    pub authority: AuthorityConfig,
    /// Application (client) id of the downstream API: the audience of v2.0 tokens.
    pub client_id: String,
    /// Its application ID URI, `api://...`.
    pub app_id_uri: String,
    /// The scope that callers of `/api` and `/secure` must hold.
    pub required_scope: String,
    /// The URL by which clients know this service; named in its challenges and its metadata (RFC 9728) if it is given. Requests for
    /// its host are answered; without it only those for a loopback name.
    #[serde(default)]
    pub public_url: Option<Url>,
    /// The app role that callers of `/admin` must hold.
    pub admin_role: String,
    /// The authentication context that `/secure` demands.
    pub secure_context: String,
    /// The service's own certificate, for https without a proxy; plain http if it is absent.
    pub tls: Option<TlsConfig>,
    /// The proxies in front, which alone may connect over plain http from other machines and whose `X-Forwarded-Host` counts; none by
    /// default.
    #[serde(default)]
    pub trusted_proxies: TrustedProxies,
    /// A file of certificates (PEM) that are trusted besides the system's when this service calls others: those of a private CA.
    /// Relative to the configuration file.
    #[serde(default, rename = "ca_file")]
    pub trust: Trust,
    /// Keep the events of the last flows and serve them to whoever knows a flow's id; only where this machine alone reaches
    /// the service.
    #[serde(default)]
    pub flow_events: bool,
}

impl SealedRedisConfig {
    /// The store of the middle tier's tokens, which need not be there yet.
    ///
    /// # Errors
    ///
    /// A URL that is not of Redis, a secret that is too short, or a time out of its range.
    pub fn shared_tokens(&self) -> Result<SharedTokens, SetupError> {
        let timeout = self.timeout("shared_tokens.timeout_ms", 200)?;
        let store = RedisStore::connect(self.redis.expose_secret())?;
        Ok(SharedTokens::new(store, self.keys()?).timeout(timeout))
    }

    /// The keys that seal and open.
    pub(crate) fn keys(&self) -> Result<SealingKeys, tower_bearer::ConfigError> {
        let keys = SealingKeys::new(self.sealing_secret.expose_secret().as_bytes())?;
        match &self.previous_sealing_secret {
            Some(previous) => keys.and_previous(previous.expose_secret().as_bytes()),
            None => Ok(keys),
        }
    }

    /// The longest wait for an answer, `default` milliseconds if nothing is said; `key` is how the file calls it.
    pub(crate) fn timeout(&self, key: &'static str, default: u64) -> Result<Duration, SetupError> {
        match self.timeout_ms.unwrap_or(default) {
            millis @ 10..=5000 => Ok(Duration::from_millis(millis)),
            _ => Err(SetupError::Timeout(key)),
        }
    }
}

impl ResponseMode {
    /// The value of `response_mode`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::FormPost => "form_post",
        }
    }
}

impl AuthorityConfig {
    /// The authority, reached with that trust; plain http is taken on loopback, where the local authority lives.
    ///
    /// # Errors
    ///
    /// A tenant that is not a GUID, or an instance that is neither https nor on loopback.
    pub fn authority(&self, trust: &Trust) -> Result<Authority, tower_bearer::ConfigError> {
        let builder = AuthorityBuilder::entra(&self.tenant).instance(self.instance.as_str());
        let builder = trust.authority(builder);
        match self.instance.scheme() {
            "http" => builder.dangerous_loopback_http().build(),
            _ => builder.build(),
        }
    }
}

/// The host of the URL by which clients know a service, as it stands in `Host`.
pub(crate) fn host_of(public_url: Option<&Url>) -> Option<String> {
    public_url.and_then(Url::host_str).map(str::to_owned)
}

/// The resource with its own description, and what serves that, if the URL by which clients know it is configured.
pub(crate) fn described(
    resource: Resource,
    public_url: Option<&Url>,
    scope: &str,
) -> Result<(Resource, Option<ProtectedResourceMetadataLayer>), tower_bearer::ConfigError> {
    let Some(url) = public_url else {
        return Ok((resource, None));
    };
    let described = ProtectedResource::new(url.as_str().trim_end_matches('/'))?.scopes([scope])?;
    let resource = resource.metadata(described);
    let layer = ProtectedResourceMetadataLayer::new(&resource)?;
    Ok((resource, Some(layer)))
}
