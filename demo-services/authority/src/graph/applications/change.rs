//! What a change does to an application, and the rules for it. What tokens depend on goes into the directory's application itself.

use std::collections::HashSet;

use http::StatusCode;
use url::Url;
use uuid::Uuid;

use super::body::{Api, Body, Web};
use super::{find, find_mut};
use crate::directory::registration::{AppRole, PermissionScope, are_unique};
use crate::directory::{App, Directory};
use crate::graph::body::short;
use crate::graph::error::GraphError;
use crate::graph::{Key, credentials};

/// Longest list in a registration.
const MAX_LIST: usize = 100;
const RESOURCE: &str = "Application";
const AUDIENCES: [&str; 4] = [
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
];

/// What is in the body goes into the application; all else stays.
pub(super) fn apply(directory: &mut Directory, key: &Key, body: Body) -> Result<(), GraphError> {
    for (name, value) in [
        ("id", &body.id),
        ("appId", &body.app_id),
        ("createdDateTime", &body.created_date_time),
        ("publisherDomain", &body.publisher_domain),
    ] {
        if value.is_some() {
            return Err(GraphError::read_only(name));
        }
    }
    let before = find(directory, key)?.clone();
    let client_id = before.client_id;
    if let Some(name) = &body.display_name {
        rename(directory, key, name)?;
    }
    if let Some(uris) = &body.identifier_uris {
        check_identifier_uris(directory, client_id, uris)?;
    }
    if let Some(api) = &body.api {
        let pre_authorized = api.pre_authorized_applications.iter().flatten();
        let clients = pre_authorized.map(|client| &client.app_id);
        for id in clients.chain(api.known_client_applications.iter().flatten()) {
            if !directory.apps.iter().any(|app| app.client_id == *id) {
                return Err(GraphError::bad(format!(
                    "The application '{id}' does not exist in the directory."
                )));
            }
        }
    }
    let apis = directory.apps_and_graph();
    let app = find_mut(directory, key)?;
    if let Some(uris) = body.identifier_uris {
        app.identifier_uris = uris;
    }
    let registration = &mut app.registration;
    for (text, place, name, longest) in [
        (
            body.description,
            &mut registration.description,
            "description",
            1024,
        ),
        (body.notes, &mut registration.notes, "notes", 1024),
    ] {
        if let Some(text) = text {
            short(text.as_deref().unwrap_or_default(), longest, name, RESOURCE)?;
            *place = text;
        }
    }
    if let Some(tags) = body.tags {
        list("tags", &tags)?;
        for tag in &tags {
            short(tag, 256, "tags", RESOURCE)?;
        }
        registration.tags = tags;
    }
    if let Some(fallback) = body.is_fallback_public_client {
        app.public_client = fallback == Some(true);
        app.registration.is_fallback_public_client = fallback;
    }
    if let Some(web) = body.web {
        set_web(app, web)?;
    }
    if let Some(uris) = body.spa.and_then(|spa| spa.redirect_uris) {
        redirects("spa.redirectUris", &uris)?;
        app.redirect_uris.spa = uris;
    }
    if let Some(uris) = body.public_client.and_then(|client| client.redirect_uris) {
        redirects("publicClient.redirectUris", &uris)?;
        app.redirect_uris.native = uris;
    }
    if let Some(claims) = body.optional_claims {
        let claims = claims.unwrap_or_default();
        let all = [&claims.access_token, &claims.id_token, &claims.saml2_token];
        for claim in all.into_iter().flatten() {
            list("optionalClaims", &claim.additional_properties)?;
            short(&claim.name, 120, "optionalClaims", RESOURCE)?;
        }
        for claims in all {
            list("optionalClaims", claims)?;
        }
        app.follow_optional_claims(claims);
    }
    if let Some(keys) = body.key_credentials {
        credentials::set_keys(app, keys)?;
    }
    if let Some(required) = body.required_resource_access {
        list("requiredResourceAccess", &required)?;
        for resource in &required {
            list("requiredResourceAccess", &resource.resource_access)?;
        }
        // Consent of the directory file is for what stood there, not for what is needed from now on.
        app.write_grants_down(&apis);
        app.registration.required = Some(required);
    }
    if let Some(roles) = body.app_roles {
        set_roles(app, roles)?;
    }
    if let Some(api) = body.api {
        set_api(app, api)?;
    }
    if let Some(audience) = body.sign_in_audience {
        if !AUDIENCES.contains(&audience.as_str()) {
            return Err(GraphError::invalid_value("signInAudience", RESOURCE));
        }
        app.registration.sign_in_audience = Some(audience);
    }
    check_ids(app)?;
    let personal = app.registration.sign_in_audience.as_deref();
    if personal.is_some_and(is_personal) && app.access_token_version != 2 {
        return Err(GraphError::bad(
            "Property api.requestedAccessTokenVersion is invalid: it must be 2 for this signInAudience.",
        ));
    }
    directory.follow(&before);
    Ok(())
}

