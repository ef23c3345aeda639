//! What a request to `/v1.0/applications` may say. A property that is not here is refused.

use serde::Deserialize;
use serde_json::Value;
use uuid::Uuid;

use crate::directory::registration::{
    AppRole, OptionalClaims, PermissionScope, PreAuthorized, RequiredResource,
};
use crate::graph::body::{given, nullable};
use crate::graph::credentials::{NewKey, NewPassword};

/// Graph's `application` in a request.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Body {
    #[serde(deserialize_with = "given")]
    pub(super) display_name: Option<String>,
    #[serde(deserialize_with = "nullable")]
    pub(super) description: Option<Option<String>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) notes: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    pub(super) sign_in_audience: Option<String>,
    #[serde(deserialize_with = "given")]
    pub(super) identifier_uris: Option<Vec<String>>,
    #[serde(deserialize_with = "given")]
    pub(super) tags: Option<Vec<String>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) is_fallback_public_client: Option<Option<bool>>,
    #[serde(deserialize_with = "given")]
    pub(super) api: Option<Api>,
    #[serde(deserialize_with = "given")]
    pub(super) web: Option<Web>,
    #[serde(deserialize_with = "given")]
    pub(super) spa: Option<Redirects>,
    #[serde(deserialize_with = "given")]
    pub(super) public_client: Option<Redirects>,
    #[serde(deserialize_with = "given")]
    pub(super) app_roles: Option<Vec<AppRole>>,
    #[serde(deserialize_with = "given")]
    pub(super) required_resource_access: Option<Vec<RequiredResource>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) optional_claims: Option<Option<OptionalClaims>>,
    #[serde(deserialize_with = "given")]
    pub(super) key_credentials: Option<Vec<NewKey>>,
    #[serde(deserialize_with = "given")]
    pub(super) password_credentials: Option<Vec<NewPassword>>,
    // Read-only ones, so that the error can say so.
    pub(super) id: Option<Value>,
    pub(super) app_id: Option<Value>,
    pub(super) created_date_time: Option<Value>,
    pub(super) publisher_domain: Option<Value>,
}

/// Graph's `apiApplication`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Api {
    #[serde(deserialize_with = "given")]
    pub(super) known_client_applications: Option<Vec<Uuid>>,
    #[serde(deserialize_with = "given")]
    pub(super) oauth2_permission_scopes: Option<Vec<PermissionScope>>,
    #[serde(deserialize_with = "given")]
    pub(super) pre_authorized_applications: Option<Vec<PreAuthorized>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) requested_access_token_version: Option<Option<u8>>,
}

/// Graph's `webApplication`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Web {
    #[serde(deserialize_with = "nullable")]
    pub(super) home_page_url: Option<Option<String>>,
    #[serde(deserialize_with = "nullable")]
    pub(super) logout_url: Option<Option<String>>,
    #[serde(deserialize_with = "given")]
    pub(super) redirect_uris: Option<Vec<String>>,
    pub(super) implicit_grant_settings: Option<Implicit>,
}

/// Graph's `implicitGrantSettings`: the implicit flow is not there, so it can only stay off.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Implicit {
    pub(super) enable_access_token_issuance: bool,
    pub(super) enable_id_token_issuance: bool,
}

/// Graph's `spaApplication` and `publicClientApplication`.
#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Redirects {
    #[serde(deserialize_with = "given")]
    pub(super) redirect_uris: Option<Vec<String>>,
}
