//! The links that Graph gives lead where they say: the next page of the same list, and the object that was made.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::graph::{ADMIN, GRAPH, text};
use crate::harness::Harness;

const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
const POLICIES: &str = "identity/conditionalAccess/policies";

/// An authority in which each list has two entries or more.
async fn crowded() -> Harness {
    Harness::with(|directory| {
        let more = format!("{GRAPH}/User.Read");
        directory
            .app_mut("middle-tier")
            .unwrap()
            .delegated
            .push(more);
        let more = format!("{GRAPH}/Application.Read.All");
        directory
            .app_mut("daemon")
            .unwrap()
            .app_permissions
            .push(more);
        directory.user_mut("alice").unwrap().roles = vec!["api://downstream-api/Task.Run".into()];
        directory.user_mut("bob").unwrap().groups = vec!["staff".into(), "night shift".into()];
    })
    .await
}

async fn principal(authority: &Harness, app: &str) -> String {
    let path = format!("servicePrincipals(appId='{}')", authority.id(app));
    text(&authority.admin("GET", &path, None, 200).await, "id")
}

/// What a link of this authority leads to.
async fn follow(authority: &Harness, link: &str) -> Value {
    let base = format!("{}/v1.0/", authority.running.url());
    let path = link.strip_prefix(&base).unwrap_or_else(|| panic!("{link}"));
    authority.admin("GET", path, None, 200).await
}

/// The entries of all pages that begin with this one.
async fn all_pages(authority: &Harness, path: &str) -> Vec<Value> {
    let mut page = authority.admin("GET", path, None, 200).await;
    let mut entries = Vec::new();
    loop {
        entries.extend(page["value"].as_array().unwrap().clone());
        assert!(entries.len() < 2000, "{path} never ends");
        match page.get("@odata.nextLink") {
            Some(next) => page = follow(authority, next.as_str().unwrap()).await,
            None => return entries,
        }
    }
}

#[tokio::test]
async fn the_pages_of_a_list_are_that_list() {
    let authority = crowded().await;
    let body = json!({ "displayName": "second", "isAvailable": true });
    let second = format!("{CONTEXTS}/c2");
    authority.admin("PUT", &second, Some(body), 204).await;
    let bob = "b0b00000-0000-4000-8000-000000000002";
    let app = format!("applications(appId='{}')", authority.id("daemon"));
    for id in [bob, &principal(&authority, "middle-tier").await] {
        let body = json!({ "@odata.id": format!("{GRAPH}/v1.0/directoryObjects/{id}") });
        let owners = format!("{app}/owners/$ref");
        authority.admin("POST", &owners, Some(body), 204).await;
    }
    let (middle, down) = (
        principal(&authority, "middle-tier").await,
        principal(&authority, "downstream-api").await,
    );
    let by_app_id = format!("servicePrincipals(appId='{}')", authority.id("daemon"));
    for list in [
        "applications".to_owned(),
        format!("{app}/owners"),
        "servicePrincipals".to_owned(),
        format!("servicePrincipals/{middle}/oauth2PermissionGrants"),
        format!("servicePrincipals/{down}/appRoleAssignedTo"),
        format!("{by_app_id}/appRoleAssignments"),
        "oauth2PermissionGrants".to_owned(),
        "users".to_owned(),
        "groups".to_owned(),
        POLICIES.to_owned(),
        CONTEXTS.to_owned(),
    ] {
        let whole = authority.admin("GET", &list, None, 200).await;
        let whole = whole["value"].as_array().unwrap();
        assert!(whole.len() > 1, "{list}: {whole:?}");
        let pages = all_pages(&authority, &format!("{list}?$top=1")).await;
        assert_eq!(&pages, whole, "{list}");
    }
    // What was asked for beside the page goes along.
    let list = format!("servicePrincipals/{middle}/oauth2PermissionGrants");
    let path = format!("{list}?$top=1&$select=id&$filter=clientId%20eq%20'{middle}'");
    for entry in all_pages(&authority, &path).await {
        assert_eq!(entry.as_object().unwrap().len(), 1);
    }
}

