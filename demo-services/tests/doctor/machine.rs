//! Ports and preflights: what runs on this machine.

use demo_services::config::{MiddleTierConfig, load};
use demo_services::demo::{self, DemoOptions};
use demo_services::middle_tier;
use demo_services::tenant::doctor::{
    Check, Configurations, Options, Report, Service, Severity, Sources, examine,
};
use listening::{Listeners, Reach, serve};
use tower_bearer::clock::{Clock as _, SystemClock};
use wiremock::MockServer;

use crate::stage::{Folder, Stage, Texts, assert_has, assert_nothing, assert_only, texts, wrong};

const MIDDLE: Option<Service> = Some(Service::MiddleTier);

async fn report(texts: &Texts) -> Report {
    let folder = Folder::of(texts);
    let (configurations, _) = Configurations::read(&Sources::Directory(folder.path().into()), &[]);
    examine(&configurations, &Options::default()).await
}

#[tokio::test]
async fn services_that_run_are_known_and_others_on_their_ports_as_well() {
    let demo = demo::start(DemoOptions::on_free_ports()).await.unwrap();
    let url = |url: &url::Url| url.as_str().trim_end_matches('/').to_owned();
    let [spa, middle, downstream] = [demo.spa(), demo.middle_tier(), demo.downstream()].map(url);
    let sound = texts(demo.authority(), [&spa, &middle, &downstream]);
    let found = report(&sound).await;
    assert_nothing(&found);
    let running = found
        .findings
        .iter()
        .filter(|finding| finding.check == Check::Port && finding.says.contains("runs"));
    assert_eq!(running.count(), 3, "{}", found.text());

    // The file was changed after the service was started.
    let id = demo
        .authority()
        .directory()
        .app("spa-backend")
        .unwrap()
        .client_id;
    let mut changed = sound.clone();
    changed.spa = changed
        .spa
        .replace(&id.to_string(), "99999999-0000-4000-8000-000000000000");
    let found = report(&changed).await;
    let says = "runs with another `client_id`";
    assert_has(&found, Check::Port, Severity::Error, says);

    // Each where another one runs.
    let swapped = texts(demo.authority(), [&middle, &downstream, &spa]);
    let found = report(&swapped).await;
    let taken = found
        .findings
        .iter()
        .filter(|finding| finding.check == Check::Port && finding.severity == Severity::Error);
    assert_eq!(taken.count(), 3, "{}", found.text());
    demo.stop().await;
}

#[tokio::test]
async fn a_foreign_program_on_a_port_is_told() {
    let stage = Stage::start().await;
    let program = MockServer::start().await;
    let port = program.address().port().to_string();
    let report = stage
        .report(|texts| {
            texts.middle = texts
                .middle
                .replace("localhost:2\"", &format!("127.0.0.1:{port}\""));
            texts.spa = texts
                .spa
                .replace("http://localhost:2", &format!("http://127.0.0.1:{port}"));
        })
        .await;
    assert_only(
        &report,
        Check::Port,
        MIDDLE,
        Severity::Error,
        "none of the services",
    );
}

