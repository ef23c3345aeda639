//! A machine that stops between any two steps of its disk: registering again completes what was begun, unregistering leaves what was there.

use std::collections::BTreeMap;
use std::fs;

use demo_services::tenant::plan::{Choices, CredentialKind};
use demo_services::tenant::record::{Kind, StateFile};
use demo_services::tenant::unregister::{Removal, UnregisterError};
use serde_json::Value;

use crate::harness::Tenant;

type Tree = BTreeMap<String, Option<String>>;

/// A tenant, and a folder in which somebody's files are in the way of two of ours.
async fn with_files_of_others() -> (Tenant, Tree) {
    let tenant = Tenant::without_door().await;
    fs::create_dir(tenant.files.out()).unwrap();
    for name in ["middle-tier.toml", "daemon-key.pem"] {
        tenant.files.write(name, &format!("{name} of others"));
    }
    let tree = tenant.files.tree();
    (tenant, tree)
}

/// The steps of a whole run at which it is stopped: those of files with such names, those of the record before and after them, and the
/// last ones. What the others do is the same. The second step of the record leaves as much of it as the first, and is taken at the end only.
async fn steps_of_registering(tenant: &Tenant, choices: &Choices, files: &[&str]) -> Vec<usize> {
    tenant.machine.steps();
    tenant.register_as(&tenant.admin(), choices).await.unwrap();
    let steps = tenant.machine.steps();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step.file_name().unwrap().to_str().unwrap())
        .collect();
    let is_record = |name: &&&str| name.ends_with("state.json") || name.contains("state.json.");
    let is_wanted = |name: &&str| files.iter().any(|file| name.contains(file));
    let chosen = |index: &usize| {
        let (before, from) = names.split_at(*index);
        let before = before.iter().rfind(|name| !is_record(name));
        let after = from.iter().find(|name| !is_record(name));
        match after {
            Some(file) if !is_record(&&from[0]) => is_wanted(file),
            Some(_) if from[0] == "state.json" => false,
            Some(file) => is_wanted(file) || before.is_some_and(is_wanted),
            None => true,
        }
    };
    let chosen: Vec<usize> = (0..steps.len()).filter(chosen).collect();
    assert!(chosen.len() > 10, "{names:?}");
    chosen
}

fn choices(tenant: &Tenant, credential: CredentialKind) -> Choices {
    Choices {
        credential,
        ..tenant.choices()
    }
}

/// Each application has the one credential that is recorded and in its file, and that the configuration of its service names.
async fn has_its_credentials(tenant: &Tenant, choices: &Choices) {
    let (record, graph) = (tenant.record(), tenant.admin());
    let (kind, list) = match choices.credential {
        CredentialKind::Certificate => (Kind::Certificate, "keyCredentials"),
        CredentialKind::Secret => (Kind::Secret, "passwordCredentials"),
    };
    let local = tenant.local(choices);
    for key in ["middle-tier", "spa-backend", "daemon"] {
        let path = format!("applications/{}", record.app(key).unwrap().id);
        let app = graph.get(&path, "").await.unwrap().unwrap();
        let ids: Vec<&Value> = app[list]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| &one["keyId"])
            .collect();
        let recorded = &record.object(kind, key).unwrap().id;
        assert_eq!(ids, [recorded], "{key}");
        if kind == Kind::Secret {
            assert_eq!(local.secret_id(&record, key).as_ref(), Some(recorded));
            let file = tenant.files.read(&format!("{key}.env"));
            let (_, secret) = file.trim_end().split_once("CLIENT_SECRET=").unwrap();
            if key != "daemon" {
                let toml = tenant.files.read(&format!("{key}.toml"));
                assert!(toml.contains(secret), "{key}");
            }
        }
    }
    let waiting = |name: &String| name.contains(".next.") || name.contains("register-tmp");
    assert!(!tenant.files.names().iter().any(waiting));
}

/// Removes the files as unregister does it, and leaves the tenant as it is.
async fn remove_files(tenant: &Tenant) -> Result<(), UnregisterError> {
    let (state, record) = StateFile::open_on(&tenant.files.state(), tenant.machine.clone())?;
    let mut record = record.unwrap();
    record.emptied = true;
    Removal::of(record).run(&tenant.admin(), state).await?;
    Ok(())
}

