//! Every body that `register`, another `register` and `unregister` send to Microsoft Graph, as a door in front of the authority sees them,
//! against Graph's published types; `docs/graph-fields.md` lists the same members, no more and no fewer. `UPDATE_GOLDEN=1` writes its rows
//! anew.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use demo_services::tenant::graph::Graph;
use demo_services::tenant::plan::{CredentialKind, Request};
use demo_services::tenant::record::Kind;
use integration_tests::door::{Door, Written};
use integration_tests::graph_fields::{check, pattern};
use reqwest::Method;
use serde_json::{Value, json};

use crate::tenant::Tenant;

/// A tenant with the group `staff`, and the door that `register` finds Graph behind.
async fn tenant(name: &str) -> (Tenant, Door) {
    let mut tenant = Tenant::with(name, |directory| {
        directory.user_mut("bob").unwrap().groups = vec!["staff".into()];
    })
    .await;
    let door = Door::before(tenant.graph_url()).await;
    tenant.put_graph_behind(door.url());
    (tenant, door)
}

/// As somebody else would, past the door.
async fn change(graph: &Graph, path: String, body: Value) {
    let method = Method::PATCH;
    let request = Request { method, path, body };
    graph.write(&request).await.unwrap();
}

/// Registers with certificates and report-only policies; somebody takes away and adds; registers again for other people, enforced and at
/// another address; unregisters.
async fn with_certificates() -> Vec<Written> {
    let (tenant, door) = tenant("bodies").await;
    let others = tenant.graph_past_the_door();
    let groups = others.list("groups", "").await.unwrap();
    let mut choices = tenant.choices();
    choices.enforce = false;
    choices.mfa_groups = vec![groups[0]["id"].as_str().unwrap().to_owned()];
    tenant.register(&choices).await.unwrap();
    let mut written = door.written();

    let record = tenant.record();
    let id = |kind, key| record.object(kind, key).unwrap().id.as_str();
    let grant = id(Kind::Grant, "spa-backend>graph");
    let less = json!({ "scope": "openid" });
    change(&others, format!("oauth2PermissionGrants/{grant}"), less).await;
    let app = id(Kind::Application, "middle-tier");
    let less = json!({ "keyCredentials": [], "requiredResourceAccess": [] });
    change(&others, format!("applications/{app}"), less).await;
    let me = others.get("me", "").await.unwrap().unwrap();
    let me = me["id"].as_str().unwrap();
    let owner = format!("applications/{app}/owners/{me}/$ref");
    assert!(others.delete(&owner).await.unwrap());
    let gate = id(Kind::Application, "mfa-app");
    let gate = format!("applications/{gate}");
    assert!(others.delete(&gate).await.unwrap());
    choices.enforce = true;
    choices.mfa_users = vec!["bob@contoso.example".to_owned()];
    choices.base_url = "https://demo.example".parse().unwrap();
    let again = tenant.register(&choices).await.unwrap();
    assert!(again.changes > 0, "{again:?}");
    written.extend(door.written());
    tenant.unregister().await;
    written.extend(door.written());
    written
}

/// Registers with secrets, loses them, registers again, unregisters.
async fn with_secrets() -> Vec<Written> {
    let (tenant, door) = tenant("bodies-secrets").await;
    let mut choices = tenant.choices();
    choices.credential = CredentialKind::Secret;
    tenant.register(&choices).await.unwrap();
    fs::remove_dir_all(tenant.out()).unwrap();
    tenant.register(&choices).await.unwrap();
    tenant.unregister().await;
    door.written()
}

/// The row of each member of a body that Graph understands.
fn rows(sent: &Written) -> Vec<String> {
    let Written {
        method, path, body, ..
    } = sent;
    let fields = check(method, path, body);
    assert!(fields.is_ok(), "{method} {path}: {fields:#?}\n{body:#}");
    let fields = fields.unwrap();
    assert!(!fields.is_empty(), "{method} {path}");
    let pattern = pattern(method, path).unwrap();
    let row = |field: &integration_tests::graph_fields::Field| {
        format!(
            "| `{method} {pattern}` | `{}` | `{}` | `{}` |",
            field.place, field.property, field.edm
        )
    };
    fields.iter().map(row).collect()
}

fn is_row(line: &str) -> bool {
    line.starts_with("| `")
}

/// The document with the rows that are sent: those that stood there in their places, the new ones after the last of their request.
fn rewritten(document: &str, sent: &BTreeSet<String>) -> String {
    let request = |row: &str| row.split('|').nth(1).unwrap_or_default().to_owned();
    let keep = |line: &&str| !is_row(line) || sent.contains(*line);
    let mut lines: Vec<String> = document.lines().filter(keep).map(str::to_owned).collect();
    for row in sent {
        if lines.contains(row) {
            continue;
        }
        let same = |line: &String| is_row(line) && request(line) == request(row);
        let last = lines.iter().rposition(same);
        let last = last.or_else(|| lines.iter().rposition(|line| line.starts_with('|')));
        lines.insert(last.unwrap() + 1, row.clone());
    }
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn every_body_is_one_that_graph_understands_and_the_document_lists_its_members() {
    let mut written = with_certificates().await;
    written.extend(with_secrets().await);
    let mut sent = BTreeSet::new();
    for one in &written {
        assert!(one.status < 300, "{one:?}");
        sent.extend(rows(one));
        // A body that is right, with one member of another name, is found.
        let mut body = one.body.clone();
        body["tower"] = json!("bearer");
        let faults = check(&one.method, &one.path, &body).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/graph-fields.md");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let document = fs::read_to_string(&path).unwrap();
        fs::write(&path, rewritten(&document, &sent)).unwrap();
    }
    let document = fs::read_to_string(&path).unwrap();
    let listed = document.lines().filter(|line| is_row(line));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let missing: Vec<_> = sent.difference(&listed).map(String::as_str).collect();
    let idle: Vec<_> = listed.difference(&sent).map(String::as_str).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "missing in docs/graph-fields.md:\n{}\nnever sent:\n{}",
        missing.join("\n"),
        idle.join("\n")
    );
}

#[test]
fn a_document_is_rewritten_in_place() {
    let row = |request: &str, place: &str| format!("| `{request}` | `{place}` | `x` | `y` |");
    let (a, b, c) = (row("POST a", "z"), row("POST b", "n"), row("POST a", "b"));
    let head = "Text\n\n| Request | Member |\n|---|---|";
    let before = format!("{head}\n{a}\n{b}\nEnd\n");
    let sent = |rows: &[&String]| rows.iter().map(|row| (*row).clone()).collect();
    assert_eq!(rewritten(&before, &sent(&[&a, &b])), before);
    let more = format!("{head}\n{a}\n{c}\n{b}\nEnd\n");
    assert_eq!(rewritten(&before, &sent(&[&a, &b, &c])), more);
    let other = format!("{head}\n{b}\n{c}\nEnd\n");
    assert_eq!(rewritten(&before, &sent(&[&b, &c])), other);
}
