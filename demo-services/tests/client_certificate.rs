//! A middle tier that proves itself to the local authority with a certificate: our own client against our own authority, which share no code.

#![cfg(test)]

use std::convert::Infallible;

use aws_lc_rs::{
    encoding::{AsDer as _, Pkcs8V1Der},
    rsa::{KeyPair, KeySize},
};
use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use bytes::Bytes;
use http::{Request, Response, StatusCode, header::AUTHORIZATION};
use http_body_util::{BodyExt as _, Full};
use local_authority::{Directory, LocalAuthority, Options, Running, TokenSpec};
use serde_json::Value;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::{
    AuthorityBuilder, CallError, Certificate, Credential, OnBehalfOfError, OnBehalfOfErrorKind,
    OnBehalfOfExt as _, Principal, Target,
};

const NEXT: &str = "https://next.example";

/// A self-signed certificate and its private key, in PEM.
fn made() -> (String, String) {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let key: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let signer = rcgen::KeyPair::try_from(key.as_ref()).unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&signer);
    let pem = |label: &str, der: &[u8]| {
        let text = STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    (
        pem("CERTIFICATE", certificate.unwrap().der()),
        pem("PRIVATE KEY", key.as_ref()),
    )
}

/// Calls a middle tier of this certificate as alice: its status, and the claims of the token that the next tier got.
async fn call(running: &Running, certificate: Certificate) -> (StatusCode, Option<Value>) {
    let directory = running.directory();
    let client_id = directory.app("middle-tier").unwrap().client_id.to_string();
    let authority = AuthorityBuilder::entra(&running.tenant().to_string())
        .instance(running.url())
        .dangerous_loopback_http()
        .build()
        .unwrap();
    let api = authority.resource(&client_id).unwrap();
    let next = authority
        .client(&client_id, Credential::certificate(certificate))
        .unwrap()
        .on_behalf_of(
            ["api://downstream-api/user_impersonation"],
            Target::origin(NEXT).unwrap(),
        )
        .unwrap()
        // The next tier says which token it got.
        .wrap(service_fn(async |request: Request<Full<Bytes>>| {
            let token = request.headers()[AUTHORIZATION].as_bytes().to_vec();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(token))))
        }));
    let middle = ServiceBuilder::new()
        .layer(api.protect())
        .service(service_fn(move |request: Request<Full<Bytes>>| {
            let next = next.clone();
            async move {
                let caller = request.extensions().get::<Principal>().unwrap();
                let request = Request::get(NEXT).body(Full::<Bytes>::default()).unwrap();
                let answer = next.oneshot(request.on_behalf_of(caller)).await;
                Ok::<_, Infallible>(answer.unwrap_or_else(|error| {
                    // Refused by the authority, and for a reason of ours.
                    let refused = error.downcast_ref::<OnBehalfOfError>().unwrap();
                    assert_eq!(refused.kind(), OnBehalfOfErrorKind::Misconfigured);
                    CallError::from(error).into_response()
                }))
            }
        }));
    let token = running.issue(TokenSpec::user("alice", "middle-tier").mfa());
    let request = Request::get("/")
        .header(AUTHORIZATION, format!("Bearer {token}"))
        .body(Full::default())
        .unwrap();
    let (head, body) = middle.oneshot(request).await.unwrap().into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    let claims = std::str::from_utf8(&body)
        .ok()
        .and_then(|text| text.strip_prefix("Bearer ")?.split('.').nth(1))
        .map(|part| serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap());
    (head.status, claims)
}

#[tokio::test]
async fn a_certificate_is_exchanged_for_in_both_dialects_and_another_is_not() {
    let (certificate, key) = made();
    let mut directory = Directory::demo();
    let app = directory.app_mut("middle-tier").unwrap();
    app.secrets.clear();
    app.certificates = vec![certificate.clone()];
    let running = LocalAuthority::start(directory, Options::default())
        .await
        .unwrap();

    let ours = || Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    for certificate in [ours(), ours().legacy_sha1_thumbprint(), ours().send_chain()] {
        let (status, claims) = call(&running, certificate).await;
        assert_eq!(status, StatusCode::OK);
        let claims = claims.unwrap();
        assert_eq!(claims["azpacr"], "2");
        assert_eq!(claims["scp"], "user_impersonation");
        assert_eq!(claims["preferred_username"], "alice@contoso.example");
    }

    let (certificate, key) = made();
    let stranger = Certificate::from_pem(certificate.as_bytes(), key.as_bytes()).unwrap();
    let (status, claims) = call(&running, stranger).await;
    assert_eq!((status, claims), (StatusCode::INTERNAL_SERVER_ERROR, None));
    running.shutdown().await;
}
