//! What each API tier refuses, and how (the table "What a caller sees" of the library); every refusal stands beside its valid twin.

use demo_services::{config::credential, daemon::DaemonCall};
use integration_tests::{challenge::Challenge, world::World};
use local_authority::TokenSpec;
use reqwest::{Response, header::CONTENT_TYPE};
use url::Url;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Tier {
    Downstream,
    Middle,
}

impl Tier {
    const ALL: [Self; 2] = [Self::Downstream, Self::Middle];

    fn base(self, world: &World) -> &Url {
        match self {
            Self::Downstream => world.demo.downstream(),
            Self::Middle => world.demo.middle_tier(),
        }
    }

    fn app(self) -> &'static str {
        match self {
            Self::Downstream => "downstream-api",
            Self::Middle => "middle-tier",
        }
    }

    fn other(self) -> &'static str {
        match self {
            Self::Downstream => "middle-tier",
            Self::Middle => "downstream-api",
        }
    }

    /// Good for this tier's `/api`, the tiers below included.
    fn good(self) -> TokenSpec {
        TokenSpec::user("alice", self.app())
            .mfa()
            .capabilities(["cp1"])
    }

    async fn ask(self, world: &World, spec: Option<TokenSpec>) -> Response {
        let token = spec.map(|spec| world.token(spec));
        world.get(self.base(world), "/api", token.as_deref()).await
    }
}

/// A refusal's body: our problem document, and nothing of the authority's text.
async fn assert_problem(answer: Response, what: &str) {
    let status = answer.status().as_u16();
    let kind = answer.headers().get(CONTENT_TYPE).cloned();
    assert_eq!(kind.unwrap(), "application/problem+json", "{what}");
    let body: serde_json::Value = answer.json().await.unwrap();
    assert_eq!(body["status"], status, "{what}");
    assert!(
        body["error"].is_string() && body["correlation_id"].is_string(),
        "{what}: {body}"
    );
    assert!(!body.to_string().contains("AADSTS"), "{what}: {body}");
}

