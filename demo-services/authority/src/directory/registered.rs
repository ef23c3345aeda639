//! The rules for what only the Graph-like API tells. It keeps them itself; a state file may have been damaged.

use super::registration::are_unique;
use super::validate::{Checked, check as rule, is_auth_context, is_permission, unique};
use super::{App, Directory, GRAPH};

pub(super) fn check(directory: &Directory) -> Checked {
    let apps = &directory.apps;
    // What was deleted and can come back keeps what is its own.
    let deleted = directory.deleted_apps.iter().map(|deleted| &deleted.app);
    unique(
        "apps.registration.object_id",
        apps.iter()
            .chain(deleted)
            .map(|app| app.object_id().to_string()),
    )?;
    let grants = apps.iter().flat_map(|app| &app.registration.grants);
    unique(
        "apps.registration.grants",
        grants.map(|grant| grant.id.to_string()),
    )?;
    apps.iter().try_for_each(permissions)?;
    apps.iter().try_for_each(|app| references(directory, app))?;
    let contexts = &directory.auth_contexts;
    unique(
        "auth_contexts.id",
        contexts.iter().map(|context| context.id.clone()),
    )?;
    rule(
        contexts.iter().all(|context| is_auth_context(&context.id)),
        "auth_contexts.id",
        "not one of c1 to c99",
    )
}

/// What the application exposes. What is switched off may have any name, or none.
fn permissions(app: &App) -> Checked {
    let key = |name: &str| format!("apps.{}.registration.{name}", app.name);
    let (scopes, roles) = (&app.registration.scopes, &app.registration.roles);
    let ids = scopes.iter().map(|scope| scope.id);
    let mut ids = ids.chain(roles.iter().map(|role| role.id));
    rule(
        ids.all(|id| !id.is_nil()),
        key("scopes"),
        "an id is the nil GUID",
    )?;
    rule(
        are_unique(&app.permission_scopes(), &app.roles()),
        format!("apps.{}.scopes", app.name),
        "scopes and app roles are one set, in which a name stands once",
    )?;
    let named = |scope: &Option<String>| scope.as_deref().is_some_and(is_permission);
    rule(
        scopes
            .iter()
            .all(|scope| !scope.is_enabled || named(&scope.value)),
        key("scopes"),
        "a scope that is switched on has no name, or none that a scope can have",
    )?;
    // A role without a value is there to be assigned and stands in no token.
    rule(
        roles
            .iter()
            .all(|role| !role.is_enabled || role.value.is_none() || named(&role.value)),
        key("roles"),
        "a role that is switched on has a name that no role can have",
    )
}

