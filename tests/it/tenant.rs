//! From an empty tenant to the demo in it and back: register, the services from the written configuration, the story, unregister.

use std::{
    error::Error,
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use demo_services::{
    config::{
        ClientCertificateConfig, DownstreamApiConfig, MiddleTierConfig, ServiceConfig,
        SpaBackendConfig, credential, load,
    },
    daemon::DaemonCall,
    downstream_api, middle_tier, spa_backend,
    tenant::{
        cloud::{Cloud, Place},
        configure::{Configuration, TenantFiles},
        graph::{Graph, Pause, TokenSource},
        plan::{Choices, CredentialKind, DEFAULT_PREFIX, PERMISSIONS},
        record::{Kind, Record, StateFile},
        register::{RegisterError, register},
        report::Report,
        sign_in::{PersonTokens, PublicClient},
        unregister::{Removal, Removed},
    },
};
use integration_tests::{
    html,
    person::{Page, Person},
    visitor::{Visitor, error_of},
};
use listening::{Listeners, Reach, serve};
use local_authority::{
    Clock as _, Directory, Endpoint, Fault, LocalAuthority, ManualClock, Options, Running,
    SystemClock,
};
use reqwest::Client;
use secrecy::ExposeSecret as _;
use serde_json::{Value, json};
use url::Url;

const OTP: &str = "123456";
/// What stands in Graph of a tenant, and must be the same afterwards.
const LISTS: [&str; 5] = [
    "applications",
    "servicePrincipals",
    "oauth2PermissionGrants",
    "identity/conditionalAccess/policies",
    "identity/conditionalAccess/authenticationContextClassReferences",
];

/// A tenant with nobody's applications in it, and a folder.
pub(crate) struct Tenant {
    authority: Running,
    /// Base URL of Graph: the authority's, or that of a door before it.
    graph: Url,
    folder: PathBuf,
    base_url: Url,
    /// Of the SPA backend: its port is in the redirect URIs.
    spa: Option<Listeners>,
    tokens: Arc<dyn TokenSource>,
}

/// Signs in at the page whenever the program begins to wait for that, so that nobody waits.
#[derive(Default)]
struct Administrator {
    told: Mutex<Option<String>>,
}

#[async_trait]
impl Pause for Administrator {
    async fn pause(&self, _time: Duration) {
        let told = self.told.lock().unwrap().take();
        if let Some(told) = told {
            sign_in_at_the_page(&told).await;
        }
    }
}

/// Does what the message on the terminal says.
async fn sign_in_at_the_page(message: &str) {
    let word_after = |before: &str| {
        let (_, rest) = message.split_once(before).unwrap();
        rest.split(' ').next().unwrap().to_owned()
    };
    let mut person = Person::new();
    let page = person
        .open(&word_after("open the page ").parse().unwrap())
        .await;
    let code = word_after("enter the code ");
    let answers: [Answer<'_>; 4] = [
        ("user_code", &[("user_code", &code)]),
        PASSWORD,
        ("continue", &[("continue", "1")]),
        ACCEPT,
    ];
    let page = answer(&mut person, page, &answers).await;
    assert!(page.says("You are signed in on your device"), "{page:?}");
}

/// The same where the browser comes back to the program itself.
async fn sign_in_with_the_browser(address: Url) {
    let mut person = Person::new();
    let page = person.open(&address).await;
    // Consent was given with the device's sign-in, which came to nothing.
    let page = answer(&mut person, page, &[PASSWORD]).await;
    assert!(page.says("You can close this window"), "{page:?}");
}

/// The name of an input or a button of a form, and what is filled in.
type Answer<'a> = (&'a str, &'a [(&'a str, &'a str)]);

const PASSWORD: Answer<'_> = (
    "password",
    &[
        ("username", "admin@contoso.example"),
        ("password", "admin-of-the-tenant"),
    ],
);
const ACCEPT: Answer<'_> = ("accept", &[("accept", "1")]);

