//! What was asked for on the command line, and whether Entra could take it.

use std::path::PathBuf;

use url::{Host, Url};

pub use crate::tenant::record::CredentialKind;
use crate::tenant::record::Record;

/// What the display names begin with when nothing else is said.
pub const DEFAULT_PREFIX: &str = "tower-bearer-demo";
const MAX_PREFIX: usize = 60;
/// Users, and groups, of a policy.
const MAX_PEOPLE: usize = 100;

/// What was asked for on the command line.
#[derive(Clone, Debug)]
pub struct Choices {
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
    /// Where browsers see the SPA backend.
    pub base_url: Url,
    /// User principal names or object ids of those who must pass MFA.
    pub mfa_users: Vec<String>,
    /// Object ids of groups of the same.
    pub mfa_groups: Vec<String>,
    /// Whether the policies are enforced, not only reported.
    pub enforce: bool,
    /// How the confidential clients prove who they are.
    pub credential: CredentialKind,
    /// Where the configuration is written.
    pub out: PathBuf,
}

/// A choice that cannot be.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ChoiceError {
    /// Not a name for the tenant's objects.
    #[error(
        "--prefix must be 1 to {MAX_PREFIX} of a-z, A-Z, 0-9, '-', '_', '.' and begin with a letter or digit"
    )]
    Prefix,
    /// Entra would not take the redirect URIs.
    #[error("--base-url must be https://..., or http://localhost..., without path, query and user")]
    BaseUrl,
    /// Too many of them.
    #[error("--mfa-user and --mfa-group can be given {MAX_PEOPLE} times each; make a group")]
    People,
}

impl Choices {
    /// Whether anybody is named for the policies.
    #[must_use]
    pub fn names_people(&self) -> bool {
        !self.mfa_users.is_empty() || !self.mfa_groups.is_empty()
    }

    /// Whether Entra could take them.
    ///
    /// # Errors
    ///
    /// One of them cannot be.
    pub fn check(&self) -> Result<(), ChoiceError> {
        let letters = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        let good = (1..=MAX_PREFIX).contains(&self.prefix.len())
            && self.prefix.bytes().all(letters)
            && self
                .prefix
                .starts_with(|first: char| first.is_ascii_alphanumeric());
        if !good {
            return Err(ChoiceError::Prefix);
        }
        let url = &self.base_url;
        let local = matches!(url.host(), Some(Host::Domain("localhost")))
            || matches!(url.host(), Some(Host::Ipv4(ip)) if ip.is_loopback());
        let secure = url.scheme() == "https" || (url.scheme() == "http" && local);
        let bare = url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none()
            && url.username().is_empty()
            && url.password().is_none();
        if !secure || !bare {
            return Err(ChoiceError::BaseUrl);
        }
        if self.mfa_users.len() > MAX_PEOPLE || self.mfa_groups.len() > MAX_PEOPLE {
            return Err(ChoiceError::People);
        }
        Ok(())
    }

    /// An empty record for them.
    #[must_use]
    pub fn record(&self) -> Record {
        Record::new(
            self.tenant.clone(),
            self.cloud.clone(),
            self.authority.clone(),
            self.graph.clone(),
            self.prefix.clone(),
        )
    }
}
