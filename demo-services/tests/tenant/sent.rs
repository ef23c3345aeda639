//! What is sent, to the letter: every request of a whole plan, from `sent.json`. `UPDATE_GOLDEN=1` writes it anew.

use std::{fs, path::Path};

use demo_services::tenant::{
    plan::{Action, Certificate, Choices, CredentialKind, Ids, PERMISSIONS, Plan, permissions},
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
    let lines = Plan::new(&nobody, &nobody.record()).lines(&nobody.record());
    assert_eq!(lines[0], "+ application tower-bearer-demo-downstream-api");
    assert!(lines.contains(&"+ consent spa-backend -> middle-tier: user_impersonation".to_owned()));
    let left: Vec<&String> = lines.iter().filter(|line| line.starts_with('!')).collect();
    assert_eq!(left.len(), 4, "{lines:#?}");
    assert!(
        left[3].starts_with("! policy: require MFA for c1: left out, no user"),
        "{left:#?}"
    );
    // With what the record has.
    let mut record = known(&choices());
    let lines = Plan::new(&choices(), &record).lines(&record);
    assert_eq!(lines[0], "= application tower-bearer-demo-downstream-api");
    assert!(lines.contains(&"= settings of tower-bearer-demo-daemon".to_owned()));
    assert!(lines.contains(&"+ certificate of tower-bearer-demo-daemon".to_owned()));
    let policy = "policy tower-bearer-demo-c1: require MFA (1a2b3c4d)";
    assert_eq!(lines.last().unwrap(), &format!("+ {policy} (report-only)"));
    record.add(Object {
        key: "c1".to_owned(),
        kind: Kind::Policy,
        id: "0d1c0000-0000-4000-8000-000000000001".to_owned(),
        app_id: None,
        parent: None,
        name: "x".to_owned(),
    });
    let lines = Plan::new(&choices(), &record).lines(&record);
    assert_eq!(lines.last().unwrap(), &format!("= {policy}"));
    let lines = Plan::new(&nobody, &record).lines(&record);
    assert_eq!(lines.iter().filter(|line| line.starts_with('!')).count(), 3);
}

#[test]
fn only_what_a_run_needs_is_asked_for() {
    let named = |users: &[&str], groups: &[&str]| Choices {
        mfa_users: users.iter().map(|name| (*name).to_owned()).collect(),
        mfa_groups: groups.iter().map(|name| (*name).to_owned()).collect(),
        ..choices()
    };
    assert_eq!(
        permissions(&named(&[], &[])),
        [
            "Application.ReadWrite.All",
            "AppRoleAssignment.ReadWrite.All",
            "DelegatedPermissionGrant.ReadWrite.All"
        ]
    );
    let users = permissions(&named(&["alice"], &[]));
    assert!(users.contains(&"User.Read.All") && !users.contains(&"Group.Read.All"));
    assert!(users.contains(&"AuthenticationContext.ReadWrite.All"));
    let groups = permissions(&named(&[], &["x"]));
    assert!(!groups.contains(&"User.Read.All") && groups.contains(&"Group.Read.All"));
    assert_eq!(permissions(&named(&["alice"], &["x"])), PERMISSIONS);
}

/// Graph: "Request contains a property with duplicate values", also of a scope and a role.
#[test]
fn no_value_stands_twice_in_an_application() {
    let choices = choices();
    let record = known(&choices);
    let plan = Plan::new(&choices, &record);
    let applications = plan
        .steps
        .iter()
        .filter(|step| step.action == Action::Application);
    let mut offered = 0;
    for step in applications {
        let body = step.body(&record, &ids()).unwrap();
        let lists = [&body["api"]["oauth2PermissionScopes"], &body["appRoles"]];
        let values = lists.into_iter().filter_map(Value::as_array).flatten();
        let values: Vec<&str> = values
            .map(|offer| offer["value"].as_str().unwrap())
            .collect();
        let mut once = values.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), values.len(), "{step}: {values:?}");
        offered += values.len();
    }
    assert_eq!(offered, 4);
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
