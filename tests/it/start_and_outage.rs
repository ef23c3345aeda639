//! Starting where something is missing, and going on when the authority fails for a while.

use std::net::TcpListener;

use demo_services::{
    config::{
        AuthorityConfig, DownstreamApiConfig, MiddleTierConfig, ResponseMode, SpaBackendConfig,
    },
    demo::{self, DemoError, DemoOptions},
    downstream_api, middle_tier, spa_backend,
};
use integration_tests::{
    challenge::Challenge,
    person::Person,
    visitor::{Visitor, error_of},
    world::World,
};
use listening::{Listeners, Reach, serve};
use local_authority::{Endpoint, Fault, TokenSpec};
use reqwest::header::RETRY_AFTER;
use url::Url;

/// Privileged and unassigned: nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

#[tokio::test]
async fn taken_ports_of_the_apis_are_replaced_and_said() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let world = World::start_with(|options| options.downstream_port = port).await;
    assert_ne!(world.demo.downstream().port(), Some(port));
    let welcome = world.demo.welcome();
    assert!(
        welcome.contains(&format!("port {port} is in use")),
        "{welcome}"
    );
    assert!(
        welcome.contains(world.demo.downstream().as_str().trim_end_matches('/')),
        "{welcome}"
    );

    let mut alice = Visitor::signed_in(&world, "alice").await;
    assert_eq!(error_of(&alice.call("/api/api").await), "step_up_required");
    world.stop().await;
}