/// Fills in one form after the other.
async fn answer(person: &mut Person, mut page: Page, answers: &[Answer<'_>]) -> Page {
    for (name, fields) in answers {
        let form = html::forms(&page.body).into_iter().find(|form| {
            let mut names = form.inputs.iter().chain(&form.buttons);
            names.any(|(input, _)| input == name)
        });
        assert!(form.is_some(), "no `{name}` on {page:?}");
        page = person.submit(&page, &form.unwrap(), fields).await;
    }
    page
}

impl Tenant {
    async fn new(name: &str) -> Self {
        Self::with(name, |_| {}).await
    }

    pub(crate) async fn with(name: &str, change: impl FnOnce(&mut Directory)) -> Self {
        let mut directory = Directory::demo();
        directory
            .apps
            .retain(|app| app.name == "Microsoft Graph Command Line Tools");
        directory.policies.clear();
        change(&mut directory);
        let authority = LocalAuthority::start(directory, Options::default())
            .await
            .unwrap();
        let spa = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("tenant-{name}"));
        let _ = fs::remove_dir_all(&folder);
        fs::create_dir_all(&folder).unwrap();

        let administrator = Arc::new(Administrator::default());
        let telling = Arc::clone(&administrator);
        let client = client(&authority, administrator, move |told| {
            *telling.told.lock().unwrap() = Some(told.to_owned());
        });
        let tokens = PersonTokens::by_device_code(client);
        Self {
            base_url: format!("http://localhost:{}", spa.port()).parse().unwrap(),
            graph: place(&authority).graph,
            authority,
            folder,
            spa: Some(spa),
            tokens: Arc::new(tokens),
        }
    }

    pub(crate) fn graph_url(&self) -> &Url {
        &self.graph
    }

    pub(crate) fn put_graph_behind(&mut self, door: &Url) {
        self.graph = door.clone();
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.join("config")
    }

    fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    pub(crate) fn record(&self) -> Record {
        Record::read(&self.state()).unwrap()
    }

    fn graph(&self) -> Graph {
        self.graph_at(self.graph.clone())
    }

    pub(crate) fn graph_past_the_door(&self) -> Graph {
        self.graph_at(place(&self.authority).graph)
    }

    fn graph_at(&self, base: Url) -> Graph {
        Graph::new(base, http(), Arc::clone(&self.tokens))
            .waiting(Arc::new(Administrator::default()))
    }

    pub(crate) fn choices(&self) -> Choices {
        let place = place(&self.authority);
        Choices {
            tenant: self.authority.tenant().to_string(),
            cloud: Cloud::Global.name().into(),
            authority: place.authority,
            graph: self.graph.clone(),
            prefix: DEFAULT_PREFIX.into(),
            base_url: self.base_url.clone(),
            mfa_users: vec!["alice@contoso.example".into()],
            mfa_groups: Vec::new(),
            enforce: true,
            credential: CredentialKind::Certificate,
            out: self.out(),
        }
    }

    fn configuration(&self, choices: &Choices) -> Configuration {
        Configuration {
            folder: self.out(),
            place: place(&self.authority),
            prefix: choices.prefix.clone(),
            credential: choices.credential,
            base_url: choices.base_url.clone(),
            tls: None,
            ca_file: None,
            msal: None,
        }
    }

    pub(crate) async fn register(&self, choices: &Choices) -> Result<Report, RegisterError> {
        let files = TenantFiles::new(self.configuration(choices), Arc::new(SystemClock));
        let (state, known) = StateFile::open(&self.state()).unwrap();
        register(&self.graph(), &state, known, choices, &files).await
    }

    pub(crate) async fn unregister(&self) -> Removed {
        let (state, record) = StateFile::open(&self.state()).unwrap();
        let removal = Removal::of(record.unwrap());
        removal.run(&self.graph(), state).await.unwrap()
    }

    /// All lists of Graph, sorted.
    async fn lists(&self) -> Vec<Vec<String>> {
        let mut lists = Vec::new();
        for path in LISTS {
            let list = self.graph().list(path, "").await.unwrap();
            let mut list: Vec<String> = list.iter().map(Value::to_string).collect();
            list.sort();
            lists.push(list);
        }
        lists
    }

    /// Every file below the folder but the record, with its text.
    fn files(&self) -> Vec<(PathBuf, String)> {
        let Ok(entries) = fs::read_dir(self.out()) else {
            return Vec::new();
        };
        let paths = entries.map(|entry| entry.unwrap().path());
        let mut files: Vec<_> = paths
            .map(|path| (path.clone(), fs::read_to_string(path).unwrap()))
            .collect();
        files.sort();
        files
    }

    /// The three services as their files say, but for the ports of two.
    async fn start_services(&mut self) -> Url {
        let bind = || async {
            let listeners = Listeners::bind("localhost:0", Reach::Loopback).await;
            let listeners = listeners.unwrap();
            let url = format!("http://localhost:{}", listeners.port());
            (listeners, url)
        };
        let (middle_listeners, middle_url) = bind().await;
        let (downstream_listeners, downstream_url) = bind().await;
        let environment = [
            ("DOWNSTREAM_API__PUBLIC_URL", &downstream_url),
            ("MIDDLE_TIER__DOWNSTREAM", &downstream_url),
            ("MIDDLE_TIER__PUBLIC_URL", &middle_url),
            ("SPA_BACKEND__MIDDLE_TIER", &middle_url),
        ];
        let environment = environment.map(|(name, value)| (name.into(), value.into()));
        let out = self.out();
        let downstream: DownstreamApiConfig = read(&out, "downstream-api.toml", &environment);
        let middle: MiddleTierConfig = read(&out, "middle-tier.toml", &environment);
        let spa: SpaBackendConfig = read(&out, "spa-backend.toml", &environment);
        assert_eq!(spa.base_url, self.base_url);
        assert_eq!(
            spa.listen,
            format!("localhost:{}", self.spa.as_ref().unwrap().port())
        );
        let never = std::future::pending;
        let service = downstream_api::service(&downstream).unwrap();
        tokio::spawn(serve(downstream_listeners, service, never()));
        let service = middle_tier::service(&middle).unwrap();
        tokio::spawn(serve(middle_listeners, service, never()));
        let service = spa_backend::router(&spa).unwrap();
        tokio::spawn(serve(self.spa.take().unwrap(), service, never()));
        downstream_url.parse().unwrap()
    }

    async fn signed_in(&self, name: &str) -> Visitor {
        let mut person = Person::new();
        let page = person.open(&self.base_url).await;
        let mut visitor = Visitor { person, page };
        let form = visitor.press_sign_in().await;
        let directory = self.authority.directory();
        let user = directory.user(name).unwrap();
        visitor.page = visitor
            .give_password(&form, &user.username, user.password())
            .await;
        assert!(visitor.page.says(&user.username), "{:?}", visitor.page);
        visitor
    }
}

