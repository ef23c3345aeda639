//! Which `iss` an authority signs with.

use std::collections::HashSet;

use crate::jwks::{Expected, RemoteKeySet};

/// What stands for the tenant in the issuer of Entra's multi-tenant metadata and keys.
const TENANT_ID: &str = "{tenantid}";

/// One issuer of an authority, with keys of its own.
pub(crate) struct Issuer {
    pub(crate) rule: IssuerRule,
    pub(crate) keys: RemoteKeySet,
}

/// What must stand in `iss` and `tid`.
pub(crate) enum IssuerRule {
    /// Exactly this `iss`.
    Exact(String),
    /// Entra: this template, filled with a `tid` that is trusted.
    Template { template: String, tenants: Tenants },
    /// What the metadata name, for this `tid` (Entra External ID).
    Published { tenant: String },
}

/// Which tenants of Entra are trusted. GUIDs in lower case, as Entra writes them.
#[derive(Clone)]
pub(crate) enum Tenants {
    One(String),
    Listed(HashSet<Box<str>>),
    Any,
}

impl IssuerRule {
    pub(crate) fn admits(&self, issuer: &str, tenant: Option<&str>) -> bool {
        match self {
            Self::Exact(exact) => exact == issuer,
            Self::Template { template, tenants } => tenant
                .is_some_and(|tenant| tenants.trust(tenant) && fills(template, tenant, issuer)),
            // Compared with the metadata once there are keys.
            Self::Published { tenant: only } => tenant == Some(only),
        }
    }

    /// The issuer that the metadata must name.
    pub(crate) fn in_metadata(&self) -> Expected {
        match self {
            Self::Exact(issuer) => Expected::Exactly(issuer.clone()),
            Self::Template {
                template,
                tenants: Tenants::One(tenant),
            } => Expected::Exactly(template.replace(TENANT_ID, tenant)),
            Self::Template { template, .. } => Expected::Exactly(template.clone()),
            Self::Published { tenant } => Expected::EndingIn(format!("/{tenant}/v2.0")),
        }
    }
}

impl Tenants {
    fn trust(&self, tenant: &str) -> bool {
        match self {
            Self::One(only) => only == tenant,
            Self::Listed(listed) => listed.contains(tenant),
            Self::Any => is_guid(tenant),
        }
    }
}

/// Is `text` the template with `tenant` in the place of `{tenantid}`?
pub(crate) fn fills(template: &str, tenant: &str, text: &str) -> bool {
    match template.split_once(TENANT_ID) {
        Some((before, after)) => {
            text.strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(after))
                == Some(tenant)
        }
        None => template == text,
    }
}

/// `8-4-4-4-12` hexadecimal digits.
pub(crate) fn is_guid(text: &str) -> bool {
    let mut groups = text.split('-');
    let right = [8, 4, 4, 4, 12].into_iter().all(|length| {
        groups.next().is_some_and(|group| {
            group.len() == length && group.bytes().all(|byte| byte.is_ascii_hexdigit())
        })
    });
    right && groups.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TENANT: &str = "11111111-2222-3333-4444-555555555555";

    #[test]
    fn template_is_filled_by_exactly_the_tenant() {
        let template = "https://a/{tenantid}/v2.0";
        assert!(fills(template, TENANT, &format!("https://a/{TENANT}/v2.0")));
        for other in [
            "https://a//v2.0".to_owned(),
            "https://a/{tenantid}/v2.0".to_owned(),
            format!("https://a/{TENANT}/v2.0/"),
            format!("https://a/{TENANT}/{TENANT}/v2.0"),
            format!("https://b/{TENANT}/v2.0"),
            format!("https://a/{TENANT}"),
        ] {
            assert!(!fills(template, TENANT, &other), "{other}");
        }
        assert!(fills("https://a", TENANT, "https://a"));
        assert!(!fills("https://a", TENANT, "https://a/"));
    }

    #[test]
    fn any_tenant_is_still_a_guid() {
        assert!(Tenants::Any.trust(TENANT));
        for other in ["", "common", "..", "{tenantid}"] {
            assert!(!Tenants::Any.trust(other), "{other}");
        }
    }
}
