//! Which `iss` an authority signs with.

use std::collections::HashSet;
use std::fmt;

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
    Template {
        template: String,
        tenants: Tenants,
        /// Keys of v1.0 tokens are published without an issuer each.
        keys_name_issuer: bool,
    },
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
            Self::Template {
                template, tenants, ..
            } => tenant
                .is_some_and(|tenant| tenants.trust(tenant) && fills(template, tenant, issuer)),
            // Compared with the metadata once there are keys.
            Self::Published { tenant: only } => tenant == Some(only),
        }
    }

    pub(crate) fn trusts(&self, tenant: &str) -> bool {
        match self {
            Self::Exact(_) => false,
            Self::Template { tenants, .. } => tenants.trust(tenant),
            Self::Published { tenant: only } => tenant == only,
        }
    }

    /// The issuers by name, to be shown to clients: where any tenant is trusted the common endpoint, and where the issuer is known
    /// only from its metadata the place of those, under `instance`.
    pub(crate) fn named(&self, instance: &str) -> Vec<String> {
        let fill = |template: &str, tenant: &str| template.replace(TENANT_ID, tenant);
        match self {
            Self::Exact(issuer) => vec![issuer.clone()],
            Self::Published { tenant } => vec![format!("{instance}/{tenant}/v2.0")],
            Self::Template {
                template, tenants, ..
            } => match tenants {
                Tenants::One(tenant) => vec![fill(template, tenant)],
                Tenants::Any => vec![fill(template, "common")],
                Tenants::Listed(listed) => {
                    let mut issuers: Vec<String> =
                        listed.iter().map(|tenant| fill(template, tenant)).collect();
                    issuers.sort_unstable();
                    issuers
                }
            },
        }
    }

    /// Must each key name the issuer that it signs for? Else the keys of one tenant would sign for all of them.
    pub(crate) fn needs_key_issuer(&self) -> bool {
        match self {
            Self::Template {
                tenants,
                keys_name_issuer,
                ..
            } => *keys_name_issuer && !matches!(tenants, Tenants::One(_)),
            Self::Exact(_) | Self::Published { .. } => false,
        }
    }

    /// Is the issuer known without the metadata?
    pub(crate) fn is_known(&self) -> bool {
        !matches!(self, Self::Published { .. })
    }

    /// Is there an issuer that both admit?
    pub(crate) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Exact(one), Self::Exact(two)) => one == two,
            (
                Self::Exact(issuer),
                Self::Template {
                    template, tenants, ..
                },
            )
            | (
                Self::Template {
                    template, tenants, ..
                },
                Self::Exact(issuer),
            ) => tenant_in(template, issuer).is_some_and(|tenant| tenants.trust(tenant)),
            (
                Self::Template {
                    template: one,
                    tenants: these,
                    ..
                },
                Self::Template {
                    template: two,
                    tenants: those,
                    ..
                },
            ) => one == two && these.overlap(those),
            (Self::Published { tenant: one }, Self::Published { tenant: two }) => one == two,
            // The host of External ID issues nothing else.
            (Self::Published { .. }, _) | (_, Self::Published { .. }) => false,
        }
    }

    /// The issuer that the metadata must name.
    pub(crate) fn in_metadata(&self) -> Expected {
        match self {
            Self::Published { tenant } => Expected::EndingIn(format!("/{tenant}/v2.0")),
            Self::Exact(_) | Self::Template { .. } => Expected::Exactly(self.to_string()),
        }
    }
}

impl fmt::Display for IssuerRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(issuer) => f.write_str(issuer),
            Self::Template {
                template,
                tenants: Tenants::One(tenant),
                ..
            } => f.write_str(&template.replace(TENANT_ID, tenant)),
            Self::Template { template, .. } => f.write_str(template),
            Self::Published { tenant } => write!(f, "*/{tenant}/v2.0"),
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

    fn overlap(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::One(one), tenants) | (tenants, Self::One(one)) => tenants.trust(one),
            (Self::Listed(one), Self::Listed(two)) => !one.is_disjoint(two),
            (Self::Any, _) | (_, Self::Any) => true,
        }
    }
}

/// Is `text` the template with `tenant` in the place of each `{tenantid}`?
pub(crate) fn fills(template: &str, tenant: &str, text: &str) -> bool {
    let mut rest = Some(text);
    for (n, part) in template.split(TENANT_ID).enumerate() {
        if n > 0 {
            rest = rest.and_then(|rest| rest.strip_prefix(tenant));
        }
        rest = rest.and_then(|rest| rest.strip_prefix(part));
    }
    rest == Some("")
}

/// What fills the template, if it has one place to fill.
fn tenant_in<'a>(template: &str, text: &'a str) -> Option<&'a str> {
    let (before, after) = template.split_once(TENANT_ID)?;
    text.strip_prefix(before)?.strip_suffix(after)
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
        let twice = "https://{tenantid}.a/{tenantid}/v2.0";
        assert!(fills(twice, "t", "https://t.a/t/v2.0"));
        assert!(!fills(twice, "t", "https://t.a/u/v2.0"));
        assert!(!fills(twice, "t", "https://t.a/{tenantid}/v2.0"));
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
