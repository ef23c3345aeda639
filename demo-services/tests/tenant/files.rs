//! What registering and unregistering do with the files of this machine: ours, somebody's, and ours that somebody has changed.

use std::error::Error as _;
use std::fs;

use axum::http::Method;
use demo_services::tenant::plan::{Choices, CredentialKind};
use demo_services::tenant::record::{Kind, RecordError, StateFile};
use demo_services::tenant::register::RegisterError;
use demo_services::tenant::unregister::UnregisterError;

use crate::harness::{Fault, Tenant};

const DAY: u64 = 86_400;

fn refused() -> Fault {
    let body = r#"{"error":{"code":"Request_BadRequest","message":"no"}}"#;
    Fault::Answer(400, &[], body.to_owned())
}

/// Ids of the certificates of the daemon in the tenant.
async fn keys(tenant: &Tenant) -> Vec<String> {
    let path = format!("applications/{}", tenant.record().app("daemon").unwrap().id);
    let app = tenant.admin().get(&path, "").await.unwrap().unwrap();
    let keys = app["keyCredentials"].as_array().unwrap().iter();
    keys.map(|key| key["keyId"].as_str().unwrap().to_owned())
        .collect()
}

fn recorded(tenant: &Tenant) -> String {
    let record = tenant.record();
    record
        .object(Kind::Certificate, "daemon")
        .unwrap()
        .id
        .clone()
}

#[tokio::test]
async fn a_certificate_that_could_not_be_registered_is_not_taken_for_the_one_that_is() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let old = recorded(&tenant);
    fs::remove_file(tenant.files.out().join("daemon-key.pem")).unwrap();
    tenant.fail(Method::PATCH, "applications/", 0, 1, refused());
    tenant.register().await.unwrap_err();
    assert_eq!(
        (keys(&tenant).await, recorded(&tenant)),
        (vec![old.clone()], old.clone())
    );
    tenant.heal();
    tenant.register().await.unwrap();
    let told = tenant.told();
    let renewed = "+ certificate of demo-daemon (made anew: the one before was lost here, or is about to end)";
    assert!(told.iter().any(|line| line == renewed), "{told:?}");
    let new = recorded(&tenant);
    assert_ne!(new, old);
    assert_eq!(keys(&tenant).await, [new]);
    // The twin: nothing is lost, and it is kept.
    tenant.writes();
    tenant.register().await.unwrap();
    assert_eq!(tenant.writes(), []);
}

#[tokio::test]
async fn the_key_in_its_place_is_registered_until_another_one_is() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let (old, certificate) = (recorded(&tenant), tenant.files.read("daemon.pem"));
    tenant.clock.advance(334 * DAY);
    tenant.register().await.unwrap();
    assert_eq!(recorded(&tenant), old, "it is good for 31 days");
    tenant.clock.advance(2 * DAY);
    tenant.fail(Method::PATCH, "applications/", 0, 1, refused());
    tenant.register().await.unwrap_err();
    assert_eq!(tenant.files.read("daemon.pem"), certificate);
    tenant.heal();
    // The new one is added before the old one goes.
    tenant.writes();
    tenant.register().await.unwrap();
    let writes: Vec<Method> = tenant
        .writes()
        .into_iter()
        .map(|(method, ..)| method)
        .collect();
    assert_eq!(
        writes,
        vec![Method::PATCH; 6],
        "three to add, three to take away"
    );
    assert_ne!(tenant.files.read("daemon.pem"), certificate);
    assert_eq!(keys(&tenant).await, [recorded(&tenant)]);
    assert_ne!(recorded(&tenant), old);
}

#[tokio::test]
async fn a_secret_of_another_id_is_not_taken_for_the_recorded_one() {
    let tenant = Tenant::start().await;
    let choices = Choices {
        credential: CredentialKind::Secret,
        ..tenant.choices()
    };
    let graph = tenant.admin();
    tenant.register_as(&graph, &choices).await.unwrap();
    let record = tenant.record();
    let old = &record.object(Kind::Secret, "daemon").unwrap().id;
    // The file of another application.
    let other = tenant.files.read("spa-backend.env");
    let text = tenant.files.read("daemon.env");
    tenant.files.write("daemon.env", &other);
    tenant.register_as(&graph, &choices).await.unwrap();
    let record = tenant.record();
    let new = &record.object(Kind::Secret, "daemon").unwrap().id;
    assert_ne!(new, old);
    let now = tenant.files.read("daemon.env");
    assert!(now.contains(new) && now != other && now != text);
    tenant.writes();
    tenant.register_as(&graph, &choices).await.unwrap();
    assert_eq!(tenant.writes(), []);
}

