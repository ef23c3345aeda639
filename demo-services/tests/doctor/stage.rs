//! A local authority, and configurations of the three services that fit it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use demo_services::tenant::doctor::{
    Check, Configurations, Finding, GraphAccess, Options, Report, Service, Severity, Sources,
    examine, explain,
};
use local_authority::{Directory, LocalAuthority, Options as AuthorityOptions, Running, TokenSpec};
use tower_bearer::clock::ManualClock;

/// Privileged and unassigned ports: nothing listens there.
const BASE: &str = "http://localhost:3";

/// The texts of the three files.
#[derive(Clone)]
pub(crate) struct Texts {
    pub(crate) spa: String,
    pub(crate) middle: String,
    pub(crate) downstream: String,
}

pub(crate) struct Stage {
    pub(crate) authority: Running,
    pub(crate) texts: Texts,
}

/// A folder that goes away.
pub(crate) struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

impl Folder {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(format!("doctor-{}-{number}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }

    pub(crate) fn of(texts: &Texts) -> Self {
        let folder = Self::new();
        folder.write("spa-backend.toml", &texts.spa);
        folder.write("middle-tier.toml", &texts.middle);
        folder.write("downstream-api.toml", &texts.downstream);
        folder
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> PathBuf {
        let file = self.0.join(name);
        fs::write(&file, text).unwrap();
        file
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Stage {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Directory)) -> Self {
        let mut directory = Directory::demo();
        let uris = |paths: [&str; 2]| paths.map(|path| format!("{BASE}{path}")).to_vec();
        directory.app_mut("spa-backend").unwrap().redirect_uris.web = uris(["/auth/callback", "/"]);
        directory.app_mut("msal-spa").unwrap().redirect_uris.spa =
            uris(["/msal", "/msal/redirect"]);
        change(&mut directory);
        let authority = LocalAuthority::start(directory, AuthorityOptions::default())
            .await
            .unwrap();
        let texts = texts(
            &authority,
            [BASE, "http://localhost:2", "http://localhost:1"],
        );
        Self { authority, texts }
    }

    /// With the change, without Graph.
    pub(crate) async fn report(&self, change: impl FnOnce(&mut Texts)) -> Report {
        self.report_with(change, Options::default()).await
    }

    pub(crate) async fn report_with(
        &self,
        change: impl FnOnce(&mut Texts),
        mut options: Options,
    ) -> Report {
        options.deadline = Duration::from_secs(20);
        let (configurations, mut findings) = self.read(change);
        findings.extend(examine(&configurations, &options).await.findings);
        Report::new(findings)
    }

    /// The same with a Graph token that may read everything.
    pub(crate) async fn graph_report(&self, change: impl FnOnce(&mut Texts)) -> Report {
        let scopes = [
            "Application.Read.All",
            "Directory.Read.All",
            "Policy.Read.All",
        ];
        self.graph_report_as(&scopes, change).await
    }

    /// The same with any token.
    pub(crate) async fn graph_report_of(
        &self,
        token: &str,
        change: impl FnOnce(&mut Texts),
    ) -> Report {
        let graph = GraphAccess::new(token.into(), None).unwrap();
        let options = Options {
            graph: Some(graph),
            ..Options::default()
        };
        self.report_with(change, options).await
    }

    pub(crate) async fn graph_report_as(
        &self,
        scopes: &[&str],
        change: impl FnOnce(&mut Texts),
    ) -> Report {
        let spec = TokenSpec::user("alice", "https://graph.microsoft.com").client("spa-backend");
        let token = self.authority.issue(spec.scopes(scopes.iter().copied()));
        self.graph_report_of(&token, change).await
    }

    pub(crate) async fn explain(&self, token: &str) -> Report {
        self.explain_with(|_| {}, token).await
    }

    pub(crate) async fn explain_with(
        &self,
        change: impl FnOnce(&mut Texts),
        token: &str,
    ) -> Report {
        let (configurations, _) = self.read(change);
        explain(
            &configurations,
            &token.to_owned().into(),
            &Options::default(),
        )
        .await
    }

    pub(crate) fn read(&self, change: impl FnOnce(&mut Texts)) -> (Configurations, Vec<Finding>) {
        let mut texts = self.texts.clone();
        change(&mut texts);
        let folder = Folder::of(&texts);
        Configurations::read(&Sources::Directory(folder.path().to_owned()), &[])
    }
}

/// Options with a clock that is so many seconds ahead of the real one.
pub(crate) fn clock_ahead(seconds: i64) -> Options {
    use tower_bearer::clock::{Clock as _, SystemClock};
    let now = SystemClock.now().checked_add_signed(seconds).unwrap();
    Options {
        clock: Arc::new(ManualClock::new(now)),
        ..Options::default()
    }
}

/// For services at these addresses.
pub(crate) fn texts(
    authority: &Running,
    [spa_url, middle_url, downstream_url]: [&str; 3],
) -> Texts {
    let directory = authority.directory();
    let app = |name: &str| directory.app(name).unwrap();
    let (spa, middle, downstream) = (
        app("spa-backend"),
        app("middle-tier"),
        app("downstream-api"),
    );
    let part = format!(
        "[authority]\ninstance = \"{}\"\ntenant = \"{}\"\n",
        authority.url(),
        authority.tenant()
    );
    let listen = |url: &str| {
        url.trim_start_matches("http://")
            .trim_end_matches('/')
            .to_owned()
    };
    let [spa_listen, middle_listen, downstream_listen] =
        [spa_url, middle_url, downstream_url].map(listen);
    Texts {
        spa: format!(
            "listen = \"{spa_listen}\"\nbase_url = \"{spa_url}\"\nclient_id = \"{}\"\nclient_secret = \"{}\"\n\
             scope = \"api://middle-tier/user_impersonation\"\nmiddle_tier = \"{middle_url}\"\n{part}",
            spa.client_id,
            spa.secret().unwrap(),
        ),
        middle: format!(
            "listen = \"{middle_listen}\"\nclient_id = \"{}\"\napp_id_uri = \"api://middle-tier\"\nclient_secret = \"{}\"\n\
             required_scope = \"user_impersonation\"\npublic_url = \"{middle_url}\"\ndownstream = \"{downstream_url}\"\n\
             downstream_scope = \"api://downstream-api/user_impersonation\"\n{part}",
            middle.client_id,
            middle.secret().unwrap(),
        ),
        downstream: format!(
            "listen = \"{downstream_listen}\"\nclient_id = \"{}\"\napp_id_uri = \"api://downstream-api\"\n\
             required_scope = \"user_impersonation\"\npublic_url = \"{downstream_url}\"\nadmin_role = \"Task.Run\"\n\
             secure_context = \"c1\"\n{part}",
            downstream.client_id,
        ),
    }
}

/// What is not in order.
pub(crate) fn wrong(report: &Report) -> Vec<(Check, Option<Service>, Severity)> {
    let bad = report
        .findings
        .iter()
        .filter(|finding| matches!(finding.severity, Severity::Error | Severity::Warning));
    bad.map(|finding| (finding.check, finding.service, finding.severity))
        .collect()
}

/// Exactly this is not in order, and it says this.
#[track_caller]
pub(crate) fn assert_only(
    report: &Report,
    check: Check,
    service: Option<Service>,
    severity: Severity,
    says: &str,
) {
    assert_eq!(
        wrong(report),
        [(check, service, severity)],
        "{}",
        report.text()
    );
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.severity == severity)
        .unwrap();
    let mend = finding.mend.as_deref().unwrap_or_default();
    assert!(
        finding.says.contains(says) || mend.contains(says),
        "{says}: {}",
        report.text()
    );
    assert!(!mend.is_empty(), "{}", report.text());
}

#[track_caller]
pub(crate) fn assert_nothing(report: &Report) {
    assert_eq!(wrong(report), [], "{}", report.text());
}

/// There is a finding of this kind, and it says this.
#[track_caller]
pub(crate) fn assert_has(report: &Report, check: Check, severity: Severity, says: &str) {
    let there = report.findings.iter().any(|finding| {
        finding.check == check && finding.severity == severity && finding.says.contains(says)
    });
    assert!(there, "{check:?} {severity:?} {says}: {}", report.text());
}

/// No secret of the directory, and nothing that is or was a token.
#[track_caller]
pub(crate) fn assert_discreet(stage: &Stage, report: &Report, token: Option<&str>) {
    let text = format!("{}{}", report.text(), report.json());
    for app in &stage.authority.directory().apps {
        assert!(
            app.secret().is_none_or(|secret| !text.contains(secret)),
            "a secret: {text}"
        );
    }
    assert!(!text.contains("eyJ"), "a token: {text}");
    if let Some(token) = token {
        let parts = token.split('.').filter(|part| part.len() > 8);
        assert!(
            parts.into_iter().all(|part| !text.contains(part)),
            "a token: {text}"
        );
        for person in ["alice", "Alice", "a11ce000"] {
            assert!(!text.contains(person), "{person}: {text}");
        }
    }
}
