//! Metadata and keys.

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use serde_json::json;

use crate::authority::Shared;
use crate::server::Known;

/// `GET /{tenant}/v2.0/.well-known/openid-configuration`.
pub(crate) async fn metadata(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
) -> Response {
    let tenant = format!("{}/{}", authority.base, directory.tenant.id);
    Json(json!({
        "issuer": authority.issuer,
        "authorization_endpoint": format!("{tenant}/oauth2/v2.0/authorize"),
        "token_endpoint": format!("{tenant}/oauth2/v2.0/token"),
        "end_session_endpoint": format!("{tenant}/oauth2/v2.0/logout"),
        "jwks_uri": format!("{tenant}/discovery/v2.0/keys"),
        "response_types_supported": ["code"],
        "response_modes_supported": ["query", "fragment", "form_post"],
        "grant_types_supported": ["authorization_code", "refresh_token", "client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"],
        "subject_types_supported": ["pairwise"],
        "id_token_signing_alg_values_supported": ["RS256"],
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt", "client_secret_basic", "none"],
        "code_challenge_methods_supported": ["S256"],
        "scopes_supported": ["openid", "profile", "email", "offline_access"],
        "claims_supported": ["sub", "iss", "aud", "exp", "iat", "nbf", "auth_time", "nonce", "name", "oid", "tid", "ver", "preferred_username", "sid"],
        "claims_parameter_supported": true,
        "request_uri_parameter_supported": false,
    }))
    .into_response()
}

/// `GET /{tenant}/discovery/v2.0/keys`.
pub(crate) async fn keys(State(authority): State<Shared>) -> Response {
    Json(authority.keys.jwks(&authority.issuer)).into_response()
}
