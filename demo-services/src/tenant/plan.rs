//! What `register` creates in a tenant, as an ordered list of steps. Pure: nothing is asked and nothing is sent here.

use std::{collections::BTreeMap, fmt, path::PathBuf};

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use http::Method;
use serde_json::{Map, Value, json};
use url::{Host, Url};
use uuid::{Builder, Uuid};

use super::record::{Kind, Object, Record};

/// What the display names begin with when nothing else is said.
pub const DEFAULT_PREFIX: &str = "tower-bearer-demo";
/// Client id of Microsoft Graph, in every cloud (`permissions-reference`).
pub const GRAPH: &str = "00000003-0000-0000-c000-000000000000";
/// The authentication context of `GET /secure`.
pub const CONTEXT: &str = "c1";
const CONTEXT_NAME: &str = "tower-bearer demo step-up";
/// What stands for Graph where a key of an application is expected.
const GRAPH_KEY: &str = "graph";
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

/// How a confidential client proves who it is.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum CredentialKind {
    /// A certificate that is made on this machine; its key does not leave it.
    #[default]
    Certificate,
    /// A password that Graph makes.
    Secret,
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

/// The steps of a run, in their order.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What is to be created.
    pub steps: Vec<Step>,
    /// What is not, and why.
    pub left_out: Vec<LeftOut>,
}

/// Something that is not created.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LeftOut {
    /// What.
    pub what: String,
    /// Why, and how to have it.
    pub why: String,
}

/// One object to create, or one thing to set.
#[derive(Clone, Debug)]
pub struct Step {
    /// As in [`Object::key`].
    pub key: String,
    /// Its display name, or words for it.
    pub name: String,
    /// What is done.
    pub action: Action,
    context: Context,
}

/// What a step does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Creates an application: what it is and what it offers.
    Application,
    /// Sets what refers to other applications, or to the address of this one: identifier and redirect URIs, permissions, known clients.
    Settings,
    /// Creates its service principal.
    Principal,
    /// Makes the signed-in user an owner.
    Owner,
    /// Adds a certificate.
    Certificate,
    /// Adds a password.
    Secret,
    /// Consents to delegated permissions for all users.
    Grant(Edge),
    /// Assigns an application permission.
    Role(Edge),
    /// Creates the authentication context.
    AuthenticationContext,
    /// Creates a Conditional Access policy.
    Policy(Target),
}

/// Permissions of a client at a resource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Edge {
    /// Key of the client.
    pub client: &'static str,
    /// Key of the resource, or `graph`.
    pub resource: &'static str,
    /// Values of scopes, or of one app role.
    pub permissions: &'static [&'static str],
}

/// What a policy is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// The application with this key.
    App(&'static str),
    /// The authentication context.
    AuthenticationContext,
}

/// What is known of the tenant besides the record.
#[derive(Clone, Debug, Default)]
pub struct Ids {
    /// Object id of the signed-in user; none for a client without a user.
    pub user: Option<String>,
    /// Object id of Graph's service principal.
    pub graph_principal: Option<String>,
    /// Object ids of the users that must pass MFA.
    pub mfa_users: Vec<String>,
    /// Object ids of the groups of the same.
    pub mfa_groups: Vec<String>,
    /// Certificates by the key of their application.
    pub certificates: BTreeMap<String, Certificate>,
}

/// A certificate as Graph wants it.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// DER.
    pub der: Vec<u8>,
    /// Begin of its validity (RFC 3339).
    pub start: String,
    /// Its end.
    pub end: String,
}

/// What is sent to Graph.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// HTTP method.
    pub method: Method,
    /// Below `/v1.0/`.
    pub path: String,
    /// JSON.
    pub body: Value,
}

/// Something that an earlier step should have made.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0} is not known yet")]
pub struct Missing(pub String);

/// What every step of a plan goes by.
#[derive(Clone, Debug)]
struct Context {
    prefix: String,
    base_url: String,
    run: String,
    enforce: bool,
}

/// What an application is, before it has an id.
struct App {
    key: &'static str,
    scopes: &'static [Permission],
    roles: &'static [Permission],
    optional_claims: &'static [&'static str],
    /// Paths below the base URL.
    web: &'static [&'static str],
    spa: &'static [&'static str],
    known_clients: &'static [&'static str],
    pre_authorized: &'static [&'static str],
    credential: bool,
}

