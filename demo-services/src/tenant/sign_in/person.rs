//! A person signs in with a public client: what the two pages for that have in common, and the tokens that come of it.

use std::sync::Arc;

use async_trait::async_trait;
use local_authority::Clock;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Mutex;

use super::endpoint::{Refusal, Tokens, post};
use super::{MARGIN, NoToken, browser, device_code};
use crate::tenant::cloud::Place;
use crate::tenant::graph::{Pause, SignInError, TokenSource, backoff};

/// How often the token endpoint is asked at most while it gives no proper answer.
const ATTEMPTS: u32 = 6;

/// Shows a text to the person at the terminal.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// The public client that a person signs in with, and what for.
pub struct PublicClient {
    /// Where.
    pub place: Place,
    /// Directory (tenant) id.
    pub tenant: String,
    /// Application (client) id.
    pub client_id: String,
    /// Delegated permissions of Graph, by their names.
    pub permissions: Vec<&'static str>,
    /// Must not follow redirects.
    pub http: Client,
    /// By which tokens end.
    pub clock: Arc<dyn Clock>,
    /// Waits between two questions.
    pub pause: Arc<dyn Pause>,
    /// Shows where to sign in.
    pub tell: Tell,
}

/// Tokens of a person, renewed by a refresh token that is in memory only.
pub struct PersonTokens {
    client: PublicClient,
    page: Page,
    held: Mutex<Option<Held>>,
}

/// How the person gets to the authority's page.
#[derive(Clone, Copy)]
enum Page {
    Browser,
    DeviceCode,
}

struct Held {
    access: SecretString,
    ends: u64,
    refresh: Option<SecretString>,
}

impl PublicClient {
    pub(super) fn scope(&self) -> String {
        let resource = &self.place.graph_resource;
        let mut scope: String = self
            .permissions
            .iter()
            .map(|name| format!("{resource}/{name} "))
            .collect();
        scope.push_str("openid offline_access");
        scope
    }

    /// Sends a form to the token endpoint, and again while there is no proper answer. The inner error is the authority's refusal.
    pub(super) async fn ask(
        &self,
        form: &[(&str, &str)],
    ) -> Result<Result<Tokens, Refusal>, NoToken> {
        let url = self.place.endpoint(&self.tenant, "token");
        let mut attempt = 1;
        loop {
            let error = match post(&self.http, url.clone(), form).await {
                Err(error) if error.is_passing() && attempt < ATTEMPTS => error,
                answer => return answer,
            };
            let pause = backoff(attempt);
            (self.tell)(&format!("{error}; again in {} s", pause.as_secs()));
            self.pause.pause(pause).await;
            attempt += 1;
        }
    }

    /// New tokens for the refresh token; `None` where the person must sign in again.
    async fn renew(&self, refresh: &SecretString) -> Result<Option<Tokens>, NoToken> {
        let scope = self.scope();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", &self.client_id),
            ("refresh_token", refresh.expose_secret()),
            ("scope", &scope),
        ];
        match self.ask(&form).await? {
            Ok(tokens) => Ok(Some(tokens)),
            Err(refusal) if refusal.wants_the_person() => Ok(None),
            Err(refusal) => Err(refusal.into_error()),
        }
    }
}

impl PersonTokens {
    /// Signs in with a browser on this machine (authorization code with PKCE, RFC 8252).
    #[must_use]
    pub fn by_browser(client: PublicClient) -> Self {
        Self::by(Page::Browser, client)
    }

    /// Signs in with a browser on any device, and a code that is typed in there (RFC 8628).
    #[must_use]
    pub fn by_device_code(client: PublicClient) -> Self {
        Self::by(Page::DeviceCode, client)
    }

    fn by(page: Page, client: PublicClient) -> Self {
        Self {
            client,
            page,
            held: Mutex::default(),
        }
    }

    pub(super) async fn obtain(
        &self,
        refused: Option<&SecretString>,
    ) -> Result<SecretString, NoToken> {
        // Locked for as long as the sign-in takes: nobody is asked twice.
        let mut held = self.held.lock().await;
        let soon = self.client.clock.now().saturating_add(MARGIN);
        let mut refresh = None;
        if let Some(held) = &*held {
            if held.ends > soon && !held.is(refused) {
                return Ok(held.access.clone());
            }
            refresh = held.refresh.clone();
        }
        let renewed = match &refresh {
            Some(refresh) => self.client.renew(refresh).await?,
            None => None,
        };
        let tokens = match renewed {
            Some(renewed) => renewed,
            None => {
                refresh = None;
                match self.page {
                    Page::Browser => browser::sign_in(&self.client).await?,
                    Page::DeviceCode => device_code::sign_in(&self.client).await?,
                }
            }
        };
        // Only now: whatever failed before, the refresh token is still there for the next call.
        let now = self.client.clock.now();
        Ok(held.insert(Held::of(tokens, now, refresh)).access.clone())
    }
}

