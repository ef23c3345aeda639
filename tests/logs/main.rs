//! A binary of its own, because it takes the process's log: the whole story at TRACE, with no secret of it anywhere and with one id
//! from the page to the last tier.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io;
use std::sync::{Arc, LazyLock, Mutex};

use integration_tests::{cookies::Sender, html, visitor::Visitor, world::World};
use local_authority::{Endpoint, Fault, TokenSpec};
use reqwest::Method;
use tracing_subscriber::fmt::MakeWriter;

const OTP: &str = "123456";

/// What the process has logged so far, at TRACE.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();
    log
});

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Log {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

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

#[tokio::test]
async fn no_secret_reaches_the_log() {
    LazyLock::force(&LOG);
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    // Challenged by the policy, then by the API; then refused for what is wrong with a token, then by faults.
    for path in [
        "/api/api",
        "/api/secure",
        "/api/grpc/api",
        "/api/grpc/secure",
    ] {
        let refused = alice.call(path).await;
        if refused.status == 200 {
            continue;
        }
        let page = alice.go(&refused).await;
        let back = match page.find_form("code") {
            Some(_) => alice.give_code(&page, OTP).await,
            None => page,
        };
        assert_eq!(alice.complete(back).await.status, 200, "{path}");
    }
    let spec = || TokenSpec::user("alice", "middle-tier").scopes(["user_impersonation"]);
    for bad in [
        spec().audience("api://marker-audience"),
        spec().foreign_key(),
        spec().without("scp"),
        spec().expires_in(-600),
    ] {
        let token = world.token(bad);
        let answer = world
            .get(world.demo.middle_tier(), "/api", Some(&token))
            .await;
        assert!(answer.status().is_client_error());
    }
    let fault = Fault::status(500).with_body("marker-of-the-authority");
    world.demo.authority().fail_next(Endpoint::Token, 1, fault);
    let token = world.token(spec().mfa());
    let answer = world
        .get(world.demo.middle_tier(), "/api", Some(&token))
        .await;
    assert_eq!(answer.status(), 503);

    let directory = world.demo.authority().directory();
    let mut secrets: Vec<String> = directory
        .users
        .iter()
        .map(|user| user.password().to_owned())
        .collect();
    secrets.extend(
        directory
            .apps
            .iter()
            .filter_map(|app| app.secret().map(str::to_owned)),
    );
    secrets.extend(world.demo.authority().control_token().map(str::to_owned));
    world.stop().await;

    let log = LOG.text();
    // Tokens, and claims in base64, begin so: `{"`.
    secrets.extend(
        [
            "eyJ",
            "capolids",
            "marker-",
            "client_secret=",
            "&code=",
            "Liddell",
        ]
        .map(str::to_owned),
    );
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "`{secret}` stands in the log");
    }
    for decision in ["token_refused", "InsufficientClaims", "keys_fetched"] {
        assert!(
            log.contains(decision),
            "the log does not tell of `{decision}`: {} bytes",
            log.len()
        );
    }
}

#[tokio::test]
async fn what_a_session_holds_and_a_person_types_is_in_no_log() {
    LazyLock::force(&LOG);
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let meta = |name| html::attribute(&alice.page.body, ("name", name), "content").unwrap();
    // Whoever has one of these has the session, or a part of it.
    let mut secrets = vec![meta("session-token")];
    let cookies = |alice: &Visitor| {
        let line = alice
            .person
            .jar
            .header(world.demo.spa(), &Method::GET, Sender::AddressBar);
        let line = line.unwrap_or_default();
        let pairs = line.split("; ").filter_map(|pair| pair.split_once('='));
        pairs.map(|(_, value)| value.to_owned()).collect::<Vec<_>>()
    };
    let held = cookies(&alice);
    assert!(!held.is_empty());
    secrets.extend(held);

    let change = r#"{"displayName":"marker-typed"}"#.to_owned();
    let refused = alice.patch("/api/profile", change).await;
    let go = refused.json()["go"].as_str().unwrap().to_owned();
    secrets.push(go.split_once("op=").unwrap().1.to_owned());
    let page = alice.go(&refused).await;
    secrets.extend(cookies(&alice));
    let back = alice.give_code(&page, OTP).await;
    assert_eq!(alice.complete(back).await.status, 204);
    let profile = alice.call("/api/profile").await;
    assert!(profile.body.contains("marker-typed"), "{profile:?}");
    let bad = r#"{"marker-typed":"marker-typed"}"#.to_owned();
    assert_eq!(alice.patch("/api/profile", bad).await.status, 400);
    world.stop().await;

    let log = LOG.text();
    secrets.push("marker-typed".to_owned());
    for secret in &secrets {
        let line = log.lines().find(|line| line.contains(secret.as_str()));
        assert_eq!(line, None, "`{secret}` stands in the log");
    }
}

#[tokio::test]
async fn one_id_joins_what_the_tiers_log_of_a_call() {
    LazyLock::force(&LOG);
    let world = World::start().await;
    // So that the call passes the middle tier and each tier has something to say of the API's own demand.
    let authority = world.demo.authority();
    assert!(authority.set_policy("MFA for the downstream API", false));
    let mut alice = Visitor::signed_in(&world, "alice").await;
    // Over HTTP a layer of the downstream API refuses; over gRPC its handler does.
    for (path, refusal) in [
        ("/api/secure", "a verified caller was refused"),
        ("/api/grpc/secure", "a demand from below is passed on"),
    ] {
        let refused = alice.call(path).await;
        assert_eq!(refused.status, 401, "{path}: {refused:?}");
        let id = refused.headers["x-correlation-id"].to_str().unwrap();
        assert_eq!(refused.json()["correlation_id"], id, "{path}");

        let log = LOG.text();
        let said = |tier: &str, what: &str| {
            let span = format!("request{{tier=\"{tier}\" correlation_id={id}}}:");
            log.lines()
                .any(|line| line.contains(&span) && line.contains(what))
        };
        for (tier, what) in [
            ("spa-backend", "an operation waits for its person"),
            ("middle-tier", "a demand from below is passed on"),
            // From a task that outlives the request.
            ("middle-tier", "interaction_required"),
            ("downstream-api", refusal),
        ] {
            assert!(said(tier, what), "{path}: {tier}: {what}");
        }
    }
    world.stop().await;
}
