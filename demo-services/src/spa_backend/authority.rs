//! The authority: its metadata, fetched when first needed, and its token endpoint.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared, WeakShared};
use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use tokio::time::Instant;
use tower_bearer::clock::{Clock, SystemClock};
use tower_bearer::{ClaimsRequest, Credential};
use url::Url;

use super::metadata::Metadata;
use super::settings::{ConfigError, Settings};
use super::token_events;
use super::tokens::Tokens;
use crate::flow_events::Grant;
use crate::loopback::is_loopback;
use crate::outbound::{self, NoAnswer};

const TIMEOUT: Duration = Duration::from_secs(10);
const METADATA_LIMIT: usize = 64 * 1024;
const TOKENS_LIMIT: usize = 256 * 1024;

/// Age at which metadata is fetched again; the old one serves on while the authority is away.
const METADATA_AGE: Duration = Duration::from_secs(60 * 60);

/// Age up to which metadata proves that the authority is there.
const PROOF_AGE: Duration = Duration::from_secs(10);

/// The longest that somebody waits for that proof.
const PROOF_TIMEOUT: Duration = Duration::from_secs(3);

/// The authority as this client sees it.
pub(super) struct Authority {
    issuer: String,
    client_id: String,
    credential: Credential,
    http: Client,
    known: Mutex<Known>,
}

/// What is known of the authority. Nobody holds it across an await.
#[derive(Default)]
struct Known {
    /// The last good metadata, and when it came.
    metadata: Option<(Arc<Metadata>, Instant)>,
    /// The fetch under way, which ends when nobody waits for it any more.
    flight: Option<WeakShared<Flight>>,
}

type Flight = BoxFuture<'static, Result<Arc<Metadata>, AuthorityError>>;

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
            credential: settings.credential.clone(),
            http: outbound::client(&[&target], TIMEOUT, &settings.trust)?,
            known: Mutex::default(),
        })
    }

    /// The authority's metadata: the known one while it is young or nothing better can be had.
    pub(super) async fn metadata(self: &Arc<Self>) -> Result<Arc<Metadata>, AuthorityError> {
        if let Some(metadata) = self.known().young(METADATA_AGE) {
            return Ok(metadata);
        }
        match self.fetch().await {
            Ok(metadata) => Ok(metadata),
            Err(error) => self.known().young(Duration::MAX).ok_or(error),
        }
    }

    /// The authority's metadata if it is there at this moment: nobody is sent to an address where nothing answers.
    pub(super) async fn present(self: &Arc<Self>) -> Result<Arc<Metadata>, AuthorityError> {
        if let Some(metadata) = self.known().young(PROOF_AGE) {
            return Ok(metadata);
        }
        let fetched = tokio::time::timeout(PROOF_TIMEOUT, self.fetch()).await;
        fetched.unwrap_or(Err(AuthorityError::Unavailable))
    }

    /// One fetch at a time, whose outcome all who wait share.
    fn fetch(self: &Arc<Self>) -> Shared<Flight> {
        let mut known = self.known();
        if let Some(flight) = known.flight.as_ref().and_then(WeakShared::upgrade) {
            return flight;
        }
        let authority = Arc::clone(self);
        let flight = async move {
            let metadata = Arc::new(authority.fetch_metadata().await?);
            authority.known().metadata = Some((Arc::clone(&metadata), Instant::now()));
            Ok(metadata)
        };
        let flight = flight.boxed().shared();
        known.flight = flight.downgrade();
        flight
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// RFC 6749 4.1.3 with RFC 7636.
    pub(super) async fn redeem_code(
        self: &Arc<Self>,
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
        let answer = self.tokens(&form);
        token_events::asked(Grant::AuthorizationCode, scope, claims, answer).await
    }

    /// RFC 6749 6.
    pub(super) async fn refresh(
        self: &Arc<Self>,
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
        let answer = self.tokens(&form);
        token_events::asked(Grant::RefreshToken, scope, claims, answer).await
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

    async fn tokens(self: &Arc<Self>, form: &[(&str, &str)]) -> Result<Tokens, AuthorityError> {
        let metadata = self.metadata().await?;
        let endpoint = &metadata.token_endpoint;
        let now = SystemClock.now();
        let proof = self.credential.prove(&self.client_id, endpoint, now);
        let proof = proof.await.map_err(|error| {
            tracing::error!(%error, "this client cannot prove itself");
            AuthorityError::Misconfigured
        })?;
        let mut form = form.to_vec();
        form.push(("client_id", &self.client_id));
        for (name, value) in proof.fields() {
            form.push((name, value));
        }
        let response = self
            .http
            .post(endpoint.clone())
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

impl Known {
    fn young(&self, age: Duration) -> Option<Arc<Metadata>> {
        self.metadata
            .as_ref()
            .filter(|(_, since)| since.elapsed() < age)
            .map(|(metadata, _)| Arc::clone(metadata))
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
