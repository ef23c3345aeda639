//! A client certificate and the assertions that its key signs: written apart from the code under test.

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use rcgen::CertificateParams;
use serde_json::{Value, json};

pub(crate) const TYPE: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

pub(crate) struct Made {
    pub(crate) pem: String,
    pub(crate) thumbprint: String,
    der: Vec<u8>,
    key: RsaKeyPair,
}

impl Made {
    /// A self-signed certificate that is good until the end of 2026.
    pub(crate) fn new() -> Self {
        let key = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let private: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let mut params = CertificateParams::default();
        params.not_before = rcgen::date_time_ymd(2026, 1, 1);
        params.not_after = rcgen::date_time_ymd(2027, 1, 1);
        let private = rcgen::KeyPair::try_from(private.as_ref()).unwrap();
        let der = params.self_signed(&private).unwrap().der().to_vec();
        Self {
            pem: format!(
                "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
                STANDARD.encode(&der)
            ),
            thumbprint: URL_SAFE_NO_PAD.encode(digest(&SHA256, &der)),
            der,
            key,
        }
    }

    /// The certificate as Graph takes it.
    pub(crate) fn base64(&self) -> String {
        STANDARD.encode(&self.der)
    }

    /// PS256, as MSAL signs today.
    pub(crate) fn assertion(&self, client: &str, audience: &str, now: u64) -> String {
        let header = json!({ "typ": "JWT", "alg": "PS256", "x5t#S256": self.thumbprint });
        self.signed(&header, &RSA_PSS_SHA256, client, audience, now)
    }

    /// RS256 and SHA-1, as it did before.
    pub(crate) fn old_assertion(&self, client: &str, audience: &str, now: u64) -> String {
        let thumbprint = URL_SAFE_NO_PAD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, &self.der));
        let header = json!({ "typ": "JWT", "alg": "RS256", "x5t": thumbprint });
        self.signed(&header, &RSA_PKCS1_SHA256, client, audience, now)
    }

    fn signed(
        &self,
        header: &Value,
        encoding: &'static dyn RsaEncoding,
        client: &str,
        audience: &str,
        now: u64,
    ) -> String {
        let claims = json!({
            "aud": audience, "iss": client, "sub": client, "jti": "1", "nbf": now, "iat": now, "exp": now + 600,
        });
        let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let input = format!("{}.{}", part(header), part(&claims));
        let mut signature = vec![0; self.key.public_modulus_len()];
        self.key
            .sign(
                encoding,
                &SystemRandom::new(),
                input.as_bytes(),
                &mut signature,
            )
            .unwrap();
        format!("{input}.{}", URL_SAFE_NO_PAD.encode(signature))
    }
}
