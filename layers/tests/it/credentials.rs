//! How a client proves who it is at the token endpoint.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use aws_lc_rs::digest::{self, SHA1_FOR_LEGACY_USE_ONLY, SHA256};
use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, RsaKeyPair,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD as B64};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};
use tower::{ServiceExt, service_fn};
use tower_bearer::{
    AssertionRequest, BoxError, Certificate, ConfigError, Credential, OnBehalfOfError,
    OnBehalfOfErrorKind, OnBehalfOfExt, Target,
};

use crate::support::{Body, CLIENT, NOW, TENANT, TokenEndpoint, field, issued};

static KEY: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());

/// A certificate for the key, and its issuer's.
static CERTIFICATES: LazyLock<[Vec<u8>; 2]> = LazyLock::new(|| {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = rcgen::KeyPair::try_from(private_key().as_slice()).unwrap();
    let own = CertificateParams::default()
        .signed_by(&key, &issuer)
        .unwrap();
    [own.der().to_vec(), issuer.der().to_vec()]
});

fn private_key() -> Vec<u8> {
    let der: Pkcs8V1Der<'_> = KEY.as_der().unwrap();
    der.as_ref().to_vec()
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = BASE64_STANDARD.encode(der);
    let lines: Vec<&str> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!(
        "-----BEGIN {label}-----\n{}\n-----END {label}-----\n",
        lines.join("\n")
    )
}

fn files() -> (String, String) {
    let chain = CERTIFICATES
        .each_ref()
        .map(|der| pem("CERTIFICATE", der))
        .concat();
    (chain, pem("PRIVATE KEY", &private_key()))
}

