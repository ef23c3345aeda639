//! What `register` has created, in a file: the only thing that `unregister` goes by.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use url::Url;
use uuid::Uuid;

use crate::plain_file;

use super::disk::{Disk, RealDisk, beside, is_link, private, remove_temporary, write_atomically};

/// Where the record is when nothing else is said, in the current directory.
pub const DEFAULT_FILE: &str = "tower-bearer-tenant.json";
/// The version that is written and read. The first one named its files by paths of any kind.
const VERSION: u32 = 2;
/// Objects, and files, of a record.
const MAX_ENTRIES: usize = 500;
/// Longest id. Those of permission grants have 43 characters.
const MAX_ID: usize = 200;
/// Names of all files that register writes into its folder: what a record can speak of.
const FILE_NAMES: [&str; 15] = [
    "downstream-api.toml",
    "middle-tier.toml",
    "spa-backend.toml",
    "middle-tier.pem",
    "middle-tier-key.pem",
    "middle-tier.next.pem",
    "middle-tier.env",
    "spa-backend.pem",
    "spa-backend-key.pem",
    "spa-backend.next.pem",
    "spa-backend.env",
    "daemon.pem",
    "daemon-key.pem",
    "daemon.next.pem",
    "daemon.env",
];

/// Everything that a run has created in a tenant and on this machine. No secret is in it.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    version: u32,
    /// Directory (tenant) id.
    pub tenant: String,
    /// Name of the cloud: `global`, `usgov`, `china`.
    pub cloud: String,
    /// Base URL of the authority.
    pub authority: Url,
    /// Base URL of Microsoft Graph.
    pub graph: Url,
    /// What the display names begin with.
    pub prefix: String,
    /// The run that began it: a GUID that its applications carry as a tag, and from which the ids of permissions are derived.
    pub run: String,
    /// Whether a run came to its end.
    pub finished: bool,
    /// Whether policies or the authentication context may be there, recorded or not.
    #[serde(default)]
    pub policies: bool,
    /// Whether everything is removed from the tenant, so that only files are left.
    #[serde(default)]
    pub emptied: bool,
    /// In the order in which they were created.
    pub objects: Vec<Object>,
    /// What the run has to do with this machine; nothing before it is known where its files go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local: Option<Local>,
}

/// The part of a run that is on this machine.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Local {
    /// The folder of its files; an absolute path.
    pub out: PathBuf,
    /// Whether the run made that folder.
    pub made_out: bool,
    /// How the clients prove who they are.
    pub credential: CredentialKind,
    /// Where browsers see the SPA backend: addresses that may be in the tenant's redirect URIs, the present one last.
    pub base_urls: Vec<Url>,
    /// Files that were written, or were about to be.
    pub files: Vec<WrittenFile>,
}

/// How a confidential client proves who it is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum CredentialKind {
    /// A certificate that is made on this machine; its key does not leave it.
    #[default]
    Certificate,
    /// A password that Graph makes.
    Secret,
}

/// An object in the tenant.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Object {
    /// What it is for: `middle-tier`; a grant has both its ends, `spa-backend>middle-tier`.
    pub key: String,
    /// What it is.
    pub kind: Kind,
    /// Its object id; of a credential the `keyId`.
    pub id: String,
    /// Application (client) id, of applications and service principals.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub app_id: Option<String>,
    /// The object that it is a part of, where its own id is not enough: the application of a credential, the resource of an assignment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<String>,
    /// Its display name, or words for it where it has none.
    pub name: String,
}

/// What an object is. Together with its key it stands once in a record.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// `application`.
    Application,
    /// `servicePrincipal`.
    ServicePrincipal,
    /// A `keyCredential` of an application.
    Certificate,
    /// A `passwordCredential` of an application.
    Secret,
    /// `oAuth2PermissionGrant`: consent to delegated permissions.
    Grant,
    /// `appRoleAssignment`: consent to an application permission.
    RoleAssignment,
    /// `authenticationContextClassReference`.
    AuthenticationContext,
    /// `conditionalAccessPolicy`.
    Policy,
}

/// A file in the folder of a run.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenFile {
    /// Its name.
    pub name: FileName,
    /// Whether another file was there, which is kept beside it.
    pub replaced: bool,
}

/// Name of a file that register writes; there is no other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct FileName(&'static str);

/// The name is not that of a file of ours.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("register writes no file of this name")]
pub struct ForeignName;

