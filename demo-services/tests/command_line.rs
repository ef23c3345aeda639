//! What a person meets at the terminal: clear messages with a way on, and a quiet end.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

fn demo_services(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
    command
        .args(arguments)
        .env_remove("RUST_LOG")
        .stdin(Stdio::null());
    command
}

/// Ends a process that a failed test leaves behind.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
    }
}

/// Expects a failure with one message and no trace of a panic.
fn refusal(arguments: &[&str]) -> String {
    let Output {
        status,
        stdout,
        stderr,
    } = demo_services(arguments).output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(1), "{text}");
    assert!(stdout.is_empty(), "{}", String::from_utf8_lossy(&stdout));
    assert!(text.starts_with("error: "), "{text}");
    assert!(!text.contains("panicked"), "{text}");
    text
}

fn file(name: &str, text: &str) -> PathBuf {
    let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    fs::write(&file, text).unwrap();
    file
}

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

#[test]
fn a_taken_port_is_named_with_the_option_that_changes_it() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (mine, other) in [
        ("--spa-port", "--authority-port"),
        ("--authority-port", "--spa-port"),
    ] {
        let text = refusal(&[mine, &port, other, "0"]);
        assert!(text.contains(&port), "{text}");
        assert!(text.contains(mine), "{text}");
        assert!(text.contains("stop the other program"), "{text}");
    }
}

#[test]
fn msal_js_without_https_or_without_its_package_says_what_to_do() {
    let ports = ["--spa-port", "0", "--authority-port", "0"];
    let with = |more: &[&str]| refusal(&[&ports[..], more].concat());
    let text = with(&["--msal", "."]);
    assert!(
        text.contains("--msal needs --https: MSAL.js insists on an https authority"),
        "{text}"
    );
    let directory = env!("CARGO_TARGET_TMPDIR");
    let ca = format!("{directory}/command-line-ca");
    let text = with(&["--https", "--ca-dir", &ca, "--msal", directory]);
    let command = format!("npm install --prefix {directory} @azure/msal-browser@5.30.0");
    assert!(text.contains(&command), "{text}");
}

#[test]
fn the_samples_are_refused_until_they_are_filled_in() {
    for name in ["spa-backend", "middle-tier", "downstream-api"] {
        let sample = sample(&format!("{name}.toml"));
        let text = refusal(&[name, "--config", sample.to_str().unwrap()]);
        assert!(text.contains(&format!("{name}.toml")), "{text}");
        assert!(text.contains("placeholder"), "{text}");

        // Filled in, only the port is left to complain about.
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut filled = fs::read_to_string(&sample).unwrap();
        while let Some((before, rest)) = filled.split_once('<') {
            let (_, after) = rest.split_once('>').unwrap();
            filled = format!("{before}22222222-3333-4444-5555-666666666666{after}");
        }
        let (before, rest) = filled.split_once("listen = \"localhost:").unwrap();
        let (_, after) = rest.split_once('"').unwrap();
        let filled = format!("{before}listen = \"localhost:{port}\"{after}");
        let file = file(&format!("{name}.toml"), &filled);
        let text = refusal(&[name, "--config", file.to_str().unwrap()]);
        assert!(text.contains(&format!("port {port} is in use")), "{text}");
    }
}

#[test]
fn a_ca_file_that_cannot_be_used_is_named_by_its_key() {
    let filled = fs::read_to_string(sample("downstream-api.toml")).unwrap();
    let filled = filled.replace('<', "2").replace('>', "");
    let nothing = file("no-ca.pem", "no certificate");
    for (path, said) in [
        (
            "/nowhere/ca.pem",
            "ca_file cannot be read from /nowhere/ca.pem",
        ),
        (nothing.to_str().unwrap(), "there is no certificate in it"),
    ] {
        let line = format!("ca_file = '{path}'");
        let text = filled.replace("# ca_file = \"ca.pem\"", &line);
        let file = file("with-ca.toml", &text);
        let text = refusal(&["downstream-api", "--config", file.to_str().unwrap()]);
        assert!(text.contains(said), "{text}");
    }
}

#[test]
fn an_unusable_file_is_named_with_the_reason() {
    let rows = [
        ("missing", None, "cannot read"),
        ("no TOML", Some("listen = "), "line 1"),
        ("unknown key", Some("port = 3000"), "port"),
        (
            "missing key",
            Some("listen = \"localhost:0\""),
            "missing field",
        ),
    ];
    for (what, text, expected) in rows {
        let path = match text {
            Some(text) => file(&format!("{what}.toml"), text),
            None => PathBuf::from("/nowhere/at-all.toml"),
        };
        let path = path.to_str().unwrap();
        for command in ["spa-backend", "middle-tier", "downstream-api"] {
            let text = refusal(&[command, "--config", path]);
            assert!(text.contains(path), "{what}: {text}");
            assert!(text.contains(expected), "{what}: {text}");
        }
    }
}

#[test]
fn an_unusable_directory_is_named_with_the_reason() {
    let rows = [
        ("missing", None, "cannot read"),
        ("no TOML", Some("[tenant"), "line 1"),
        (
            "unknown section",
            Some("[[people]]\nname = \"x\""),
            "people",
        ),
        ("no tenant", Some("users = []"), "tenant"),
    ];
    for (what, text, expected) in rows {
        let path = match text {
            Some(text) => file(&format!("directory {what}.toml"), text),
            None => PathBuf::from("/nowhere/at-all.toml"),
        };
        let path = path.to_str().unwrap();
        for arguments in [
            &["authority", "--listen", "localhost:0", "--directory", path][..],
            &["--directory", path],
        ] {
            let text = refusal(arguments);
            assert!(text.contains(path), "{what}: {text}");
            assert!(text.contains(expected), "{what}: {text}");
        }
    }
}

#[test]
fn a_directory_without_the_demos_applications_says_which_is_missing() {
    let tenant = "[tenant]\nid = \"11111111-2222-3333-4444-555555555555\"\ndomain = \"x.example\"";
    let path = file("empty directory.toml", tenant);
    let text = refusal(&[
        "--spa-port",
        "0",
        "--authority-port",
        "0",
        "--directory",
        path.to_str().unwrap(),
    ]);
    assert!(text.contains("spa-backend"), "{text}");
}

#[test]
fn an_authority_of_known_passwords_stays_on_this_machine() {
    let directory =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("authority/default-directory.toml");
    let text = refusal(&[
        "authority",
        "--listen",
        "0.0.0.0:0",
        "--directory",
        directory.to_str().unwrap(),
    ]);
    assert!(text.contains("0.0.0.0:0"), "{text}");
}

#[cfg(unix)]
#[test]
fn the_demo_says_what_to_do_and_ctrl_c_ends_it_quietly() {
    for signal in ["INT", "TERM"] {
        let mut child = demo_services(&["--spa-port", "0", "--authority-port", "0"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut child = Running(child);
        let mut shown = String::new();
        while !shown.contains("Ctrl-C") {
            assert_ne!(stdout.read_line(&mut shown).unwrap(), 0, "{shown}");
        }
        for part in [
            "Open http://localhost:",
            "alice@contoso.example",
            "123456",
            "Call API",
            "Authority",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }

        let id = child.0.id().to_string();
        let sent = Command::new("kill")
            .args(["-s", signal, &id])
            .status()
            .unwrap();
        assert!(sent.success());
        assert_eq!(child.0.wait().unwrap().code(), Some(0), "{signal}");
        let mut errors = String::new();
        child
            .0
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut errors)
            .unwrap();
        assert!(
            !errors.contains("panicked") && !errors.contains("ERROR"),
            "{errors}"
        );
    }
}