#[tokio::test]
async fn the_location_of_what_was_made_leads_to_it() {
    let authority = crowded().await;
    let body = json!({ "displayName": "new", "appRoles": [{
        "id": "0d1c0000-0000-4000-8000-000000000001", "value": "Run", "displayName": "Run", "description": "Run",
        "allowedMemberTypes": ["Application"], "isEnabled": true,
    }] });
    let app = made(&authority, "applications", body).await;
    let body = json!({ "appId": app["appId"] });
    let api = text(&made(&authority, "servicePrincipals", body).await, "id");
    let (middle, daemon) = (
        principal(&authority, "middle-tier").await,
        principal(&authority, "daemon").await,
    );
    let body = json!({ "clientId": middle, "resourceId": api, "consentType": "AllPrincipals", "scope": "x" });
    made(&authority, "oauth2PermissionGrants", body).await;
    let role = |holder: &str| json!({ "principalId": holder, "resourceId": api, "appRoleId": "0d1c0000-0000-4000-8000-000000000001" });
    let own = format!("servicePrincipals/{daemon}/appRoleAssignments");
    let assignment = made(&authority, &own, role(&daemon)).await;
    let theirs = format!("servicePrincipals/{api}/appRoleAssignedTo");
    made(&authority, &theirs, role(&middle)).await;
    // An assignment is found under the two that it is about and nowhere else.
    for (owner, status) in [(&daemon, 200), (&middle, 404)] {
        let path = format!(
            "servicePrincipals/{owner}/appRoleAssignments/{}",
            text(&assignment, "id")
        );
        authority.admin("GET", &path, None, status).await;
    }
    let body = json!({
        "displayName": "new", "state": "disabled",
        "conditions": {
            "applications": { "includeApplications": [app["appId"]] }, "users": { "includeUsers": ["All"] },
        },
        "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
    });
    made(&authority, POLICIES, body).await;
    let body = json!({ "id": "c9", "displayName": "new" });
    made(&authority, CONTEXTS, body).await;
}

/// Makes it and follows its link.
async fn made(authority: &Harness, path: &str, body: Value) -> Value {
    let token = authority.graph_token("alice", &ADMIN);
    let answer = authority.graph(&token, "POST", path, Some(body)).await;
    assert_eq!(answer.status, 201, "{path}: {}", answer.text);
    let link = answer.location();
    assert!(link.path().starts_with(&format!("/v1.0/{path}/")), "{link}");
    let there = follow(authority, link.as_str()).await;
    assert_eq!(there, answer.json(), "{path}");
    there
}

#[tokio::test]
async fn a_list_has_pages_of_100_unless_told_otherwise() {
    let authority = Harness::with(|directory| {
        for index in 0..101 {
            let id = uuid::Uuid::from_u128(0xa_0000 + index);
            let app = local_authority::App::new(format!("app {index}"), id);
            directory.apps.push(app);
        }
    })
    .await;
    let many = authority.directory.apps.len();
    for list in ["applications", "servicePrincipals"] {
        let page = authority.admin("GET", list, None, 200).await;
        assert_eq!(page["value"].as_array().unwrap().len(), 100, "{list}");
        let ids: HashSet<String> = all_pages(&authority, list)
            .await
            .iter()
            .map(|entry| text(entry, "id"))
            .collect();
        // Graph has a service principal and no application.
        assert_eq!(ids.len(), many + usize::from(list == "servicePrincipals"));
    }
    let page = authority
        .admin("GET", "applications?$top=999", None, 200)
        .await;
    assert_eq!(page["value"].as_array().unwrap().len(), many);
    assert!(page.get("@odata.nextLink").is_none());
}

#[tokio::test]
async fn a_count_is_of_all_that_matches_and_stands_on_the_first_page() {
    let authority = Harness::start().await;
    let many = authority.directory.apps.len();
    let get = async |query: &str| {
        let path = format!("applications?{query}");
        authority.admin("GET", &path, None, 200).await
    };
    assert_eq!(get("$count=true").await["@odata.count"], many);
    let first = get("$count=true&$top=1").await;
    assert_eq!(first["@odata.count"], many);
    let second = follow(&authority, &text(&first, "@odata.nextLink")).await;
    assert!(second.get("@odata.count").is_none());
    let one = get("$count=true&$filter=displayName%20eq%20'daemon'").await;
    assert_eq!(one["@odata.count"], 1);
    for without in ["$count=false", "$top=1"] {
        assert!(
            get(without).await.get("@odata.count").is_none(),
            "{without}"
        );
    }
    for bad in [
        "applications?$count=yes",
        "applications?$count=",
        "me?$count=true",
    ] {
        authority.admin("GET", bad, None, 400).await;
    }
}
