//! Conditional Access through Graph.

use local_authority::TokenSpec;
use serde_json::{Value, json};

use crate::graph::text;
use crate::harness::{C1, Harness};

const POLICIES: &str = "identity/conditionalAccess/policies";
const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";

fn policy(authority: &Harness) -> Value {
    json!({
        "displayName": "Nobody in",
        "state": "enabled",
        "conditions": {
            "applications": { "includeApplications": [authority.id("downstream-api")] },
            "users": { "includeUsers": ["All"] },
        },
        "grantControls": { "operator": "OR", "builtInControls": ["block"] },
    })
}

async fn exchange(authority: &Harness, user: &str) -> u64 {
    let assertion = authority
        .running
        .issue(TokenSpec::user(user, "middle-tier").mfa());
    let answer = authority.on_behalf_of(&assertion, &[]).await;
    if answer.status == 200 {
        0
    } else {
        answer.error_code()
    }
}

#[tokio::test]
async fn a_policy_works_at_once_for_whom_it_names() {
    let authority = Harness::with(|directory| {
        directory.user_mut("bob").unwrap().groups = vec!["staff".into()];
    })
    .await;
    assert_eq!(
        (
            exchange(&authority, "alice").await,
            exchange(&authority, "bob").await
        ),
        (0, 0)
    );
    let made = authority
        .admin("POST", POLICIES, Some(policy(&authority)), 201)
        .await;
    let path = format!("{POLICIES}/{}", text(&made, "id"));
    assert_eq!(
        (
            exchange(&authority, "alice").await,
            exchange(&authority, "bob").await
        ),
        (53_003, 53_003)
    );
    let groups = authority
        .admin(
            "GET",
            "groups?$filter=displayName%20eq%20'staff'",
            None,
            200,
        )
        .await;
    let staff = text(&groups["value"][0], "id");
    let users = |users: Value| Some(json!({ "conditions": { "users": users } }));
    let only = users(json!({ "includeUsers": [], "includeGroups": [staff] }));
    authority.admin("PATCH", &path, only, 204).await;
    assert_eq!(
        (
            exchange(&authority, "alice").await,
            exchange(&authority, "bob").await
        ),
        (0, 53_003)
    );
    let but =
        users(json!({ "includeUsers": ["All"], "includeGroups": [], "excludeGroups": [staff] }));
    authority.admin("PATCH", &path, but, 204).await;
    assert_eq!(
        (
            exchange(&authority, "alice").await,
            exchange(&authority, "bob").await
        ),
        (53_003, 0)
    );
    let nobody = users(json!({ "includeUsers": ["None"], "excludeGroups": [] }));
    authority.admin("PATCH", &path, nobody, 204).await;
    assert_eq!(
        (
            exchange(&authority, "alice").await,
            exchange(&authority, "bob").await
        ),
        (0, 0)
    );
    let told = authority.admin("GET", &path, None, 200).await;
    assert_eq!(told["conditions"]["users"]["includeUsers"], json!(["None"]));
    assert_eq!(
        told["conditions"]["applications"]["includeApplications"],
        json!([authority.id("downstream-api")])
    );
    authority.admin("DELETE", &path, None, 204).await;
    authority.admin("GET", &path, None, 404).await;
}

#[tokio::test]
async fn a_condition_is_replaced_as_a_whole_and_the_others_stay() {
    let authority = Harness::start().await;
    let oid = |name: &str| authority.directory.user(name).unwrap().oid.to_string();
    let mut body = policy(&authority);
    body["conditions"]["users"]["excludeUsers"] = json!([oid("bob")]);
    let made = authority.admin("POST", POLICIES, Some(body), 201).await;
    let path = format!("{POLICIES}/{}", text(&made, "id"));
    let conditions = async || {
        let told = authority.admin("GET", &path, None, 200).await;
        told["conditions"].clone()
    };
    let all = conditions().await;
    // What was read may be sent, and loses nothing.
    for body in [
        json!({ "conditions": all }),
        json!({ "state": "disabled" }),
        json!({ "conditions": { "applications": all["applications"] } }),
        json!({ "conditions": {} }),
    ] {
        authority.admin("PATCH", &path, Some(body), 204).await;
        assert_eq!(conditions().await, all);
    }
    let part = json!({ "conditions": { "users": { "includeUsers": [oid("alice")] } } });
    authority.admin("PATCH", &path, Some(part), 204).await;
    let now = conditions().await;
    assert_eq!(now["users"]["includeUsers"], json!([oid("alice")]));
    assert_eq!(now["users"]["excludeUsers"], json!([]));
    assert_eq!(now["applications"], all["applications"]);
    // Something that there is none of here is not taken for nothing.
    for (place, name) in [
        ("/conditions", "signInRiskLevels"),
        ("/conditions/applications", "applicationFilter"),
        ("/conditions/users", "excludeGuestsOrExternalUsers"),
    ] {
        let mut body = json!({ "conditions": all });
        body.pointer_mut(place).unwrap()[name] = json!(["high"]);
        authority.admin("PATCH", &path, Some(body), 400).await;
    }
}

