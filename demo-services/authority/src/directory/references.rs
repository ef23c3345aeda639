//! Permissions as their holders name them, `<identifier URI>/<name>` or `<client id>/<name>`, while the API that they are on changes.
//!
//! Entra keeps permissions by id: another application ID URI or another value takes nothing away, and what is switched off comes back.

use super::{App, Directory};

impl Directory {
    /// After a change of an application, which was `before`: who held its permissions holds them under their new names. Only those
    /// that are no longer there are lost.
    pub(crate) fn follow(&mut self, before: &App) {
        let Some(after) = self
            .apps
            .iter()
            .find(|app| app.client_id == before.client_id)
            .cloned()
        else {
            return;
        };
        if after.identifier_uris == before.identifier_uris
            && after.scopes == before.scopes
            && after.app_roles == before.app_roles
            && after.registration.scopes == before.registration.scopes
            && after.registration.roles == before.registration.roles
        {
            return;
        }
        let (old, new) = (before.permission_scopes(), after.permission_scopes());
        let scope = |name: &str| {
            let named = |value: &Option<String>| value.as_deref() == Some(name);
            let id = old.iter().find(|scope| named(&scope.value))?.id;
            new.iter().find(|scope| scope.id == id)?.value.clone()
        };
        let (old, new) = (before.roles(), after.roles());
        let role = |name: &str| {
            let named = |value: &Option<String>| value.as_deref() == Some(name);
            let id = old.iter().find(|role| named(&role.value))?.id;
            new.iter().find(|role| role.id == id)?.value.clone()
        };
        for app in &mut self.apps {
            rewrite(&mut app.delegated, before, scope);
            rewrite(&mut app.app_permissions, before, role);
        }
        for user in &mut self.users {
            rewrite(&mut user.roles, before, role);
        }
    }
}

/// Names what is on `api` by its client id, which stays.
fn rewrite(held: &mut Vec<String>, api: &App, renamed: impl Fn(&str) -> Option<String>) {
    held.retain_mut(|permission| {
        let Some(name) = api.permission(permission) else {
            return true;
        };
        let new = renamed(name);
        if let Some(new) = &new {
            *permission = format!("{}/{new}", api.client_id);
        }
        new.is_some()
    });
}

impl App {
    /// Whether it has this scope, switched on or off.
    pub(crate) fn has_scope(&self, name: &str) -> bool {
        let known = self.registration.scopes.iter();
        let mut known = known.filter_map(|scope| scope.value.as_deref());
        self.scopes.iter().any(|scope| scope == name) || known.any(|value| value == name)
    }

    /// Whether it has this app role, switched on or off.
    pub(crate) fn has_role(&self, name: &str) -> bool {
        let known = self.registration.roles.iter();
        let mut known = known.filter_map(|role| role.value.as_deref());
        self.app_roles.iter().any(|role| role == name) || known.any(|value| value == name)
    }

    /// The short names of this client's delegated permissions on `resource`, also of those that are switched off there.
    pub(crate) fn held_on(&self, resource: &App) -> impl Iterator<Item = &str> {
        self.delegated
            .iter()
            .filter_map(|permission| resource.permission(permission))
    }

    /// The short names of this client's delegated permissions on `resource`.
    pub(crate) fn permissions_on(&self, resource: &App) -> impl Iterator<Item = &str> {
        self.held_on(resource)
            .filter(|name| resource.scopes.iter().any(|scope| scope == name))
    }

    /// The short names of this API's roles among `permissions`, which somebody holds.
    pub(crate) fn roles_among<'a>(
        &self,
        permissions: &'a [String],
    ) -> impl Iterator<Item = &'a str> {
        permissions
            .iter()
            .filter_map(|permission| self.permission(permission))
            .filter(|name| self.app_roles.iter().any(|role| role == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const API: &str = "api://downstream-api";

    /// The demo after `change` of the downstream API, and what the daemon and the middle tier hold.
    fn after(change: impl FnOnce(&mut App)) -> (Vec<String>, Vec<String>) {
        let mut directory = Directory::demo();
        let before = directory.app(API).unwrap().clone();
        let of_api = |held: &String| before.permission(held).is_some();
        directory
            .app_mut("middle-tier")
            .unwrap()
            .delegated
            .retain(of_api);
        change(directory.app_mut(API).unwrap());
        directory.follow(&before);
        directory.settle();
        directory.validate().unwrap();
        let held = |name: &str| directory.app(name).unwrap().clone();
        (
            held("daemon").app_permissions,
            held("middle-tier").delegated,
        )
    }

    #[test]
    fn names_follow_and_stay_as_they_are_where_nothing_changes() {
        let id = Directory::demo().app(API).unwrap().client_id;
        let told = |role: &str, scope: &str| (vec![role.to_owned()], vec![scope.to_owned()]);
        let same = (
            "api://downstream-api/Task.Run",
            "api://downstream-api/user_impersonation",
        );
        assert_eq!(
            after(|app| app.access_token_version = 1),
            told(same.0, same.1)
        );
        let (role, scope) = (format!("{id}/Task.Run"), format!("{id}/user_impersonation"));
        assert_eq!(
            after(|app| app.identifier_uris = vec!["api://other".into()]),
            told(&role, &scope)
        );
        assert_eq!(
            after(|app| app.identifier_uris.clear()),
            told(&role, &scope)
        );
        let off = after(|app| {
            app.registration.scopes = app.permission_scopes();
            app.registration.scopes[0].is_enabled = false;
            app.scopes.clear();
        });
        assert_eq!(off, told(&role, &scope));
        let renamed = after(|app| {
            app.registration.roles = app.roles();
            app.registration.roles[0].value = Some("Job.Run".into());
            app.app_roles = vec!["Job.Run".into()];
        });
        assert_eq!(renamed, told(&format!("{id}/Job.Run"), &scope));
        let lost = after(|app| app.app_roles.clear());
        assert_eq!(lost, (Vec::new(), vec![scope]));
    }

    #[test]
    fn what_is_off_is_held_and_not_given() {
        let mut directory = Directory::demo();
        let api = directory.app_mut(API).unwrap();
        api.registration.scopes = api.permission_scopes();
        api.registration.roles = api.roles();
        let on = api.clone();
        (api.scopes, api.app_roles) = (Vec::new(), Vec::new());
        let off = api.clone();
        let (middle, daemon) = (
            directory.app("middle-tier").unwrap(),
            directory.app("daemon").unwrap(),
        );
        for (api, given) in [(&on, 1), (&off, 0)] {
            assert_eq!(middle.held_on(api).count(), 1);
            assert_eq!(middle.permissions_on(api).count(), given);
            assert_eq!(api.roles_among(&daemon.app_permissions).count(), given);
            assert!(api.has_scope("user_impersonation") && api.has_role("Task.Run"));
            assert!(!api.has_scope("Task.Run") && !api.has_role("user_impersonation"));
        }
    }
}
