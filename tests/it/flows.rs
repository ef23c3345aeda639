//! What is shown of a call: each hop with what it carried, to the session whose call it is, and nothing of the person.

use base64::{Engine, engine::general_purpose::STANDARD};
use integration_tests::{
    challenge::Challenge,
    person::Page,
    visitor::{Visitor, error_of},
    world::World,
};
use local_authority::{Endpoint, Fault, TokenSpec};
use reqwest::{Client, Method, Response};
use serde_json::{Value, json};
use url::Url;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

use crate::what_reaches_downstream::middle_tier_before;

const OTP: &str = "123456";
const POLICY: &str = "MFA for the downstream API";
const ID: &str = "8a5c9f0e-54f8-4b55-9d5c-0f6a1c7b2d3e";

/// As a call of the SPA has it, before the second factor.
fn alice() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier").capabilities(["cp1"])
}

async fn begin(visitor: &mut Visitor) -> String {
    let begun = visitor.send_with(Method::POST, "/flows", &[], None).await;
    assert_eq!(begun.status, 201, "{begun:?}");
    begun.json()["flow"].as_str().unwrap().to_owned()
}

async fn call(visitor: &mut Visitor, path: &str, flow: &str) -> Page {
    let answer = visitor
        .send_with(Method::GET, path, &[("x-flow", flow)], None)
        .await;
    assert_eq!(answer.headers["x-correlation-id"], flow);
    answer
}

async fn flow(visitor: &mut Visitor, id: &str) -> Value {
    let path = format!("/flows/{id}");
    let flow = visitor.send_with(Method::GET, &path, &[], None).await;
    assert_eq!(flow.status, 200, "{flow:?}");
    assert_eq!(flow.headers["cache-control"], "no-store");
    flow.json()
}

/// `kind from>to` of each event; of a card the tier.
fn story(flow: &Value) -> Vec<String> {
    let events = flow["events"].as_array().unwrap();
    let line = |event: &Value| {
        let text = |name: &str| event[name].as_str().unwrap().to_owned();
        match &event["from"] {
            Value::Null => format!("{} at {}", text("kind"), text("tier")),
            _ => format!("{} {}>{}", text("kind"), text("from"), text("to")),
        }
    };
    events.iter().map(line).collect()
}

fn find<'a>(flow: &'a Value, line: &str) -> Vec<&'a Value> {
    let events = flow["events"].as_array().unwrap();
    let lines = story(flow);
    let both = events.iter().zip(lines);
    both.filter(|(_, found)| found == line)
        .map(|(event, _)| event)
        .collect()
}

async fn step_up(world: &World, visitor: &mut Visitor, refused: &Page) -> Page {
    let mfa = visitor.go(refused).await;
    let back = match mfa.find_form("code") {
        Some(_) => visitor.give_code(&mfa, OTP).await,
        None => mfa,
    };
    assert!(back.url.as_str().starts_with(world.demo.spa().as_str()));
    visitor.complete(back).await
}

async fn ask(base: &Url, path: &str, headers: &[(&str, &str)]) -> Response {
    let client = Client::builder().no_proxy().build().unwrap();
    let mut request = client.get(base.join(path).unwrap());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.send().await.unwrap()
}

/// A call of a middle tier as a flow, and what it has of it.
async fn told(base: &Url, path: &str, token: &str) -> Value {
    let bearer = format!("Bearer {token}");
    ask(
        base,
        path,
        &[("authorization", &bearer), ("x-correlation-id", ID)],
    )
    .await;
    let told = ask(base, &format!("/flow/{ID}"), &[]).await;
    told.json().await.unwrap()
}

const REFUSED: [&str; 7] = [
    "call browser>spa-backend",
    "call spa-backend>middle-tier",
    "accepted at middle-tier",
    "token_request middle-tier>authority",
    "token_refused authority>middle-tier",
    "answer middle-tier>spa-backend",
    "answer spa-backend>browser",
];

const COMPLETED: [&str; 14] = [
    "sign_in browser>authority",
    "signed_in authority>browser",
    "token_request spa-backend>authority",
    "token authority>spa-backend",
    "call browser>spa-backend",
    "call spa-backend>middle-tier",
    "accepted at middle-tier",
    "token_request middle-tier>authority",
    "token authority>middle-tier",
    "call middle-tier>downstream-api",
    "accepted at downstream-api",
    "answer downstream-api>middle-tier",
    "answer middle-tier>spa-backend",
    "answer spa-backend>browser",
];

