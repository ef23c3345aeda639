//! The person's own profile, from the page's calls to the Graph-like API: seen freely, edited behind a second factor.

use demo_services::{
    config::{AuthorityConfig, MiddleTierConfig, ProfileConfig},
    middle_tier,
};
use integration_tests::{
    challenge::Challenge,
    html,
    person::{Page, Person},
    visitor::{Visitor, error_of},
    world::World,
};
use listening::{Listeners, Reach, serve};
use local_authority::{Endpoint, Fault, TokenSpec, User};
use reqwest::{
    Client, Method, Response,
    header::{ALLOW, CONTENT_TYPE, RETRY_AFTER},
};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::{
    io::AsyncReadExt,
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, unbounded_channel},
};
use url::Url;
use wiremock::{Mock, MockServer, ResponseTemplate, matchers::any};

const OTP: &str = "123456";
const POLICY: &str = "MFA for editing the profile";
/// Privileged and unassigned: nothing listens there.
const NOBODY: &str = "http://127.0.0.1:1";

fn user(world: &World, name: &str) -> User {
    let directory = world.demo.authority().directory();
    directory.user(name).unwrap().clone()
}

/// Answers the step-up that a refusal demands; the page that comes back.
async fn with_second_factor(visitor: &mut Visitor, refused: &Page) -> Page {
    let mfa = visitor.go(refused).await;
    visitor.give_code(&mfa, OTP).await
}

/// Signed in, with the form open: the session has a second factor.
async fn at_the_form(world: &World, name: &str) -> Visitor {
    let mut visitor = Visitor::signed_in(world, name).await;
    let refused = visitor.call("/api/profile/edit").await;
    let back = with_second_factor(&mut visitor, &refused).await;
    let form = visitor.complete(back).await;
    assert_eq!(form.status, 200, "{form:?}");
    visitor
}

fn change(changes: &Value) -> String {
    changes.to_string()
}

/// A token with which alice may do everything, the gate included.
fn good() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier")
        .mfa()
        .capabilities(["cp1"])
}

/// A call of a middle tier as a program makes it, past the page.
async fn call(base: &Url, method: Method, path: &str, token: &str, body: Option<&str>) -> Response {
    let http = Client::builder().no_proxy().build().unwrap();
    let mut request = http
        .request(method, base.join(path).unwrap())
        .bearer_auth(token);
    if let Some(body) = body {
        request = request
            .header(CONTENT_TYPE, "application/json")
            .body(body.to_owned());
    }
    request.send().await.unwrap()
}

/// A middle tier of the world's authority before a Graph that does as it is told; none without one.
async fn middle_tier_before(world: &World, graph: Option<&str>) -> Url {
    let directory = world.demo.authority().directory();
    let app = directory.app("middle-tier").unwrap();
    let service = middle_tier::service(&MiddleTierConfig {
        listen: String::new(),
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
        downstream: NOBODY.parse().unwrap(),
        downstream_scope: "api://downstream-api/user_impersonation".into(),
        shared_tokens: None,
        profile: graph.map(|graph| ProfileConfig {
            graph: graph.parse().unwrap(),
            read_scope: "https://graph.microsoft.com/User.Read".into(),
            write_scope: "https://graph.microsoft.com/User.ReadWrite".into(),
            gate_scope: "api://profile-mfa/User.MFA".into(),
        }),
        allowed_origins: Default::default(),
        trust: Default::default(),
        tls: None,
        trusted_proxies: Default::default(),
        flow_events: false,
        samples_way: false,
    });
    let listeners = Listeners::bind("localhost:0", Reach::Loopback)
        .await
        .unwrap();
    let base = format!("http://localhost:{}", listeners.port());
    tokio::spawn(serve(listeners, service.unwrap(), std::future::pending()));
    base.parse().unwrap()
}

#[tokio::test]
async fn a_profile_is_shown_without_a_second_factor_and_to_its_owner_only() {
    let world = World::start().await;
    for (name, oid) in [
        ("alice", "a11ce000-0000-4000-8000-000000000001"),
        ("bob", "b0b00000-0000-4000-8000-000000000002"),
    ] {
        let mut visitor = Visitor::signed_in(&world, name).await;
        let shown = visitor.call("/api/profile").await;
        assert_eq!(shown.status, 200, "{shown:?}");
        let owner = user(&world, name);
        let expected = json!({
            "id": oid,
            "displayName": owner.display_name,
            "givenName": owner.given_name,
            "surname": owner.surname,
            "mail": owner.mail,
            "userPrincipalName": owner.username,
        });
        assert_eq!(shown.json(), expected);
    }
    world.stop().await;
}

