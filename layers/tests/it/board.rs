//! An authority whose keys a test changes, and tokens that it signs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use http::Response;
use serde_json::{Value, json};
use tower::{Service, ServiceExt};
use tower_bearer::clock::ManualClock;
use tower_bearer::jwks::{FetchError, FetchFuture, Fetched, KeySet, KeySource};
use tower_bearer::{Algorithm, Authority, AuthorityBuilder, Resource};

use crate::support::{Body, NOW, request};

/// Keys that a test changes.
#[derive(Clone, Default)]
pub(crate) struct Board {
    jwks: Arc<Mutex<Option<String>>>,
    pub(crate) fetches: Arc<AtomicUsize>,
}

impl Board {
    pub(crate) fn publish(&self, kids: &[(&str, &Signer)]) {
        let keys: Vec<Value> = kids.iter().map(|(kid, signer)| signer.jwk(kid)).collect();
        *self.jwks.lock().unwrap() = Some(json!({ "keys": keys }).to_string());
    }

    pub(crate) fn take_down(&self) {
        *self.jwks.lock().unwrap() = None;
    }
}

impl KeySource for Board {
    fn fetch(&self) -> FetchFuture<'_> {
        self.fetches.fetch_add(1, Ordering::SeqCst);
        let published = self.jwks.lock().unwrap().clone();
        Box::pin(async move {
            let text = published.ok_or(FetchError::Unreachable)?;
            Ok(Fetched::keys(KeySet::from_jwks(text.as_bytes()).unwrap()))
        })
    }
}

pub(crate) struct Signer(EcdsaKeyPair);

impl Signer {
    pub(crate) fn new() -> Self {
        Self(EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap())
    }

    fn jwk(&self, kid: &str) -> Value {
        let point = self.0.public_key().as_ref();
        json!({"kty": "EC", "crv": "P-256", "kid": kid, "x": B64.encode(&point[1..33]), "y": B64.encode(&point[33..])})
    }

    pub(crate) fn token(&self, kid: &str, issuer: &str, changes: &Value) -> String {
        let mut claims = json!({
            "iss": issuer, "aud": "api://x", "sub": "s", "oid": "alice", "scp": "read", "iat": NOW, "exp": NOW + 3600,
        });
        for (name, value) in changes.as_object().unwrap() {
            claims[name] = value.clone();
        }
        let header = json!({"alg": "ES256", "kid": kid});
        let message = format!(
            "{}.{}",
            B64.encode(header.to_string()),
            B64.encode(claims.to_string())
        );
        let random = aws_lc_rs::rand::SystemRandom::new();
        let signature = self.0.sign(&random, message.as_bytes()).unwrap();
        format!("{message}.{}", B64.encode(signature))
    }
}

pub(crate) fn authority(issuer: &str, board: &Board, clock: &ManualClock) -> Authority {
    AuthorityBuilder::issuer(issuer, [Algorithm::Es256])
        .clock(clock.clone())
        .key_source(board.clone())
        .build()
        .unwrap()
}

pub(crate) fn api(issuer: &str, board: &Board, clock: &ManualClock) -> Resource {
    authority(issuer, board, clock).resource("api://x").unwrap()
}

pub(crate) async fn status<S>(service: &S, token: &str) -> u16
where
    S: Service<http::Request<Body>, Response = Response<Body>> + Clone,
    S::Error: std::fmt::Debug,
{
    let response = service.clone().oneshot(request(token)).await.unwrap();
    response.status().as_u16()
}

/// A board with one key, `a`, and who signs with it.
pub(crate) fn published() -> (Board, ManualClock, Signer) {
    let (board, signer) = (Board::default(), Signer::new());
    board.publish(&[("a", &signer)]);
    (board, ManualClock::new(NOW), signer)
}