pub(super) fn is_personal(audience: &str) -> bool {
    audience.contains("Personal")
}

/// Pages and policies know an application by a name of its own; Graph's `displayName` may be another's as well.
fn rename(directory: &mut Directory, key: &Key, display_name: &str) -> Result<(), GraphError> {
    if display_name.trim().is_empty() {
        return Err(GraphError::invalid_value("displayName", RESOURCE));
    }
    short(display_name, 256, "displayName", RESOURCE)?;
    let app = find(directory, key)?;
    let (client_id, old) = (app.client_id, app.name.clone());
    let name = directory.unique_app_name(display_name, client_id);
    if name != old {
        directory.unname(&old, client_id);
    }
    let app = find_mut(directory, key)?;
    app.registration.display_name = (name != display_name).then(|| display_name.to_owned());
    app.name = name;
    Ok(())
}

fn check_identifier_uris(
    directory: &Directory,
    client_id: Uuid,
    uris: &[String],
) -> Result<(), GraphError> {
    list("identifierUris", uris)?;
    for uri in uris {
        short(uri, 255, "identifierUris", RESOURCE)?;
        // A deleted application keeps its own until it is gone for good.
        let deleted = directory.deleted_apps.iter().map(|deleted| &deleted.app);
        let taken = (directory.apps.iter().chain(deleted))
            .any(|app| app.client_id != client_id && app.identifier_uris.contains(uri));
        if taken || App::graph().identifier_uris.contains(uri) {
            return Err(GraphError::bad(
                "Another object with the same value for property identifierUris already exists.",
            ));
        }
        let url =
            Url::parse(uri).map_err(|_| GraphError::invalid_value("identifierUris", RESOURCE))?;
        let domain = &directory.tenant.domain;
        let verified = url.host_str().is_some_and(|host| {
            host == domain
                || host
                    .strip_suffix(domain.as_str())
                    .is_some_and(|sub| sub.ends_with('.'))
        });
        match url.scheme() {
            "api" => {}
            "https" if verified => {}
            _ => {
                return Err(GraphError::new(
                    StatusCode::BAD_REQUEST,
                    "HostNameNotOnVerifiedDomain",
                    "Values of identifierUris property must use a verified domain of the organization or its subdomain.",
                ));
            }
        }
    }
    Ok(())
}

fn list<T>(property: &str, values: &[T]) -> Result<(), GraphError> {
    if values.len() <= MAX_LIST {
        Ok(())
    } else {
        Err(GraphError::bad(format!(
            "The property '{property}' has more than {MAX_LIST} values."
        )))
    }
}

fn redirects(property: &str, uris: &[String]) -> Result<(), GraphError> {
    list(property, uris)?;
    uris.iter()
        .try_for_each(|uri| short(uri, 2048, property, RESOURCE))
}

fn set_web(app: &mut App, web: Web) -> Result<(), GraphError> {
    if let Some(uris) = web.redirect_uris {
        redirects("web.redirectUris", &uris)?;
        app.redirect_uris.web = uris;
    }
    let registration = &mut app.registration;
    for (url, place, name) in [
        (
            web.home_page_url,
            &mut registration.home_page_url,
            "web.homePageUrl",
        ),
        (
            web.logout_url,
            &mut registration.logout_url,
            "web.logoutUrl",
        ),
    ] {
        if let Some(url) = url {
            let good = url.as_deref().is_none_or(|url| {
                url.len() <= 256
                    && Url::parse(url).is_ok_and(|url| matches!(url.scheme(), "http" | "https"))
            });
            if !good {
                return Err(GraphError::invalid_value(name, RESOURCE));
            }
            *place = url;
        }
    }
    let implicit = web.implicit_grant_settings.unwrap_or_default();
    if implicit.enable_access_token_issuance || implicit.enable_id_token_issuance {
        return Err(GraphError::bad(
            "web.implicitGrantSettings: this authority has no implicit flow.",
        ));
    }
    Ok(())
}

