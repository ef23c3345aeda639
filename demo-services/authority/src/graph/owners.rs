//! Owners of applications.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::GraphError;
use super::{Answered, Call, Key, Reply, applications, id, me, service_principals, wrong_method};
use crate::directory::Directory;
use crate::form;

const MAX_OWNERS: usize = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Reference {
    #[serde(rename = "@odata.id")]
    id: String,
}

pub(super) fn route(call: &Call<'_>, method: &Method, key: &Key, path: &[&str]) -> Answered {
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require(applications::READ)?;
            let app = applications::find(call.directory, key)?;
            let owners = app.registration.owners.iter();
            let objects = owners.filter_map(|owner| object(call.directory, *owner));
            call.many("directoryObjects", "directoryObject", objects, &[])
        }
        (&Method::POST, ["$ref"]) => {
            call.caller.require(applications::WRITE)?;
            let reference: Reference = call.read()?;
            let owner = reference
                .id
                .rsplit('/')
                .next()
                .and_then(form::guid)
                .ok_or_else(|| GraphError::bad("Invalid value specified for '@odata.id'."))?;
            call.authority.change(|directory| {
                if object(directory, owner).is_none() {
                    return Err(GraphError::not_found(&owner.to_string()));
                }
                let app = applications::find_mut(directory, key)?;
                let owners = &mut app.registration.owners;
                if owners.contains(&owner) {
                    return Err(GraphError::bad(
                        "One or more added object references already exist for the following modified properties: 'owners'.",
                    ));
                }
                if owners.len() >= MAX_OWNERS {
                    return Err(GraphError::quota("owners"));
                }
                owners.push(owner);
                Ok(())
            })?;
            Ok(Reply::Done)
        }
        (&Method::DELETE, [owner, "$ref"]) => {
            call.caller.require(applications::WRITE)?;
            let owner_id = id(owner)?;
            call.authority.change(|directory| {
                let app = applications::find_mut(directory, key)?;
                let owners = &mut app.registration.owners;
                let before = owners.len();
                owners.retain(|known| *known != owner_id);
                if owners.len() == before {
                    return Err(GraphError::not_found(owner));
                }
                Ok(())
            })?;
            Ok(Reply::Done)
        }
        (_, [] | ["$ref"] | [_, "$ref"]) => Err(wrong_method()),
        (_, [other, ..]) => Err(super::no_segment(other)),
    }
}

/// A user or a service principal.
fn object(directory: &Directory, owner: Uuid) -> Option<Value> {
    let user = directory.users.iter().find(|user| user.oid == owner);
    if let Some(user) = user {
        return Some(typed("#microsoft.graph.user", me::usual(user)));
    }
    let app = service_principals::with_id(directory, owner)?;
    Some(typed(
        "#microsoft.graph.servicePrincipal",
        json!({ "id": owner.to_string(), "appId": app.client_id.to_string(), "displayName": app.display_name() }),
    ))
}

fn typed(name: &str, mut object: Value) -> Value {
    if let Value::Object(object) = &mut object {
        object.insert("@odata.type".to_owned(), name.into());
    }
    object
}
