//! `/v1.0/identity/conditionalAccess/authenticationContextClassReferences`: authentication contexts.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, short};
use super::conditional_access::licensed;
use super::error::GraphError;
use super::{Answered, Call, Reply, wrong_method};
use crate::directory::registration::AuthContext;
use crate::directory::{Directory, Policy, Target, is_auth_context};

// The permission tables of v1.0, which differ from request to request. `Policy.Read.All` stands in none of them. For `DELETE` the table
// also has `Policy.Read.ConditionalAccess`, which reads by its name: it is not taken.
const LIST: &[&str] = &[
    "AuthenticationContext.Read.All",
    "AuthenticationContext.ReadWrite.All",
    "Policy.Read.ConditionalAccess",
    "Policy.ReadWrite.ConditionalAccess",
];
const GET: &[&str] = &[
    "AuthenticationContext.Read.All",
    "AuthenticationContext.ReadWrite.All",
    "Policy.Read.ConditionalAccess",
];
/// The table has the second one; the page sends to a known issue, by which the first one may be wanted as well.
const SET: &[&str] = &[
    "AuthenticationContext.ReadWrite.All",
    "Policy.ReadWrite.ConditionalAccess",
];
const DELETE: &[&str] = &["AuthenticationContext.ReadWrite.All"];

/// Graph's `authenticationContextClassReference` in a request.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct ContextBody {
    id: Option<String>,
    #[serde(deserialize_with = "body::given")]
    display_name: Option<String>,
    #[serde(deserialize_with = "body::nullable")]
    description: Option<Option<String>>,
    #[serde(deserialize_with = "body::given")]
    is_available: Option<bool>,
}

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    const ENTITIES: &str = "identity/conditionalAccess/authenticationContextClassReferences";
    const KIND: &str = "authenticationContextClassReference";
    match (method, path) {
        (&Method::GET, []) => {
            allowed(call, LIST)?;
            let objects = known_contexts(call.directory);
            let objects = objects.iter().map(context_object);
            call.many(ENTITIES, KIND, objects, &["id", "displayName"])
        }
        (&Method::POST, []) => {
            allowed(call, SET)?;
            let body: ContextBody = call.read()?;
            let key = body.id.clone().unwrap_or_default();
            let created = call.authority.change(|directory| {
                let known = known_contexts(directory);
                if known.iter().any(|context| context.id == key) {
                    return Err(GraphError::conflict("The id is already in use."));
                }
                set_context(directory, &key, body)
            })?;
            call.created(ENTITIES, KIND, context_object(&created))
        }
        (&Method::GET, [key]) => {
            allowed(call, GET)?;
            let contexts = known_contexts(call.directory);
            let context = contexts.iter().find(|context| context.id == *key);
            let context = context.ok_or_else(|| GraphError::not_found(key))?;
            call.one(ENTITIES, KIND, context_object(context))
        }
        (&Method::PUT | &Method::PATCH, [key]) => {
            allowed(call, SET)?;
            let body: ContextBody = call.read()?;
            if body.id.as_ref().is_some_and(|id| id != key) {
                return Err(GraphError::read_only("id"));
            }
            call.authority
                .change(|directory| set_context(directory, key, body))?;
            Ok(Reply::Done)
        }
        (&Method::DELETE, [key]) => {
            allowed(call, DELETE)?;
            call.authority.change(|directory| {
                let used = directory
                    .policies
                    .iter()
                    .any(|policy| policy.protects_context(key));
                if used {
                    return Err(GraphError::bad(
                        "The authentication context is used by a policy.",
                    ));
                }
                let mut known = directory.auth_contexts.iter();
                match known.find(|context| context.id == *key) {
                    None => return Err(GraphError::not_found(key)),
                    Some(context) if context.available => {
                        return Err(GraphError::bad(
                            "The authentication context is published to apps.",
                        ));
                    }
                    Some(_) => {}
                }
                directory.auth_contexts.retain(|context| context.id != *key);
                Ok(())
            })?;
            Ok(Reply::Done)
        }
        (_, [] | [_]) => Err(wrong_method()),
        (_, [_, other, ..]) => Err(super::no_segment(other)),
    }
}