/// A scope or an app role.
struct Permission {
    value: &'static str,
    name: &'static str,
    description: &'static str,
}

const NO_APP: App = App {
    key: "",
    scopes: &[],
    roles: &[],
    optional_claims: &[],
    web: &[],
    spa: &[],
    known_clients: &[],
    pre_authorized: &[],
    credential: false,
};

const CLAIMS: &[&str] = &["xms_cc", "acrs", "idtyp"];

const APPS: &[App] = &[
    App {
        key: "downstream-api",
        scopes: &[Permission {
            value: "user_impersonation",
            name: "Call the downstream API",
            description: "Call the downstream API of the tower-bearer demo as the signed-in user.",
        }],
        roles: &[Permission {
            value: "Task.Run",
            name: "Run tasks",
            description: "Run tasks at the downstream API of the tower-bearer demo without a user.",
        }],
        optional_claims: CLAIMS,
        ..NO_APP
    },
    App {
        key: "mfa-app",
        scopes: &[Permission {
            value: "User.MFA",
            name: "Pass the gate of the profile",
            description: "Edit the own profile in the tower-bearer demo, after multifactor authentication.",
        }],
        roles: &[Permission {
            value: "User.MFA",
            name: "Pass the gate of the profile without a user",
            description: "The same permission of the tower-bearer demo for applications.",
        }],
        ..NO_APP
    },
    App {
        key: "middle-tier",
        scopes: &[Permission {
            value: "user_impersonation",
            name: "Call the middle tier",
            description: "Call the middle tier of the tower-bearer demo as the signed-in user.",
        }],
        optional_claims: CLAIMS,
        known_clients: &["spa-backend", "msal-spa"],
        pre_authorized: &["spa-backend"],
        credential: true,
        ..NO_APP
    },
    App {
        key: "spa-backend",
        web: &["/auth/callback", "/"],
        credential: true,
        ..NO_APP
    },
    App {
        key: "msal-spa",
        spa: &["/msal", "/msal/redirect"],
        ..NO_APP
    },
    App {
        key: "daemon",
        credential: true,
        ..NO_APP
    },
];

/// Delegated permissions. What every sign-in asks for is among them: else each user would be asked for consent to that.
const DELEGATED: &[Edge] = &[
    Edge {
        client: "middle-tier",
        resource: "downstream-api",
        permissions: &["user_impersonation"],
    },
    Edge {
        client: "middle-tier",
        resource: "mfa-app",
        permissions: &["User.MFA"],
    },
    Edge {
        client: "middle-tier",
        resource: GRAPH_KEY,
        permissions: &["User.Read", "User.ReadWrite"],
    },
    Edge {
        client: "spa-backend",
        resource: "middle-tier",
        permissions: &["user_impersonation"],
    },
    Edge {
        client: "spa-backend",
        resource: GRAPH_KEY,
        permissions: &["openid", "profile", "offline_access"],
    },
    Edge {
        client: "msal-spa",
        resource: "middle-tier",
        permissions: &["user_impersonation"],
    },
    Edge {
        client: "msal-spa",
        resource: GRAPH_KEY,
        permissions: &["openid", "profile", "offline_access"],
    },
];

/// Application permissions.
const ASSIGNED: &[Edge] = &[Edge {
    client: "daemon",
    resource: "downstream-api",
    permissions: &["Task.Run"],
}];

/// Ids of Graph's delegated permissions, the same in every tenant (`permissions-reference`).
const GRAPH_SCOPES: &[(&str, &str)] = &[
    ("openid", "37f7f235-527c-4136-accd-4a02d197296e"),
    ("profile", "14dad69e-099b-42c9-810b-d002981feec1"),
    ("offline_access", "7427e0e9-2fba-42fe-b0c0-848c9e6a8182"),
    ("User.Read", "e1fe6dd8-ba31-4d61-89e7-88639da4683d"),
    ("User.ReadWrite", "b4e74841-8e56-480b-be8b-910348b18b4c"),
];

