//! What the tests of this module share.

use crate::config::{AuthorityConfig, SpaBackendConfig};

pub(super) const TENANT: &str = "11111111-2222-3333-4444-555555555555";

/// A configuration as the demo ships it.
pub(super) fn config(authority: &str, middle_tier: &str) -> SpaBackendConfig {
    SpaBackendConfig {
        listen: "localhost:3000".into(),
        base_url: "http://localhost:3000".parse().unwrap(),
        authority: AuthorityConfig {
            instance: authority.parse().unwrap(),
            tenant: TENANT.into(),
        },
        client_id: "33333333-0000-0000-0000-000000000003".into(),
        client_secret: "test-secret".to_owned().into(),
        scope: "api://middle/user_impersonation".into(),
        middle_tier: middle_tier.parse().unwrap(),
        insecure_cookies: false,
    }
}
