//! The services' configuration for what is registered: three complete files, and beside them the credentials.

mod credentials;
mod edited;
mod texts;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use local_authority::Clock;
use secrecy::ExposeSecret as _;
use url::Url;

use super::cloud::Place;
use super::credential_files::{self, KeySource, MakeError};
use super::files::{FileError, OurFiles, There};
use super::plan::CredentialKind;
use super::progress::Event;
use super::record::{FileName, ForeignName, Local, Record, RecordError, StateFile};

/// Where files are written when nothing else is said, in the current directory.
pub const DEFAULT_FOLDER: &str = "tenant-config";

/// What the files say besides what is in the record.
#[derive(Clone, Debug)]
pub struct Configuration {
    /// The folder; an absolute path. The one above it is there.
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
    /// The record.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A key.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// A mistake in this program.
    #[error(transparent)]
    Name(#[from] ForeignName),
}

/// The files of one registration. Whoever makes one has it in the record first.
pub struct TenantFiles {
    configuration: Configuration,
    clock: Arc<dyn Clock>,
    keys: KeySource,
    /// Days that credentials are good for, if it was said.
    days: Option<u16>,
}

impl TenantFiles {
    /// Nothing is written yet.
    pub fn new(configuration: Configuration, clock: Arc<dyn Clock>) -> Self {
        Self {
            configuration,
            clock,
            keys: credential_files::new_key,
            days: None,
        }
    }

    /// Credentials that are good for so many days, [`DEFAULT_DAYS`](credential_files::DEFAULT_DAYS) unless it is said. A certificate that lasts longer than was said is
    /// made anew.
    #[must_use]
    pub fn lasting(mut self, days: Option<u16>) -> Self {
        self.days = days;
        self
    }

    /// Takes keys from elsewhere; new ones of 2048 bits by default.
    #[must_use]
    pub fn keys(mut self, keys: KeySource) -> Self {
        self.keys = keys;
        self
    }

    /// Takes the folder and the other choices into a record that has none. The folder and the kind of credential of one that has stay;
    /// the address is the present one from now on. Whatever could not be written in the folder is refused here, before anything is made.
    /// Nothing is saved.
    ///
    /// # Errors
    ///
    /// The record is of another folder or kind of credential, or files of others are in the way.
    pub fn begin(&self, record: &mut Record, state: &StateFile) -> Result<(), ConfigureError> {
        let Configuration {
            folder,
            credential,
            base_url,
            ..
        } = &self.configuration;
        let local = record.local.get_or_insert_with(|| Local {
            out: folder.clone(),
            made_out: false,
            credential: *credential,
            base_urls: Vec::new(),
            files: Vec::new(),
        });
        let out = |path: &Path| path.display().to_string();
        for (what, recorded, asked) in [
            ("the folder (--out)", out(&local.out), out(folder)),
            (
                "the credential",
                local.credential.word().to_owned(),
                credential.word().to_owned(),
            ),
        ] {
            if recorded != asked {
                let path = state.path().to_owned();
                let another = RecordError::Another {
                    path,
                    what,
                    recorded,
                    asked,
                };
                return Err(another.into());
            }
        }
        local.base_urls.retain(|url| url != base_url);
        local.base_urls.push(base_url.clone());
        let names: Vec<FileName> = FileName::all().filter(|name| self.writes(*name)).collect();
        Ok(OurFiles::new(record, state).check(&names)?)
    }

