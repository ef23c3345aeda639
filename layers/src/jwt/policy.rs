//! What a token must fulfil.

use crate::resource::Resource;

/// The rules that [`verify`](super::verify) applies: issuer, audiences, algorithms and leeway of a [`Resource`].
#[derive(Clone, Debug)]
pub struct Policy {
    resource: Resource,
    max_token_bytes: usize,
}

/// Longest token by default. hyper's HTTP/2 server takes 16 KiB of headers in all unless told otherwise.
const MAX_TOKEN_BYTES: usize = 12 * 1024;

impl Resource {
    /// The rules for this resource's tokens.
    #[must_use]
    pub fn policy(&self) -> Policy {
        Policy {
            resource: self.clone(),
            max_token_bytes: MAX_TOKEN_BYTES,
        }
    }
}

impl Policy {
    /// The longest token that is looked at, in bytes; 12 KiB by default.
    #[must_use]
    pub fn max_token_bytes(mut self, bytes: usize) -> Self {
        self.max_token_bytes = bytes;
        self
    }

    pub(crate) fn resource(&self) -> &Resource {
        &self.resource
    }

    pub(crate) fn longest_token(&self) -> usize {
        self.max_token_bytes
    }
}
