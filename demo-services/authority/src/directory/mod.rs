//! Tenants, users, applications and policies: everything the authority knows, as a plain value.

mod certificates;
pub(crate) mod deleted;
mod graph_app;
mod parse;
mod policies;
mod profile;
mod references;
mod registered;
pub(crate) mod registration;
mod validate;

use std::path::Path;

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

pub use parse::DirectoryError;
pub use profile::Profile;
pub(crate) use validate::{is_auth_context, is_loopback};

use crate::version::TokenVersion;
use crate::{form, random};

/// Client id of the Graph-like API, which every directory has.
pub(crate) const GRAPH: Uuid = Uuid::from_u128(0x0000_0003_0000_0000_c000_0000_0000_0000);

/// The tenant's users, applications and Conditional Access policies.
///
/// A plain value: change redirect URIs, users or policies as you like, then give it to
/// [`LocalAuthority::start`](crate::LocalAuthority::start), which checks the whole.
///
/// As a file it is TOML with these keys; every list may be missing, unknown keys are refused.
///
/// ```
/// # use local_authority::Directory;
/// # let directory: Directory = r#"
/// security_defaults = false                   # true: nobody gets tokens with the device code grant, AADSTS530035
/// licence = "premium"                         # default; "free": Graph makes no contexts and no policies
///
/// [tenant]
/// id = "11111111-2222-3333-4444-555555555555"
/// domain = "contoso.example"
///
/// [[users]]
/// username = "alice@contoso.example"
/// password = "alice-in-wonderland"
/// otp = "123456"                              # second factor; may be reused
/// oid = "a11ce000-0000-4000-8000-000000000001" # default: derived from the username
/// display_name = "Alice Liddell"              # + given_name, surname, mail
/// groups = ["staff"]                          # names, for policies
/// roles = ["api://my-api/Admin"]
/// mfa = "registered"                          # or "not_registered" (default): AADSTS50079
/// administrator = false                       # true: may consent to what only an administrator can
/// profile = { job_title = "Analyst" }         # and others, for Graph: `Profile`
///
/// [[apps]]
/// name = "my-api"
/// client_id = "22222222-2222-3333-4444-555555555555"
/// identifier_uris = ["api://my-api"]
/// scopes = ["read"]
/// app_roles = ["Admin", "Run"]
/// optional_claims = ["acrs", "auth_time", "idtyp", "xms_cc"] # and others: `OptionalClaim`
/// access_token_version = 2                    # or 1
///
/// [[apps]]
/// name = "my-client"
/// client_id = "33333333-2222-3333-4444-555555555555"
/// redirect_uris = { web = ["http://localhost:3000/cb"], spa = [], native = [] }
/// secrets = ["correct-horse-battery-staple"]
/// delegated = ["api://my-api/read"]           # or "<client id>/read"
/// public_client = false                       # true: has no secret, and may use the device code grant
/// consent = "granted"                         # or "required": the user is asked, AADSTS65001 until then
/// app_permissions = ["api://my-api/Run"]
/// certificates = []                           # of private_key_jwt: files beside this one, or PEM text
///
/// [[policies]]
/// id = "44444444-2222-3333-4444-555555555555" # default: derived from the name
/// name = "MFA for my API"
/// app = "my-api"                              # or: auth_context = "c1"
/// users = ["staff"]                           # usernames and groups; default "all"
/// require = "mfa"                             # or "block"
/// sign_in_frequency = "1h"                    # optional: s, m, h, d
/// enabled = true
/// # "#.parse()?;
/// # assert_eq!((directory.users.len(), directory.apps.len(), directory.policies.len()), (1, 2, 1));
/// # Ok::<(), local_authority::DirectoryError>(())
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Directory {
    /// What the tenant has paid for.
    #[serde(default)]
    pub licence: Licence,
    /// The one tenant.
    pub tenant: Tenant,
    /// People who can sign in.
    #[serde(default)]
    pub users: Vec<User>,
    /// Registered applications: clients, APIs, or both.
    #[serde(default)]
    pub apps: Vec<App>,
    /// Conditional Access.
    #[serde(default)]
    pub policies: Vec<Policy>,
    /// Whether the tenant has security defaults, as new ones have. Of these there is one rule here: the device code grant is blocked.
    #[serde(default)]
    pub security_defaults: bool,
    /// Authentication contexts that Graph has been told about; not in the file.
    #[serde(skip)]
    pub(crate) auth_contexts: Vec<registration::AuthContext>,
    /// Applications that Graph has deleted and can bring back, the oldest first; not in the file.
    #[serde(skip)]
    pub(crate) deleted_apps: Vec<deleted::DeletedApp>,
}

