//! An authority whose certificate is not in order is an authority that cannot be reached.

use std::path::PathBuf;
use std::sync::Arc;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, PKCS_ECDSA_P256_SHA256,
    date_time_ymd,
};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tower_bearer::clock::{Clock as _, SystemClock};
use tower_bearer::{Algorithm, AuthorityBuilder};

use crate::credentials::pem;
use crate::examples::{example, listening};
use crate::support::{jwks, sign};

type Ca = CertifiedIssuer<'static, KeyPair>;

fn ca() -> Ca {
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    CertifiedIssuer::self_signed(params, key).unwrap()
}

/// Serves metadata and keys with a certificate of `ca` for `name`, which ends in `year`.
async fn serve(ca: &Ca, name: &str, year: i32) -> u16 {
    let mut params = CertificateParams::new([name.to_owned()]).unwrap();
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    let certificate = params.signed_by(&key, ca).unwrap();
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else {
                continue;
            };
            let answer = move |request: Request<Incoming>| async move {
                let issuer = format!("https://localhost:{port}");
                let body = match request.uri().path() {
                    "/keys" => jwks(),
                    _ => {
                        json!({"issuer": issuer, "jwks_uri": format!("{issuer}/keys")}).to_string()
                    }
                };
                Ok::<_, std::convert::Infallible>(Response::new(Full::<Bytes>::from(body)))
            };
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    });
    port
}

fn trusted(ca: &Ca) -> PathBuf {
    let name = format!("tower-bearer-ca-{}.pem", std::process::id());
    let path = std::env::temp_dir().join(name);
    std::fs::write(&path, pem("CERTIFICATE", ca.der())).unwrap();
    path
}

#[tokio::test]
async fn certificate_must_be_of_a_trusted_issuer_for_this_name_and_of_today() {
    let (ca, other) = (ca(), self::ca());
    let path = trusted(&ca);
    let rows = [
        ("in order", serve(&ca, "localhost", 2120).await, 200),
        (
            "of another issuer",
            serve(&other, "localhost", 2120).await,
            503,
        ),
        (
            "for another name",
            serve(&ca, "login.example", 2120).await,
            503,
        ),
        ("expired", serve(&ca, "localhost", 2021).await, 503),
    ];
    for (case, port, status) in rows {
        let issuer = format!("https://localhost:{port}");
        let mut command = example("resource_server");
        command.env("ISSUER", &issuer).env("SSL_CERT_FILE", &path);
        let (_server, address) = listening(command).await;
        let token = sign(
            &json!({"alg": "RS256", "kid": "k1"}),
            &json!({"iss": issuer, "aud": "api://orders", "sub": "s", "scope": "read", "exp": SystemClock.now() + 600}),
        );
        let get = reqwest::Client::new().get(format!("{address}/api"));
        let response = get.bearer_auth(token).send().await.unwrap();
        assert_eq!(response.status(), status, "{case}");
        assert!(
            response.headers().get("www-authenticate").is_none(),
            "{case}"
        );
    }
    std::fs::remove_file(path).unwrap();
}

#[tokio::test]
async fn a_private_ca_is_trusted_where_it_is_named_and_nowhere_else() {
    let (ca, other) = (ca(), self::ca());
    let issuer = format!("https://localhost:{}", serve(&ca, "localhost", 2120).await);
    let rows = [
        ("not named", vec![], false),
        ("named", vec![&ca], true),
        ("another one named", vec![&other], false),
        ("both named", vec![&other, &ca], true),
    ];
    for (case, roots, ready) in rows {
        let mut builder = AuthorityBuilder::issuer(&issuer, [Algorithm::Rs256]);
        for root in roots {
            builder = builder.root_certificate(pem("CERTIFICATE", root.der()).as_bytes());
        }
        assert_eq!(builder.build().unwrap().ready().await, ready, "{case}");
    }
}
