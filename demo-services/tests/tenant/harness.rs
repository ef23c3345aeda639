//! A tenant on this machine: the local authority behind a door that counts, and that fails on demand.

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, LazyLock, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use axum::{
    Router,
    body::{Body, to_bytes},
    extract::{Request, State},
    http::{Method, StatusCode},
    response::Response,
};
use demo_services::tenant::{
    cloud::{Cloud, Place},
    configure::{Configuration, TenantFiles},
    credential_files::MakeError,
    disk::{Disk, RealDisk},
    graph::{Graph, Pause, SignInError, TokenSource},
    plan::{Choices, CredentialKind},
    progress::{Event, Progress},
    record::{Record, StateFile},
    register::{RegisterError, register},
    report::Report,
    unregister::{Removal, Removed, UnregisterError},
};
use demo_services::{outbound, trust::Trust};
use local_authority::{
    Clock as _, Directory, LocalAuthority, ManualClock, Options, Running, SystemClock, TokenSpec,
};
use secrecy::SecretString;
use serde_json::Value;
use url::Url;

pub(crate) const GRAPH: &str = "https://graph.microsoft.com";
pub(crate) const BASE: &str = "http://localhost:3000";

/// What the door does with a request that it was told about.
#[derive(Clone)]
pub(crate) enum Fault {
    /// Answers itself: status, headers, body.
    Answer(u16, &'static [(&'static str, &'static str)], String),
    /// Lets it through and answers 503 all the same.
    LoseAnswer,
}

struct Planned {
    method: Method,
    /// Part of the path.
    path: String,
    /// So many are let through before.
    skip: usize,
    times: usize,
    fault: Fault,
}

#[derive(Default)]
struct Door {
    planned: Vec<Planned>,
    /// Method, path below /v1.0/, status.
    log: Vec<(Method, String, u16)>,
}

#[derive(Clone)]
struct Doorkeeper {
    to: String,
    http: reqwest::Client,
    door: Arc<Mutex<Door>>,
}

/// Waits for nothing and takes note.
#[derive(Default)]
pub(crate) struct Waits(pub(crate) Mutex<Vec<Duration>>);

#[derive(Default)]
pub(crate) struct Told(pub(crate) Mutex<Vec<String>>);

/// Tokens of one user, or of an application.
pub(crate) struct Tokens {
    token: Mutex<SecretString>,
    /// How often another one was asked for.
    pub(crate) refused: Mutex<usize>,
}

/// A folder of its own, which is removed at the end: the record is in it, and the folder of the configuration.
pub(crate) struct Files {
    pub(crate) folder: PathBuf,
}

/// The disk of a machine that stops at the step it was told: from then on nothing is written any more.
#[derive(Debug, Default)]
pub(crate) struct Machine {
    left: Mutex<Option<usize>>,
    has_stopped: Mutex<bool>,
    steps: Mutex<Vec<PathBuf>>,
}

pub(crate) struct Tenant {
    pub(crate) running: Running,
    pub(crate) graph: Url,
    /// One for all: each reads the system's certificates.
    http: reqwest::Client,
    door: Arc<Mutex<Door>>,
    pub(crate) waits: Arc<Waits>,
    pub(crate) told: Arc<Told>,
    pub(crate) files: Files,
    pub(crate) clock: ManualClock,
    pub(crate) machine: Arc<Machine>,
}

#[async_trait]
impl Pause for Waits {
    async fn pause(&self, time: Duration) {
        self.0.lock().unwrap().push(time);
    }
}

impl Progress for Told {
    fn tell(&self, event: &Event) {
        self.0.lock().unwrap().push(event.to_string());
    }
}

#[async_trait]
impl TokenSource for Tokens {
    async fn token(&self, refused: Option<&SecretString>) -> Result<SecretString, SignInError> {
        if refused.is_some() {
            *self.refused.lock().unwrap() += 1;
        }
        Ok(self.token.lock().unwrap().clone())
    }
}

impl Files {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("tenant-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self { folder }
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    pub(crate) fn out(&self) -> PathBuf {
        self.folder.join("config")
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.out().join(name)).unwrap()
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        fs::write(self.out().join(name), text).unwrap();
    }