#[tokio::test]
async fn opening_the_form_asks_for_a_second_factor_and_goes_on() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/profile/edit").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(error_of(&refused), "step_up_required");
    assert_eq!(world.asked(Endpoint::Me), 0);

    let back = with_second_factor(&mut alice, &refused).await;
    assert_eq!(back.url.path(), "/profile", "{back:?}");
    let kind = html::attribute(&back.body, ("class", "outcome"), "data-kind");
    assert_eq!(kind.as_deref(), Some("edit"));
    let form = alice.complete(back).await;
    assert_eq!(form.status, 200, "{form:?}");
    assert_eq!(form.json()["displayName"], "Alice Liddell");

    let again = alice.call("/api/profile/edit").await;
    assert_eq!(again.status, 200, "{again:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_change_is_saved_member_by_member() {
    let world = World::start().await;
    let mut alice = at_the_form(&world, "alice").await;
    let before = user(&world, "alice");
    let asked = world.asked(Endpoint::Me);
    let body = change(&json!({ "displayName": "Alice P. Liddell", "surname": "" }));
    let saved = alice.patch("/api/profile", body).await;
    assert_eq!((saved.status.as_u16(), saved.body.as_str()), (204, ""));
    assert_eq!(world.asked(Endpoint::Me), asked + 1);

    let after = user(&world, "alice");
    assert_eq!(after.display_name, "Alice P. Liddell");
    assert_eq!(after.surname, None);
    assert_eq!(
        (after.given_name, after.mail),
        (before.given_name, before.mail)
    );
    let shown = alice.call("/api/profile").await.json();
    assert_eq!(
        (&shown["displayName"], &shown["surname"]),
        (&json!("Alice P. Liddell"), &Value::Null)
    );
    assert_eq!(user(&world, "bob").display_name, "Bob Stone");
    world.stop().await;
}

