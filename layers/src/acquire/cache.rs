//! Tokens already obtained: bounded by bytes, never older than token or assertion allow.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::{Deserialize, Serialize};

use super::answer::Issued;
use super::wanted::Key;
use crate::claims::ClaimsRequest;
use crate::token::{AccessToken, TokenHash};

/// Upper bound of all entries together, in bytes.
const MAX_BYTES: u64 = 64 * 1024 * 1024;
/// What an entry weighs beside its token.
const OVERHEAD: usize = 512;
/// After an attempt to get a newer token while the old one still serves, the next is made so many seconds later.
const REFRESH_AGAIN: u64 = 30;

/// So many tokens are expected at first; it grows to its bound in bytes.
const USUAL_ENTRIES: usize = 1024;

/// Tokens by [`Key`]. One that has run out is dropped when it is looked for, or makes room when there is none left.
pub(super) struct TokenCache(Cache<Key, Arc<Held>, Bytes>);

#[derive(Clone)]
struct Bytes;

/// A token at hand, and three moments of its life in seconds since the epoch: from `refresh_at` on a newer one is asked for while
/// this one serves; from `wait_from` on a request waits for the newer one, and gets this one only if there is none; from
/// `valid_until` on it must not be sent.
pub(crate) struct Held {
    pub(super) token: AccessToken,
    /// What was demanded of it, beyond the client's capabilities.
    pub(super) claims: Option<ClaimsRequest>,
    refresh_at: AtomicU64,
    wait_from: u64,
    valid_until: u64,
}

/// A [`Held`] as it stands, sealed, in a cache that several processes share.
#[derive(Serialize, Deserialize)]
struct Written<'a> {
    #[serde(borrow)]
    token: std::borrow::Cow<'a, str>,
    expires_at: u64,
    #[serde(borrow)]
    claims: Option<std::borrow::Cow<'a, str>>,
    refresh_at: u64,
    wait_from: u64,
    valid_until: u64,
}

impl TokenCache {
    pub(super) fn new() -> Self {
        Self(Cache::with_weighter(USUAL_ENTRIES, MAX_BYTES, Bytes))
    }

    /// A token that may be sent at `now`.
    pub(super) fn get(&self, key: &Key, now: u64) -> Option<Arc<Held>> {
        let held = self.0.get(key)?;
        if now < held.valid_until {
            return Some(held);
        }
        self.0.remove_if(key, |held| now >= held.valid_until);
        None
    }

    pub(super) fn put(&self, key: Key, held: Arc<Held>) {
        self.0.insert(key, held);
    }

    pub(super) fn remove_any(&self, key: &Key) {
        self.0.remove(key);
    }

    /// Removes this token, and none that has replaced it.
    pub(super) fn remove(&self, key: &Key, token: TokenHash) {
        self.0.remove_if(key, |held| held.token.hash() == token);
    }
}

impl Held {
    /// A token that was issued at `now`, for a subject that may be spoken for until `subject_expires`; `None` if that is over.
    /// `random` spreads the moments at which many users' tokens are renewed.
    pub(crate) fn new(
        issued: &Issued,
        claims: Option<ClaimsRequest>,
        subject_expires: u64,
        now: u64,
        random: u16,
    ) -> Option<Self> {
        let expires = issued.token.expires_at();
        let lifetime = expires.saturating_sub(now);
        let margin = (lifetime / 10).min(300);
        let valid_until = expires.min(subject_expires);
        let ahead = match issued.refresh_in {
            Some(seconds) if seconds < lifetime => now + seconds,
            _ => expires - 2 * margin,
        };
        let earlier = margin * u64::from(random) / u64::from(u16::MAX);
        // However soon the authority would like to be asked again, not at each request.
        let soonest = now + (lifetime / 2).clamp(1, REFRESH_AGAIN);
        let refresh_at = ahead.saturating_sub(earlier).max(soonest);
        Self::within(
            issued.token.clone(),
            claims,
            // Nobody is spoken for any more by then: there is nothing to renew.
            if refresh_at < subject_expires {
                refresh_at
            } else {
                u64::MAX
            },
            (expires - margin / 5).min(valid_until),
            valid_until,
            now,
        )
    }

    fn within(
        token: AccessToken,
        claims: Option<ClaimsRequest>,
        refresh_at: u64,
        wait_from: u64,
        valid_until: u64,
        now: u64,
    ) -> Option<Self> {
        (now < valid_until).then(|| Self {
            token,
            claims,
            refresh_at: AtomicU64::new(refresh_at),
            wait_from,
            valid_until,
        })
    }

