//! A tenant without P1: Conditional Access cannot be set up, and what is there stays.

use local_authority::Licence;
use serde_json::{Value, json};

use crate::graph::{ADMIN, code};
use crate::harness::{Harness, MFA_POLICY};

const POLICIES: &str = "identity/conditionalAccess/policies";
const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";

async fn with(licence: Licence) -> Harness {
    Harness::with(|directory| directory.licence = licence).await
}

fn policy(authority: &Harness) -> Value {
    json!({
        "displayName": "MFA",
        "state": "enabledForReportingButNotEnforced",
        "conditions": {
            "applications": { "includeApplications": [authority.id("middle-tier")] },
            "users": { "includeUsers": ["All"] },
        },
        "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
    })
}

#[tokio::test]
async fn contexts_and_policies_take_a_licence() {
    for (licence, licensed) in [(Licence::Free, false), (Licence::Premium, true)] {
        let authority = with(licence).await;
        let id = authority.directory.policy(MFA_POLICY).unwrap().id;
        let token = authority.graph_token("alice", &ADMIN);
        for (method, path, body) in [
            ("POST", POLICIES.to_owned(), Some(policy(&authority))),
            (
                "PATCH",
                format!("{POLICIES}/{id}"),
                Some(json!({ "state": "disabled" })),
            ),
            ("GET", CONTEXTS.to_owned(), None),
            ("GET", format!("{CONTEXTS}/c1"), None),
            (
                "PATCH",
                format!("{CONTEXTS}/c2"),
                Some(json!({ "displayName": "x" })),
            ),
            ("DELETE", format!("{CONTEXTS}/c2"), None),
        ] {
            let answer = authority.graph(&token, method, &path, body).await;
            if licensed {
                assert!(answer.status < 300, "{method} {path}: {}", answer.text);
                continue;
            }
            let expected = (403, "AccessDenied".to_owned());
            assert_eq!(code(&answer), expected, "{method} {path}");
            let said = answer.json()["error"]["message"].clone();
            let said = said.as_str().unwrap();
            let words = "Your tenant is not licensed for this feature.";
            assert!(said.starts_with(words), "{said}");
        }
    }
}

#[tokio::test]
async fn without_one_policies_are_told_and_deleted_and_applications_made() {
    let authority = with(Licence::Free).await;
    let list = authority.admin("GET", POLICIES, None, 200).await;
    let before = list["value"].as_array().unwrap().len();
    assert_eq!(before, authority.directory.policies.len());
    let id = authority.directory.policy(MFA_POLICY).unwrap().id;
    let path = format!("{POLICIES}/{id}");
    authority.admin("GET", &path, None, 200).await;
    authority.admin("DELETE", &path, None, 204).await;
    let body = Some(json!({ "displayName": "x" }));
    authority.admin("POST", "applications", body, 201).await;
}

#[tokio::test]
async fn who_may_not_ask_does_not_learn_of_the_licence() {
    let authority = with(Licence::Free).await;
    let token = authority.graph_token("alice", &["Policy.Read.All"]);
    let answer = authority
        .graph(&token, "POST", POLICIES, Some(policy(&authority)))
        .await;
    assert!(answer.text.contains("required scopes are missing"));
}

#[tokio::test]
async fn the_file_says_which_licence() {
    let text = include_str!("../../default-directory.toml");
    for (line, licence) in [
        ("", Some(Licence::Premium)),
        ("licence = \"free\"\n", Some(Licence::Free)),
        ("licence = \"premium\"\n", Some(Licence::Premium)),
        ("licence = \"p1\"\n", None),
    ] {
        let read = format!("{line}{text}").parse::<local_authority::Directory>();
        assert_eq!(read.ok().map(|read| read.licence), licence, "{line}");
    }
}
