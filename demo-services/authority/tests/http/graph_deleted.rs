//! A deleted application: gone, and to be brought back for thirty days.

use serde_json::{Value, json};

use crate::graph::{ADMIN, code, text};
use crate::harness::{Browser, DOWNSTREAM, Harness};

const DELETED: &str = "directory/deletedItems";
const LIST: &str = "directory/deletedItems/microsoft.graph.application";

/// Object id of an application of the directory.
async fn id(authority: &Harness, name: &str) -> String {
    let path = format!("applications(appId='{}')", authority.id(name));
    text(&authority.admin("GET", &path, None, 200).await, "id")
}

async fn delete(authority: &Harness, name: &str) -> String {
    let id = id(authority, name).await;
    let path = format!("applications/{id}");
    authority.admin("DELETE", &path, None, 204).await;
    id
}

async fn names(authority: &Harness, path: &str) -> Vec<Value> {
    let list = authority.admin("GET", path, None, 200).await;
    let list = list["value"].as_array().unwrap();
    list.iter().map(|app| app["displayName"].clone()).collect()
}

/// Number of the error at the sign-in page, or 0.
async fn signs_in(authority: &Harness) -> u64 {
    let browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    match page.text.split_once("AADSTS") {
        None => 0,
        Some((_, rest)) => {
            let end = rest.find(|letter: char| !letter.is_ascii_digit());
            rest[..end.unwrap_or(rest.len())].parse().unwrap()
        }
    }
}

#[tokio::test]
async fn a_deleted_application_is_gone_from_every_list_and_from_sign_in() {
    let authority = Harness::start().await;
    assert_eq!(names(&authority, LIST).await, [] as [Value; 0]);
    assert_eq!(signs_in(&authority).await, 0);
    let id = delete(&authority, "spa-backend").await;
    let name = json!("spa-backend");
    for (list, there) in [
        ("applications", false),
        ("servicePrincipals", false),
        (LIST, true),
    ] {
        let names = names(&authority, list).await;
        assert_eq!(names.contains(&name), there, "{list}");
    }
    let app_id = authority.id("spa-backend");
    for path in [
        format!("applications/{id}"),
        format!("applications(appId='{app_id}')"),
        format!("servicePrincipals(appId='{app_id}')"),
    ] {
        authority.admin("GET", &path, None, 404).await;
        authority.admin("DELETE", &path, None, 404).await;
    }
    assert_eq!(signs_in(&authority).await, 700_016);
    let told = authority
        .admin("GET", &format!("{DELETED}/{id}"), None, 200)
        .await;
    assert_eq!(told["@odata.type"], "#microsoft.graph.application");
    assert_eq!(
        (&told["appId"], &told["deletedDateTime"]),
        (&json!(app_id), &json!("2026-11-22T03:49:26Z"))
    );
    let filter = format!("{LIST}?$filter=appId%20eq%20'{app_id}'");
    assert_eq!(names(&authority, &filter).await, [name]);
    let other = format!("{LIST}?$filter=appId%20eq%20'{}'", authority.id("daemon"));
    assert_eq!(names(&authority, &other).await, [] as [Value; 0]);
}

#[tokio::test]
async fn its_ids_and_uris_are_its_own_until_it_is_deleted_for_good() {
    let authority = Harness::start().await;
    let id = delete(&authority, "middle-tier").await;
    let principal = Some(json!({ "appId": authority.id("middle-tier") }));
    let taken = Some(json!({ "identifierUris": ["api://middle-tier"] }));
    let daemon = format!("applications(appId='{}')", authority.id("daemon"));
    authority
        .admin("POST", "servicePrincipals", principal.clone(), 400)
        .await;
    authority.admin("PATCH", &daemon, taken.clone(), 400).await;
    let item = format!("{DELETED}/{id}");
    authority.admin("DELETE", &item, None, 204).await;
    for (method, path) in [
        ("GET", item.clone()),
        ("DELETE", item.clone()),
        ("POST", format!("{item}/restore")),
    ] {
        authority.admin(method, &path, None, 404).await;
    }
    authority
        .admin("POST", "servicePrincipals", principal, 400)
        .await;
    authority.admin("PATCH", &daemon, taken, 204).await;
}

