//! What `register` has created, in a file: the only thing that `unregister` goes by.

mod state_file;

use std::{
    fmt, io,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use url::Url;
use uuid::Uuid;

pub use state_file::StateFile;

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
        state_file::read(path)?.ok_or_else(|| RecordError::Missing(path.to_owned()))
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

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn record() -> Record {
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
}
