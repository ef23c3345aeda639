//! What only the Graph-like API tells about applications and policies: ids, display texts, credentials' names, owners, grants.
//!
//! For what comes from a directory file all of it is empty, and what Graph must tell is derived from the rest.

use std::collections::{BTreeSet, HashMap, HashSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{App, Consent, Directory, GRAPH, OptionalClaim, Policy, Target, User};
use crate::{form, random};

/// What Graph tells about an application.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Registration {
    /// Object id of the application; derived from the client id when missing.
    pub(crate) object_id: Option<Uuid>,
    /// Without a service principal nobody can use the application.
    pub(crate) without_principal: bool,
    /// `displayName`, if it is not [`App::name`], which is unique.
    pub(crate) display_name: Option<String>,
    pub(crate) description: Option<String>,
    pub(crate) notes: Option<String>,
    pub(crate) sign_in_audience: Option<String>,
    /// Seconds since 1970.
    pub(crate) created: Option<u64>,
    pub(crate) tags: Vec<String>,
    pub(crate) principal_tags: Vec<String>,
    pub(crate) home_page_url: Option<String>,
    pub(crate) logout_url: Option<String>,
    /// Null or not, where [`App::public_client`] is false.
    pub(crate) is_fallback_public_client: Option<bool>,
    /// `requestedAccessTokenVersion` is null, which means 1.
    pub(crate) version_is_null: bool,
    pub(crate) scopes: Vec<PermissionScope>,
    pub(crate) roles: Vec<AppRole>,
    /// `requiredResourceAccess`; [`App::delegated`] follows it.
    pub(crate) required: Option<Vec<RequiredResource>>,
    pub(crate) optional_claims: Option<OptionalClaims>,
    /// Clients that need no consent for these scopes.
    pub(crate) pre_authorized: Vec<PreAuthorized>,
    /// As long as [`App::secrets`] once Graph has touched them, in the same order.
    pub(crate) passwords: Vec<CredentialName>,
    /// As long as [`App::certificates`] once Graph has touched them, in the same order.
    pub(crate) keys: Vec<CredentialName>,
    /// Object ids of users and service principals.
    pub(crate) owners: Vec<Uuid>,
    /// Consent to this client, by an administrator or for one user.
    pub(crate) grants: Vec<PermissionGrant>,
}

/// Graph's `permissionScope`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PermissionScope {
    pub(crate) admin_consent_description: Option<String>,
    pub(crate) admin_consent_display_name: Option<String>,
    pub(crate) id: Uuid,
    #[serde(default = "yes")]
    pub(crate) is_enabled: bool,
    /// `User` or `Admin`.
    pub(crate) r#type: Option<String>,
    pub(crate) user_consent_description: Option<String>,
    pub(crate) user_consent_display_name: Option<String>,
    pub(crate) value: Option<String>,
}

/// Graph's `appRole`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct AppRole {
    /// `User`, `Application`, or both.
    pub(crate) allowed_member_types: Vec<String>,
    pub(crate) description: Option<String>,
    pub(crate) display_name: Option<String>,
    pub(crate) id: Uuid,
    #[serde(default = "yes")]
    pub(crate) is_enabled: bool,
    pub(crate) value: Option<String>,
}

fn yes() -> bool {
    true
}

/// Graph's `requiredResourceAccess`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct RequiredResource {
    pub(crate) resource_app_id: Uuid,
    #[serde(default)]
    pub(crate) resource_access: Vec<ResourceAccess>,
}

/// Graph's `resourceAccess`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ResourceAccess {
    pub(crate) id: Uuid,
    pub(crate) r#type: AccessType,
}

/// Delegated or application permission.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) enum AccessType {
    Role,
    Scope,
}

/// Graph's `optionalClaims`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct OptionalClaims {
    pub(crate) access_token: Vec<ClaimName>,
    pub(crate) id_token: Vec<ClaimName>,
    pub(crate) saml2_token: Vec<ClaimName>,
}

