//! The authority: its metadata, fetched when first needed, and its token endpoint.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tower_bearer::ClaimsRequest;
use url::Url;

use super::metadata::Metadata;
use super::outbound::{self, NoAnswer};
use super::settings::{ConfigError, Settings, is_loopback};
use super::tokens::Tokens;

const TIMEOUT: Duration = Duration::from_secs(10);
const METADATA_LIMIT: usize = 64 * 1024;
const TOKENS_LIMIT: usize = 256 * 1024;

/// Age at which metadata is fetched again; the old one serves on while the authority is away.
const METADATA_AGE: Duration = Duration::from_secs(60 * 60);

/// The authority as this client sees it.
pub(super) struct Authority {
    issuer: String,
    client_id: String,
    client_secret: SecretString,
    http: Client,
    metadata: Memory<Metadata>,
}

/// The last good answer and its age. Readers never wait for anyone.
struct Memory<T>(RwLock<Option<(Arc<T>, Instant)>>);

/// Why the authority gave nothing usable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum AuthorityError {
    /// The person must come to the authority, with these claims if it named any.
    #[error("interaction is required")]
    Interaction { claims: Option<ClaimsRequest> },
    /// The authority refuses this client: a fault of the configuration.
    #[error("the authority refuses this client")]
    Misconfigured,
    #[error("the authority's answer is unusable")]
    Unusable,
    #[error("the authority does not answer")]
    Unavailable,
}

impl Authority {
    pub(super) fn new(settings: &Settings) -> Result<Self, ConfigError> {
        let target =
            Url::parse(&settings.issuer).map_err(|_| ConfigError::Text("authority.tenant"))?;
        Ok(Self {
            issuer: settings.issuer.clone(),
            client_id: settings.client_id.clone(),
            client_secret: settings.client_secret.clone(),
            http: outbound::client(&target, TIMEOUT)?,
            metadata: Memory::default(),
        })
    }

    /// The authority's metadata: the known one while it is young, else fetched. Concurrent first users fetch side by side;
    /// nobody waits for another's fetch.
    pub(super) async fn metadata(&self) -> Result<Arc<Metadata>, AuthorityError> {
        if let Some(metadata) = self.metadata.young(METADATA_AGE) {
            return Ok(metadata);
        }
        match self.fetch_metadata().await {
            Ok(metadata) => Ok(self.metadata.keep(metadata)),
            Err(error) => self.metadata.last().ok_or(error),
        }
    }

    /// RFC 6749 4.1.3 with RFC 7636.
    pub(super) async fn redeem_code(
        &self,
        code: &str,
        redirect_uri: &str,
        verifier: &str,
        scope: &str,
        claims: &str,
    ) -> Result<Tokens, AuthorityError> {
        let form = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
            ("scope", scope),
            ("claims", claims),
        ];
        self.tokens(&form).await
    }

    /// RFC 6749 6.
    pub(super) async fn refresh(
        &self,
        refresh_token: &SecretString,
        scope: &str,
        claims: &str,
    ) -> Result<Tokens, AuthorityError> {
        let form = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token.expose_secret()),
            ("scope", scope),
            ("claims", claims),
        ];
        self.tokens(&form).await
    }

    async fn fetch_metadata(&self) -> Result<Metadata, AuthorityError> {
        let address = Url::parse(&format!("{}/.well-known/openid-configuration", self.issuer))
            .map_err(|_| AuthorityError::Unusable)?;
        let body = self.get(address.clone(), METADATA_LIMIT).await?;
        let metadata: Metadata =
            serde_json::from_slice(&body).map_err(|_| AuthorityError::Unusable)?;
        metadata.check(&self.issuer, is_loopback(&address))?;
        Ok(metadata)
    }

    async fn get(&self, address: Url, limit: usize) -> Result<bytes::Bytes, NoAnswer> {
        let response = self
            .http
            .get(address)
            .header("accept", "application/json")
            .send()
            .await?;
        if response.status() != StatusCode::OK {
            return Err(NoAnswer::Unreachable);
        }
        outbound::read(response, limit).await
    }

    async fn tokens(&self, form: &[(&str, &str)]) -> Result<Tokens, AuthorityError> {
        let metadata = self.metadata().await?;
        let client = [
            ("client_id", self.client_id.as_str()),
            ("client_secret", self.client_secret.expose_secret()),
        ];
        let form: Vec<_> = form.iter().chain(&client).collect();
        let response = self
            .http
            .post(metadata.token_endpoint.clone())
            .header("accept", "application/json")
            .form(&form)
            .send()
            .await
            .map_err(NoAnswer::from)?;
        let status = response.status();
        let body = outbound::read(response, TOKENS_LIMIT).await?;
        Tokens::read(status, &body)
    }
}

impl<T> Memory<T> {
    fn young(&self, age: Duration) -> Option<Arc<T>> {
        self.read()
            .filter(|(_, since)| since.elapsed() < age)
            .map(|(value, _)| value)
    }

    fn last(&self) -> Option<Arc<T>> {
        self.read().map(|(value, _)| value)
    }

    fn keep(&self, value: T) -> Arc<T> {
        let value = Arc::new(value);
        *self.0.write().unwrap_or_else(PoisonError::into_inner) =
            Some((Arc::clone(&value), Instant::now()));
        value
    }

    fn read(&self) -> Option<(Arc<T>, Instant)> {
        self.0
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Self(RwLock::new(None))
    }
}

impl From<NoAnswer> for AuthorityError {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::TooLarge => Self::Unusable,
            NoAnswer::Broken | NoAnswer::TimedOut | NoAnswer::Unreachable => Self::Unavailable,
        }
    }
}
