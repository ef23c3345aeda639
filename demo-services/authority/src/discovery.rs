//! Metadata and keys, of the tenant and of all tenants.

use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::{Value, json};
use url::Url;

use crate::authority::{Authority, Shared};
use crate::directory::Directory;
use crate::errors::{Refusal, Trace};
use crate::form::Form;
use crate::hosts::is_own_host;
use crate::known::Known;
use crate::requests;
use crate::version::{Segment, TokenVersion};

/// `GET /{tenant}/v2.0/.well-known/openid-configuration` and `GET /{tenant}/.well-known/openid-configuration`.
pub(crate) async fn metadata(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    Extension(segment): Extension<Segment>,
    Extension(version): Extension<TokenVersion>,
) -> Response {
    let tenant = format!(
        "{}/{}",
        authority.base,
        segment.in_urls(directory.tenant.id)
    );
    let region = match segment {
        Segment::Common | Segment::Organizations => Value::Null,
        Segment::Tenant => "WW".into(),
    };
    Json(json!({
        "issuer": version.issuer(&authority.base, segment.in_issuer(directory.tenant.id)),
        "authorization_endpoint": format!("{tenant}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{tenant}/oauth2/v2.0/token"),
        "device_authorization_endpoint": format!("{tenant}/oauth2/v2.0/devicecode"),
        "end_session_endpoint": format!("{tenant}/oauth2/v2.0/logout"),
        "jwks_uri": format!("{tenant}/{}", version.keys()),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer", "urn:ietf:params:oauth:grant-type:device_code"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic", "none"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "name", "oid", "tid", "ver", "preferred_username", "sid", "email", "roles"],
        "claims_parameter_supported": true,
        "request_uri_parameter_supported": false,
        "tenant_region_scope": region,
        "cloud_instance_name": authority.host(),
        "cloud_graph_host_name": authority.host(),
        "msgraph_host": authority.host(),
    }))
    .into_response()
}

/// `GET /{tenant}/discovery/v2.0/keys` and `GET /{tenant}/discovery/keys`.
pub(crate) async fn keys(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    Extension(segment): Extension<Segment>,
    Extension(version): Extension<TokenVersion>,
) -> Response {
    let issuer = version.issuer(&authority.base, segment.in_issuer(directory.tenant.id));
    Json(authority.jwks(version, &issuer)).into_response()
}

/// `GET /common/discovery/instance`: which names a cloud has, and where the metadata of an authority are.
pub(crate) async fn instance(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    RawQuery(query): RawQuery,
) -> Response {
    let form = Form::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let endpoint = form
        .get("authorization_endpoint")
        .ok_or_else(|| Refusal::missing("authorization_endpoint"));
    match endpoint.and_then(|endpoint| place(&authority, &directory, endpoint)) {
        Ok(place) => {
            let host = authority.host();
            Json(json!({
                "tenant_discovery_endpoint": place,
                "api-version": "1.1",
                "metadata": [{ "preferred_network": host, "preferred_cache": host, "aliases": [host] }],
            }))
            .into_response()
        }
        Err(refusal) => refused(&authority, &refusal),
    }
}

/// Where the metadata are that lead to this authorization endpoint.
fn place(authority: &Authority, directory: &Directory, endpoint: &str) -> Result<String, Refusal> {
    let unknown = || Refusal::new("invalid_instance", 50_049, "Unknown or invalid instance.");
    let url = Url::parse(endpoint).map_err(|_| unknown())?;
    let own = authority.base.starts_with(&format!("{}://", url.scheme()))
        && url.username().is_empty()
        && url.password().is_none()
        && (is_own_host(authority, url.authority()) || is_own_name(authority, &url));
    let (tenant, path) = url
        .path()
        .trim_start_matches('/')
        .split_once('/')
        .filter(|_| own)
        .ok_or_else(unknown)?;
    let version = match path {
        "oauth2/authorize" => TokenVersion::V1,
        "oauth2/v2.0/authorize" => TokenVersion::V2,
        _ => return Err(unknown()),
    };
    let segment = Segment::parse(directory.tenant.id, &directory.tenant.domain, tenant)
        .ok_or_else(unknown_tenant)?;
    Ok(format!(
        "{}/{}/{}",
        authority.base,
        segment.in_urls(directory.tenant.id),
        version.metadata()
    ))
}

/// MSAL for Python asks about its authority's name and leaves the port away.
fn is_own_name(authority: &Authority, url: &Url) -> bool {
    let name = url.host_str().filter(|_| url.port().is_none());
    name.is_some_and(|name| {
        authority.hosts.iter().any(|host| {
            let port = host
                .strip_prefix(name)
                .and_then(|rest| rest.strip_prefix(':'));
            port.is_some_and(|port| port.bytes().all(|byte| byte.is_ascii_digit()))
        })
    })
}

/// No such tenant.
pub(crate) fn unknown_tenant() -> Refusal {
    Refusal::invalid_request(
        90_002,
        "Tenant not found. Check to make sure you have the correct tenant ID and are signing into the correct cloud.",
    )
}

/// A refusal as JSON.
pub(crate) fn refused(authority: &Authority, refusal: &Refusal) -> Response {
    let trace = Trace::new(None);
    requests::note(|request| request.refused(refusal, trace));
    (
        refusal.status,
        Json(refusal.body(trace, authority.now(), &authority.base)),
    )
        .into_response()
}