/// Graph's `optionalClaim`.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct ClaimName {
    pub(crate) additional_properties: Vec<String>,
    pub(crate) essential: bool,
    pub(crate) name: String,
    pub(crate) source: Option<String>,
}

/// Graph's `preAuthorizedApplication`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(crate) struct PreAuthorized {
    pub(crate) app_id: Uuid,
    #[serde(default, alias = "permissionIds")]
    pub(crate) delegated_permission_ids: Vec<Uuid>,
}

/// What can be told about a credential: not the credential.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct CredentialName {
    pub(crate) key_id: Uuid,
    pub(crate) display_name: Option<String>,
    /// Seconds since 1970.
    pub(crate) start: Option<u64>,
    /// Seconds since 1970.
    pub(crate) end: Option<u64>,
}

/// Graph's `oauth2PermissionGrant`, held by its client.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct PermissionGrant {
    pub(crate) id: Uuid,
    /// Client id of the API.
    pub(crate) resource: Uuid,
    /// `None`: for everybody.
    #[serde(default)]
    pub(crate) principal: Option<Uuid>,
    pub(crate) scopes: Vec<String>,
}

/// What Graph tells about a policy.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PolicyRegistration {
    /// `displayName`, if it is not [`Policy::name`], which is unique.
    pub(crate) display_name: Option<String>,
    /// What it protects beside [`Policy::target`].
    pub(crate) also: Vec<Target>,
    /// Usernames and groups that it spares.
    pub(crate) excluded: Vec<String>,
    /// Off, but meant to be watched.
    pub(crate) report_only: bool,
    /// Seconds since 1970.
    pub(crate) created: Option<u64>,
    /// Seconds since 1970.
    pub(crate) modified: Option<u64>,
}

/// Graph's `authenticationContextClassReference`.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct AuthContext {
    /// `c1` to `c99`.
    pub(crate) id: String,
    pub(crate) display_name: String,
    #[serde(default)]
    pub(crate) description: Option<String>,
    #[serde(default)]
    pub(crate) available: bool,
}

impl App {
    /// Object id of the application.
    pub(crate) fn object_id(&self) -> Uuid {
        self.registration
            .object_id
            .unwrap_or_else(|| random::derived_guid("application", &self.client_id.to_string()))
    }

    /// Object id of the service principal, the `oid` of tokens without a user.
    pub(crate) fn principal_id(&self) -> Uuid {
        random::derived_guid("service-principal", &self.client_id.to_string())
    }

    pub(crate) fn has_principal(&self) -> bool {
        !self.registration.without_principal
    }

    pub(crate) fn display_name(&self) -> &str {
        self.registration
            .display_name
            .as_deref()
            .unwrap_or(&self.name)
    }

    /// All scopes, also those that are switched off.
    pub(crate) fn permission_scopes(&self) -> Vec<PermissionScope> {
        let known = &self.registration.scopes;
        let derived = self
            .scopes
            .iter()
            .filter(|name| !known.iter().any(|scope| scope.value.as_ref() == Some(name)))
            .map(|name| PermissionScope {
                admin_consent_description: Some(format!("Use {} as the user.", self.name)),
                admin_consent_display_name: Some(format!("Use {} ({name})", self.name)),
                id: random::derived_guid("scope", &format!("{} {name}", self.client_id)),
                is_enabled: true,
                r#type: Some("User".to_owned()),
                user_consent_description: None,
                user_consent_display_name: None,
                value: Some(name.clone()),
            });
        known.iter().cloned().chain(derived).collect()
    }

    /// All app roles, also those that are switched off.
    pub(crate) fn roles(&self) -> Vec<AppRole> {
        let known = &self.registration.roles;
        let derived = self
            .app_roles
            .iter()
            .filter(|name| !known.iter().any(|role| role.value.as_ref() == Some(name)))
            .map(|name| AppRole {
                allowed_member_types: vec!["User".to_owned(), "Application".to_owned()],
                description: Some(format!("{name} of {}", self.name)),
                display_name: Some(name.clone()),
                id: random::derived_guid("role", &format!("{} {name}", self.client_id)),
                is_enabled: true,
                value: Some(name.clone()),
            });
        known.iter().cloned().chain(derived).collect()
    }