impl Choices {
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

impl Plan {
    /// All steps for these choices; `record` gives the run its identity.
    #[must_use]
    pub fn new(choices: &Choices, record: &Record) -> Self {
        let context = Context {
            prefix: record.prefix.clone(),
            base_url: choices.base_url.as_str().trim_end_matches('/').to_owned(),
            run: record.run.clone(),
            enforce: choices.enforce,
        };
        let step = |key: &str, name: String, action: Action| Step {
            key: key.to_owned(),
            name,
            action,
            context: context.clone(),
        };
        let each = |action: Action, of: fn(&App) -> bool| {
            let apps = APPS.iter().filter(move |app| of(app));
            apps.map(|app| step(app.key, context.app(app.key), action.clone()))
                .collect::<Vec<_>>()
        };
        let credential = match choices.credential {
            CredentialKind::Certificate => Action::Certificate,
            CredentialKind::Secret => Action::Secret,
        };
        let between = |edge: &Edge| {
            let key = format!("{}>{}", edge.client, edge.resource);
            let name = format!(
                "{} -> {}: {}",
                edge.client,
                edge.resource,
                edge.permissions.join(" ")
            );
            (key, name)
        };
        let mut steps = each(Action::Application, |_| true);
        steps.extend(each(Action::Settings, |_| true));
        steps.extend(each(Action::Principal, |_| true));
        steps.extend(each(Action::Owner, |_| true));
        steps.extend(each(credential, |app| app.credential));
        for edge in DELEGATED {
            let (key, name) = between(edge);
            steps.push(step(&key, name, Action::Grant(*edge)));
        }
        for edge in ASSIGNED {
            let (key, name) = between(edge);
            steps.push(step(&key, name, Action::Role(*edge)));
        }
        steps.push(step(
            CONTEXT,
            CONTEXT_NAME.to_owned(),
            Action::AuthenticationContext,
        ));
        let mut left_out = Vec::new();
        for (target, key) in [
            (Target::App("downstream-api"), "downstream-api"),
            (Target::App("mfa-app"), "mfa-app"),
            (Target::AuthenticationContext, CONTEXT),
        ] {
            if choices.mfa_users.is_empty() && choices.mfa_groups.is_empty() {
                left_out.push(LeftOut {
                    what: format!("policy: require MFA for {key}"),
                    why: "no user and no group was named, and all users are never taken by default: --mfa-user or --mfa-group".to_owned(),
                });
            } else {
                let name = context.policy(key);
                steps.push(step(key, name, Action::Policy(target)));
            }
        }
        Self { steps, left_out }
    }

    /// One line for each step and for what is left out, as `--dry-run` shows them.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let steps = self.steps.iter().map(ToString::to_string);
        let left_out = self
            .left_out
            .iter()
            .map(|left| format!("not: {} ({})", left.what, left.why));
        steps.chain(left_out).collect()
    }

    /// Permissions of Graph that the steps take, delegated or application ones alike.
    #[must_use]
    pub fn permissions(&self) -> Vec<&'static str> {
        PERMISSIONS.to_vec()
    }
}

/// Permissions of Graph that registering takes, delegated or application ones alike; unregistering takes no other.
pub const PERMISSIONS: &[&str] = &[
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
    "User.Read.All",
    "Group.Read.All",
];

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = &self.name;
        match &self.action {
            Action::Application => write!(f, "application {name}"),
            Action::Settings => write!(f, "settings of {name}"),
            Action::Principal => write!(f, "service principal {name}"),
            Action::Owner => write!(f, "owner of {name}"),
            Action::Certificate => write!(f, "certificate of {name}"),
            Action::Secret => write!(f, "secret of {name}"),
            Action::Grant(_) => write!(f, "consent {name}"),
            Action::Role(_) => write!(f, "role assignment {name}"),
            Action::AuthenticationContext => {
                write!(f, "authentication context {} \"{name}\"", self.key)
            }
            Action::Policy(_) => {
                let state = if self.context.enforce {
                    "enforced"
                } else {
                    "report-only"
                };
                write!(f, "policy {name} ({state})")
            }
        }
    }
}

impl Step {
    /// What it leaves in the record; settings and owners are parts of an application.
    #[must_use]
    pub fn kind(&self) -> Option<Kind> {
        match self.action {
            Action::Application => Some(Kind::Application),
            Action::Settings | Action::Owner => None,
            Action::Principal => Some(Kind::ServicePrincipal),
            Action::Certificate => Some(Kind::Certificate),
            Action::Secret => Some(Kind::Secret),
            Action::Grant(_) => Some(Kind::Grant),
            Action::Role(_) => Some(Kind::RoleAssignment),
            Action::AuthenticationContext => Some(Kind::AuthenticationContext),
            Action::Policy(_) => Some(Kind::Policy),
        }
    }