#[async_trait]
impl TokenSource for PersonTokens {
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        Ok(self.obtain(refused).await?)
    }
}

impl Held {
    fn of(tokens: Tokens, now: u64, before: Option<SecretString>) -> Self {
        Self {
            ends: tokens.ends(now),
            access: tokens.access_token,
            refresh: tokens.refresh_token.or(before),
        }
    }

    fn is(&self, refused: Option<&SecretString>) -> bool {
        refused.is_some_and(|refused| refused.expose_secret() == self.access.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::stage::{Stage, token};
    use super::*;

    const GRANT: &str = "grant_type=refresh_token&client_id=14d82eec";

    /// Somebody has signed in, and holds the token "one".
    async fn signed_in() -> (Stage, PersonTokens) {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.grants("one").await;
        let source = stage.by_device_code();
        assert_eq!(token(&source, None).await.unwrap(), "one");
        (stage, source)
    }

    fn renewed(token: &str) -> Value {
        json!({ "access_token": token, "expires_in": 3600 })
    }

    #[tokio::test]
    async fn a_refused_or_ended_token_is_renewed_without_the_person() {
        let (stage, source) = signed_in().await;
        stage.answers("token", GRANT, 200, renewed("two")).await;
        assert_eq!(token(&source, Some("one")).await.unwrap(), "two");
        // One that was replaced already says nothing.
        assert_eq!(token(&source, Some("one")).await.unwrap(), "two");
        stage.clock.advance(3540);
        // No new refresh token came, so the old one still serves.
        stage
            .answers("token", "refresh_token=r3fresh", 200, renewed("three"))
            .await;
        assert_eq!(token(&source, None).await.unwrap(), "three");
        assert_eq!(stage.told().len(), 1);
    }

    #[tokio::test]
    async fn a_refresh_token_that_does_no_more_brings_the_page_again() {
        for error in ["invalid_grant", "interaction_required"] {
            let (stage, source) = signed_in().await;
            let gone = json!({ "error": error });
            stage.answers("token", GRANT, 400, gone).await;
            stage.starts(json!({})).await;
            stage.grants("two").await;
            assert_eq!(token(&source, Some("one")).await.unwrap(), "two");
            assert_eq!(stage.told().len(), 2);
        }
    }

    #[tokio::test]
    async fn an_outage_at_the_renewal_is_sat_out() {
        let (stage, source) = signed_in().await;
        for (status, error) in [(503, "busy"), (400, "temporarily_unavailable")] {
            let body = json!({ "error": error });
            stage.answers("token", GRANT, status, body).await;
        }
        stage.answers("token", GRANT, 200, renewed("two")).await;
        assert_eq!(token(&source, Some("one")).await.unwrap(), "two");
        assert_eq!(stage.waits(), [5, 2, 4]);
        let told = stage.told();
        assert_eq!(told.len(), 3);
        assert!(told[1].ends_with("again in 2 s"), "{}", told[1]);
    }

    #[tokio::test]
    async fn a_renewal_that_failed_is_made_up_for_without_the_person() {
        let (stage, source) = signed_in().await;
        for _ in 0..ATTEMPTS {
            stage.answers("token", GRANT, 503, json!("busy")).await;
        }
        let failed = token(&source, Some("one")).await;
        assert!(matches!(failed, Err(NoToken::Unreachable { .. })));
        // What no sign-in mends brings no page either, and takes nothing away.
        let refused = json!({ "error": "unauthorized_client", "error_codes": [700_016] });
        stage.answers("token", GRANT, 400, refused).await;
        let failed = token(&source, Some("one")).await.unwrap_err();
        assert!(failed.to_string().contains("AADSTS700016"), "{failed}");
        stage
            .answers("token", "refresh_token=r3fresh", 200, renewed("two"))
            .await;
        assert_eq!(token(&source, Some("one")).await.unwrap(), "two");
        let pages = stage
            .told()
            .iter()
            .filter(|told| told.contains("ABCD"))
            .count();
        assert_eq!(pages, 1);
    }

    #[tokio::test]
    async fn what_is_no_authority_is_not_asked_again() {
        let (stage, source) = signed_in().await;
        stage.answers("token", GRANT, 404, json!("a page")).await;
        let failed = token(&source, Some("one")).await;
        assert!(matches!(failed, Err(NoToken::Unexpected { .. })));
        assert_eq!(stage.waits(), [5]);
    }
}