#[tokio::test]
async fn a_taken_port_of_the_page_is_an_error_with_a_way_on() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let options = DemoOptions {
        spa_port: taken.local_addr().unwrap().port(),
        ..DemoOptions::on_free_ports()
    };
    let error = demo::start(options).await.unwrap_err();
    assert!(
        matches!(
            error,
            DemoError::Taken {
                option: "--spa-port",
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn apis_start_without_their_authority_and_decide_nothing() {
    // Tokens with which nothing is wrong but that no key can be had to check them.
    let world = World::start().await;
    let issuer = format!(
        "{}/{}/v2.0",
        NOBODY.trim_end_matches('/'),
        world.demo.authority().tenant()
    );
    let authority = AuthorityConfig {
        instance: NOBODY.parse().unwrap(),
        tenant: world.demo.authority().tenant().to_string(),
    };
    let downstream = downstream_api::service(&DownstreamApiConfig {
        listen: String::new(),
        authority: authority.clone(),
        client_id: "d0300000-0000-4000-8000-000000007000".into(),
        app_id_uri: "api://downstream-api".into(),
        required_scope: "user_impersonation".into(),
        public_url: None,
        admin_role: "Task.Run".into(),
        secure_context: "c1".into(),
        tls: None,
        trusted_proxies: Default::default(),
        trust: Default::default(),
        flow_events: false,
    });
    let middle = middle_tier::service(&MiddleTierConfig {
        listen: String::new(),
        authority,
        client_id: "3edd1e00-0000-4000-8000-000000005000".into(),
        app_id_uri: "api://middle-tier".into(),
        client_secret: Some("unused".into()),
        client_certificate: None,
        required_scope: "user_impersonation".into(),
        public_url: None,
        downstream: NOBODY.parse().unwrap(),
        downstream_scope: "api://downstream-api/user_impersonation".into(),
        shared_tokens: None,
        profile: None,
        tls: None,
        trusted_proxies: Default::default(),
        allowed_origins: Default::default(),
        trust: Default::default(),
        samples_way: false,
        flow_events: false,
    });
    let services = [
        (downstream.unwrap(), "downstream-api"),
        (middle.unwrap(), "middle-tier"),
    ];
    for (service, app) in services {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let base: Url = format!("http://localhost:{}", listeners.port())
            .parse()
            .unwrap();
        let server = tokio::spawn(serve(listeners, service, std::future::pending()));

        assert_eq!(
            world.get(&base, "/healthz", None).await.status(),
            200,
            "{app}"
        );
        assert_eq!(
            world.get(&base, "/readyz", None).await.status(),
            503,
            "{app}"
        );
        assert_eq!(world.get(&base, "/api", None).await.status(), 401, "{app}");
        let expired = TokenSpec::user("alice", app)
            .issuer(&issuer)
            .expires_in(-3600);
        let answer = world.get(&base, "/api", Some(&world.token(expired))).await;
        assert_eq!(answer.status(), 401, "no key could save it: {app}");
        let token = world.token(TokenSpec::user("alice", app).issuer(&issuer));
        let answer = world.get(&base, "/api", Some(&token)).await;
        assert_eq!(answer.status(), 503, "{app}");
        assert!(answer.headers().contains_key(RETRY_AFTER), "{app}");
        assert_eq!(Challenge::find(answer.headers()), None, "{app}");
        server.abort();
    }
    world.stop().await;
}

#[tokio::test]
async fn the_page_starts_without_its_authority_and_says_so() {
    let listeners = Listeners::bind("localhost:0", Reach::Loopback)
        .await
        .unwrap();
    let base: Url = format!("http://localhost:{}", listeners.port())
        .parse()
        .unwrap();
    let service = spa_backend::router(&SpaBackendConfig {
        listen: String::new(),
        base_url: base.clone(),
        authority: AuthorityConfig {
            instance: NOBODY.parse().unwrap(),
            tenant: "11111111-2222-3333-4444-555555555555".into(),
        },
        client_id: "5ba00000-0000-4000-8000-000000003000".into(),
        client_secret: Some("unused".into()),
        client_certificate: None,
        response_mode: ResponseMode::Query,
        id_token_hint: false,
        scope: "api://middle-tier/user_impersonation".into(),
        middle_tier: NOBODY.parse().unwrap(),
        insecure_cookies: false,
        tls: None,
        trusted_proxies: Default::default(),
        msal: None,
        trust: Default::default(),
        flow_events: false,
        flow_sources: Vec::new(),
        sessions: None,
    });
    tokio::spawn(serve(listeners, service.unwrap(), std::future::pending()));
    let mut person = Person::new();
    let page = person.open(&base).await;
    assert_eq!(page.status, 200);
    let page = person.follow(&page, "/auth/sign-in").await;
    assert_eq!(page.status, 503, "{page:?}");
    assert!(page.says("does not answer"), "{page:?}");
    assert!(page.body.contains("href=\"/auth/sign-in"), "{page:?}");
}

#[tokio::test]
async fn an_outage_of_the_token_endpoint_passes() {
    let world = World::start().await;
    world
        .demo
        .authority()
        .set_policy("MFA for the downstream API", false);
    let mut alice = Visitor::signed_in(&world, "alice").await;
    world
        .demo
        .authority()
        .fail_next(Endpoint::Token, 100, Fault::status(503));
    let answer = alice.call("/api/api").await;
    assert_eq!(answer.status, 503, "{answer:?}");
    world
        .demo
        .authority()
        .fail_next(Endpoint::Token, 0, Fault::default());
    let token = world.token(TokenSpec::user("bob", "middle-tier").mfa());
    let again = world
        .get(world.demo.middle_tier(), "/api", Some(&token))
        .await;
    assert_eq!(again.status(), 200);
    world.stop().await;
}

#[tokio::test]
async fn tokens_of_published_keys_are_taken_and_of_withdrawn_ones_not() {
    let world = World::start().await;
    let authority = world.demo.authority();
    let token = || world.token(TokenSpec::user("alice", "downstream-api"));
    let withdrawn = (token(), authority.kid());
    authority.rotate_keys().unwrap();
    let old = token();
    authority.rotate_keys().unwrap();
    let new = token();
    assert!(authority.withdraw_key(&withdrawn.1).unwrap());
    for (what, token, status) in [
        ("withdrawn", withdrawn.0, 401),
        ("old, still published", old, 200),
        ("new", new, 200),
    ] {
        let answer = world
            .get(world.demo.downstream(), "/api", Some(&token))
            .await;
        assert_eq!(answer.status(), status, "{what}");
    }
    world.stop().await;
}