    /// Every file and folder below it by its name, a file with its text.
    pub(crate) fn tree(&self) -> BTreeMap<String, Option<String>> {
        let mut tree = BTreeMap::new();
        let mut folders = vec![self.folder.clone()];
        while let Some(folder) = folders.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let name = path.strip_prefix(&self.folder).unwrap();
                let name = name.display().to_string();
                if path.is_dir() {
                    tree.insert(name, None);
                    folders.push(path);
                } else {
                    tree.insert(name, Some(fs::read_to_string(path).unwrap()));
                }
            }
        }
        tree
    }

    /// Makes it so, with files that only their owner can read.
    pub(crate) fn set_tree(&self, tree: &BTreeMap<String, Option<String>>) {
        fs::remove_dir_all(&self.folder).unwrap();
        fs::create_dir(&self.folder).unwrap();
        for (name, text) in tree {
            let path = self.folder.join(name);
            match text {
                None => fs::create_dir(path).unwrap(),
                Some(text) => RealDisk.write_new(&path, text.as_bytes()).unwrap(),
            }
        }
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.tree().into_keys().collect()
    }
}

impl Machine {
    /// Stops after so many steps.
    pub(crate) fn stops_after(&self, steps: usize) {
        *self.left.lock().unwrap() = Some(steps);
        *self.has_stopped.lock().unwrap() = false;
    }

    pub(crate) fn goes_on(&self) {
        *self.left.lock().unwrap() = None;
    }

    /// Paths of all steps since the last time.
    pub(crate) fn steps(&self) -> Vec<PathBuf> {
        std::mem::take(&mut self.steps.lock().unwrap())
    }

    fn step(&self, path: &Path) -> io::Result<()> {
        self.steps.lock().unwrap().push(path.to_owned());
        match &mut *self.left.lock().unwrap() {
            Some(0) => {
                *self.has_stopped.lock().unwrap() = true;
                Err(io::Error::other("the machine has stopped"))
            }
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }
}

impl Disk for Machine {
    fn write_new(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        if *self.left.lock().unwrap() == Some(0) && !*self.has_stopped.lock().unwrap() {
            // It stops in the middle of this.
            RealDisk.write_new(path, &contents[..contents.len() / 2])?;
        }
        self.step(path)?;
        RealDisk.write_new(path, contents)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(to)?;
        RealDisk.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step(path)?;
        RealDisk.remove(path)
    }

    fn make_folder(&self, path: &Path) -> io::Result<()> {
        self.step(path)?;
        RealDisk.make_folder(path)
    }