#[tokio::test]
async fn an_application_without_a_service_principal_is_told_inside() {
    let authority = Harness::start().await;
    let app = Some(json!({ "displayName": "x", "signInAudience": "AzureADMyOrg" }));
    let app = authority.admin("POST", "applications", app, 201).await;
    let app_id = text(&app, "appId");
    let mut body = policy(&authority);
    body["conditions"]["applications"]["includeApplications"] = json!([app_id]);
    let refused = authority
        .admin("POST", POLICIES, Some(body.clone()), 400)
        .await;
    let error = &refused["error"];
    assert_eq!(
        (&error["code"], &error["message"]),
        (
            &json!("BadRequest"),
            &json!(
                "The server could not process the request because it is malformed or incorrect."
            )
        )
    );
    assert_eq!(
        error["innerError"]["message"],
        json!(format!(
            "1034: Policy contains invalid applications: {{\"{app_id}\":\"ServicePrincipalNotFound\"}}"
        ))
    );
    assert!(error["innerError"]["request-id"].is_string());
    let principal = Some(json!({ "appId": app_id }));
    authority
        .admin("POST", "servicePrincipals", principal, 201)
        .await;
    authority.admin("POST", POLICIES, Some(body), 201).await;
}

#[tokio::test]
async fn only_an_enabled_policy_has_an_effect() {
    let authority = Harness::start().await;
    let made = authority
        .admin("POST", POLICIES, Some(policy(&authority)), 201)
        .await;
    let path = format!("{POLICIES}/{}", text(&made, "id"));
    for (state, code) in [
        ("disabled", 0),
        ("enabled", 53_003),
        ("enabledForReportingButNotEnforced", 0),
    ] {
        authority
            .admin("PATCH", &path, Some(json!({ "state": state })), 204)
            .await;
        assert_eq!(exchange(&authority, "alice").await, code, "{state}");
        assert_eq!(
            authority.admin("GET", &path, None, 200).await["state"],
            state
        );
    }
}

#[tokio::test]
async fn each_rule_of_a_policy_is_checked() {
    let authority = Harness::start().await;
    let breaks: [fn(&mut Value); 12] = [
        |policy| policy["displayName"] = "".into(),
        |policy| policy["state"] = "on".into(),
        |policy| policy["colour"] = "blue".into(),
        |policy| policy["conditions"]["applications"] = json!({}),
        |policy| policy["conditions"]["applications"]["includeApplications"] = json!(["All"]),
        |policy| {
            policy["conditions"]["applications"]["includeApplications"] =
                json!(["a11ce000-0000-4000-8000-000000000001"])
        },
        |policy| {
            policy["conditions"]["applications"]["includeAuthenticationContextClassReferences"] =
                json!(["c1"])
        },
        |policy| policy["conditions"]["users"] = json!({}),
        |policy| {
            policy["conditions"]["users"]["includeUsers"] =
                json!(["3edd1e00-0000-4000-8000-000000005000"])
        },
        |policy| policy["conditions"]["users"]["includeRoles"] = json!(["x"]),
        |policy| policy["grantControls"]["builtInControls"] = json!(["compliantDevice"]),
        |policy| {
            policy["sessionControls"] =
                json!({ "signInFrequency": { "value": 0, "type": "hours" } })
        },
    ];
    for broken in breaks {
        let mut body = policy(&authority);
        broken(&mut body);
        authority.admin("POST", POLICIES, Some(body), 400).await;
    }
    let mut body = policy(&authority);
    body["sessionControls"] = json!({ "signInFrequency": { "value": 2, "type": "days" } });
    let made = authority.admin("POST", POLICIES, Some(body), 201).await;
    assert_eq!(made["sessionControls"]["signInFrequency"]["type"], "days");
    let path = format!("{POLICIES}/{}", text(&made, "id"));
    authority
        .admin("PATCH", &path, Some(json!({ "id": made["id"] })), 400)
        .await;
    // Names may be shared.
    authority
        .admin("POST", POLICIES, Some(policy(&authority)), 201)
        .await;
}