#[tokio::test]
async fn each_tier_answers_a_good_token() {
    let world = World::start().await;
    for tier in Tier::ALL {
        let answer = tier.ask(&world, Some(tier.good())).await;
        assert_eq!(answer.status(), 200, "{tier:?}");
        let body: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(body["name"], "Alice Liddell", "{tier:?}: {body}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_first_refusal_leads_to_the_authority() {
    let world = World::start().await;
    for tier in Tier::ALL {
        let refused = tier.ask(&world, None).await;
        let challenge = Challenge::of(refused.headers());
        let place: Url = challenge.get("resource_metadata").unwrap().parse().unwrap();
        let found = world.get(&place, "", None).await;
        assert_eq!(found.status(), 200, "{tier:?}");
        let document: serde_json::Value = found.json().await.unwrap();
        let base = tier.base(&world).as_str().trim_end_matches('/');
        assert_eq!(document["resource"], base);
        let scope = format!("api://{}/user_impersonation", tier.app());
        assert_eq!(document["scopes_supported"], serde_json::json!([scope]));
        let server = document["authorization_servers"][0].as_str().unwrap();
        let metadata = format!("{server}/.well-known/openid-configuration");
        let metadata = world.get(&metadata.parse().unwrap(), "", None).await;
        assert_eq!(metadata.status(), 200, "{server}");
    }
    world.stop().await;
}

#[tokio::test]
async fn no_token_is_asked_for_one_without_an_error() {
    let world = World::start().await;
    for tier in Tier::ALL {
        let answer = tier.ask(&world, None).await;
        assert_eq!(answer.status(), 401, "{tier:?}");
        let challenge = Challenge::of(answer.headers());
        assert_eq!(
            challenge.get("realm"),
            Some(&*world.demo.authority().tenant().to_string())
        );
        assert_eq!(challenge.get("error"), None, "{tier:?}");
        assert_problem(answer, "no token").await;
    }
    world.stop().await;
}

#[tokio::test]
async fn a_bad_token_is_invalid_whatever_is_bad_about_it() {
    let world = World::start().await;
    for tier in Tier::ALL {
        let good = || tier.good();
        let rows = [
            ("forged", good().foreign_key()),
            (
                "for another tier",
                TokenSpec::user("alice", tier.other()).mfa(),
            ),
            ("for an audience unknown", good().audience("api://nobody")),
            (
                "from another issuer",
                good().issuer("https://login.example/x/v2.0"),
            ),
            ("expired", good().issued_in(-7200).expires_in(-3600)),
            ("not yet valid", good().issued_in(3600).expires_in(7200)),
            (
                "of another tenant",
                good().claim("tid", "99999999-2222-3333-4444-555555555555"),
            ),
            ("signed by a key unknown", good().kid("nobody")),
            ("unsigned by its header", good().header("alg", "none")),
            ("symmetric by its header", good().header("alg", "HS256")),
            ("without expiry", good().without("exp")),
            ("without audience", good().without("aud")),
        ];
        for (what, spec) in rows {
            let answer = tier.ask(&world, Some(spec)).await;
            assert_eq!(answer.status(), 401, "{tier:?}: {what}");
            let challenge = Challenge::of(answer.headers());
            assert_eq!(
                challenge.get("error"),
                Some("invalid_token"),
                "{tier:?}: {what}"
            );
            assert_eq!(challenge.get("scope"), None, "{tier:?}: {what}");
            assert_eq!(challenge.get("claims"), None, "{tier:?}: {what}");
            assert_problem(answer, what).await;
        }
        // What is no token at all.
        for token in ["x", "a.b.c", "a.b"] {
            let answer = world.get(tier.base(&world), "/api", Some(token)).await;
            assert_eq!(answer.status(), 401, "{tier:?}: {token}");
            assert_eq!(
                Challenge::of(answer.headers()).get("error"),
                Some("invalid_token")
            );
        }
        assert_eq!(
            tier.ask(&world, Some(good())).await.status(),
            200,
            "{tier:?}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_token_without_the_scope_is_told_which() {
    let world = World::start().await;
    for tier in Tier::ALL {
        for (what, spec) in [
            ("no scope", tier.good().scopes::<&str>([])),
            ("another scope", tier.good().scopes(["other"])),
            (
                "only its prefix",
                tier.good().scopes(["user_impersonation2", "user"]),
            ),
        ] {
            let answer = tier.ask(&world, Some(spec)).await;
            assert_eq!(answer.status(), 403, "{tier:?}: {what}");
            let challenge = Challenge::of(answer.headers());
            assert_eq!(
                challenge.get("error"),
                Some("insufficient_scope"),
                "{tier:?}: {what}"
            );
            let scope = challenge.get("scope").unwrap();
            assert!(
                scope.ends_with("user_impersonation"),
                "{tier:?}: {what}: {scope}"
            );
            assert_problem(answer, what).await;
        }
        let several = tier.good().scopes(["other", "user_impersonation"]);
        assert_eq!(
            tier.ask(&world, Some(several)).await.status(),
            200,
            "{tier:?}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn an_app_only_token_is_refused_where_a_user_is_needed() {
    let world = World::start().await;
    for tier in Tier::ALL {
        let before = world.asked(local_authority::Endpoint::Token);
        let spec = TokenSpec::app("daemon", tier.app()).roles(["Task.Run", "user_impersonation"]);
        let answer = tier.ask(&world, Some(spec)).await;
        assert_eq!(answer.status(), 403, "{tier:?}");
        let claims =
            Challenge::find(answer.headers()).and_then(|c| c.get("claims").map(String::from));
        assert_eq!(claims, None, "{tier:?}: nobody could answer it");
        assert_eq!(
            world.asked(local_authority::Endpoint::Token),
            before,
            "{tier:?}"
        );
        assert_problem(answer, "app only").await;
    }
    world.stop().await;
}

#[tokio::test]
async fn admin_wants_the_role_and_takes_no_scope_for_it() {
    let world = World::start().await;
    let downstream = world.demo.downstream();
    let daemon = || TokenSpec::app("daemon", "downstream-api");
    for (what, spec, status) in [
        ("app with the role", daemon(), 200),
        ("app without a role", daemon().roles::<&str>([]), 403),
        ("app with another role", daemon().roles(["Task.Read"]), 403),
        ("user with the scope only", Tier::Downstream.good(), 403),
        (
            "role's name as a scope",
            Tier::Downstream.good().scopes(["Task.Run"]),
            403,
        ),
        ("forged", daemon().foreign_key(), 401),
    ] {
        let token = world.token(spec);
        let answer = world.get(downstream, "/admin", Some(&token)).await;
        assert_eq!(answer.status(), status, "{what}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_daemon_command_reaches_admin_with_its_secret_only() {
    let world = World::start().await;
    let directory = world.demo.authority().directory();
    let daemon = directory.app("daemon").unwrap();
    let call = |secret: &str| DaemonCall {
        authority: world.demo.authority().url().parse().unwrap(),
        tenant: world.demo.authority().tenant().to_string(),
        client_id: daemon.client_id.to_string(),
        credential: credential(Some(&secret.into()), None).unwrap(),
        scope: "api://downstream-api/.default".into(),
        url: world.demo.downstream().join("/admin").unwrap(),
        trust: Default::default(),
    };
    let (status, body) = call(daemon.secret().unwrap()).send().await.unwrap();
    assert_eq!(status, 200, "{body}");
    let refused = call("wrong").send().await.unwrap_err();
    let said = refused.to_string();
    for part in [
        "invalid_client",
        "AADSTS7000215",
        "the client secret is wrong",
    ] {
        assert!(said.contains(part), "{part} in {said}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_middle_tier_relays_the_token_endpoints_claims() {
    let world = World::start().await;
    let directory = world.demo.authority().directory();
    let policy = directory.policy("MFA for the downstream API").unwrap();
    for capabilities in [&["cp1"][..], &[]] {
        // An OAuth error, not CAE: callers without cp1 get these claims too (4.2).
        let spec =
            TokenSpec::user("alice", "middle-tier").capabilities(capabilities.iter().copied());
        let answer = Tier::Middle.ask(&world, Some(spec)).await;
        assert_eq!(answer.status(), 401);
        let challenge = Challenge::of(answer.headers());
        assert_eq!(challenge.get("error"), Some("insufficient_claims"));
        assert_eq!(
            challenge.get("realm"),
            Some(&*world.demo.authority().tenant().to_string())
        );
        let middle = directory.app("middle-tier").unwrap();
        assert_eq!(
            challenge.get("client_id"),
            Some(&*middle.client_id.to_string())
        );
        let authorize = challenge.get("authorization_uri").unwrap();
        assert!(
            authorize.starts_with(world.demo.authority().url()),
            "{authorize}"
        );
        let capolids = &challenge.claims()["access_token"]["capolids"];
        assert_eq!(capolids["values"][0], policy.id.to_string(), "{capolids}");
        let exposed = &answer.headers()["access-control-expose-headers"];
        assert!(
            exposed
                .to_str()
                .unwrap()
                .eq_ignore_ascii_case("www-authenticate")
        );
        assert_problem(answer, "claims").await;
    }
    world.stop().await;
}

#[tokio::test]
async fn secure_demands_its_context_of_those_who_can_answer() {
    let world = World::start().await;
    let downstream = world.demo.downstream();
    let user = || TokenSpec::user("alice", "downstream-api").mfa();
    let ask = async |spec: TokenSpec| {
        let token = world.token(spec);
        world.get(downstream, "/secure", Some(&token)).await
    };

    let answer = ask(user().capabilities(["cp1"])).await;
    assert_eq!(answer.status(), 401);
    let challenge = Challenge::of(answer.headers());
    assert_eq!(challenge.get("error"), Some("insufficient_claims"));
    let acrs = &challenge.claims()["access_token"]["acrs"];
    assert_eq!(
        (&acrs["essential"], &acrs["value"]),
        (&true.into(), &"c1".into())
    );

    let answer = ask(user()).await;
    assert_eq!(
        answer.status(),
        403,
        "no cp1: it could not answer a challenge"
    );
    assert_eq!(Challenge::find(answer.headers()), None);

    for contexts in [&["c1"][..], &["c2", "c1"]] {
        let answer = ask(user().acrs(contexts.iter().copied()).capabilities(["cp1"])).await;
        assert_eq!(answer.status(), 200, "{contexts:?}");
    }
    for contexts in [&["c10"][..], &["c2"], &["C1"]] {
        let answer = ask(user().acrs(contexts.iter().copied()).capabilities(["cp1"])).await;
        assert_eq!(answer.status(), 401, "{contexts:?}");
    }
    // Authentication before authorization before step-up.
    let forged = ask(user().capabilities(["cp1"]).foreign_key()).await;
    assert_eq!(Challenge::of(forged.headers()).get("claims"), None);
    let scopeless = ask(user().capabilities(["cp1"]).scopes::<&str>([])).await;
    assert_eq!(
        Challenge::of(scopeless.headers()).get("error"),
        Some("insufficient_scope")
    );
    world.stop().await;
}

#[tokio::test]
async fn foreign_host_names_get_no_answer() {
    let world = World::start().await;
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let metadata = "/.well-known/oauth-protected-resource";
    let bases = [
        (world.demo.spa(), "/"),
        (world.demo.middle_tier(), metadata),
        (world.demo.downstream(), metadata),
    ];
    for (base, path) in bases {
        // A probe knows a service by its address, and learns no more than that it lives.
        for (path, host, status) in [
            (path, "localhost", 200),
            (path, "attacker.example", 421),
            ("/healthz", "attacker.example", 200),
        ] {
            let host = format!("{host}:{}", base.port().unwrap());
            let request = http.get(base.join(path).unwrap()).header("host", &host);
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), status, "{base}{path} as {host}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn every_service_is_alive_and_ready() {
    let world = World::start().await;
    let demo = &world.demo;
    let authority: Url = demo.authority().url().parse().unwrap();
    for base in [
        demo.spa(),
        demo.middle_tier(),
        demo.downstream(),
        &authority,
    ] {
        for path in ["/healthz", "/readyz"] {
            let answer = world.get(base, path, None).await;
            assert_eq!(answer.status(), 200, "{base} {path}");
        }
    }
    world.stop().await;
}
