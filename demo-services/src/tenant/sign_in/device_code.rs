//! A person signs in at a page of the authority, on any device, with a code that is shown here (RFC 8628).

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use local_authority::Clock;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use tokio::sync::Mutex;

use super::endpoint::{Tokens, post};
use super::{MARGIN, NoToken};
use crate::tenant::cloud::{PUBLIC_CLIENT, Place};
use crate::tenant::graph::{Pause, SignInError, TokenSource};
use crate::tenant::plan::PERMISSIONS;

/// Seconds between two questions when the authority names none (RFC 8628 section 3.2), and how many more after `slow_down` (3.5).
const INTERVAL: u64 = 5;
/// No authority makes us ask more often, or wait longer.
const INTERVALS: std::ops::RangeInclusive<u64> = 1..=60;
/// A code that is said to last longer is given up after so many seconds.
const MAX_WAIT: u64 = 3600;
/// So many questions in a row without an answer, and it is given up.
const MAX_OUTAGES: u32 = 5;
/// Longest message that is shown.
const MAX_MESSAGE: usize = 600;

/// Shows a text to the person at the terminal.
pub type Tell = Arc<dyn Fn(&str) + Send + Sync>;

/// Tokens of a person, renewed by a refresh token that is in memory only.
pub struct DeviceCode {
    place: Place,
    tenant: String,
    http: Client,
    clock: Arc<dyn Clock>,
    pause: Arc<dyn Pause>,
    tell: Tell,
    held: Mutex<Option<Held>>,
}

struct Held {
    access: SecretString,
    ends: u64,
    refresh: Option<SecretString>,
}

/// RFC 8628 section 3.2, with Entra's `message`.
#[derive(Deserialize)]
struct Started {
    device_code: SecretString,
    user_code: String,
    verification_uri: String,
    expires_in: u64,
    #[serde(default)]
    interval: Option<u64>,
    #[serde(default)]
    message: Option<String>,
}

impl DeviceCode {
    /// A sign-in to the tenant; `tell` gets the text with the page's address and the code. `http` must not follow redirects.
    pub fn new(
        place: Place,
        tenant: impl Into<String>,
        http: Client,
        clock: Arc<dyn Clock>,
        pause: Arc<dyn Pause>,
        tell: Tell,
    ) -> Self {
        Self {
            place,
            tenant: tenant.into(),
            http,
            clock,
            pause,
            tell,
            held: Mutex::default(),
        }
    }

    fn scope(&self) -> String {
        let resource = &self.place.graph_resource;
        let mut scope: String = PERMISSIONS
            .iter()
            .map(|name| format!("{resource}/{name} "))
            .collect();
        scope.push_str("openid offline_access");
        scope
    }