/// The administrator's client, which tells where to sign in.
fn client(
    authority: &Running,
    pause: Arc<dyn Pause>,
    tell: impl Fn(&str) + Send + Sync + 'static,
) -> PublicClient {
    let place = place(authority);
    PublicClient {
        client_id: place.public_client().unwrap().to_owned(),
        place,
        tenant: authority.tenant().to_string(),
        permissions: PERMISSIONS.to_vec(),
        http: http(),
        clock: Arc::new(SystemClock),
        pause,
        tell: Arc::new(tell),
    }
}

fn place(authority: &Running) -> Place {
    let url: Url = authority.url().parse().unwrap();
    Place::new(Cloud::Global, Some(&url), None).unwrap()
}

fn http() -> Client {
    Client::builder().no_proxy().build().unwrap()
}

fn read<T: ServiceConfig>(folder: &Path, name: &str, environment: &[(OsString, OsString)]) -> T {
    load(&folder.join(name), environment.iter().cloned()).unwrap()
}

/// The person gives the second factor that the answer demands, and the same call completes.
async fn completes(visitor: &mut Visitor, refused: &Page) -> Page {
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(error_of(refused), "step_up_required");
    let page = visitor.go(refused).await;
    let back = match page.find_form("code") {
        Some(_) => visitor.give_code(&page, OTP).await,
        // It was given before.
        None => page,
    };
    visitor.complete(back).await
}

