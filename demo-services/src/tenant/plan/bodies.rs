//! The bodies of the requests that create applications, and the ids and names in them, which are the same at every run of a record.

use aws_lc_rs::digest::{SHA256, digest};
use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Map, Value, json};
use uuid::{Builder, Uuid};

use super::apps::{ASSIGNED, App, DELEGATED, Edge, GRAPH, GRAPH_KEY, GRAPH_SCOPES};
use super::{Certificate, Missing, app_id};
use crate::tenant::record::Record;

/// What every step of a plan goes by.
#[derive(Clone, Debug)]
pub(super) struct Context {
    pub(super) prefix: String,
    pub(super) base_url: String,
    pub(super) run: String,
    pub(super) enforce: bool,
}

impl Context {
    pub(super) fn app(&self, key: &str) -> String {
        format!("{}-{key}", self.prefix)
    }

    pub(super) fn policy(&self, key: &str) -> String {
        policy_name(&self.prefix, &self.run, key)
    }

    pub(super) fn tag(&self) -> String {
        format!("tower-bearer:{}", self.run)
    }

    pub(super) fn credential(&self) -> String {
        format!("tower-bearer {}", short(&self.run))
    }

    /// The same at every run with this record, so that a request that is repeated is the same request.
    pub(super) fn id(&self, kind: &str, key: &str, value: &str) -> Uuid {
        derived(
            &self.run,
            &[kind.as_bytes(), key.as_bytes(), value.as_bytes()],
        )
    }

    pub(super) fn key_id(&self, key: &str, certificate: &Certificate) -> Uuid {
        derived(
            &self.run,
            &[b"certificate", key.as_bytes(), &certificate.der],
        )
    }

    pub(super) fn key(&self, key: &str, certificate: &Certificate) -> Value {
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

    pub(super) fn application(&self, app: &App) -> Value {
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

    pub(super) fn settings(&self, app: &App, known: &Record) -> Result<Value, Missing> {
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

/// A policy has no tags: the run stands in its name.
pub(super) fn policy_name(prefix: &str, run: &str, key: &str) -> String {
    format!("{prefix}-{key}: require MFA ({})", short(run))
}

/// What names have of a run.
pub(in crate::tenant) fn short(run: &str) -> &str {
    run.split('-').next().unwrap_or_default()
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
