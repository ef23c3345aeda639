//! The authority over https: by a certificate of its own making and by one that is given.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::{fs, iter};

use local_authority::{Clock, LocalCa, SystemClock};
use serde_json::Value;

struct Authority {
    process: Child,
    /// What it says at start.
    said: String,
    url: String,
}

impl Drop for Authority {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn command(arguments: &[&Path]) -> Command {
    let directory =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("authority/default-directory.toml");
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
    command
        .args(["authority", "--listen", "localhost:0", "--directory"])
        .arg(directory)
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Reads on until `last` was said.
fn start(arguments: &[&Path], last: &str) -> Authority {
    let mut process = command(arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut stdout = BufReader::new(process.stdout.take().unwrap());
    let mut said = String::new();
    while !said.contains(last) {
        assert_ne!(stdout.read_line(&mut said).unwrap(), 0, "{said}");
    }
    let url = said.split(' ').find(|word| word.starts_with("https://"));
    let url = url.unwrap_or_else(|| panic!("{said}"));
    Authority {
        url: url.trim_end_matches(';').to_owned(),
        process,
        said,
    }
}

async fn issuer(authority: &Authority, ca: &str) -> reqwest::Result<String> {
    let ca = reqwest::Certificate::from_pem(ca.as_bytes())?;
    let client = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .build()?;
    let url = format!(
        "{}/contoso.example/v2.0/.well-known/openid-configuration",
        authority.url
    );
    let metadata: Value = client.get(url).send().await?.json().await?;
    Ok(metadata["issuer"].as_str().unwrap().to_owned())
}

/// A directory of this test's own.
fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    directory
}

#[tokio::test]
async fn its_own_certificate_is_trusted_by_its_ca_also_after_a_restart() {
    let directory = scratch("https-own");
    let arguments = [Path::new("--https"), Path::new("--ca-dir"), &directory];
    let mut kept = None;
    for _ in 0..2 {
        let authority = start(&arguments, "certutil");
        let file = directory.join("ca.pem");
        let trust = format!("NODE_EXTRA_CA_CERTS={}", file.display());
        assert!(authority.said.contains(&trust), "{}", authority.said);
        let ca = fs::read_to_string(file).unwrap();
        let issuer = issuer(&authority, &ca).await.unwrap();
        assert!(issuer.starts_with(&authority.url), "{issuer}");
        assert_eq!(kept.get_or_insert(ca.clone()), &ca);
    }
}

#[tokio::test]
async fn a_given_certificate_is_shown() {
    let directory = scratch("https-given");
    fs::create_dir_all(&directory).unwrap();
    let ca = LocalCa::in_memory(SystemClock.now()).unwrap();
    let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
    fs::write(&certificate, ca.certificate_pem()).unwrap();
    fs::write(&key, ca.key_pem()).unwrap();
    let authority = start(
        &[
            Path::new("--tls-cert"),
            &certificate,
            Path::new("--tls-key"),
            &key,
        ],
        "\n",
    );
    assert!(issuer(&authority, ca.pem()).await.is_ok());
    let other = LocalCa::in_memory(SystemClock.now()).unwrap();
    assert!(issuer(&authority, other.pem()).await.is_err());
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let directory = scratch("https-bad");
    fs::create_dir_all(&directory).unwrap();
    let (one, other) = (
        LocalCa::in_memory(SystemClock.now()).unwrap(),
        LocalCa::in_memory(SystemClock.now()).unwrap(),
    );
    let (certificate, key) = (directory.join("c.pem"), directory.join("k.pem"));
    fs::write(&certificate, one.certificate_pem()).unwrap();
    for (text, reason) in [
        (None, "k.pem"),
        (Some("nothing"), "k.pem: no PEM block `PRIVATE KEY`"),
        (Some(other.key_pem()), "cannot be used together"),
    ] {
        text.iter().for_each(|text| fs::write(&key, text).unwrap());
        let arguments: Vec<&Path> = iter::once(Path::new("--tls-cert"))
            .chain([certificate.as_path(), Path::new("--tls-key"), &key])
            .collect();
        let output = command(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert!(said.contains(reason), "{reason} in {said}");
    }
}
