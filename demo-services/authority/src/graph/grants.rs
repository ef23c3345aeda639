//! `/v1.0/oauth2PermissionGrants`: consent to delegated permissions, by an administrator.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::GraphError;
use super::{Answered, Call, Key, Reply, id, service_principals, wrong_method};
use crate::directory::registration::PermissionGrant;
use crate::directory::{App, Directory};
use crate::random;

const READ: &[&str] = &[
    "DelegatedPermissionGrant.ReadWrite.All",
    "Directory.Read.All",
];
const WRITE: &[&str] = &["DelegatedPermissionGrant.ReadWrite.All"];
const MAX_GRANTS: usize = 200;
/// Longest `scope` (`oauth2PermissionGrant` resource type).
const MAX_SCOPE: usize = 3850;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    /// Object id of the client's service principal.
    client_id: Uuid,
    consent_type: String,
    #[serde(default)]
    principal_id: Option<Uuid>,
    resource_id: Uuid,
    scope: String,
    // Required by an old version, ignored ever since.
    #[serde(default, rename = "startTime")]
    _start_time: Option<String>,
    #[serde(default, rename = "expiryTime")]
    _expiry_time: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Change {
    scope: String,
}

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require(READ)?;
            list(call, &call.directory.apps)
        }
        (&Method::POST, []) => create(call),
        (&Method::GET, [key]) => {
            call.caller.require(READ)?;
            let wanted = id(key)?;
            let apps = call.directory.apps_and_graph();
            let found = call.directory.apps.iter().find_map(|client| {
                let grants = client.grants(&apps);
                let grant = grants.into_iter().find(|grant| grant.id == wanted)?;
                object(&apps, client, &grant)
            });
            let found = found.ok_or_else(|| GraphError::not_found(key))?;
            call.one("oauth2PermissionGrants", "oAuth2PermissionGrant", found)
        }
        (&Method::PATCH, [key]) => {
            call.caller.require(WRITE)?;
            let change: Change = call.read()?;
            let scopes = scopes(&change.scope)?;
            on_grant(call, key, |grants, index| {
                if let Some(grant) = grants.get_mut(index) {
                    grant.scopes = scopes;
                }
            })
        }
        (&Method::DELETE, [key]) => {
            call.caller.require(WRITE)?;
            on_grant(call, key, |grants, index| {
                grants.remove(index);
            })
        }
        (_, [] | [_]) => Err(wrong_method()),
        (_, [_, other, ..]) => Err(super::no_segment(other)),
    }
}

/// `GET /servicePrincipals/{id}/oauth2PermissionGrants`.
pub(super) fn of(call: &Call<'_>, key: &Key) -> Answered {
    call.caller.require(READ)?;
    let client = service_principals::find(call.directory, key)?;
    list(call, &[client])
}

fn list(call: &Call<'_>, clients: &[App]) -> Answered {
    let apps = call.directory.apps_and_graph();
    let objects = clients
        .iter()
        .filter(|client| client.has_principal())
        .flat_map(|client| {
            let grants = client.grants(&apps);
            let apps = &apps;
            grants
                .into_iter()
                .filter_map(move |grant| object(apps, client, &grant))
        });
    let filterable = ["id", "clientId", "consentType", "principalId", "resourceId"];
    call.many(
        "oauth2PermissionGrants",
        "oAuth2PermissionGrant",
        objects,
        &filterable,
    )
}

fn create(call: &Call<'_>) -> Answered {
    call.caller.require(WRITE)?;
    let body: Body = call.read()?;
    let scopes = scopes(&body.scope)?;
    let created = call
        .authority
        .change(|directory| grant(directory, &body, scopes))?;
    call.created("oauth2PermissionGrants", "oAuth2PermissionGrant", created)
}

fn grant(directory: &mut Directory, body: &Body, scopes: Vec<String>) -> Result<Value, GraphError> {
    let missing = |id: Uuid| GraphError::not_found(&id.to_string());
    let invalid = |property: &str| GraphError::invalid_value(property, "OAuth2PermissionGrant");
    let principal = match (body.consent_type.as_str(), body.principal_id) {
        ("AllPrincipals", None) => None,
        ("Principal", Some(user)) => {
            let known = directory.users.iter().any(|known| known.oid == user);
            Some(known.then_some(user).ok_or_else(|| missing(user))?)
        }
        ("AllPrincipals" | "Principal", _) => return Err(invalid("principalId")),
        _ => return Err(invalid("consentType")),
    };
    let resource = service_principals::with_id(directory, body.resource_id)
        .ok_or_else(|| missing(body.resource_id))?
        .client_id;
    let apps = directory.apps_and_graph();
    let client = directory
        .apps
        .iter_mut()
        .find(|app| app.principal_id() == body.client_id && app.has_principal())
        .ok_or_else(|| missing(body.client_id))?;
    client.write_grants_down(&apps);
    let same = |known: &PermissionGrant| known.resource == resource && known.principal == principal;
    if client.registration.grants.iter().any(same) {
        return Err(GraphError::conflict("Permission entry already exists."));
    }
    if client.registration.grants.len() >= MAX_GRANTS {
        return Err(GraphError::quota("permission grants"));
    }
    let mut name = format!("{} {resource}", client.client_id);
    if let Some(user) = principal {
        name = format!("{name} {user}");
    }
    let grant = PermissionGrant {
        id: random::derived_guid("grant", &name),
        resource,
        principal,
        scopes,
    };
    client.registration.grants.push(grant.clone());
    object(&apps, client, &grant).ok_or_else(|| missing(body.resource_id))
}

fn on_grant(
    call: &Call<'_>,
    key: &str,
    change: impl FnOnce(&mut Vec<PermissionGrant>, usize),
) -> Answered {
    let wanted = id(key)?;
    call.authority.change(|directory| {
        let apps = directory.apps_and_graph();
        let position = |app: &App| {
            app.grants(&apps)
                .iter()
                .position(|grant| grant.id == wanted)
        };
        let found = directory
            .apps
            .iter_mut()
            .find_map(|app| position(app).map(|index| (app, index)));
        let (client, index) = found.ok_or_else(|| GraphError::not_found(key))?;
        client.write_grants_down(&apps);
        change(&mut client.registration.grants, index);
        Ok::<_, GraphError>(())
    })?;
    Ok(Reply::Done)
}

fn scopes(text: &str) -> Result<Vec<String>, GraphError> {
    if text.len() > MAX_SCOPE {
        return Err(GraphError::invalid_value("scope", "OAuth2PermissionGrant"));
    }
    Ok(text.split_whitespace().map(str::to_owned).collect())
}

fn object(apps: &[App], client: &App, grant: &PermissionGrant) -> Option<Value> {
    let resource = apps.iter().find(|app| app.client_id == grant.resource)?;
    let consent_type = if grant.principal.is_some() {
        "Principal"
    } else {
        "AllPrincipals"
    };
    Some(json!({
        "id": grant.id.to_string(),
        "clientId": client.principal_id().to_string(),
        "consentType": consent_type,
        "principalId": grant.principal.map(|user| user.to_string()),
        "resourceId": resource.principal_id().to_string(),
        "scope": grant.scopes.join(" "),
    }))
}