/// What the application names of others.
fn references(directory: &Directory, app: &App) -> Checked {
    let key = |name: &str| format!("apps.{}.registration.{name}", app.name);
    for client in &app.registration.pre_authorized {
        let known = directory
            .apps
            .iter()
            .any(|app| app.client_id == client.app_id);
        rule(
            known,
            key("pre_authorized"),
            format!("no application has the client id {}", client.app_id),
        )?;
    }
    for grant in &app.registration.grants {
        let known = grant.resource == GRAPH
            || directory
                .apps
                .iter()
                .any(|app| app.client_id == grant.resource);
        rule(
            known,
            key("grants"),
            format!("no API has the client id {}", grant.resource),
        )?;
        let user = grant
            .principal
            .is_none_or(|id| directory.users.iter().any(|user| user.oid == id));
        rule(user, key("grants"), "for a user who is not there")?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::super::deleted::DeletedApp;
    use super::super::registration::{
        AppRole, AuthContext, PermissionGrant, PermissionScope, PreAuthorized,
    };
    use super::*;

    fn scope(id: u128, value: &str) -> PermissionScope {
        PermissionScope {
            id: Uuid::from_u128(id),
            is_enabled: true,
            value: Some(value.to_owned()),
            ..PermissionScope::default()
        }
    }

    fn role(id: u128, value: &str) -> AppRole {
        AppRole {
            id: Uuid::from_u128(id),
            is_enabled: true,
            value: Some(value.to_owned()),
            ..AppRole::default()
        }
    }

    fn grant(id: u128, resource: Uuid, principal: Option<Uuid>) -> PermissionGrant {
        PermissionGrant {
            id: Uuid::from_u128(id),
            resource,
            principal,
            scopes: vec!["user_impersonation".to_owned()],
        }
    }

    fn context(id: &str) -> AuthContext {
        AuthContext {
            id: id.to_owned(),
            display_name: "Pay".to_owned(),
            description: None,
            available: true,
        }
    }

    /// The demo directory with some of everything that is right.
    fn good() -> Directory {
        let mut directory = Directory::demo();
        let user = directory.users[0].oid;
        let ids: Vec<_> = directory.apps.iter().map(|app| app.client_id).collect();
        let registration = &mut middle(&mut directory).registration;
        let mut off = scope(2, "a b");
        off.is_enabled = false;
        registration.scopes = vec![scope(1, "read"), off];
        let mut unnamed = role(4, "");
        unnamed.value = None;
        registration.roles = vec![role(3, "run"), unnamed];
        registration.pre_authorized = vec![PreAuthorized {
            app_id: ids[0],
            delegated_permission_ids: vec![Uuid::from_u128(1)],
        }];
        registration.grants = vec![grant(5, ids[2], None), grant(6, GRAPH, Some(user))];
        directory.auth_contexts = vec![context("c1"), context("c99")];
        let mut app = App::new("deleted", Uuid::from_u128(9));
        app.registration.object_id = Some(Uuid::from_u128(10));
        directory.deleted_apps = vec![DeletedApp { app, at: 11 }];
        directory
    }

    fn middle(directory: &mut Directory) -> &mut App {
        directory.app_mut("middle-tier").unwrap()
    }

    #[test]
    fn each_rule_is_checked() {
        type Break = fn(&mut Directory);
        let rows: &[(&str, Break)] = &[
            ("apps.registration.object_id", |d| {
                d.apps[0].registration.object_id = Some(d.apps[1].object_id());
            }),
            ("apps.registration.grants", |d| {
                d.apps[0].registration.grants = vec![grant(5, GRAPH, None)];
            }),
            ("apps.middle-tier.registration.scopes", |d| {
                middle(d).registration.scopes[0].id = Uuid::nil();
            }),
            ("apps.middle-tier.scopes", |d| {
                middle(d).registration.scopes[0].id = Uuid::from_u128(2);
            }),
            ("apps.middle-tier.scopes", |d| {
                middle(d).registration.scopes[0].id = Uuid::from_u128(3);
            }),
            ("apps.middle-tier.scopes", |d| {
                middle(d).registration.scopes.push(scope(7, "read"));
            }),
            ("apps.middle-tier.scopes", |d| {
                middle(d).registration.roles.push(role(7, "read"));
            }),
            // What the directory file says is told like the rest.
            ("apps.middle-tier.scopes", |d| {
                middle(d).app_roles.push("user_impersonation".to_owned());
            }),
            ("apps.middle-tier.registration.scopes", |d| {
                middle(d).registration.scopes[1].is_enabled = true;
            }),
            ("apps.middle-tier.registration.scopes", |d| {
                middle(d).registration.scopes[0].value = None;
            }),
            ("apps.middle-tier.scopes", |d| {
                middle(d).registration.roles.push(role(7, "run"));
            }),
            ("apps.middle-tier.registration.roles", |d| {
                middle(d).registration.roles.push(role(7, "c d"));
            }),
            ("apps.middle-tier.registration.pre_authorized", |d| {
                middle(d).registration.pre_authorized[0].app_id = Uuid::from_u128(8);
            }),
            ("apps.middle-tier.registration.grants", |d| {
                middle(d).registration.grants[0].resource = Uuid::from_u128(8);
            }),
            ("apps.middle-tier.registration.grants", |d| {
                middle(d).registration.grants[0].principal = Some(Uuid::from_u128(8));
            }),
            ("apps.registration.object_id", |d| {
                let id = Some(d.apps[0].object_id());
                d.deleted_apps[0].app.registration.object_id = id;
            }),
            ("apps.client_id", |d| {
                d.deleted_apps[0].app.client_id = d.apps[0].client_id;
            }),
            ("apps.identifier_uris", |d| {
                d.deleted_apps[0].app.identifier_uris = middle(d).identifier_uris.clone();
            }),
            ("auth_contexts.id", |d| d.auth_contexts.push(context("c1"))),
            ("auth_contexts.id", |d| d.auth_contexts.push(context("c0"))),
        ];
        for (key, broken) in rows {
            let mut directory = good();
            assert!(directory.validate().is_ok());
            broken(&mut directory);
            let text = directory.validate().unwrap_err().to_string();
            assert!(
                text.starts_with(&format!("directory: {key}:")),
                "{key}: {text}"
            );
        }
    }
}
