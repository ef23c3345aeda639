//! A binary of its own, because it takes the process's log: good and refused requests at TRACE, and nothing of a token anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "helpers of tests fail by panicking"
)]

#[path = "it/scripted.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod scripted;
#[path = "it/support.rs"]
#[expect(dead_code, reason = "shared with the other tests")]
mod support;

use std::io;
use std::sync::{Arc, Mutex};

use http::header::AUTHORIZATION;
use http::{HeaderValue, Request};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tower::{ServiceExt as _, service_fn};
use tower_bearer::{Credential, OnBehalfOfExt as _, Target};
use tracing_subscriber::fmt::MakeWriter;
use wiremock::ResponseTemplate;

use scripted::*;
use support::*;

/// In every claim and header value that may not be told on.
const MARKER: &str = "marker";

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Log {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

impl Log {
    fn start() -> Self {
        let log = Self::default();
        tracing_subscriber::fmt()
            .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
            .with_ansi(false)
            .with_writer(log.clone())
            .init();
        log
    }

    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

/// Values that break out of a log line, a header or a page that repeats them.
fn hostile() -> [String; 5] {
    [
        format!("{MARKER}-plain"),
        format!("\"{MARKER}-quoted\", error=\"{MARKER}\""),
        format!("{MARKER}\r\nX-Injected: {MARKER}"),
        format!("<script>{MARKER}</script>"),
        format!("\u{1b}[31m{MARKER}\u{202e}"),
    ]
}

/// Tokens with the status that each is answered with.
fn tokens(scripted: &Scripted) -> Vec<(String, u16)> {
    let world = World::at(&scripted.uri());
    let header = json!({"alg": "RS256", "typ": "JWT", "kid": "k1"});
    let claim = |name: &str, value: &Value| sign(&header, &world.claims(json!({name: value})));
    let in_header = |name: &str, value: &Value| {
        let mut header = header.clone();
        header[name] = value.clone();
        scripted.token_with(&header)
    };
    let mut tokens = Vec::new();
    for text in hostile() {
        let value = json!(text);
        for (name, status) in [
            ("iss", 401),
            ("aud", 401),
            ("tid", 401),
            ("exp", 401),
            ("nbf", 401),
            ("cnf", 401),
            ("scp", 403),
            ("sub", 200),
            ("name", 200),
            ("preferred_username", 200),
        ] {
            tokens.push((claim(name, &value), status));
        }
        for name in ["kid", "alg", "typ", "crit", "jku"] {
            tokens.push((in_header(name, &value), 401));
        }
        tokens.push((in_header("unknown", &value), 200));
        tokens.push((claim(&text, &value), 200));
    }
    let good = claim("sub", &json!(MARKER));
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let forged: String = signature.chars().rev().collect();
    tokens.push((format!("{signed}.{forged}"), 401));
    tokens.push((format!("{signed}."), 401));
    tokens.push((signed.to_owned(), 401));
    tokens.push((format!("{good}.{signature}"), 401));
    tokens.push((format!("{good}, {good}"), 400));
    tokens.push((format!("\"{good}\""), 400));
    tokens.push((format!("{good}{}", "a".repeat(12 * 1024)), 400));
    tokens
}

/// A middle tier whose authority puts the marker into whatever it says, and whose secrets all hold it. What it was told.
async fn exchanges() -> String {
    let endpoint = TokenEndpoint::start().await;
    let world = endpoint.world();
    let sentence = format!("AADSTS50076: {MARKER} must sign in");
    let with_sentence = |status, error: &str| {
        ResponseTemplate::new(status).set_body_json(json!({
            "error": error, "suberror": sentence, "error_description": sentence, "trace_id": sentence,
            "correlation_id": sentence, "claims": format!("{{\"access_token\":{{\"{MARKER}\":null}}}}"),
        }))
    };
    let offline = ResponseTemplate::new(200).set_body_json(json!({
        "token_type": "Bearer", "access_token": format!("{MARKER}-access"), "expires_in": 3600,
        "refresh_token": format!("{MARKER}-refresh"),
    }));
    endpoint.on_first(1, "offline_access", offline).await;
    for answer in [
        issued(&format!("{MARKER}-issued")),
        with_sentence(400, "interaction_required"),
        with_sentence(400, "invalid_client"),
        with_sentence(400, &sentence),
        with_sentence(503, "server_error"),
        ResponseTemplate::new(200).set_body_string(MARKER),
        ResponseTemplate::new(302).insert_header("location", format!("http://x/{MARKER}")),
    ] {
        endpoint.on_first(1, "jwt-bearer", answer).await;
    }
    let credential = Credential::secret(MARKER.repeat(3)).unwrap();
    let client = world.authority.client(CLIENT, credential).unwrap();
    // A session is begun in no store that is down.
    let sessions = client.clone();
    #[cfg(feature = "redis")]
    let client = {
        // Nobody listens there.
        let url = format!("redis://{MARKER}:{MARKER}@127.0.0.1:9/");
        let store = tower_bearer::RedisStore::connect(&url).unwrap();
        let keys = tower_bearer::SealingKeys::new(b"0123456789abcdef0123456789abcdeF").unwrap();
        client.shared(tower_bearer::SharedTokens::new(store, keys))
    };
    let target = || Target::origin("https://next.example").unwrap();
    let scope = ["api://next/.default"];
    let layer = client.on_behalf_of(scope, target()).unwrap();
    let caller = |n: usize| world.principal(json!({"oid": MARKER, "sub": format!("{n}{MARKER}")}));
    let mut told = format!("{client:?} {layer:?}");
    let session = sessions
        .begin_long_running(&caller(9), scope)
        .await
        .unwrap();
    let in_session = sessions.on_behalf_of(scope, target()).unwrap();
    told.push_str(&format!("{session:?}"));
    let demands: &'static str = format!("Bearer realm=\"{MARKER}\"").leak();
    for n in 0..8 {
        let next = NextTier::new(&[(if n == 0 { 403 } else { 401 }, demands)]);
        let layer = if n == 7 { &in_session } else { &layer };
        let service = layer.wrap(service_fn(move |request| next.answer(request)));
        let request = Request::get(format!("https://next.example/{n}"));
        let request = request.body(Body::default()).unwrap();
        let request = if n == 7 {
            request.in_long_running(&session)
        } else {
            request.on_behalf_of(&caller(n))
        };
        match service.oneshot(request).await {
            Ok(response) => told.push_str(&format!("{:?}", response.extensions())),
            Err(error) => told.push_str(&format!("{error} {error:?}")),
        }
    }
    told
}

#[tokio::test]
async fn nothing_of_a_token_reaches_a_log_a_header_or_a_body() {
    let log = Log::start();
    let scripted = Scripted::start().await;
    let authority = scripted.authority();
    let service = protected(&authority);
    let resource = authority.resource(CLIENT).unwrap();

    let mut secrets = vec![MARKER.to_owned(), B64_OF_AN_OBJECT.to_owned()];
    // Cold and down, then cold and up, then warm.
    scripted.metadata(Answer::new(500, "", MARKER));
    let down = scripted.token("k1");
    let wait = not_now("down", &call(&service, &down).await);
    scripted.heal();
    skip(wait).await;
    for (token, status) in tokens(&scripted) {
        let response = service.clone().oneshot(request(&token)).await.unwrap();
        assert_eq!(response.status(), status, "{token}");
        let headers = format!("{:?} {:?}", response.headers(), response.extensions());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        assert!(!headers.to_lowercase().contains(MARKER), "{headers}");
        assert!(!headers.contains("injected"), "{headers}");
        if status != 200 {
            assert_eq!(body, "", "{token}");
        }
        if let Err(error) = resource.verify(&token).await {
            let told = format!("{error} {error:?}");
            assert!(!told.contains(MARKER), "{told}");
        }
        secrets.extend(
            token
                .split(['.', ',', ' ', '"'])
                .filter(|part| part.len() > 20)
                .map(str::to_owned),
        );
    }
    for value in [&b"Bearer \xffmarker"[..], b"Basic marker", b"marker"] {
        let mut request = Request::new(Body::default());
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().insert(AUTHORIZATION, value);
        let response = service.clone().oneshot(request).await.unwrap();
        assert!(response.status().is_client_error());
        assert!(!format!("{:?}", response.headers()).contains(MARKER));
    }
    let seen = World::at(&scripted.uri()).principal(json!({"sub": MARKER, "oid": MARKER}));
    tracing::info!(principal = ?seen, ?resource, ?authority, "what a user may log");

    let told = exchanges().await;
    assert!(!told.contains(MARKER), "{told}");

    let log = log.text();
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "`{secret}` stands in the log");
    }
    for told in [
        "token_refused",
        "keys_fetched",
        "keys_not_fetched",
        "client_misconfigured",
        "token_answer_malformed",
        "token_request",
        "InvalidRequest",
        "what a user may log",
    ] {
        assert!(log.contains(told), "the log does not tell of `{told}`");
    }
}

/// Every JSON object begins so in base64: `{"`.
const B64_OF_AN_OBJECT: &str = "eyJ";
