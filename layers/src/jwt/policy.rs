//! What a token must fulfil.

use crate::resource::Resource;

/// The rules that [`verify`](super::verify) applies: issuer, audiences, algorithms, leeway and size limit of a
/// [`Resource`], for access tokens or for ID tokens.
#[derive(Clone, Debug)]
pub struct Policy {
    resource: Resource,
    kind: Kind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    AccessToken,
    IdToken,
}

impl Resource {
    /// The rules for access tokens of this resource.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            resource: self.clone(),
            kind: Kind::AccessToken,
        }
    }

    /// The rules for ID tokens whose audience this resource is: for a client that signs users in, never for an API.
    #[must_use]
    pub fn id_token_policy(&self) -> Policy {
        Policy {
            resource: self.clone(),
            kind: Kind::IdToken,
        }
    }
}

impl Policy {
    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }
}
