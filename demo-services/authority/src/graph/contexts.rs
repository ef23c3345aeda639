//! `/v1.0/identity/conditionalAccess/authenticationContextClassReferences`: authentication contexts.

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};

use super::body::{self, short};
use super::error::GraphError;
use super::{Answered, Call, Reply, wrong_method};
use crate::directory::registration::AuthContext;
use crate::directory::{Directory, Policy, Target, is_auth_context};

const READ: &[&str] = &[
    "AuthenticationContext.Read.All",
    "AuthenticationContext.ReadWrite.All",
    "Policy.Read.All",
    "Policy.ReadWrite.ConditionalAccess",
];
const WRITE: &[&str] = &[
    "AuthenticationContext.ReadWrite.All",
    "Policy.ReadWrite.ConditionalAccess",
];

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
    const SET: &str = "identity/conditionalAccess/authenticationContextClassReferences";
    const KIND: &str = "authenticationContextClassReference";
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require(READ)?;
            let objects = known_contexts(call.directory);
            let objects = objects.iter().map(context_object);
            call.many(SET, KIND, objects, &["id", "displayName"])
        }
        (&Method::POST, []) => {
            call.caller.require(WRITE)?;
            let body: ContextBody = call.read()?;
            let key = body.id.clone().unwrap_or_default();
            let created = call.authority.change(|directory| {
                let known = known_contexts(directory);
                if known.iter().any(|context| context.id == key) {
                    return Err(GraphError::conflict("The id is already in use."));
                }
                set_context(directory, &key, body)
            })?;
            call.created(SET, KIND, context_object(&created))
        }
        (&Method::GET, [key]) => {
            call.caller.require(READ)?;
            let contexts = known_contexts(call.directory);
            let context = contexts.iter().find(|context| context.id == *key);
            let context = context.ok_or_else(|| GraphError::not_found(key))?;
            call.one(SET, KIND, context_object(context))
        }
        (&Method::PUT | &Method::PATCH, [key]) => {
            call.caller.require(WRITE)?;
            let body: ContextBody = call.read()?;
            if body.id.as_ref().is_some_and(|id| id != key) {
                return Err(GraphError::read_only("id"));
            }
            call.authority
                .change(|directory| set_context(directory, key, body))?;
            Ok(Reply::Done)
        }
        (&Method::DELETE, [key]) => {
            call.caller.require(WRITE)?;
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

/// Makes it if it is not there.
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
    let mut context = match (
        known.iter().find(|context| context.id == key),
        &body.display_name,
    ) {
        (Some(known), _) => known.clone(),
        (None, Some(name)) => AuthContext {
            id: key.to_owned(),
            display_name: name.clone(),
            description: None,
            available: false,
        },
        (None, None) => {
            return Err(GraphError::bad(
                "A value is required for property 'displayName' of resource 'AuthenticationContextClassReference'.",
            ));
        }
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
        "displayName": context.display_name,
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
    fn a_context_is_made_with_a_name_and_changed_in_part() {
        let mut directory = Directory::demo();
        assert!(set(&mut directory, "c5", json!({})).is_err());
        let made = set(&mut directory, "c5", json!({ "displayName": "Pay" })).unwrap();
        assert!(!made.available);
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