#[tokio::test]
async fn a_key_that_lay_there_is_not_registered() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    let bare = |name: &str| {
        let text = tenant.files.read(name);
        text[text.find("-----BEGIN").unwrap()..].to_owned()
    };
    let planted = [bare("daemon.pem"), bare("daemon-key.pem")];
    tenant.unregister().await.unwrap();
    fs::create_dir(tenant.files.out()).unwrap();
    for (name, text) in ["daemon.pem", "daemon-key.pem"].into_iter().zip(&planted) {
        tenant.files.write(name, text);
    }
    let before = tenant.files.tree();
    tenant.register().await.unwrap();
    assert!(!tenant.files.read("daemon.pem").contains(&planted[0]));
    assert_eq!(tenant.files.read("daemon.pem.before-register"), planted[0]);
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.files.tree(), before);
}

#[tokio::test]
async fn what_somebody_has_changed_stays_and_what_nobody_has_changed_follows_the_choices() {
    let tenant = Tenant::without_door().await;
    let nobody = Choices {
        mfa_users: Vec::new(),
        ..tenant.choices()
    };
    let graph = tenant.admin();
    tenant.register_as(&graph, &nobody).await.unwrap();
    let edited = tenant
        .files
        .read("middle-tier.toml")
        .replace("flow_events = true", "flow_events = false");
    tenant.files.write("middle-tier.toml", &edited);
    // New objects, and another address.
    let choices = Choices {
        base_url: "https://localhost:3443".parse().unwrap(),
        ..tenant.choices()
    };
    tenant.register_as(&graph, &choices).await.unwrap();
    assert_eq!(tenant.files.read("middle-tier.toml"), edited);
    let spa = tenant.files.read("spa-backend.toml");
    assert!(
        spa.contains("base_url = \"https://localhost:3443\""),
        "{spa}"
    );
    let told = tenant.told();
    let about = |name: &str| {
        let mut lines = told.iter();
        lines.find(|line| line.contains(name)).cloned().unwrap()
    };
    assert!(about("spa-backend.toml").starts_with("~ file "), "{told:?}");
    assert!(
        about("middle-tier.toml").contains("flow_events"),
        "{told:?}"
    );
    assert!(tenant.record().former_base_urls().is_empty());
    // Removed, the changed one is kept.
    let removed = tenant.unregister().await.unwrap();
    assert_eq!(removed.files, 9);
    assert_eq!(
        tenant.files.names(),
        ["config", "config/middle-tier.toml.edited"]
    );
    assert_eq!(tenant.files.read("middle-tier.toml.edited"), edited);
}

#[tokio::test]
async fn a_file_in_the_way_does_not_keep_the_others() {
    let tenant = Tenant::without_door().await;
    fs::create_dir(tenant.files.out()).unwrap();
    tenant.files.write("spa-backend.toml", "of before");
    tenant.register().await.unwrap();
    tenant.files.write("spa-backend.toml", "somebody's");
    let error = tenant.unregister().await.unwrap_err();
    let UnregisterError::Files { remaining: 1, .. } = &error else {
        panic!("{error}")
    };
    let why = error.source().unwrap().to_string();
    assert!(why.contains("Move one of them away"), "{why}");
    assert_eq!(
        tenant.files.names(),
        [
            "config",
            "config/spa-backend.toml",
            "config/spa-backend.toml.before-register",
            "state.json"
        ]
    );
    fs::remove_file(tenant.files.out().join("spa-backend.toml")).unwrap();
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.files.names(), ["config", "config/spa-backend.toml"]);
    assert_eq!(tenant.files.read("spa-backend.toml"), "of before");
}