#[tokio::test]
async fn a_policy_on_a_context_that_graph_made() {
    let authority = Harness::start().await;
    let mut body = policy(&authority);
    body["conditions"]["applications"] =
        json!({ "includeAuthenticationContextClassReferences": ["c1", "c2"] });
    authority.admin("POST", POLICIES, Some(body), 201).await;
    let assertion = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa().acrs(["c1"]));
    let refused = authority.on_behalf_of(&assertion, &[("claims", C1)]).await;
    assert_eq!(refused.error_code(), 53_003);
    assert_eq!(
        authority.on_behalf_of(&assertion, &[]).await.status,
        200,
        "without the demand"
    );
}

#[tokio::test]
async fn a_frequency_that_graph_has_no_words_for_is_not_told_and_survives_a_change() {
    let authority = Harness::with(|directory| {
        let policy = directory.policy_mut(crate::harness::MFA_POLICY).unwrap();
        policy.sign_in_frequency = Some(45);
    })
    .await;
    let id = authority
        .directory
        .policy(crate::harness::MFA_POLICY)
        .unwrap()
        .id;
    let path = format!("{POLICIES}/{id}");
    let told = async || authority.admin("GET", &path, None, 200).await["sessionControls"].clone();
    let assertion = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    let exchange = async || authority.on_behalf_of(&assertion, &[]).await;
    authority.clock.advance(46);
    assert_eq!(told().await, Value::Null);
    assert_eq!(exchange().await.error_code(), 70_043);
    let change = async |body: Value| {
        authority.admin("PATCH", &path, Some(body), 204).await;
    };
    change(json!({ "displayName": "other" })).await;
    assert_eq!(exchange().await.error_code(), 70_043);
    change(json!({ "sessionControls": { "signInFrequency": { "value": 1, "type": "hours" } } }))
        .await;
    assert_eq!(told().await["signInFrequency"]["value"], 1);
    assert_eq!(exchange().await.status, 200);
}

#[tokio::test]
async fn contexts_are_c1_to_c99_and_stay_while_a_policy_uses_them() {
    let authority = Harness::start().await;
    let one = |id: &str| format!("{CONTEXTS}/{id}");
    let body = json!({ "displayName": "Pay", "isAvailable": true });
    assert_eq!(
        authority.admin("GET", &one("c1"), None, 200).await["isAvailable"],
        true
    );
    authority.admin("GET", &one("c5"), None, 404).await;
    // Whoever withdraws one that is gone makes it again.
    let withdrawn = Some(json!({ "isAvailable": false }));
    authority
        .admin("PATCH", &one("c6"), withdrawn.clone(), 204)
        .await;
    let told = authority.admin("GET", &one("c6"), None, 200).await;
    assert_eq!(told["displayName"], Value::Null);
    for (id, status) in [("c5", 204), ("c0", 400), ("c100", 400), ("x", 400)] {
        authority
            .admin("PUT", &one(id), Some(body.clone()), status)
            .await;
    }
    authority
        .admin(
            "PATCH",
            &one("c5"),
            Some(json!({ "description": "d" })),
            204,
        )
        .await;
    let told = authority.admin("GET", &one("c5"), None, 200).await;
    assert_eq!(
        (&told["displayName"], &told["description"]),
        (&json!("Pay"), &json!("d"))
    );
    // One that applications can see stays as well.
    authority.admin("DELETE", &one("c5"), None, 400).await;
    authority.admin("PATCH", &one("c5"), withdrawn, 204).await;
    authority.admin("DELETE", &one("c5"), None, 204).await;
    authority.admin("DELETE", &one("c5"), None, 404).await;
    authority.admin("DELETE", &one("c1"), None, 400).await;
}
