//! `/v1.0/applications`: registrations. What tokens depend on goes into the directory's application itself.

use std::collections::HashSet;

use http::Method;
use serde::Deserialize;
use serde_json::{Value, json};
use url::Url;
use uuid::Uuid;

use super::body::{given, nullable, short};
use super::credentials::{self, NewKey, NewPassword};
use super::error::GraphError;
use super::{Answered, Call, Key, Reply, dates, owners, wrong_method};
use crate::directory::registration::{
    AccessType, AppRole, OptionalClaims, PermissionScope, PreAuthorized, RequiredResource,
    ResourceAccess,
};
use crate::directory::{App, Consent, Directory};

pub(super) const READ: &[&str] = &[
    "Application.Read.All",
    "Application.ReadWrite.All",
    "Directory.Read.All",
];
pub(super) const WRITE: &[&str] = &["Application.ReadWrite.All"];

const MAX_APPLICATIONS: usize = 1000;
/// Longest list in a registration.
const MAX_LIST: usize = 100;
const RESOURCE: &str = "Application";
const AUDIENCES: [&str; 4] = [
    "AzureADMyOrg",
    "AzureADMultipleOrgs",
    "AzureADandPersonalMicrosoftAccount",
    "PersonalMicrosoftAccount",
];

/// Graph's `application` in a request.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Body {
    #[serde(deserialize_with = "given")]
    display_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    description: Option<Option<String>>,
    #[serde(deserialize_with = "nullable")]
    notes: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    sign_in_audience: Option<String>,
    #[serde(deserialize_with = "given")]
    identifier_uris: Option<Vec<String>>,
    #[serde(deserialize_with = "given")]
    tags: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    is_fallback_public_client: Option<Option<bool>>,
    #[serde(deserialize_with = "given")]
    api: Option<Api>,
    #[serde(deserialize_with = "given")]
    web: Option<Web>,
    #[serde(deserialize_with = "given")]
    spa: Option<Redirects>,
    #[serde(deserialize_with = "given")]
    public_client: Option<Redirects>,
    #[serde(deserialize_with = "given")]
    app_roles: Option<Vec<AppRole>>,
    #[serde(deserialize_with = "given")]
    required_resource_access: Option<Vec<RequiredResource>>,
    #[serde(deserialize_with = "nullable")]
    optional_claims: Option<Option<OptionalClaims>>,
    #[serde(deserialize_with = "given")]
    key_credentials: Option<Vec<NewKey>>,
    #[serde(deserialize_with = "given")]
    password_credentials: Option<Vec<NewPassword>>,
    // Read-only ones, so that the error can say so.
    id: Option<Value>,
    app_id: Option<Value>,
    created_date_time: Option<Value>,
    publisher_domain: Option<Value>,
}

/// Graph's `apiApplication`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Api {
    #[serde(deserialize_with = "given")]
    known_client_applications: Option<Vec<Uuid>>,
    #[serde(deserialize_with = "given")]
    oauth2_permission_scopes: Option<Vec<PermissionScope>>,
    #[serde(deserialize_with = "given")]
    pre_authorized_applications: Option<Vec<PreAuthorized>>,
    #[serde(deserialize_with = "nullable")]
    requested_access_token_version: Option<Option<u8>>,
}

/// Graph's `webApplication`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Web {
    #[serde(deserialize_with = "nullable")]
    home_page_url: Option<Option<String>>,
    #[serde(deserialize_with = "nullable")]
    logout_url: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    redirect_uris: Option<Vec<String>>,
    implicit_grant_settings: Option<Implicit>,
}

/// Graph's `implicitGrantSettings`: the implicit flow is not there, so it can only stay off.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Implicit {
    enable_access_token_issuance: bool,
    enable_id_token_issuance: bool,
}

/// Graph's `spaApplication` and `publicClientApplication`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Redirects {
    #[serde(deserialize_with = "given")]
    redirect_uris: Option<Vec<String>>,
}

pub(super) fn route(call: &Call<'_>, method: &Method, path: &[&str]) -> Answered {
    match (method, path) {
        (&Method::GET, []) => {
            call.caller.require(READ)?;
            let apps = call.directory.apps_and_graph();
            let objects = call
                .directory
                .apps
                .iter()
                .map(|app| object(call.directory, &apps, app));
            let filterable = ["id", "appId", "displayName", "identifierUris"];
            call.many("applications", "application", objects, &filterable)
        }
        (&Method::POST, []) => create(call),
        (_, []) => Err(wrong_method()),
        (_, [key, rest @ ..]) => {
            let key = Key::parse(key)?;
            match (method, rest) {
                (&Method::GET, []) => {
                    call.caller.require(READ)?;
                    let app = find(call.directory, &key)?;
                    let apps = call.directory.apps_and_graph();
                    let object = object(call.directory, &apps, app);
                    call.one("applications", "application", object)
                }
                (&Method::PATCH, []) => update(call, &key),
                (&Method::DELETE, []) => delete(call, &key),
                (&Method::POST, ["addPassword"]) => {
                    call.caller.require(WRITE)?;
                    credentials::add_password(call, &key)
                }
                (&Method::POST, ["removePassword"]) => {
                    call.caller.require(WRITE)?;
                    credentials::remove_password(call, &key)
                }
                (_, ["owners", rest @ ..]) => owners::route(call, method, &key, rest),
                (_, [] | ["addPassword" | "removePassword"]) => Err(wrong_method()),
                (_, [other, ..]) => Err(super::no_segment(other)),
            }
        }
    }
}

