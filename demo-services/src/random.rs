//! Unguessable values and the digests of them.

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use uuid::Uuid;

/// 244 random bits as 64 characters that need no escaping anywhere: state, nonce, PKCE verifier (RFC 7636 4.1), ids, header token.
pub(crate) fn secret() -> String {
    format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple())
}

/// base64url(SHA-256(text)), the `S256` transformation of RFC 7636 4.2.
pub(crate) fn sha256(text: &str) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(digest(&SHA256, text.as_bytes()))
}

/// Compares without telling by its duration where the first difference is.
pub(crate) fn equal(left: &str, right: &str) -> bool {
    aws_lc_rs::constant_time::verify_slices_are_equal(left.as_bytes(), right.as_bytes()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s256_agrees_with_rfc_7636_appendix_b() {
        assert_eq!(
            sha256("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn secrets_differ_and_are_valid_pkce_verifiers() {
        let one = secret();
        assert_ne!(one, secret());
        assert!((43..=128).contains(&one.len()));
        assert!(one.bytes().all(|b| b.is_ascii_alphanumeric()));
    }
}
