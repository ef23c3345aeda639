//! The only code that verifies signatures.

use jsonwebtoken::Algorithm as Name;
use jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER;

use crate::algorithm::Algorithm;
use crate::jwks::Key;

/// Does `signature` over `message` verify under `key` with exactly this algorithm?
///
/// By the parsed key if it was parsed for this algorithm, which spares a tenth of the time, else by jsonwebtoken.
pub(crate) fn verifies(algorithm: Algorithm, key: &Key, message: &[u8], signature: &[u8]) -> bool {
    let (parsed_for, parsed) = &key.parsed;
    if *parsed_for == algorithm {
        parsed.verify_sig(message, signature).is_ok()
    } else {
        verifies_by_jsonwebtoken(algorithm, key, message, signature)
    }
}

/// The provider is called directly: the crate's own entry points use a process-wide provider, which panics when cargo's feature
/// unification enables two.
fn verifies_by_jsonwebtoken(
    algorithm: Algorithm,
    key: &Key,
    message: &[u8],
    signature: &[u8],
) -> bool {
    let name = match algorithm {
        Algorithm::EdDsa => Name::EdDSA,
        Algorithm::Es256 => Name::ES256,
        Algorithm::Es384 => Name::ES384,
        Algorithm::Ps256 => Name::PS256,
        Algorithm::Ps384 => Name::PS384,
        Algorithm::Ps512 => Name::PS512,
        Algorithm::Rs256 => Name::RS256,
        Algorithm::Rs384 => Name::RS384,
        Algorithm::Rs512 => Name::RS512,
    };
    (DEFAULT_PROVIDER.verifier_factory)(&name, &key.decoding)
        .is_ok_and(|verifier| verifier.verify(message, &signature.to_vec()).is_ok())
}

#[cfg(test)]
mod agreement;
#[cfg(test)]
mod vectors;
#[cfg(test)]
mod wycheproof;
