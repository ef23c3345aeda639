//! What a shared cache gets to see: names and values under keys that it does not have.

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use aws_lc_rs::hkdf::{HKDF_SHA256, KeyType, Prk, Salt};
use aws_lc_rs::{hmac, rand};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use secrecy::{ExposeSecretMut, SecretSlice};

use crate::error::ConfigError;

/// A secret needs that many bytes of randomness.
const MIN_SECRET: usize = 32;
/// The key that seals and the previous ones: each is one more look-up for what is not found.
const MAX_KEYS: usize = 4;
/// The first byte of a sealed value: the only form that there is.
const VERSION: u8 = 1;
const ID_LEN: usize = 8;
const TAG_LEN: usize = 16;
/// What a sealed value is longer than its text.
pub(super) const SEAL_LEN: usize = 1 + ID_LEN + NONCE_LEN + TAG_LEN;

/// The keys of [`SharedTokens`](crate::SharedTokens), one ring for all processes that share them.
///
/// ```
/// use tower_bearer::SealingKeys;
///
/// # fn main() -> Result<(), tower_bearer::ConfigError> {
/// # let (newer, older) = ("yAq0PbCTlqA2Y1LkFr9kD1ItJ1JYVIbP8zxPH8Zz2hM=", "m1cUPsKQ4o5EA6OlT6Zr9vVnBdR3BSVmnYc3OFXmYF8=");
/// // Each of them: openssl rand -base64 32
/// let keys = SealingKeys::new(newer.as_bytes())?.and_previous(older.as_bytes())?;
/// # Ok(())
/// # }
/// ```
///
/// A secret is 32 random bytes or more, in any form. Everything used is derived from it (HKDF-SHA256, RFC 5869): names are
/// HMAC-SHA256, and each value is sealed with AES-256-GCM under a key of its own name with a random nonce, so the bound of
/// 2^32 values per key is one per name and never met. To rotate, start the processes with the new secret and the old one as
/// previous; leave the old one out when what it sealed has expired (Entra's tokens last up to 28 hours). While some processes
/// have only the old one, a token may be asked for once under each.
#[derive(Clone)]
pub struct SealingKeys(Vec<Key>);

#[derive(Clone)]
struct Key {
    id: [u8; ID_LEN],
    names: hmac::Key,
    root: Prk,
}

struct IdLen;

impl SealingKeys {
    /// How many bytes a sealed value is longer than its text.
    pub const OVERHEAD: usize = SEAL_LEN;
    /// So many bytes at the beginning of a sealed value are its own: form, key and nonce.
    pub const MARK_LEN: usize = 1 + ID_LEN + NONCE_LEN;

    /// A ring of one key: seals and opens.
    ///
    /// # Errors
    /// Fewer than 32 bytes, or one byte over and over.
    pub fn new(secret: &[u8]) -> Result<Self, ConfigError> {
        Ok(Self(vec![Key::derive(secret)?]))
    }

    /// Adds a key that still opens what it sealed, and seals nothing more.
    ///
    /// # Errors
    /// As for [`new`](Self::new); a secret that is there already; more than three previous ones.
    pub fn and_previous(mut self, secret: &[u8]) -> Result<Self, ConfigError> {
        let key = Key::derive(secret)?;
        if self.0.len() == MAX_KEYS || self.0.iter().any(|known| known.id == key.id) {
            return Err(ConfigError::SealingSecret);
        }
        self.0.push(key);
        Ok(self)
    }

    /// What these parts are called in a store: under the key that seals, then under each previous one. A name is a MAC
    /// (HMAC-SHA256 in base64url) of the parts and their lengths, and tells nothing of them.
    ///
    /// Whoever keeps something else than tokens under the same secret begins with a part of his own, so that no name of his
    /// can be one of [`SharedTokens`](crate::SharedTokens), whose first part is `value` or `claim`.
    pub fn names(&self, parts: &[&[u8]]) -> impl Iterator<Item = String> {
        self.0.iter().map(|key| key.name(parts))
    }

    /// Seals a text under a name: it is opened under the same name only. The first [`MARK_LEN`](Self::MARK_LEN) bytes differ
    /// each time, also for the same text.
    ///
    /// `None` only if there is no randomness.
    #[must_use]
    pub fn seal(&self, name: &str, text: &[u8]) -> Option<Vec<u8>> {
        let key = self.0.first()?;
        let mut nonce = [0; NONCE_LEN];
        rand::fill(&mut nonce).ok()?;
        let mut sealed = Vec::with_capacity(SEAL_LEN + text.len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&key.id);
        sealed.extend_from_slice(&nonce);
        let head = sealed.len();
        sealed.extend_from_slice(text);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (_, text) = sealed.split_at_mut_checked(head)?;
        let tag = key
            .sealing(name)?
            .seal_in_place_separate_tag(nonce, Aad::from(name), text)
            .ok()?;
        sealed.extend_from_slice(tag.as_ref());
        Some(sealed)
    }

