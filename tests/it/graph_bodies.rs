//! Every body that `register` and `unregister` send to Microsoft Graph, against Graph's published types; `docs/graph-fields.md` lists
//! the same members, no more and no fewer.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use demo_services::tenant::plan::{
    Action, Certificate, Choices, CredentialKind, DEFAULT_PREFIX, Ids, Plan,
};
use demo_services::tenant::record::{Kind, Object, Record};
use integration_tests::graph_fields::{check, pattern};
use serde_json::{Value, json};

/// Method, path below `/v1.0/`, body.
type Sent = (String, String, Value);

fn id(number: usize) -> String {
    format!("0d1c0000-0000-4000-8000-{number:012}")
}

fn choices(credential: CredentialKind, enforce: bool) -> Choices {
    Choices {
        tenant: id(1),
        cloud: "global".to_owned(),
        authority: "https://login.example".parse().unwrap(),
        graph: "https://graph.example".parse().unwrap(),
        prefix: DEFAULT_PREFIX.to_owned(),
        base_url: "http://localhost:3000".parse().unwrap(),
        mfa_users: vec!["alice@contoso.example".to_owned()],
        mfa_groups: vec![id(2)],
        enforce,
        credential,
        out: "tenant-config".into(),
    }
}

/// All requests of a plan, each made with what the ones before it left in the record.
fn of_a_plan(choices: &Choices) -> Vec<Sent> {
    let mut record: Record = choices.record();
    let certificate = Certificate {
        der: vec![0x30, 0x82, 0, 255],
        start: "2026-11-26T03:00:00Z".to_owned(),
        end: "2027-11-26T03:00:00Z".to_owned(),
    };
    let confidential = ["middle-tier", "spa-backend", "daemon"];
    let ids = Ids {
        user: Some(id(3)),
        graph_principal: Some(id(4)),
        mfa_users: vec![id(5)],
        mfa_groups: vec![id(2)],
        certificates: confidential
            .map(|key| (key.to_owned(), certificate.clone()))
            .into(),
    };
    let plan = Plan::new(choices, &record);
    assert!(plan.left_out.is_empty(), "{:?}", plan.left_out);
    let mut sent = Vec::new();
    for (number, step) in plan.steps.iter().enumerate() {
        let request = step.request(&record, &ids).unwrap();
        sent.push((request.method.to_string(), request.path, request.body));
        if let Some(kind) = step.kind() {
            let with_app_id = matches!(kind, Kind::Application | Kind::ServicePrincipal);
            record.add(Object {
                key: step.key.clone(),
                kind,
                id: id(100 + number),
                app_id: with_app_id.then(|| id(500 + number)),
                parent: None,
                name: step.name.clone(),
            });
        }
    }
    let actions = [Action::Application, Action::Settings, Action::Principal];
    for action in actions {
        assert!(plan.steps.iter().any(|step| step.action == action));
    }
    sent
}

/// What is sent when something is there already, or is taken away.
fn beside_a_plan() -> Vec<Sent> {
    const POLICIES: &str = "identity/conditionalAccess/policies";
    const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
    [
        (
            "PATCH",
            format!("oauth2PermissionGrants/{}", id(6)),
            json!({ "scope": "User.Read User.ReadWrite" }),
        ),
        (
            "POST",
            format!("applications/{}/removePassword", id(7)),
            json!({ "keyId": id(8) }),
        ),
        (
            "PATCH",
            format!("{CONTEXTS}/c1"),
            json!({ "isAvailable": false }),
        ),
        (
            "PATCH",
            format!("{POLICIES}/{}", id(9)),
            json!({ "state": "enabled", "conditions": {
                "applications": { "includeApplications": [id(10)] },
                "users": { "includeUsers": [id(11)], "includeGroups": [id(12)] },
            } }),
        ),
    ]
    .map(|(method, path, body)| (method.to_owned(), path, body))
    .into()
}

fn all() -> Vec<Sent> {
    let certificate = of_a_plan(&choices(CredentialKind::Certificate, true));
    let secret = of_a_plan(&choices(CredentialKind::Secret, false));
    [certificate, secret, beside_a_plan()].concat()
}

/// The rows of the document, from the bodies.
fn rows() -> BTreeSet<String> {
    let mut rows = BTreeSet::new();
    for (method, path, body) in all() {
        let fields = check(&method, &path, &body);
        assert!(fields.is_ok(), "{method} {path}: {fields:#?}\n{body:#}");
        let fields = fields.unwrap();
        assert!(!fields.is_empty(), "{method} {path}");
        let pattern = pattern(&method, &path).unwrap();
        for field in fields {
            rows.insert(format!(
                "| `{method} {pattern}` | `{}` | `{}` | `{}` |",
                field.place, field.property, field.edm
            ));
        }
    }
    rows
}

#[test]
fn every_body_is_one_that_graph_understands_and_the_document_lists_its_members() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/graph-fields.md");
    let document = fs::read_to_string(path).unwrap();
    let listed = document.lines().filter(|line| line.starts_with("| `"));
    let listed: BTreeSet<String> = listed.map(str::to_owned).collect();
    let sent = rows();
    let missing: Vec<_> = sent.difference(&listed).map(String::as_str).collect();
    let idle: Vec<_> = listed.difference(&sent).map(String::as_str).collect();
    assert!(
        missing.is_empty() && idle.is_empty(),
        "missing in docs/graph-fields.md:\n{}\nnever sent:\n{}",
        missing.join("\n"),
        idle.join("\n")
    );
}

/// A body that is right, with one member of another name, is found.
#[test]
fn a_member_that_graph_does_not_have_is_found() {
    for (method, path, mut body) in all() {
        body["tower"] = json!("bearer");
        let faults = check(&method, &path, &body).unwrap_err();
        assert_eq!(faults.len(), 1, "{faults:?}");
    }
}
