//! `/v1.0/me`.

use serde_json::{Value, json};

use crate::graph::code;
use crate::harness::{Answer, Browser, Harness, MIDDLE, claims};

const BOTH: [&str; 1] = ["User.ReadWrite"];

async fn patch(authority: &Harness, user: &str, body: Value) -> Answer {
    let token = authority.graph_token(user, &BOTH);
    authority.graph(&token, "PATCH", "me", Some(body)).await
}

async fn get(authority: &Harness, user: &str) -> Value {
    let token = authority.graph_token(user, &BOTH);
    authority.graph(&token, "GET", "me", None).await.json()
}

#[tokio::test]
async fn the_profile_has_the_properties_of_graph() {
    let authority = Harness::start().await;
    assert_eq!(
        get(&authority, "alice").await,
        json!({
            "@odata.context": format!("{}/v1.0/$metadata#users/$entity", authority.running.url()),
            "id": "a11ce000-0000-4000-8000-000000000001",
            "displayName": "Alice Liddell",
            "givenName": "Alice",
            "surname": "Liddell",
            "mail": "alice@contoso.example",
            "userPrincipalName": "alice@contoso.example",
            "businessPhones": [],
            "jobTitle": null,
            "mobilePhone": null,
            "officeLocation": null,
            "preferredLanguage": null,
        })
    );
    let token = authority.graph_token("alice", &BOTH);
    let answer = authority
        .graph(&token, "GET", "me?$select=surname,city", None)
        .await
        .json();
    assert_eq!(answer.as_object().unwrap().len(), 3);
    assert_eq!(
        (&answer["surname"], &answer["city"]),
        (&json!("Liddell"), &Value::Null)
    );
}

#[tokio::test]
async fn two_users_see_and_change_only_their_own_profile() {
    let authority = Harness::start().await;
    let answer = patch(
        &authority,
        "alice",
        json!({ "displayName": "Alice L.", "mobilePhone": "+1 555 0100" }),
    )
    .await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    assert_eq!(
        patch(&authority, "bob", json!({ "jobTitle": "Builder" }))
            .await
            .status,
        204
    );
    let (alice, bob) = (get(&authority, "alice").await, get(&authority, "bob").await);
    assert_eq!(
        (
            &alice["displayName"],
            &alice["mobilePhone"],
            &alice["jobTitle"]
        ),
        (&json!("Alice L."), &json!("+1 555 0100"), &Value::Null)
    );
    assert_eq!(
        (&bob["displayName"], &bob["mobilePhone"], &bob["jobTitle"]),
        (&json!("Bob Stone"), &Value::Null, &json!("Builder"))
    );
}

#[tokio::test]
async fn each_rule_of_a_change_holds_and_a_bad_one_changes_nothing() {
    let authority = Harness::start().await;
    let before = get(&authority, "alice").await;
    let long = |length: usize| "x".repeat(length);
    for (name, bad, status) in [
        ("favouriteColour", json!("blue"), 400),
        ("id", json!("a11ce000-0000-4000-8000-000000000002"), 400),
        ("userPrincipalName", json!("root@contoso.example"), 403),
        ("mail", json!("root@contoso.example"), 403),
        ("accountEnabled", json!(false), 403),
        ("displayName", json!(5), 400),
        ("displayName", json!(""), 400),
        ("displayName", json!("  "), 400),
        ("displayName", Value::Null, 400),
        ("displayName", json!(long(257)), 400),
        ("givenName", json!(long(65)), 400),
        ("givenName", json!(""), 400),
        ("surname", json!(long(65)), 400),
        ("businessPhones", json!("1"), 400),
        ("businessPhones", json!(["1", "2"]), 400),
    ] {
        // A good property on either side.
        let body = json!({ "city": "x", name: bad, "surname2": null });
        let mut body = body.as_object().unwrap().clone();
        body.remove("surname2");
        let answer = patch(&authority, "alice", Value::Object(body)).await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text);
        let expected = if status == 403 {
            "Authorization_RequestDenied"
        } else {
            "Request_BadRequest"
        };
        assert_eq!(code(&answer).1, expected);
        assert_eq!(get(&authority, "alice").await, before, "{name}");
    }
    let token = authority.graph_token("alice", &BOTH);
    let city = authority
        .graph(&token, "GET", "me?$select=city", None)
        .await
        .json();
    assert_eq!(city["city"], Value::Null, "all or nothing");
    for (name, good) in [
        ("displayName", json!(long(256))),
        ("givenName", json!(long(64))),
        ("surname", json!("\u{e9}".repeat(64))),
        ("givenName", Value::Null),
        ("businessPhones", json!(["1"])),
    ] {
        assert_eq!(
            patch(&authority, "alice", json!({ name: good }))
                .await
                .status,
            204,
            "{name}"
        );
        assert_eq!(get(&authority, "alice").await[name], good);
    }
}

#[tokio::test]
async fn a_body_is_json_and_not_too_long() {
    let authority = Harness::start().await;
    let token = authority.graph_token("alice", &BOTH);
    let url = format!("{}/v1.0/me", authority.running.url());
    let padded = format!("{{\"city\":\"x\"{}}}", " ".repeat(64 * 1024));
    for (content_type, body, status) in [
        (Some("application/json"), "{\"city\":\"x\"}", 204),
        (Some("application/json; charset=utf-8"), "{}", 204),
        (Some("application/json"), "city=x", 400),
        (Some("application/json"), "[]", 400),
        (Some("application/json"), "", 400),
        (None, "{\"city\":\"x\"}", 400),
        (Some("text/plain"), "{\"city\":\"x\"}", 415),
        (Some("application/json"), &padded, 413),
    ] {
        let mut request = authority
            .http
            .patch(&url)
            .bearer_auth(&token)
            .body(body.to_owned());
        if let Some(content_type) = content_type {
            request = request.header("content-type", content_type);
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        assert_eq!(answer.status, status, "{content_type:?} {}", body.len());
    }
}

#[tokio::test]
async fn the_next_token_and_the_pages_know_the_new_name_escaped() {
    let authority = Harness::with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = local_authority::Consent::Required;
    })
    .await;
    let evil = "\"><script>alert(1)</script>";
    assert_eq!(
        patch(&authority, "alice", json!({ "displayName": evil }))
            .await
            .status,
        204
    );
    let client = authority.id("spa-backend");
    let path = format!("applications(appId='{client}')");
    authority
        .admin("PATCH", &path, Some(json!({ "displayName": evil })), 204)
        .await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    assert!(page.is_sign_in());
    let consent = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(consent.is_consent(), "{}", consent.text);
    for page in [&page, &consent] {
        assert!(!page.text.contains("<script>alert"), "{}", page.text);
        assert!(page.text.contains("alert(1)"), "{}", page.text);
    }
    let done = authority.accept(&mut browser, &consent).await;
    let code = done.parameters()["code"].clone();
    let body = authority.redeem(&code, &[("scope", MIDDLE)]).await.json();
    for token in ["access_token", "id_token"] {
        assert_eq!(claims(body[token].as_str().unwrap())["name"], evil);
    }
}