#[tokio::test]
async fn of_two_changes_at_one_time_both_are_made_and_the_last_wins_where_they_meet() {
    let world = World::start().await;
    let base = world.demo.middle_tier();
    let token = world.token(good());
    let patch = async |body: &str| {
        let answer = call(base, Method::PATCH, "/profile", &token, Some(body)).await;
        assert_eq!(answer.status(), 204, "{body}");
    };
    tokio::join!(
        patch(r#"{"displayName":"One","givenName":"G"}"#),
        patch(r#"{"displayName":"Two","surname":"S"}"#)
    );
    let after = user(&world, "alice");
    assert!(["One", "Two"].contains(&&*after.display_name));
    assert_eq!(after.given_name.as_deref(), Some("G"));
    assert_eq!(after.surname.as_deref(), Some("S"));
    world.stop().await;
}

/// The policy comes while the form is open: the gate is asked again when the form is sent.
#[tokio::test]
async fn a_save_that_is_challenged_is_applied_exactly_once_after_the_second_factor() {
    let world = World::start().await;
    let authority = world.demo.authority();
    assert!(authority.set_policy(POLICY, false));
    let mut alice = Visitor::signed_in(&world, "alice").await;
    assert_eq!(alice.call("/api/profile/edit").await.status, 200);
    assert!(authority.set_policy(POLICY, true));

    let asked = world.asked(Endpoint::Me);
    let body = change(&json!({ "displayName": "Alice, changed" }));
    let refused = alice.patch("/api/profile", body).await;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(error_of(&refused), "step_up_required");
    assert_eq!(world.asked(Endpoint::Me), asked, "nothing was sent");
    assert_eq!(user(&world, "alice").display_name, "Alice Liddell");

    let back = with_second_factor(&mut alice, &refused).await;
    assert_eq!(back.url.path(), "/profile", "{back:?}");
    let kind = html::attribute(&back.body, ("class", "outcome"), "data-kind");
    assert_eq!(kind.as_deref(), Some("save"));
    let saved = alice.complete(back.clone()).await;
    assert_eq!(saved.status, 204, "{saved:?}");
    assert_eq!(world.asked(Endpoint::Me), asked + 1);
    assert_eq!(user(&world, "alice").display_name, "Alice, changed");

    // Somebody presses reload, or sends the same once more by hand.
    let again = alice.complete(back).await;
    assert_eq!(again.status, 410, "{again:?}");
    assert_eq!(error_of(&again), "operation_sent");
    assert_eq!(world.asked(Endpoint::Me), asked + 1);
    world.stop().await;
}

#[tokio::test]
async fn a_step_up_that_somebody_else_answers_changes_nobodys_profile() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let body = change(&json!({ "displayName": "Mallory" }));
    let refused = alice.patch("/api/profile", body).await;
    assert_eq!(error_of(&refused), "step_up_required");

    // The authority has forgotten alice, and bob signs in where she is waited for.
    alice.person.jar.forget("authority-session");
    let form = alice.go(&refused).await;
    let mfa = alice
        .give_password(&form, "bob@contoso.example", "bob-the-builder")
        .await;
    let page = alice.give_code(&mfa, OTP).await;
    assert!(page.says("dropped without being sent"), "{page:?}");
    assert!(page.says("Alice Liddell"), "still her session: {page:?}");
    assert_eq!(world.asked(Endpoint::Me), 0);

    // Nor later: the operation is gone.
    let go = refused.json()["go"].as_str().unwrap().to_owned();
    let operation = go.rsplit_once('=').unwrap().1.to_owned();
    let page = alice
        .person
        .follow(&page, &format!("/profile?op={operation}"))
        .await;
    let answer = alice.complete(page).await;
    assert_eq!(error_of(&answer), "operation_unknown");
    assert_eq!(world.asked(Endpoint::Me), 0);
    for (name, display_name) in [("alice", "Alice Liddell"), ("bob", "Bob Stone")] {
        assert_eq!(user(&world, name).display_name, display_name);
    }
    world.stop().await;
}

#[tokio::test]
async fn who_has_no_second_factor_may_look_and_not_edit() {
    let world = World::start().await;
    let mut carol = Visitor::signed_in(&world, "carol").await;
    assert_eq!(carol.call("/api/profile").await.status, 200);
    let asked = world.asked(Endpoint::Me);
    let body = change(&json!({ "displayName": "Caroline" }));
    let refused = carol.patch("/api/profile", body).await;
    let page = carol.go(&refused).await;
    assert!(page.says("second factor"), "{page:?}");
    assert_eq!(world.asked(Endpoint::Me), asked);
    world.stop().await;
}

#[tokio::test]
async fn a_change_that_breaks_a_rule_is_refused_before_anybody_is_asked() {
    let world = World::start().await;
    let mut alice = at_the_form(&world, "alice").await;
    let asked = (world.asked(Endpoint::Me), world.asked(Endpoint::Token));
    let long = |length: usize| json!({ "displayName": "x".repeat(length) }).to_string();
    let rows = [
        ("{}".to_owned(), 400, "invalid_change", Value::Null),
        ("[]".to_owned(), 400, "invalid_change", Value::Null),
        ("".to_owned(), 400, "invalid_change", Value::Null),
        (
            r#"{"displayName":"Wonderland","mail":"w@example"}"#.to_owned(),
            400,
            "invalid_change",
            Value::Null,
        ),
        (
            r#"{"displayName":"Wonderland","passwordProfile":{}}"#.to_owned(),
            400,
            "invalid_change",
            Value::Null,
        ),
        (
            r#"{"displayName":""}"#.to_owned(),
            400,
            "invalid_change",
            json!("displayName"),
        ),
        (
            r#"{"surname":17}"#.to_owned(),
            400,
            "invalid_change",
            json!("surname"),
        ),
        (
            "{\"givenName\":\"Wonderland\\u0007\"}".to_owned(),
            400,
            "invalid_change",
            json!("givenName"),
        ),
        (long(257), 400, "invalid_change", json!("displayName")),
        (long(4096), 413, "too_large", Value::Null),
    ];
    for (body, status, error, field) in rows {
        let answer = alice.patch("/api/profile", body.clone()).await;
        assert_eq!(answer.status, status, "{body}: {answer:?}");
        let told = answer.json();
        assert_eq!((&told["error"], &told["field"]), (&json!(error), &field));
        assert_eq!(told["status"], status, "{told}");
        assert!(told["correlation_id"].is_string(), "{told}");
        let detail = told["detail"].as_str().unwrap();
        assert!(detail.ends_with("Nothing was changed."), "{detail}");
        assert!(!answer.body.contains("Wonderland"), "{told}");
    }
    assert_eq!(
        asked,
        (world.asked(Endpoint::Me), world.asked(Endpoint::Token))
    );
    assert_eq!(user(&world, "alice").display_name, "Alice Liddell");

    assert_eq!(alice.patch("/api/profile", long(256)).await.status, 204);
    world.stop().await;
}

#[tokio::test]
async fn a_change_is_json_and_says_so() {
    let world = World::start().await;
    let (base, token) = (world.demo.middle_tier(), world.token(good()));
    let http = Client::builder().no_proxy().build().unwrap();
    let body = r#"{"displayName":"x"}"#;
    for (kind, status) in [
        (None, 415),
        (Some("text/plain"), 415),
        (Some("application/x-www-form-urlencoded"), 415),
        (Some("application/json; charset=utf-8"), 204),
    ] {
        let mut request = http
            .patch(base.join("/profile").unwrap())
            .bearer_auth(&token)
            .body(body);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, kind);
        }
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), status, "{kind:?}");
    }
    let other = call(base, Method::DELETE, "/profile", &token, None).await;
    assert_eq!(other.status(), 405);
    assert_eq!(other.headers()[ALLOW], "GET, PATCH");
    world.stop().await;
}