#[tokio::test]
async fn the_demo_runs_in_a_tenant_and_leaves_it_as_it_was() {
    let mut tenant = Tenant::new("story").await;
    fs::create_dir_all(tenant.out()).unwrap();
    fs::write(tenant.out().join("middle-tier.toml"), "of before").unwrap();
    let files_before = tenant.files();
    let before = tenant.lists().await;

    let report = tenant.register(&tenant.choices()).await.unwrap();
    assert!(
        report.changes > 0 && report.left_out.is_empty(),
        "{report:?}"
    );
    let record = tenant.record();
    assert!(record.finished);
    let count = |kind| {
        let objects = record.objects.iter();
        objects.filter(|object| object.kind == kind).count()
    };
    assert_eq!((count(Kind::Application), count(Kind::Policy)), (6, 3));
    let client_id = |key: &str| record.app(key).unwrap().app_id.clone().unwrap();
    let downstream_url = tenant.start_services().await;

    // The call that the policy of the downstream API guards, and the one that demands the authentication context.
    let mut alice = tenant.signed_in("alice").await;
    let refused = alice.call("/api/api").await;
    let answer = completes(&mut alice, &refused).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    assert_eq!(
        (&body["name"], &body["issued-by"], &body["issued-for"]),
        (
            &json!("Alice Liddell"),
            &json!(tenant.authority.issuer()),
            &json!(client_id("downstream-api"))
        )
    );
    let refused = alice.call("/api/secure").await;
    let answer = completes(&mut alice, &refused).await;
    assert_eq!(answer.status, 200, "{answer:?}");

    // The gate of the profile, in a browser of its own.
    let mut alice = tenant.signed_in("alice").await;
    assert_eq!(alice.call("/api/profile").await.status, 200);
    let refused = alice.call("/api/profile/edit").await;
    let form = completes(&mut alice, &refused).await;
    assert_eq!(form.status, 200, "{form:?}");
    let change = json!({ "displayName": "Alice of the tenant" });
    let saved = alice.patch("/api/profile", change.to_string()).await;
    assert!(saved.status.is_success(), "{saved:?}");
    let told = alice.call("/api/profile").await.json();
    assert_eq!(told["displayName"], "Alice of the tenant", "{told}");

    // Nobody was named but alice.
    let mut bob = tenant.signed_in("bob").await;
    assert_eq!(bob.call("/api/api").await.status, 200);

    // The daemon proves itself with its certificate.
    let files = ClientCertificateConfig {
        certificate: tenant.out().join("daemon.pem"),
        private_key: tenant.out().join("daemon-key.pem"),
    };
    let call = DaemonCall {
        authority: place(&tenant.authority).authority,
        tenant: record.tenant.clone(),
        client_id: client_id("daemon"),
        credential: credential(None, Some(&files)).unwrap(),
        scope: format!("api://{}/.default", client_id("downstream-api")),
        url: downstream_url.join("/admin").unwrap(),
        trust: Default::default(),
    };
    let (status, body) = call.send().await.unwrap();
    assert_eq!(status, 200, "{body}");

    let removed = tenant.unregister().await;
    assert_eq!(removed.gone, 0, "{removed:?}");
    assert_eq!(tenant.lists().await, before);
    assert_eq!(tenant.files(), files_before);
    assert!(!tenant.state().exists());
    let page = bob.press_sign_in().await;
    assert!(page.says("AADSTS700016"), "{page:?}");
}

/// What new tenants have: no device codes.
#[tokio::test]
async fn a_tenant_with_security_defaults_is_registered_with_a_browser() {
    let mut tenant = Tenant::with("security-defaults", |directory| {
        directory.security_defaults = true;
    })
    .await;
    let choices = tenant.choices();
    let refused = tenant.register(&choices).await.unwrap_err();
    let (mut told, mut cause) = (refused.to_string(), refused.source());
    while let Some(error) = cause {
        told.push_str(&error.to_string());
        cause = error.source();
    }
    assert!(told.contains("AADSTS530035"), "{told}");
    assert!(told.contains("--sign-in browser"), "{told}");

    let client = client(
        &tenant.authority,
        Arc::new(Administrator::default()),
        |told| {
            let address: Url = told.rsplit('\n').next().unwrap().parse().unwrap();
            tokio::spawn(sign_in_with_the_browser(address));
        },
    );
    tenant.tokens = Arc::new(PersonTokens::by_browser(client));
    tenant.register(&choices).await.unwrap();
    assert!(tenant.record().finished);
    tenant.unregister().await;
}