/// Which edition of Entra ID the tenant has.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Licence {
    /// Neither authentication contexts nor Conditional Access policies can be made through Graph. Policies that are there stay in force.
    Free,
    /// P1 or more.
    #[default]
    Premium,
}

/// Name and id of the tenant; both work in URLs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct Tenant {
    /// Directory (tenant) id.
    pub id: Uuid,
    /// Verified domain, `contoso.example`.
    pub domain: String,
}

/// A person who can sign in.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct User {
    /// Sign-in name, `alice@contoso.example`. Compared without regard to case.
    pub username: String,
    /// Password.
    pub password: SecretString,
    /// Second factor: a fixed code that may be reused.
    #[serde(default)]
    pub otp: Option<SecretString>,
    /// Object id; derived from the username when missing.
    #[serde(default)]
    pub oid: Uuid,
    /// `name` claim.
    pub display_name: String,
    /// First name.
    #[serde(default)]
    pub given_name: Option<String>,
    /// Family name.
    #[serde(default)]
    pub surname: Option<String>,
    /// Mail address.
    #[serde(default)]
    pub mail: Option<String>,
    /// Names of groups, for policies.
    #[serde(default)]
    pub groups: Vec<String>,
    /// App roles as `<identifier URI>/<role>`.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Whether a second factor can be asked for.
    #[serde(default)]
    pub mfa: Mfa,
    /// Whether the user may consent to permissions that only an administrator can consent to.
    #[serde(default)]
    pub administrator: bool,
    /// Telephone numbers and the like, for `/v1.0/me`.
    #[serde(default)]
    pub profile: Profile,
}

/// Whether a user has registered a second factor.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "there is no third state")]
pub enum Mfa {
    /// Has not: MFA fails with AADSTS50079.
    #[default]
    NotRegistered,
    /// Has.
    Registered,
}

/// A registered application: a client, an API, or both.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct App {
    /// Name within the directory.
    pub name: String,
    /// Application (client) id; the audience of tokens for this API.
    pub client_id: Uuid,
    /// Application ID URIs, the prefix of this API's scopes.
    #[serde(default)]
    pub identifier_uris: Vec<String>,
    /// Delegated permissions that this API exposes.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// App roles that this API defines.
    #[serde(default)]
    pub app_roles: Vec<String>,
    /// Where authorization codes may be sent.
    #[serde(default)]
    pub redirect_uris: RedirectUris,
    /// Whether the client keeps no secret also where no redirect URI says so: needed for the device code grant. Entra calls it "Allow
    /// public client flows", Graph `isFallbackPublicClient`.
    #[serde(default)]
    pub public_client: bool,
    /// Client secrets; any of them will do.
    #[serde(default)]
    pub secrets: Vec<SecretString>,
    /// Claims that access tokens **for** this API carry on top of the usual ones.
    #[serde(default)]
    pub optional_claims: Vec<OptionalClaim>,
    /// Delegated permissions of this client, `<identifier URI>/<scope>`.
    #[serde(default)]
    pub delegated: Vec<String>,
    /// Whether the delegated permissions have been consented to.
    #[serde(default)]
    pub consent: Consent,
    /// Application permissions of this client, `<identifier URI>/<role>`.
    #[serde(default)]
    pub app_permissions: Vec<String>,
    /// Version of the access tokens **for** this API: 2 (default) or 1. Entra's manifest calls it `requestedAccessTokenVersion`, and
    /// there the default is 1.
    #[serde(default = "version_2")]
    pub access_token_version: u8,
    /// Client certificates in PEM, one each, with RSA keys of 2048 to 8192 bits; any of them will do. Instead of the text, the file
    /// of a directory may name the file of a certificate, of which [`Directory::load`] takes the text.
    #[serde(default)]
    pub certificates: Vec<String>,
    /// Client ids whose users consent to this API's own delegated permissions as well, when the client asks for `.default` of it.
    #[serde(default)]
    pub known_client_applications: Vec<Uuid>,
    /// Client ids that may use this API's scopes without the user's consent.
    #[serde(default)]
    pub pre_authorized: Vec<Uuid>,
    /// Not in the file.
    #[serde(skip)]
    pub(crate) registration: registration::Registration,
}

fn version_2() -> u8 {
    2
}

/// Redirect URIs by the kind of client that owns them.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
#[non_exhaustive]
pub struct RedirectUris {
    /// Single-page applications: public clients; the code is redeemed cross-origin.
    #[serde(default)]
    pub spa: Vec<String>,
    /// Server-side web applications: confidential clients.
    #[serde(default)]
    pub web: Vec<String>,
    /// Mobile and desktop applications: public clients; the port of a loopback address is free.
    #[serde(default)]
    pub native: Vec<String>,
}