/// Whoever calls the API itself, with `curl` and a token without a second factor, meets the gate as well.
#[tokio::test]
async fn the_gate_is_at_the_api_and_not_in_the_page() {
    let world = World::start().await;
    let base = world.demo.middle_tier();
    let directory = world.demo.authority().directory();
    let policy = directory.policy(POLICY).unwrap().id.to_string();
    let body = r#"{"displayName":"Alice, changed"}"#;
    let without = world.token(TokenSpec::user("alice", "middle-tier"));
    for (method, path, body) in [
        (Method::GET, "/profile/edit", None),
        (Method::PATCH, "/profile", Some(body)),
    ] {
        let answer = call(base, method, path, &without, body).await;
        assert_eq!(answer.status(), 401, "{path}");
        let challenge = Challenge::of(answer.headers());
        assert_eq!(challenge.get("error"), Some("insufficient_claims"));
        let claims = challenge.claims();
        assert_eq!(
            claims["access_token"]["capolids"]["values"],
            json!([policy]),
            "{claims}"
        );
    }
    for (what, spec, status) in [
        ("without the scope", good().scopes::<&str>([]), 403),
        ("app only", TokenSpec::app("daemon", "middle-tier"), 403),
        ("forged", good().foreign_key(), 401),
        (
            "of another API",
            TokenSpec::user("alice", "downstream-api"),
            401,
        ),
    ] {
        let token = world.token(spec);
        let answer = call(base, Method::PATCH, "/profile", &token, Some(body)).await;
        assert_eq!(answer.status(), status, "{what}");
    }
    assert_eq!(world.asked(Endpoint::Me), 0);
    assert_eq!(user(&world, "alice").display_name, "Alice Liddell");

    let token = world.token(good());
    let form = call(base, Method::GET, "/profile/edit", &token, None).await;
    assert_eq!(form.status(), 200);
    let saved = call(base, Method::PATCH, "/profile", &token, Some(body)).await;
    assert_eq!(saved.status(), 204);
    assert_eq!(user(&world, "alice").display_name, "Alice, changed");
    world.stop().await;
}

