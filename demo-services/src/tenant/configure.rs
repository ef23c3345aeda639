//! The services' configuration for what is registered: three complete files, and beside them the credentials.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use local_authority::Clock;
use secrecy::{ExposeSecret as _, SecretString};
use toml::Value;
use url::Url;

use super::cloud::Place;
use super::credential_files::{self, DEFAULT_DAYS, MakeError, after, date_time};
use super::files::{self, FileError, MARK};
use super::local::{LocalError, LocalFiles};
use super::plan::{CONTEXT, Certificate, CredentialKind};
use super::record::{Record, WrittenFile};
use crate::loopback::is_loopback;

/// Where files are written when nothing else is said, in the current directory.
pub const DEFAULT_FOLDER: &str = "tenant-config";
/// The port of the SPA backend where browsers reach it through a proxy.
const SPA_PORT: u16 = 3000;
const MIDDLE_TIER: &str = "localhost:5000";
const DOWNSTREAM: &str = "localhost:7000";
/// Before the secret in a file that a shell can read.
const VARIABLE: &str = "CLIENT_SECRET=";

/// What the files say besides what is in the record.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The folder; an absolute path.
    pub folder: PathBuf,
    /// Authority and Graph.
    pub place: Place,
    /// What the applications' names begin with.
    pub prefix: String,
    /// How the clients prove who they are.
    pub credential: CredentialKind,
    /// Where browsers see the SPA backend.
    pub base_url: Url,
    /// Certificate and key (PEM) of the services, all of them https then.
    pub tls: Option<(PathBuf, PathBuf)>,
    /// Certificates (PEM) to trust besides the system's.
    pub ca_file: Option<PathBuf>,
    /// Where MSAL.js was installed, for the page `/msal`.
    pub msal: Option<PathBuf>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigureError {
    /// The record is not complete.
    #[error("{0} is not registered yet: run register again, which goes on where it stopped")]
    Incomplete(&'static str),
    /// Its credential has gone from this machine.
    #[error("the credential of {key} is not in {}: run register again, which makes a new one", folder.display())]
    NoCredential {
        /// The application.
        key: &'static str,
        /// Where it was looked for.
        folder: PathBuf,
    },
    /// A file.
    #[error(transparent)]
    File(#[from] FileError),
    /// A key.
    #[error(transparent)]
    Make(#[from] MakeError),
}

/// The files of one registration.
pub struct TenantFiles {
    configuration: Configuration,
    clock: Arc<dyn Clock>,
    /// Days that credentials are good for, if it was said.
    days: Option<u16>,
}

impl TenantFiles {
    /// Nothing is written yet.
    pub fn new(configuration: Configuration, clock: Arc<dyn Clock>) -> Self {
        Self {
            configuration,
            clock,
            days: None,
        }
    }

    /// Credentials that are good for so many days, [`DEFAULT_DAYS`] unless it is said. A certificate that lasts longer than was said is
    /// made anew.
    #[must_use]
    pub fn lasting(mut self, days: Option<u16>) -> Self {
        self.days = days;
        self
    }

    fn end(&self) -> String {
        let days = self.days.unwrap_or(DEFAULT_DAYS);
        date_time(after(self.clock.now(), days))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.configuration.folder.join(name)
    }

    fn certificate_paths(&self, key: &str) -> [PathBuf; 2] {
        [format!("{key}.pem"), format!("{key}-key.pem")].map(|name| self.path(&name))
    }

    fn secret_path(&self, key: &str) -> PathBuf {
        self.path(&format!("{key}.env"))
    }

    fn held_certificate(&self, key: &str) -> Option<Certificate> {
        let [certificate, private_key] = self.certificate_paths(key).map(fs::read_to_string);
        let private_key = SecretString::from(private_key.ok()?);
        let now = self.clock.now();
        let held = credential_files::read(&certificate.ok()?, private_key.expose_secret(), now);
        // In this form the order of texts is the order of times.
        held.filter(|held| self.days.is_none() || held.end <= self.end())
    }

    fn held_secret(&self, key: &str) -> Option<SecretString> {
        let text = SecretString::from(fs::read_to_string(self.secret_path(key)).ok()?);
        let mut lines = text.expose_secret().lines();
        let secret = lines.find_map(|line| line.strip_prefix(VARIABLE))?;
        (!secret.is_empty()).then(|| secret.into())
    }

    fn make_certificate(
        &self,
        key: &str,
    ) -> Result<(Certificate, Vec<WrittenFile>), ConfigureError> {
        let [certificate_path, key_path] = self.certificate_paths(key);
        let certificate = match self.held_certificate(key) {
            Some(certificate) => certificate,
            None => {
                let name = format!("{}-{key}", self.configuration.prefix);
                let made = credential_files::make(
                    &name,
                    self.clock.now(),
                    self.days.unwrap_or(DEFAULT_DAYS),
                )?;
                self.put(&key_path, made.private_key.expose_secret())?;
                self.put(&certificate_path, &made.certificate)?;
                self.held_certificate(key).ok_or(MakeError)?
            }
        };
        let files = [certificate_path, key_path].map(|path| files::described(&path));
        Ok((certificate, files.into()))
    }

    fn put(&self, path: &Path, contents: &str) -> Result<WrittenFile, ConfigureError> {
        files::make_folder(&self.configuration.folder)?;
        Ok(files::put(path, contents, files::is_marked)?)
    }

    /// All three, or none of them.
    fn write_all(&self, record: &Record) -> Result<Vec<WrittenFile>, ConfigureError> {
        let texts = [
            ("downstream-api.toml", self.downstream_api(record)?),
            ("middle-tier.toml", self.middle_tier(record)?),
            ("spa-backend.toml", self.spa_backend(record)?),
        ];
        files::make_folder(&self.configuration.folder)?;
        let run = mark(record);
        let mut written = Vec::new();
        for (name, text) in texts {
            let path = self.path(name);
            let known = record.files.iter().find(|file| file.path == path);
            let put = match (known, fs::read_to_string(&path)) {
                // What somebody has changed in it since stays; a secret that was made anew does not.
                (Some(known), Ok(there)) if record.finished => {
                    match with_secret_of(&there, text.expose_secret()) {
                        Some(renewed) => {
                            files::put(&path, renewed.expose_secret(), files::is_marked)
                        }
                        None => Ok(known.clone()),
                    }
                }
                _ => files::put(&path, text.expose_secret(), |text| text.starts_with(&run)),
            };
            match put {
                Ok(file) => written.push((file, known.is_some())),
                Err(error) => {
                    let ours = written.iter().filter(|(_, known)| !known);
                    for (file, _) in ours {
                        files::restore(file)?;
                    }
                    return Err(error.into());
                }
            }
        }
        Ok(written.into_iter().map(|(file, _)| file).collect())
    }

    fn downstream_api(&self, record: &Record) -> Result<SecretString, ConfigureError> {
        let id = client_id(record, "downstream-api")?;
        let mut text = Text::new(record, "The downstream API", "downstream-api", self);
        text.set("listen", DOWNSTREAM);
        text.set("client_id", id);
        text.set("app_id_uri", &format!("api://{id}"));
        text.set("required_scope", "user_impersonation");
        text.set("public_url", &self.service_url(DOWNSTREAM));
        text.set("admin_role", "Task.Run");
        text.set("secure_context", CONTEXT);
        text.end(self, record);
        Ok(text.0.into())
    }

    fn middle_tier(&self, record: &Record) -> Result<SecretString, ConfigureError> {
        let id = client_id(record, "middle-tier")?;
        let downstream = client_id(record, "downstream-api")?;
        let gate = client_id(record, "mfa-app")?;
        let place = &self.configuration.place;
        let mut text = Text::new(record, "The middle tier", "middle-tier", self);
        text.set("listen", MIDDLE_TIER);
        text.set("client_id", id);
        text.set("app_id_uri", &format!("api://{id}"));
        text.credential(self, "middle-tier")?;
        text.set("required_scope", "user_impersonation");
        text.set("public_url", &self.service_url(MIDDLE_TIER));
        text.set("downstream", &self.service_url(DOWNSTREAM));
        text.set(
            "downstream_scope",
            &format!("api://{downstream}/user_impersonation"),
        );
        if self.is_https() {
            text.line("# The page /msal of the SPA backend calls this service from the browser.");
            let origin = self.configuration.base_url.origin().ascii_serialization();
            let origins = Value::Array(vec![Value::String(origin)]);
            text.line(&format!("allowed_origins = {origins}"));
        }
        text.end(self, record);
        text.line("\n# The person's own profile; its edit needs a token for the application that carries `gate_scope`.\n[profile]");
        text.set("graph", place.graph.as_str().trim_end_matches('/'));
        for (key, permission) in [
            ("read_scope", "User.Read"),
            ("write_scope", "User.ReadWrite"),
        ] {
            text.set(key, &format!("{}/{permission}", place.graph_resource));
        }
        text.set("gate_scope", &format!("api://{gate}/User.MFA"));
        Ok(text.0.into())
    }

    fn spa_backend(&self, record: &Record) -> Result<SecretString, ConfigureError> {
        let id = client_id(record, "spa-backend")?;
        let msal_id = client_id(record, "msal-spa")?;
        let scope = format!(
            "api://{}/user_impersonation",
            client_id(record, "middle-tier")?
        );
        let base_url = &self.configuration.base_url;
        let [middle_tier, downstream] = [MIDDLE_TIER, DOWNSTREAM].map(|at| self.service_url(at));
        let mut text = Text::new(record, "The SPA backend", "spa-backend", self);
        text.set("listen", &listen(base_url));
        text.set("base_url", base_url.as_str().trim_end_matches('/'));
        text.set("client_id", id);
        text.credential(self, "spa-backend")?;
        text.set("scope", &scope);
        text.set("middle_tier", &middle_tier);
        let sources = [&middle_tier, &downstream].map(|url| Value::String(url.clone()));
        text.line(&format!("flow_sources = {}", Value::Array(sources.into())));
        text.end(self, record);
        if self.is_https() {
            text.line("\n# The page /msal: MSAL.js in the browser, a public client that calls the middle tier itself.");
            // Without the package in its place the service would not start.
            let (hash, bundle) = match &self.configuration.msal {
                Some(bundle) => ("", bundle.display().to_string()),
                None => {
                    text.line("# Run `npm install @azure/msal-browser@5.30.0`, name its place, and take the `#` away.");
                    ("# ", "node_modules/@azure/msal-browser".to_owned())
                }
            };
            let middle_tier = format!("https://{MIDDLE_TIER}");
            text.line(&format!("{hash}[msal]"));
            for (key, value) in [
                ("bundle", bundle.as_str()),
                ("client_id", msal_id),
                ("scope", &scope),
                ("middle_tier", &middle_tier),
            ] {
                text.line(&format!("{hash}{key} = {}", quoted(value)));
            }
        }
        Ok(text.0.into())
    }

    fn is_https(&self) -> bool {
        self.configuration.base_url.scheme() == "https"
    }

    fn service_url(&self, at: &str) -> String {
        let scheme = match self.configuration.tls {
            Some(_) => "https",
            None => "http",
        };
        format!("{scheme}://{at}")
    }
}

impl LocalFiles for TenantFiles {
    fn has_credential(&self, key: &str) -> bool {
        match self.configuration.credential {
            CredentialKind::Certificate => self.held_certificate(key).is_some(),
            CredentialKind::Secret => self.held_secret(key).is_some(),
        }
    }

    fn credential_end(&self) -> Option<String> {
        Some(self.end())
    }

    fn certificate(&self, key: &str) -> Result<(Certificate, Vec<WrittenFile>), LocalError> {
        self.make_certificate(key).map_err(LocalError::new)
    }

    fn keep_secret(&self, key: &str, secret: SecretString) -> Result<Vec<WrittenFile>, LocalError> {
        let name = format!("{}-{key}", self.configuration.prefix);
        let text = SecretString::from(format!(
            "# {MARK} for {name}. Keep it secret.\n{VARIABLE}{}\n",
            secret.expose_secret()
        ));
        let written = self.put(&self.secret_path(key), text.expose_secret());
        Ok(vec![written.map_err(LocalError::new)?])
    }

    fn write(&self, record: &Record) -> Result<Vec<WrittenFile>, LocalError> {
        self.write_all(record).map_err(LocalError::new)
    }

    fn restore(&self, file: &WrittenFile) -> Result<(), LocalError> {
        files::restore(file).map_err(LocalError::new)
    }
}

/// A configuration in the making.
struct Text(String);

impl Text {
    fn new(record: &Record, name: &str, command: &str, files: &TenantFiles) -> Self {
        let path = files.path(&format!("{command}.toml"));
        Self(format!(
            "{}\n# {name} against the tenant {}:\n#   cargo run -- {command} --config {}\n\n",
            mark(record),
            record.tenant,
            crate::how_to_trust::shell_word(&path.display().to_string()),
        ))
    }

    fn line(&mut self, line: &str) {
        self.0.push_str(line);
        self.0.push('\n');
    }

    fn set(&mut self, key: &str, value: &str) {
        self.line(&format!("{key} = {}", quoted(value)));
    }

    fn credential(&mut self, files: &TenantFiles, key: &'static str) -> Result<(), ConfigureError> {
        let missing = || ConfigureError::NoCredential {
            key,
            folder: files.configuration.folder.clone(),
        };
        match files.configuration.credential {
            CredentialKind::Secret => {
                let secret = files.held_secret(key).ok_or_else(missing)?;
                self.set("client_secret", secret.expose_secret());
            }
            CredentialKind::Certificate => {
                let [certificate, private_key] = files.certificate_paths(key);
                if files.held_certificate(key).is_none() {
                    return Err(missing());
                }
                let [certificate, private_key] =
                    [certificate, private_key].map(|path| quoted(&path.display().to_string()));
                self.line(&format!(
                    "client_certificate = {{ certificate = {certificate}, private_key = {private_key} }}"
                ));
            }
        }
        Ok(())
    }

    /// What all three have in common.
    fn end(&mut self, files: &TenantFiles, record: &Record) {
        self.line("# The picture of each call on the page; for services that listen on this machine only.");
        self.line("flow_events = true");
        if let Some(ca_file) = &files.configuration.ca_file {
            self.set("ca_file", &ca_file.display().to_string());
        }
        self.line("\n[authority]");
        let instance = files.configuration.place.authority.as_str();
        self.set("instance", instance.trim_end_matches('/'));
        self.set("tenant", &record.tenant);
        match &files.configuration.tls {
            Some((certificate, private_key)) => {
                self.line("\n[tls]");
                self.set("certificate", &certificate.display().to_string());
                self.set("private_key", &private_key.display().to_string());
            }
            None => {
                self.line("\n# The service's own certificate; without it plain http, on this machine only (docs/deployment.md).");
                self.line("# [tls]\n# certificate = \"chain.pem\"\n# private_key = \"key.pem\"");
            }
        }
    }
}

/// The first line: another run's file is somebody else's.
fn mark(record: &Record) -> String {
    format!("# {MARK}, run {}.", record.run)
}

/// `there` with the secret of `new` in the place of its own, if it has another one.
fn with_secret_of(there: &str, new: &str) -> Option<SecretString> {
    let is_secret = |line: &&str| line.starts_with("client_secret = ");
    let (old, new) = (there.lines().find(is_secret)?, new.lines().find(is_secret)?);
    (old != new).then(|| there.replacen(old, new, 1).into())
}

fn client_id<'a>(record: &'a Record, key: &'static str) -> Result<&'a str, ConfigureError> {
    let app = record.app(key).and_then(|app| app.app_id.as_deref());
    app.ok_or(ConfigureError::Incomplete(key))
}

/// At the port of the URL where that is this machine; behind a proxy at our own.
fn listen(base_url: &Url) -> String {
    match (base_url.host_str(), base_url.port_or_known_default()) {
        (Some(host), Some(port)) if is_loopback(base_url) => format!("{host}:{port}"),
        _ => format!("localhost:{SPA_PORT}"),
    }
}

fn quoted(value: &str) -> String {
    Value::String(value.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use local_authority::ManualClock;

    use super::*;
    use crate::config::{
        DownstreamApiConfig, MiddleTierConfig, ServiceConfig, SpaBackendConfig, load,
    };
    use crate::tenant::cloud::Cloud;
    use crate::tenant::record::{Kind, Object};
    use crate::{downstream_api, middle_tier, spa_backend};

    const NOW: u64 = 1_795_319_366;
    const TENANT: &str = "11111111-2222-3333-4444-555555555555";
    const KEYS: [&str; 6] = [
        "downstream-api",
        "mfa-app",
        "middle-tier",
        "spa-backend",
        "msal-spa",
        "daemon",
    ];

    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let name = format!("tenant configuration {name} {}", std::process::id());
            let folder = std::env::temp_dir().join(name);
            let _ = fs::remove_dir_all(&folder);
            Self(folder)
        }

        fn files(&self, change: impl FnOnce(&mut Configuration)) -> TenantFiles {
            let mut configuration = Configuration {
                folder: self.0.clone(),
                place: Place::new(Cloud::Global, None, None).unwrap(),
                prefix: "demo".into(),
                credential: CredentialKind::Certificate,
                base_url: "http://localhost:3100".parse().unwrap(),
                tls: None,
                ca_file: None,
                msal: None,
            };
            change(&mut configuration);
            TenantFiles::new(configuration, Arc::new(ManualClock::at(NOW)))
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join(name)).unwrap()
        }

        fn load<T: ServiceConfig>(&self, name: &str) -> T {
            let file = self.0.join(name);
            load(&file, []).unwrap_or_else(|error| panic!("{error} in {}", self.read(name)))
        }

        fn names(&self) -> Vec<String> {
            let Ok(entries) = fs::read_dir(&self.0) else {
                return Vec::new();
            };
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record() -> Record {
        let url = |text: &str| text.parse().unwrap();
        let mut record = Record::new(
            TENANT.into(),
            "global".into(),
            url("https://login.microsoftonline.com"),
            url("https://graph.microsoft.com"),
            "demo".into(),
        );
        for (index, key) in KEYS.iter().enumerate() {
            record.add(Object {
                key: (*key).into(),
                kind: Kind::Application,
                id: format!("object-{key}"),
                app_id: Some(format!("00000000-0000-4000-8000-00000000000{index}")),
                parent: None,
                name: format!("demo-{key}"),
            });
        }
        record
    }

    /// Each service can be built from what is written.
    async fn assert_all_load(
        scratch: &Scratch,
    ) -> (SpaBackendConfig, MiddleTierConfig, DownstreamApiConfig) {
        let spa: SpaBackendConfig = scratch.load("spa-backend.toml");
        let middle: MiddleTierConfig = scratch.load("middle-tier.toml");
        let downstream: DownstreamApiConfig = scratch.load("downstream-api.toml");
        assert_eq!(
            spa_backend::router(&spa)
                .map(drop)
                .map_err(|e| e.to_string()),
            Ok(())
        );
        assert_eq!(
            middle_tier::service(&middle)
                .map(drop)
                .map_err(|e| e.to_string()),
            Ok(())
        );
        assert_eq!(
            downstream_api::service(&downstream)
                .map(drop)
                .map_err(|e| e.to_string()),
            Ok(())
        );
        (spa, middle, downstream)
    }

    #[test]
    fn a_certificate_lasts_as_long_as_was_said_and_one_that_lasts_longer_is_made_anew() {
        let scratch = Scratch::new("days");
        let of = |days| {
            let files = scratch.files(|_| ()).lasting(days);
            let certificate = files.certificate("daemon").unwrap().0;
            assert_eq!(
                files.has_credential("daemon"),
                certificate.end <= files.end()
            );
            (certificate.end, files.end(), certificate.der)
        };
        let (end, wanted, first) = of(Some(90));
        assert_eq!(
            (&*end, &*wanted),
            ("2027-02-20T03:49:26Z", "2027-02-20T03:49:26Z")
        );
        // Nothing is said, or more: it stays.
        assert_eq!((of(None).2 == first, of(Some(91)).2 == first), (true, true));
        let (end, wanted, other) = of(Some(89));
        assert!(end == wanted && other != first);
    }

    #[tokio::test]
    async fn what_is_written_with_certificates_is_complete() {
        let scratch = Scratch::new("certificates");
        let files = scratch.files(|_| {});
        for key in ["middle-tier", "spa-backend", "daemon"] {
            assert!(!files.has_credential(key));
            let (made, written) = files.certificate(key).unwrap();
            assert!(files.has_credential(key) && written.len() == 2);
            // Asked again, it is the same one.
            assert_eq!(files.certificate(key).unwrap().0.der, made.der);
        }
        let record = record();
        assert_eq!(files.write(&record).unwrap().len(), 3);
        let (spa, middle, downstream) = assert_all_load(&scratch).await;
        let id = |key: &str| record.app(key).unwrap().app_id.clone().unwrap();
        assert_eq!(spa.client_id, id("spa-backend"));
        assert_eq!(
            (&*spa.listen, spa.base_url.as_str()),
            ("localhost:3100", "http://localhost:3100/")
        );
        assert_eq!(
            spa.scope,
            format!("api://{}/user_impersonation", id("middle-tier"))
        );
        assert!(spa.msal.is_none() && spa.client_certificate.is_some());
        assert_eq!(
            (&middle.client_id, middle.app_id_uri),
            (&id("middle-tier"), format!("api://{}", id("middle-tier")))
        );
        assert_eq!(
            middle.downstream_scope,
            format!("api://{}/user_impersonation", id("downstream-api"))
        );
        assert!(middle.client_secret.is_none() && middle.allowed_origins.is_empty());
        let profile = middle.profile.unwrap();
        assert_eq!(profile.graph.as_str(), "https://graph.microsoft.com/");
        assert_eq!(
            profile.write_scope,
            "https://graph.microsoft.com/User.ReadWrite"
        );
        assert_eq!(
            profile.gate_scope,
            format!("api://{}/User.MFA", id("mfa-app"))
        );
        assert_eq!(
            (downstream.client_id, &*downstream.secure_context),
            (id("downstream-api"), "c1")
        );
        assert_eq!(downstream.authority.tenant, TENANT);
    }

    #[tokio::test]
    async fn what_is_written_with_secrets_is_complete_and_a_new_secret_replaces_an_old_one() {
        let scratch = Scratch::new("secrets");
        let files = scratch.files(|files| files.credential = CredentialKind::Secret);
        let mut record = record();
        for key in ["middle-tier", "spa-backend"] {
            assert!(!files.has_credential(key));
            files.keep_secret(key, "it\"s\\3cret".into()).unwrap();
            assert!(files.has_credential(key));
        }
        let written = files.write(&record).unwrap();
        let (spa, middle, _) = assert_all_load(&scratch).await;
        let secret = |secret: Option<SecretString>| secret.unwrap().expose_secret().to_owned();
        assert_eq!(secret(spa.client_secret), "it\"s\\3cret");
        assert_eq!(secret(middle.client_secret), "it\"s\\3cret");

        (record.finished, record.files) = (true, written);
        let edited = scratch
            .read("spa-backend.toml")
            .replace("localhost:3100\"", "localhost:3200\"");
        fs::write(scratch.0.join("spa-backend.toml"), &edited).unwrap();
        files.write(&record).unwrap();
        assert_eq!(scratch.read("spa-backend.toml"), edited);
        files.keep_secret("spa-backend", "another".into()).unwrap();
        files.write(&record).unwrap();
        let spa: SpaBackendConfig = scratch.load("spa-backend.toml");
        assert_eq!(
            (secret(spa.client_secret), &*spa.listen),
            ("another".into(), "localhost:3200")
        );
    }

    #[tokio::test]
    async fn over_https_the_page_of_msal_js_is_at_hand() {
        let scratch = Scratch::new("https");
        let https = |files: &mut Configuration| {
            files.base_url = "https://localhost:3000".parse().unwrap();
            files.tls = Some(("/nowhere/chain.pem".into(), "/nowhere/key.pem".into()));
        };
        let files = scratch.files(https);
        for key in ["middle-tier", "spa-backend"] {
            files.certificate(key).unwrap();
        }
        files.write(&record()).unwrap();
        let (spa, middle, _) = assert_all_load(&scratch).await;
        assert_eq!(spa.middle_tier.as_str(), "https://localhost:5000/");
        assert!(spa.msal.is_none() && spa.tls.is_some());
        assert_eq!(
            middle.allowed_origins.to_headers(),
            ["https://localhost:3000"]
        );

        // The comment becomes a part by taking its `#` away; the package itself makes it one at once.
        let text = scratch.read("spa-backend.toml");
        let (_, part) = text.split_once("# [msal]").unwrap();
        let part = format!("# [msal]{part}").replace("# ", "");
        assert!(
            part.contains("bundle = \"node_modules/@azure/msal-browser\""),
            "{part}"
        );
        let files = scratch.files(|files| {
            https(files);
            files.msal = Some("node_modules/@azure/msal-browser".into());
        });
        files.write(&record()).unwrap();
        assert!(scratch.read("spa-backend.toml").ends_with(&part), "{part}");
        let spa: SpaBackendConfig = scratch.load("spa-backend.toml");
        assert_eq!(
            spa.msal.unwrap().client_id,
            record().app("msal-spa").unwrap().app_id.clone().unwrap()
        );
    }

    #[test]
    fn an_incomplete_record_or_a_lost_credential_writes_nothing() {
        let scratch = Scratch::new("incomplete");
        let files = scratch.files(|_| {});
        let said = |record: &Record| files.write(record).unwrap_err().to_string();
        assert!(said(&record()).starts_with("the credential of middle-tier is not in"));
        for key in ["middle-tier", "spa-backend"] {
            files.certificate(key).unwrap();
        }
        let before = scratch.names();
        for key in KEYS.into_iter().filter(|key| *key != "daemon") {
            let mut record = record();
            record.forget(Kind::Application, key);
            assert!(said(&record).starts_with(&format!("{key} is not registered yet")));
        }
        assert_eq!(scratch.names(), before);
    }

    #[test]
    fn what_was_there_is_put_back_and_a_failure_changes_nothing() {
        let scratch = Scratch::new("back");
        let files = scratch.files(|_| {});
        for key in ["middle-tier", "spa-backend"] {
            files.certificate(key).unwrap();
        }
        fs::write(scratch.0.join("downstream-api.toml"), "theirs").unwrap();
        // No file can be put where a folder is kept already: the last of the three fails.
        let kept = scratch.0.join("spa-backend.toml.before-register");
        fs::create_dir_all(scratch.0.join("spa-backend.toml/x")).unwrap();
        fs::create_dir_all(kept.join("x")).unwrap();
        let before = scratch.names();
        assert!(files.write(&record()).is_err());
        assert_eq!(
            (scratch.names(), scratch.read("downstream-api.toml")),
            (before, "theirs".into())
        );
        fs::remove_dir_all(&kept).unwrap();
        fs::remove_dir_all(scratch.0.join("spa-backend.toml")).unwrap();

        let written = files.write(&record()).unwrap();
        assert!(scratch.read("downstream-api.toml").contains("client_id"));
        for file in &written {
            files.restore(file).unwrap();
        }
        assert_eq!(scratch.read("downstream-api.toml"), "theirs");
        let left: Vec<String> = scratch
            .names()
            .into_iter()
            .filter(|name| name.ends_with("toml"))
            .collect();
        assert_eq!(left, ["downstream-api.toml"]);
    }

    #[test]
    fn another_registration_is_somebody_else() {
        let scratch = Scratch::new("another");
        let files = scratch.files(|_| {});
        for key in ["middle-tier", "spa-backend"] {
            files.certificate(key).unwrap();
        }
        let first = files.write(&record()).unwrap();
        let text = scratch.read("middle-tier.toml");
        let second = files.write(&record()).unwrap();
        assert!(first[1].replaced.is_none() && second[1].replaced.is_some());
        assert_ne!(scratch.read("middle-tier.toml"), text);
        files.restore(&second[1]).unwrap();
        assert_eq!(scratch.read("middle-tier.toml"), text);
    }

    #[test]
    fn the_port_of_a_local_address_is_listened_on() {
        for (base_url, expected) in [
            ("http://localhost:3100", "localhost:3100"),
            ("http://127.0.0.1", "127.0.0.1:80"),
            ("https://localhost:3000", "localhost:3000"),
            ("https://shop.example", "localhost:3000"),
        ] {
            assert_eq!(listen(&base_url.parse().unwrap()), expected);
        }
    }
}
