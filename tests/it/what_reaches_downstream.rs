//! What the middle tier sends to the next tier, and what it makes of that tier's answers.

use demo_services::{
    config::{AuthorityConfig, MiddleTierConfig},
    middle_tier,
};
use integration_tests::{challenge::Challenge, world::World};
use listening::{Listeners, Reach, serve};
use local_authority::TokenSpec;
use url::Url;
use wiremock::{Mock, MockServer, Request, ResponseTemplate, matchers::any};

/// A middle tier of the world's authority before a downstream API that does as it is told.
pub(crate) async fn middle_tier_before(world: &World, downstream: &str) -> Url {
    let directory = world.demo.authority().directory();
    let app = directory.app("middle-tier").unwrap();
    let service = middle_tier::service(&MiddleTierConfig {
        listen: "localhost:0".into(),
        authority: AuthorityConfig {
            instance: world.demo.authority().url().parse().unwrap(),
            tenant: world.demo.authority().tenant().to_string(),
        },
        client_id: app.client_id.to_string(),
        app_id_uri: "api://middle-tier".into(),
        client_secret: app.secret().map(Into::into),
        client_certificate: None,
        required_scope: "user_impersonation".into(),
        public_url: None,
        downstream: downstream.parse().unwrap(),
        downstream_scope: "api://downstream-api/user_impersonation".into(),
        shared_tokens: None,
        profile: None,
        tls: None,
        trusted_proxies: Default::default(),
        allowed_origins: Default::default(),
        trust: Default::default(),
        samples_way: false,
        flow_events: true,
    });
    let listeners = Listeners::bind("localhost:0", Reach::Loopback)
        .await
        .unwrap();
    let base = format!("http://localhost:{}", listeners.port());
    tokio::spawn(serve(listeners, service.unwrap(), std::future::pending()));
    base.parse().unwrap()
}

fn good() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier")
        .mfa()
        .capabilities(["cp1"])
}

async fn requests(server: &MockServer) -> Vec<Request> {
    server.received_requests().await.unwrap()
}

#[tokio::test]
async fn only_a_token_of_the_next_tier_goes_there() {
    let world = World::start().await;
    let downstream = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&downstream)
        .await;
    let base = middle_tier_before(&world, &downstream.uri()).await;

    for (what, spec) in [
        ("no token", None),
        ("forged", Some(good().foreign_key())),
        ("without scope", Some(good().scopes::<&str>([]))),
        ("app only", Some(TokenSpec::app("daemon", "middle-tier"))),
        ("without MFA", Some(TokenSpec::user("alice", "middle-tier"))),
    ] {
        let token = spec.map(|spec| world.token(spec));
        let answer = world.get(&base, "/api", token.as_deref()).await;
        assert!(
            answer.status().is_client_error(),
            "{what}: {}",
            answer.status()
        );
        assert!(requests(&downstream).await.is_empty(), "{what}");
    }

    let token = world.token(good());
    assert_eq!(world.get(&base, "/api", Some(&token)).await.status(), 200);
    let sent = requests(&downstream).await;
    assert_eq!(sent.len(), 1);
    let authorization = sent[0].headers["authorization"].to_str().unwrap();
    assert!(authorization.starts_with("Bearer ey"));
    for (name, value) in &sent[0].headers {
        assert!(
            !value.to_str().unwrap().contains(&token),
            "the caller's own token in {name}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_foreign_refusal_never_becomes_the_callers_challenge() {
    let world = World::start().await;
    let foreign = "Bearer realm=\"foreign\", error=\"invalid_token\", authorization_uri=\"https://evil.example\"";
    for (status, expected) in [
        (401, 502),
        (403, 403),
        (407, 502),
        (302, 502),
        (500, 502),
        (503, 503),
    ] {
        let downstream = MockServer::start().await;
        let answer = ResponseTemplate::new(status)
            .insert_header("www-authenticate", foreign)
            .insert_header("location", "https://evil.example/")
            .insert_header("set-cookie", "evil=1")
            .set_body_string("internals of the next tier");
        Mock::given(any())
            .respond_with(answer)
            .mount(&downstream)
            .await;
        let base = middle_tier_before(&world, &downstream.uri()).await;

        let token = world.token(good());
        let answer = world.get(&base, "/api", Some(&token)).await;
        assert_eq!(answer.status(), expected, "{status}");
        assert_eq!(Challenge::find(answer.headers()), None, "{status}");
        for header in ["location", "set-cookie"] {
            assert!(!answer.headers().contains_key(header), "{status}: {header}");
        }
        assert!(
            !answer.text().await.unwrap().contains("internals"),
            "{status}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn claims_of_the_next_tier_arrive_as_a_challenge_of_this_one() {
    let world = World::start().await;
    let downstream = MockServer::start().await;
    // {"access_token":{"acrs":{"essential":true,"value":"c7"}},"id_token":{"x":null}}
    let claims = "eyJhY2Nlc3NfdG9rZW4iOnsiYWNycyI6eyJlc3NlbnRpYWwiOnRydWUsInZhbHVlIjoiYzcifX0sImlkX3Rva2VuIjp7IngiOm51bGx9fQ==";
    let challenge = format!(
        "Bearer realm=\"foreign\", client_id=\"foreign\", error=\"insufficient_claims\", claims=\"{claims}\""
    );
    let answer = ResponseTemplate::new(401).insert_header("www-authenticate", challenge.as_str());
    Mock::given(any())
        .respond_with(answer)
        .mount(&downstream)
        .await;
    let base = middle_tier_before(&world, &downstream.uri()).await;

    let token = world.token(good());
    let answer = world.get(&base, "/secure", Some(&token)).await;
    assert_eq!(answer.status(), 401);
    let challenge = Challenge::of(answer.headers());
    assert_eq!(challenge.get("error"), Some("insufficient_claims"));
    assert_ne!(challenge.get("client_id"), Some("foreign"));
    assert_ne!(challenge.get("realm"), Some("foreign"));
    let claims = challenge.claims();
    assert!(claims["access_token"]["acrs"].is_object(), "{claims}");
    assert_eq!(
        claims.get("id_token"),
        None,
        "only the access token's part is relayed"
    );
    world.stop().await;
}

#[tokio::test]
async fn the_ids_of_a_call_go_on_and_nothing_else_of_its_head() {
    let world = World::start().await;
    let downstream = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&downstream)
        .await;
    let base = middle_tier_before(&world, &downstream.uri()).await;
    let id = "8a5c9f0e-54f8-4b55-9d5c-0f6a1c7b2d3e";
    let trace = "00-8a5c9f0e54f84b559d5c0f6a1c7b2d3e-00f067aa0ba902b7-01";
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let request = http
        .get(base.join("/api").unwrap())
        .bearer_auth(world.token(good()))
        .header("x-correlation-id", id)
        .header("traceparent", trace)
        .header("cookie", "a=b")
        .header("x-other", "1");
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["x-correlation-id"], id);

    let sent = requests(&downstream).await;
    assert_eq!(sent[0].headers["x-correlation-id"], id);
    assert_eq!(sent[0].headers["traceparent"], trace);
    for name in ["cookie", "x-other"] {
        assert!(!sent[0].headers.contains_key(name), "{name}");
    }
    world.stop().await;
}