#[tokio::test]
async fn what_graph_says_is_told_by_what_it_means_for_the_change() {
    let world = World::start().await;
    let authority = world.demo.authority();
    let mut alice = at_the_form(&world, "alice").await;
    let body = || change(&json!({ "displayName": "Alice, changed" }));
    let fault = Fault::status;
    for (fault, status, error, later) in [
        (
            fault(429).with_retry_after(17),
            503,
            "directory_busy",
            Some("17"),
        ),
        (fault(503), 503, "directory_busy", Some("5")),
        (fault(500), 502, "outcome_unknown", None),
        (fault(504), 502, "outcome_unknown", None),
        (fault(400).with_body("{}"), 422, "change_refused", None),
        (fault(403), 403, "profile_forbidden", None),
        (fault(404), 404, "no_profile", None),
        (fault(409), 502, "profile_broken", None),
    ] {
        let asked = world.asked(Endpoint::Me);
        authority.fail_next(Endpoint::Me, 1, fault);
        let answer = alice.patch("/api/profile", body()).await;
        assert_eq!(answer.status, status, "{answer:?}");
        assert_eq!(error_of(&answer), error);
        let said = answer
            .headers
            .get(RETRY_AFTER)
            .map(|value| value.to_str().unwrap());
        assert_eq!(said, later, "{error}");
        assert_eq!(world.asked(Endpoint::Me), asked + 1, "{error}: sent once");
    }
    assert_eq!(user(&world, "alice").display_name, "Alice Liddell");

    for (status, told) in [(500, 503), (429, 503), (403, 403)] {
        authority.fail_next(Endpoint::Me, 1, fault(status));
        assert_eq!(alice.call("/api/profile").await.status, told, "{status}");
    }
    // Late is not lost.
    let delay = Fault::delay(Duration::from_millis(300));
    authority.fail_next(Endpoint::Me, 1, delay);
    assert_eq!(alice.patch("/api/profile", body()).await.status, 204);
    assert_eq!(user(&world, "alice").display_name, "Alice, changed");
    world.stop().await;
}

#[tokio::test]
async fn an_outage_of_the_authority_keeps_the_gate_shut() {
    let world = World::start().await;
    let authority = world.demo.authority();
    let mut alice = at_the_form(&world, "alice").await;
    let asked = world.asked(Endpoint::Me);
    let body = || change(&json!({ "displayName": "Alice, changed" }));
    authority.fail_next(Endpoint::Token, 100, Fault::status(503));
    let answer = alice.patch("/api/profile", body()).await;
    assert_eq!(answer.status, 503, "{answer:?}");
    assert!(answer.headers.contains_key(RETRY_AFTER), "{answer:?}");
    assert_eq!(world.asked(Endpoint::Me), asked);
    authority.fail_next(Endpoint::Token, 0, Fault::default());
    assert_eq!(alice.patch("/api/profile", body()).await.status, 204);
    world.stop().await;
}

/// Reads whole requests and hangs up without an answer; tells their first lines.
async fn hangs_up() -> (String, UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, seen) = unbounded_channel();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut text = String::new();
            // What is asked ends with its head, a change with its body.
            let whole = |text: &str| match text.starts_with("GET") {
                true => text.ends_with("\r\n\r\n"),
                false => text.ends_with('}'),
            };
            while !whole(&text) {
                let mut part = [0; 4096];
                match stream.read(&mut part).await {
                    Ok(length) if length > 0 => text += &String::from_utf8_lossy(&part[..length]),
                    _ => break,
                }
            }
            let _ = told.send(text.lines().next().unwrap_or_default().to_owned());
        }
    });
    (url, seen)
}

#[tokio::test]
async fn a_change_whose_answer_is_lost_is_unknown_and_not_sent_again() {
    let world = World::start().await;
    let (graph, mut seen) = hangs_up().await;
    let base = middle_tier_before(&world, Some(&graph)).await;
    let token = world.token(good());
    let body = r#"{"displayName":"x"}"#;
    let answer = call(&base, Method::PATCH, "/profile", &token, Some(body)).await;
    assert_eq!(answer.status(), 502);
    let told: Value = answer.json().await.unwrap();
    assert_eq!(told["error"], "outcome_unknown");
    assert!(
        told["detail"].as_str().unwrap().contains("unknown"),
        "{told}"
    );
    assert_eq!(seen.recv().await.unwrap(), "PATCH /v1.0/me HTTP/1.1");

    // Asking changes nothing, so that it may be tried again. What comes next shows that no second PATCH came between.
    let answer = call(&base, Method::GET, "/profile", &token, None).await;
    assert_eq!(answer.status(), 503);
    assert!(seen.recv().await.unwrap().starts_with("GET /v1.0/me?"));
    world.stop().await;
}