fn is(app: &App, key: &Key) -> bool {
    match key {
        Key::Id(id) => app.object_id() == *id,
        Key::AppId(id) => app.client_id == *id,
    }
}

fn unknown(key: &Key) -> GraphError {
    let (Key::Id(id) | Key::AppId(id)) = key;
    GraphError::not_found(&id.to_string())
}

pub(super) fn find<'a>(directory: &'a Directory, key: &Key) -> Result<&'a App, GraphError> {
    let app = directory.apps.iter().find(|app| is(app, key));
    app.ok_or_else(|| unknown(key))
}

pub(super) fn find_mut<'a>(
    directory: &'a mut Directory,
    key: &Key,
) -> Result<&'a mut App, GraphError> {
    let app = directory.apps.iter_mut().find(|app| is(app, key));
    app.ok_or_else(|| unknown(key))
}

fn create(call: &Call<'_>) -> Answered {
    call.caller.require(WRITE)?;
    let mut body: Body = call.read()?;
    let name = body.display_name.clone().ok_or_else(|| {
        GraphError::bad("A value is required for property 'displayName' of resource 'Application'.")
    })?;
    let passwords = body.password_credentials.take().unwrap_or_default();
    let client_id = Uuid::new_v4();
    let mut secrets = Vec::new();
    let mut created = call.authority.change(|directory| {
        if directory.apps.len() >= MAX_APPLICATIONS {
            return Err(GraphError::quota("applications"));
        }
        let mut app = App::new(name, client_id);
        app.consent = Consent::Required;
        app.registration.object_id = Some(Uuid::new_v4());
        app.registration.without_principal = true;
        app.registration.created = Some(call.now);
        app.registration.required = Some(Vec::new());
        // Whoever signs in and registers an application owns it.
        app.registration.owners = call.caller.user.into_iter().collect();
        let audience = body
            .sign_in_audience
            .get_or_insert_with(|| "AzureADandPersonalMicrosoftAccount".to_owned());
        let version = if is_personal(audience) { Some(2) } else { None };
        set_version(&mut app, version)?;
        directory.apps.push(app);
        let key = Key::AppId(client_id);
        apply(directory, &key, body)?;
        let app = find_mut(directory, &key)?;
        for password in passwords {
            secrets.push(credentials::add(app, password, call.now)?);
        }
        directory.settle();
        let apps = directory.apps_and_graph();
        Ok(object(directory, &apps, find(directory, &key)?))
    })?;
    if let (Value::Object(created), false) = (&mut created, secrets.is_empty()) {
        created.insert("passwordCredentials".to_owned(), secrets.into());
    }
    call.created("applications", "application", created)
}

fn update(call: &Call<'_>, key: &Key) -> Answered {
    call.caller.require(WRITE)?;
    let body: Body = call.read()?;
    if body.password_credentials.is_some() {
        return Err(GraphError::bad(
            "Updates to passwordCredentials are made with addPassword and removePassword.",
        ));
    }
    call.authority
        .change(|directory| apply(directory, key, body))?;
    Ok(Reply::Done)
}

fn delete(call: &Call<'_>, key: &Key) -> Answered {
    call.caller.require(WRITE)?;
    let client_id = call.authority.change(|directory| {
        let app = find(directory, key)?;
        let (name, client_id) = (app.name.clone(), app.client_id);
        directory.unname(&name, client_id);
        directory.apps.retain(|app| app.client_id != client_id);
        Ok::<_, GraphError>(client_id)
    })?;
    call.authority.end_app(client_id);
    Ok(Reply::Done)
}

