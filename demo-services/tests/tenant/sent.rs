//! What is sent, to the letter: every request of a whole plan, from `sent.json`. `UPDATE_GOLDEN=1` writes it anew.

use std::{fs, path::Path};

use demo_services::tenant::{
    plan::{Certificate, Choices, CredentialKind, Ids, Plan},
    record::{Kind, Object, Record},
};
use serde_json::{Value, json};

fn choices() -> Choices {
    Choices {
        tenant: "11111111-2222-3333-4444-555555555555".to_owned(),
        cloud: "global".to_owned(),
        authority: "https://login.microsoftonline.com".parse().unwrap(),
        graph: "https://graph.microsoft.com".parse().unwrap(),
        prefix: "tower-bearer-demo".to_owned(),
        base_url: "http://localhost:3000".parse().unwrap(),
        mfa_users: vec!["alice@contoso.example".to_owned()],
        mfa_groups: vec!["9e000000-0000-4000-8000-000000000001".to_owned()],
        enforce: false,
        credential: CredentialKind::Certificate,
        out: "tenant-config".into(),
    }
}

/// As if every application and service principal had been made.
fn known(choices: &Choices) -> Record {
    let mut record = choices.record();
    record.run = "1a2b3c4d-0000-4000-8000-000000000000".to_owned();
    for (index, key) in [
        "downstream-api",
        "mfa-app",
        "middle-tier",
        "spa-backend",
        "msal-spa",
        "daemon",
    ]
    .into_iter()
    .enumerate()
    {
        for (kind, letter) in [(Kind::Application, 'a'), (Kind::ServicePrincipal, 'b')] {
            record.add(Object {
                key: key.to_owned(),
                kind,
                id: format!("{letter}0000000-0000-4000-8000-00000000000{index}"),
                app_id: Some(format!("c0000000-0000-4000-8000-00000000000{index}")),
                parent: None,
                name: format!("tower-bearer-demo-{key}"),
            });
        }
    }
    record
}

fn ids() -> Ids {
    let certificate = Certificate {
        der: vec![0x30, 0x82, 1, 2],
        start: "2026-01-01T00:00:00Z".to_owned(),
        end: "2027-01-01T00:00:00Z".to_owned(),
    };
    let certificates =
        ["middle-tier", "spa-backend", "daemon"].map(|key| (key.to_owned(), certificate.clone()));
    Ids {
        user: Some("a11ce000-0000-4000-8000-000000000001".to_owned()),
        graph_principal: Some("d0000000-0000-4000-8000-000000000000".to_owned()),
        mfa_users: vec!["a11ce000-0000-4000-8000-000000000001".to_owned()],
        mfa_groups: vec!["9e000000-0000-4000-8000-000000000001".to_owned()],
        certificates: certificates.into(),
    }
}

fn requests(choices: &Choices) -> Value {
    let (record, ids) = (known(choices), ids());
    let plan = Plan::new(choices, &record);
    let requests = plan.steps.iter().map(|step| {
        let request = step.request(&record, &ids).unwrap();
        json!({ "step": step.to_string(), "request": format!("{} {}", request.method, request.path), "body": request.body })
    });
    requests.collect()
}

#[test]
fn every_request_is_as_it_is_written_down() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/tenant/sent.json");
    let sent = requests(&choices());
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&file, serde_json::to_string_pretty(&sent).unwrap() + "\n").unwrap();
    }
    let golden: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let (sent, golden) = (sent.as_array().unwrap(), golden.as_array().unwrap());
    for (sent, golden) in sent.iter().zip(golden) {
        assert_eq!(sent, golden);
    }
    assert_eq!(sent.len(), golden.len());
}

#[test]
fn enforced_and_with_secrets() {
    let sent = requests(&Choices {
        enforce: true,
        credential: CredentialKind::Secret,
        ..choices()
    });
    let find = |words: &str| {
        let all = sent.as_array().unwrap();
        all.iter()
            .find(|sent| sent["step"].as_str().unwrap().starts_with(words))
            .unwrap()
            .clone()
    };
    let policy = find("policy tower-bearer-demo-mfa-app");
    assert_eq!(policy["body"]["state"], "enabled");
    let secret = find("secret of tower-bearer-demo-daemon");
    assert_eq!(
        secret["body"],
        json!({ "passwordCredential": { "displayName": "tower-bearer 1a2b3c4d" } })
    );
}

#[test]
fn a_step_that_comes_too_early_says_what_is_missing() {
    let record = choices().record();
    let plan = Plan::new(&choices(), &record);
    let missing = plan
        .steps
        .iter()
        .filter(|step| step.request(&record, &Ids::default()).is_err());
    // Applications and the context depend on nothing.
    assert_eq!(missing.count(), plan.steps.len() - 7);
}

#[test]
fn a_plan_is_told_in_lines_without_anybody_being_asked() {
    let nobody = Choices {
        mfa_users: Vec::new(),
        mfa_groups: Vec::new(),
        ..choices()
    };
    let lines = Plan::new(&nobody, &nobody.record()).lines();
    assert_eq!(lines[0], "application tower-bearer-demo-downstream-api");
    assert!(lines.contains(&"consent spa-backend -> middle-tier: user_impersonation".to_owned()));
    assert!(
        lines
            .last()
            .unwrap()
            .starts_with("not: policy: require MFA for c1 (no user"),
        "{lines:#?}"
    );
    let lines = Plan::new(&choices(), &known(&choices())).lines();
    assert_eq!(
        lines.last().unwrap(),
        "policy tower-bearer-demo-c1: require MFA (1a2b3c4d) (report-only)"
    );
}

#[test]
fn ids_are_the_same_at_each_run_and_others_in_another() {
    let ids = |run: &str| {
        let choices = choices();
        let mut record = known(&choices);
        record.run = run.to_owned();
        let plan = Plan::new(&choices, &record);
        let body = plan.steps[0].body(&record, &Ids::default()).unwrap();
        (
            body["api"]["oauth2PermissionScopes"][0]["id"].clone(),
            body["appRoles"][0]["id"].clone(),
        )
    };
    let one = ids("1a2b3c4d-0000-4000-8000-000000000000");
    assert_eq!(one, ids("1a2b3c4d-0000-4000-8000-000000000000"));
    let other = ids("1a2b3c4d-0000-4000-8000-000000000001");
    assert!(one.0 != other.0 && one.1 != other.1 && one.0 != one.1);
}
