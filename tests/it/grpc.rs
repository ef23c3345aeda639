//! The downstream API over gRPC: what it refuses, what the middle tier's HTTP callers see of that, and what passes neither way.

use demo_services::downstream_rpc::{API, Caller, DescribeRequest, DownstreamClient, SECURE};
use integration_tests::{
    challenge::Challenge,
    visitor::{Visitor, error_of},
    world::World,
};
use local_authority::{Endpoint, TokenSpec};
use reqwest::{Client, Response, header::HeaderMap};
use serde_json::Value;
use tonic::{Code, Status, transport};
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::what_reaches_downstream::middle_tier_before;

/// A message of no bytes: not compressed, length 0.
const EMPTY_MESSAGE: [u8; 5] = [0; 5];

fn user() -> TokenSpec {
    TokenSpec::user("alice", "downstream-api")
        .mfa()
        .capabilities(["cp1"])
}

/// Good for the middle tier and what is below it.
fn good() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier")
        .mfa()
        .capabilities(["cp1"])
}

/// Calls the downstream API itself.
async fn call(
    world: &World,
    method: &'static str,
    spec: Option<TokenSpec>,
) -> Result<Caller, Status> {
    let origin = world.demo.downstream().origin().ascii_serialization();
    let channel = transport::Endpoint::from_shared(origin).unwrap();
    let channel = channel.connect().await.unwrap();
    let mut request = tonic::Request::new(DescribeRequest {});
    if let Some(spec) = spec {
        let credential = format!("Bearer {}", world.token(spec)).parse().unwrap();
        request.metadata_mut().insert("authorization", credential);
    }
    let answer = DownstreamClient::new(channel).call(method, request).await;
    answer.map(tonic::Response::into_inner)
}

async fn get(world: &World, path: &str, spec: TokenSpec) -> Response {
    let token = world.token(spec);
    let base = world.demo.middle_tier();
    world.get(base, path, Some(&token)).await
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name).map(|value| value.to_str().unwrap())
}

#[tokio::test]
async fn one_answer_over_both_protocols() {
    let world = World::start().await;
    let over_http = get(&world, "/api", good()).await;
    let over_grpc = get(&world, "/grpc/api", good()).await;
    assert_eq!(
        (over_http.status().as_u16(), over_grpc.status().as_u16()),
        (200, 200)
    );
    assert_eq!(
        over_http.headers()["content-type"],
        over_grpc.headers()["content-type"]
    );
    let (over_http, over_grpc): (Value, Value) = (
        over_http.json().await.unwrap(),
        over_grpc.json().await.unwrap(),
    );
    assert_eq!(over_http, over_grpc);
    assert_eq!(over_grpc["name"], "Alice Liddell", "{over_grpc}");
    assert_eq!(over_grpc["scope"], "user_impersonation", "{over_grpc}");
    world.stop().await;
}

#[tokio::test]
async fn both_protocols_share_the_token_of_the_next_tier() {
    let world = World::start().await;
    let token = world.token(good());
    let base = world.demo.middle_tier();
    let before = world.asked(Endpoint::Token);
    for path in ["/api", "/grpc/api", "/grpc/api"] {
        assert_eq!(world.get(base, path, Some(&token)).await.status(), 200);
    }
    assert_eq!(world.asked(Endpoint::Token), before + 1);
    world.stop().await;
}

