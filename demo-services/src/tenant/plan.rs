//! What `register` creates in a tenant, as an ordered list of steps. Pure: nothing is asked and nothing is sent here.

mod apps;
mod bodies;
mod choices;

use std::{collections::BTreeMap, fmt};

use http::Method;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use apps::{APPS, ASSIGNED, App, DELEGATED, GRAPH_KEY};
pub use apps::{Edge, GRAPH};
use bodies::Context;
pub(super) use bodies::short;
pub use choices::{ChoiceError, Choices, CredentialKind, DEFAULT_PREFIX};

use super::progress::Event;
use super::record::{Kind, Object, Record};

/// The authentication context of `GET /secure`.
pub const CONTEXT: &str = "c1";
const CONTEXT_NAME: &str = "tower-bearer demo step-up";
/// Where Graph has the authentication contexts.
pub(super) const CONTEXTS: &str = "identity/conditionalAccess/authenticationContextClassReferences";
/// Where Graph has the Conditional Access policies.
pub(super) const POLICIES: &str = "identity/conditionalAccess/policies";

/// Permissions of Graph that registering may take, delegated or application ones alike; unregistering takes no other.
pub const PERMISSIONS: &[&str] = &[
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "DelegatedPermissionGrant.ReadWrite.All",
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
    "AuthenticationContext.ReadWrite.All",
    "User.Read.All",
    "Group.Read.All",
];

/// Those of [`PERMISSIONS`] that policies and the authentication context take.
pub(super) const OF_POLICIES: &[&str] = &[
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
    "AuthenticationContext.ReadWrite.All",
];

/// Those of [`PERMISSIONS`] that a run with these choices takes.
#[must_use]
pub fn permissions(choices: &Choices) -> Vec<&'static str> {
    let wanted = |name: &&str| match *name {
        "User.Read.All" => !choices.mfa_users.is_empty(),
        "Group.Read.All" => !choices.mfa_groups.is_empty(),
        name => choices.names_people() || !OF_POLICIES.contains(&name),
    };
    PERMISSIONS.iter().copied().filter(wanted).collect()
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

/// What a policy is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Target {
    /// The application with this key.
    App(&'static str),
    /// The authentication context.
    AuthenticationContext,
}

/// What there are policies about, with their keys.
const POLICY_TARGETS: &[(Target, &str)] = &[
    (Target::App("downstream-api"), "downstream-api"),
    (Target::App("mfa-app"), "mfa-app"),
    (Target::AuthenticationContext, CONTEXT),
];

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
        // A context of which no policy speaks opens to everybody.
        let mut conditional = vec![step(
            CONTEXT,
            CONTEXT_NAME.to_owned(),
            Action::AuthenticationContext,
        )];
        conditional.extend(
            POLICY_TARGETS
                .iter()
                .map(|(target, key)| step(key, context.policy(key), Action::Policy(*target))),
        );
        if choices.names_people() {
            steps.extend(conditional);
            return Self {
                steps,
                left_out: Vec::new(),
            };
        }
        let lacking = conditional.iter().filter(|step| {
            step.kind()
                .is_some_and(|kind| record.object(kind, &step.key).is_none())
        });
        let left_out = lacking.map(|step| LeftOut {
            what: match step.action {
                Action::Policy(_) => format!("policy: require MFA for {}", step.key),
                _ => step.to_string(),
            },
            why: "no user and no group was named, and all users are never taken by default: --mfa-user or --mfa-group".to_owned(),
        });
        let left_out = left_out.collect();
        Self { steps, left_out }
    }

    /// One line for each step and for what is left out, as `--dry-run` shows them: `=` for what the record has, `+` for what it lacks.
    #[must_use]
    pub fn lines(&self, record: &Record) -> Vec<String> {
        let steps = self.steps.iter().map(|step| {
            let kind = step.kind().unwrap_or(Kind::Application);
            match (record.object(kind, &step.key), &step.action) {
                (None, _) => format!("+ {step}"),
                // Perhaps somebody has enforced it.
                (Some(_), Action::Policy(_)) if !step.enforced() => {
                    format!("= policy {}", step.name)
                }
                (Some(_), _) => format!("= {step}"),
            }
        });
        let left_out = self.left_out.iter().cloned();
        let left_out =
            left_out.map(|LeftOut { what, why }| Event::LeftOut { what, why }.to_string());
        steps.chain(left_out).collect()
    }
}

/// The names of the policies of a registration, by their keys.
pub(super) fn policy_names(record: &Record) -> Vec<(&'static str, String)> {
    let names = POLICY_TARGETS.iter();
    names
        .map(|(_, key)| (*key, bodies::policy_name(&record.prefix, &record.run, key)))
        .collect()
}

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
    /// Whether it belongs to Conditional Access, which not every tenant has.
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        matches!(
            self.action,
            Action::AuthenticationContext | Action::Policy(_)
        )
    }

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
            Action::AuthenticationContext => (Method::PATCH, format!("{CONTEXTS}/{}", self.key)),
            Action::Policy(_) => (Method::POST, POLICIES.to_owned()),
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