#[tokio::test]
async fn a_restored_application_is_as_it_was_but_for_its_service_principal() {
    let authority = Harness::start().await;
    let before = format!("applications/{}", id(&authority, "downstream-api").await);
    let before = authority.admin("GET", &before, None, 200).await;
    let id = delete(&authority, "downstream-api").await;
    let restore = format!("{DELETED}/{id}/restore");
    let restored = authority.admin("POST", &restore, None, 200).await;
    assert_eq!(restored["@odata.type"], "#microsoft.graph.application");
    let path = format!("applications/{id}");
    assert_eq!(authority.admin("GET", &path, None, 200).await, before);
    assert_eq!(names(&authority, LIST).await, [] as [Value; 0]);
    authority.admin("POST", &restore, None, 404).await;

    // Whoever wants tokens for it makes its service principal, and grants anew.
    let app_id = authority.id("downstream-api");
    let principal = format!("servicePrincipals(appId='{app_id}')");
    authority.admin("GET", &principal, None, 404).await;
    let body = Some(json!({ "appId": app_id }));
    authority
        .admin("POST", "servicePrincipals", body, 201)
        .await;
    let assigned = format!("{principal}/appRoleAssignedTo");
    let assigned = authority.admin("GET", &assigned, None, 200).await;
    assert_eq!(assigned["value"], json!([]));
    // The policy on it goes by its id.
    let assertion = authority
        .running
        .issue(local_authority::TokenSpec::user("alice", "middle-tier"));
    let answer = authority
        .on_behalf_of(&assertion, &[("scope", DOWNSTREAM)])
        .await;
    assert_ne!(answer.status, 200);
}

#[tokio::test]
async fn after_thirty_days_it_is_gone_for_good() {
    let authority = Harness::start().await;
    let id = delete(&authority, "middle-tier").await;
    let item = format!("{DELETED}/{id}");
    let days = |days: u64| authority.clock.advance(days * 86_400);
    days(29);
    authority.admin("GET", &item, None, 200).await;
    days(1);
    authority.admin("GET", &item, None, 404).await;
    authority
        .admin("POST", &format!("{item}/restore"), None, 404)
        .await;
    let taken = Some(json!({ "identifierUris": ["api://middle-tier"] }));
    let daemon = format!("applications(appId='{}')", authority.id("daemon"));
    authority.admin("PATCH", &daemon, taken, 204).await;
}

#[tokio::test]
async fn deleted_items_are_listed_by_type_and_each_request_has_its_permission() {
    let authority = Harness::start().await;
    let id = delete(&authority, "daemon").await;
    let item = format!("{DELETED}/{id}");
    let restore = format!("{item}/restore");
    for (method, path, status) in [
        ("GET", DELETED, 400),
        ("GET", "directory", 400),
        ("GET", "directory/other", 400),
        ("GET", "directory/deletedItems/x", 404),
        ("POST", DELETED, 405),
        ("PATCH", &item, 405),
        ("GET", &restore, 405),
        ("GET", &format!("{item}/owners"), 400),
    ] {
        authority.admin(method, path, None, status).await;
    }
    let reader = authority.graph_token("alice", &["Application.Read.All"]);
    let nobody = authority.graph_token("alice", &["User.Read"]);
    let denied = (403, "Authorization_RequestDenied".to_owned());
    for path in [LIST, &item] {
        let answer = authority.graph(&reader, "GET", path, None).await;
        assert_eq!(answer.status, 200, "{path}");
        let answer = authority.graph(&nobody, "GET", path, None).await;
        assert_eq!(code(&answer), denied, "{path}");
    }
    for (method, path) in [("DELETE", &item), ("POST", &restore)] {
        let answer = authority.graph(&reader, method, path, None).await;
        assert_eq!(code(&answer), denied, "{method} {path}");
    }
    let writer = authority.graph_token("alice", &ADMIN[..1]);
    let answer = authority.graph(&writer, "POST", &restore, None).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
}