    /// Writes the three files for what is in the record, whatever was asked for before. What somebody has changed in one since stays; only a
    /// secret that is another one by now is put into it.
    ///
    /// # Errors
    ///
    /// The record is not complete, a credential is lost, or the file system refuses; the next run goes on.
    pub fn write(
        &self,
        record: &mut Record,
        state: &StateFile,
    ) -> Result<Vec<Event>, ConfigureError> {
        let texts = self.texts(record)?;
        let mut events = Vec::new();
        for (name, text) in texts {
            let what = format!("file {}", self.path(name.as_str()).display());
            let mut files = OurFiles::new(record, state);
            let text = text.expose_secret();
            match files.look(name)? {
                There::Ours(ours) if !ours.is_whole => {
                    let body = edited::with_secret_of(ours.body(), text);
                    if let Some(body) = &body {
                        files.put_edited(name, &ours, body.expose_secret())?;
                        events.push(Event::Noted(format!(
                            "{what} was changed by hand; only the new secret was put into it"
                        )));
                    }
                    let body = body
                        .as_ref()
                        .map_or(ours.body(), |body| body.expose_secret());
                    events.extend(edited::told(&what, body, text).map(Event::Noted));
                }
                There::Ours(ours) if ours.body() == text => {}
                there => {
                    files.put(name, text)?;
                    events.push(match there {
                        There::Ours(_) => Event::Changed(what),
                        _ => Event::Made(what),
                    });
                }
            }
        }
        Ok(events)
    }

    /// Everything has the present address: the others are forgotten. Nothing is saved.
    pub fn end(&self, record: &mut Record) {
        if let Some(local) = &mut record.local {
            local
                .base_urls
                .retain(|url| *url == self.configuration.base_url);
        }
    }

    /// The files that a run leaves.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let names = FileName::all().filter(|name| self.writes(*name));
        let lasting = names.filter(|name| !credentials::is_waiting(*name));
        lasting.map(|name| self.path(name.as_str())).collect()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.configuration.folder.join(name)
    }