/// Stops at each step of a run that makes the credentials and writes the configuration; everything else is there already.
async fn a_stop_at_each_step(
    credential: CredentialKind,
    files: &[&str],
    (tenant, tree): (Tenant, Tree),
) {
    let before = tenant.everything().await;
    let (choices, graph) = (choices(&tenant, credential), tenant.admin());
    tenant.register_as(&graph, &choices).await.unwrap();
    let mut record = tenant.record();
    remove_files(&tenant).await.unwrap();
    assert_eq!(tenant.files.tree(), tree);
    record.local = None;
    record
        .objects
        .retain(|object| !matches!(object.kind, Kind::Certificate | Kind::Secret));
    let (state, _) = StateFile::open(&tenant.files.state()).unwrap();
    state.save(&record).unwrap();
    drop(state);
    let start = tenant.files.tree();
    let steps = steps_of_registering(&tenant, &choices, files).await;
    for step in steps {
        tenant.files.set_tree(&start);
        tenant.machine.stops_after(step);
        let stopped = tenant.register_as(&graph, &choices).await;
        assert!(stopped.is_err(), "step {step}");
        tenant.machine.goes_on();
        let there = tenant.files.tree();
        remove_files(&tenant).await.unwrap();
        assert_eq!(tenant.files.tree(), tree, "step {step} of {there:?}");

        tenant.files.set_tree(&there);
        tenant.register_as(&graph, &choices).await.unwrap();
        has_its_credentials(&tenant, &choices).await;
        let whole = tenant.files.tree();
        remove_files(&tenant).await.unwrap();
        assert_eq!(tenant.files.tree(), tree, "step {step} of {whole:?}");
        tenant.files.set_tree(&whole);
    }
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.files.tree(), tree);
    assert_eq!(tenant.everything().await, before);
}

#[tokio::test]
async fn a_stop_at_each_step_with_certificates_and_files_of_others() {
    let start = with_files_of_others().await;
    let files = ["daemon", "middle-tier.toml"];
    a_stop_at_each_step(CredentialKind::Certificate, &files, start).await;
}

#[tokio::test]
async fn a_stop_at_each_step_with_secrets_and_no_folder() {
    let start = (Tenant::without_door().await, Tree::new());
    let files = [
        "config",
        "middle-tier.env",
        "middle-tier.toml",
        "downstream-api.toml",
    ];
    a_stop_at_each_step(CredentialKind::Secret, &files, start).await;
}

/// Stops on the way from nothing to everything, and takes it back: also what was made at Graph and not noted.
#[tokio::test]
async fn what_a_stop_has_left_is_removed() {
    let (tenant, tree) = with_files_of_others().await;
    let before = tenant.everything().await;
    tenant.register().await.unwrap();
    let steps = tenant.machine.steps().len();
    tenant.unregister().await.unwrap();
    const STOPS: usize = 6;
    for part in 1..STOPS {
        let step = steps * part / STOPS;
        tenant.machine.stops_after(step);
        assert!(tenant.register().await.is_err(), "step {step}");
        tenant.machine.goes_on();
        let removed = tenant.unregister().await.unwrap();
        assert!(removed.removed > 0 && removed.gone == 0, "{removed:?}");
        assert_eq!(tenant.files.tree(), tree, "step {step} of {steps}");
        assert_eq!(tenant.everything().await, before, "step {step} of {steps}");
    }
}

#[tokio::test]
async fn unregistering_goes_on_after_a_stop() {
    let (tenant, tree) = with_files_of_others().await;
    tenant.register().await.unwrap();
    // One of the files was changed by hand.
    let changed = format!("{}# changed\n", tenant.files.read("spa-backend.toml"));
    tenant.files.write("spa-backend.toml", &changed);
    let whole = tenant.files.tree();
    tenant.machine.steps();
    remove_files(&tenant).await.unwrap();
    let mut expected = tree;
    let edited = "config/spa-backend.toml.edited".to_owned();
    expected.insert(edited, Some(changed));
    assert_eq!(tenant.files.tree(), expected);
    let steps = tenant.machine.steps().len();
    for step in 0..steps {
        tenant.files.set_tree(&whole);
        tenant.machine.stops_after(step);
        assert!(remove_files(&tenant).await.is_err(), "step {step}");
        tenant.machine.goes_on();
        remove_files(&tenant).await.unwrap();
        assert_eq!(tenant.files.tree(), expected, "step {step}");
    }
}

#[tokio::test]
async fn a_renewal_that_stops_is_gone_on_with() {
    let tenant = Tenant::without_door().await;
    let before = tenant.everything().await;
    let (choices, graph) = (tenant.choices(), tenant.admin());
    tenant.register().await.unwrap();
    let lose = || fs::remove_file(tenant.files.out().join("daemon-key.pem")).unwrap();
    lose();
    let steps = steps_of_registering(&tenant, &choices, &["daemon"]).await;
    for step in steps {
        lose();
        tenant.machine.stops_after(step);
        assert!(tenant.register().await.is_err(), "step {step}");
        tenant.machine.goes_on();
        tenant.register_as(&graph, &choices).await.unwrap();
        has_its_credentials(&tenant, &choices).await;
    }
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.files.names(), Vec::<String>::new());
    assert_eq!(tenant.everything().await, before);
}