fn certificate() -> Certificate {
    let (chain, key) = files();
    Certificate::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

/// Makes one call with this credential: the form that the authority got, and how the call ended.
async fn call(endpoint: &TokenEndpoint, credential: Credential) -> Result<(), BoxError> {
    let world = endpoint.world();
    let client = world
        .authority
        .client(CLIENT, credential)?
        .on_behalf_of(
            ["api://y/.default"],
            Target::origin("https://next.example")?,
        )?
        .wrap(service_fn(async |_: http::Request<Body>| {
            Ok::<_, std::convert::Infallible>(http::Response::new(Body::default()))
        }));
    let request = http::Request::get("https://next.example/x").body(Body::default())?;
    let caller = world.principal(json!({}));
    client
        .oneshot(request.on_behalf_of(&caller))
        .await
        .map(drop)
}

async fn form(credential: Credential) -> Vec<(String, String)> {
    let endpoint = TokenEndpoint::start().await;
    endpoint.on("", issued("next")).await;
    call(&endpoint, credential).await.unwrap();
    endpoint.forms().await.remove(0)
}

fn json_of(part: &str) -> Value {
    serde_json::from_slice(&B64.decode(part).unwrap()).unwrap()
}

#[tokio::test]
async fn certificate_signs_an_assertion_for_each_request() {
    let rows = [
        (certificate(), "PS256", false),
        (certificate().legacy_sha1_thumbprint(), "RS256", true),
    ];
    for (certificate, algorithm, legacy) in rows {
        let form = form(Credential::certificate(certificate)).await;
        assert_eq!(
            field(&form, "client_assertion_type"),
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        assert!(form.iter().all(|(name, _)| name != "client_secret"));
        let assertion = field(&form, "client_assertion");
        let (message, signature) = assertion.rsplit_once('.').unwrap();
        let (header, claims) = message.split_once('.').unwrap();
        let (header, claims) = (json_of(header), json_of(claims));
        assert_eq!(header["alg"], algorithm);
        let (name, hash) = if legacy {
            ("x5t", &SHA1_FOR_LEGACY_USE_ONLY)
        } else {
            ("x5t#S256", &SHA256)
        };
        let thumbprint = B64.encode(digest::digest(hash, &CERTIFICATES[0]));
        assert_eq!(header[name], thumbprint);
        assert!(header.get("x5c").is_none());
        let endpoint = format!("/{TENANT}/oauth2/v2.0/token");
        assert!(claims["aud"].as_str().unwrap().ends_with(&endpoint));
        assert_eq!(
            (&claims["iss"], &claims["sub"]),
            (&json!(CLIENT), &json!(CLIENT))
        );
        assert_eq!(
            (&claims["nbf"], &claims["exp"]),
            (&json!(NOW), &json!(NOW + 600))
        );
        assert!(claims["jti"].as_str().unwrap().len() >= 16);
        let parameters = if legacy {
            &RSA_PKCS1_2048_8192_SHA256
        } else {
            &RSA_PSS_2048_8192_SHA256
        };
        let public = UnparsedPublicKey::new(parameters, KEY.public_key().as_ref());
        let signature = B64.decode(signature).unwrap();
        public.verify(message.as_bytes(), &signature).unwrap();
    }
}

#[tokio::test]
async fn chain_is_sent_where_it_is_asked_for() {
    let form = form(Credential::certificate(certificate().send_chain())).await;
    let header = json_of(field(&form, "client_assertion").split('.').next().unwrap());
    assert_eq!(
        header["x5c"],
        json!(
            CERTIFICATES
                .each_ref()
                .map(|der| BASE64_STANDARD.encode(der))
        )
    );
}

#[tokio::test]
async fn no_two_assertions_have_the_same_id() {
    let mut ids = Vec::new();
    for _ in 0..2 {
        let form = form(Credential::certificate(certificate())).await;
        let claims = json_of(field(&form, "client_assertion").split('.').nth(1).unwrap());
        ids.push(claims["jti"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn pem_that_is_no_certificate_with_its_rsa_key_is_refused() {
    let (chain, key) = files();
    let certificate =
        |chain: &str, key: &str| Certificate::from_pem(chain.as_bytes(), key.as_bytes()).err();
    assert_eq!(certificate(&chain, &key), None);
    let together = format!("{key}{chain}");
    assert_eq!(certificate(&together, &together), None, "one file for both");
    let junk = pem("PRIVATE KEY", b"junk");
    let another = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let another: Pkcs8V1Der<'_> = another.as_der().unwrap();
    let another = pem("PRIVATE KEY", another.as_ref());
    assert_eq!(
        certificate(&chain, &another),
        Some(ConfigError::CertificateMismatch),
        "a key of another"
    );
    for (chain, key, error) in [
        ("", key.as_str(), ConfigError::Certificate),
        (&key, &chain, ConfigError::Certificate),
        ("x", "x", ConfigError::Certificate),
        (&chain, "", ConfigError::PrivateKey),
        (&chain, &junk, ConfigError::PrivateKey),
    ] {
        assert_eq!(certificate(chain, key), Some(error));
    }
    let shown = format!(
        "{:?} {:?}",
        self::certificate(),
        Credential::certificate(self::certificate())
    );
    assert_eq!(shown, "Certificate { .. } Credential::Certificate(..)");
}

#[tokio::test]
async fn assertion_of_another_authority_is_asked_for_at_each_request() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.on("", issued("next")).await;
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&asked);
    let source = move |request: AssertionRequest| {
        assert_eq!((request.client_id.as_str(), request.now), (CLIENT, NOW));
        assert!(
            request
                .token_endpoint
                .path()
                .starts_with(&format!("/{TENANT}/"))
        );
        let n = counter.fetch_add(1, Ordering::SeqCst);
        async move { Ok(format!("assertion-{n}").into()) }
    };
    let credential = Credential::assertion(source);
    for n in 0..2 {
        // A client of its own each time, so that no token is cached.
        call(&endpoint, credential.clone()).await.unwrap();
        let forms = endpoint.forms().await;
        assert_eq!(
            field(&forms[n], "client_assertion"),
            format!("assertion-{n}")
        );
    }
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn assertion_that_does_not_come_is_waited_for_as_long_as_for_an_answer() {
    let endpoint = TokenEndpoint::start().await;
    tokio::time::pause();
    let never = Credential::assertion(|_| std::future::pending());
    let before = tokio::time::Instant::now();
    let failed = call(&endpoint, never).await.unwrap_err();
    let failed = failed.downcast_ref::<OnBehalfOfError>().unwrap();
    assert_eq!(failed.kind(), OnBehalfOfErrorKind::Unavailable);
    assert_eq!(before.elapsed().as_secs(), 5);
}

#[tokio::test]
async fn file_is_read_again_because_it_rotates() {
    let endpoint = TokenEndpoint::start().await;
    endpoint.on("", issued("next")).await;
    let directory = std::env::temp_dir().join(format!("tower-bearer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let path = directory.join("assertion");
    let credential = Credential::assertion_file(&path);
    for (n, text) in ["first\n", "second"].into_iter().enumerate() {
        std::fs::write(&path, text).unwrap();
        call(&endpoint, credential.clone()).await.unwrap();
        let forms = endpoint.forms().await;
        assert_eq!(field(&forms[n], "client_assertion"), text.trim());
    }
    for missing in [false, true] {
        if missing {
            std::fs::remove_dir_all(&directory).unwrap();
        } else {
            std::fs::write(&path, " \n").unwrap();
        }
        let failed = call(&endpoint, credential.clone()).await.unwrap_err();
        let failed = failed.downcast_ref::<OnBehalfOfError>().unwrap();
        assert_eq!(failed.kind(), OnBehalfOfErrorKind::Unavailable);
    }
    assert_eq!(
        endpoint.forms().await.len(),
        2,
        "nothing was asked without a credential"
    );
}