/// With `[tls]` in its file it is one of ours; without, it is told for what it is.
#[tokio::test]
async fn a_service_that_speaks_tls_is_no_foreign_program() {
    let stage = Stage::start().await;
    let ca = listening::LocalCa::in_memory(SystemClock.now()).unwrap();
    let listeners = Listeners::bind("localhost:0", Reach::Loopback)
        .await
        .unwrap();
    let listeners = listeners.tls(ca.tls().unwrap());
    let url = format!("https://localhost:{}", listeners.port());
    let folder = Folder::new();
    let file = |name: &str, text: &str| folder.write(name, text).display().to_string();
    let (pem, certificate, key) = (
        file("ca.pem", ca.pem()),
        file("tls.pem", ca.certificate_pem()),
        file("tls.key", ca.key_pem()),
    );
    let part = format!("[tls]\ncertificate = \"{certificate}\"\nprivate_key = \"{key}\"\n");
    let mut with_tls = stage.texts.clone();
    let port = listeners.port();
    for text in [
        &mut with_tls.spa,
        &mut with_tls.middle,
        &mut with_tls.downstream,
    ] {
        *text = text
            .replace("http://localhost:2", &url)
            .replace("\"localhost:2\"", &format!("\"localhost:{port}\""));
    }
    let mut without = with_tls.clone();
    with_tls.middle = format!("ca_file = \"{pem}\"\n{}{part}", with_tls.middle);
    without.middle = without.middle.replace("https://", "http://");
    without.spa = without.spa.replace("https://", "http://");

    let folder = Folder::of(&with_tls);
    let config: MiddleTierConfig = load(&folder.path().join("middle-tier.toml"), []).unwrap();
    let service = middle_tier::service(&config).unwrap();
    let server = tokio::spawn(serve(listeners, service, std::future::pending()));
    let found = report(&with_tls).await;
    assert_has(&found, Check::Port, Severity::Ok, "it runs and answers");
    let found = report(&without).await;
    let says = "speaks TLS, and the file has no `[tls]`";
    assert_only(&found, Check::Port, MIDDLE, Severity::Error, says);
    server.abort();
}

#[tokio::test]
async fn what_listens_and_is_silent_is_not_waited_for() {
    let stage = Stage::start().await;
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let mut changed = stage.texts.clone();
    changed.middle = changed.middle.replace(
        "listen = \"localhost:2\"",
        &format!("listen = \"127.0.0.1:{port}\""),
    );
    let folder = Folder::of(&changed);
    let (configurations, _) = Configurations::read(&Sources::Directory(folder.path().into()), &[]);
    let options = Options {
        deadline: std::time::Duration::from_secs(2),
        ..Options::default()
    };
    let report = examine(&configurations, &options).await;
    assert_has(
        &report,
        Check::Port,
        Severity::Error,
        "does not answer within 2 seconds",
    );
}

#[tokio::test]
async fn a_middle_tier_that_does_not_let_the_page_call_it_is_told() {
    let stage = Stage::start().await;
    let msal = |url: &str| {
        let id = stage
            .authority
            .directory()
            .app("msal-spa")
            .unwrap()
            .client_id;
        format!(
            "[msal]\nbundle = \"/nowhere\"\nclient_id = \"{id}\"\nscope = \"api://middle-tier/user_impersonation\"\nmiddle_tier = \"{url}\"\n"
        )
    };
    for allowed in [true, false] {
        let origins = if allowed {
            "allowed_origins = [\"http://localhost:3\"]\n"
        } else {
            ""
        };
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let url = format!("http://localhost:{}", listeners.port());
        let mut texts = texts(
            &stage.authority,
            ["http://localhost:3", &url, "http://localhost:1"],
        );
        texts.spa.push_str(&msal(&url));
        texts.middle = format!("{origins}{}", texts.middle);
        let folder = Folder::of(&texts);
        let config: MiddleTierConfig = load(&folder.path().join("middle-tier.toml"), []).unwrap();
        let service = middle_tier::service(&config).unwrap();
        let server = tokio::spawn(serve(listeners, service, std::future::pending()));

        let report = report(&texts).await;
        let of_cors: Vec<_> = wrong(&report)
            .into_iter()
            .filter(|(check, ..)| *check == Check::Cors)
            .collect();
        let expected = (Check::Cors, MIDDLE, Severity::Error);
        // By its file, and by its answer.
        assert_eq!(
            of_cors,
            if allowed {
                vec![]
            } else {
                vec![expected, expected]
            },
            "{}",
            report.text()
        );
        assert_has(
            &report,
            Check::RedirectUri,
            Severity::Ok,
            "http://localhost:3/msal/redirect",
        );
        server.abort();
    }
}