#[tokio::test]
async fn a_policys_demand_is_seen_going_up_and_being_met() {
    let world = World::start().await;
    let mut visitor = Visitor::signed_in(&world, "alice").await;
    let id = begin(&mut visitor).await;
    assert_eq!(story(&flow(&mut visitor, &id).await), [""; 0]);
    let before = world.asked(Endpoint::Token);

    let refused = call(&mut visitor, "/api/api", &id).await;
    assert_eq!(error_of(&refused), "step_up_required");
    let first = flow(&mut visitor, &id).await;
    assert_eq!(story(&first), REFUSED);
    assert_eq!(
        (&first["flow"], &first["token_requests"]),
        (&json!(id), &json!(1))
    );

    // The very text that a client of the middle tier gets, and the claims that stand in it, at each hop.
    let raw = world.token(alice());
    let raw = world
        .get(world.demo.middle_tier(), "/api", Some(&raw))
        .await;
    let header = raw.headers()["www-authenticate"].to_str().unwrap();
    let claims = Challenge::of(raw.headers()).claims();
    let answer = find(&first, "answer middle-tier>spa-backend")[0];
    assert_eq!(
        answer["challenge"],
        json!({"header": header, "error": "insufficient_claims", "claims": claims})
    );
    assert_eq!(
        (&answer["status"], &answer["grpc_status"]),
        (&json!(401), &Value::Null)
    );
    let no = find(&first, "token_refused authority>middle-tier")[0];
    assert_eq!(
        (&no["error"], &no["claims"]),
        (&json!("interaction_required"), &claims)
    );
    let asked = find(&first, "token_request middle-tier>authority")[0];
    assert_eq!(asked["claims"], Value::Null, "nothing was demanded yet");
    assert_eq!(asked.get("provisional"), None, "{asked}");
    assert_eq!(
        asked["scopes"],
        json!(["api://downstream-api/user_impersonation"])
    );
    let sent = find(&first, "call spa-backend>middle-tier")[0];
    assert_eq!(sent["url"], format!("{}api", world.demo.middle_tier()));
    assert_eq!(
        (&sent["method"], &sent["attempt"], &sent["token_source"]),
        (&json!("GET"), &json!(1), &json!("session"))
    );

    let between = world.asked(Endpoint::Token);
    let answer = step_up(&world, &mut visitor, &refused).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(answer.headers["x-correlation-id"], *id);
    let whole = flow(&mut visitor, &id).await;
    assert_eq!(story(&whole), [&REFUSED[..], &COMPLETED].concat());
    assert_eq!(whole["token_requests"], 3);
    // One was the raw client's.
    assert_eq!(world.asked(Endpoint::Token) - before, 3 + 1);
    assert_eq!(world.asked(Endpoint::Token) - between, 2);
    let sign_in = find(&whole, "sign_in browser>authority")[0];
    assert_eq!(
        (&sign_in["claims"], &sign_in["reason"]),
        (&claims, &json!("step_up"))
    );
    let redeemed = find(&whole, "token_request spa-backend>authority")[0];
    assert_eq!(
        (&redeemed["grant"], &redeemed["claims"]),
        (&json!("authorization_code"), &claims)
    );
    let card = &find(&whole, "accepted at downstream-api")[0]["card"];
    let directory = world.demo.authority().directory();
    let client = |name| json!(directory.app(name).unwrap().client_id.to_string());
    assert_eq!(card["audience"], client("downstream-api"));
    assert_eq!(card["client"], client("middle-tier"));
    assert_eq!(
        (&card["scopes"], &card["contexts"], &card["app_only"]),
        (&json!(["user_impersonation"]), &json!([]), &json!(false))
    );
    let life = card["expires_at"].as_u64().unwrap() - card["issued_at"].as_u64().unwrap();
    assert!(life > 60 && card["age_s"].as_u64().unwrap() < 300, "{card}");
    let times = whole["events"].as_array().unwrap().iter();
    let times: Vec<_> = times.map(|event| event["at"].as_u64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");

    nothing_of_the_person(&world, &whole, &visitor);
    world.stop().await;
}

/// The whole text has no token (three parts with dots between), no name, no id of the user and nothing of the session.
fn nothing_of_the_person(world: &World, flow: &Value, visitor: &Visitor) {
    let text = flow.to_string();
    let directory = world.demo.authority().directory();
    let user = directory.user("alice").unwrap();
    let session = integration_tests::html::attribute(
        &visitor.page.body,
        ("name", "session-token"),
        "content",
    );
    for secret in [
        ".eyJ",
        "Alice",
        "alice",
        "Liddell",
        &user.oid.to_string(),
        &session.unwrap(),
        OTP,
    ] {
        assert!(!text.contains(secret), "{secret} in {text}");
    }
}

#[tokio::test]
async fn a_cached_token_is_seen_as_such() {
    let world = World::start().await;
    assert!(world.demo.authority().set_policy(POLICY, false));
    let mut visitor = Visitor::signed_in(&world, "alice").await;
    assert_eq!(visitor.call("/api/api").await.status, 200);
    let id = begin(&mut visitor).await;
    assert_eq!(call(&mut visitor, "/api/api", &id).await.status, 200);
    let flow = flow(&mut visitor, &id).await;
    assert_eq!(flow["token_requests"], 0);
    assert_eq!(
        story(&flow),
        [
            "call browser>spa-backend",
            "call spa-backend>middle-tier",
            "accepted at middle-tier",
            "token authority>middle-tier",
            "call middle-tier>downstream-api",
            "accepted at downstream-api",
            "answer downstream-api>middle-tier",
            "answer middle-tier>spa-backend",
            "answer spa-backend>browser",
        ]
    );
    let token = find(&flow, "token authority>middle-tier")[0];
    assert_eq!(token["source"], "memory");
    let sent = find(&flow, "call middle-tier>downstream-api")[0];
    assert_eq!(sent["token_source"], "memory");
    world.stop().await;
}

#[tokio::test]
async fn an_apis_own_demand_is_seen_going_up_and_being_met() {
    for (path, protocol) in [("/api/secure", "http"), ("/api/grpc/secure", "grpc")] {
        let world = World::start().await;
        assert!(world.demo.authority().set_policy(POLICY, false));
        let mut visitor = Visitor::signed_in(&world, "alice").await;
        let id = begin(&mut visitor).await;
        let refused = call(&mut visitor, path, &id).await;
        assert_eq!(error_of(&refused), "step_up_required");
        let answer = step_up(&world, &mut visitor, &refused).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let flow = flow(&mut visitor, &id).await;

        let demanded = json!({"access_token": {"acrs": {"essential": true, "value": "c1"}}});
        let answers = find(&flow, "answer downstream-api>middle-tier");
        let demand = &answers[0]["challenge"];
        assert_eq!(
            (&demand["error"], &demand["claims"]),
            (&json!("insufficient_claims"), &demanded)
        );
        assert!(
            demand["header"]
                .as_str()
                .unwrap()
                .starts_with("Bearer realm=")
        );
        let grpc_status = |answer: &Value| answer["grpc_status"].clone();
        match protocol {
            "grpc" => assert_eq!(
                (&answers[0]["status"], grpc_status(answers[0])),
                (&json!(200), json!(16))
            ),
            _ => assert_eq!(
                (&answers[0]["status"], grpc_status(answers[0])),
                (&json!(401), Value::Null)
            ),
        }
        let sent = find(&flow, "call middle-tier>downstream-api");
        assert!(
            sent.iter().all(|sent| sent["protocol"] == protocol),
            "{flow:#}"
        );
        let url = sent[0]["url"].as_str().unwrap();
        assert!(url.starts_with(world.demo.downstream().as_str()), "{url}");
        // The downstream's demand goes to the authority, which wants the person; with the new token the API is content at once.
        let attempts: Vec<_> = sent.iter().map(|sent| &sent["attempt"]).collect();
        assert_eq!(attempts, [1, 1], "{flow:#}");
        let asked = find(&flow, "token_request middle-tier>authority");
        let claims: Vec<_> = asked.iter().map(|asked| asked["claims"].clone()).collect();
        assert_eq!(
            claims,
            [Value::Null, demanded.clone(), Value::Null],
            "{flow:#}"
        );
        let no = find(&flow, "token_refused authority>middle-tier");
        assert_eq!((no.len(), &no[0]["claims"]), (1, &demanded));
        world.stop().await;
    }
}

#[tokio::test]
async fn a_demand_that_needs_no_person_is_seen_as_a_second_attempt() {
    let world = World::start().await;
    let downstream = MockServer::start().await;
    let demanded = json!({"access_token": {"acrs": {"essential": true, "value": "c1"}}});
    let header = format!(
        "Bearer realm=\"\", error=\"insufficient_claims\", claims=\"{}\"",
        STANDARD.encode(demanded.to_string())
    );
    let challenge = ResponseTemplate::new(401).insert_header("www-authenticate", &*header);
    let once = Mock::given(any()).respond_with(challenge).up_to_n_times(1);
    once.mount(&downstream).await;
    Mock::given(any())
        .respond_with(ResponseTemplate::new(200))
        .mount(&downstream)
        .await;
    let base = middle_tier_before(&world, &downstream.uri()).await;
    let told = told(&base, "/api", &world.token(alice().mfa().acrs(["c1"]))).await;
    assert_eq!(
        story(&told),
        [
            "accepted at middle-tier",
            "token_request middle-tier>authority",
            "token authority>middle-tier",
            "call middle-tier>downstream-api",
            "answer downstream-api>middle-tier",
            "token_request middle-tier>authority",
            "token authority>middle-tier",
            "call middle-tier>downstream-api",
            "answer downstream-api>middle-tier",
        ]
    );
    let events = &told["events"];
    assert_eq!(
        (&events[3]["attempt"], &events[7]["attempt"]),
        (&json!(1), &json!(2))
    );
    assert_eq!(
        events[4]["challenge"],
        json!({"header": header, "error": "insufficient_claims", "claims": demanded})
    );
    assert_eq!(
        (&events[1]["claims"], &events[5]["claims"]),
        (&Value::Null, &demanded)
    );
    world.stop().await;
}

#[tokio::test]
async fn a_flow_is_shown_to_its_session_only() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let mut bob = Visitor::signed_in(&world, "bob").await;
    let mut elsewhere = Visitor::signed_in(&world, "alice").await;
    let id = begin(&mut alice).await;
    call(&mut alice, "/api/api", &id).await;
    let path = format!("/flows/{id}");
    for other in [&mut bob, &mut elsewhere] {
        let answer = other.send_with(Method::GET, &path, &[], None).await;
        assert_eq!(answer.status, 404, "{answer:?}");
        assert_eq!(error_of(&answer), "flow_unknown");
        // Nor can they add to it.
        let answer = other
            .send_with(Method::GET, "/api/api", &[("x-flow", &id)], None)
            .await;
        let own = answer.headers["x-correlation-id"]
            .to_str()
            .unwrap()
            .to_owned();
        assert_ne!(own, id);
        assert_eq!(story(&flow(other, &own).await), REFUSED);
    }
    assert_eq!(story(&flow(&mut alice, &id).await), REFUSED);

    for (method, path) in [(Method::POST, "/flows"), (Method::GET, &*path)] {
        for foreign in [
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
        ] {
            let answer = alice
                .send_with(method.clone(), path, &[foreign], None)
                .await;
            assert_eq!(answer.status, 403, "{foreign:?} {answer:?}");
        }
    }
    alice.person.jar.forget("spa-session");
    let answer = alice.send_with(Method::POST, "/flows", &[], None).await;
    assert_eq!(answer.status, 401, "{answer:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_flood_of_flows_pushes_out_the_floods_own() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let mut bob = Visitor::signed_in(&world, "bob").await;
    let kept = begin(&mut bob).await;
    let first = begin(&mut alice).await;
    for _ in 0..50 {
        begin(&mut alice).await;
    }
    let path = format!("/flows/{first}");
    let gone = alice.send_with(Method::GET, &path, &[], None).await;
    assert_eq!(gone.status, 404, "{gone:?}");
    flow(&mut bob, &kept).await;
    world.stop().await;
}

#[tokio::test]
async fn a_services_flows_are_told_under_its_own_name_only() {
    let world = World::start().await;
    for base in [world.demo.middle_tier(), world.demo.downstream()] {
        let path = format!("/flow/{ID}");
        let own = ask(base, &path, &[]).await;
        assert_eq!(own.status(), 200);
        assert_eq!(own.text().await.unwrap(), r#"{"events":[]}"#);
        let rebound = ask(base, &path, &[("host", "evil.example")]).await;
        assert_eq!(rebound.status(), 421);
    }
    world.stop().await;
}

#[tokio::test]
async fn a_tier_that_is_not_there_shows() {
    let world = World::start().await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = nobody.local_addr().unwrap();
    drop(nobody);
    let token = world.token(alice().mfa());
    for (path, protocol) in [("/api", "http"), ("/grpc/api", "grpc")] {
        let base = middle_tier_before(&world, &format!("http://{address}")).await;
        let told = told(&base, path, &token).await;
        assert_eq!(
            story(&told),
            [
                "accepted at middle-tier",
                "token_request middle-tier>authority",
                "token authority>middle-tier",
                "call middle-tier>downstream-api",
                "no_answer downstream-api>middle-tier",
            ]
        );
        assert_eq!(told["events"][3]["protocol"], protocol);
        assert_eq!(told["events"][4]["reason"], "unreachable", "{protocol}");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_authority_that_is_away_shows() {
    let world = World::start().await;
    let downstream = world.demo.downstream().to_string();
    let base = middle_tier_before(&world, &downstream).await;
    let token = world.token(alice().mfa());
    // So that the keys are there.
    assert_eq!(
        world.get(&base, "/nowhere", Some(&token)).await.status(),
        404
    );
    let fault = Fault::status(503);
    world
        .demo
        .authority()
        .fail_next(Endpoint::Token, 100, fault);
    let told = told(&base, "/api", &token).await;
    assert_eq!(
        story(&told),
        [
            "accepted at middle-tier",
            "token_request middle-tier>authority",
            "token_refused authority>middle-tier",
        ]
    );
    assert_eq!(told["events"][2]["error"], "unavailable");
    world.stop().await;
}