    async fn sign_in(&self) -> Result<Held, NoToken> {
        let scope = self.scope();
        let form = [("client_id", PUBLIC_CLIENT), ("scope", &scope)];
        let url = self.place.endpoint(&self.tenant, "devicecode");
        let started: Started = match post(&self.http, url, &form).await? {
            Ok(started) => started,
            Err(refusal) => return Err(refusal.into_error()),
        };
        (self.tell)(&started.text());

        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:device_code"),
            ("client_id", PUBLIC_CLIENT),
            ("device_code", started.device_code.expose_secret()),
        ];
        let clamped = |seconds: u64| seconds.clamp(*INTERVALS.start(), *INTERVALS.end());
        let mut interval = clamped(started.interval.unwrap_or(INTERVAL));
        let mut outages = 0;
        let mut waited: u64 = 0;
        loop {
            waited = waited.saturating_add(interval);
            if waited > started.expires_in.min(MAX_WAIT) {
                return Err(NoToken::CodeEnded);
            }
            self.pause.pause(Duration::from_secs(interval)).await;
            let url = self.place.endpoint(&self.tenant, "token");
            let answer = match post::<Tokens>(&self.http, url, &form).await {
                Ok(answer) => answer,
                // The person may be at the page just now; RFC 8628 section 3.5 has the client ask less often.
                Err(error) if outages == MAX_OUTAGES => return Err(error),
                Err(_) => {
                    outages += 1;
                    interval = clamped(interval.saturating_mul(2));
                    continue;
                }
            };
            outages = 0;
            let refusal = match answer {
                Ok(tokens) => return Ok(Held::of(tokens, self.clock.now(), None)),
                Err(refusal) => refusal,
            };
            match refusal.error.as_str() {
                "authorization_pending" => {}
                "slow_down" => interval = clamped(interval.saturating_add(INTERVAL)),
                // Entra's name, and the RFC's.
                "authorization_declined" | "access_denied" => return Err(NoToken::Declined),
                "expired_token" | "code_expired" => return Err(NoToken::CodeEnded),
                _ => return Err(refusal.into_error()),
            }
        }
    }

    /// New tokens for the refresh token; `None` where the person must sign in again.
    async fn refresh(&self, refresh: &SecretString) -> Result<Option<Held>, NoToken> {
        let scope = self.scope();
        let form = [
            ("grant_type", "refresh_token"),
            ("client_id", PUBLIC_CLIENT),
            ("refresh_token", refresh.expose_secret()),
            ("scope", &scope),
        ];
        let url = self.place.endpoint(&self.tenant, "token");
        Ok(match post::<Tokens>(&self.http, url, &form).await? {
            Ok(tokens) => Some(Held::of(tokens, self.clock.now(), Some(refresh))),
            Err(_) => None,
        })
    }
}

impl DeviceCode {
    async fn obtain(&self, refused: Option<&SecretString>) -> Result<SecretString, NoToken> {
        // Held for as long as the sign-in takes: nobody is asked twice.
        let mut place = self.held.lock().await;
        let soon = self.clock.now().saturating_add(MARGIN);
        let held = place.take();
        let refresh = match held {
            Some(held) if held.ends > soon && !held.is(refused) => {
                return Ok(place.insert(held).access.clone());
            }
            Some(held) => held.refresh,
            None => None,
        };
        let renewed = match &refresh {
            Some(refresh) => self.refresh(refresh).await?,
            None => None,
        };
        let held = match renewed {
            Some(renewed) => renewed,
            None => self.sign_in().await?,
        };
        Ok(place.insert(held).access.clone())
    }
}

#[async_trait]
impl TokenSource for DeviceCode {
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        Ok(self.obtain(refused).await?)
    }
}

impl Held {
    fn of(tokens: Tokens, now: u64, before: Option<&SecretString>) -> Self {
        Self {
            ends: tokens.ends(now),
            access: tokens.access_token,
            refresh: tokens.refresh_token.or_else(|| before.cloned()),
        }
    }

    fn is(&self, refused: Option<&SecretString>) -> bool {
        refused.is_some_and(|refused| refused.expose_secret() == self.access.expose_secret())
    }
}

