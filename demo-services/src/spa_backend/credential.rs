//! What the service proves itself with at the authority: a certificate instead of a secret.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use local_authority::{Directory, LocalAuthority, Options};
use serde_json::Value;

use super::authority::{Authority, AuthorityError};
use super::doubles::{self, CLIENT, Stage};
use super::settings::Settings;
use crate::config::{ClientCertificateConfig, SpaBackendConfig};

/// A self-signed certificate and its key, as files of a folder that goes away.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Self {
        let folder = format!("spa-backend-certificate-{}-{name}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
        let key: Pkcs8V1Der<'_> = key.as_der().unwrap();
        let signer = rcgen::KeyPair::try_from(key.as_ref()).unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&signer);
        let pem = |label: &str, der: &[u8]| {
            let text = BASE64_STANDARD.encode(der);
            format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
        };
        let certificate = pem("CERTIFICATE", certificate.unwrap().der());
        std::fs::write(folder.join("certificate.pem"), certificate).unwrap();
        std::fs::write(folder.join("key.pem"), pem("PRIVATE KEY", key.as_ref())).unwrap();
        Self(folder)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    fn use_in(&self, config: &mut SpaBackendConfig) {
        use_files(config, &self.path("certificate.pem"), &self.path("key.pem"));
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

fn use_files(config: &mut SpaBackendConfig, certificate: &Path, private_key: &Path) {
    config.client_secret = None;
    config.client_certificate = Some(ClientCertificateConfig {
        certificate: certificate.to_owned(),
        private_key: private_key.to_owned(),
    });
}

#[tokio::test]
async fn a_certificate_signs_an_assertion_for_each_token_request() {
    let files = Files::new("signs");
    let stage = Stage::new().await;
    let instance = stage.instance(|config| files.use_in(config));
    stage.authority.lifetimes.lock().unwrap().push_back(1);
    let mut browser = stage.signed_in_at(&instance, "alice").await;
    browser.fetch(http::Method::GET, "/api/api", "").await;
    let forms = stage.authority.forms.lock().unwrap();
    assert_eq!(forms.len(), 2, "a code and a refresh");
    let mut ids = Vec::new();
    for form in forms.iter() {
        assert!(!form.contains_key("client_secret"));
        assert_eq!(
            form["client_assertion_type"],
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        );
        let parts: Vec<Value> = form["client_assertion"]
            .split('.')
            .take(2)
            .map(|part| {
                serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
            })
            .collect();
        assert_eq!(parts[0]["alg"], "PS256");
        assert!(parts[0]["x5t#S256"].is_string());
        assert_eq!(parts[1]["aud"], format!("{}/token", stage.authority.url));
        assert_eq!(
            (&parts[1]["iss"], &parts[1]["sub"]),
            (&CLIENT.into(), &CLIENT.into())
        );
        ids.push(parts[1]["jti"].clone());
    }
    assert_ne!(ids[0], ids[1]);
}

#[tokio::test]
async fn the_local_authority_knows_the_registered_certificate_from_another() {
    let (files, stranger) = (Files::new("registered"), Files::new("stranger"));
    let mut directory = Directory::demo();
    let app = directory.app_mut("spa-backend").unwrap();
    app.secrets.clear();
    app.certificates = vec![std::fs::read_to_string(files.path("certificate.pem")).unwrap()];
    let client_id = app.client_id.to_string();
    let running = LocalAuthority::start(directory, Options::default())
        .await
        .unwrap();
    for (files, expected) in [
        // Who asks is believed; the refresh token is not.
        (&files, AuthorityError::Interaction { claims: None }),
        (&stranger, AuthorityError::Misconfigured),
    ] {
        let mut config = doubles::config(running.url(), "http://localhost:5000");
        config.authority.tenant = running.tenant().to_string();
        config.client_id.clone_from(&client_id);
        files.use_in(&mut config);
        let settings = Settings::new(&config).unwrap();
        let authority = Arc::new(Authority::new(&settings).unwrap());
        let answer = authority.refresh(&"unknown".into(), "openid", "{}").await;
        assert_eq!(answer.err(), Some(expected));
    }
    running.shutdown().await;
}

#[test]
fn files_that_do_not_belong_together_are_refused_at_the_start() {
    let (one, other) = (Files::new("one"), Files::new("other"));
    let message = |certificate: PathBuf, key: PathBuf| {
        let mut config = doubles::config("http://localhost:8080", "http://localhost:5000");
        use_files(&mut config, &certificate, &key);
        Settings::new(&config).err().map(|error| error.to_string())
    };
    let certificate = || one.path("certificate.pem");
    assert_eq!(message(certificate(), one.path("key.pem")), None);
    for (certificate, key, named) in [
        (certificate(), other.path("key.pem"), "client_certificate "),
        (certificate(), certificate(), "client_certificate "),
        (
            certificate(),
            one.path("missing.pem"),
            "client_certificate.private_key ",
        ),
        (
            one.path("missing.pem"),
            one.path("key.pem"),
            "client_certificate.certificate ",
        ),
    ] {
        let message = message(certificate, key).unwrap();
        assert!(message.starts_with(named), "{message}");
    }
}
