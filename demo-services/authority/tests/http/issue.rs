//! Tokens made to measure.

use crate::harness::{Harness, START, claims};
use local_authority::{TokenSpec, TokenVersion};
use serde_json::{Value, json};

#[tokio::test]
async fn each_change_changes_that_and_nothing_else() {
    let authority = Harness::start().await;
    let user = || TokenSpec::user("alice", "middle-tier");
    let valid = claims(&authority.running.issue(user()));
    let rows = vec![
        (user(), json!({})),
        (user().audience("x"), json!({ "aud": "x" })),
        (user().issuer("x"), json!({ "iss": "x" })),
        (user().expires_in(-1), json!({ "exp": START - 1 })),
        (
            user().issued_in(5),
            json!({ "iat": START + 5, "nbf": START + 5 }),
        ),
        (user().scopes(["a", "b"]), json!({ "scp": "a b" })),
        (user().scopes([""; 0]), json!({ "scp": null })),
        (user().roles(["R"]), json!({ "roles": ["R"] })),
        (user().acrs(["c1"]), json!({ "acrs": ["c1"] })),
        (user().capabilities(["cp1"]), json!({ "xms_cc": ["cp1"] })),
        (user().without("tid"), json!({ "tid": null })),
        (user().claim("new", 1), json!({ "new": 1 })),
        (
            user().client("daemon"),
            json!({ "azp": authority.id("daemon") }),
        ),
        (user().kid("x").foreign_key().mfa(), json!({})),
    ];
    for (spec, differences) in rows {
        let described = format!("{spec:?}");
        let mut token = claims(&authority.running.issue(spec));
        for (name, value) in differences.as_object().unwrap() {
            assert_eq!(
                token.get(name).unwrap_or(&Value::Null),
                value,
                "{described}"
            );
            match valid.get(name) {
                Some(original) => token[name] = original.clone(),
                None => drop(token.as_object_mut().unwrap().remove(name)),
            }
        }
        token["uti"] = valid["uti"].clone();
        assert_eq!(token, valid, "{described}");
    }
}

#[tokio::test]
async fn a_version_is_chosen_whole() {
    let authority = Harness::with(|directory| {
        directory
            .app_mut("middle-tier")
            .unwrap()
            .access_token_version = 1;
    })
    .await;
    let issued = |spec: TokenSpec| claims(&authority.running.issue(spec));
    let id = authority.id("middle-tier");
    for (spec, version, audience) in [
        (
            TokenSpec::user("alice", "middle-tier"),
            "1.0",
            "api://middle-tier",
        ),
        (
            TokenSpec::user("alice", "api://middle-tier"),
            "1.0",
            "api://middle-tier",
        ),
        (TokenSpec::user("alice", id.clone()), "1.0", &id),
        (
            TokenSpec::user("alice", "middle-tier").version(TokenVersion::V2),
            "2.0",
            &id,
        ),
        (
            TokenSpec::app("daemon", "downstream-api").version(TokenVersion::V1),
            "1.0",
            "api://downstream-api",
        ),
        (
            TokenSpec::app("daemon", "downstream-api"),
            "2.0",
            &authority.id("downstream-api"),
        ),
    ] {
        let described = format!("{spec:?}");
        let token = issued(spec);
        assert_eq!(token["ver"], version, "{described}");
        assert_eq!(token["aud"], audience, "{described}");
        let (mut issuer, mut client) = (authority.running.issuer().to_owned(), "azp");
        if version == "1.0" {
            (issuer, client) = (authority.running.issuer_v1(), "appid");
        }
        assert_eq!(token["iss"], issuer, "{described}");
        assert!(token[client].is_string(), "{described}");
    }
}

#[tokio::test]
async fn names_that_the_directory_does_not_know_are_used_as_they_are() {
    let authority = Harness::start().await;
    let token = claims(
        &authority.running.issue(
            TokenSpec::user("zoe@elsewhere.example", "unknown-api")
                .client("00000000-0000-4000-8000-00000000000a"),
        ),
    );
    assert_eq!(
        (&token["preferred_username"], &token["azp"]),
        (
            &json!("zoe@elsewhere.example"),
            &json!("00000000-0000-4000-8000-00000000000a")
        )
    );
    let token = claims(
        &authority
            .running
            .issue(TokenSpec::app("daemon", "downstream-api")),
    );
    assert_eq!(
        (&token["roles"], &token["idtyp"]),
        (&json!(["Task.Run"]), &json!("app"))
    );
}
