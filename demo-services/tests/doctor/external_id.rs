//! A tenant of External ID, whose hosts are `<name>.ciamlogin.com`: a local authority that is known by such a name, behind a proxy.

use std::future::pending;
use std::process::Output;

use axum::Router;
use listening::{Listeners, Reach};
use local_authority::{Directory, LocalAuthority, Options, Running, Tls};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};

use crate::command::doctor_in;
use crate::stage::{Folder, texts};

const NAME: &str = "contoso.ciamlogin.com";

struct Tenant {
    authority: Running,
    ca: String,
    proxy: String,
}

impl Tenant {
    async fn start() -> Self {
        let mut directory = Directory::demo();
        let uris = ["/auth/callback", "/"].map(|path| format!("http://localhost:3{path}"));
        directory.app_mut("spa-backend").unwrap().redirect_uris.web = uris.to_vec();
        // What all of its tokens and metadata say, whatever name it is asked by.
        let host = format!("{}.ciamlogin.com", directory.tenant.id);
        let (ca, tls) = certificate(&host);
        let options = Options::default()
            .tls(tls.clone())
            .public_url(format!("https://{host}").parse().unwrap());
        let authority = LocalAuthority::start(directory, options).await.unwrap();
        let other = by_name(&metadata(&authority, &ca).await, tls).await;
        let proxy = proxy(authority.port(), other).await;
        Self {
            authority,
            ca,
            proxy,
        }
    }

    /// What the command finds with `authority.instance` of this host.
    async fn doctor(&self, host: &str) -> Output {
        let services = [
            "http://localhost:3",
            "http://localhost:2",
            "http://localhost:1",
        ];
        let mut texts = texts(&self.authority, services);
        let folder = Folder::new();
        let ca = folder.write("ca.pem", &self.ca).display().to_string();
        for text in [&mut texts.spa, &mut texts.middle, &mut texts.downstream] {
            let named = text.replace(self.authority.url(), &format!("https://{host}"));
            *text = format!("ca_file = \"{ca}\"\n{named}");
        }
        folder.write("spa-backend.toml", &texts.spa);
        folder.write("middle-tier.toml", &texts.middle);
        folder.write("downstream-api.toml", &texts.downstream);
        let proxy = self.proxy.clone();
        let run = tokio::task::spawn_blocking(move || {
            let variables = [("HTTPS_PROXY", proxy.as_str()), ("NO_PROXY", "")];
            let path = folder.path().to_str().unwrap();
            doctor_in(&["--config-dir", path], None, &variables)
        });
        run.await.unwrap()
    }
}

/// A CA, and what it has certified: a server of both names and of this machine.
fn certificate(host: &str) -> (String, Tls) {
    let mut ca = CertificateParams::new(Vec::new()).unwrap();
    ca.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(ca, KeyPair::generate().unwrap()).unwrap();
    let names = [NAME, host, "localhost"].map(str::to_owned).to_vec();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(names).unwrap();
    let server = server.signed_by(&key, &ca).unwrap();
    let pem = |label: &str, der: &[u8]| {
        use base64::Engine as _;
        let text = base64::prelude::BASE64_STANDARD.encode(der);
        format!("-----BEGIN {label}-----\n{text}\n-----END {label}-----\n")
    };
    let key = pem("PRIVATE KEY", key.serialized_der());
    let tls = Tls::from_pem(&pem("CERTIFICATE", server.der()), &key).unwrap();
    (pem("CERTIFICATE", ca.der()), tls)
}

async fn metadata(authority: &Running, ca: &str) -> String {
    let ca = reqwest::Certificate::from_pem(ca.as_bytes()).unwrap();
    let http = reqwest::Client::builder().no_proxy().tls_certs_only([ca]);
    let (port, tenant) = (authority.port(), authority.tenant());
    let url = format!("https://localhost:{port}/{tenant}/v2.0/.well-known/openid-configuration");
    let answer = http.build().unwrap().get(url).send().await.unwrap();
    answer.error_for_status().unwrap().text().await.unwrap()
}

/// The tenant under its other name, where the metadata are the same. A local authority answers to one name alone.
async fn by_name(metadata: &str, tls: Tls) -> u16 {
    let metadata = metadata.to_owned();
    let router = Router::new().fallback(move || async move { metadata });
    let listeners = Listeners::bind("127.0.0.1:0", Reach::Loopback).await;
    let listeners = listeners.unwrap().tls(tls);
    let port = listeners.port();
    tokio::spawn(listening::serve(listeners, router, pending()));
    port
}

/// Leads a `CONNECT` (RFC 9110 section 9.3.6) to the authority's port, or for [`NAME`] to the other one.
async fn proxy(authority: u16, other: u16) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await?);
                }
                let is_other = head.starts_with(format!("CONNECT {NAME}:").as_bytes());
                let port = if is_other { other } else { authority };
                let mut server = TcpStream::connect(("127.0.0.1", port)).await?;
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    });
    format!("http://{address}")
}

#[tokio::test(flavor = "multi_thread")]
async fn the_host_must_be_the_tenants_id() {
    let tenant = Tenant::start().await;
    let host = format!("{}.ciamlogin.com", tenant.authority.tenant());

    let output = tenant.doctor(&host).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{shown}");
    assert!(shown.contains("errors: 0, warnings: 0"), "{shown}");
    let taken = "ok   audience (downstream-api): the service takes what the authority makes";
    assert!(shown.contains(taken), "{shown}");

    let output = tenant.doctor(NAME).await;
    let shown = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1), "{shown}");
    assert!(shown.contains("errors: 1, warnings: 0"), "{shown}");
    let failed = "FAIL discovery (spa-backend): tokens of this External ID tenant have an issuer with the tenant's id";
    assert!(shown.contains(failed), "{shown}");
    let mend = format!("-> set `authority.instance` to https://{host}\n");
    assert!(shown.contains(&mend), "{shown}");
}
