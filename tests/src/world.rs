//! All four services in this process on free ports, wired as the demo wires them.

use demo_services::{
    demo::{self, DemoOptions, Https, Running},
    trust::Trust,
};
use local_authority::{Clock as _, Endpoint, LocalCa, SystemClock, TokenSpec};
use reqwest::{Client, Response};
use url::Url;

/// The running services and a plain HTTP client to call the APIs with.
#[derive(Debug)]
pub struct World {
    /// The services.
    pub demo: Running,
    /// Whose certificates clients take: those of the services' CA over https.
    pub trust: Trust,
    http: Client,
}

impl World {
    /// The demo's own directory and policies.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// The same with changes, to the directory for instance.
    ///
    /// # Panics
    ///
    /// A service does not start.
    pub async fn start_with(change: impl FnOnce(&mut DemoOptions)) -> Self {
        let mut options = DemoOptions::on_free_ports();
        change(&mut options);
        let trust = options
            .https
            .as_ref()
            .map(|https| Trust::pem(https.ca.pem()));
        let trust = trust.transpose().expect("a CA").unwrap_or_default();
        let demo = demo::start(options).await.expect("the services start");
        let http = trust.http(Client::builder()).no_proxy().build();
        Self {
            demo,
            trust,
            http: http.expect("an HTTP client"),
        }
    }

    /// Stops everything; requests still in flight would show here.
    pub async fn stop(self) {
        self.demo.stop().await;
    }

    /// An access token made to measure by the authority.
    #[must_use]
    pub fn token(&self, spec: TokenSpec) -> String {
        self.demo.authority().issue(spec)
    }

    /// The client, for requests of another shape.
    #[must_use]
    pub fn http(&self) -> &Client {
        &self.http
    }

    /// Calls an API with a token, or without one.
    ///
    /// # Panics
    ///
    /// No answer.
    pub async fn get(&self, base: &Url, path: &str, token: Option<&str>) -> Response {
        let mut request = self.http.get(base.join(path).expect("a path"));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        request.send().await.expect("an answer")
    }

    /// Requests to an endpoint of the authority so far.
    #[must_use]
    pub fn asked(&self, endpoint: Endpoint) -> u64 {
        let counters = serde_json::to_value(self.demo.authority().counters()).expect("JSON");
        let name = format!("{endpoint:?}").to_ascii_lowercase();
        counters[&name]
            .as_u64()
            .unwrap_or_else(|| panic!("{name} in {counters}"))
    }
}

/// A new CA for the demo's options, and its certificate as PEM.
///
/// # Panics
///
/// No key can be made.
#[must_use]
pub fn https() -> (Https, String) {
    let ca = LocalCa::in_memory(SystemClock.now()).expect("a CA");
    let pem = ca.pem().to_owned();
    (Https { ca, file: None }, pem)
}
