//! A client that has Graph's application permissions gets tokens for itself.

use std::sync::Arc;

use async_trait::async_trait;
use local_authority::Clock;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::endpoint::{Tokens, post};
use super::{MARGIN, NoToken};
use crate::tenant::cloud::Place;
use crate::tenant::graph::{SignInError, TokenSource};

/// Tokens without a user (RFC 6749 section 4.4).
pub struct ClientCredential {
    place: Place,
    tenant: String,
    client_id: String,
    secret: SecretString,
    http: Client,
    clock: Arc<dyn Clock>,
    /// The last token and its end.
    held: Mutex<Option<(SecretString, u64)>>,
}

impl ClientCredential {
    /// The client with this id and secret in the tenant. `http` must not follow redirects.
    pub fn new(
        place: Place,
        tenant: impl Into<String>,
        (client_id, secret): (String, SecretString),
        http: Client,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self {
            place,
            tenant: tenant.into(),
            client_id,
            secret,
            http,
            clock,
            held: Mutex::default(),
        }
    }
}

impl ClientCredential {
    async fn obtain(&self, refused: Option<&SecretString>) -> Result<SecretString, NoToken> {
        let mut held = self.held.lock().await;
        let now = self.clock.now();
        if let Some((token, ends)) = &*held
            && *ends > now.saturating_add(MARGIN)
            && refused.is_none_or(|refused| refused.expose_secret() != token.expose_secret())
        {
            return Ok(token.clone());
        }
        *held = None;
        let scope = format!("{}/.default", self.place.graph_resource);
        let form = [
            ("grant_type", "client_credentials"),
            ("client_id", &self.client_id),
            ("client_secret", self.secret.expose_secret()),
            ("scope", &scope),
        ];
        let url = self.place.endpoint(&self.tenant, "token");
        let tokens: Tokens = match post(&self.http, url, &form).await? {
            Ok(tokens) => tokens,
            Err(refusal) => return Err(refusal.into_error()),
        };
        let ends = tokens.ends(now);
        *held = Some((tokens.access_token.clone(), ends));
        Ok(tokens.access_token)
    }
}

#[async_trait]
impl TokenSource for ClientCredential {
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        Ok(self.obtain(refused).await?)
    }
}

#[cfg(test)]
mod tests {
    use local_authority::ManualClock;
    use serde_json::json;
    use wiremock::matchers::{body_string_contains, method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::tenant::cloud::Cloud;

    async fn stage() -> (MockServer, ClientCredential, ManualClock) {
        let server = MockServer::start().await;
        let clock = ManualClock::at(1_000_000);
        let url = server.uri().parse().unwrap();
        let source = ClientCredential::new(
            Place::new(Cloud::Global, Some(&url), None).unwrap(),
            "tenant",
            ("client".into(), "s3cret".into()),
            Client::builder().no_proxy().build().unwrap(),
            Arc::new(clock.clone()),
        );
        (server, source, clock)
    }

    async fn answers(server: &MockServer, token: &str, expires_in: u64) {
        let body =
            json!({ "access_token": token, "token_type": "Bearer", "expires_in": expires_in });
        Mock::given(method("POST"))
            .and(path("/tenant/oauth2/v2.0/token"))
            .and(body_string_contains("grant_type=client_credentials"))
            .and(body_string_contains(
                "scope=https%3A%2F%2Fgraph.microsoft.com%2F.default",
            ))
            .and(body_string_contains("client_secret=s3cret"))
            .respond_with(ResponseTemplate::new(200).set_body_json(body))
            .up_to_n_times(1)
            .expect(1)
            .mount(server)
            .await;
    }

    #[tokio::test]
    async fn a_token_serves_until_it_is_refused_or_about_to_end() {
        let (server, source, clock) = stage().await;
        answers(&server, "one", 3600).await;
        let one = source.obtain(None).await.unwrap();
        clock.advance(3539);
        // Another one that was refused says nothing of this one.
        let other = "another".into();
        let same = source.obtain(Some(&other)).await.unwrap();
        assert_eq!((one.expose_secret(), same.expose_secret()), ("one", "one"));
        answers(&server, "two", 3600).await;
        let two = source.obtain(Some(&one)).await.unwrap();
        assert_eq!(two.expose_secret(), "two");
        answers(&server, "three", 3600).await;
        clock.advance(3540);
        assert_eq!(source.obtain(None).await.unwrap().expose_secret(), "three");
    }

    #[tokio::test]
    async fn a_wrong_secret_is_told_without_it() {
        let (server, source, _) = stage().await;
        let body = json!({ "error": "invalid_client", "error_description": "AADSTS7000215: s3cret", "error_codes": [7_000_215] });
        Mock::given(method("POST"))
            .respond_with(ResponseTemplate::new(401).set_body_json(body))
            .mount(&server)
            .await;
        let said = source.obtain(None).await.unwrap_err().to_string();
        assert!(said.contains("GRAPH_CLIENT_SECRET is wrong"), "{said}");
        assert!(!said.contains("s3cret"), "{said}");
    }
}