/// The file of a record, which this process alone may write while this value is there.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: PathBuf,
    disk: Arc<dyn Disk>,
    /// The lock ends with it.
    _locked: File,
}

/// Why a record cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The file is not JSON, or not what this program writes.
    #[error(
        "{} is damaged, or no record of register ({reason}); it was left as it is. Put back a copy of it, or name another file with --state",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong, without its contents.
        reason: String,
    },
    /// Another version of this program wrote it.
    #[error(
        "{} is a record of version {version}, and this program reads version {VERSION} only; it was left as it is. Run unregister of the program that wrote it, then register with this one",
        path.display()
    )]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        version: u64,
    },
    /// It is of another tenant, or of other choices that a second run cannot change.
    #[error(
        "{} is the record of another registration ({what} is {recorded:?} there, not {asked:?}); unregister that one, or name another file with --state",
        path.display()
    )]
    Another {
        /// The file.
        path: PathBuf,
        /// What differs.
        what: &'static str,
        /// What is in the file.
        recorded: String,
        /// What was asked for.
        asked: String,
    },
    /// What is to be written could not be read again.
    #[error("{} cannot have this record: {reason}", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What is wrong with the record.
        reason: String,
    },
    /// It is a link: another lock would be taken than by its own name.
    #[error("{} is a link; name the file itself with --state", .0.display())]
    Link(PathBuf),
    /// Another process has it.
    #[error("another register or unregister is at work with {}; wait for its end", .0.display())]
    Locked(PathBuf),
    /// There is none.
    #[error("{} is not there: nothing was registered from here, or --state must name the record", .0.display())]
    Missing(PathBuf),
    /// The file system refuses.
    #[error("{} cannot be {action}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// `read`, `written`, `locked` or `removed`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl Record {
    /// A record of nothing so far, with a run id of its own.
    #[must_use]
    pub fn new(tenant: String, cloud: String, authority: Url, graph: Url, prefix: String) -> Self {
        Self {
            version: VERSION,
            tenant,
            cloud,
            authority,
            graph,
            prefix,
            run: Uuid::new_v4().to_string(),
            finished: false,
            policies: false,
            emptied: false,
            objects: Vec::new(),
            local: None,
        }
    }

    /// The application with this key, such as `middle-tier`.
    #[must_use]
    pub fn app(&self, key: &str) -> Option<&Object> {
        self.object(Kind::Application, key)
    }

    /// The object of this kind with this key.
    #[must_use]
    pub fn object(&self, kind: Kind, key: &str) -> Option<&Object> {
        let mut objects = self.objects.iter();
        objects.find(|object| object.kind == kind && object.key == key)
    }

    /// Whether a policy or the authentication context is in it.
    #[must_use]
    pub fn has_policies(&self) -> bool {
        let mut objects = self.objects.iter();
        objects.any(|object| matches!(object.kind, Kind::Policy | Kind::AuthenticationContext))
    }

    /// Whether an object with this kind and id is in it.
    #[must_use]
    pub fn holds(&self, object: &Object) -> bool {
        let mut objects = self.objects.iter();
        objects.any(|known| (known.kind, &known.id) == (object.kind, &object.id))
    }

    /// Adds an object. One of the same kind and key that is gone from the tenant makes room for it.
    pub fn add(&mut self, object: Object) {
        self.forget(object.kind, &object.key);
        self.objects.push(object);
    }

    /// Takes an object out.
    pub fn forget(&mut self, kind: Kind, key: &str) {
        self.objects
            .retain(|object| object.kind != kind || object.key != key);
    }

    /// Its files, in the order in which they were written.
    #[must_use]
    pub fn files(&self) -> &[WrittenFile] {
        self.local.as_ref().map_or(&[], |local| &local.files)
    }

    /// The same with their folder.
    #[must_use]
    pub fn paths(&self) -> Vec<PathBuf> {
        let paths = self.local.iter().flat_map(|local| {
            let files = local.files.iter();
            files.map(|file| local.out.join(file.name.as_str()))
        });
        paths.collect()
    }

    /// Addresses of the SPA backend that the run had before the present one, and that may still be in the tenant.
    #[must_use]
    pub fn former_base_urls(&self) -> &[Url] {
        match self
            .local
            .as_ref()
            .map(|local| local.base_urls.split_last())
        {
            Some(Some((_, former))) => former,
            _ => &[],
        }
    }

    /// The tag that tells the objects of this run from others.
    #[must_use]
    pub fn tag(&self) -> String {
        format!("tower-bearer:{}", self.run)
    }

    /// Reads the record in a file, without taking it.
    ///
    /// # Errors
    ///
    /// There is none, or it cannot be used.
    pub fn read(path: &Path) -> Result<Self, RecordError> {
        read(path)?.ok_or_else(|| RecordError::Missing(path.to_owned()))
    }

    /// `None` if all is well, else what is wrong with it, without values.
    fn flaw(&self) -> Option<String> {
        if self.objects.len() > MAX_ENTRIES {
            return Some("too many entries".to_owned());
        }
        if ![&self.tenant, &self.cloud, &self.prefix]
            .into_iter()
            .all(|text| is_plain(text))
        {
            return Some("a control character in it".to_owned());
        }
        if Uuid::try_parse(&self.run).is_err() {
            return Some("run is no GUID".to_owned());
        }
        for (index, object) in self.objects.iter().enumerate() {
            if !is_plain(&object.key) || !is_plain(&object.name) {
                return Some(format!("object {index} has a control character"));
            }
            let mut ids = [
                Some(&object.id),
                object.app_id.as_ref(),
                object.parent.as_ref(),
            ]
            .into_iter()
            .flatten();
            if !ids.all(|id| is_id(id)) {
                return Some(format!("object {index} has an id that is none"));
            }
            if !object.is_whole() {
                return Some(format!("object {index} lacks an id"));
            }
            let mut before = self.objects.iter().take(index);
            if before.any(|other| other.kind == object.kind && other.key == object.key) {
                return Some(format!("object {index} stands twice"));
            }
        }
        self.local.as_ref().and_then(Local::flaw)
    }
}

