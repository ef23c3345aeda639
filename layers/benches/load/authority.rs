//! An authority of Entra's kind that counts how often its keys are fetched and tokens exchanged; and the next tier.

use std::convert::Infallible;
use std::net::TcpListener as StdListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::support::TENANT;
use super::support::key::Key;
use super::support::token::{KID, token};

/// Where the next tier answers, beside the authority.
pub(crate) const NEXT_TIER: &str = "/next";

pub(crate) struct Authority {
    pub(crate) instance: String,
    pub(crate) issuer: String,
    fetches: Arc<AtomicUsize>,
    exchanges: Arc<AtomicUsize>,
    key: Key,
    listener: StdListener,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let listener = StdListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let instance = format!("http://{}", listener.local_addr().unwrap());
        Self {
            issuer: format!("{instance}/{TENANT}/v2.0"),
            instance,
            fetches: Arc::default(),
            exchanges: Arc::default(),
            key: Key::generate("RS256"),
            listener,
        }
    }

    pub(crate) fn token(&self, number: usize) -> String {
        token(&self.key, &self.issuer, number)
    }

    /// Two keys, as Entra publishes several; one of them signs.
    pub(crate) fn keys(&self) -> Value {
        let other = self.key.jwk("the-key-of-next-month", &self.issuer);
        json!({"keys": [other, self.key.jwk(KID, &self.issuer)]})
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fetches.load(Ordering::Relaxed)
    }

    pub(crate) fn exchanges(&self) -> usize {
        self.exchanges.load(Ordering::Relaxed)
    }

    pub(crate) async fn serve(&self) {
        let listener = TcpListener::from_std(self.listener.try_clone().unwrap()).unwrap();
        let metadata =
            json!({"issuer": self.issuer, "jwks_uri": format!("{}/keys", self.instance)});
        let token = json!({"token_type": "Bearer", "access_token": "token", "expires_in": 3600});
        let documents = [metadata, self.keys(), token, json!({})];
        let [metadata, keys, token, next] =
            documents.map(|document| Bytes::from(document.to_string()));
        let (fetches, exchanges) = (Arc::clone(&self.fetches), Arc::clone(&self.exchanges));
        let answer = move |request: Request<Incoming>| {
            let document = match request.uri().path() {
                NEXT_TIER => next.clone(),
                "/keys" => {
                    fetches.fetch_add(1, Ordering::Relaxed);
                    keys.clone()
                }
                _ if request.method() == Method::POST => {
                    exchanges.fetch_add(1, Ordering::Relaxed);
                    token.clone()
                }
                _ => metadata.clone(),
            };
            async { Ok::<_, Infallible>(Response::new(Full::<Bytes>::from(document))) }
        };
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let service = service_fn(answer.clone());
                let connection =
                    http1::Builder::new().serve_connection(TokioIo::new(stream), service);
                tokio::spawn(connection);
            }
        });
    }
}
