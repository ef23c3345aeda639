//! Clients that prove themselves with a certificate, in each grant.

use local_authority::TokenSpec;
use serde_json::{Value, json};

use crate::harness::{Answer, Browser, Changes, Harness, REDIRECT, START, claims};
use crate::made::{Made, TYPE};

/// An authority whose `app` has a certificate.
async fn with_certificate(app: &str) -> (Harness, Made) {
    let made = Made::new();
    let authority = Harness::with(|directory| {
        directory.app_mut(app).unwrap().certificates = vec![made.pem.clone()];
    })
    .await;
    (authority, made)
}

fn endpoint(authority: &Harness) -> String {
    authority.endpoint("oauth2/v2.0/token")
}

/// The certificate's assertion in the place of a secret.
fn certificate(assertion: &str) -> [(&'static str, &str); 3] {
    [
        ("client_secret", ""),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ]
}

fn azpacr(answer: &Answer) -> String {
    let body = answer.json();
    let token = body["access_token"]
        .as_str()
        .unwrap_or_else(|| panic!("{}", answer.text));
    claims(token)["azpacr"].as_str().unwrap().to_owned()
}

async fn client_credentials(authority: &Harness, assertion: &str, more: &[(&str, &str)]) -> Answer {
    let form = [
        ("grant_type", "client_credentials"),
        ("scope", "api://downstream-api/.default"),
        ("client_assertion_type", TYPE),
        ("client_assertion", assertion),
    ];
    authority.token(&[&form[..], more].concat()).await
}

#[tokio::test]
async fn client_credentials_with_a_certificate() {
    let (authority, made) = with_certificate("daemon").await;
    let (id, endpoint) = (authority.id("daemon"), endpoint(&authority));
    for assertion in [
        made.assertion(&id, &endpoint, START),
        made.old_assertion(&id, &endpoint, START),
    ] {
        for named in [&[("client_id", id.as_str())][..], &[]] {
            let answer = client_credentials(&authority, &assertion, named).await;
            assert_eq!(azpacr(&answer), "2");
            let token = claims(answer.json()["access_token"].as_str().unwrap());
            assert_eq!(
                (&token["azp"], &token["roles"]),
                (&json!(id), &json!(["Task.Run"]))
            );
        }
    }
}

#[tokio::test]
async fn a_code_and_its_refresh_token_with_a_certificate() {
    let (authority, made) = with_certificate("spa-backend").await;
    let id = authority.id("spa-backend");
    let assertion = made.assertion(&id, &endpoint(&authority), START);
    let code = authority.code(&mut Browser::default()).await;
    let answer = authority.redeem(&code, &certificate(&assertion)).await;
    assert_eq!(azpacr(&answer), "2");
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    let unproven = authority.refresh(&token, &[("client_secret", "")]).await;
    assert_eq!(unproven.error_code(), 7_000_218);
    let answer = authority.refresh(&token, &certificate(&assertion)).await;
    assert_eq!(azpacr(&answer), "2");
    // Each request proves the client anew; a secret that is registered as well does too.
    let token = answer.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_eq!(azpacr(&authority.refresh(&token, &[]).await), "1");
}

#[tokio::test]
async fn on_behalf_of_with_a_certificate() {
    let (authority, made) = with_certificate("middle-tier").await;
    let (id, endpoint) = (authority.id("middle-tier"), endpoint(&authority));
    let user = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    for assertion in [
        made.assertion(&id, &endpoint, START),
        made.old_assertion(&id, &endpoint, START),
    ] {
        let answer = authority
            .on_behalf_of(&user, &certificate(&assertion))
            .await;
        assert_eq!(azpacr(&answer), "2");
    }
    // The two assertions of the request are not the same thing.
    let client = made.assertion(&id, &endpoint, START);
    let answer = authority.on_behalf_of(&client, &certificate(&client)).await;
    assert_eq!((answer.status, answer.error_code()), (400, 50_013));
    let answer = authority.on_behalf_of(&user, &certificate(&user)).await;
    assert_eq!((answer.status, answer.error_code()), (401, 700_021));
}

#[tokio::test]
async fn an_assertion_that_proves_nothing_is_invalid_client_without_its_values() {
    let (authority, made) = with_certificate("daemon").await;
    let (id, endpoint) = (authority.id("daemon"), endpoint(&authority));
    let middle = authority.id("middle-tier");
    let other = authority.secret("daemon");
    let good = made.assertion(&id, &endpoint, START);
    let stranger = Made::new().assertion(&id, &endpoint, START);
    let elsewhere = made.assertion(&id, "https://login.example/token", START);
    let old = made.assertion(&id, &endpoint, START - 900);
    let unregistered = made.assertion(&middle, &endpoint, START);
    let rows: [(&str, &str, Changes<'_>, u16, u64); 8] = [
        ("unknown certificate", &stranger, &[], 401, 700_027),
        ("other audience", &elsewhere, &[], 401, 700_023),
        ("over", &old, &[], 401, 700_024),
        ("application without it", &unregistered, &[], 401, 700_027),
        ("no JWT", "nonsense", &[("client_id", &id)], 401, 50_027),
        (
            "other client",
            &good,
            &[("client_id", &middle)],
            401,
            700_021,
        ),
        (
            "and a secret",
            &good,
            &[("client_secret", &other)],
            400,
            90_023,
        ),
        ("no client at all", "e30.e30.", &[], 400, 900_144),
    ];
    for (name, assertion, more, status, number) in rows {
        let answer = client_credentials(&authority, assertion, more).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (status, number),
            "{name}"
        );
        let error = if status == 401 {
            "invalid_client"
        } else {
            "invalid_request"
        };
        assert_eq!(answer.json()["error"], error, "{name}");
        for value in [assertion, &made.thumbprint, &id] {
            assert!(!answer.text.contains(value), "{name}");
        }
    }
    assert_eq!(client_credentials(&authority, &good, &[]).await.status, 200);
    let tampered = good.replacen("ey", "eY", 1);
    assert_eq!(
        client_credentials(&authority, &tampered, &[("client_id", &id)])
            .await
            .error_code(),
        50_027
    );
}

#[tokio::test]
async fn a_certificate_ends_by_the_clock_of_the_authority() {
    let (authority, made) = with_certificate("daemon").await;
    let (id, endpoint) = (authority.id("daemon"), endpoint(&authority));
    // The first second of 2027, with which it ends.
    let end = 1_798_761_600;
    authority.clock.advance(end - START);
    let ask =
        async |now| client_credentials(&authority, &made.assertion(&id, &endpoint, now), &[]).await;
    assert_eq!(ask(end).await.status, 200);
    authority.clock.advance(1);
    let answer = ask(end + 1).await;
    assert_eq!((answer.status, answer.error_code()), (401, 700_027));
    let text = answer.json()["error_description"].to_string();
    assert!(text.contains("is expired on application"), "{text}");
}

#[tokio::test]
async fn a_public_client_shows_no_certificate() {
    let made = Made::new();
    let native = "http://localhost:51234";
    let authority = Harness::with(|directory| {
        let app = directory.app_mut("spa-backend").unwrap();
        app.certificates = vec![made.pem.clone()];
        app.redirect_uris.native = vec!["http://localhost".into()];
    })
    .await;
    let assertion = made.assertion(&authority.id("spa-backend"), &endpoint(&authority), START);
    for (uri, number) in [(native, Some(700_025)), (REDIRECT, None)] {
        let mut browser = Browser::default();
        let page = authority
            .authorize(&browser, &[("redirect_uri", uri)])
            .await;
        let answer = authority.sign_in(&mut browser, &page, "alice").await;
        let code = answer.parameters()["code"].clone();
        let changes = [&certificate(&assertion)[..], &[("redirect_uri", uri)]].concat();
        let answer = authority.redeem(&code, &changes).await;
        match number {
            Some(number) => assert_eq!(answer.error_code(), number),
            None => assert_eq!(azpacr(&answer), "2"),
        }
    }
}

#[tokio::test]
async fn a_certificate_that_graph_was_given_proves_the_client_until_it_is_taken_back() {
    let authority = Harness::start().await;
    let (made, other) = (Made::new(), Made::new());
    let (id, endpoint) = (authority.id("daemon"), endpoint(&authority));
    let path = format!("applications(appId='{id}')");
    let ask = async |made: &Made| {
        let assertion = made.assertion(&id, &endpoint, START);
        client_credentials(&authority, &assertion, &[]).await
    };
    let set = async |keys: Value| {
        let body = Some(json!({ "keyCredentials": keys }));
        authority.admin("PATCH", &path, body, 204).await;
    };
    let told = async || authority.admin("GET", &path, None, 200).await["keyCredentials"].clone();
    let key = |made: &Made| json!({ "type": "AsymmetricX509Cert", "usage": "Verify", "key": made.base64() });
    assert_eq!(ask(&made).await.error_code(), 700_027);
    set(json!([key(&made)])).await;
    assert_eq!(azpacr(&ask(&made).await), "2");
    assert_eq!(ask(&other).await.error_code(), 700_027);
    // One takes the place of another: what is told of the first keeps it without its key.
    let first = told().await[0].clone();
    assert_eq!(first["key"], Value::Null);
    set(json!([first, key(&other)])).await;
    assert_eq!(azpacr(&ask(&made).await), "2");
    assert_eq!(azpacr(&ask(&other).await), "2");
    set(json!([told().await[1]])).await;
    assert_eq!(ask(&made).await.error_code(), 700_027);
    assert_eq!(azpacr(&ask(&other).await), "2");
    set(json!([])).await;
    assert_eq!(ask(&other).await.error_code(), 700_027);
}

#[tokio::test]
async fn the_metadata_say_so() {
    let authority = Harness::start().await;
    let url = authority.endpoint("v2.0/.well-known/openid-configuration");
    let metadata = Answer::of(authority.http.get(url).send().await.unwrap())
        .await
        .json();
    assert_eq!(
        metadata["token_endpoint_auth_methods_supported"],
        json!([
            "client_secret_post",
            "private_key_jwt",
            "client_secret_basic",
            "none"
        ])
    );
}
