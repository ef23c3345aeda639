//! Tokens that were verified before. A hit costs a hash of the token in place of a signature.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::rand;
use quick_cache::sync::Cache;
use quick_cache::{OptionsBuilder, Weighter};

use crate::jwks::Generation;
use crate::principal::Verified;

/// What an entry takes at most on average, in bytes; the cache's bound in bytes is this times its bound in entries.
const USUAL_ENTRY: u64 = 512;
/// A token with more to remember is verified each time.
const LARGEST_ENTRY: u64 = 4096;

/// Verified tokens of one verifier, whose policy they were verified under.
///
/// The key is a MAC of the whole token under a secret of this cache, so nobody can prepare two tokens that meet. The token
/// itself is not kept.
pub(super) struct VerifiedTokens {
    secret: LessSafeKey,
    entries: Cache<Tag, Entry, Bytes, BuildHasherDefault<TagHasher>>,
}

/// GMAC of a whole token: a universal hash as long as its secret is, and never shown to anybody.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Tag([u8; 16]);

/// What was found out about a token, and with which keys.
#[derive(Clone)]
pub(super) struct Entry {
    pub(super) verified: Arc<Verified>,
    pub(super) generation: Generation,
}

#[derive(Clone)]
struct Bytes;

/// A tag is as good as random, so a part of it will do.
#[derive(Default)]
struct TagHasher(u64);

impl VerifiedTokens {
    /// `None` for no entries, or if there is no randomness for the secret.
    pub(super) fn new(capacity: usize) -> Option<Self> {
        let mut secret = [0; 32];
        rand::fill(&mut secret).ok()?;
        let secret = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &secret).ok()?);
        let bytes = u64::try_from(capacity).ok()?.checked_mul(USUAL_ENTRY)?;
        let options = OptionsBuilder::new()
            .estimated_items_capacity(capacity)
            .weight_capacity(bytes)
            .build()
            .ok()?;
        let entries = Cache::with_options(
            options,
            Bytes,
            BuildHasherDefault::default(),
            quick_cache::sync::DefaultLifecycle::default(),
        );
        (capacity > 0).then_some(Self { secret, entries })
    }

    pub(super) fn tag(&self, token: &[u8]) -> Option<Tag> {
        // With nothing to encrypt and one nonce for all, GCM is its hash GHASH behind a constant.
        let nonce = Nonce::assume_unique_for_key([0; NONCE_LEN]);
        let tag = self
            .secret
            .seal_in_place_separate_tag(nonce, Aad::from(token), &mut [])
            .ok()?;
        tag.as_ref().try_into().ok().map(Tag)
    }

    pub(super) fn get(&self, tag: Tag) -> Option<Entry> {
        self.entries.get(&tag)
    }

    pub(super) fn put(&self, tag: Tag, entry: Entry) {
        if Bytes.weight(&tag, &entry) <= LARGEST_ENTRY {
            self.entries.insert(tag, entry);
        }
    }

    pub(super) fn forget(&self, tag: Tag) {
        self.entries.remove(&tag);
    }
}

impl fmt::Debug for VerifiedTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VerifiedTokens")
            .field("len", &self.entries.len())
            .finish_non_exhaustive()
    }
}

impl Weighter<Tag, Entry> for Bytes {
    fn weight(&self, _: &Tag, entry: &Entry) -> u64 {
        let fixed = size_of::<Tag>() + size_of::<Entry>() + size_of::<Verified>();
        (fixed + entry.verified.facts.text_bytes()) as u64
    }
}

impl std::hash::Hash for Tag {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        hasher.write(&self.0);
    }
}

impl Hasher for TagHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        if let Some(first) = bytes.first_chunk() {
            self.0 = u64::from_le_bytes(*first);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authority::Authority;
    use crate::campaign::volume;
    use crate::facts::{FactsBuilder, Marks, Piece};

    fn entry(subject: &str) -> Entry {
        let authority = Authority::entra("11111111-2222-3333-4444-555555555555").unwrap();
        let facts = FactsBuilder::new().text(Piece::Subject, Some(subject));
        Entry {
            verified: Arc::new(Verified::new(
                facts.build(Marks::default(), 1, 1, 1),
                authority.resource("api://x").unwrap(),
                0,
            )),
            generation: Generation::default(),
        }
    }

    #[test]
    fn tag_covers_every_byte_and_the_length_of_the_token() {
        let cache = VerifiedTokens::new(10).unwrap();
        let token = b"eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJhIn0.AAAAAAAAAAAAAAAA".to_vec();
        let tag = cache.tag(&token).unwrap();
        assert!(cache.tag(&token) == Some(tag));
        for position in 0..token.len() {
            let mut other = token.clone();
            other[position] ^= 1;
            assert!(cache.tag(&other) != Some(tag), "{position}");
        }
        assert!(cache.tag(&token[1..]) != Some(tag));
        assert!(cache.tag(&[&token[..], b"A"].concat()) != Some(tag));
        assert!(cache.tag(&[&token[..], b"\0"].concat()) != Some(tag));
        let another_process = VerifiedTokens::new(10).unwrap();
        assert!(another_process.tag(&token) != Some(tag));
    }

    #[test]
    fn two_tokens_never_share_a_tag() {
        use proptest::prelude::*;
        use proptest::test_runner::{Config, TestRunner};

        let cache = VerifiedTokens::new(10).unwrap();
        let token = || "[a-b.]{0,40}";
        let config = Config::with_cases(volume(1_000_000));
        TestRunner::new(config)
            .run(&(token(), token()), |(one, two)| {
                let same = cache.tag(one.as_bytes()) == cache.tag(two.as_bytes());
                prop_assert_eq!(same, one == two);
                Ok(())
            })
            .unwrap();
    }

    #[test]
    fn cache_is_bounded_by_entries_and_by_bytes() {
        for (subject, most) in [("s".to_owned(), 1000), ("s".repeat(3000), 200)] {
            let cache = VerifiedTokens::new(1000).unwrap();
            let one = entry(&subject);
            for n in 0..5000_u32 {
                let tag = cache.tag(&n.to_le_bytes()).unwrap();
                cache.put(tag, one.clone());
            }
            let bytes = cache.entries.weight();
            assert!(bytes <= 1000 * USUAL_ENTRY, "{bytes}");
            assert!(cache.entries.len() > most / 2, "{}", cache.entries.len());
        }
    }

    #[test]
    fn what_is_too_large_is_not_kept() {
        let cache = VerifiedTokens::new(1000).unwrap();
        let tag = cache.tag(b"a").unwrap();
        cache.put(tag, entry(&"s".repeat(5000)));
        assert!(cache.get(tag).is_none());
        cache.put(tag, entry("s"));
        assert!(cache.get(tag).is_some());
        cache.forget(tag);
        assert!(cache.get(tag).is_none());
    }

    #[test]
    fn no_entries_is_no_cache() {
        assert!(VerifiedTokens::new(0).is_none());
        assert!(VerifiedTokens::new(usize::MAX).is_none());
    }

    #[test]
    fn what_is_kept_of_a_token_is_small() {
        let entra_text = 36 * 4 + 43 + 20;
        let kept = size_of::<Tag>() + size_of::<Entry>() + size_of::<Verified>() + entra_text;
        assert!(kept <= 400, "{kept}");
    }
}