    /// Whether only an administrator can consent to this scope.
    pub(crate) fn needs_admin(&self, scope: &str) -> bool {
        self.registration.scopes.iter().any(|known| {
            known.value.as_deref() == Some(scope) && known.r#type.as_deref() == Some("Admin")
        })
    }

    /// Scopes of `resource` that this client holds for `user` by a grant, or because `resource` asks for none.
    pub(crate) fn held_without_asking<'a>(
        &'a self,
        resource: &'a App,
        user: Uuid,
    ) -> impl Iterator<Item = &'a str> {
        let granted = self
            .registration
            .grants
            .iter()
            .filter(move |grant| {
                grant.resource == resource.client_id
                    && grant.principal.is_none_or(|principal| principal == user)
            })
            .flat_map(|grant| grant.scopes.iter().map(String::as_str));
        let pre_authorized = resource.registration.scopes.iter().filter(|scope| {
            resource.registration.pre_authorized.iter().any(|client| {
                client.app_id == self.client_id
                    && client.delegated_permission_ids.contains(&scope.id)
            })
        });
        granted
            .chain(pre_authorized.filter_map(|scope| scope.value.as_deref()))
            .filter(|name| resource.scopes.iter().any(|scope| scope == name))
    }

    /// The names of all secrets, in their order.
    pub(crate) fn passwords(&self) -> Vec<CredentialName> {
        self.names("password", &self.registration.passwords, self.secrets.len())
    }

    /// The names of all certificates, in their order.
    pub(crate) fn keys(&self) -> Vec<CredentialName> {
        self.names("key", &self.registration.keys, self.certificates.len())
    }

    fn names(&self, kind: &str, known: &[CredentialName], count: usize) -> Vec<CredentialName> {
        let derived = (known.len()..count).map(|index| CredentialName {
            key_id: random::derived_guid(kind, &format!("{} {index}", self.client_id)),
            ..CredentialName::default()
        });
        known.iter().take(count).cloned().chain(derived).collect()
    }

    /// Claims of access tokens that this authority knows how to make.
    pub(crate) fn follow_optional_claims(&mut self, claims: OptionalClaims) {
        use serde::de::IntoDeserializer;
        let known = |claim: &ClaimName| {
            let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
                claim.name.as_str().into_deserializer();
            OptionalClaim::deserialize(name).ok()
        };
        self.optional_claims = claims.access_token.iter().filter_map(known).collect();
        self.registration.optional_claims = Some(claims);
    }
}

/// Whether ids and values of scopes and of roles stand once. They are one set, in which a scope and a role may only share an id and a value
/// if they share both, and their texts.
pub(crate) fn are_unique(scopes: &[PermissionScope], roles: &[AppRole]) -> bool {
    let mut by_id = HashMap::new();
    let mut by_value = HashMap::new();
    for scope in scopes {
        let value = scope.value.as_ref();
        if by_id.insert(scope.id, scope).is_some()
            || value.is_some_and(|value| by_value.insert(value, scope).is_some())
        {
            return false;
        }
    }
    let (mut ids, mut values) = (HashSet::new(), HashSet::new());
    roles.iter().all(|role| {
        let value = role.value.as_ref();
        let same_id = by_id.get(&role.id).copied();
        let same_value = value.and_then(|value| by_value.get(value)).copied();
        ids.insert(role.id)
            && value.is_none_or(|value| values.insert(value))
            && [same_id, same_value]
                .into_iter()
                .flatten()
                .all(|scope| role.is_twin_of(scope))
    })
}

impl AppRole {
    fn is_twin_of(&self, scope: &PermissionScope) -> bool {
        self.id == scope.id
            && self.value == scope.value
            && self.display_name == scope.admin_consent_display_name
            && self.description == scope.admin_consent_description
    }
}

impl User {
    pub(crate) fn is_in(&self, list: &[String]) -> bool {
        list.iter()
            .any(|name| name.eq_ignore_ascii_case(&self.username) || self.groups.contains(name))
    }
}