    /// The request that creates or sets it.
    ///
    /// # Errors
    ///
    /// An earlier step has not left what this one needs.
    pub fn request(&self, known: &Record, ids: &Ids) -> Result<Request, Missing> {
        let app = || object(known, Kind::Application, &self.key).map(|app| app.id.clone());
        let (method, path) = match &self.action {
            Action::Application => (Method::POST, "applications".to_owned()),
            Action::Settings | Action::Certificate => {
                (Method::PATCH, format!("applications/{}", app()?))
            }
            Action::Principal => (Method::POST, "servicePrincipals".to_owned()),
            Action::Owner => (Method::POST, format!("applications/{}/owners/$ref", app()?)),
            Action::Secret => (Method::POST, format!("applications/{}/addPassword", app()?)),
            Action::Grant(_) => (Method::POST, "oauth2PermissionGrants".to_owned()),
            Action::Role(edge) => {
                let resource = principal(known, ids, edge.resource)?;
                (
                    Method::POST,
                    format!("servicePrincipals/{resource}/appRoleAssignedTo"),
                )
            }
            // In v1.0 this creates it if its id is not in use; only the beta version has POST.
            Action::AuthenticationContext => (
                Method::PATCH,
                format!(
                    "identity/conditionalAccess/authenticationContextClassReferences/{}",
                    self.key
                ),
            ),
            Action::Policy(_) => (
                Method::POST,
                "identity/conditionalAccess/policies".to_owned(),
            ),
        };
        let body = self.body(known, ids)?;
        Ok(Request { method, path, body })
    }

    /// The body of that request.
    ///
    /// # Errors
    ///
    /// An earlier step has not left what this one needs.
    pub fn body(&self, known: &Record, ids: &Ids) -> Result<Value, Missing> {
        let spec = || {
            APPS.iter()
                .find(|app| app.key == self.key)
                .ok_or_else(|| Missing(self.key.clone()))
        };
        match &self.action {
            Action::Application => Ok(self.context.application(spec()?)),
            Action::Settings => self.context.settings(spec()?, known),
            Action::Principal => {
                let app_id = app_id(known, &self.key)?;
                // The second tag is what makes the portal list it under enterprise applications.
                Ok(
                    json!({ "appId": app_id, "tags": [self.context.tag(), "WindowsAzureActiveDirectoryIntegratedApp"] }),
                )
            }
            Action::Owner => {
                let user = ids
                    .user
                    .as_ref()
                    .ok_or_else(|| Missing("the signed-in user".to_owned()))?;
                let base = known.graph.as_str().trim_end_matches('/');
                Ok(json!({ "@odata.id": format!("{base}/v1.0/directoryObjects/{user}") }))
            }
            Action::Certificate => {
                let certificate = ids.certificates.get(&self.key);
                let certificate = certificate
                    .ok_or_else(|| Missing(format!("the certificate of {}", self.key)))?;
                Ok(json!({ "keyCredentials": [self.context.key(&self.key, certificate)] }))
            }
            Action::Secret => {
                Ok(json!({ "passwordCredential": { "displayName": self.context.credential() } }))
            }
            Action::Grant(edge) => Ok(json!({
                "clientId": principal(known, ids, edge.client)?,
                "consentType": "AllPrincipals",
                "resourceId": principal(known, ids, edge.resource)?,
                "scope": edge.permissions.join(" "),
            })),
            Action::Role(edge) => {
                let role = edge.permissions.first().copied().unwrap_or_default();
                Ok(json!({
                    "principalId": principal(known, ids, edge.client)?,
                    "resourceId": principal(known, ids, edge.resource)?,
                    "appRoleId": self.context.id("role", edge.resource, role),
                }))
            }
            Action::AuthenticationContext => Ok(json!({
                "displayName": self.name,
                "description": format!("Asked for by GET /secure of the tower-bearer demo ({})", self.context.tag()),
                "isAvailable": true,
            })),
            Action::Policy(target) => self.policy(*target, known, ids),
        }
    }

    /// The display name of the credentials of this run.
    #[must_use]
    pub fn credential_name(&self) -> String {
        self.context.credential()
    }

    /// The `keyId` of this certificate: another for another certificate.
    #[must_use]
    pub fn key_id(&self, certificate: &Certificate) -> Uuid {
        self.context.key_id(&self.key, certificate)
    }

    /// The tag that tells the objects of this run from others.
    #[must_use]
    pub fn tag(&self) -> String {
        self.context.tag()
    }

