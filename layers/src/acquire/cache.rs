//! Tokens already obtained: bounded by bytes, never older than token or assertion allow.

use std::fmt;
use std::time::{Duration, Instant};

use moka::Expiry;
use moka::sync::Cache;

use crate::claims::ClaimsRequest;
use crate::token::{AccessToken, TokenHash};

/// Upper bound of all entries together, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry weighs beside its token.
const OVERHEAD: usize = 512;

/// What a token was obtained for. The client, its authority and its capabilities are the same for a whole cache.
///
/// A struct, not a joined string: no separator can be smuggled in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Key {
    pub(super) assertion: TokenHash,
    pub(super) tenant: Box<str>,
    pub(super) scope: Box<str>,
}

/// Tokens by [`Key`].
pub(super) struct TokenCache(Cache<Key, Held>);

/// A token at hand.
#[derive(Clone)]
pub(super) struct Held {
    pub(super) token: AccessToken,
    /// What was demanded of it, beyond the client's capabilities.
    pub(super) claims: Option<ClaimsRequest>,
    /// From then on a newer one is asked for.
    fresh_until: u64,
    /// From then on it must not be sent.
    valid_until: u64,
    time_to_live: Duration,
}

struct PerEntry;

impl Expiry<Key, Held> for PerEntry {
    fn expire_after_create(&self, _: &Key, entry: &Held, _: Instant) -> Option<Duration> {
        Some(entry.time_to_live)
    }

    fn expire_after_update(
        &self,
        _: &Key,
        entry: &Held,
        _: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        Some(entry.time_to_live)
    }
}

impl TokenCache {
    pub(super) fn new() -> Self {
        let weigh = |key: &Key, entry: &Held| {
            let bytes = OVERHEAD + key.scope.len() + entry.token.authorization().len();
            u32::try_from(bytes).unwrap_or(u32::MAX)
        };
        Self(
            Cache::builder()
                .max_capacity(MAX_BYTES)
                .weigher(weigh)
                .expire_after(PerEntry)
                .build(),
        )
    }

    /// A token that may be sent at `now`.
    pub(super) fn get(&self, key: &Key, now: u64) -> Option<Held> {
        self.0.get(key).filter(|held| now < held.valid_until)
    }

    /// Keeps a token no longer than it and the assertion that it was obtained with are valid.
    pub(super) fn put(
        &self,
        key: Key,
        token: AccessToken,
        claims: Option<ClaimsRequest>,
        assertion_expires: u64,
        now: u64,
    ) {
        let lifetime = token.expires_at().saturating_sub(now);
        let margin = (lifetime / 10).min(300);
        let valid_until = token.expires_at().min(assertion_expires);
        let fresh_until = (token.expires_at() - margin).min(assertion_expires);
        if valid_until > now {
            let time_to_live = Duration::from_secs(valid_until - now);
            self.0.insert(
                key,
                Held {
                    token,
                    claims,
                    fresh_until,
                    valid_until,
                    time_to_live,
                },
            );
        }
    }

    pub(super) fn remove(&self, key: &Key) {
        self.0.invalidate(key);
    }
}

impl Held {
    /// Is it far enough from its end to be sent without asking for a newer one?
    pub(super) fn is_fresh(&self, now: u64) -> bool {
        now < self.fresh_until
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(assertion: &str, tenant: &str, scope: &str) -> Key {
        Key {
            assertion: TokenHash::of(assertion),
            tenant: tenant.into(),
            scope: scope.into(),
        }
    }

    fn token(expires_at: u64) -> AccessToken {
        AccessToken::new("t", expires_at).unwrap()
    }

    #[test]
    fn entry_never_outlives_token_or_assertion() {
        // Expiry of token and assertion, then until when the entry is fresh and until when it is valid.
        for (token_expires, assertion_expires, fresh, valid) in [
            (4600, 10_000, 4300, 4600),
            (4600, 1500, 1500, 1500),
            (1100, 10_000, 1090, 1100),
            (4600, 1000, 1000, 1000),
            (4600, 0, 0, 0),
        ] {
            let cache = TokenCache::new();
            cache.put(
                key("a", "t", "s"),
                token(token_expires),
                None,
                assertion_expires,
                1000,
            );
            for now in [
                1000, 1089, 1090, 1099, 1100, 1499, 1500, 4299, 4300, 4599, 4600, 9999,
            ] {
                let held = cache.get(&key("a", "t", "s"), now);
                assert_eq!(held.is_some(), now < valid, "{token_expires} {now}");
                assert_eq!(
                    held.is_some_and(|held| held.is_fresh(now)),
                    now < fresh,
                    "{token_expires} {now}"
                );
            }
        }
    }

    #[test]
    fn every_part_of_the_key_separates() {
        let cache = TokenCache::new();
        cache.put(key("a", "b|c", "d"), token(9000), None, 9000, 1000);
        for other in [
            key("x", "b|c", "d"),
            key("a", "b", "c|d"),
            key("a", "b|c", "D"),
            key("a|b", "c", "d"),
        ] {
            assert!(cache.get(&other, 1000).is_none(), "{other:?}");
        }
        cache.remove(&key("a", "b|c", "d"));
        assert!(cache.get(&key("a", "b|c", "d"), 1000).is_none());
    }
}