/// What is in the body goes into the application; all else stays.
fn apply(directory: &mut Directory, key: &Key, body: Body) -> Result<(), GraphError> {
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
        registration.is_fallback_public_client = fallback;
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

fn is_personal(audience: &str) -> bool {
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
        let taken = directory
            .apps
            .iter()
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
                    http::StatusCode::BAD_REQUEST,
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
fn set_version(app: &mut App, version: Option<u8>) -> Result<(), GraphError> {
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
        http::StatusCode::BAD_REQUEST,
        "CannotDeleteOrUpdateEnabledEntitlement",
        "Permission (scope or role) cannot be deleted or updated unless disabled first.",
    )
}

/// Ids and values of scopes and of roles stand once.
fn check_ids(app: &App) -> Result<(), GraphError> {
    let (scopes, roles) = (&app.registration.scopes, &app.registration.roles);
    let mut ids = HashSet::new();
    let all = scopes.iter().map(|scope| scope.id);
    for id in all.chain(roles.iter().map(|role| role.id)) {
        if id.is_nil() || !ids.insert(id) {
            return Err(GraphError::new(
                http::StatusCode::BAD_REQUEST,
                "DuplicateValue",
                "Request contains a property with duplicate values.",
            ));
        }
    }
    let mut values = HashSet::new();
    let mut role_values = HashSet::new();
    let unique = scopes
        .iter()
        .filter_map(|scope| scope.value.as_ref())
        .all(|value| values.insert(value))
        && roles
            .iter()
            .filter_map(|role| role.value.as_ref())
            .all(|value| role_values.insert(value));
    if unique {
        Ok(())
    } else {
        Err(GraphError::new(
            http::StatusCode::BAD_REQUEST,
            "DuplicateValue",
            "Request contains a property with duplicate values.",
        ))
    }
}

/// An application as Graph tells it; `apps` are all, for the ids of what it needs.
fn object(directory: &Directory, apps: &[App], app: &App) -> Value {
    let registration = &app.registration;
    let hints: Vec<Value> = app
        .passwords()
        .iter()
        .map(|name| credentials::password(name, None))
        .collect();
    let keys: Vec<Value> = app.keys().iter().map(credentials::key).collect();
    let version = (!registration.version_is_null).then_some(app.access_token_version);
    json!({
        "id": app.object_id().to_string(),
        "deletedDateTime": null,
        "appId": app.client_id.to_string(),
        "createdDateTime": dates::value(registration.created),
        "displayName": app.display_name(),
        "description": registration.description,
        "notes": registration.notes,
        "identifierUris": app.identifier_uris,
        "isFallbackPublicClient": registration.is_fallback_public_client,
        "publisherDomain": directory.tenant.domain,
        "signInAudience": registration.sign_in_audience.as_deref().unwrap_or("AzureADMyOrg"),
        "tags": registration.tags,
        "api": {
            "acceptMappedClaims": null,
            "knownClientApplications": app.known_client_applications,
            "oauth2PermissionScopes": app.permission_scopes(),
            "preAuthorizedApplications": pre_authorized(app),
            "requestedAccessTokenVersion": version,
        },
        "appRoles": app.roles(),
        "keyCredentials": keys,
        "optionalClaims": optional_claims(app),
        "passwordCredentials": hints,
        "publicClient": { "redirectUris": app.redirect_uris.native },
        "requiredResourceAccess": required(apps, app),
        "spa": { "redirectUris": app.redirect_uris.spa },
        "web": {
            "homePageUrl": registration.home_page_url,
            "logoutUrl": registration.logout_url,
            "redirectUris": app.redirect_uris.web,
            "implicitGrantSettings": {
                "enableAccessTokenIssuance": false,
                "enableIdTokenIssuance": false,
            },
        },
    })
}

/// A client of the directory file needs no consent for any scope.
fn pre_authorized(app: &App) -> Vec<PreAuthorized> {
    let all: Vec<Uuid> = app
        .permission_scopes()
        .iter()
        .map(|scope| scope.id)
        .collect();
    let from_file = app.pre_authorized.iter().map(|client| PreAuthorized {
        app_id: *client,
        delegated_permission_ids: all.clone(),
    });
    let told = app.registration.pre_authorized.iter().cloned();
    told.chain(from_file).collect()
}

fn optional_claims(app: &App) -> Value {
    if let Some(claims) = &app.registration.optional_claims {
        return json!(claims);
    }
    if app.optional_claims.is_empty() {
        return Value::Null;
    }
    let claims: Vec<Value> = app
        .optional_claims
        .iter()
        .map(|claim| {
            json!({ "name": claim, "essential": false, "source": null, "additionalProperties": [] })
        })
        .collect();
    json!({ "accessToken": claims, "idToken": [], "saml2Token": [] })
}

fn required(apps: &[App], app: &App) -> Vec<RequiredResource> {
    if let Some(required) = &app.registration.required {
        return required.clone();
    }
    let needs = |api: &App| {
        let scopes = api.permission_scopes();
        let scopes = scopes.iter().filter(|scope| {
            app.held_on(api)
                .any(|name| scope.value.as_deref() == Some(name))
        });
        let roles = api.roles();
        let roles = roles.iter().filter(|role| {
            let held = app.app_permissions.iter();
            held.filter_map(|permission| api.permission(permission))
                .any(|name| role.value.as_deref() == Some(name))
        });
        let scopes = scopes.map(|scope| (scope.id, AccessType::Scope));
        let access: Vec<ResourceAccess> = scopes
            .chain(roles.map(|role| (role.id, AccessType::Role)))
            .map(|(id, r#type)| ResourceAccess { id, r#type })
            .collect();
        RequiredResource {
            resource_app_id: api.client_id,
            resource_access: access,
        }
    };
    apps.iter()
        .map(needs)
        .filter(|resource| !resource.resource_access.is_empty())
        .collect()
}