impl Policy {
    /// Everything that it protects.
    pub(crate) fn targets(&self) -> impl Iterator<Item = &Target> {
        [&self.target].into_iter().chain(&self.registration.also)
    }

    pub(crate) fn protects(&self, app: &App) -> bool {
        self.targets()
            .any(|target| matches!(target, Target::App(name) if is_named(app, name)))
    }

    pub(crate) fn protects_context(&self, context: &str) -> bool {
        self.targets()
            .any(|target| matches!(target, Target::AuthContext(id) if id == context))
    }
}

/// A policy names an application by name, or by client id, which outlives the application and its names.
fn is_named(app: &App, name: &str) -> bool {
    app.name == name || form::guid(name) == Some(app.client_id)
}

impl Directory {
    /// All applications, Graph among them.
    pub(crate) fn apps_and_graph(&self) -> Vec<App> {
        self.apps.iter().cloned().chain([App::graph()]).collect()
    }

    /// The application of this client id, Graph among them, if it has a service principal.
    pub(crate) fn usable(&self, client_id: Uuid) -> Option<App> {
        if client_id == GRAPH {
            return Some(App::graph());
        }
        self.apps
            .iter()
            .find(|app| app.client_id == client_id && app.has_principal())
            .cloned()
    }

    /// A name for an application that is no name, id or URI of another one: policies and commands go by any of these.
    pub(crate) fn unique_app_name(&self, display_name: &str, client_id: Uuid) -> String {
        let graph = App::graph();
        let mut others = self
            .apps
            .iter()
            .chain([&graph])
            .filter(|app| app.client_id != client_id);
        // A policy on a deleted application keeps its id.
        if form::guid(display_name).is_some() || others.any(|app| app.is(display_name)) {
            format!("{display_name} ({client_id})")
        } else {
            display_name.to_owned()
        }
    }

    /// Policies go on with the client id: the name will be another one, or nobody's.
    pub(crate) fn unname(&mut self, name: &str, client_id: Uuid) {
        for policy in &mut self.policies {
            let also = policy.registration.also.iter_mut();
            for target in [&mut policy.target].into_iter().chain(also) {
                if matches!(target, Target::App(known) if known == name) {
                    *target = Target::App(client_id.to_string());
                }
            }
        }
    }

    /// After a change: what an application needs follows what it says it needs, and nothing points at what is gone.
    pub(crate) fn settle(&mut self) {
        let apps = self.apps_and_graph();
        let ids: BTreeSet<Uuid> = apps.iter().map(|app| app.client_id).collect();
        let resolves = |permission: &String, has: fn(&App, &str) -> bool| {
            apps.iter().any(|app| {
                app.permission(permission)
                    .is_some_and(|name| has(app, name))
            })
        };
        for app in &mut self.apps {
            if let Some(required) = &app.registration.required {
                app.delegated = delegated(&apps, required);
            }
            app.delegated
                .retain(|permission| resolves(permission, App::has_scope));
            app.app_permissions
                .retain(|permission| resolves(permission, App::has_role));
            app.known_client_applications.retain(|id| ids.contains(id));
            app.pre_authorized.retain(|id| ids.contains(id));
            let registration = &mut app.registration;
            registration
                .pre_authorized
                .retain(|client| ids.contains(&client.app_id));
            registration.grants.retain(|grant| {
                let usable = |app: &App| app.client_id == grant.resource && app.has_principal();
                !registration.without_principal && apps.iter().any(usable)
            });
        }
        for user in &mut self.users {
            user.roles
                .retain(|permission| resolves(permission, App::has_role));
        }
    }
}

impl App {
    /// From here on consent is what stands in the grants.
    pub(crate) fn write_grants_down(&mut self, apps: &[App]) {
        if self.consent == Consent::Required {
            return;
        }
        self.registration.grants = self.grants(apps);
        self.consent = Consent::Required;
    }