    /// Whether a policy is to be enforced.
    #[must_use]
    pub fn enforced(&self) -> bool {
        self.context.enforce
    }

    fn policy(&self, target: Target, known: &Record, ids: &Ids) -> Result<Value, Missing> {
        let applications = match target {
            Target::App(key) => json!({ "includeApplications": [app_id(known, key)?] }),
            Target::AuthenticationContext => {
                json!({ "includeAuthenticationContextClassReferences": [CONTEXT] })
            }
        };
        let mut users = Map::new();
        for (name, list) in [
            ("includeUsers", &ids.mfa_users),
            ("includeGroups", &ids.mfa_groups),
        ] {
            if !list.is_empty() {
                users.insert(name.to_owned(), json!(list));
            }
        }
        if users.is_empty() {
            return Err(Missing("the users who must pass MFA".to_owned()));
        }
        let state = if self.context.enforce {
            "enabled"
        } else {
            "enabledForReportingButNotEnforced"
        };
        Ok(json!({
            "displayName": self.name,
            "state": state,
            "conditions": {
                "applications": applications,
                "clientAppTypes": ["all"],
                "users": users,
            },
            "grantControls": { "operator": "OR", "builtInControls": ["mfa"] },
        }))
    }
}

impl Context {
    fn app(&self, key: &str) -> String {
        format!("{}-{key}", self.prefix)
    }

    /// A policy has no tags: the run stands in its name.
    fn policy(&self, key: &str) -> String {
        format!("{}-{key}: require MFA ({})", self.prefix, self.short())
    }

    fn tag(&self) -> String {
        format!("tower-bearer:{}", self.run)
    }

    fn short(&self) -> &str {
        self.run.split('-').next().unwrap_or_default()
    }

    fn credential(&self) -> String {
        format!("tower-bearer {}", self.short())
    }

    /// The same at every run with this record, so that a request that is repeated is the same request.
    fn id(&self, kind: &str, key: &str, value: &str) -> Uuid {
        derived(
            &self.run,
            &[kind.as_bytes(), key.as_bytes(), value.as_bytes()],
        )
    }

    fn key_id(&self, key: &str, certificate: &Certificate) -> Uuid {
        derived(
            &self.run,
            &[b"certificate", key.as_bytes(), &certificate.der],
        )
    }

    fn key(&self, key: &str, certificate: &Certificate) -> Value {
        json!({
            "type": "AsymmetricX509Cert",
            "usage": "Verify",
            "keyId": self.key_id(key, certificate),
            "displayName": self.credential(),
            "key": STANDARD.encode(&certificate.der),
            "startDateTime": certificate.start,
            "endDateTime": certificate.end,
        })
    }

    fn application(&self, app: &App) -> Value {
        let mut body = json!({
            "displayName": self.app(app.key),
            "signInAudience": "AzureADMyOrg",
            "tags": [self.tag()],
        });
        let mut add = |name: &str, value: Value| {
            body.as_object_mut()
                .map(|body| body.insert(name.to_owned(), value))
        };
        if !app.scopes.is_empty() {
            let scopes: Vec<Value> = app
                .scopes
                .iter()
                .map(|scope| {
                    json!({
                        "id": self.id("scope", app.key, scope.value),
                        "value": scope.value,
                        "type": "User",
                        "isEnabled": true,
                        "adminConsentDisplayName": scope.name,
                        "adminConsentDescription": scope.description,
                        "userConsentDisplayName": scope.name,
                        "userConsentDescription": scope.description,
                    })
                })
                .collect();
            add(
                "api",
                json!({ "requestedAccessTokenVersion": 2, "oauth2PermissionScopes": scopes }),
            );
        }
        if !app.roles.is_empty() {
            let roles: Vec<Value> = app
                .roles
                .iter()
                .map(|role| {
                    json!({
                        "id": self.id("role", app.key, role.value),
                        "value": role.value,
                        "allowedMemberTypes": ["Application"],
                        "displayName": role.name,
                        "description": role.description,
                        "isEnabled": true,
                    })
                })
                .collect();
            add("appRoles", roles.into());
        }
        if !app.optional_claims.is_empty() {
            let claims: Vec<Value> = app
                .optional_claims
                .iter()
                .map(|name| json!({ "name": name, "essential": false, "additionalProperties": [] }))
                .collect();
            add("optionalClaims", json!({ "accessToken": claims }));
        }
        body
    }