#[tokio::test]
async fn two_registrations_have_a_folder_each() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    let (tree, before) = (tenant.files.tree(), tenant.everything().await);
    // The record is another one, the folder the same.
    let aside = tenant.files.folder.join("first.json");
    fs::rename(tenant.files.state(), &aside).unwrap();
    let choices = Choices {
        prefix: "other".to_owned(),
        ..tenant.choices()
    };
    let graph = tenant.admin();
    let error = tenant.register_as(&graph, &choices).await.unwrap_err();
    assert!(
        error.to_string().contains("of another registration"),
        "{error}"
    );
    assert!(error.to_string().contains("--out"), "{error}");
    assert!(!tenant.files.state().exists());
    assert_eq!(tenant.everything().await, before);
    let choices = Choices {
        out: tenant.files.folder.join("second"),
        ..choices
    };
    tenant.register_as(&graph, &choices).await.unwrap();
    tenant.unregister().await.unwrap();
    fs::rename(aside, tenant.files.state()).unwrap();
    assert_eq!(
        (tenant.files.tree(), tenant.everything().await),
        (tree, before)
    );
    tenant.unregister().await.unwrap();
    assert_eq!(tenant.files.names(), Vec::<String>::new());
}

#[tokio::test]
async fn a_record_is_of_one_folder_and_one_kind_of_credential() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let (tree, graph) = (tenant.files.tree(), tenant.admin());
    tenant.writes();
    for choices in [
        Choices {
            out: tenant.files.folder.join("elsewhere"),
            ..tenant.choices()
        },
        Choices {
            credential: CredentialKind::Secret,
            ..tenant.choices()
        },
    ] {
        let error = tenant.register_as(&graph, &choices).await.unwrap_err();
        assert!(
            error
                .to_string()
                .contains("is the record of another registration"),
            "{error}"
        );
        assert_eq!(
            (tenant.files.tree(), tenant.writes()),
            (tree.clone(), vec![])
        );
    }
    tenant.register().await.unwrap();
}

#[tokio::test]
async fn what_nobody_finished_has_the_redirect_uris_of_one_address_in_the_end() {
    let tenant = Tenant::start().await;
    tenant.register().await.unwrap();
    let graph = tenant.admin();
    let at = |url: &str| Choices {
        base_url: url.parse().unwrap(),
        ..tenant.choices()
    };
    // The second address is in the tenant, and the run ends before its files.
    tenant.machine.steps();
    tenant.machine.stops_after(2);
    let error = tenant
        .register_as(&graph, &at("https://two.example"))
        .await
        .unwrap_err();
    assert!(
        matches!(
            error,
            RegisterError::Local { .. } | RegisterError::Record(RecordError::Io { .. })
        ),
        "{error}"
    );
    tenant.machine.goes_on();
    let choices = at("https://three.example");
    tenant.register_as(&graph, &choices).await.unwrap();
    let path = format!(
        "applications/{}",
        tenant.record().app("spa-backend").unwrap().id
    );
    let app = graph.get(&path, "").await.unwrap().unwrap();
    assert_eq!(
        app["web"]["redirectUris"],
        serde_json::json!([
            "https://three.example/auth/callback",
            "https://three.example/"
        ])
    );
    tenant.writes();
    tenant.register_as(&graph, &choices).await.unwrap();
    assert_eq!(tenant.writes(), []);
}

#[tokio::test]
async fn a_record_cannot_name_files_of_others() {
    let tenant = Tenant::without_door().await;
    tenant.register().await.unwrap();
    let whole = fs::read_to_string(tenant.files.state()).unwrap();
    for (from, to) in [
        ("\"daemon.pem\"", "\"../state.json\""),
        ("\"daemon.pem\"", "\"id_ed25519\""),
        ("\"replaced\": false", "\"replaced\": \"/etc/passwd\""),
    ] {
        fs::write(tenant.files.state(), whole.replacen(from, to, 1)).unwrap();
        let error = StateFile::open(&tenant.files.state()).unwrap_err();
        assert!(matches!(error, RecordError::Damaged { .. }), "{error}");
    }
    fs::write(tenant.files.state(), whole).unwrap();
    tenant.unregister().await.unwrap();
}
