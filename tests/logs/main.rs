//! A binary of its own, because it takes the process's log: the whole story at TRACE, and no secret of it anywhere.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

use std::io;
use std::sync::{Arc, Mutex};

use integration_tests::{visitor::Visitor, world::World};
use local_authority::{Endpoint, Fault, TokenSpec};
use tracing_subscriber::fmt::MakeWriter;

const OTP: &str = "123456";

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

#[tokio::test]
async fn no_secret_reaches_the_log() {
    let log = Log::default();
    tracing_subscriber::fmt()
        .with_max_level(tracing_subscriber::filter::LevelFilter::TRACE)
        .with_ansi(false)
        .with_writer(log.clone())
        .init();

    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    // Challenged by the policy, then by the API; then refused for what is wrong with a token, then by faults.
    for path in ["/api/api", "/api/secure"] {
        let refused = alice.call(path).await;
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

    let log = String::from_utf8(std::mem::take(&mut *log.0.lock().unwrap())).unwrap();
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
