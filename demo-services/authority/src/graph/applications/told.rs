//! An application as Graph tells it: what was registered, and what the directory file says without Graph's words for it.

use serde_json::{Value, json};
use uuid::Uuid;

use crate::directory::registration::{AccessType, PreAuthorized, RequiredResource, ResourceAccess};
use crate::directory::{App, Directory};
use crate::graph::{credentials, dates};

/// An application as Graph tells it; `apps` are all, for the ids of what it needs.
pub(in crate::graph) fn object(directory: &Directory, apps: &[App], app: &App) -> Value {
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
        "isFallbackPublicClient": registration.is_fallback_public_client.or(app.public_client.then_some(true)),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::GRAPH;

    fn told(directory: &Directory, name: &str) -> Value {
        let apps = directory.apps_and_graph();
        object(directory, &apps, directory.app(name).unwrap())
    }

    #[test]
    fn what_a_client_of_the_file_needs_is_told_by_id() {
        let directory = Directory::demo();
        let down = directory.app("downstream-api").unwrap();
        let gate = directory.app("mfa-app").unwrap();
        let needs = |app: &App, id: Uuid, kind: &str| json!({ "resourceAppId": app.client_id, "resourceAccess": [{ "id": id, "type": kind }] });
        let graph = json!({ "resourceAppId": GRAPH, "resourceAccess": [
            { "id": "e1fe6dd8-ba31-4d61-89e7-88639da4683d", "type": "Scope" },
            { "id": "b4e74841-8e56-480b-be8b-910348b18b4c", "type": "Scope" },
        ] });
        for (name, expected) in [
            (
                "middle-tier",
                json!([
                    needs(down, down.permission_scopes()[0].id, "Scope"),
                    needs(gate, gate.permission_scopes()[0].id, "Scope"),
                    graph,
                ]),
            ),
            ("daemon", json!([needs(down, down.roles()[0].id, "Role")])),
            ("downstream-api", json!([])),
        ] {
            let told = told(&directory, name);
            assert_eq!(told["requiredResourceAccess"], expected, "{name}");
        }
    }

    #[test]
    fn a_client_that_needs_no_consent_is_told_with_every_scope() {
        let mut directory = Directory::demo();
        let client = directory.app("daemon").unwrap().client_id;
        directory.app_mut("middle-tier").unwrap().pre_authorized = vec![client];
        let told = told(&directory, "middle-tier");
        assert_eq!(
            told["api"]["preAuthorizedApplications"],
            json!([{ "appId": client, "delegatedPermissionIds": [told["api"]["oauth2PermissionScopes"][0]["id"]] }])
        );
    }

    #[test]
    fn no_secret_is_told() {
        let directory = Directory::demo();
        let text = told(&directory, "daemon").to_string();
        let secret = directory.app("daemon").unwrap().secret().unwrap();
        assert!(!text.contains(secret));
    }
}