/// A claim that Entra puts into access tokens only if the API's manifest asks for it.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OptionalClaim {
    /// State of the user's account in the tenant: 0, a member.
    Acct,
    /// Authentication contexts that are satisfied.
    Acrs,
    /// When the user signed in.
    AuthTime,
    /// The user's mail address, if the directory has one.
    Email,
    /// The user's family name, if the directory has one; version 1.0 tokens carry it unasked.
    FamilyName,
    /// The user's first name, if the directory has one; version 1.0 tokens carry it unasked.
    GivenName,
    /// `app` in tokens without a user.
    Idtyp,
    /// A text that `/authorize` takes as `login_hint` for this user.
    LoginHint,
    /// The browser session that the user signed in with.
    Sid,
    /// The sign-in name; version 1.0 tokens carry it unasked.
    Upn,
    /// The client's capabilities, if it sent any.
    XmsCc,
}

/// State of the consent to a client's delegated permissions.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[expect(clippy::exhaustive_enums, reason = "there is no third state")]
pub enum Consent {
    /// An administrator consented for everybody.
    #[default]
    Granted,
    /// Each user is asked on a page; until then AADSTS65001.
    Required,
}

/// A Conditional Access policy.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "parse::PolicyText")]
pub struct Policy {
    /// The id that challenges carry.
    pub id: Uuid,
    /// Unique name.
    pub name: String,
    /// What it protects.
    pub target: Target,
    /// Whom it applies to; `None` is everybody, otherwise usernames and groups.
    pub users: Option<Vec<String>>,
    /// What it demands.
    pub require: Require,
    /// How old a sign-in may be, in seconds.
    pub sign_in_frequency: Option<u64>,
    /// Whether it is on.
    pub enabled: bool,
    pub(crate) registration: registration::PolicyRegistration,
}

/// What a policy protects.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Target {
    /// Every token for the API of this name or client id.
    App(String),
    /// The authentication context of this id, `c1` to `c99`.
    AuthContext(String),
}

/// What a policy demands.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Require {
    /// Nothing helps: AADSTS53003.
    Block,
    /// A second factor: AADSTS50076.
    Mfa,
}

impl Tenant {
    /// A tenant of this id and domain.
    #[must_use]
    pub fn new(id: Uuid, domain: impl Into<String>) -> Self {
        Self {
            id,
            domain: domain.into(),
        }
    }
}

impl Directory {
    /// A directory without users, applications and policies.
    #[must_use]
    pub fn new(tenant: Tenant) -> Self {
        Self {
            licence: Licence::Premium,
            tenant,
            users: Vec::new(),
            apps: Vec::new(),
            policies: Vec::new(),
            security_defaults: false,
            auth_contexts: Vec::new(),
            deleted_apps: Vec::new(),
        }
    }

    /// The directory of the demo: users alice, bob and carol, the administrator admin, and the applications `spa-backend`, `msal-spa`,
    /// `middle-tier`, `downstream-api`, `daemon`, `mfa-app` and `Microsoft Graph Command Line Tools`. Their client secrets are made at
    /// random, here; `msal-spa` and the last one, public clients, have none.
    #[must_use]
    #[expect(
        clippy::expect_used,
        reason = "the text is a constant that the tests parse"
    )]
    pub fn demo() -> Self {
        let mut directory: Self = include_str!("../../default-directory.toml")
            .parse()
            .expect("the default directory is valid");
        // Neither a browser nor a command line keeps a secret: what signs in there has none.
        let confidential = |app: &&mut App| app.redirect_uris.spa.is_empty() && !app.public_client;
        for app in directory.apps.iter_mut().filter(confidential) {
            app.secrets = vec![random::secret().into()];
        }
        directory
    }

    /// Reads a directory file, and the files of certificates that it names; their paths are relative to it. Of such a file only the
    /// first certificate is kept.
    ///
    /// # Errors
    ///
    /// When a file cannot be read, or for the reasons of [`str::parse`].
    pub fn load(path: impl AsRef<Path>) -> Result<Self, DirectoryError> {
        let path = path.as_ref();
        let text = std::fs::read_to_string(path)
            .map_err(|source| DirectoryError::unreadable(path, source))?;
        let mut directory = Self::read(&text)?;
        certificates::read(&mut directory, path.parent().unwrap_or(Path::new("")))?;
        directory.validate()?;
        Ok(directory)
    }

    /// The application of this name, client id or identifier URI.
    #[must_use]
    pub fn app(&self, name: &str) -> Option<&App> {
        self.apps.iter().find(|app| app.is(name))
    }

    /// Like [`app`](Self::app), to change it.
    pub fn app_mut(&mut self, name: &str) -> Option<&mut App> {
        self.apps.iter_mut().find(|app| app.is(name))
    }

    /// The user of this username (`alice@contoso.example`, or just `alice`) or object id.
    #[must_use]
    pub fn user(&self, name: &str) -> Option<&User> {
        let full = if name.contains('@') {
            name.to_owned()
        } else {
            format!("{name}@{}", self.tenant.domain)
        };
        let oid = Uuid::parse_str(name).ok();
        self.users
            .iter()
            .find(|user| user.username.eq_ignore_ascii_case(&full) || Some(user.oid) == oid)
    }

    /// Like [`user`](Self::user), to change it.
    pub fn user_mut(&mut self, name: &str) -> Option<&mut User> {
        let oid = self.user(name)?.oid;
        self.users.iter_mut().find(|user| user.oid == oid)
    }

    /// The policy of this name or id.
    #[must_use]
    pub fn policy(&self, name: &str) -> Option<&Policy> {
        self.policies.iter().find(|policy| policy.is(name))
    }

    /// Like [`policy`](Self::policy), to change it.
    pub fn policy_mut(&mut self, name: &str) -> Option<&mut Policy> {
        self.policies.iter_mut().find(|policy| policy.is(name))
    }
}

