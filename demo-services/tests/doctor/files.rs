//! What the files say, alone and about each other.

use demo_services::tenant::doctor::{Check, Configurations, Service, Severity, Sources};

use crate::stage::{
    Folder, Stage, Texts, assert_discreet, assert_has, assert_nothing, assert_only, wrong,
};

const SPA: Option<Service> = Some(Service::SpaBackend);
const MIDDLE: Option<Service> = Some(Service::MiddleTier);
const DOWNSTREAM: Option<Service> = Some(Service::DownstreamApi);

#[tokio::test]
async fn a_sound_configuration_is_in_order() {
    let stage = Stage::start().await;
    let report = stage.report(|_| {}).await;
    assert_nothing(&report);
    assert_discreet(&stage, &report, None);
    for check in [
        Check::File,
        Check::SameAuthority,
        Check::Scopes,
        Check::Addresses,
        Check::Discovery,
        Check::Clock,
        Check::Credential,
        Check::TokenVersion,
        Check::Audience,
        Check::OptionalClaims,
        Check::RedirectUri,
        Check::Port,
    ] {
        assert_has(&report, check, Severity::Ok, "");
    }
}

#[tokio::test]
async fn each_wrong_value_is_found_alone() {
    type Change = fn(&mut Texts);
    let stage = Stage::start().await;
    let rows: [(Change, Check, Option<Service>, &str); 8] = [
        (
            |texts| {
                texts.spa = texts
                    .spa
                    .replace("middle-tier/user_imp", "downstream-api/user_imp")
            },
            Check::Scopes,
            SPA,
            "api://middle-tier/user_impersonation",
        ),
        (
            |texts| {
                texts.spa = texts
                    .spa
                    .replace("http://localhost:2", "http://localhost:4")
            },
            Check::Addresses,
            SPA,
            "another port",
        ),
        (
            |texts| {
                texts.spa = texts
                    .spa
                    .replace("http://localhost:2", "https://localhost:2")
            },
            Check::Addresses,
            SPA,
            "speaks http",
        ),
        (
            |texts| {
                texts.middle = texts
                    .middle
                    .replace("http://localhost:1", "http://localhost:4")
            },
            Check::Addresses,
            MIDDLE,
            "another port",
        ),
        (
            |texts| {
                texts.downstream = texts.downstream.replace(
                    "required_scope = \"user_impersonation\"",
                    "required_scope = \"read\"",
                )
            },
            Check::Scopes,
            MIDDLE,
            "api://downstream-api/read",
        ),
        (
            |texts| texts.spa = texts.spa.replace("client_id = \"", "client_id = \"<x>"),
            Check::File,
            SPA,
            "client_id",
        ),
        (
            |texts| texts.downstream = texts.downstream.replace("admin_role", "admin_rule"),
            Check::File,
            DOWNSTREAM,
            "admin_rule",
        ),
        (
            |texts| {
                texts.middle = texts
                    .middle
                    .replace("listen = \"localhost:2\"", "listen = \"localhost:1\"")
            },
            Check::Port,
            DOWNSTREAM,
            "same port",
        ),
    ];
    for (change, check, service, says) in rows {
        let report = stage.report(change).await;
        assert_only(&report, check, service, Severity::Error, says);
        assert_discreet(&stage, &report, None);
    }
}

#[tokio::test]
async fn services_of_two_tenants_are_told() {
    let stage = Stage::start().await;
    let other = "99999999-2222-3333-4444-555555555555";
    let tenant = stage.authority.tenant().to_string();
    let report = stage
        .report(|texts| texts.downstream = texts.downstream.replace(&tenant, other))
        .await;
    let expected = (Check::SameAuthority, DOWNSTREAM, Severity::Error);
    assert!(wrong(&report).contains(&expected), "{}", report.text());
}

#[tokio::test]
async fn what_a_service_does_not_take_is_told_in_its_words() {
    let stage = Stage::start().await;
    let report = stage
        .report(|texts| {
            texts.spa = texts.spa.replace(
                "base_url = \"http://localhost:3\"",
                "base_url = \"http://localhost:3/app\"",
            )
        })
        .await;
    assert_has(&report, Check::Settings, Severity::Error, "base_url");
}

#[test]
fn files_are_known_by_name_or_by_keys() {
    let folder = Folder::new();
    let text = "listen = \"localhost:1\"\nclient_id = \"c\"\napp_id_uri = \"api://x\"\nrequired_scope = \"s\"\nadmin_role = \"r\"\n\
                secure_context = \"c1\"\n[authority]\ninstance = \"https://login.example\"\ntenant = \"11111111-2222-3333-4444-555555555555\"\n";
    let read = |names: &[&str]| {
        let files = names.iter().map(|name| folder.write(name, text)).collect();
        Configurations::read(&Sources::Files(files), &[])
    };
    for name in ["downstream-api.toml", "my-downstream-api-2.toml", "a.toml"] {
        let (read, findings) = read(&[name]);
        assert!(read.downstream.is_some(), "{name}: {findings:?}");
        assert_eq!(findings[0].severity, Severity::Ok, "{name}");
    }
    let (_, findings) = read(&["downstream-api.toml", "a.toml"]);
    assert!(findings[1].says.contains("second"), "{findings:?}");

    let other = folder.write("b.toml", "x = 1");
    let missing = folder.path().join("c.toml");
    for (file, says) in [(other, "none of the services"), (missing, "cannot read")] {
        let (_, findings) = Configurations::read(&Sources::Files(vec![file]), &[]);
        assert_eq!(findings[0].severity, Severity::Error);
        assert!(findings[0].says.contains(says), "{findings:?}");
    }
    let empty = Folder::new();
    let (_, findings) = Configurations::read(&Sources::Directory(empty.path().into()), &[]);
    assert!(
        findings
            .iter()
            .any(|finding| finding.severity == Severity::Error),
        "{findings:?}"
    );
}