    /// What was sealed under this name with one of these keys, or nothing.
    #[must_use]
    pub fn open(&self, name: &str, sealed: &[u8]) -> Option<SecretSlice<u8>> {
        let (&[VERSION], rest) = sealed.split_first_chunk()? else {
            return None;
        };
        let (id, rest) = rest.split_first_chunk::<ID_LEN>()?;
        let (nonce, rest) = rest.split_first_chunk::<NONCE_LEN>()?;
        let (text, tag) = rest.split_last_chunk::<TAG_LEN>()?;
        let key = self.0.iter().find(|key| key.id == *id)?;
        let mut opened = SecretSlice::from(vec![0; text.len()]);
        key.sealing(name)?
            .open_separate_gather(
                Nonce::assume_unique_for_key(*nonce),
                Aad::from(name),
                text,
                tag,
                opened.expose_secret_mut(),
            )
            .ok()?;
        Some(opened)
    }
}

impl Key {
    fn derive(secret: &[u8]) -> Result<Self, ConfigError> {
        let first = secret.first();
        if secret.len() < MIN_SECRET || secret.iter().all(|byte| Some(byte) == first) {
            return Err(ConfigError::SealingSecret);
        }
        let unusable = |_| ConfigError::SealingSecret;
        let root = Salt::new(HKDF_SHA256, b"tower-bearer shared tokens 1").extract(secret);
        let mut id = [0; ID_LEN];
        let derived = root.expand(&[b"id"], IdLen).map_err(unusable)?;
        derived.fill(&mut id).map_err(unusable)?;
        let names = root
            .expand(&[b"names"], hmac::HMAC_SHA256)
            .map_err(unusable)?
            .into();
        Ok(Self { id, names, root })
    }

    fn name(&self, parts: &[&[u8]]) -> String {
        let mut mac = hmac::Context::with_key(&self.names);
        for part in parts {
            // With its length, a part cannot run into the next one.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part);
        }
        BASE64_URL_SAFE_NO_PAD.encode(mac.sign())
    }

    fn sealing(&self, name: &str) -> Option<LessSafeKey> {
        let info: [&[u8]; 2] = [b"seal", name.as_bytes()];
        let key = self.root.expand(&info, &AES_256_GCM).ok()?;
        Some(LessSafeKey::new(UnboundKey::from(key)))
    }
}

impl KeyType for IdLen {
    fn len(&self) -> usize {
        ID_LEN
    }
}

