//! The authority over https: by a certificate of its own making and by one that is given.

#![allow(
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stderr,
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

/// What a client says when it has run the line that was printed for it; `None` where there is no such client.
fn trusting(said: &str, client: &str, program: &str, call: &str, home: &Path) -> Option<String> {
    let there = |program: &str| {
        let found = Command::new("sh")
            .args(["-c", &format!("command -v {program}")])
            .output();
        found.unwrap().status.success()
    };
    if !program.split(' ').all(there) {
        assert_ne!(std::env::var("CI").as_deref(), Ok("true"), "no {program}");
        eprintln!("{program} not found: the line for {client} is not tried");
        return None;
    }
    let line = said
        .lines()
        .find_map(|line| line.trim_start().strip_prefix(client));
    let line = line.unwrap_or_else(|| panic!("no line for {client} in {said}"));
    let script = format!("{}\n{call}", line.trim_end_matches("..."));
    // What the line for curl leaves open is the URL.
    let script = script.replace(" \n", " ");
    let output = Command::new("sh")
        .args(["-c", &script])
        .env("HOME", home)
        .env_remove("NODE_EXTRA_CA_CERTS")
        .output()
        .unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{client}: {errors}");
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn each_line_makes_its_client_trust_the_authority() {
    let directory = scratch("https own 'lines'");
    let home = scratch("https-home");
    fs::create_dir_all(&home).unwrap();
    let arguments = [Path::new("--https"), Path::new("--ca-dir"), &directory];
    let authority = start(&arguments, "certutil");
    let url = format!("{}/readyz", authority.url);
    let node = format!("node -e \"fetch('{url}').then(r => r.text()).then(console.log)\"");
    let chromium = format!(
        "chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
         --disable-component-update --disable-sync --user-data-dir=$HOME/profile --dump-dom {url}"
    );
    for (client, program, call, page) in [
        ("Node", "node", node.as_str(), "ok\n"),
        ("curl", "curl", url.as_str(), "ok"),
        ("Chromium", "certutil chromium", chromium.as_str(), ">ok<"),
    ] {
        if let Some(answer) = trusting(&authority.said, client, program, call, &home) {
            assert!(answer.contains(page), "{client}: {answer}");
        }
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
