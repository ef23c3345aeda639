//! The command itself: what goes in, what comes out, with which status.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};

use local_authority::TokenSpec;
use serde_json::Value;

use crate::stage::{Folder, Stage};

fn doctor(arguments: &[&str], input: Option<&str>) -> Output {
    doctor_with(arguments, input, None)
}

fn doctor_with(arguments: &[&str], input: Option<&str>, token: Option<&str>) -> Output {
    let variables = token.map(|token| ("GRAPH_ACCESS_TOKEN", token));
    doctor_in(arguments, input, variables.as_slice())
}

/// With these environment variables.
pub(crate) fn doctor_in(
    arguments: &[&str],
    input: Option<&str>,
    variables: &[(&str, &str)],
) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
    command
        .arg("doctor")
        .args(arguments)
        .env_remove("RUST_LOG")
        .env_remove("GRAPH_ACCESS_TOKEN")
        .envs(variables.iter().copied());
    let stdin = if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    };
    let mut child = command
        .stdin(stdin)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    if let (Some(text), Some(mut stdin)) = (input, child.stdin.take()) {
        // Whoever refuses its arguments reads nothing.
        let _ = stdin.write_all(text.as_bytes());
    }
    child.wait_with_output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[test]
fn wrong_usage_is_status_2() {
    for arguments in [
        &[][..],
        &["--config-dir", "a", "--config", "b"],
        &["--config-dir", "a", "--token", "eyJhbGciOi"],
        &["--config-dir", "a", "--what"],
    ] {
        let output = doctor(arguments, None);
        assert_eq!(
            output.status.code(),
            Some(2),
            "{arguments:?}: {}",
            text(&output.stderr)
        );
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    let said = text(&doctor(&[], None).stderr);
    assert!(
        said.contains("--config-dir <DIR>|--config <FILE>"),
        "{said}"
    );
}

#[test]
fn the_help_shows_how_to_give_a_token() {
    let shown = text(&doctor(&["--help"], None).stdout);
    assert!(
        shown.contains("--token -") && !shown.contains("<->"),
        "{shown}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_graph_that_the_token_may_not_be_sent_to_is_status_2() {
    let stage = Stage::start().await;
    let folder = Folder::of(&stage.texts);
    let path = folder.path().to_str().unwrap().to_owned();
    let run = tokio::task::spawn_blocking(move || {
        let graph = "http://graph.example";
        doctor_with(&["--config-dir", &path, "--graph", graph], None, Some("t"))
    });
    let output = run.await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output.stdout));
    let said = text(&output.stderr);
    assert!(said.contains("--graph must be an https URL"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn why_graph_is_not_asked_is_told_as_it_is() {
    const NO_TOKEN: &str = "GRAPH_ACCESS_TOKEN is not set";
    let unreadable = Folder::new();
    for service in ["spa-backend", "middle-tier", "downstream-api"] {
        unreadable.write(&format!("{service}.toml"), "= no TOML");
    }
    let output = doctor_with(
        &["--config-dir", unreadable.path().to_str().unwrap()],
        None,
        Some("t"),
    );
    let shown = text(&output.stdout);
    assert!(shown.contains("no configuration can be read"), "{shown}");
    assert!(!shown.contains(NO_TOKEN), "{shown}");

    let stage = Stage::start().await;
    let sound = Folder::of(&stage.texts);
    let path = sound.path().to_str().unwrap().to_owned();
    let run = tokio::task::spawn_blocking(move || doctor(&["--config-dir", &path], None));
    let shown = text(&run.await.unwrap().stdout);
    assert_eq!(shown.matches(NO_TOKEN).count(), 1, "{shown}");
}

#[test]
fn the_shipped_files_have_placeholders_and_that_is_status_1() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config");
    let output = doctor(&["--config-dir", folder], None);
    let shown = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{shown}");
    for service in ["spa-backend", "middle-tier", "downstream-api"] {
        assert!(shown.contains(&format!("FAIL file ({service})")), "{shown}");
    }
    assert!(
        shown.contains("placeholder") && shown.contains("register"),
        "{shown}"
    );
    // The placeholders of a file at once, and nothing twice.
    let line = shown.lines().find(|line| line.contains("(middle-tier)"));
    for key in [
        "app_id_uri",
        "authority.tenant",
        "client_id",
        "client_secret",
    ] {
        assert!(line.unwrap().contains(key), "{key}: {shown}");
    }
    assert_eq!(text(&output.stderr), "");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sound_folder_is_status_0_as_lines_and_as_json() {
    let stage = Stage::start().await;
    let folder = Folder::of(&stage.texts);
    let path = folder.path().to_str().unwrap().to_owned();
    let run = |more: Vec<String>, input: Option<String>| {
        let path = path.clone();
        tokio::task::spawn_blocking(move || {
            let mut arguments = vec!["--config-dir", &path];
            arguments.extend(more.iter().map(String::as_str));
            doctor(&arguments, input.as_deref())
        })
    };
    let output = run(vec![], None).await.unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stdout));
    assert!(text(&output.stdout).contains("errors: 0, warnings: 0"));

    let output = run(vec!["--json".into()], None).await.unwrap();
    let value: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(value["ok"], true);

    let token = stage
        .authority
        .issue(TokenSpec::user("alice", "middle-tier").expires_in(-7200));
    let output = run(
        vec!["--token".into(), "-".into(), "--json".into()],
        Some(token.clone()),
    )
    .await
    .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let shown = format!("{}{}", text(&output.stdout), text(&output.stderr));
    assert!(
        shown.contains("token-time") && shown.contains("expired 2 hours ago"),
        "{shown}"
    );
    assert!(
        !token.split('.').any(|part| shown.contains(part)),
        "{shown}"
    );
}

/// An administrator's token for Microsoft Graph is none of a program that happens to listen on this machine, whatever a configuration
/// says: it was not issued by that authority.
#[tokio::test(flavor = "multi_thread")]
async fn a_graph_token_of_a_cloud_does_not_go_to_a_local_authority() {
    let stage = Stage::start().await;
    let stranger = wiremock::MockServer::start().await;
    let url = stranger.uri();
    let old = stage.authority.url().to_owned();
    let folder = Folder::of(&crate::stage::Texts {
        spa: stage.texts.spa.replace(&old, &url),
        middle: stage.texts.middle.replace(&old, &url),
        downstream: stage.texts.downstream.replace(&old, &url),
    });
    // Issued by another authority than the one that is named.
    let token = TokenSpec::user("alice", "https://graph.microsoft.com").client("spa-backend");
    let token = stage
        .authority
        .issue(token.scopes(["Application.Read.All"]));
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
    command
        .args(["doctor", "--config-dir", folder.path().to_str().unwrap()])
        .env_remove("RUST_LOG")
        .env("GRAPH_ACCESS_TOKEN", &token)
        .stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await;
    let shown = text(&output.unwrap().stdout);
    let asked = stranger.received_requests().await.unwrap();
    let sent = asked.iter().filter(|request| {
        let header = request.headers.get("authorization");
        header.is_some_and(|value| value.as_bytes().ends_with(token.as_bytes()))
    });
    assert_eq!(sent.count(), 0, "{shown}");
}

/// A configuration that is no plain file, such as a pipe that nobody writes to.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_pipe_is_no_configuration() {
    let folder = Folder::new();
    let pipe = folder.path().join("middle-tier.toml");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_demo-services"));
    command
        .args(["doctor", "--config-dir", folder.path().to_str().unwrap()])
        .env_remove("RUST_LOG")
        .env_remove("GRAPH_ACCESS_TOKEN")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let ended = tokio::time::timeout(std::time::Duration::from_secs(20), command.output()).await;
    let output = ended.expect("it waits for the pipe").unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output.stdout));
}
