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

/// A folder has all three; who has fewer names them.
#[tokio::test]
async fn a_file_that_is_missing_in_a_folder_is_told() {
    let stage = Stage::start().await;
    let folder = Folder::of(&stage.texts);
    let read = |sources| Configurations::read(&sources, &[]).1;
    let in_folder = || read(Sources::Directory(folder.path().into()));
    assert!(in_folder().iter().all(|finding| finding.mend.is_none()));
    std::fs::remove_file(folder.path().join("middle-tier.toml")).unwrap();
    let found = in_folder();
    let bad: Vec<_> = found
        .iter()
        .filter(|finding| finding.severity == Severity::Error)
        .collect();
    assert_eq!((bad.len(), bad[0].service), (1, MIDDLE), "{found:?}");
    assert!(bad[0].says.contains("is not there"), "{found:?}");
    let left_out = found
        .iter()
        .find(|finding| finding.severity == Severity::Skipped);
    assert!(
        left_out.unwrap().says.contains("optional-claims"),
        "{found:?}"
    );
    let named = ["spa-backend.toml", "downstream-api.toml"].map(|name| folder.path().join(name));
    let found = read(Sources::Files(named.into()));
    assert!(
        found.iter().all(|finding| finding.mend.is_none()),
        "{found:?}"
    );
}

/// A file and its twin whose only fault is its kind or size.
#[cfg(unix)]
#[tokio::test]
async fn only_regular_files_of_a_sensible_size_are_read() {
    let stage = Stage::start().await;
    let folder = Folder::of(&stage.texts);
    let file = folder.path().join("downstream-api.toml");
    let found = || Configurations::read(&Sources::Files(vec![file.clone()]), &[]).1;
    let filled = |size: usize| {
        let text = &stage.texts.downstream;
        format!("{}{text}", "#\n".repeat((size - text.len()) / 2))
    };
    folder.write("downstream-api.toml", &filled(1024 * 1024));
    assert_eq!(found()[0].severity, Severity::Ok);
    folder.write("downstream-api.toml", &filled(1024 * 1024 + 3));
    assert!(
        found()[0].says.contains("larger than 1 MiB"),
        "{:?}",
        found()
    );
    std::fs::remove_file(&file).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &file).unwrap();
    assert!(found()[0].says.contains("no regular file"), "{:?}", found());

    for (name, key) in [
        ("/dev/zero", "ca_file"),
        (
            "/dev/zero",
            "client_certificate = { private_key = \"/nowhere\", certificate",
        ),
    ] {
        let mut middle = format!("{key} = \"{name}\"");
        if key != "ca_file" {
            middle.push_str(" }");
        }
        let kept = stage.texts.middle.lines();
        let kept: Vec<&str> = kept
            .filter(|line| !line.starts_with("client_secret"))
            .collect();
        folder.write(
            "middle-tier.toml",
            &format!("{middle}\n{}", kept.join("\n")),
        );
        let files = Sources::Files(vec![folder.path().join("middle-tier.toml")]);
        let found = Configurations::read(&files, &[]).1;
        assert!(
            found[0].says.contains("no regular file"),
            "{key}: {found:?}"
        );
    }
}

#[tokio::test]
async fn the_files_of_tls_are_looked_at() {
    let stage = Stage::start().await;
    let folder = Folder::of(&stage.texts);
    let ca = || listening::LocalCa::in_memory(1_795_319_366).unwrap();
    let (one, other) = (ca(), ca());
    let certificate = folder.write("tls.pem", one.certificate_pem());
    let key = folder.write("tls.key", one.key_pem());
    let another = folder.write("another.key", other.key_pem());
    let nowhere = folder.path().join("nowhere.pem");
    for (certificate, key, says) in [
        (&certificate, &key, None),
        (&nowhere, &key, Some("cannot read")),
        (&certificate, &nowhere, Some("cannot read")),
        (&certificate, &another, Some("cannot be used together")),
        (&key, &key, Some("no PEM block `CERTIFICATE`")),
    ] {
        let part = format!(
            "[tls]\ncertificate = \"{}\"\nprivate_key = \"{}\"\n",
            certificate.display(),
            key.display()
        );
        folder.write(
            "downstream-api.toml",
            &format!("{}{part}", stage.texts.downstream),
        );
        let file = folder.path().join("downstream-api.toml");
        let found = Configurations::read(&Sources::Files(vec![file]), &[]).1;
        let found = found
            .iter()
            .find(|finding| finding.check == Check::Tls)
            .unwrap();
        match says {
            None => assert_eq!(found.severity, Severity::Ok, "{found:?}"),
            Some(says) => {
                assert_eq!(found.severity, Severity::Error, "{found:?}");
                assert!(found.says.contains(says), "{found:?}");
            }
        }
    }
}

#[tokio::test]
async fn the_package_of_msal_js_is_looked_for() {
    let stage = Stage::start().await;
    let folder = Folder::new();
    for part in ["lib", "lib/redirect-bridge"] {
        std::fs::create_dir_all(folder.path().join(part)).unwrap();
    }
    folder.write("lib/msal-browser.min.js", "");
    folder.write("lib/redirect-bridge/msal-redirect-bridge.min.js", "");
    for (bundle, severity) in [
        (folder.path(), Severity::Ok),
        (std::path::Path::new("/nowhere"), Severity::Error),
    ] {
        let part = format!(
            "[msal]\nbundle = \"{}\"\nclient_id = \"c\"\nscope = \"api://middle-tier/user_impersonation\"\nmiddle_tier = \"https://localhost:2\"\n",
            bundle.display()
        );
        let (_, found) = stage.read(|texts| texts.spa.push_str(&part));
        let found = found
            .iter()
            .find(|finding| finding.check == Check::MsalBundle);
        assert_eq!(found.unwrap().severity, severity, "{found:?}");
    }
}