#[tokio::test]
async fn a_graph_that_cannot_be_reached_was_sent_nothing() {
    let world = World::start().await;
    let base = middle_tier_before(&world, Some(NOBODY)).await;
    let token = world.token(good());
    let body = r#"{"displayName":"x"}"#;
    for (method, body) in [(Method::PATCH, Some(body)), (Method::GET, None)] {
        let answer = call(&base, method, "/profile", &token, body).await;
        assert_eq!(answer.status(), 503);
        assert!(answer.headers().contains_key(RETRY_AFTER));
        let told: Value = answer.json().await.unwrap();
        assert_eq!(told["error"], "directory_busy");
    }
    world.stop().await;
}

#[tokio::test]
async fn an_answer_that_is_no_profile_is_not_passed_on() {
    let world = World::start().await;
    let token = world.token(good());
    let good = r#"{"id":"1","userPrincipalName":"u","displayName":"A","secret":"Wonderland"}"#;
    for (body, status) in [
        (good.to_owned(), 200),
        ("<html>Wonderland".to_owned(), 502),
        (r#"{"id":"1"}"#.to_owned(), 502),
        (good.replace("\"A\"", "{}"), 502),
        (good.replace('A', &"A".repeat(70_000)), 503),
    ] {
        let graph = MockServer::start().await;
        let answer = ResponseTemplate::new(200).set_body_string(body);
        Mock::given(any()).respond_with(answer).mount(&graph).await;
        let base = middle_tier_before(&world, Some(&graph.uri())).await;
        let answer = call(&base, Method::GET, "/profile", &token, None).await;
        assert_eq!(answer.status(), status);
        assert!(!answer.text().await.unwrap().contains("Wonderland"));
    }
    world.stop().await;
}

/// A refused token means that the change was not made, so it is sent again, once, with another token.
#[tokio::test]
async fn a_change_is_repeated_only_if_its_token_was_refused() {
    let world = World::start().await;
    let token = world.token(good());
    let body = r#"{"displayName":"x"}"#;
    for (refusals, status, sent) in [(0, 204, 1), (1, 204, 2), (2, 502, 2)] {
        let graph = MockServer::start().await;
        if refusals > 0 {
            Mock::given(any())
                .respond_with(ResponseTemplate::new(401))
                .up_to_n_times(refusals)
                .mount(&graph)
                .await;
        }
        Mock::given(any())
            .respond_with(ResponseTemplate::new(204))
            .mount(&graph)
            .await;
        let base = middle_tier_before(&world, Some(&graph.uri())).await;
        let answer = call(&base, Method::PATCH, "/profile", &token, Some(body)).await;
        assert_eq!(answer.status(), status, "{refusals}");
        let requests = graph.received_requests().await.unwrap();
        assert_eq!(requests.len(), sent, "{refusals}");
        for request in requests {
            assert_eq!(request.body, body.as_bytes());
            assert_eq!(request.headers[CONTENT_TYPE], "application/json");
            let bearer = request.headers["authorization"].to_str().unwrap();
            assert!(!bearer.contains(&token), "the caller's token stays here");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn without_its_part_of_the_configuration_there_is_no_profile() {
    let world = World::start().await;
    let base = middle_tier_before(&world, None).await;
    let token = world.token(good());
    for (method, path) in [
        (Method::GET, "/profile"),
        (Method::GET, "/profile/edit"),
        (Method::PATCH, "/profile"),
    ] {
        let answer = call(&base, method, path, &token, Some("{}")).await;
        assert_eq!(answer.status(), 404, "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn the_page_is_for_who_is_signed_in_and_is_come_back_to() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let page = world.demo.spa().join("/profile").unwrap();
    let form = visitor.person.open(&page).await;
    let back = visitor
        .give_password(&form, "alice@contoso.example", "alice-in-wonderland")
        .await;
    assert_eq!(back.url.path(), "/profile", "{back:?}");
    assert!(back.says("Your profile") && back.says("Alice Liddell"));
    assert!(!back.body.contains("style=") && !back.body.contains("<style"));

    // With an operation that went with the session, that is said after the new sign-in.
    let mut stranger = Person::new();
    let form = stranger.open(&page.join("?op=abc").unwrap()).await;
    let fields = [
        ("username", "alice@contoso.example"),
        ("password", "alice-in-wonderland"),
    ];
    let back = stranger
        .submit(&form, &form.form_with("password"), &fields)
        .await;
    assert_eq!(back.url.path(), "/profile", "{back:?}");
    assert!(back.says("was not carried out"), "{back:?}");
    world.stop().await;
}