impl Local {
    /// Notes a file that is about to be written. What it replaced once, it has replaced for good.
    pub(super) fn note(&mut self, file: WrittenFile) {
        match self.files.iter_mut().find(|known| known.name == file.name) {
            Some(known) => known.replaced |= file.replaced,
            None => self.files.push(file),
        }
    }

    fn flaw(&self) -> Option<String> {
        let plain = self.out.to_str().is_some_and(is_plain);
        if !plain || !self.out.is_absolute() {
            return Some("its folder is no absolute path of plain characters".to_owned());
        }
        if self.base_urls.len() > MAX_ENTRIES {
            return Some("too many addresses".to_owned());
        }
        let twice = self.files.iter().enumerate().find(|(index, file)| {
            let mut before = self.files.iter().take(*index);
            before.any(|other| other.name == file.name)
        });
        twice.map(|(index, _)| format!("file {index} stands twice"))
    }
}

impl FileName {
    /// This one, if register writes a file of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        let known = FILE_NAMES.into_iter().find(|known| *known == name);
        known.map(Self)
    }

    /// As text.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.0
    }

    /// All there are.
    pub(super) fn all() -> impl Iterator<Item = Self> {
        FILE_NAMES.into_iter().map(Self)
    }
}

impl Serialize for FileName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0)
    }
}

impl<'de> Deserialize<'de> for FileName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Self::of(&name).ok_or_else(|| D::Error::custom(ForeignName))
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }
}

impl CredentialKind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Secret => "secret",
        }
    }
}

impl Object {
    /// Whether it has the ids that its kind needs: without them its address would be another's, or nobody's.
    fn is_whole(&self) -> bool {
        match self.kind {
            Kind::Application | Kind::ServicePrincipal => self.app_id.is_some(),
            Kind::Certificate | Kind::Secret | Kind::RoleAssignment => self.parent.is_some(),
            Kind::Grant | Kind::AuthenticationContext | Kind::Policy => true,
        }
    }
}

impl StateFile {
    /// Takes the file for this process, and reads the record in it if there is one. A file that cannot be read is never written to.
    ///
    /// # Errors
    ///
    /// Another process has it, or what is there is no record that can be used.
    pub fn open(path: &Path) -> Result<(Self, Option<Record>), RecordError> {
        Self::open_on(path, Arc::new(RealDisk))
    }

