//! For tests of the ways in which a person signs in: an authority that answers as it is told, and pauses that take no time.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use local_authority::ManualClock;
use reqwest::Client;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use tokio::sync::watch;
use wiremock::matchers::{body_string_contains, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use super::NoToken;
use super::person::{PersonTokens, PublicClient};
use crate::tenant::cloud::{Cloud, PUBLIC_CLIENT, Place};
use crate::tenant::graph::Pause;

/// Remembers how long somebody wanted to wait, and has the clock go on instead.
struct NoPause {
    waits: Mutex<Vec<u64>>,
    clock: ManualClock,
    /// Seconds that the answer after a pause takes.
    slow: Mutex<u64>,
}

#[async_trait]
impl Pause for NoPause {
    async fn pause(&self, time: Duration) {
        self.waits.lock().unwrap().push(time.as_secs());
        let slow = *self.slow.lock().unwrap();
        self.clock.advance(time.as_secs() + slow);
    }
}

pub(super) struct Stage {
    pub(super) server: MockServer,
    pub(super) clock: ManualClock,
    pauses: Arc<NoPause>,
    told: watch::Sender<Vec<String>>,
}

impl Stage {
    pub(super) async fn new() -> Self {
        let clock = ManualClock::at(1_000_000);
        let pauses = NoPause {
            waits: Mutex::default(),
            clock: clock.clone(),
            slow: Mutex::default(),
        };
        Self {
            server: MockServer::start().await,
            clock,
            pauses: Arc::new(pauses),
            told: watch::Sender::default(),
        }
    }

    pub(super) fn client(&self) -> PublicClient {
        let url = self.server.uri().parse().unwrap();
        let told = self.told.clone();
        PublicClient {
            place: Place::new(Cloud::Global, Some(&url), None).unwrap(),
            tenant: "tenant".into(),
            client_id: PUBLIC_CLIENT.into(),
            permissions: vec!["Application.ReadWrite.All", "User.Read.All"],
            http: Client::builder().no_proxy().build().unwrap(),
            clock: Arc::new(self.clock.clone()),
            pause: self.pauses.clone(),
            tell: Arc::new(move |text| told.send_modify(|told| told.push(text.to_owned()))),
        }
    }

    pub(super) fn by_device_code(&self) -> PersonTokens {
        PersonTokens::by_device_code(self.client())
    }

    /// One answer; those of several calls come one after the other.
    pub(super) async fn answers(&self, endpoint: &str, wanted: &str, status: u16, body: Value) {
        Mock::given(path(format!("/tenant/oauth2/v2.0/{endpoint}")))
            .and(body_string_contains(format!("client_id={PUBLIC_CLIENT}")))
            .and(body_string_contains(wanted))
            .respond_with(ResponseTemplate::new(status).set_body_json(body))
            .up_to_n_times(1)
            .expect(1)
            .mount(&self.server)
            .await;
    }

    /// Codes for a device.
    pub(super) async fn starts(&self, more: Value) {
        let mut body = json!({
            "device_code": "d3vice", "user_code": "ABCD", "verification_uri": "http://localhost/page",
            "expires_in": 900, "interval": 5, "message": "Open the page and enter ABCD",
        });
        for (name, value) in more.as_object().unwrap() {
            body[name] = value.clone();
        }
        let wanted = "scope=https%3A%2F%2Fgraph.microsoft.com%2FApplication.ReadWrite.All+\
                      https%3A%2F%2Fgraph.microsoft.com%2FUser.Read.All+openid+offline_access";
        self.answers("devicecode", wanted, 200, body).await;
    }

    pub(super) async fn polled(&self, status: u16, body: Value) {
        self.answers("token", "device_code=d3vice", status, body)
            .await;
    }

    pub(super) async fn refuses(&self, error: &str) {
        self.polled(400, json!({ "error": error })).await;
    }

    pub(super) async fn grants(&self, token: &str) {
        let body = json!({ "access_token": token, "refresh_token": "r3fresh", "expires_in": 3600 });
        self.polled(200, body).await;
    }

    pub(super) fn waits(&self) -> Vec<u64> {
        self.pauses.waits.lock().unwrap().clone()
    }

    /// Each answer after a pause takes so many seconds.
    pub(super) fn is_slow(&self, seconds: u64) {
        *self.pauses.slow.lock().unwrap() = seconds;
    }

    pub(super) fn told(&self) -> Vec<String> {
        self.told.borrow().clone()
    }

    /// What is told first, as soon as it is.
    pub(super) async fn first_told(&self) -> String {
        let mut told = self.told.subscribe();
        let told = told.wait_for(|told| !told.is_empty()).await.unwrap();
        told[0].clone()
    }
}

pub(super) async fn token(source: &PersonTokens, refused: Option<&str>) -> Result<String, NoToken> {
    let refused = refused.map(SecretString::from);
    let token = source.obtain(refused.as_ref()).await?;
    Ok(token.expose_secret().to_owned())
}
