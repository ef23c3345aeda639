//! What each service must be told, as typed TOML. Real tenants and the local authority differ in values only.

mod load;

pub use load::{ConfigError, ServiceConfig, load};

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tower_bearer::{
    Authority, AuthorityBuilder, ProtectedResource, ProtectedResourceMetadataLayer, RedisStore,
    Resource, SealingKeys, SharedTokens,
};
use url::Url;

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
    /// Its client secret.
    pub client_secret: SecretString,
    /// The one scope of the middle tier that is asked for, `api://.../user_impersonation`.
    pub scope: String,
    /// Base URL of the middle tier.
    pub middle_tier: Url,
    /// Send cookies without `Secure` and the `__Host-` prefix, for browsers that refuse Secure cookies on http://localhost.
    #[serde(default)]
    pub insecure_cookies: bool,
    /// Keep the events of the last flows, and show each session its own; only on a loopback address.
    #[serde(default)]
    pub flow_events: bool,
    /// Base URLs of the services whose events are joined with ours.
    #[serde(default)]
    pub flow_sources: Vec<Url>,
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
    /// Its client secret, for On-Behalf-Of.
    pub client_secret: SecretString,
    /// The scope that callers must hold.
    pub required_scope: String,
    /// The URL by which clients know this service; named in its challenges and its metadata (RFC 9728) if it is given.
    #[serde(default)]
    pub public_url: Option<Url>,
    /// Base URL of the downstream API.
    pub downstream: Url,
    /// The scope of the downstream API that is asked for On-Behalf-Of.
    pub downstream_scope: String,
    /// Where several processes of the middle tier share their tokens; each has its own without it.
    pub shared_tokens: Option<SharedTokensConfig>,
    /// Serve `GET /samples/api`, which shows how a demand gets lost.
    #[serde(default)]
    pub samples_way: bool,
    /// Keep the events of the last flows and serve them to whoever knows a flow's id; only on a loopback address.
    #[serde(default)]
    pub flow_events: bool,
}

/// A Redis in which tokens are kept, sealed.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SharedTokensConfig {
    /// `redis://`, `rediss://` (TLS) or `redis+unix://`; may hold a password.
    pub redis: SecretString,
    /// Seals the tokens, the same for all processes: `openssl rand -base64 32`.
    pub sealing_secret: SecretString,
    /// The one before, while tokens that it sealed are still there.
    pub previous_sealing_secret: Option<SecretString>,
    /// How long a request waits for Redis, in milliseconds; 200 by default, 10 to 5000.
    pub timeout_ms: Option<u64>,
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
    /// The URL by which clients know this service; named in its challenges and its metadata (RFC 9728) if it is given.
    #[serde(default)]
    pub public_url: Option<Url>,
    /// The app role that callers of `/admin` must hold.
    pub admin_role: String,
    /// The authentication context that `/secure` demands.
    pub secure_context: String,
    /// Keep the events of the last flows and serve them to whoever knows a flow's id; only on a loopback address.
    #[serde(default)]
    pub flow_events: bool,
}

impl SharedTokensConfig {
    /// The store, which need not be there yet.
    ///
    /// # Errors
    ///
    /// A URL that is not of Redis, or a secret that is too short.
    pub fn shared_tokens(&self) -> Result<SharedTokens, tower_bearer::ConfigError> {
        let mut keys = SealingKeys::new(self.sealing_secret.expose_secret().as_bytes())?;
        if let Some(previous) = &self.previous_sealing_secret {
            keys = keys.and_previous(previous.expose_secret().as_bytes())?;
        }
        let store = RedisStore::connect(self.redis.expose_secret())?;
        let tokens = SharedTokens::new(store, keys);
        Ok(match self.timeout_ms {
            Some(timeout) => tokens.timeout(Duration::from_millis(timeout)),
            None => tokens,
        })
    }
}

impl AuthorityConfig {
    /// The authority; plain http is taken on loopback, where the local authority lives.
    ///
    /// # Errors
    ///
    /// A tenant that is not a GUID, or an instance that is neither https nor on loopback.
    pub fn authority(&self) -> Result<Authority, tower_bearer::ConfigError> {
        let builder = AuthorityBuilder::entra(&self.tenant).instance(self.instance.as_str());
        match self.instance.scheme() {
            "http" => builder.dangerous_loopback_http().build(),
            _ => builder.build(),
        }
    }
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
