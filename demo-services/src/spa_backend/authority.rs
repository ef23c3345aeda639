//! The authority: its metadata, fetched when first needed, and its token endpoint.

use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use reqwest::{Client, StatusCode};
use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use tokio::time::Instant;
use tower_bearer::ClaimsRequest;
use tower_bearer::jwks::KeySet;
use url::Url;

use super::outbound::{self, NoAnswer};
use super::settings::{ConfigError, Settings, is_loopback, is_protected};

const TIMEOUT: Duration = Duration::from_secs(10);
const METADATA_LIMIT: usize = 64 * 1024;
const KEYS_LIMIT: usize = 512 * 1024;
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
    keys: Memory<KeySet>,
}

/// The last good answer and its age. Readers never wait for anyone.
struct Memory<T>(RwLock<Option<(Arc<T>, Instant)>>);

/// What is taken from the authority's metadata (OpenID Connect Discovery 1.0, RFC 8414).
#[derive(Debug, Deserialize)]
pub(super) struct Metadata {
    pub(super) issuer: String,
    pub(super) authorization_endpoint: Url,
    pub(super) token_endpoint: Url,
    pub(super) jwks_uri: Url,
    pub(super) end_session_endpoint: Option<Url>,
    /// RFC 9207: the authority always names itself in authorization responses.
    #[serde(default)]
    pub(super) authorization_response_iss_parameter_supported: bool,
}

/// A successful answer of the token endpoint.
#[derive(Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: SecretString,
    pub(super) token_type: String,
    #[serde(deserialize_with = "seconds")]
    pub(super) expires_in: u64,
    pub(super) refresh_token: Option<SecretString>,
    pub(super) id_token: Option<SecretString>,
}

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

#[derive(Deserialize)]
struct ErrorBody {
    error: String,
    claims: Option<String>,
    #[serde(default)]
    error_codes: Vec<u64>,
    correlation_id: Option<String>,
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
            keys: Memory::default(),
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