    /// The same on another disk, which has all files of the run then.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_on(
        path: &Path,
        disk: Arc<dyn Disk>,
    ) -> Result<(Self, Option<Record>), RecordError> {
        no_link(path)?;
        let lock = beside(path, "lock");
        let locked = take(path, &lock)?;
        let file = Self {
            path: path.to_owned(),
            lock,
            disk,
            _locked: locked,
        };
        let record = read(path)?;
        Ok((file, record))
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What changes files for this run.
    #[must_use]
    pub fn disk(&self) -> &dyn Disk {
        &*self.disk
    }

    /// Replaces the file as a whole: after a crash there is either the old record or the new one.
    ///
    /// # Errors
    ///
    /// The file system refuses, or the record could not be read again; the old record is still there.
    pub fn save(&self, record: &Record) -> Result<(), RecordError> {
        if let Some(reason) = record.flaw() {
            return Err(RecordError::Unfit {
                path: self.path.clone(),
                reason,
            });
        }
        let written = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(record)?;
            text.push(b'\n');
            write_atomically(&*self.disk, &self.path, &text)
        };
        written().map_err(|source| self.io("written", source))
    }

    /// Removes the file: nothing is registered any more.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn remove(self) -> Result<(), RecordError> {
        let temporary = remove_temporary(&*self.disk, &self.path);
        temporary.map_err(|error| self.io("removed", error))?;
        match self.disk.remove(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(self.io("removed", error)),
            _ => Ok(()),
        }
    }

    fn io(&self, action: &'static str, source: io::Error) -> RecordError {
        RecordError::Io {
            path: self.path.clone(),
            action,
            source,
        }
    }
}

impl Drop for StateFile {
    fn drop(&mut self) {
        // Whoever opened it before and waits finds out that it is gone (`take`).
        let _ = fs::remove_file(&self.lock);
    }
}

impl Kind {
    /// The word for it.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::ServicePrincipal => "service principal",
            Self::Certificate => "certificate",
            Self::Secret => "secret",
            Self::Grant => "consent",
            Self::RoleAssignment => "role assignment",
            Self::AuthenticationContext => "authentication context",
            Self::Policy => "policy",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// Whether this can be the id of an object: ids become parts of addresses.
pub(super) fn is_id(text: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    (1..=MAX_ID).contains(&text.len()) && text.bytes().all(plain)
}

/// Whether a terminal shows this as it is: no control characters, and none that turn the direction of what follows.
fn is_plain(text: &str) -> bool {
    let turns = |letter: char| matches!(letter, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    !text
        .chars()
        .any(|letter| letter.is_control() || turns(letter))
}

/// A link has a lock of its own name, and would be replaced by a file.
fn no_link(path: &Path) -> Result<(), RecordError> {
    match is_link(path) {
        true => Err(RecordError::Link(path.to_owned())),
        false => Ok(()),
    }
}

fn take(path: &Path, lock: &Path) -> Result<File, RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        action: "locked",
        source,
    };
    let mut options = OpenOptions::new();
    let options = private(options.write(true).create(true).truncate(false));
    let file = options.open(lock).map_err(io)?;
    match file.try_lock() {
        Ok(()) if is_at(&file, lock) => Ok(file),
        Ok(()) | Err(TryLockError::WouldBlock) => Err(RecordError::Locked(path.to_owned())),
        Err(TryLockError::Error(source)) => Err(io(source)),
    }
}

