//! A door in front of an authority: it lets every request through and keeps what was written.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::Response;
use demo_services::outbound;
use demo_services::trust::Trust;
use serde_json::Value;
use tokio::net::TcpListener;
use url::Url;

/// Largest body that goes through.
const LARGEST: usize = 1 << 20;

/// A request that was sent with a body.
#[derive(Clone, Debug, PartialEq)]
pub struct Written {
    /// `POST`, `PATCH`.
    pub method: String,
    /// Below `/v1.0/`.
    pub path: String,
    /// JSON.
    pub body: Value,
    /// What came back.
    pub status: u16,
}

/// Stands open as long as the test runs.
pub struct Door {
    url: Url,
    written: Arc<Mutex<Vec<Written>>>,
}

#[derive(Clone)]
struct Keeper {
    to: String,
    http: reqwest::Client,
    written: Arc<Mutex<Vec<Written>>>,
}

impl Door {
    /// A door on a free port that leads to `to`.
    pub async fn before(to: &Url) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let written = Arc::default();
        let keeper = Keeper {
            to: to.as_str().trim_end_matches('/').to_owned(),
            http: outbound::client(&[to], Duration::from_secs(60), &Trust::default()).unwrap(),
            written: Arc::clone(&written),
        };
        let router = Router::new().fallback(pass).with_state(keeper);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            url: url.parse().unwrap(),
            written,
        }
    }

    /// Its own address.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// What was sent with a body since the last time, in its order.
    #[must_use]
    pub fn written(&self) -> Vec<Written> {
        std::mem::take(&mut *self.written.lock().unwrap())
    }
}

async fn pass(State(keeper): State<Keeper>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, LARGEST).await.unwrap();
    let query = parts.uri.path_and_query().unwrap().as_str();
    let mut headers = parts.headers;
    headers.remove("host");
    let answer = keeper
        .http
        .request(parts.method.clone(), format!("{}{query}", keeper.to))
        .headers(headers)
        .body(body.clone())
        .send()
        .await
        .unwrap();
    let status = answer.status().as_u16();
    if !body.is_empty() {
        keeper.written.lock().unwrap().push(Written {
            method: parts.method.to_string(),
            path: parts.uri.path().trim_start_matches("/v1.0/").to_owned(),
            body: serde_json::from_slice(&body).unwrap(),
            status,
        });
    }
    let mut response = Response::builder().status(status);
    for (name, value) in answer.headers() {
        if name != "content-length" && name != "transfer-encoding" {
            response = response.header(name, value);
        }
    }
    let body = answer.bytes().await.unwrap();
    response.body(Body::from(body)).unwrap()
}