    /// The authority's keys, fetched when the known ones are not young enough.
    pub(super) async fn keys(&self, age: Duration) -> Result<Arc<KeySet>, AuthorityError> {
        if let Some(keys) = self.keys.young(age) {
            return Ok(keys);
        }
        let metadata = self.metadata().await?;
        let document = self.get(metadata.jwks_uri.clone(), KEYS_LIMIT).await?;
        let keys = KeySet::from_jwks(&document).map_err(|_| AuthorityError::Unusable)?;
        Ok(self.keys.keep(keys))
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
        if status != StatusCode::OK {
            return Err(refusal(status, &body));
        }
        let tokens: Tokens = serde_json::from_slice(&body).map_err(|_| AuthorityError::Unusable)?;
        let usable = tokens.token_type.eq_ignore_ascii_case("bearer")
            && !tokens.access_token.expose_secret().is_empty();
        if usable {
            Ok(tokens)
        } else {
            Err(AuthorityError::Unusable)
        }
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

impl Metadata {
    /// The document must be this authority's own, and a person or a secret goes to protected endpoints only.
    fn check(&self, issuer: &str, loopback: bool) -> Result<(), AuthorityError> {
        let endpoints = [
            Some(&self.authorization_endpoint),
            Some(&self.token_endpoint),
            Some(&self.jwks_uri),
            self.end_session_endpoint.as_ref(),
        ];
        let protected = |url: &Url| {
            if loopback {
                is_protected(url)
            } else {
                url.scheme() == "https"
            }
        };
        if self.issuer == issuer && endpoints.into_iter().flatten().all(protected) {
            Ok(())
        } else {
            tracing::error!(
                expected = issuer,
                "the authority's metadata names another issuer or an unprotected endpoint"
            );
            Err(AuthorityError::Unusable)
        }
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

/// Sorts an error answer by who can do something about it; `claims` decide before the code does.
fn refusal(status: StatusCode, body: &[u8]) -> AuthorityError {
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return AuthorityError::Unavailable;
    }
    let Ok(body) = serde_json::from_slice::<ErrorBody>(body) else {
        return AuthorityError::Unusable;
    };
    let claims = body
        .claims
        .as_deref()
        .and_then(|claims| ClaimsRequest::from_json(claims).ok());
    let error = match body.error.as_str() {
        _ if claims.is_some() => AuthorityError::Interaction { claims },
        "invalid_grant" | "interaction_required" | "login_required" | "consent_required" => {
            AuthorityError::Interaction { claims: None }
        }
        "temporarily_unavailable" | "server_error" => AuthorityError::Unavailable,
        _ => AuthorityError::Misconfigured,
    };
    if error == AuthorityError::Misconfigured {
        let correlation_id = body
            .correlation_id
            .as_deref()
            .and_then(|id| id.parse::<uuid::Uuid>().ok());
        tracing::error!(codes = ?body.error_codes, correlation_id = ?correlation_id, "the authority refuses this client: check client id, secret and scope");
    }
    error
}

/// A number of seconds, as a number or, from some authorities, as a string.
fn seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let seconds = value.as_u64().or_else(|| value.as_str()?.parse().ok());
    // A day is far beyond any access token; a larger number is not worth an overflow.
    seconds
        .map(|seconds| seconds.min(24 * 60 * 60))
        .ok_or_else(|| serde::de::Error::custom("not a number of seconds"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn metadata(issuer: &str, token_endpoint: &str) -> Metadata {
        serde_json::from_value(serde_json::json!({
            "issuer": issuer,
            "authorization_endpoint": "http://localhost:8080/t/oauth2/v2.0/authorize",
            "token_endpoint": token_endpoint,
            "jwks_uri": "http://localhost:8080/t/keys",
        }))
        .unwrap()
    }

    #[test]
    fn metadata_of_this_authority_is_taken() {
        assert_eq!(
            metadata(
                "http://localhost:8080/t/v2.0",
                "http://127.0.0.1:8080/token"
            )
            .check("http://localhost:8080/t/v2.0", true),
            Ok(())
        );
    }

    #[test]
    fn metadata_with_another_issuer_or_open_endpoints_is_refused() {
        let issuer = "http://localhost:8080/t/v2.0";
        let refused = Err(AuthorityError::Unusable);
        assert_eq!(
            metadata(
                "http://localhost:8080/t/v2.0/",
                "http://localhost:8080/token"
            )
            .check(issuer, true),
            refused
        );
        assert_eq!(
            metadata(issuer, "http://evil.example/token").check(issuer, true),
            refused
        );
        assert_eq!(
            metadata(issuer, "http://localhost:8080/token").check(issuer, false),
            refused
        );
    }

    #[test]
    fn refusals_are_sorted_by_who_can_act() {
        let sorted = |status: u16, body: &str| {
            refusal(StatusCode::from_u16(status).unwrap(), body.as_bytes())
        };
        assert_eq!(
            sorted(400, r#"{"error":"interaction_required","claims":"{}"}"#),
            AuthorityError::Interaction {
                claims: ClaimsRequest::from_json("{}").ok()
            }
        );
        assert_eq!(
            sorted(400, r#"{"error":"invalid_grant"}"#),
            AuthorityError::Interaction { claims: None }
        );
        assert_eq!(
            sorted(401, r#"{"error":"invalid_client","error_codes":[7000215]}"#),
            AuthorityError::Misconfigured
        );
        assert_eq!(sorted(400, "<html>"), AuthorityError::Unusable);
        assert_eq!(
            sorted(503, r#"{"error":"invalid_client"}"#),
            AuthorityError::Unavailable
        );
        assert_eq!(sorted(429, ""), AuthorityError::Unavailable);
    }

    #[test]
    fn expires_in_may_be_a_string_but_never_overflows() {
        let parse = |value: &str| {
            serde_json::from_str::<Tokens>(&format!(
                r#"{{"access_token":"a","token_type":"Bearer","expires_in":{value}}}"#
            ))
            .map(|t| t.expires_in)
            .ok()
        };
        assert_eq!(parse("3600"), Some(3600));
        assert_eq!(parse("\"3600\""), Some(3600));
        assert_eq!(parse("18446744073709551615"), Some(86400));
        assert_eq!(parse("-1"), None);
        assert_eq!(parse("1e308"), None);
        assert_eq!(parse("null"), None);
    }
}