#[tokio::test]
async fn the_downstream_api_refuses_with_status_and_challenge() {
    let world = World::start().await;
    let rows = [
        ("good", API, Some(user()), Code::Ok, None),
        ("no token", API, None, Code::Unauthenticated, None),
        (
            "forged",
            API,
            Some(user().foreign_key()),
            Code::Unauthenticated,
            Some("invalid_token"),
        ),
        (
            "expired",
            API,
            Some(user().issued_in(-7200).expires_in(-3600)),
            Code::Unauthenticated,
            Some("invalid_token"),
        ),
        (
            "for another tier",
            API,
            Some(good()),
            Code::Unauthenticated,
            Some("invalid_token"),
        ),
        (
            "no scope",
            API,
            Some(user().scopes::<&str>([])),
            Code::PermissionDenied,
            Some("insufficient_scope"),
        ),
        (
            "another scope",
            API,
            Some(user().scopes(["other"])),
            Code::PermissionDenied,
            Some("insufficient_scope"),
        ),
        (
            "no context",
            SECURE,
            Some(user()),
            Code::Unauthenticated,
            Some("insufficient_claims"),
        ),
        (
            "another context",
            SECURE,
            Some(user().acrs(["c2"])),
            Code::Unauthenticated,
            Some("insufficient_claims"),
        ),
        (
            "the context",
            SECURE,
            Some(user().acrs(["c1"])),
            Code::Ok,
            None,
        ),
        // Authentication before authorization before step-up.
        (
            "no context, forged",
            SECURE,
            Some(user().foreign_key()),
            Code::Unauthenticated,
            Some("invalid_token"),
        ),
        (
            "no context, no scope",
            SECURE,
            Some(user().scopes::<&str>([])),
            Code::PermissionDenied,
            Some("insufficient_scope"),
        ),
    ];
    let tenant = world.demo.authority().tenant().to_string();
    for (what, method, spec, code, error) in rows {
        let answer = call(&world, method, spec).await;
        let Err(status) = answer else {
            assert_eq!(code, Code::Ok, "{what}");
            assert_eq!(
                answer.unwrap().name.as_deref(),
                Some("Alice Liddell"),
                "{what}"
            );
            continue;
        };
        assert_eq!((status.code(), status.message()), (code, ""), "{what}");
        let challenge = Challenge::of(status.metadata().as_ref());
        assert_eq!(challenge.get("realm"), Some(&*tenant), "{what}");
        assert_eq!(challenge.get("error"), error, "{what}");
        assert_eq!(
            challenge.get("scope").is_some(),
            error == Some("insufficient_scope"),
            "{what}"
        );
        match error {
            Some("insufficient_claims") => {
                let acrs = &challenge.claims()["access_token"]["acrs"];
                assert_eq!(acrs["value"], "c1", "{what}");
            }
            _ => assert_eq!(challenge.get("claims"), None, "{what}"),
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn who_could_not_answer_a_challenge_gets_none() {
    let world = World::start().await;
    let not_capable = TokenSpec::user("alice", "downstream-api").mfa();
    let daemon = TokenSpec::app("daemon", "downstream-api");
    for (what, method, spec) in [
        ("no cp1", SECURE, not_capable),
        ("app only", API, daemon.clone()),
        (
            "app only, scope as a role",
            API,
            daemon.roles(["user_impersonation"]),
        ),
    ] {
        let status = call(&world, method, Some(spec)).await.unwrap_err();
        assert_eq!(status.code(), Code::PermissionDenied, "{what}");
        let claims = Challenge::find(status.metadata().as_ref());
        let claims = claims.and_then(|challenge| challenge.get("claims").map(str::to_owned));
        assert_eq!(claims, None, "{what}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_refusal_is_a_head_and_nothing_else() {
    let world = World::start().await;
    let http = Client::builder().no_proxy().http2_prior_knowledge();
    let http = http.build().unwrap();
    let post = async |method: &str, kind: &str, token: Option<String>| {
        let url = world.demo.downstream().join(method).unwrap();
        let mut request = http.post(url).header("content-type", kind);
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        let request = request.header("te", "trailers");
        request.body(EMPTY_MESSAGE.to_vec()).send().await.unwrap()
    };
    let grpc = "application/grpc";
    let token = || Some(world.token(user()));
    for (what, method, token, status) in [
        ("no token", API, None, "16"),
        ("a demand of a handler", SECURE, token(), "16"),
        (
            "no such method",
            "/demo.downstream.v1.Downstream/Other",
            token(),
            "12",
        ),
        ("a route's path", "/api", token(), "12"),
    ] {
        let answer = post(method, grpc, token).await;
        assert_eq!(answer.status(), 200, "{what}");
        assert_eq!(
            header(answer.headers(), "content-type"),
            Some(grpc),
            "{what}"
        );
        assert_eq!(
            header(answer.headers(), "grpc-status"),
            Some(status),
            "{what}"
        );
        assert!(answer.headers().contains_key("x-correlation-id"), "{what}");
        assert_eq!(answer.bytes().await.unwrap(), "", "{what}");
    }

    let answer = post(API, grpc, token()).await;
    assert_eq!(answer.status(), 200);
    let message = answer.bytes().await.unwrap();
    assert_eq!(message[0], 0, "not compressed");
    assert_eq!(message[1..5], u32::to_be_bytes(message.len() as u32 - 5));
    assert_eq!(message[5..20], *b"\x0a\x0dAlice Liddell");

    // What is no gRPC call is answered over HTTP, by status.
    for (kind, token, status) in [
        ("application/json", None, 401),
        ("application/grpc-web", None, 401),
        ("application/json", token(), 404),
    ] {
        let answer = post(API, kind, token).await;
        assert_eq!(answer.status(), status, "{kind}");
        assert_eq!(header(answer.headers(), "grpc-status"), None, "{kind}");
    }
    world.stop().await;
}

#[tokio::test]
async fn demands_are_relayed_as_over_http() {
    let world = World::start().await;
    let directory = world.demo.authority().directory();
    let middle = directory.app("middle-tier").unwrap().client_id.to_string();
    let user = || TokenSpec::user("alice", "middle-tier");
    for (what, path, spec, claim) in [
        ("policy", "api", user().capabilities(["cp1"]), "capolids"),
        ("policy, no cp1", "api", user(), "capolids"),
        (
            "context",
            "secure",
            user().mfa().capabilities(["cp1"]),
            "acrs",
        ),
    ] {
        let over_grpc = get(&world, &format!("/grpc/{path}"), spec.clone()).await;
        assert_eq!(over_grpc.status(), 401, "{what}");
        let challenge = Challenge::of(over_grpc.headers());
        assert_eq!(
            challenge.get("error"),
            Some("insufficient_claims"),
            "{what}"
        );
        assert_eq!(challenge.get("client_id"), Some(&*middle), "{what}");
        let authorize = challenge.get("authorization_uri").unwrap();
        assert!(
            authorize.starts_with(world.demo.authority().url()),
            "{what}: {authorize}"
        );
        assert!(
            challenge.claims()["access_token"][claim].is_object(),
            "{what}"
        );

        let over_http = get(&world, &format!("/{path}"), spec).await;
        assert_eq!(Challenge::of(over_http.headers()), challenge, "{what}");
        let [over_grpc, over_http]: [Value; 2] = [
            over_grpc.json().await.unwrap(),
            over_http.json().await.unwrap(),
        ];
        assert_eq!(over_grpc["error"], over_http["error"], "{what}");
    }
    let answer = get(&world, "/grpc/secure", good().acrs(["c1"])).await;
    assert_eq!(answer.status(), 200);
    world.stop().await;
}

#[tokio::test]
async fn the_same_call_completes_after_both_demands() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/grpc/secure").await;
    assert_eq!(error_of(&refused), "step_up_required");
    let mfa = alice.go(&refused).await;
    let back = alice.give_code(&mfa, "123456").await;
    let refused = alice.complete(back).await;
    assert_eq!(
        error_of(&refused),
        "step_up_required",
        "the policy is met, the context is not"
    );
    let back = alice.go(&refused).await;
    let answer = alice.complete(back).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.json()["name"], "Alice Liddell", "{answer:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_foreign_status_never_becomes_the_callers_challenge() {
    let world = World::start().await;
    let foreign = "Bearer realm=\"foreign\", error=\"invalid_token\", authorization_uri=\"https://evil.example\"";
    for (status, grpc_status, expected) in [
        (200, Some("16"), 502),
        (200, Some("7"), 403),
        (200, Some("12"), 404),
        (200, Some("13"), 502),
        (200, Some("14"), 503),
        (200, Some("0"), 502),
        (200, None, 502),
        (401, None, 502),
        (403, None, 403),
        (302, None, 502),
        (500, None, 502),
    ] {
        let downstream = MockServer::start().await;
        let mut answer = ResponseTemplate::new(status)
            .insert_header("content-type", "application/grpc")
            .insert_header("www-authenticate", foreign)
            .insert_header("location", "https://evil.example/")
            .insert_header("set-cookie", "evil=1")
            .insert_header("x-internal", "1")
            .insert_header("grpc-message", "internals of the next tier");
        if let Some(code) = grpc_status {
            answer = answer.insert_header("grpc-status", code);
        }
        Mock::given(any())
            .respond_with(answer)
            .mount(&downstream)
            .await;
        let base = middle_tier_before(&world, &downstream.uri()).await;

        let what = format!("{status} {grpc_status:?}");
        let token = world.token(good());
        let answer = world.get(&base, "/grpc/api", Some(&token)).await;
        assert_eq!(answer.status(), expected, "{what}");
        assert_eq!(Challenge::find(answer.headers()), None, "{what}");
        for name in ["location", "set-cookie", "x-internal", "grpc-message"] {
            assert!(!answer.headers().contains_key(name), "{what}: {name}");
        }
        let body = answer.text().await.unwrap();
        assert!(!body.contains("internals"), "{what}: {body}");
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
    let answer = ResponseTemplate::new(200)
        .insert_header("content-type", "application/grpc")
        .insert_header("grpc-status", "16")
        .insert_header("www-authenticate", challenge.as_str());
    Mock::given(any())
        .respond_with(answer)
        .mount(&downstream)
        .await;
    let base = middle_tier_before(&world, &downstream.uri()).await;

    let token = world.token(good());
    let answer = world.get(&base, "/grpc/secure", Some(&token)).await;
    assert_eq!(answer.status(), 401);
    let challenge = Challenge::of(answer.headers());
    assert_eq!(challenge.get("error"), Some("insufficient_claims"));
    assert_ne!(challenge.get("client_id"), Some("foreign"));
    assert_ne!(challenge.get("realm"), Some("foreign"));
    let claims = challenge.claims();
    assert!(claims["access_token"]["acrs"].is_object(), "{claims}");
    assert_eq!(claims.get("id_token"), None);
    world.stop().await;
}

#[tokio::test]
async fn the_call_carries_its_deadline_its_ids_and_no_token_of_the_caller() {
    let world = World::start().await;
    let downstream = MockServer::start().await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&downstream)
        .await;
    let base = middle_tier_before(&world, &downstream.uri()).await;
    let requests = async || downstream.received_requests().await.unwrap();

    for (what, spec) in [
        ("forged", good().foreign_key()),
        ("without scope", good().scopes::<&str>([])),
        ("app only", TokenSpec::app("daemon", "middle-tier")),
        ("without MFA", TokenSpec::user("alice", "middle-tier")),
    ] {
        let token = world.token(spec);
        let answer = world.get(&base, "/grpc/api", Some(&token)).await;
        assert!(answer.status().is_client_error(), "{what}");
        assert!(requests().await.is_empty(), "{what}");
    }

    let token = world.token(good());
    let id = "8a5c9f0e-54f8-4b55-9d5c-0f6a1c7b2d3e";
    let trace = "00-8a5c9f0e54f84b559d5c0f6a1c7b2d3e-00f067aa0ba902b7-01";
    let request = Client::builder().no_proxy().build().unwrap();
    let request = request
        .get(base.join("/grpc/api").unwrap())
        .bearer_auth(&token)
        .header("x-correlation-id", id)
        .header("traceparent", trace)
        .header("cookie", "a=b")
        .header("grpc-timeout", "1H");
    let answer = request.send().await.unwrap();
    assert_eq!(header(answer.headers(), "x-correlation-id"), Some(id));

    let sent = requests().await;
    assert_eq!(sent.len(), 1);
    let headers = &sent[0].headers;
    assert_eq!((sent[0].method.as_str(), sent[0].url.path()), ("POST", API));
    assert_eq!(sent[0].body, EMPTY_MESSAGE);
    assert_eq!(header(headers, "x-correlation-id"), Some(id));
    assert_eq!(header(headers, "traceparent"), Some(trace));
    assert_eq!(header(headers, "grpc-timeout"), Some("10000000u"));
    assert_eq!(header(headers, "cookie"), None);
    let authorization = header(headers, "authorization").unwrap();
    assert!(authorization.starts_with("Bearer ey"));
    for (name, value) in headers {
        assert!(
            !value.to_str().unwrap().contains(&token),
            "the caller's own token in {name}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn a_downstream_api_that_is_not_there_is_a_bad_gateway() {
    let world = World::start().await;
    // Bound and closed again: nobody listens there.
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let uri = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let base = middle_tier_before(&world, &uri).await;
    let token = world.token(good());
    for path in ["/grpc/api", "/api"] {
        let answer = world.get(&base, path, Some(&token)).await;
        assert_eq!(answer.status(), 502, "{path}");
        assert_eq!(Challenge::find(answer.headers()), None, "{path}");
    }
    world.stop().await;
}
