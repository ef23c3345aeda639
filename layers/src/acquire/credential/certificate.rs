//! A certificate as credential: RFC 7523 2.2, with the headers that Entra asks for.

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY};
use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
use aws_lc_rs::rand::{self, SystemRandom};
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use secrecy::SecretString;
use serde_json::{Map, Value, json};
use url::Url;

use crate::error::ConfigError;
use crate::refusal::BoxError;
use crate::token::sha256;

/// How long an assertion is valid, in seconds.
const LIFETIME: u64 = 600;

/// A certificate that is registered with the authority, and its private key (RSA).
pub struct Certificate {
    chain: Vec<CertificateDer<'static>>,
    thumbprint: [u8; 32],
    key: RsaKeyPair,
    with_chain: bool,
    with_sha1: bool,
}

impl Certificate {
    /// A certificate, or a chain of them with our own first, and its private key (PKCS #8 or PKCS #1), all in PEM. They may
    /// stand in one file.
    ///
    /// # Errors
    /// No certificate, no private key, or one that is not RSA or not the certificate's.
    pub fn from_pem(certificate: &[u8], private_key: &[u8]) -> Result<Self, ConfigError> {
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate)
            .collect::<Result<_, _>>()
            .map_err(|_| ConfigError::Certificate)?;
        let own = chain.first().ok_or(ConfigError::Certificate)?;
        let key =
            PrivateKeyDer::from_pem_slice(private_key).map_err(|_| ConfigError::PrivateKey)?;
        let key = match &key {
            PrivateKeyDer::Pkcs8(der) => RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()),
            PrivateKeyDer::Pkcs1(der) => RsaKeyPair::from_der(der.secret_pkcs1_der()),
            _ => return Err(ConfigError::PrivateKey),
        };
        let key = key.map_err(|_| ConfigError::PrivateKey)?;
        // A certificate holds its public key in exactly this form (RFC 5280 4.1), so there is no need to read the rest.
        let public: PublicKeyX509Der<'_> = key
            .public_key()
            .as_der()
            .map_err(|_| ConfigError::PrivateKey)?;
        let public = public.as_ref();
        if !own.windows(public.len()).any(|part| part == public) {
            return Err(ConfigError::CertificateMismatch);
        }
        Ok(Self {
            thumbprint: sha256(own),
            key,
            chain,
            with_chain: false,
            with_sha1: false,
        })
    }

    /// Sends the whole chain along (`x5c`), so that a certificate that is renewed under the same subject name and issuer need
    /// not be registered again.
    #[must_use]
    pub fn send_chain(mut self) -> Self {
        self.with_chain = true;
        self
    }

    /// Signs with RS256 and names the certificate by SHA-1 (`x5t`), for authorities that know no better; PS256 and
    /// `x5t#S256` otherwise.
    #[must_use]
    pub fn legacy_sha1_thumbprint(mut self) -> Self {
        self.with_sha1 = true;
        self
    }

    pub(super) fn assert(
        &self,
        client_id: &str,
        endpoint: &Url,
        now: u64,
    ) -> Result<SecretString, BoxError> {
        let mut id = [0; 16];
        rand::fill(&mut id)?;
        let claims = json!({
            "aud": endpoint.as_str(), "iss": client_id, "sub": client_id, "jti": encode(id),
            "nbf": now, "iat": now, "exp": now.saturating_add(LIFETIME),
        });
        let header = Value::Object(self.header()).to_string();
        let message = format!("{}.{}", encode(header), encode(claims.to_string()));
        let mut signature = vec![0; self.key.public_modulus_len()];
        let encoding: &dyn RsaEncoding = if self.with_sha1 {
            &RSA_PKCS1_SHA256
        } else {
            &RSA_PSS_SHA256
        };
        let random = SystemRandom::new();
        self.key
            .sign(encoding, &random, message.as_bytes(), &mut signature)?;
        Ok(format!("{message}.{}", encode(signature)).into())
    }

    fn header(&self) -> Map<String, Value> {
        let mut header = Map::new();
        header.insert("typ".to_owned(), "JWT".into());
        if self.with_sha1 {
            let own = self.chain.first().map(AsRef::as_ref).unwrap_or_default();
            let thumbprint = digest::digest(&SHA1_FOR_LEGACY_USE_ONLY, own);
            header.insert("alg".to_owned(), "RS256".into());
            header.insert("x5t".to_owned(), encode(thumbprint).into());
        } else {
            header.insert("alg".to_owned(), "PS256".into());
            header.insert("x5t#S256".to_owned(), encode(self.thumbprint).into());
        }
        if self.with_chain {
            // RFC 7515 4.1.6: standard base64.
            let chain = self.chain.iter().map(|der| BASE64_STANDARD.encode(der));
            header.insert("x5c".to_owned(), chain.collect());
        }
        header
    }
}

impl std::fmt::Debug for Certificate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Certificate").finish_non_exhaustive()
    }
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