/// Whether the file that was opened is still the one in that place: its last owner removes it.
#[cfg(unix)]
fn is_at(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// A file that is open cannot be removed there.
#[cfg(not(unix))]
fn is_at(_file: &File, _path: &Path) -> bool {
    true
}

fn read(path: &Path) -> Result<Option<Record>, RecordError> {
    no_link(path)?;
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let damaged = |reason: String| RecordError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let text = match plain_file::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => {
            return Err(damaged(error.to_string()));
        }
        Err(error) => return Err(io(error)),
    };
    // serde's own words can quote what is in the file.
    let place =
        |error: &serde_json::Error| format!("line {}, column {}", error.line(), error.column());
    let value: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| damaged(place(&error)))?;
    match value.get("version").and_then(serde_json::Value::as_u64) {
        Some(version) if version == u64::from(VERSION) => {}
        Some(version) => {
            return Err(RecordError::Version {
                path: path.to_owned(),
                version,
            });
        }
        None => return Err(damaged("it has no version".to_owned())),
    }
    let record: Record = serde_json::from_slice(&text).map_err(|error| damaged(place(&error)))?;
    match record.flaw() {
        Some(flaw) => Err(damaged(flaw)),
        None => Ok(Some(record)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder of its own, which is removed at the end.
    struct Folder(PathBuf);

    impl Folder {
        fn new() -> Self {
            let folder = std::env::temp_dir().join(format!("record-{}", Uuid::new_v4()));
            fs::create_dir(&folder).unwrap();
            Self(folder)
        }

        fn file(&self) -> PathBuf {
            self.0.join("state.json")
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(&self.0).unwrap();
            entries
                .map(|entry| entry.unwrap().file_name().into_string().unwrap())
                .collect()
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn record() -> Record {
        let url = |text: &str| Url::parse(text).unwrap();
        let mut record = Record::new(
            "t".to_owned(),
            "global".to_owned(),
            url("https://login.microsoftonline.com"),
            url("https://graph.microsoft.com"),
            "demo".to_owned(),
        );
        record.add(object("daemon", "1"));
        record.local = Some(Local {
            out: std::env::temp_dir().join("out"),
            made_out: true,
            credential: CredentialKind::Secret,
            base_urls: vec![url("http://localhost:3000"), url("http://localhost:3001")],
            files: vec![written("daemon.env", true)],
        });
        record
    }

    fn written(name: &str, replaced: bool) -> WrittenFile {
        let name = FileName::of(name).unwrap();
        WrittenFile { name, replaced }
    }

    fn object(key: &str, id: &str) -> Object {
        Object {
            key: key.to_owned(),
            kind: Kind::Application,
            id: id.to_owned(),
            app_id: Some("2".to_owned()),
            parent: None,
            name: "demo-daemon".to_owned(),
        }
    }

    #[test]
    fn what_is_saved_is_read_and_only_its_owner_can_read_it() {
        let folder = Folder::new();
        let (file, none) = StateFile::open(&folder.file()).unwrap();
        assert_eq!(none, None);
        file.save(&record()).unwrap();
        let mut more = record();
        more.finished = true;
        file.save(&more).unwrap();
        assert_eq!(Record::read(&folder.file()).unwrap(), more);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            let mode = fs::metadata(folder.file()).unwrap().permissions().mode();
            assert_eq!(mode & 0o777, 0o600);
        }
        drop(file);
        assert_eq!(
            folder.names(),
            ["state.json"],
            "no temporary file and no lock"
        );
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        file.remove().unwrap();
        assert_eq!(folder.names(), Vec::<String>::new());
        assert!(matches!(
            Record::read(&folder.file()),
            Err(RecordError::Missing(_))
        ));
    }

    #[test]
    fn one_process_at_a_time() {
        let folder = Folder::new();
        let held = StateFile::open(&folder.file()).unwrap();
        assert!(matches!(
            StateFile::open(&folder.file()),
            Err(RecordError::Locked(_))
        ));
        drop(held);
        StateFile::open(&folder.file()).unwrap();
    }

    #[test]
    fn a_failed_write_leaves_the_old_record() {
        let folder = Folder::new();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        // A folder cannot be replaced by a file.
        fs::create_dir(folder.file()).unwrap();
        let error = file.save(&record()).unwrap_err();
        assert!(matches!(error, RecordError::Io { .. }), "{error}");
        drop(file);
        assert_eq!(folder.names(), ["state.json"], "the temporary file is gone");
    }

    #[test]
    fn what_is_no_record_is_refused_and_left_as_it_is() {
        let folder = Folder::new();
        let whole = record();
        let good = serde_json::to_value(&whole).unwrap();
        let changed = |change: &dyn Fn(&mut serde_json::Value)| {
            let mut value = good.clone();
            change(&mut value);
            value.to_string()
        };
        let twice = |value: &mut serde_json::Value| {
            let object = value["objects"][0].clone();
            value["objects"].as_array_mut().unwrap().push(object);
        };
        for text in [
            String::new(),
            "secret-hunter2".to_owned(),
            "[]".to_owned(),
            changed(&|value| value["version"] = 1.into()),
            changed(&|value| value["version"] = 3.into()),
            changed(&|value| value["version"] = "2".into()),
            changed(&|value| value["hunter2"] = 1.into()),
            changed(&|value| value["run"] = "hunter2".into()),
            changed(&|value| value["objects"][0]["id"] = "../hunter2".into()),
            changed(&|value| value["objects"][0]["app_id"] = "".into()),
            changed(&|value| value["objects"][0]["kind"] = "hunter2".into()),
            changed(&|value| {
                value["objects"][0]
                    .as_object_mut()
                    .unwrap()
                    .remove("app_id");
            }),
            // It has no parent.
            changed(&|value| value["objects"][0]["kind"] = "role-assignment".into()),
            changed(&twice),
            changed(&|value| value["tenant"] = "hunter2\u{1b}[2J".into()),
            changed(&|value| value["objects"][0]["name"] = "hunter2\u{1b}[1A".into()),
            changed(&|value| value["objects"][0]["key"] = "hunter2\u{202e}".into()),
            changed(&|value| value["local"]["out"] = "hunter2".into()),
            changed(&|value| value["local"]["out"] = "/hunter2\n".into()),
            changed(&|value| value["local"]["files"][0]["name"] = "../hunter2".into()),
            changed(&|value| value["local"]["files"][0]["name"] = "/hunter2".into()),
            changed(&|value| value["local"]["files"][0]["name"] = "hunter2.env".into()),
            changed(&|value| value["local"]["files"][0]["replaced"] = "/hunter2".into()),
            changed(&|value| value["local"]["files"][0]["path"] = "/hunter2".into()),
            changed(&|value| {
                let file = value["local"]["files"][0].clone();
                value["local"]["files"].as_array_mut().unwrap().push(file);
            }),
            " ".repeat(1024 * 1024 + 1),
        ] {
            fs::write(folder.file(), &text).unwrap();
            let error = StateFile::open(&folder.file()).unwrap_err();
            assert!(
                matches!(
                    error,
                    RecordError::Damaged { .. } | RecordError::Version { .. }
                ),
                "{error}"
            );
            assert!(!error.to_string().contains("hunter2"), "{error}");
            assert_eq!(fs::read_to_string(folder.file()).unwrap(), text);
        }
        fs::write(folder.file(), good.to_string()).unwrap();
        assert_eq!(Record::read(&folder.file()).unwrap(), whole);
        let device = Record::read(Path::new("/dev/zero")).unwrap_err();
        assert!(device.to_string().contains("no regular file"), "{device}");
    }

    #[test]
    fn an_object_stands_once_and_a_file_stays_as_it_came() {
        let mut record = record();
        record.add(object("daemon", "9"));
        assert_eq!(record.objects, [object("daemon", "9")]);
        let local = record.local.as_mut().unwrap();
        local.note(written("daemon.env", false));
        local.note(written("daemon.pem", false));
        assert_eq!(
            local.files,
            [written("daemon.env", true), written("daemon.pem", false)]
        );
        local.note(written("daemon.pem", true));
        assert!(local.files[1].replaced);
        let out = std::env::temp_dir().join("out");
        assert_eq!(
            record.paths(),
            [out.join("daemon.env"), out.join("daemon.pem")]
        );
    }

    #[test]
    fn what_could_not_be_read_again_is_not_written() {
        let folder = Folder::new();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        let mut unfit = record();
        unfit.local.as_mut().unwrap().out = std::env::temp_dir().join("a\u{1b}b");
        let error = file.save(&unfit).unwrap_err();
        assert!(matches!(error, RecordError::Unfit { .. }), "{error}");
        assert!(!folder.file().exists());
        file.save(&record()).unwrap();
    }

    #[test]
    fn what_a_killed_process_has_left_is_in_nobodys_way() {
        let folder = Folder::new();
        fs::write(folder.0.join(".state.json.lock"), "").unwrap();
        fs::write(folder.0.join(".state.json.register-tmp"), "half").unwrap();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        file.save(&record()).unwrap();
        fs::write(folder.0.join(".state.json.register-tmp"), "half").unwrap();
        file.remove().unwrap();
        assert_eq!(folder.names(), Vec::<String>::new());
    }

    #[cfg(unix)]
    #[test]
    fn a_lock_that_its_owner_removed_is_none() {
        let folder = Folder::new();
        let lock = folder.0.join("lock");
        let held = File::create(&lock).unwrap();
        assert!(is_at(&held, &lock));
        fs::remove_file(&lock).unwrap();
        assert!(!is_at(&held, &lock));
        let other = File::create(&lock).unwrap();
        assert!(!is_at(&held, &lock) && is_at(&other, &lock));
    }

    #[cfg(unix)]
    #[test]
    fn a_link_has_no_lock_of_its_own() {
        let folder = Folder::new();
        let (file, _) = StateFile::open(&folder.file()).unwrap();
        file.save(&record()).unwrap();
        drop(file);
        let link = folder.0.join("link.json");
        std::os::unix::fs::symlink(folder.file(), &link).unwrap();
        for error in [
            StateFile::open(&link).unwrap_err(),
            Record::read(&link).unwrap_err(),
        ] {
            assert!(matches!(error, RecordError::Link(_)), "{error}");
        }
        StateFile::open(&folder.file()).unwrap();
    }
}
