//! A client without a user: gets an app-only token and calls an API once.

use std::time::Duration;

use http::{StatusCode, header::ACCEPT};
use local_authority::{Clock as _, SystemClock};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tower_bearer::{BoxError, Credential};
use url::Url;

use crate::outbound;
use crate::tenant::doctor::codes;
use crate::trust::Trust;

/// Longest wait for either answer.
const DEADLINE: Duration = Duration::from_secs(30);
/// Octets of either answer.
const LIMIT: usize = 256 * 1024;

/// What to call as whom.
#[derive(Debug)]
pub struct DaemonCall {
    /// Base URL of the authority.
    pub authority: Url,
    /// Directory (tenant) id.
    pub tenant: String,
    /// Application (client) id of the daemon.
    pub client_id: String,
    /// What it proves itself with, a secret or a certificate.
    pub credential: Credential,
    /// `<application ID URI>/.default` of the API.
    pub scope: String,
    /// What to GET.
    pub url: Url,
    /// Whose certificates are taken from both.
    pub trust: Trust,
}

/// Why there is no answer of the API.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DaemonError {
    /// The authority gives no token.
    #[error("the authority refuses a token: {status} {error}{}", explained(.aadsts))]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its error code.
        error: String,
        /// The number of Entra's error.
        aadsts: Option<u32>,
    },
    /// One of the two cannot be reached.
    #[error("no usable answer")]
    Transport(#[from] reqwest::Error),
    /// One of the two breaks off, or says too much.
    #[error("no usable answer of {from}")]
    Answer {
        /// Whose.
        from: &'static str,
        /// Why.
        source: BoxError,
    },
    /// The certificate's key cannot sign.
    #[error("the daemon cannot prove itself")]
    Credential(#[source] BoxError),
    /// The authority's URL cannot have a path.
    #[error("the authority's URL has no host")]
    Url(#[from] url::ParseError),
}

#[derive(Deserialize)]
struct TokenResponse {
    access_token: SecretString,
}

#[derive(Deserialize)]
struct TokenError {
    error: String,
    #[serde(default)]
    error_codes: Vec<u32>,
}

impl DaemonCall {
    /// Asks for a token (client credentials, RFC 6749 4.4), calls the API, and returns its status and body.
    ///
    /// # Errors
    ///
    /// The authority refuses, or one of the two does not answer.
    pub async fn send(&self) -> Result<(StatusCode, String), DaemonError> {
        let client = outbound::client(&[&self.authority, &self.url], DEADLINE, &self.trust)?;
        let endpoint = format!("/{}/oauth2/v2.0/token", self.tenant);
        let endpoint = self.authority.join(&endpoint)?;
        let now = SystemClock.now();
        let proof = self.credential.prove(&self.client_id, &endpoint, now);
        let proof = proof.await.map_err(DaemonError::Credential)?;
        let mut form = vec![
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("scope", &self.scope),
        ];
        form.extend(proof.fields());
        let of_authority = |source: BoxError| DaemonError::Answer {
            from: "the authority",
            source,
        };
        let answer = client.post(endpoint).form(&form).send().await?;
        let status = answer.status();
        let body = outbound::read(answer, LIMIT).await;
        let body = body.map_err(|error| of_authority(error.into()))?;
        if !status.is_success() {
            let TokenError { error, error_codes } =
                serde_json::from_slice(&body).map_err(|error| of_authority(error.into()))?;
            return Err(DaemonError::Refused {
                status,
                error,
                aadsts: error_codes.first().copied(),
            });
        }
        let TokenResponse { access_token } =
            serde_json::from_slice(&body).map_err(|error| of_authority(error.into()))?;
        let answer = client
            .get(self.url.clone())
            .bearer_auth(access_token.expose_secret())
            .header(ACCEPT, "application/json")
            .send()
            .await?;
        let status = answer.status();
        let body = outbound::read(answer, LIMIT).await;
        let body = body.map_err(|error| DaemonError::Answer {
            from: "the API",
            source: error.into(),
        })?;
        Ok((status, String::from_utf8_lossy(&body).into_owned()))
    }
}

/// What Entra's number means, and what to do.
fn explained(aadsts: &Option<u32>) -> String {
    let Some(number) = aadsts else {
        return String::new();
    };
    let (meaning, mend) = codes::explain(*number);
    format!(" ({meaning}): {mend}")
}