fn allowed(call: &Call<'_>, any: &[&str]) -> Result<(), GraphError> {
    call.caller.require_scope(any)?;
    licensed(call)
}

/// Those that Graph was told about, and those that policies name.
fn known_contexts(directory: &Directory) -> Vec<AuthContext> {
    let mut known = directory.auth_contexts.clone();
    for target in directory.policies.iter().flat_map(Policy::targets) {
        let Target::AuthContext(id) = target else {
            continue;
        };
        if !known.iter().any(|context| context.id == *id) {
            known.push(AuthContext {
                id: id.clone(),
                display_name: id.clone(),
                description: None,
                available: true,
            });
        }
    }
    known
}

/// Makes it if it is not there, also out of nothing but its id.
fn set_context(
    directory: &mut Directory,
    key: &str,
    body: ContextBody,
) -> Result<AuthContext, GraphError> {
    const RESOURCE: &str = "AuthenticationContextClassReference";
    if !is_auth_context(key) {
        return Err(GraphError::invalid_value("id", RESOURCE));
    }
    let known = known_contexts(directory);
    let mut context = match known.iter().find(|context| context.id == key) {
        Some(known) => known.clone(),
        None => AuthContext {
            id: key.to_owned(),
            display_name: String::new(),
            description: None,
            available: false,
        },
    };
    if let Some(name) = body.display_name {
        if name.trim().is_empty() {
            return Err(GraphError::invalid_value("displayName", RESOURCE));
        }
        context.display_name = name;
    }
    context.description = body.description.unwrap_or(context.description);
    context.available = body.is_available.unwrap_or(context.available);
    short(&context.display_name, 256, "displayName", RESOURCE)?;
    let description = context.description.as_deref().unwrap_or_default();
    short(description, 1024, "description", RESOURCE)?;
    directory.auth_contexts.retain(|known| known.id != key);
    directory.auth_contexts.push(context.clone());
    Ok(context)
}

fn context_object(context: &AuthContext) -> Value {
    json!({
        "id": context.id,
        "displayName": (!context.display_name.is_empty()).then_some(&context.display_name),
        "description": context.description,
        "isAvailable": context.available,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(directory: &mut Directory, key: &str, body: Value) -> Result<AuthContext, GraphError> {
        set_context(directory, key, serde_json::from_value(body).unwrap())
    }

    #[test]
    fn what_a_policy_names_is_known_and_stands_once() {
        let mut directory = Directory::demo();
        let ids = |directory: &Directory| {
            let known = known_contexts(directory).into_iter();
            known.map(|context| context.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&directory), ["c1"]);
        set(&mut directory, "c1", json!({ "displayName": "Pay" })).unwrap();
        set(&mut directory, "c2", json!({ "displayName": "Read" })).unwrap();
        assert_eq!(ids(&directory), ["c1", "c2"]);
    }

    #[test]
    fn a_context_is_made_by_its_id_and_changed_in_part() {
        let mut directory = Directory::demo();
        let nameless = set(&mut directory, "c5", json!({})).unwrap();
        assert!(!nameless.available);
        assert_eq!(context_object(&nameless)["displayName"], Value::Null);
        let made = set(&mut directory, "c5", json!({ "displayName": "Pay" })).unwrap();
        assert_eq!(context_object(&made)["displayName"], "Pay");
        let changed = set(&mut directory, "c5", json!({ "isAvailable": true })).unwrap();
        assert_eq!(
            (changed.display_name.as_str(), changed.available),
            ("Pay", true)
        );
        for (key, body) in [
            ("c100", json!({ "displayName": "x" })),
            ("c5", json!({ "displayName": " " })),
            ("c5", json!({ "displayName": "x".repeat(257) })),
            ("c5", json!({ "description": "x".repeat(1025) })),
        ] {
            assert!(set(&mut directory, key, body).is_err());
        }
        assert_eq!(directory.auth_contexts, [changed]);
    }
}