    /// Is it far enough from its end to be sent without waiting for a newer one?
    pub(crate) fn is_fresh(&self, now: u64) -> bool {
        now < self.wait_from
    }

    /// Should whoever asks get a newer one while this one serves?
    pub(crate) fn is_due(&self, now: u64) -> bool {
        now >= self.refresh_at.load(Ordering::Relaxed)
    }

    /// Somebody is at it. Should he fail, the next tries some time later.
    pub(super) fn postpone_renewal(&self, now: u64) {
        let later = now.saturating_add(REFRESH_AGAIN);
        self.refresh_at.store(later, Ordering::Relaxed);
    }

    pub(crate) fn time_to_live(&self, now: u64) -> Duration {
        Duration::from_secs(self.valid_until.saturating_sub(now))
    }

    /// For the shared cache.
    pub(crate) fn write(&self) -> Vec<u8> {
        let written = Written {
            token: self.token.expose().into(),
            expires_at: self.token.expires_at(),
            claims: self.claims.as_ref().map(|claims| claims.as_str().into()),
            refresh_at: self.refresh_at.load(Ordering::Relaxed),
            wait_from: self.wait_from,
            valid_until: self.valid_until,
        };
        serde_json::to_vec(&written).unwrap_or_default()
    }

    /// From the shared cache; `None` for anything but a token that may be sent at `now`. No longer than `subject_expires`, whatever
    /// stands there.
    pub(crate) fn read(text: &[u8], subject_expires: u64, now: u64) -> Option<Self> {
        let written: Written<'_> = serde_json::from_slice(text).ok()?;
        let claims = match written.claims {
            Some(claims) => Some(ClaimsRequest::from_json(&claims).ok()?),
            None => None,
        };
        Self::within(
            AccessToken::new(&written.token, written.expires_at)?,
            claims,
            written.refresh_at,
            written.wait_from,
            written
                .valid_until
                .min(written.expires_at)
                .min(subject_expires),
            now,
        )
    }
}

impl Weighter<Key, Arc<Held>> for Bytes {
    fn weight(&self, key: &Key, held: &Arc<Held>) -> u64 {
        let claims = held
            .claims
            .as_ref()
            .map_or(0, |claims| claims.as_str().len());
        let bytes = OVERHEAD + key.weight() + claims + held.token.expose().len();
        bytes.try_into().unwrap_or(u64::MAX)
    }
}