#[tokio::test]
async fn a_second_run_changes_nothing() {
    let tenant = Tenant::new("again").await;
    let choices = tenant.choices();
    let first = tenant.register(&choices).await.unwrap();
    let (lists, files, record) = (tenant.lists().await, tenant.files(), tenant.record());
    let second = tenant.register(&choices).await.unwrap();
    assert_eq!((second.changes, second.objects), (0, first.objects));
    assert_eq!(tenant.lists().await, lists);
    assert_eq!((tenant.files(), tenant.record()), (files, record));
}

#[tokio::test]
async fn secrets_stand_in_files_and_nowhere_else() {
    let mut tenant = Tenant::new("secrets").await;
    let mut choices = tenant.choices();
    choices.credential = CredentialKind::Secret;
    let report = tenant.register(&choices).await.unwrap();
    let middle: MiddleTierConfig = read(&tenant.out(), "middle-tier.toml", &[]);
    let secret = middle.client_secret.unwrap().expose_secret().to_owned();
    for text in [
        report.json(),
        report.table(),
        fs::read_to_string(tenant.state()).unwrap(),
    ] {
        assert!(!text.contains(&secret));
    }
    #[cfg(unix)]
    for (path, _) in tenant.files() {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    tenant.start_services().await;
    let mut bob = tenant.signed_in("bob").await;
    assert_eq!(bob.call("/api/api").await.status, 200);
    tenant.unregister().await;
    assert!(tenant.files().is_empty());
}

#[tokio::test]
async fn a_secret_ends_when_it_was_said() {
    let tenant = Tenant::new("days").await;
    let mut choices = tenant.choices();
    choices.credential = CredentialKind::Secret;
    let clock = Arc::new(ManualClock::at(SystemClock.now()));
    let files = TenantFiles::new(tenant.configuration(&choices), clock).lasting(Some(90));
    let (state, known) = StateFile::open(&tenant.state()).unwrap();
    let graph = tenant.graph();
    register(&graph, &state, known, &choices, &files)
        .await
        .unwrap();
    drop(state);
    let daemon = tenant.record().app("daemon").unwrap().id.clone();
    let app = graph.get(&format!("applications/{daemon}"), "").await;
    let app = app.unwrap().unwrap();
    let end = app["passwordCredentials"][0]["endDateTime"].as_str();
    assert_eq!(end, Some(&*files.credential_end()));
}

#[tokio::test]
async fn a_run_that_is_refused_in_the_middle_is_gone_on_with() {
    let tenant = Tenant::new("middle").await;
    let before = tenant.lists().await;
    let choices = tenant.choices();
    // How far a run comes before the permission is lost.
    for skip in [14, 24, 36, 50] {
        let fault = Fault::status(403).skip(skip);
        tenant.authority.fail_next(Endpoint::Graph, 1, fault);
        let error = tenant.register(&choices).await.unwrap_err();
        assert!(
            matches!(
                error,
                RegisterError::Graph { .. } | RegisterError::Asking(_)
            ),
            "{error}"
        );
        assert!(!tenant.record().finished);
    }
    tenant.register(&choices).await.unwrap();
    assert!(tenant.record().finished);
    let after = tenant.lists().await;
    let grown: Vec<usize> = before
        .iter()
        .zip(&after)
        .map(|(b, a)| a.len() - b.len())
        .collect();
    let record = tenant.record();
    let count = |kind| {
        record
            .objects
            .iter()
            .filter(|object| object.kind == kind)
            .count()
    };
    assert_eq!(grown, [6, 6, count(Kind::Grant), 3, 1]);
    tenant.unregister().await;
    assert_eq!(tenant.lists().await, before);
}
