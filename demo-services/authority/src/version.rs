//! The two versions of tokens: who issues them, and where their metadata and keys are.

use uuid::Uuid;

use crate::form;

/// What stands for the tenant where the metadata of all tenants name an issuer.
const TENANT_ID: &str = "{tenantid}";

/// Version of an access token. The API that it is for decides, never the client or the endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TokenVersion {
    /// 1.0, of which issuer, names of claims and key set are other ones.
    V1,
    /// 2.0.
    V2,
}

/// The tenant as it stands in a request's path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Segment {
    /// `common`: any tenant, and personal accounts.
    Common,
    /// `organizations`: any tenant.
    Organizations,
    /// The tenant by its id or domain.
    Tenant,
}

impl TokenVersion {
    /// `ver`.
    pub(crate) fn ver(self) -> &'static str {
        match self {
            Self::V1 => "1.0",
            Self::V2 => "2.0",
        }
    }

    /// The version of this `ver`.
    pub(crate) fn of(ver: &str) -> Option<Self> {
        [Self::V1, Self::V2]
            .into_iter()
            .find(|version| version.ver() == ver)
    }

    /// The issuer of a tenant's tokens, `tenant` being its id.
    pub(crate) fn issuer(self, base: &str, tenant: impl std::fmt::Display) -> String {
        match self {
            Self::V1 => format!("{base}/{tenant}/"),
            Self::V2 => format!("{base}/{tenant}/v2.0"),
        }
    }

    /// The path of the key set below the tenant.
    pub(crate) fn keys(self) -> &'static str {
        match self {
            Self::V1 => "discovery/keys",
            Self::V2 => "discovery/v2.0/keys",
        }
    }

    /// The path of the metadata below the tenant.
    pub(crate) fn metadata(self) -> &'static str {
        match self {
            Self::V1 => ".well-known/openid-configuration",
            Self::V2 => "v2.0/.well-known/openid-configuration",
        }
    }
}

impl Segment {
    /// What the first segment of a path means, `tenant` and `domain` being the one tenant's; `None` for an unknown tenant.
    pub(crate) fn parse(tenant: Uuid, domain: &str, segment: &str) -> Option<Self> {
        match segment {
            segment if segment.eq_ignore_ascii_case(domain) => Some(Self::Tenant),
            segment if form::guid(segment) == Some(tenant) => Some(Self::Tenant),
            "common" => Some(Self::Common),
            "organizations" => Some(Self::Organizations),
            _ => None,
        }
    }

    /// As it stands in the URLs of metadata: the tenant always by its id.
    pub(crate) fn in_urls(self, tenant: Uuid) -> String {
        match self {
            Self::Common => "common".to_owned(),
            Self::Organizations => "organizations".to_owned(),
            Self::Tenant => tenant.to_string(),
        }
    }

    /// As it stands in the issuer of metadata and keys: where they are for all tenants, a place to be filled.
    pub(crate) fn in_issuer(self, tenant: Uuid) -> String {
        match self {
            Self::Common | Self::Organizations => TENANT_ID.to_owned(),
            Self::Tenant => tenant.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_version_has_its_issuer() {
        let issuer = |version: TokenVersion| version.issuer("http://localhost:1", "t");
        assert_eq!(issuer(TokenVersion::V1), "http://localhost:1/t/");
        assert_eq!(issuer(TokenVersion::V2), "http://localhost:1/t/v2.0");
        for version in [TokenVersion::V1, TokenVersion::V2] {
            assert_eq!(TokenVersion::of(version.ver()), Some(version));
        }
        for ver in ["", "1", "2", "2.00", "3.0"] {
            assert_eq!(TokenVersion::of(ver), None, "{ver}");
        }
    }

    #[test]
    fn a_segment_is_the_tenant_or_stands_for_all() {
        let id = Uuid::from_u128(0x1111_1111_2222_3333_4444_5555_5555_5555);
        for (text, segment) in [
            (
                "11111111-2222-3333-4444-555555555555",
                Some(Segment::Tenant),
            ),
            ("Contoso.Example", Some(Segment::Tenant)),
            ("common", Some(Segment::Common)),
            ("organizations", Some(Segment::Organizations)),
            ("consumers", None),
            ("", None),
            ("{tenantid}", None),
            ("11111111-2222-3333-4444-555555555556", None),
        ] {
            let parsed = Segment::parse(id, "contoso.example", text);
            assert_eq!(parsed, segment, "{text}");
        }
    }
}