fn set_api(app: &mut App, api: Api) -> Result<(), GraphError> {
    if let Some(version) = api.requested_access_token_version {
        set_version(app, version)?;
    }
    if let Some(clients) = api.known_client_applications {
        list("api.knownClientApplications", &clients)?;
        app.known_client_applications = clients;
    }
    if let Some(scopes) = api.oauth2_permission_scopes {
        set_scopes(app, scopes)?;
    }
    if let Some(clients) = api.pre_authorized_applications {
        list("api.preAuthorizedApplications", &clients)?;
        let scopes = app.permission_scopes();
        let known = |id: &Uuid| scopes.iter().any(|scope| scope.id == *id);
        let mut seen = HashSet::new();
        for client in &clients {
            let ids = &client.delegated_permission_ids;
            if ids.is_empty() || !ids.iter().all(known) || !seen.insert(client.app_id) {
                return Err(GraphError::invalid_value(
                    "api.preAuthorizedApplications",
                    RESOURCE,
                ));
            }
        }
        app.registration.scopes = scopes;
        app.registration.pre_authorized = clients;
        app.pre_authorized = Vec::new();
    }
    Ok(())
}

/// Null is version 1 (`apiApplication` resource type).
pub(super) fn set_version(app: &mut App, version: Option<u8>) -> Result<(), GraphError> {
    let version_is_null = version.is_none();
    match version.unwrap_or(1) {
        version @ (1 | 2) => app.access_token_version = version,
        _ => {
            return Err(GraphError::invalid_value(
                "api.requestedAccessTokenVersion",
                RESOURCE,
            ));
        }
    }
    app.registration.version_is_null = version_is_null;
    Ok(())
}

fn set_scopes(app: &mut App, scopes: Vec<PermissionScope>) -> Result<(), GraphError> {
    const PROPERTY: &str = "api.oauth2PermissionScopes";
    list(PROPERTY, &scopes)?;
    for scope in &scopes {
        let kind = scope.r#type.as_deref().unwrap_or("User");
        let value = scope.value.as_deref().unwrap_or_default();
        let good = matches!(kind, "User" | "Admin")
            && value.len() <= 120
            && (!value.is_empty() || !scope.is_enabled);
        if !good {
            return Err(GraphError::invalid_value(PROPERTY, RESOURCE));
        }
        for text in [
            &scope.admin_consent_description,
            &scope.admin_consent_display_name,
            &scope.user_consent_description,
            &scope.user_consent_display_name,
        ] {
            short(
                text.as_deref().unwrap_or_default(),
                1024,
                PROPERTY,
                RESOURCE,
            )?;
        }
    }
    for old in app.permission_scopes() {
        let same = |new: &PermissionScope| new.id == old.id && new.value == old.value;
        if old.is_enabled && !scopes.iter().any(same) {
            return Err(still_enabled());
        }
    }
    app.scopes = scopes
        .iter()
        .filter(|scope| scope.is_enabled)
        .filter_map(|scope| scope.value.clone())
        .collect();
    app.registration.scopes = scopes;
    Ok(())
}

fn set_roles(app: &mut App, roles: Vec<AppRole>) -> Result<(), GraphError> {
    list("appRoles", &roles)?;
    for role in &roles {
        let members = &role.allowed_member_types;
        let value = role.value.as_deref().unwrap_or_default();
        let text = |text: &Option<String>| {
            text.as_ref()
                .is_some_and(|text| !text.is_empty() && text.chars().count() <= 1024)
        };
        let good = !members.is_empty()
            && members
                .iter()
                .all(|kind| matches!(kind.as_str(), "User" | "Application"))
            && text(&role.display_name)
            && text(&role.description)
            && value.len() <= 120
            && (role.value.is_none() || !value.is_empty());
        if !good {
            return Err(GraphError::invalid_value("appRoles", RESOURCE));
        }
    }
    for old in app.roles() {
        let same = |new: &AppRole| new.id == old.id && new.value == old.value;
        if old.is_enabled && !roles.iter().any(same) {
            return Err(still_enabled());
        }
    }
    app.app_roles = roles
        .iter()
        .filter(|role| role.is_enabled)
        .filter_map(|role| role.value.clone())
        .collect();
    app.registration.roles = roles;
    Ok(())
}

fn still_enabled() -> GraphError {
    GraphError::new(
        StatusCode::BAD_REQUEST,
        "CannotDeleteOrUpdateEnabledEntitlement",
        "Permission (scope or role) cannot be deleted or updated unless disabled first.",
    )
}