impl Started {
    /// The authority's own words, or ours; nothing in them that a terminal would obey.
    fn text(&self) -> String {
        let text = match &self.message {
            Some(message) if !message.is_empty() => message.clone(),
            _ => format!(
                "To sign in, open {} in a browser and enter the code {}",
                self.verification_uri, self.user_code
            ),
        };
        let letters = text.chars().filter(|letter| !letter.is_control());
        letters.take(MAX_MESSAGE).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex as Locked;

    use local_authority::ManualClock;
    use serde_json::{Value, json};
    use wiremock::matchers::{body_string_contains, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    use super::*;
    use crate::tenant::cloud::Cloud;

    /// Remembers how long somebody wanted to wait, and does not.
    #[derive(Default)]
    struct NoPause(Locked<Vec<u64>>);

    #[async_trait]
    impl Pause for NoPause {
        async fn pause(&self, time: Duration) {
            self.0.lock().unwrap().push(time.as_secs());
        }
    }

    struct Stage {
        server: MockServer,
        source: DeviceCode,
        clock: ManualClock,
        pauses: Arc<NoPause>,
        told: Arc<Locked<Vec<String>>>,
    }

    impl Stage {
        async fn new() -> Self {
            let server = MockServer::start().await;
            let url = server.uri().parse().unwrap();
            let (clock, pauses) = (ManualClock::at(1_000_000), Arc::new(NoPause::default()));
            let told = Arc::new(Locked::new(Vec::new()));
            let telling = Arc::clone(&told);
            let source = DeviceCode::new(
                Place::new(Cloud::Global, Some(&url), None).unwrap(),
                "tenant",
                Client::builder().no_proxy().build().unwrap(),
                Arc::new(clock.clone()),
                pauses.clone(),
                Arc::new(move |text| telling.lock().unwrap().push(text.to_owned())),
            );
            Self {
                server,
                source,
                clock,
                pauses,
                told,
            }
        }

        /// One answer; those of several calls come one after the other.
        async fn answers(&self, endpoint: &str, grant: &str, status: u16, body: Value) {
            Mock::given(path(format!("/tenant/oauth2/v2.0/{endpoint}")))
                .and(body_string_contains(format!("client_id={PUBLIC_CLIENT}")))
                .and(body_string_contains(grant))
                .respond_with(ResponseTemplate::new(status).set_body_json(body))
                .up_to_n_times(1)
                .expect(1)
                .mount(&self.server)
                .await;
        }

        async fn starts(&self, more: Value) {
            let mut body = json!({
                "device_code": "d3vice", "user_code": "ABCD", "verification_uri": "http://localhost/page",
                "expires_in": 900, "interval": 5, "message": "Open the page and enter ABCD",
            });
            for (name, value) in more.as_object().unwrap() {
                body[name] = value.clone();
            }
            let wanted = "scope=https%3A%2F%2Fgraph.microsoft.com%2FApplication.ReadWrite.All";
            self.answers("devicecode", wanted, 200, body).await;
        }

        async fn polled(&self, status: u16, body: Value) {
            self.answers("token", "device_code=d3vice", status, body)
                .await;
        }

        async fn refuses(&self, error: &str) {
            self.polled(400, json!({ "error": error })).await;
        }

        async fn grants(&self, token: &str) {
            let body =
                json!({ "access_token": token, "refresh_token": "r3fresh", "expires_in": 3600 });
            self.polled(200, body).await;
        }

        async fn token(&self, refused: Option<&str>) -> Result<String, NoToken> {
            let refused = refused.map(SecretString::from);
            let token = self.source.obtain(refused.as_ref()).await?;
            Ok(token.expose_secret().to_owned())
        }

        fn waits(&self) -> Vec<u64> {
            self.pauses.0.lock().unwrap().clone()
        }

        fn told(&self) -> Vec<String> {
            self.told.lock().unwrap().clone()
        }
    }

    #[tokio::test]
    async fn the_person_is_told_once_and_waited_for() {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.refuses("authorization_pending").await;
        stage.refuses("slow_down").await;
        stage.refuses("authorization_pending").await;
        stage.grants("one").await;
        assert_eq!(stage.token(None).await.unwrap(), "one");
        assert_eq!(stage.told(), ["Open the page and enter ABCD"]);
        assert_eq!(stage.waits(), [5, 5, 10, 10]);
        assert_eq!(stage.token(None).await.unwrap(), "one");
        assert_eq!(stage.waits().len(), 4);
    }

    #[tokio::test]
    async fn an_authority_without_interval_and_message_has_ours() {
        let stage = Stage::new().await;
        stage
            .starts(json!({ "interval": null, "message": null }))
            .await;
        stage.grants("one").await;
        stage.token(None).await.unwrap();
        assert_eq!(stage.waits(), [5]);
        assert_eq!(
            stage.told(),
            ["To sign in, open http://localhost/page in a browser and enter the code ABCD"]
        );
    }

    #[tokio::test]
    async fn a_message_cannot_steer_the_terminal() {
        let stage = Stage::new().await;
        stage
            .starts(json!({ "message": "\u{1b}[31mred\r\n" }))
            .await;
        stage.grants("one").await;
        stage.token(None).await.unwrap();
        assert_eq!(stage.told(), ["[31mred"]);
    }

    #[tokio::test]
    async fn each_final_answer_is_told_in_words() {
        for (error, said) in [
            ("authorization_declined", "declined"),
            ("access_denied", "declined"),
            ("expired_token", "before the code ended"),
            ("bad_verification_code", "bad_verification_code"),
        ] {
            let stage = Stage::new().await;
            stage.starts(json!({})).await;
            stage.refuses(error).await;
            let text = stage.token(None).await.unwrap_err().to_string();
            assert!(text.contains(said), "{text}");
            assert!(!text.contains("d3vice"), "{text}");
        }
    }

    #[tokio::test]
    async fn a_code_is_not_waited_for_beyond_its_end() {
        let stage = Stage::new().await;
        stage.starts(json!({ "expires_in": 10 })).await;
        stage.refuses("authorization_pending").await;
        stage.refuses("authorization_pending").await;
        let error = stage.token(None).await.unwrap_err();
        assert!(matches!(error, NoToken::CodeEnded), "{error}");
        assert_eq!(stage.waits(), [5, 5]);
    }

    #[tokio::test]
    async fn an_outage_while_waiting_is_sat_out_for_a_while() {
        let stage = Stage::new().await;
        stage.starts(json!({ "interval": 0 })).await;
        stage.polled(503, json!("busy")).await;
        stage.polled(502, json!("busy")).await;
        stage.grants("one").await;
        assert_eq!(stage.token(None).await.unwrap(), "one");
        assert_eq!(stage.waits(), [1, 2, 4]);

        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        for _ in 0..6 {
            stage.polled(503, json!("busy")).await;
        }
        let error = stage.token(None).await.unwrap_err();
        assert!(
            error.to_string().contains("busy or out of order"),
            "{error}"
        );
    }

    #[tokio::test]
    async fn the_start_may_be_refused() {
        let stage = Stage::new().await;
        let body = json!({ "error": "invalid_request", "error_codes": [90_002] });
        stage.answers("devicecode", "scope", 400, body).await;
        let text = stage.token(None).await.unwrap_err().to_string();
        assert!(text.contains("no such tenant"), "{text}");
        assert!(stage.told().is_empty());
    }

    #[tokio::test]
    async fn a_refused_or_ended_token_is_renewed_without_the_person() {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.grants("one").await;
        stage.token(None).await.unwrap();
        let renewed = |token: &str| json!({ "access_token": token, "expires_in": 3600 });
        let grant = "grant_type=refresh_token&client_id=14d82eec";
        stage.answers("token", grant, 200, renewed("two")).await;
        assert_eq!(stage.token(Some("one")).await.unwrap(), "two");
        // One that was replaced already says nothing.
        assert_eq!(stage.token(Some("one")).await.unwrap(), "two");
        stage.clock.advance(3540);
        // No new refresh token came, so the old one still serves.
        stage
            .answers("token", "refresh_token=r3fresh", 200, renewed("three"))
            .await;
        assert_eq!(stage.token(None).await.unwrap(), "three");
        assert_eq!(stage.told().len(), 1);
    }

    #[tokio::test]
    async fn a_refresh_token_that_is_refused_brings_the_page_again() {
        let stage = Stage::new().await;
        stage.starts(json!({})).await;
        stage.grants("one").await;
        stage.token(None).await.unwrap();
        let gone = json!({ "error": "invalid_grant" });
        stage
            .answers("token", "grant_type=refresh_token", 400, gone)
            .await;
        stage.starts(json!({})).await;
        stage.grants("two").await;
        assert_eq!(stage.token(Some("one")).await.unwrap(), "two");
        assert_eq!(stage.told().len(), 2);
    }
}
