//! The tenant, its users and its groups, for reading.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::error::GraphError;
use super::{Answered, Call, id, me, wrong_method};
use crate::directory::{Directory, User};
use crate::random;

const READ_USERS: &[&str] = &["User.ReadBasic.All", "User.Read.All", "Directory.Read.All"];

pub(super) fn organizations(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    if method != Method::GET {
        return Err(wrong_method());
    }
    call.caller
        .require(&["User.Read", "Organization.Read.All", "Directory.Read.All"])?;
    let tenant = &call.directory.tenant;
    let object = json!({
        "id": tenant.id.to_string(),
        "displayName": tenant.domain,
        "tenantType": "AAD",
        "verifiedDomains": [{
            "capabilities": "Email, OfficeCommunicationsOnline",
            "isDefault": true,
            "isInitial": true,
            "name": tenant.domain,
            "type": "Managed",
        }],
    });
    match path {
        [] => call.many("organization", "organization", [object], &["id"]),
        [key] if id(key)? == tenant.id => call.one("organization", "organization", object),
        [key, ..] => Err(GraphError::not_found(key)),
    }
}

pub(super) fn users(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    if method != Method::GET {
        return Err(wrong_method());
    }
    let view = |user: &User| {
        if call.query.selects() {
            me::all(user)
        } else {
            me::usual(user)
        }
    };
    match path {
        [] => {
            call.caller.require(READ_USERS)?;
            let users = call.directory.users.iter().map(view);
            let filterable = ["id", "userPrincipalName", "displayName", "mail"];
            call.many("users", "user", users, &filterable)
        }
        [key] => {
            let user = named(call.directory, key);
            let own = user.is_some_and(|user| Some(user.oid) == call.caller.user);
            if own {
                let own = [READ_USERS, &["User.Read", "User.ReadWrite"]].concat();
                call.caller.require(&own)?;
            } else {
                call.caller.require(READ_USERS)?;
            }
            let user = user.ok_or_else(|| GraphError::not_found(key))?;
            call.one("users", "user", view(user))
        }
        [key, ..] => Err(GraphError::not_found(key)),
    }
}

/// By object id or full sign-in name.
fn named<'a>(directory: &'a Directory, key: &str) -> Option<&'a User> {
    directory.users.iter().find(|user| {
        user.username.eq_ignore_ascii_case(key) || crate::form::guid(key) == Some(user.oid)
    })
}

pub(super) fn groups(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    if method != Method::GET {
        return Err(wrong_method());
    }
    call.caller
        .require(&["Group.Read.All", "Directory.Read.All"])?;
    let names = names(call.directory);
    match path {
        [] => {
            let groups = names.iter().map(|name| group(name));
            call.many("groups", "group", groups, &["id", "displayName"])
        }
        [key] => {
            let key_id = id(key)?;
            let name = names.iter().find(|name| group_id(name) == key_id);
            let name = name.ok_or_else(|| GraphError::not_found(key))?;
            call.one("groups", "group", group(name))
        }
        [key, ..] => Err(GraphError::not_found(key)),
    }
}

/// A group has no more than a name: its id is derived from it.
pub(super) fn group_id(name: &str) -> Uuid {
    random::derived_guid("group", name)
}

pub(super) fn names(directory: &Directory) -> BTreeSet<&str> {
    let groups = directory.users.iter().flat_map(|user| &user.groups);
    groups.map(String::as_str).collect()
}

fn group(name: &str) -> Value {
    json!({
        "id": group_id(name).to_string(),
        "displayName": name,
        "description": null,
        "mailEnabled": false,
        "securityEnabled": true,
        "groupTypes": [],
    })
}