impl App {
    /// An application with nothing but a name and an id.
    #[must_use]
    pub fn new(name: impl Into<String>, client_id: Uuid) -> Self {
        Self {
            name: name.into(),
            client_id,
            identifier_uris: Vec::new(),
            scopes: Vec::new(),
            app_roles: Vec::new(),
            redirect_uris: RedirectUris::default(),
            public_client: false,
            secrets: Vec::new(),
            optional_claims: Vec::new(),
            delegated: Vec::new(),
            consent: Consent::Granted,
            app_permissions: Vec::new(),
            access_token_version: version_2(),
            certificates: Vec::new(),
            known_client_applications: Vec::new(),
            pre_authorized: Vec::new(),
            registration: registration::Registration::default(),
        }
    }

    /// The first client secret.
    #[must_use]
    pub fn secret(&self) -> Option<&str> {
        self.secrets.first().map(ExposeSecret::expose_secret)
    }

    /// The part of `permission` after one of this API's names: `user_impersonation` of `api://x/user_impersonation`.
    pub(crate) fn permission<'a>(&self, permission: &'a str) -> Option<&'a str> {
        let (resource, name) = permission.rsplit_once('/')?;
        self.is_resource(resource).then_some(name)
    }

    /// Version of the access tokens for this API.
    pub(crate) fn token_version(&self) -> TokenVersion {
        match self.access_token_version {
            1 => TokenVersion::V1,
            _ => TokenVersion::V2,
        }
    }

    /// The `aud` of a version 1.0 token: the application ID URI, if it was asked for by that, or else the client id.
    pub(crate) fn audience(&self, asked: &str) -> String {
        let uri = self.identifier_uris.iter().find(|uri| *uri == asked);
        uri.cloned().unwrap_or_else(|| self.client_id.to_string())
    }

    pub(crate) fn has_optional_claim(&self, claim: OptionalClaim) -> bool {
        self.optional_claims.contains(&claim)
    }

    fn is_resource(&self, name: &str) -> bool {
        self.identifier_uris.iter().any(|uri| uri == name)
            || form::guid(name) == Some(self.client_id)
    }

    pub(crate) fn is(&self, name: &str) -> bool {
        self.name == name || self.is_resource(name)
    }
}

impl User {
    /// A user with nothing but a name and a password, and an object id that follows from the name.
    #[must_use]
    pub fn new(
        username: impl Into<String>,
        password: impl Into<SecretString>,
        display_name: impl Into<String>,
    ) -> Self {
        let username = username.into();
        Self {
            oid: random::derived_guid("user", &username.to_ascii_lowercase()),
            username,
            password: password.into(),
            otp: None,
            display_name: display_name.into(),
            given_name: None,
            surname: None,
            mail: None,
            groups: Vec::new(),
            roles: Vec::new(),
            mfa: Mfa::NotRegistered,
            administrator: false,
            profile: Profile::default(),
        }
    }

    /// The password.
    #[must_use]
    pub fn password(&self) -> &str {
        self.password.expose_secret()
    }

    /// The second factor.
    #[must_use]
    pub fn otp(&self) -> Option<&str> {
        self.otp.as_ref().map(ExposeSecret::expose_secret)
    }

    /// Whether MFA can succeed.
    pub(crate) fn can_mfa(&self) -> bool {
        self.mfa == Mfa::Registered && self.otp.is_some()
    }
}

impl Policy {
    /// Whether the policy is on and concerns `user`.
    pub(crate) fn applies_to(&self, user: &User) -> bool {
        self.enabled
            && self.users.as_ref().is_none_or(|users| user.is_in(users))
            && !user.is_in(&self.registration.excluded)
    }

    fn is(&self, name: &str) -> bool {
        self.name == name || Uuid::parse_str(name).is_ok_and(|id| id == self.id)
    }
}
