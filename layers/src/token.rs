//! Secret strings: the token that was presented and the access tokens that we obtain with it.

use std::fmt;
use std::hash::{Hash, Hasher};

use aws_lc_rs::digest;
use http::HeaderValue;

/// SHA-256 of a whole token: what stands for it in cache keys.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct TokenHash([u8; 32]);

/// The token of a request: where it stands in the request's own header value, so that a clone is a reference count. Or
/// its text, where it came another way.
#[derive(Clone)]
pub(crate) enum PresentedToken {
    InHeader {
        value: HeaderValue,
        start: usize,
        end: usize,
    },
    Text(Box<str>),
}

/// An access token for the next tier, ready to be injected.
#[derive(Clone)]
pub(crate) struct AccessToken {
    authorization: HeaderValue,
    hash: TokenHash,
    expires_at: u64,
}

impl TokenHash {
    pub(crate) fn of(token: &str) -> Self {
        Self(sha256(token.as_bytes()))
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Hash for TokenHash {
    /// As good as random, so a part of it will do.
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        let first = self.0.first_chunk().copied().unwrap_or_default();
        hasher.write_u64(u64::from_le_bytes(first));
    }
}

pub(crate) fn sha256(bytes: &[u8]) -> [u8; 32] {
    let digest = digest::digest(&digest::SHA256, bytes);
    let mut array = [0; 32];
    for (to, from) in array.iter_mut().zip(digest.as_ref()) {
        *to = *from;
    }
    array
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TokenHash(..)")
    }
}

impl PresentedToken {
    /// The part of an `Authorization` value from `start` to `end`.
    pub(crate) fn in_header(value: &HeaderValue, start: usize, end: usize) -> Self {
        let mut value = value.clone();
        value.set_sensitive(true);
        Self::InHeader { value, start, end }
    }

    pub(crate) fn new(token: &str) -> Self {
        Self::Text(token.into())
    }

    pub(crate) fn expose(&self) -> &str {
        match self {
            Self::InHeader { value, start, end } => {
                let bytes = value.as_bytes().get(*start..*end);
                std::str::from_utf8(bytes.unwrap_or_default()).unwrap_or_default()
            }
            Self::Text(text) => text,
        }
    }
}

impl AccessToken {
    /// `None` if the text cannot stand in an `Authorization` header.
    pub(crate) fn new(token: &str, expires_at: u64) -> Option<Self> {
        let usable = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
        let mut authorization = HeaderValue::from_maybe_shared(format!("Bearer {token}"))
            .ok()
            .filter(|_| usable)?;
        authorization.set_sensitive(true);
        Some(Self {
            authorization,
            hash: TokenHash::of(token),
            expires_at,
        })
    }

    /// The value of the `Authorization` header; a clone is a reference count.
    pub(crate) fn authorization(&self) -> HeaderValue {
        self.authorization.clone()
    }

    /// The token itself, to be sealed for the shared cache.
    pub(crate) fn expose(&self) -> &str {
        let text = self.authorization.to_str().unwrap_or_default();
        text.strip_prefix("Bearer ").unwrap_or_default()
    }

    pub(crate) fn hash(&self) -> TokenHash {
        self.hash
    }

    pub(crate) fn expires_at(&self) -> u64 {
        self.expires_at
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AccessToken")
            .field("expires_at", &self.expires_at)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{AccessToken, TokenHash};

    #[test]
    fn debug_never_shows_the_token() {
        let token = AccessToken::new("secret", 7).unwrap();
        assert_eq!(token.expose(), "secret");
        let shown = format!("{token:?} {:?}", token.hash());
        assert!(!shown.contains("secret"), "{shown}");
    }

    #[test]
    fn header_value_is_sensitive() {
        let token = AccessToken::new("abc", 7).unwrap();
        assert!(token.authorization().is_sensitive());
        assert_eq!(token.authorization(), "Bearer abc");
    }

    #[test]
    fn token_that_cannot_stand_in_a_header_is_refused() {
        for bad in ["", "a b", "a\r\nb", "\u{e9}"] {
            assert!(AccessToken::new(bad, 7).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn hash_covers_the_whole_token() {
        assert!(TokenHash::of("a.b.c") != TokenHash::of("a.b.d"));
        assert!(TokenHash::of("a.b.c") == TokenHash::of("a.b.c"));
    }
}