impl fmt::Debug for SealingKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SealingKeys")
            .field("len", &self.0.len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use secrecy::ExposeSecret as _;

    use super::*;
    use crate::campaign::volume;

    const OLD: &[u8; 32] = b"0123456789abcdef0123456789abcdef";
    const NEW: &[u8; 32] = b"0123456789abcdef0123456789abcdeF";

    fn keys(secret: &[u8]) -> SealingKeys {
        SealingKeys::new(secret).unwrap()
    }

    fn opened(keys: &SealingKeys, name: &str, sealed: &[u8]) -> Option<Vec<u8>> {
        keys.open(name, sealed)
            .map(|text| text.expose_secret().to_vec())
    }

    fn name(keys: &SealingKeys, parts: &[&[u8]]) -> String {
        keys.names(parts).next().unwrap()
    }

    #[test]
    fn secret_is_long_and_no_placeholder() {
        for bad in [&OLD[..31], b"", &[0; 32], &[b'x'; 64]] {
            assert_eq!(
                SealingKeys::new(bad).err(),
                Some(ConfigError::SealingSecret)
            );
            let later = keys(OLD).and_previous(bad);
            assert_eq!(later.err(), Some(ConfigError::SealingSecret));
        }
        assert!(SealingKeys::new(OLD).is_ok());
        assert!(SealingKeys::new(&[&OLD[..], OLD].concat()).is_ok());
    }

    #[test]
    fn ring_holds_each_secret_once_and_four_at_most() {
        assert!(keys(OLD).and_previous(OLD).is_err());
        let mut ring = keys(OLD);
        for n in 0..3_u8 {
            let mut secret = *NEW;
            secret[0] = n;
            ring = ring.and_previous(&secret).unwrap();
        }
        assert!(ring.and_previous(NEW).is_err());
    }

    #[test]
    fn rotation_opens_the_old_and_seals_with_the_new() {
        let rotated = keys(NEW).and_previous(OLD).unwrap();
        let names: Vec<_> = rotated.names(&[b"a"]).collect();
        assert_eq!(names[0], name(&keys(NEW), &[b"a"]));
        assert_eq!(names[1], name(&keys(OLD), &[b"a"]));
        assert_ne!(names[0], names[1]);

        let old = keys(OLD).seal(&names[1], b"text").unwrap();
        assert_eq!(
            opened(&rotated, &names[1], &old).as_deref(),
            Some(&b"text"[..])
        );
        assert_eq!(opened(&keys(NEW), &names[1], &old), None);

        let new = rotated.seal(&names[0], b"text").unwrap();
        assert_eq!(
            opened(&keys(NEW), &names[0], &new).as_deref(),
            Some(&b"text"[..])
        );
        assert_eq!(opened(&keys(OLD), &names[0], &new), None);
    }

    #[test]
    fn no_bit_can_be_flipped_and_no_byte_is_missing_or_too_many() {
        let keys = keys(OLD);
        let sealed = keys.seal("name", b"a token").unwrap();
        assert_eq!(sealed.len(), SEAL_LEN + 7);
        for bit in 0..sealed.len() * 8 {
            let mut other = sealed.clone();
            other[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(opened(&keys, "name", &other), None, "{bit}");
        }
        for len in 0..sealed.len() {
            assert_eq!(opened(&keys, "name", &sealed[..len]), None, "{len}");
        }
        let longer = [&sealed[..], b"\0"].concat();
        assert_eq!(opened(&keys, "name", &longer), None);
        assert!(opened(&keys, "name", &sealed).is_some());
    }

    #[test]
    fn equal_values_look_different_each_time_and_tell_nothing() {
        let keys = keys(OLD);
        let text = b"eyJhbGciOiJSUzI1NiJ9";
        let (one, two) = (keys.seal("n", text).unwrap(), keys.seal("n", text).unwrap());
        assert_ne!(one, two);
        assert!(!one.windows(4).any(|window| window == &text[..4]));
        assert!(!one.windows(4).any(|window| window == &OLD[..4]));
    }

    #[test]
    fn each_sealed_value_has_a_mark_of_its_own() {
        let keys = keys(OLD);
        let mark = || {
            let sealed = keys.seal("n", b"text").unwrap();
            assert_eq!(sealed.len(), SealingKeys::OVERHEAD + 4);
            sealed[..SealingKeys::MARK_LEN].to_vec()
        };
        assert_ne!(mark(), mark());
    }

    #[test]
    fn a_first_part_of_ones_own_makes_names_of_ones_own() {
        let keys = keys(OLD);
        let own = name(&keys, &[b"sessions", b"a"]);
        for tokens in [&b"value"[..], b"claim"] {
            assert_ne!(own, name(&keys, &[tokens, b"sessions", b"a"]));
            assert_ne!(own, name(&keys, &[tokens, b"a"]));
        }
    }

    #[test]
    fn debug_never_shows_a_key() {
        assert_eq!(format!("{:?}", keys(OLD)), "SealingKeys { len: 1, .. }");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(volume(20_000)))]

        #[test]
        fn seal_then_open_is_the_identity_under_its_own_name_only(
            name in "[a-z]{0,8}",
            other in "[a-z]{0,8}",
            text in vec(any::<u8>(), 0..200),
        ) {
            let keys = keys(OLD);
            let sealed = keys.seal(&name, &text).unwrap();
            prop_assert_eq!(opened(&keys, &name, &sealed), Some(text.clone()));
            prop_assert_eq!(opened(&keys, &other, &sealed).is_some(), name == other);
        }

        #[test]
        fn garbage_opens_to_nothing(mut garbage in vec(any::<u8>(), 0..200), head in any::<bool>()) {
            let keys = keys(OLD);
            if head {
                let sealed = keys.seal("n", b"").unwrap();
                let known = sealed[..=ID_LEN].iter();
                garbage.iter_mut().zip(known).for_each(|(to, from)| *to = *from);
            }
            prop_assert_eq!(opened(&keys, "n", &garbage), None);
        }

        #[test]
        fn names_are_equal_only_for_equal_parts(
            one in vec(vec(0..2_u8, 0..3), 0..3),
            two in vec(vec(0..2_u8, 0..3), 0..3),
        ) {
            fn slices(parts: &[Vec<u8>]) -> Vec<&[u8]> {
                parts.iter().map(Vec::as_slice).collect()
            }
            let keys = keys(OLD);
            let same = name(&keys, &slices(&one)) == name(&keys, &slices(&two));
            prop_assert_eq!(same, one == two);
        }
    }
}
