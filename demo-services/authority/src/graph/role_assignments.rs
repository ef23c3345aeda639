//! App roles that a service principal or a user holds: `appRoleAssignments` of the one, `appRoleAssignedTo` of the other.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::GraphError;
use super::{Answered, Call, Key, Reply, id, service_principals, wrong_method};
use crate::directory::registration::AppRole;
use crate::directory::{App, Directory};
use crate::random;

const READ: &[&str] = &[
    "Application.Read.All",
    "Application.ReadWrite.All",
    "AppRoleAssignment.ReadWrite.All",
    "Directory.Read.All",
];
const WRITE: &[&str] = &["AppRoleAssignment.ReadWrite.All"];
/// Most roles that one holds.
const MAX_ROLES: usize = 400;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    principal_id: Uuid,
    resource_id: Uuid,
    app_role_id: Uuid,
}

/// One role, held by one.
struct Assignment {
    id: Uuid,
    principal: Uuid,
    principal_name: String,
    principal_type: &'static str,
    resource: Uuid,
    resource_name: String,
    role: Uuid,
    /// As it stands in the holder's list.
    permission: String,
}

pub(super) fn route(
    call: &Call<'_>,
    method: &Method,
    key: &Key,
    list: &str,
    path: &[&str],
) -> Answered {
    // Before anything is looked up: whoever may not ask does not learn what there is.
    match (method, path) {
        (&Method::GET, [] | [_]) => call.caller.require(READ)?,
        (&Method::POST, []) | (&Method::DELETE, [_]) => call.caller.require(WRITE)?,
        (_, [] | [_]) => return Err(wrong_method()),
        (_, [_, other, ..]) => return Err(super::no_segment(other)),
    }
    let own = service_principals::find(call.directory, key)?.principal_id();
    let here = |assignment: &Assignment| {
        if list == "appRoleAssignments" {
            assignment.principal == own
        } else {
            assignment.resource == own
        }
    };
    let set = "appRoleAssignments";
    match (method, path) {
        (&Method::GET, []) => {
            let all = all(call.directory).into_iter().filter(here);
            let objects = all.map(|assignment| object(&assignment));
            call.many(
                set,
                "appRoleAssignment",
                objects,
                &["appRoleId", "resourceId"],
            )
        }
        (&Method::GET, [assignment]) => {
            let wanted = id(assignment)?;
            let found = all(call.directory)
                .into_iter()
                .find(|known| known.id == wanted && here(known))
                .ok_or_else(|| GraphError::not_found(assignment))?;
            call.one(set, "appRoleAssignment", object(&found))
        }
        (&Method::POST, []) => {
            let body: Body = call.read()?;
            let created = call
                .authority
                .change(|directory| assign(directory, &body, &here))?;
            call.created(set, "appRoleAssignment", object(&created))
        }
        (&Method::DELETE, [assignment]) => {
            let wanted = id(assignment)?;
            call.authority.change(|directory| {
                let found = all(directory)
                    .into_iter()
                    .find(|known| known.id == wanted && here(known))
                    .ok_or_else(|| GraphError::not_found(assignment))?;
                let held = held(directory, found.principal)
                    .ok_or_else(|| GraphError::not_found(assignment))?;
                held.retain(|permission| *permission != found.permission);
                Ok::<_, GraphError>(())
            })?;
            Ok(Reply::Done)
        }
        _ => Err(wrong_method()),
    }
}

fn assign(
    directory: &mut Directory,
    body: &Body,
    here: &impl Fn(&Assignment) -> bool,
) -> Result<Assignment, GraphError> {
    let missing = |id: Uuid| GraphError::not_found(&id.to_string());
    let resource = service_principals::with_id(directory, body.resource_id)
        .ok_or_else(|| missing(body.resource_id))?;
    let unknown = || GraphError::bad("Permission being assigned was not found on application.");
    let role: AppRole = resource
        .roles()
        .into_iter()
        .find(|role| role.id == body.app_role_id && role.is_enabled)
        .ok_or_else(unknown)?;
    let value = role.value.as_deref().ok_or_else(unknown)?;
    let user = directory
        .users
        .iter()
        .any(|user| user.oid == body.principal_id);
    let kind = if user { "User" } else { "Application" };
    if !role.allowed_member_types.iter().any(|known| known == kind) {
        return Err(unknown());
    }
    let same = |known: &Assignment| {
        known.principal == body.principal_id
            && known.resource == body.resource_id
            && known.role == body.app_role_id
    };
    if all(directory).iter().any(same) {
        return Err(GraphError::bad(
            "Permission being assigned already exists on the object.",
        ));
    }
    let held = held(directory, body.principal_id).ok_or_else(|| missing(body.principal_id))?;
    if held.len() >= MAX_ROLES {
        return Err(GraphError::quota("app role assignments"));
    }
    held.push(format!("{}/{value}", resource.client_id));
    let created = all(directory).into_iter().find(|known| same(known));
    created
        .filter(|created| here(created))
        .ok_or_else(|| GraphError::bad("The assignment is about another service principal."))
}

/// The list of roles of a user, or of the application behind a service principal.
fn held(directory: &mut Directory, principal: Uuid) -> Option<&mut Vec<String>> {
    let user = directory
        .users
        .iter_mut()
        .find(|user| user.oid == principal);
    if let Some(user) = user {
        return Some(&mut user.roles);
    }
    let app = directory
        .apps
        .iter_mut()
        .find(|app| app.principal_id() == principal && app.has_principal());
    app.map(|app| &mut app.app_permissions)
}

fn all(directory: &Directory) -> Vec<Assignment> {
    let apis = directory.apps_and_graph();
    let mut all = Vec::new();
    for app in directory.apps.iter().filter(|app| app.has_principal()) {
        let holder = (app.principal_id(), app.display_name(), "ServicePrincipal");
        for permission in &app.app_permissions {
            all.extend(assignment(&apis, holder, permission));
        }
    }
    for user in &directory.users {
        let holder = (user.oid, user.display_name.as_str(), "User");
        for permission in &user.roles {
            all.extend(assignment(&apis, holder, permission));
        }
    }
    all
}

fn assignment(
    apis: &[App],
    (principal, name, kind): (Uuid, &str, &'static str),
    permission: &str,
) -> Option<Assignment> {
    apis.iter()
        .filter(|api| api.has_principal())
        .find_map(|api| {
            let value = api.permission(permission)?;
            let roles = api.roles();
            let role = roles
                .iter()
                .find(|role| role.value.as_deref() == Some(value))?;
            let name_of_it = format!("{principal} {} {}", api.client_id, role.id);
            Some(Assignment {
                id: random::derived_guid("assignment", &name_of_it),
                principal,
                principal_name: name.to_owned(),
                principal_type: kind,
                resource: api.principal_id(),
                resource_name: api.display_name().to_owned(),
                role: role.id,
                permission: permission.to_owned(),
            })
        })
}

fn object(assignment: &Assignment) -> Value {
    json!({
        "id": assignment.id.to_string(),
        "deletedDateTime": null,
        "appRoleId": assignment.role.to_string(),
        "createdDateTime": null,
        "principalDisplayName": assignment.principal_name,
        "principalId": assignment.principal.to_string(),
        "principalType": assignment.principal_type,
        "resourceDisplayName": assignment.resource_name,
        "resourceId": assignment.resource.to_string(),
    })
}