impl fmt::Debug for TokenCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenCache").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::wanted::{Requested, SubjectKey};
    use super::*;
    use crate::campaign::volume;

    fn key(assertion: &str, requested: Requested) -> Key {
        Key {
            subject: SubjectKey::Assertion(TokenHash::of(assertion)),
            requested: Arc::new(requested),
        }
    }

    fn scope(scope: &str) -> Requested {
        Requested {
            scope: scope.to_owned(),
            ..Requested::default()
        }
    }

    fn issued(expires_at: u64, refresh_in: Option<u64>) -> Issued {
        Issued {
            token: AccessToken::new("t", expires_at).unwrap(),
            refresh_in,
            refresh_token: None,
        }
    }

    #[test]
    fn entry_never_outlives_token_or_assertion() {
        // Expiry of token and assertion, then until when nobody waits for a newer one and until when it is valid.
        for (token_expires, assertion_expires, fresh, valid) in [
            (4600, 10_000, 4540, 4600),
            (4600, 1500, 1500, 1500),
            (1100, 10_000, 1098, 1100),
            (4600, 1000, 1000, 1000),
            (4600, 0, 0, 0),
        ] {
            let cache = TokenCache::new();
            let key = || key("a", scope("s"));
            if let Some(held) = Held::new(
                &issued(token_expires, None),
                None,
                assertion_expires,
                1000,
                u16::MAX / 2,
            ) {
                cache.put(key(), held.into());
            }
            for now in [
                1000, 1097, 1098, 1099, 1100, 1499, 1500, 4539, 4540, 4599, 4600, 9999,
            ] {
                let held = cache.get(&key(), now);
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
    fn renewal_is_due_in_time_and_spread() {
        // `refresh_in`, expiry of the assertion and random, then when it is due.
        for (refresh_in, assertion_expires, random, due) in [
            (None, 90_000, 0, 4000),
            (None, 90_000, u16::MAX, 3700),
            (Some(1800), 90_000, 0, 2800),
            (Some(1800), 90_000, u16::MAX / 2, 2651),
            (Some(9999), 90_000, 0, 4000),
            (None, 4000, 0, u64::MAX),
            (None, 4001, 0, 4000),
        ] {
            let held = Held::new(
                &issued(4600, refresh_in),
                None,
                assertion_expires,
                1000,
                random,
            )
            .unwrap();
            assert!(!held.is_due(due - 1), "{refresh_in:?} {random}");
            if due < u64::MAX {
                assert!(held.is_due(due), "{refresh_in:?} {random}");
                held.postpone_renewal(due);
                assert!(!held.is_due(due + 29), "somebody is at it");
                assert!(held.is_due(due + 30), "and failed");
            }
        }
    }

    #[test]
    fn what_is_shared_reads_as_it_was_written_and_no_longer_than_the_subject() {
        let claims = ClaimsRequest::acrs("c1").unwrap();
        let held = Held::new(&issued(4600, None), Some(claims), 9000, 1000, 0).unwrap();
        let read = Held::read(&held.write(), 9000, 1000).unwrap();
        assert_eq!(read.token.expose(), "t");
        assert_eq!(read.token.expires_at(), 4600);
        assert_eq!(read.claims, held.claims);
        assert!(read.is_fresh(4539) && !read.is_fresh(4540));
        assert!(read.is_due(4000));
        assert!(Held::read(&held.write(), 9000, 4600).is_none());
        assert!(Held::read(&held.write(), 2000, 2000).is_none());
        for bad in [&b""[..], b"{}", b"null", b"\xff"] {
            assert!(Held::read(bad, 9000, 1000).is_none());
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(volume(50_000)))]

        /// Keys are equal where every part is, and so are the parts that the shared cache names them by.
        #[test]
        fn every_part_of_the_key_separates(
            one in proptest::array::uniform4("[ab|,:]{0,2}"),
            two in proptest::array::uniform4("[ab|,:]{0,2}"),
        ) {
            let make = |[assertion, scope, audience, resource]: &[String; 4]| {
                let given = |text: &String| (!text.is_empty()).then(|| text.clone());
                let requested = Requested {
                    scope: scope.clone(),
                    audience: given(audience),
                    resource: given(resource),
                };
                key(assertion, requested)
            };
            let held = Held::new(&issued(9000, None), None, 9000, 1000, 0).unwrap();
            let cache = TokenCache::new();
            cache.put(make(&one), held.into());
            prop_assert_eq!(cache.get(&make(&two), 1000).is_some(), one == two);
            prop_assert_eq!(make(&one).parts() == make(&two).parts(), one == two);
        }
    }

    #[test]
    fn kinds_of_subjects_never_meet() {
        let of = |subject| Key {
            subject,
            ..key("a", scope("s"))
        };
        let hash = TokenHash::of("a");
        let application = |tenant: &str| of(SubjectKey::Application(tenant.into()));
        let kinds = [
            of(SubjectKey::Assertion(hash)),
            of(SubjectKey::Session(hash)),
            application("t"),
            application("u"),
        ];
        for (n, one) in kinds.iter().enumerate() {
            for (m, two) in kinds.iter().enumerate() {
                assert_eq!(one == two, n == m);
                assert_eq!(one.parts() == two.parts(), n == m);
            }
        }
    }

    #[test]
    fn any_number_of_assertions_takes_no_more_than_its_bound() {
        let cache = TokenCache::new();
        let issued = Issued {
            token: AccessToken::new(&"t".repeat(8 * 1024), 9000).unwrap(),
            refresh_in: None,
            refresh_token: None,
        };
        for n in 0..volume(1_000_000) {
            let held = Held::new(&issued, None, 9000, 1000, 0).unwrap();
            cache.put(key(&n.to_string(), scope("s")), held.into());
        }
        assert!(cache.0.weight() <= MAX_BYTES);
        assert!(cache.0.len() > 1000, "and it is used");
    }

    #[test]
    fn a_token_is_removed_and_not_the_one_that_replaced_it() {
        let cache = TokenCache::new();
        let held = Held::new(&issued(9000, None), None, 9000, 1000, 0).unwrap();
        let hash = held.token.hash();
        cache.put(key("a", scope("s")), held.into());
        cache.remove(&key("a", scope("s")), TokenHash::of("another"));
        assert!(cache.get(&key("a", scope("s")), 1000).is_some());
        cache.remove(&key("a", scope("s")), hash);
        assert!(cache.get(&key("a", scope("s")), 1000).is_none());
    }
}
