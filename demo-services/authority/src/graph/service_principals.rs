//! `/v1.0/servicePrincipals`: without one an application is on paper only.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::applications::{READ, WRITE};
use super::error::GraphError;
use super::{Answered, Call, Key, Reply, grants, role_assignments, wrong_method};
use crate::directory::{App, Directory, GRAPH};

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    app_id: Uuid,
    #[serde(default)]
    tags: Vec<String>,
    #[serde(default)]
    account_enabled: Option<bool>,
}

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require(READ)?;
            let apps = call.directory.apps_and_graph();
            let objects = apps
                .iter()
                .filter(|app| app.has_principal())
                .map(|app| object(call.directory, app));
            let filterable = ["id", "appId", "displayName", "servicePrincipalNames"];
            call.many(
                "servicePrincipals",
                "servicePrincipal",
                objects,
                &filterable,
            )
        }
        (&Method::POST, []) => create(call),
        (_, []) => Err(wrong_method()),
        (_, [key, rest @ ..]) => {
            let key = Key::parse(key)?;
            match (method, rest) {
                (&Method::GET, []) => {
                    call.caller.require(READ)?;
                    let app = find(call.directory, &key)?;
                    let object = object(call.directory, &app);
                    call.one("servicePrincipals", "servicePrincipal", object)
                }
                (&Method::DELETE, []) => delete(call, &key),
                (
                    _,
                    [
                        list @ ("appRoleAssignments" | "appRoleAssignedTo"),
                        rest @ ..,
                    ],
                ) => role_assignments::route(call, method, &key, list, rest),
                (&Method::GET, ["oauth2PermissionGrants"]) => grants::of(call, &key),
                (_, [] | ["oauth2PermissionGrants"]) => Err(wrong_method()),
                (_, [other, ..]) => Err(super::no_segment(other)),
            }
        }
    }
}

/// The application behind a service principal.
pub(super) fn find(directory: &Directory, key: &Key) -> Result<App, GraphError> {
    let (Key::Id(id) | Key::AppId(id)) = key;
    let app = match key {
        Key::Id(id) => with_id(directory, *id),
        Key::AppId(id) => directory.usable(*id),
    };
    app.ok_or_else(|| GraphError::not_found(&id.to_string()))
}

pub(super) fn with_id(directory: &Directory, id: Uuid) -> Option<App> {
    let mut apps = directory.apps_and_graph().into_iter();
    apps.find(|app| app.principal_id() == id && app.has_principal())
}

fn create(call: &Call<'_>) -> Answered {
    call.caller.require(WRITE)?;
    let body: Body = call.read()?;
    if body.account_enabled == Some(false) {
        return Err(GraphError::invalid_value(
            "accountEnabled",
            "ServicePrincipal",
        ));
    }
    if body.tags.len() > 100 || body.tags.iter().any(|tag| tag.len() > 256) {
        return Err(GraphError::invalid_value("tags", "ServicePrincipal"));
    }
    let app_id = body.app_id;
    let created = call.authority.change(|directory| {
        let exists = || {
            GraphError::conflict(format!(
                "The service principal cannot be created, updated, or restored because the service principal name {app_id} is already in use."
            ))
        };
        if app_id == GRAPH {
            return Err(exists());
        }
        let app = directory.apps.iter_mut().find(|app| app.client_id == app_id);
        let app = app.ok_or_else(|| {
            GraphError::bad(format!(
                "The appId '{app_id}' of the service principal does not reference a valid application object."
            ))
        })?;
        if app.has_principal() {
            return Err(exists());
        }
        app.registration.without_principal = false;
        app.registration.principal_tags = body.tags;
        let app = app.clone();
        Ok(object(directory, &app))
    })?;
    call.created("servicePrincipals", "servicePrincipal", created)
}

fn delete(call: &Call<'_>, key: &Key) -> Answered {
    call.caller.require(WRITE)?;
    let client_id = call.authority.change(|directory| {
        let client_id = find(directory, key)?.client_id;
        if client_id == GRAPH {
            return Err(GraphError::bad("This service principal cannot be deleted."));
        }
        directory.end_principal(client_id);
        Ok(client_id)
    })?;
    call.authority.end_app(client_id);
    Ok(Reply::Done)
}

fn object(directory: &Directory, app: &App) -> Value {
    let registration = &app.registration;
    let names = app
        .identifier_uris
        .iter()
        .cloned()
        .chain([app.client_id.to_string()]);
    let uris = &app.redirect_uris;
    let reply_urls = uris.web.iter().chain(&uris.spa).chain(&uris.native);
    json!({
        "id": app.principal_id().to_string(),
        "deletedDateTime": null,
        "accountEnabled": true,
        "appDisplayName": app.display_name(),
        "appId": app.client_id.to_string(),
        "appOwnerOrganizationId": directory.tenant.id.to_string(),
        "appRoleAssignmentRequired": false,
        "displayName": app.display_name(),
        "homepage": registration.home_page_url,
        "replyUrls": reply_urls.collect::<Vec<_>>(),
        "servicePrincipalNames": names.collect::<Vec<_>>(),
        "servicePrincipalType": "Application",
        "signInAudience": registration.sign_in_audience.as_deref().unwrap_or("AzureADMyOrg"),
        "tags": registration.principal_tags,
        "appRoles": app.roles(),
        "oauth2PermissionScopes": app.permission_scopes(),
    })
}