    fn remove_folder(&self, path: &Path) -> io::Result<()> {
        self.step(path)?;
        RealDisk.remove_folder(path)
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// Making one takes seconds.
fn key() -> Result<rcgen::KeyPair, MakeError> {
    static KEY: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let key: Pkcs8V1Der<'_> = key.as_der().unwrap();
        key.as_ref().to_vec()
    });
    rcgen::KeyPair::try_from(KEY.as_slice()).map_err(|_| MakeError)
}

impl Tenant {
    /// Without policies, so that the authentication context is free.
    pub(crate) async fn start() -> Self {
        Self::with(|directory| directory.policies.clear()).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut Directory)) -> Self {
        let mut directory = Directory::demo();
        change(&mut directory);
        let options = Options::default();
        let running = LocalAuthority::start(directory, options).await.unwrap();
        let door = Arc::new(Mutex::new(Door::default()));
        let to = running.url().parse().unwrap();
        let http = outbound::client(&[&to], Duration::from_secs(60), &Trust::default()).unwrap();
        let keeper = Doorkeeper {
            to: running.url().to_string(),
            http: http.clone(),
            door: door.clone(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let graph = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(keeper);
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self {
            running,
            graph: graph.parse().unwrap(),
            http,
            door,
            waits: Arc::default(),
            told: Arc::default(),
            files: Files::new(),
            clock: ManualClock::at(SystemClock.now()),
            machine: Arc::default(),
        }
    }

    /// Without the door, whose work is as much as the authority's.
    pub(crate) async fn without_door() -> Self {
        let mut tenant = Self::start().await;
        tenant.graph = tenant.running.url().parse().unwrap();
        tenant
    }

    pub(crate) fn choices(&self) -> Choices {
        Choices {
            tenant: self.running.tenant().to_string(),
            cloud: "global".to_owned(),
            authority: self.running.url().to_string().parse().unwrap(),
            graph: self.graph.clone(),
            prefix: "demo".to_owned(),
            base_url: BASE.parse().unwrap(),
            mfa_users: vec!["alice@contoso.example".to_owned()],
            mfa_groups: Vec::new(),
            enforce: false,
            credential: CredentialKind::Certificate,
            out: self.files.out(),
        }
    }

    pub(crate) fn tokens(&self, permissions: &[&str]) -> Arc<Tokens> {
        let spec = TokenSpec::user("alice", GRAPH).client("spa-backend");
        self.tokens_of(spec.scopes(permissions.iter().copied()))
    }

    pub(crate) fn tokens_of(&self, spec: TokenSpec) -> Arc<Tokens> {
        Arc::new(Tokens {
            token: Mutex::new(self.running.issue(spec).into()),
            refused: Mutex::default(),
        })
    }

    pub(crate) fn permissions() -> Vec<&'static str> {
        let mut all = demo_services::tenant::plan::PERMISSIONS.to_vec();
        all.push("User.Read");
        all
    }

    pub(crate) fn client(&self, tokens: Arc<Tokens>) -> Graph {
        Graph::new(self.graph.clone(), self.http.clone(), tokens)
            .progress(self.told.clone())
            .waiting(self.waits.clone())
    }

    pub(crate) fn admin(&self) -> Graph {
        self.client(self.tokens(&Self::permissions()))
    }

    pub(crate) async fn register(&self) -> Result<Report, RegisterError> {
        self.register_as(&self.admin(), &self.choices()).await
    }

    pub(crate) async fn register_as(
        &self,
        graph: &Graph,
        choices: &Choices,
    ) -> Result<Report, RegisterError> {
        self.told.0.lock().unwrap().clear();
        let (state, known) = StateFile::open_on(&self.files.state(), self.machine.clone())?;
        register(graph, &state, known, choices, &self.local(choices)).await
    }

    /// The files of this machine for these choices.
    pub(crate) fn local(&self, choices: &Choices) -> TenantFiles {
        let place = Place::new(
            Cloud::Global,
            Some(&choices.authority),
            Some(&choices.graph),
        );
        let configuration = Configuration {
            folder: choices.out.clone(),
            place: place.unwrap(),
            prefix: choices.prefix.clone(),
            credential: choices.credential,
            base_url: choices.base_url.clone(),
            tls: None,
            ca_file: None,
            msal: None,
        };
        TenantFiles::new(configuration, Arc::new(self.clock.clone())).keys(key)
    }

    pub(crate) fn record(&self) -> Record {
        Record::read(&self.files.state()).unwrap()
    }

    pub(crate) async fn unregister(&self) -> Result<Removed, UnregisterError> {
        self.unregister_as(&self.admin()).await
    }

    pub(crate) async fn unregister_as(&self, graph: &Graph) -> Result<Removed, UnregisterError> {
        self.told.0.lock().unwrap().clear();
        let (state, known) = StateFile::open_on(&self.files.state(), self.machine.clone())?;
        Removal::of(known.unwrap()).run(graph, state).await
    }

    /// Plans a fault for the request after `skip` ones with this method whose path has `path` in it.
    pub(crate) fn fail(&self, method: Method, path: &str, skip: usize, times: usize, fault: Fault) {
        self.door.lock().unwrap().planned.push(Planned {
            method,
            path: path.to_owned(),
            skip,
            times,
            fault,
        });
    }

    pub(crate) fn heal(&self) {
        self.door.lock().unwrap().planned.clear();
    }

    /// Writes since the last time, whatever came of them.
    pub(crate) fn writes(&self) -> Vec<(Method, String, u16)> {
        let log = std::mem::take(&mut self.door.lock().unwrap().log);
        let writes = log.into_iter();
        writes
            .filter(|(method, ..)| *method != Method::GET)
            .collect()
    }

    pub(crate) fn told(&self) -> Vec<String> {
        self.told.0.lock().unwrap().clone()
    }

    pub(crate) fn waited(&self) -> Vec<u64> {
        let waits = std::mem::take(&mut *self.waits.0.lock().unwrap());
        waits.iter().map(Duration::as_secs).collect()
    }

    /// Every list of the tenant, as it stands in Graph.
    pub(crate) async fn everything(&self) -> BTreeMap<String, Value> {
        let graph = self.admin();
        let mut all = BTreeMap::new();
        for list in [
            "applications",
            "servicePrincipals",
            "oauth2PermissionGrants",
            "identity/conditionalAccess/policies",
            "identity/conditionalAccess/authenticationContextClassReferences",
        ] {
            let values = graph.list(list, "").await.unwrap();
            for value in &values {
                let id = value["id"].as_str().unwrap();
                match list {
                    "applications" => {
                        let path = format!("applications/{id}/owners");
                        let owners = graph.list(&path, "").await.unwrap();
                        all.insert(path, owners.into());
                    }
                    "servicePrincipals" => {
                        let path = format!("servicePrincipals/{id}/appRoleAssignedTo");
                        let assigned = graph.list(&path, "").await.unwrap();
                        all.insert(path, assigned.into());
                    }
                    _ => {}
                }
            }
            all.insert(list.to_owned(), values.into());
        }
        self.door.lock().unwrap().log.clear();
        all
    }

    pub(crate) async fn count(&self, list: &str, name: &str) -> usize {
        let values = self.admin().list(list, "").await.unwrap();
        let named = values.iter().filter(|value| value["displayName"] == name);
        named.count()
    }
}

async fn pass(State(keeper): State<Doorkeeper>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let body = to_bytes(body, 1 << 20).await.unwrap();
    let path = parts.uri.path().trim_start_matches("/v1.0/").to_owned();
    let fault = {
        let mut door = keeper.door.lock().unwrap();
        let mut fault = None;
        for planned in &mut door.planned {
            if planned.method != parts.method || !path.contains(&planned.path) || planned.times == 0
            {
                continue;
            }
            if planned.skip > 0 {
                planned.skip -= 1;
                continue;
            }
            planned.times -= 1;
            fault = Some(planned.fault.clone());
            break;
        }
        fault
    };
    let respond = |status: u16| Response::builder().status(StatusCode::from_u16(status).unwrap());
    let response = match &fault {
        Some(Fault::Answer(status, headers, body)) => {
            let mut response = respond(*status);
            for (name, value) in *headers {
                response = response.header(*name, *value);
            }
            response.body(Body::from(body.clone())).unwrap()
        }
        lost_or_none => {
            let query = parts.uri.path_and_query().unwrap().as_str();
            let url = format!("{}{query}", keeper.to.trim_end_matches('/'));
            let mut headers = parts.headers.clone();
            headers.remove("host");
            let request = keeper
                .http
                .request(parts.method.clone(), url)
                .headers(headers)
                .body(body);
            let answer = request.send().await.unwrap();
            let mut response = respond(answer.status().as_u16());
            for (name, value) in answer.headers() {
                if name != "content-length" && name != "transfer-encoding" {
                    response = response.header(name, value);
                }
            }
            let body = answer.bytes().await.unwrap();
            match lost_or_none {
                Some(_) => respond(503).body(Body::empty()).unwrap(),
                None => response.body(Body::from(body)).unwrap(),
            }
        }
    };
    let status = response.status().as_u16();
    keeper
        .door
        .lock()
        .unwrap()
        .log
        .push((parts.method, path, status));
    response
}
