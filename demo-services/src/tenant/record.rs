//! What `register` has created, in a file: the only thing that `unregister` goes by.

use std::{
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};
use url::Url;
use uuid::Uuid;

/// Where the record is when nothing else is said, in the current directory.
pub const DEFAULT_FILE: &str = "tower-bearer-tenant.json";
/// The only version there is.
const VERSION: u32 = 1;
/// Octets of a record; a whole one has about 10 KiB.
const MAX_FILE: u64 = 1024 * 1024;
/// Objects, and files, of a record.
const MAX_ENTRIES: usize = 500;
/// Longest id. Those of permission grants have 43 characters.
const MAX_ID: usize = 200;

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
    /// Files that were written, with those that they replaced.
    pub files: Vec<WrittenFile>,
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

/// A file that was written.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
#[serde(deny_unknown_fields)]
pub struct WrittenFile {
    /// Where it is.
    pub path: PathBuf,
    /// Where the file is that was there before, if one was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaced: Option<PathBuf>,
}

/// The file of a record, which this process alone may write while this value is there.
#[derive(Debug)]
pub struct StateFile {
    path: PathBuf,
    lock: PathBuf,
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
    #[error("{} is a record of version {version}, which this program does not know; use the program that wrote it", path.display())]
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
            files: Vec::new(),
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

    /// Adds files. One that is already there stays as it was recorded first: only then was it somebody else's file that was replaced.
    pub fn add_files(&mut self, files: impl IntoIterator<Item = WrittenFile>) {
        for file in files {
            if !self.files.iter().any(|known| known.path == file.path) {
                self.files.push(file);
            }
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
        if self.objects.len() > MAX_ENTRIES || self.files.len() > MAX_ENTRIES {
            return Some("too many entries".to_owned());
        }
        if Uuid::try_parse(&self.run).is_err() {
            return Some("run is no GUID".to_owned());
        }
        for (index, object) in self.objects.iter().enumerate() {
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
        None
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
        let lock = beside(path, "lock");
        let locked = take(path, &lock)?;
        let file = Self {
            path: path.to_owned(),
            lock,
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

    /// Replaces the file as a whole: after a crash there is either the old record or the new one.
    ///
    /// # Errors
    ///
    /// The file system refuses; the old record is still there.
    pub fn save(&self, record: &Record) -> Result<(), RecordError> {
        let written = || -> io::Result<()> {
            let mut text = serde_json::to_vec_pretty(record)?;
            text.push(b'\n');
            write_atomically(&self.path, &text)
        };
        written().map_err(|source| self.io("written", source))
    }

    /// Removes the file: nothing is registered any more.
    ///
    /// # Errors
    ///
    /// The file system refuses.
    pub fn remove(self) -> Result<(), RecordError> {
        match fs::remove_file(&self.path) {
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

/// Writes a file that only its owner can read: beside its place, to the disk, and into its place.
///
/// # Errors
///
/// The file system refuses; what was in the place is still there.
pub fn write_atomically(path: &Path, contents: &[u8]) -> io::Result<()> {
    let temporary = beside(path, &format!("{}.tmp", Uuid::new_v4().simple()));
    let written = (|| {
        let mut file = private(OpenOptions::new().write(true).create_new(true)).open(&temporary)?;
        file.write_all(contents)?;
        file.sync_all()?;
        fs::rename(&temporary, path)
    })();
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    written?;
    // The rename itself is on the disk with the folder; where a folder cannot be opened it is the system's own matter.
    if let Ok(folder) = File::open(folder(path)) {
        let _ = folder.sync_all();
    }
    Ok(())
}

fn private(options: &mut OpenOptions) -> &mut OpenOptions {
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(options, 0o600);
    options
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

/// A hidden file in the same folder.
fn beside(path: &Path, ending: &str) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{ending}"))
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
    match (file.metadata(), fs::metadata(path)) {
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
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        action: "read",
        source,
    };
    let damaged = |reason: String| RecordError::Damaged {
        path: path.to_owned(),
        reason,
    };
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    let mut text = Vec::new();
    file.take(MAX_FILE + 1).read_to_end(&mut text).map_err(io)?;
    if text.len() as u64 > MAX_FILE {
        return Err(damaged("it is too large".to_owned()));
    }
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
        record.add_files([WrittenFile {
            path: "a.toml".into(),
            replaced: Some("b".into()),
        }]);
        record
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
            changed(&|value| value["version"] = 2.into()),
            changed(&|value| value["version"] = "1".into()),
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
    }

    #[test]
    fn an_object_stands_once_and_a_file_stays_as_it_came() {
        let mut record = record();
        record.add(object("daemon", "9"));
        assert_eq!(record.objects, [object("daemon", "9")]);
        record.add_files([
            WrittenFile {
                path: "a.toml".into(),
                replaced: None,
            },
            WrittenFile {
                path: "c.toml".into(),
                replaced: None,
            },
        ]);
        assert_eq!(record.files.len(), 2);
        assert_eq!(record.files[0].replaced, Some("b".into()));
    }
}