    /// The grants to this client; consent that an administrator gave in the directory file is one for each API.
    pub(crate) fn grants(&self, apps: &[App]) -> Vec<PermissionGrant> {
        let mut grants = self.registration.grants.clone();
        if self.consent == Consent::Required {
            return grants;
        }
        for api in apps {
            let scopes: Vec<String> = self.held_on(api).map(str::to_owned).collect();
            let known = grants
                .iter_mut()
                .find(|grant| grant.resource == api.client_id && grant.principal.is_none());
            match known {
                _ if scopes.is_empty() => {}
                Some(grant) => {
                    let new = scopes
                        .into_iter()
                        .filter(|name| !grant.scopes.contains(name));
                    grant.scopes = grant.scopes.iter().cloned().chain(new).collect();
                }
                None => grants.push(PermissionGrant {
                    id: random::derived_guid(
                        "grant",
                        &format!("{} {}", self.client_id, api.client_id),
                    ),
                    resource: api.client_id,
                    principal: None,
                    scopes,
                }),
            }
        }
        grants
    }
}

/// The delegated permissions that stand in a `requiredResourceAccess` and exist.
fn delegated(apps: &[App], required: &[RequiredResource]) -> Vec<String> {
    let mut names = Vec::new();
    for resource in required {
        let Some(api) = apps
            .iter()
            .find(|app| app.client_id == resource.resource_app_id)
        else {
            continue;
        };
        let scopes = api.permission_scopes();
        for access in &resource.resource_access {
            let scope = scopes.iter().find(|scope| {
                access.r#type == AccessType::Scope && scope.id == access.id && scope.is_enabled
            });
            if let Some(value) = scope.and_then(|scope| scope.value.as_ref()) {
                let name = format!("{}/{value}", api.client_id);
                if !names.contains(&name) {
                    names.push(name);
                }
            }
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(id: u128, value: &str) -> PermissionScope {
        PermissionScope {
            admin_consent_description: Some("the description".to_owned()),
            admin_consent_display_name: Some("the name".to_owned()),
            id: Uuid::from_u128(id),
            value: (!value.is_empty()).then(|| value.to_owned()),
            ..PermissionScope::default()
        }
    }

    fn role(id: u128, value: &str) -> AppRole {
        AppRole {
            description: Some("the description".to_owned()),
            display_name: Some("the name".to_owned()),
            id: Uuid::from_u128(id),
            value: (!value.is_empty()).then(|| value.to_owned()),
            ..AppRole::default()
        }
    }

    #[test]
    fn a_scope_and_a_role_share_an_id_and_a_value_and_their_texts_or_nothing() {
        let unique = |role: AppRole| are_unique(&[scope(1, "read")], &[role]);
        assert!(unique(role(2, "other")) && unique(role(2, "")));
        assert!(unique(role(1, "read")), "the same thing twice");
        assert!(!unique(role(2, "read")), "another id");
        assert!(!unique(role(1, "other")), "another value");
        type Change = fn(&mut AppRole);
        let texts: [Change; 2] = [
            |role| role.display_name = Some("another name".to_owned()),
            |role| role.description = None,
        ];
        for change in texts {
            let mut role = role(1, "read");
            change(&mut role);
            assert!(!unique(role));
        }
    }

    #[test]
    fn among_themselves_scopes_and_roles_stand_once() {
        for (other, good) in [
            (scope(2, "other"), true),
            (scope(2, ""), true),
            (scope(2, "read"), false),
            (scope(1, "other"), false),
        ] {
            assert_eq!(
                are_unique(&[scope(1, "read"), other.clone()], &[]),
                good,
                "{other:?}"
            );
        }
        for (other, good) in [
            (role(2, "other"), true),
            (role(2, ""), true),
            (role(2, "read"), false),
            (role(1, "other"), false),
        ] {
            assert_eq!(
                are_unique(&[], &[role(1, "read"), other.clone()]),
                good,
                "{other:?}"
            );
        }
        // Without a value nothing is shared.
        assert!(are_unique(
            &[scope(1, ""), scope(2, "")],
            &[role(3, ""), role(4, "")]
        ));
    }
}