    fn settings(&self, app: &App, known: &Record) -> Result<Value, Missing> {
        let mut body = Map::new();
        let app_ids = |keys: &[&str]| {
            keys.iter()
                .map(|key| app_id(known, key))
                .collect::<Result<Vec<_>, _>>()
        };
        if !app.scopes.is_empty() {
            let uri = format!("api://{}", app_id(known, app.key)?);
            body.insert("identifierUris".to_owned(), json!([uri]));
        }
        let redirects = |paths: &[&str]| {
            let uris: Vec<String> = paths
                .iter()
                .map(|path| format!("{}{path}", self.base_url))
                .collect();
            json!({ "redirectUris": uris })
        };
        for (name, paths) in [("web", app.web), ("spa", app.spa)] {
            if !paths.is_empty() {
                body.insert(name.to_owned(), redirects(paths));
            }
        }
        let mut required = Vec::new();
        for (edges, kind) in [(DELEGATED, "Scope"), (ASSIGNED, "Role")] {
            for edge in edges.iter().filter(|edge| edge.client == app.key) {
                required.push(self.required(edge, kind, known)?);
            }
        }
        if !required.is_empty() {
            body.insert("requiredResourceAccess".to_owned(), required.into());
        }
        let mut api = Map::new();
        if !app.known_clients.is_empty() {
            api.insert(
                "knownClientApplications".to_owned(),
                json!(app_ids(app.known_clients)?),
            );
        }
        if !app.pre_authorized.is_empty() {
            let scopes: Vec<Uuid> = app
                .scopes
                .iter()
                .map(|scope| self.id("scope", app.key, scope.value))
                .collect();
            let clients = app_ids(app.pre_authorized)?.into_iter();
            let clients: Vec<Value> = clients
                .map(|id| json!({ "appId": id, "delegatedPermissionIds": scopes }))
                .collect();
            api.insert("preAuthorizedApplications".to_owned(), clients.into());
        }
        if !api.is_empty() {
            body.insert("api".to_owned(), api.into());
        }
        Ok(body.into())
    }

    fn required(&self, edge: &Edge, kind: &str, known: &Record) -> Result<Value, Missing> {
        let id = |value: &str| -> Result<Value, Missing> {
            if edge.resource == GRAPH_KEY {
                let known = GRAPH_SCOPES.iter().find(|(name, _)| *name == value);
                let (_, id) = known.ok_or_else(|| Missing(value.to_owned()))?;
                return Ok(json!({ "id": id, "type": kind }));
            }
            let what = if kind == "Role" { "role" } else { "scope" };
            Ok(json!({ "id": self.id(what, edge.resource, value), "type": kind }))
        };
        let access = edge
            .permissions
            .iter()
            .map(|value| id(value))
            .collect::<Result<Vec<_>, _>>()?;
        let resource = if edge.resource == GRAPH_KEY {
            GRAPH
        } else {
            app_id(known, edge.resource)?
        };
        Ok(json!({ "resourceAppId": resource, "resourceAccess": access }))
    }
}

/// A GUID of version 8 (RFC 9562 section 5.8) that is the same whenever it is asked for.
fn derived(run: &str, parts: &[&[u8]]) -> Uuid {
    let mut text = run.as_bytes().to_vec();
    for part in parts {
        text.extend((part.len() as u64).to_be_bytes());
        text.extend(*part);
    }
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(digest(&SHA256, &text).as_ref()) {
        *to = *from;
    }
    Builder::from_custom_bytes(bytes).into_uuid()
}

fn object<'a>(known: &'a Record, kind: Kind, key: &str) -> Result<&'a Object, Missing> {
    known
        .object(kind, key)
        .ok_or_else(|| Missing(format!("{kind} {key}")))
}

fn app_id<'a>(known: &'a Record, key: &str) -> Result<&'a str, Missing> {
    let app = object(known, Kind::Application, key)?;
    app.app_id
        .as_deref()
        .ok_or_else(|| Missing(format!("the client id of {key}")))
}

fn principal(known: &Record, ids: &Ids, key: &str) -> Result<String, Missing> {
    if key == GRAPH_KEY {
        let graph = ids.graph_principal.clone();
        return graph.ok_or_else(|| Missing("the service principal of Microsoft Graph".to_owned()));
    }
    object(known, Kind::ServicePrincipal, key).map(|principal| principal.id.clone())
}