    /// Whether these choices have such a file.
    fn writes(&self, name: FileName) -> bool {
        let credential = self.configuration.credential;
        match Path::new(name.as_str()).extension() {
            Some(ending) if ending == "pem" => credential == CredentialKind::Certificate,
            Some(ending) if ending == "env" => credential == CredentialKind::Secret,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::LazyLock;

    use local_authority::ManualClock;
    use secrecy::SecretString;

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

    /// Making one takes a while.
    fn key() -> Result<rcgen::KeyPair, MakeError> {
        static KEY: LazyLock<Vec<u8>> =
            LazyLock::new(|| credential_files::new_key().unwrap().serialize_der());
        rcgen::KeyPair::try_from(KEY.as_slice()).map_err(|_| MakeError)
    }

    /// A run with a folder of its own, which is removed at the end.
    struct Scratch {
        root: PathBuf,
        record: Record,
        state: StateFile,
        files: TenantFiles,
    }

    impl Scratch {
        fn new(change: impl FnOnce(&mut Configuration)) -> Self {
            let name = format!("tenant configuration {}", uuid::Uuid::new_v4());
            let root = std::env::temp_dir().join(name);
            fs::create_dir_all(root.join("out")).unwrap();
            let (state, _) = StateFile::open(&root.join("state.json")).unwrap();
            let files = files(&root, change);
            let mut scratch = Self {
                root,
                record: record(),
                state,
                files,
            };
            scratch.begin().unwrap();
            scratch
        }

        fn begin(&mut self) -> Result<(), ConfigureError> {
            self.files.begin(&mut self.record, &self.state)
        }

        /// A certificate in its place.
        fn certificate(&mut self, key: &str) -> Vec<u8> {
            let Self {
                record,
                state,
                files,
                ..
            } = self;
            let made = files.make_certificate(record, state, key).unwrap();
            files.put_certificate_in_place(record, state, key).unwrap();
            made.der
        }

        fn certificates(&mut self) {
            for key in ["middle-tier", "spa-backend"] {
                self.certificate(key);
            }
        }

        fn secret(&mut self, key: &str, secret: &str) {
            let secret = ("id-of-it", SecretString::from(secret));
            self.files
                .keep_secret(&mut self.record, &self.state, key, secret)
                .unwrap();
        }

        fn write(&mut self) -> Result<Vec<String>, ConfigureError> {
            let events = self.files.write(&mut self.record, &self.state)?;
            let out = format!("{}/", self.root.join("out").display());
            let lines = events
                .iter()
                .map(|event| event.to_string().replace(&out, ""));
            Ok(lines.collect())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.root.join("out").join(name)
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.path(name)).unwrap()
        }

        fn edit(&self, name: &str, from: &str, to: &str) -> String {
            let edited = self.read(name).replace(from, to);
            fs::write(self.path(name), &edited).unwrap();
            edited
        }

        fn load<T: ServiceConfig>(&self, name: &str) -> T {
            load(&self.path(name), [])
                .unwrap_or_else(|error| panic!("{error} in {}", self.read(name)))
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.root.join("out")).unwrap();
            let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
            let mut names: Vec<String> = names.collect();
            names.sort();
            names
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.root);
        }
    }

    fn files(root: &Path, change: impl FnOnce(&mut Configuration)) -> TenantFiles {
        let mut configuration = Configuration {
            folder: root.join("out"),
            place: Place::new(Cloud::Global, None, None).unwrap(),
            prefix: "demo".into(),
            credential: CredentialKind::Certificate,
            base_url: "http://localhost:3100".parse().unwrap(),
            tls: None,
            ca_file: None,
            msal: None,
        };
        change(&mut configuration);
        TenantFiles::new(configuration, Arc::new(ManualClock::at(NOW))).keys(key)
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
    fn a_certificate_lasts_as_long_as_was_said_and_one_that_lasts_longer_is_not_taken() {
        let mut scratch = Scratch::new(|_| ());
        let mut of = |days| {
            let files = files(&scratch.root, |_| ()).lasting(days);
            scratch.files = files;
            let held = scratch.files.certificate(&scratch.record, "daemon");
            let first = held.map(|held| held.der);
            if first.is_none() {
                scratch.certificate("daemon");
            }
            let held = scratch
                .files
                .certificate(&scratch.record, "daemon")
                .unwrap();
            (held.end, scratch.files.credential_end(), first.is_some())
        };
        let wanted = "2027-02-20T03:49:26Z";
        assert_eq!(of(Some(90)), (wanted.into(), wanted.into(), false));
        // Nothing is said, or more: it stays.
        assert!(of(None).2 && of(Some(91)).2);
        let (end, wanted, was_there) = of(Some(89));
        assert!(end == wanted && !was_there);
    }

    #[tokio::test]
    async fn what_is_written_with_certificates_is_complete() {
        let mut scratch = Scratch::new(|_| {});
        for key in ["middle-tier", "spa-backend", "daemon"] {
            assert!(scratch.files.certificate(&scratch.record, key).is_none());
            let made = scratch.certificate(key);
            let held = scratch.files.certificate(&scratch.record, key).unwrap();
            assert_eq!(held.der, made);
        }
        assert_eq!(scratch.write().unwrap().len(), 3);
        assert_eq!(scratch.write().unwrap(), Vec::<String>::new());
        let (spa, middle, downstream) = assert_all_load(&scratch).await;
        let id = |key: &str| scratch.record.app(key).unwrap().app_id.clone().unwrap();
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
        let mut scratch = Scratch::new(|files| files.credential = CredentialKind::Secret);
        for key in ["middle-tier", "spa-backend"] {
            assert_eq!(scratch.files.secret_id(&scratch.record, key), None);
            scratch.secret(key, "it\"s\\3cret");
            let id = scratch.files.secret_id(&scratch.record, key);
            assert_eq!(id.as_deref(), Some("id-of-it"));
        }
        scratch.write().unwrap();
        let (spa, middle, _) = assert_all_load(&scratch).await;
        let secret = |secret: Option<SecretString>| secret.unwrap().expose_secret().to_owned();
        assert_eq!(secret(spa.client_secret), "it\"s\\3cret");
        assert_eq!(secret(middle.client_secret), "it\"s\\3cret");

        // What somebody has changed stays, and is told by its key.
        let edited = scratch.edit(
            "spa-backend.toml",
            "listen = \"localhost:3100",
            "listen = \"localhost:3200",
        );
        let said = scratch.write().unwrap();
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(
            said[0].starts_with("! file spa-backend.toml was changed by hand and stays as it is; from what this run would write differ: listen."),
            "{said:?}"
        );
        assert_eq!(scratch.read("spa-backend.toml"), edited);
        scratch.secret("spa-backend", "another");
        assert_eq!(scratch.write().unwrap().len(), 2);
        let spa: SpaBackendConfig = scratch.load("spa-backend.toml");
        assert_eq!(
            (secret(spa.client_secret), &*spa.listen),
            ("another".into(), "localhost:3200")
        );
        assert_eq!(scratch.write().unwrap(), said, "it is a changed one still");
    }

    #[test]
    fn other_choices_write_what_nobody_has_changed() {
        let mut scratch = Scratch::new(|_| {});
        scratch.certificates();
        scratch.write().unwrap();
        let edited = scratch.edit(
            "middle-tier.toml",
            "flow_events = true",
            "flow_events = false",
        );
        scratch.files = files(&scratch.root, |files| {
            files.base_url = "https://localhost:3443".parse().unwrap();
            files.tls = Some(("/nowhere/chain.pem".into(), "/nowhere/key.pem".into()));
            files.ca_file = Some("/nowhere/ca.pem".into());
        });
        scratch.begin().unwrap();
        let said = scratch.write().unwrap();
        let [downstream, middle, spa] = said.as_slice() else {
            panic!("{said:?}")
        };
        assert_eq!(downstream, "~ file downstream-api.toml (changed)");
        assert_eq!(spa, "~ file spa-backend.toml (changed)");
        for key in [
            "allowed_origins",
            "ca_file",
            "downstream",
            "flow_events",
            "public_url",
            "tls",
        ] {
            assert!(middle.contains(key), "{key} in {middle}");
        }
        assert!(!middle.contains("nowhere"), "{middle}");
        assert_eq!(scratch.read("middle-tier.toml"), edited);
        assert!(
            scratch
                .read("spa-backend.toml")
                .contains("base_url = \"https://localhost:3443\"")
        );
        assert_eq!(scratch.record.former_base_urls().len(), 1);
        scratch.files.end(&mut scratch.record);
        assert!(scratch.record.former_base_urls().is_empty());
    }

    #[test]
    fn the_folder_and_the_kind_of_credential_stay() {
        let mut scratch = Scratch::new(|_| {});
        let elsewhere = scratch.root.join("elsewhere");
        let (other, secret) = (
            |files: &mut Configuration| files.folder = elsewhere.clone(),
            |files: &mut Configuration| files.credential = CredentialKind::Secret,
        );
        let refused = [files(&scratch.root, other), files(&scratch.root, secret)];
        for (files, what) in refused.into_iter().zip(["--out", "the credential"]) {
            let before = scratch.record.clone();
            scratch.files = files;
            let error = scratch.begin().unwrap_err().to_string();
            assert!(error.contains(what) && error.contains("--state"), "{error}");
            assert_eq!(scratch.record, before);
        }
        scratch.files = files(&scratch.root, |_| {});
        scratch.begin().unwrap();
    }

    #[test]
    fn what_could_not_be_written_is_refused_before_anything_is_made() {
        let mut scratch = Scratch::new(|_| {});
        fs::write(scratch.path("daemon.pem"), "theirs").unwrap();
        fs::write(scratch.path("daemon.env"), "theirs").unwrap();
        scratch.begin().unwrap();
        // With secrets there is no such file.
        fs::write(scratch.path("daemon.env.before-register"), "theirs").unwrap();
        scratch.begin().unwrap();
        fs::write(scratch.path("daemon.pem.before-register"), "theirs").unwrap();
        let error = scratch.begin().unwrap_err();
        let occupied = matches!(error, ConfigureError::File(FileError::Occupied { .. }));
        assert!(occupied, "{error}");
        fs::remove_file(scratch.path("daemon.pem.before-register")).unwrap();
        // Another run's.
        scratch.certificate("spa-backend");
        let ours = std::mem::replace(&mut scratch.record, record());
        let error = scratch.begin().unwrap_err();
        let another = matches!(error, ConfigureError::File(FileError::AnotherRun { .. }));
        assert!(another, "{error}");
        scratch.record = ours;
        scratch.begin().unwrap();
    }

    #[test]
    fn a_certificate_takes_the_place_of_another_only_when_it_is_told_to() {
        let mut scratch = Scratch::new(|_| {});
        let first = scratch.certificate("daemon");
        let (key, text) = (scratch.read("daemon-key.pem"), scratch.read("daemon.pem"));
        let Scratch {
            record,
            state,
            files,
            ..
        } = &mut scratch;
        let second = files.make_certificate(record, state, "daemon").unwrap().der;
        let held = files.certificate(record, "daemon").unwrap().der;
        let in_place = files.certificate_in_place(record, "daemon").unwrap().der;
        assert_eq!((held, in_place), (second.clone(), first));
        assert_eq!(
            (scratch.read("daemon-key.pem"), scratch.read("daemon.pem")),
            (key, text)
        );
        let Scratch {
            record,
            state,
            files,
            ..
        } = &mut scratch;
        files
            .put_certificate_in_place(record, state, "daemon")
            .unwrap();
        let in_place = files.certificate_in_place(record, "daemon").unwrap().der;
        assert_eq!(in_place, second);
        assert_eq!(scratch.names(), ["daemon-key.pem", "daemon.pem"]);
    }

    #[test]
    fn only_a_credential_of_this_run_is_taken() {
        let mut scratch = Scratch::new(|_| {});
        let made = scratch.certificate("daemon");
        let take = |scratch: &Scratch| {
            let certificate = scratch.files.certificate(&scratch.record, "daemon");
            certificate.map(|certificate| certificate.der)
        };
        let (key, text) = (scratch.read("daemon-key.pem"), scratch.read("daemon.pem"));
        // A pair that lies there, without the mark.
        let bare = |text: &str| text[text.find("-----BEGIN").unwrap()..].to_owned();
        fs::write(scratch.path("daemon-key.pem"), bare(&key)).unwrap();
        fs::write(scratch.path("daemon.pem"), bare(&text)).unwrap();
        assert_eq!(take(&scratch), None);
        // One of ours that was changed.
        fs::write(scratch.path("daemon-key.pem"), &key).unwrap();
        fs::write(scratch.path("daemon.pem"), format!("{text}\n")).unwrap();
        assert_eq!(take(&scratch), None);
        fs::write(scratch.path("daemon.pem"), &text).unwrap();
        // Another run's.
        let ours = scratch.record.run.clone();
        scratch.record.run = uuid::Uuid::new_v4().to_string();
        assert_eq!(take(&scratch), None);
        scratch.record.run = ours;
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            for (mode, taken) in [(0o644, None), (0o640, None), (0o600, Some(made))] {
                let mode = fs::Permissions::from_mode(mode);
                fs::set_permissions(scratch.path("daemon-key.pem"), mode).unwrap();
                assert_eq!(take(&scratch), taken);
            }
        }
    }

    #[tokio::test]
    async fn over_https_the_page_of_msal_js_is_at_hand() {
        let https = |files: &mut Configuration| {
            files.base_url = "https://localhost:3000".parse().unwrap();
            files.tls = Some(("/nowhere/chain.pem".into(), "/nowhere/key.pem".into()));
        };
        let mut scratch = Scratch::new(https);
        scratch.certificates();
        scratch.write().unwrap();
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
        scratch.files = files(&scratch.root, |files| {
            https(files);
            files.msal = Some("node_modules/@azure/msal-browser".into());
        });
        scratch.write().unwrap();
        assert!(scratch.read("spa-backend.toml").ends_with(&part), "{part}");
        let spa: SpaBackendConfig = scratch.load("spa-backend.toml");
        assert_eq!(
            spa.msal.unwrap().client_id,
            scratch
                .record
                .app("msal-spa")
                .unwrap()
                .app_id
                .clone()
                .unwrap()
        );
    }

    #[tokio::test]
    async fn only_where_this_machine_is_the_address_are_calls_pictured() {
        for (base_url, pictured) in [
            ("http://localhost:3000", true),
            ("https://localhost:3000", true),
            ("https://shop.example", false),
        ] {
            let mut scratch = Scratch::new(|files| files.base_url = base_url.parse().unwrap());
            scratch.certificates();
            scratch.write().unwrap();
            let (spa, middle, downstream) = assert_all_load(&scratch).await;
            let on = [spa.flow_events, middle.flow_events, downstream.flow_events];
            assert_eq!(on, [pictured; 3], "{base_url}");
            assert_eq!(!spa.flow_sources.is_empty(), pictured, "{base_url}");
            let text = scratch.read("spa-backend.toml");
            let comment = "What else that takes is in docs/deployment.md.";
            assert_eq!(text.contains(comment), !pictured, "{text}");
        }
    }

    #[test]
    fn what_must_be_in_front_is_said_where_nobody_speaks_tls() {
        let said = |base_url: &str, tls: bool| {
            let scratch = Scratch::new(|files| {
                files.base_url = base_url.parse().unwrap();
                files.tls = tls.then(|| ("chain.pem".into(), "key.pem".into()));
            });
            scratch.files.in_front()
        };
        assert_eq!(said("http://localhost:3000", false), None);
        assert_eq!(said("https://localhost:3000", true), None);
        assert_eq!(said("https://shop.example", true), None);
        let local = said("https://localhost:3000", false).unwrap();
        assert!(local.contains("--tls-cert"), "{local}");
        let public = said("https://shop.example", false).unwrap();
        assert!(
            public.contains("must speak TLS for https://shop.example,"),
            "{public}"
        );
    }

    #[test]
    fn a_file_of_a_secret_says_what_it_is_for() {
        let mut scratch = Scratch::new(|files| files.credential = CredentialKind::Secret);
        for (key, says) in [
            (
                "daemon",
                "# The command `daemon` takes it from its environment",
            ),
            ("middle-tier", "# register writes it into middle-tier.toml"),
        ] {
            scratch.secret(key, "s3cret");
            let text = scratch.read(&format!("{key}.env"));
            assert!(text.contains(says), "{text}");
        }
        let paths = scratch.files.paths();
        let names: Vec<_> = paths.iter().map(|path| path.file_name().unwrap()).collect();
        assert!(names.contains(&"daemon.env".as_ref()), "{names:?}");
        let ending = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "pem");
        assert!(!paths.iter().any(ending), "{names:?}");
    }

    #[test]
    fn an_incomplete_record_or_a_lost_credential_writes_nothing() {
        let mut scratch = Scratch::new(|_| {});
        let said = scratch.write().unwrap_err().to_string();
        assert!(
            said.starts_with("the credential of middle-tier is not in"),
            "{said}"
        );
        scratch.certificates();
        let (before, whole) = (scratch.names(), scratch.record.clone());
        for key in KEYS.into_iter().filter(|key| *key != "daemon") {
            scratch.record = whole.clone();
            scratch.record.forget(Kind::Application, key);
            let said = scratch.write().unwrap_err().to_string();
            assert!(
                said.starts_with(&format!("{key} is not registered yet")),
                "{said}"
            );
        }
        assert_eq!(scratch.names(), before);
        scratch.record = whole;
        scratch.write().unwrap();
    }
}
