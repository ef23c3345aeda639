//! The self-signed certificate of a signing key: Entra names a key by its certificate's thumbprint.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeyPair;
use aws_lc_rs::signature::{KeyPair as _, RSA_PKCS1_SHA256};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::{CertificateParams, DnType, KeyUsagePurpose, PKCS_RSA_SHA256, SignatureAlgorithm};

/// A certificate in the words of a JWK (RFC 7517 sections 4.7 and 4.8).
pub(crate) struct Certificate {
    /// SHA-1 of the certificate, base64url.
    pub(crate) x5t: String,
    /// The certificate in DER, base64 with padding.
    pub(crate) x5c: String,
}

/// A key of ours where `rcgen` asks for one of its own.
struct Signer<'a>(&'a KeyPair);

impl Certificate {
    /// The certificate of this key, and never another one: names, dates and serial number are fixed or come from the key, and
    /// PKCS #1 signatures are not random. So a key that is read back keeps its name.
    pub(crate) fn of(pair: &KeyPair) -> Result<Self, Unspecified> {
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2020, 1, 1);
        params.not_after = rcgen::date_time_ymd(2049, 12, 31);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.distinguished_name = rcgen::DistinguishedName::new();
        params
            .distinguished_name
            .push(DnType::CommonName, "local-authority, not for production");
        let certificate = params.self_signed(&Signer(pair)).map_err(|_| Unspecified)?;
        let der = certificate.der();
        Ok(Self {
            x5t: URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, der)),
            x5c: STANDARD.encode(der),
        })
    }
}

impl rcgen::PublicKeyData for Signer<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key().as_ref()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &PKCS_RSA_SHA256
    }
}

impl rcgen::SigningKey for Signer<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let mut signature = vec![0; self.0.public_modulus_len()];
        self.0
            .sign(
                &RSA_PKCS1_SHA256,
                &SystemRandom::new(),
                message,
                &mut signature,
            )
            .map_err(|_| rcgen::Error::RemoteKeyError)?;
        Ok(signature)
    }
}