/// Also what the directory file says counts: it is told like the rest.
fn check_ids(app: &App) -> Result<(), GraphError> {
    let (scopes, roles) = (app.permission_scopes(), app.roles());
    let nil = scopes.iter().map(|scope| scope.id);
    let nil = nil
        .chain(roles.iter().map(|role| role.id))
        .any(|id| id.is_nil());
    if !nil && are_unique(&scopes, &roles) {
        return Ok(());
    }
    Err(GraphError::new(
        StatusCode::BAD_REQUEST,
        "DuplicateValue",
        "Request contains a property with duplicate values.",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::body;
    use serde_json::{Value, json};

    const API: Key = Key::AppId(Uuid::from_u128(0xd030_0000_0000_4000_8000_0000_0000_7000));

    /// The demo's downstream API after these changes, or the code of the first error.
    fn changed(changes: &[Value]) -> Result<App, &'static str> {
        let mut directory = Directory::demo();
        for change in changes {
            let body = change.as_object().unwrap().clone();
            body::read(body)
                .and_then(|body| apply(&mut directory, &API, body))
                .map_err(|error| error.code)?;
        }
        Ok(find(&directory, &API).unwrap().clone())
    }

    fn audience(audience: &str, version: Value) -> Value {
        json!({ "signInAudience": audience, "api": { "requestedAccessTokenVersion": version } })
    }

    #[test]
    fn null_is_version_1_which_personal_accounts_do_not_have() {
        let app = changed(&[audience("AzureADMyOrg", Value::Null)]).unwrap();
        assert_eq!(
            (app.access_token_version, app.registration.version_is_null),
            (1, true)
        );
        let app = changed(&[audience("PersonalMicrosoftAccount", json!(2))]).unwrap();
        assert_eq!(
            (app.access_token_version, app.registration.version_is_null),
            (2, false)
        );
        for version in [Value::Null, json!(1)] {
            let error = changed(&[audience("PersonalMicrosoftAccount", version)]);
            assert_eq!(error.err(), Some("Request_BadRequest"));
        }
    }

    #[test]
    fn an_application_keeps_a_name_of_its_own() {
        let app = changed(&[json!({ "displayName": "daemon" })]).unwrap();
        assert_eq!(app.display_name(), "daemon");
        assert_eq!(app.name, format!("daemon ({})", app.client_id));
        let app = changed(&[
            json!({ "displayName": "daemon" }),
            json!({ "displayName": "mine" }),
        ])
        .unwrap();
        assert_eq!((app.display_name(), app.name.as_str()), ("mine", "mine"));
    }

    #[test]
    fn ids_and_values_stand_once_among_scopes_and_roles() {
        let role = |id: u128, value: &str| {
            json!({
                "id": Uuid::from_u128(id), "value": value, "displayName": value, "description": value,
                "allowedMemberTypes": ["User"], "isEnabled": true,
            })
        };
        let old = &Directory::demo().app("downstream-api").unwrap().roles()[0];
        let with = |more: Value| changed(&[json!({ "appRoles": [json!(old), more] })]).err();
        assert_eq!(with(role(1, "other")), None);
        for bad in [
            // Scopes and roles are one set.
            role(1, "user_impersonation"),
            role(1, "Task.Run"),
            role(old.id.as_u128(), "other"),
            role(0, "other"),
        ] {
            assert_eq!(with(bad), Some("DuplicateValue"));
        }
        let scope = &Directory::demo()
            .app("downstream-api")
            .unwrap()
            .permission_scopes()[0];
        let mut twin = role(scope.id.as_u128(), "user_impersonation");
        twin["displayName"] = json!(scope.admin_consent_display_name);
        twin["description"] = json!(scope.admin_consent_description);
        assert_eq!(with(twin.clone()), None, "the same thing twice");
        twin["description"] = json!("another");
        assert_eq!(with(twin), Some("DuplicateValue"));
        let gone = changed(&[json!({ "appRoles": [role(1, "other")] })]);
        assert_eq!(gone.err(), Some("CannotDeleteOrUpdateEnabledEntitlement"));
    }

    #[test]
    fn a_uri_is_of_the_application_or_of_a_domain_of_the_tenant() {
        let with = |uri: &str| changed(&[json!({ "identifierUris": [uri] })]).err();
        for uri in [
            "api://any",
            "https://contoso.example/x",
            "https://a.contoso.example",
        ] {
            assert_eq!(with(uri), None, "{uri}");
        }
        for uri in [
            "https://evilcontoso.example",
            "https://contoso.example.evil",
            "http://contoso.example",
            "urn:x",
        ] {
            assert_eq!(with(uri), Some("HostNameNotOnVerifiedDomain"), "{uri}");
        }
        for uri in ["api://middle-tier", "https://graph.microsoft.com", "x"] {
            assert_eq!(with(uri), Some("Request_BadRequest"), "{uri}");
        }
    }
}
