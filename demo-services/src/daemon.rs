//! A client without a user: gets an app-only token and calls an API once.

use http::{StatusCode, header::ACCEPT};
use local_authority::{Clock as _, SystemClock};
use reqwest::{Client, redirect};
use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use tower_bearer::{BoxError, Credential};
use url::Url;

use crate::trust::Trust;

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
    #[error("the authority refuses a token: {status} {error}")]
    Refused {
        /// Its status.
        status: StatusCode,
        /// Its error code.
        error: String,
    },
    /// One of the two cannot be reached, or answers nonsense.
    #[error("no usable answer")]
    Transport(#[from] reqwest::Error),
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
}

impl DaemonCall {
    /// Asks for a token (client credentials, RFC 6749 4.4), calls the API, and returns its status and body.
    ///
    /// # Errors
    ///
    /// The authority refuses, or one of the two does not answer.
    pub async fn send(&self) -> Result<(StatusCode, String), DaemonError> {
        // A redirect could carry the secret or the token elsewhere.
        let client = self
            .trust
            .http(Client::builder())
            .redirect(redirect::Policy::none())
            .build()?;
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
        let answer = client.post(endpoint).form(&form).send().await?;
        let status = answer.status();
        if !status.is_success() {
            let TokenError { error } = answer.json().await?;
            return Err(DaemonError::Refused { status, error });
        }
        let TokenResponse { access_token } = answer.json().await?;
        let answer = client
            .get(self.url.clone())
            .bearer_auth(access_token.expose_secret())
            .header(ACCEPT, "application/json")
            .send()
            .await?;
        Ok((answer.status(), answer.text().await?))
    }
}
