//! The examples as processes, against an authority on a socket.

use std::path::PathBuf;
use std::process::Stdio;

use local_authority::{Directory, LocalAuthority, TokenSpec};
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tower_bearer::clock::{Clock as _, SystemClock};
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, ResponseTemplate};

use crate::support::{jwks, sign};

const AUDIENCE: &str = "api://orders";

pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().unwrap().parent().unwrap();
    let binary: PathBuf = profile.join("examples").join(name);
    assert!(
        binary.exists(),
        "cargo build --examples --all-features (a plain `cargo test` does)"
    );
    let mut command = Command::new(binary);
    command
        .env_clear()
        .kill_on_drop(true)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

async fn authority() -> MockServer {
    let server = MockServer::start().await;
    let metadata =
        json!({"issuer": server.uri(), "jwks_uri": format!("{}/keys", server.uri())}).to_string();
    for (at, body) in [
        ("/.well-known/openid-configuration", metadata),
        ("/keys", jwks()),
    ] {
        let answer = ResponseTemplate::new(200).set_body_raw(body, "application/json");
        Mock::given(method("GET"))
            .and(path(at))
            .respond_with(answer)
            .mount(&server)
            .await;
    }
    server
}

fn token(authority: &MockServer, changes: &[(&str, &str)]) -> String {
    let mut claims = json!({
        "iss": authority.uri(), "aud": AUDIENCE, "sub": "alice", "scope": "read", "exp": SystemClock.now() + 600,
    });
    for (name, value) in changes {
        claims[*name] = Value::from(*value);
    }
    sign(
        &json!({"alg": "RS256", "typ": "at+jwt", "kid": "k1"}),
        &claims,
    )
}

/// The process and where it listens.
async fn start(name: &str, authority: &MockServer) -> (Child, String) {
    let mut command = example(name);
    command.env("ISSUER", authority.uri());
    listening(command).await
}

pub(crate) async fn listening(mut command: Command) -> (Child, String) {
    let settings = [("PORT", "0"), ("AUDIENCE", AUDIENCE), ("SCOPE", "read")];
    listens(command.envs(settings)).await
}

async fn listens(command: &mut Command) -> (Child, String) {
    let mut child = command.spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().unwrap();
    let address = line.strip_prefix("listening on ").unwrap().to_owned();
    (child, address)
}

async fn stops_when_it_is_told_to(mut child: Child) {
    let id = child.id().unwrap().to_string();
    let told = Command::new("kill").args(["-INT", &id]).status().await;
    assert!(told.unwrap().success());
    assert!(child.wait().await.unwrap().success());
}

#[tokio::test]
async fn http_servers_answer_and_refuse() {
    let authority = authority().await;
    for name in ["resource_server", "resource_server_axum"] {
        let (child, address) = start(name, &authority).await;
        let client = reqwest::Client::new();
        let get = async |path: &str, token: Option<String>| {
            let mut request = client.get(format!("{address}{path}"));
            if let Some(token) = token {
                request = request.bearer_auth(token);
            }
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        };
        let alice = || Some(token(&authority, &[]));
        let answer = r#"{"sub":"alice"}"#.to_owned();
        assert_eq!(get("/api", alice()).await, (200, answer), "{name}");
        assert_eq!(get("/other", alice()).await.0, 404, "{name}");
        assert_eq!(get("/api", None).await.0, 401, "{name}");
        for (changes, status) in [([("aud", "x")], 401), ([("scope", "x")], 403)] {
            let token = token(&authority, &changes);
            assert_eq!(
                get("/api", Some(token)).await.0,
                status,
                "{name}: {changes:?}"
            );
        }
        stops_when_it_is_told_to(child).await;
    }
}

#[tokio::test]
async fn metadata_may_stand_elsewhere() {
    let authority = authority().await;
    let issuer = "http://localhost:9";
    let metadata = json!({"issuer": issuer, "jwks_uri": format!("{}/keys", authority.uri())});
    Mock::given(path("/elsewhere"))
        .respond_with(ResponseTemplate::new(200).set_body_json(metadata))
        .mount(&authority)
        .await;
    let url = format!("{}/elsewhere", authority.uri());
    let mut command = example("resource_server");
    command.env("METADATA_URL", url).env("ISSUER", issuer);
    let (child, address) = listening(command).await;
    let token = token(&authority, &[("iss", issuer)]);
    let get = reqwest::Client::new().get(format!("{address}/api"));
    let response = get.bearer_auth(token).send().await.unwrap();
    assert_eq!(response.status(), 200);
    stops_when_it_is_told_to(child).await;
}

#[tokio::test]
async fn the_grpc_server_answers_and_refuses() {
    let authority = authority().await;
    let (child, address) = start("resource_server_tonic", &authority).await;
    let channel = tonic::transport::Endpoint::new(address).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    for (changes, code) in [
        (&[][..], Code::Ok),
        (&[("aud", "x")], Code::Unauthenticated),
        (&[("scope", "x")], Code::PermissionDenied),
    ] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        let token = format!("Bearer {}", token(&authority, changes));
        request
            .metadata_mut()
            .insert("authorization", token.parse().unwrap());
        let answer = client.check(request).await;
        assert_eq!(answer.map_or_else(|s| s.code(), |_| Code::Ok), code);
    }
    drop(client);
    stops_when_it_is_told_to(child).await;
}

#[tokio::test]
async fn a_missing_or_bad_variable_is_named() {
    let good = [
        ("PORT", "0"),
        ("ISSUER", "http://127.0.0.1:9"),
        ("AUDIENCE", AUDIENCE),
        ("SCOPE", "read"),
    ];
    let bad = [
        ("PORT", "x"),
        ("ISSUER", "http://login.example"),
        ("AUDIENCE", " "),
        ("SCOPE", "a b"),
    ];
    for (name, value) in bad {
        let mut missing = example("resource_server");
        missing.envs(good).env_remove(name);
        let mut wrong = example("resource_server");
        wrong.envs(good).env(name, value);
        for mut command in [missing, wrong] {
            let output = command.output().await.unwrap();
            assert_eq!(output.status.code(), Some(2), "{name}");
            let text = String::from_utf8(output.stderr).unwrap();
            assert!(text.starts_with(&format!("{name}: ")), "{text}");
        }
    }
}

/// The demo's authority, and an example as its downstream API.
async fn authority_and_next_tier(name: &str) -> (local_authority::Running, Child, String) {
    let options = local_authority::Options::default();
    let authority = LocalAuthority::start(Directory::demo(), options);
    let authority = authority.await.unwrap();
    let client_id = client_id(&authority, "downstream-api");
    let mut command = example(name);
    command.envs([
        ("ISSUER", authority.issuer()),
        ("AUDIENCE", &client_id),
        ("SCOPE", "user_impersonation"),
    ]);
    let (child, address) = listens(command.env("PORT", "0")).await;
    (authority, child, address)
}

fn client_id(authority: &local_authority::Running, app: &str) -> String {
    authority
        .directory()
        .app(app)
        .unwrap()
        .client_id
        .to_string()
}

/// An example as the middle tier of the demo's directory.
fn middle_tier(name: &str, authority: &local_authority::Running, next: &str) -> Command {
    let mut command = example(name);
    let directory = authority.directory();
    let secret = directory.app("middle-tier").unwrap().secret().unwrap();
    command.envs([
        ("PORT", "0"),
        ("INSTANCE", authority.url()),
        ("TENANT", &authority.tenant().to_string()),
        ("CLIENT_ID", &client_id(authority, "middle-tier")),
        ("CLIENT_SECRET", secret),
        ("SCOPE", "user_impersonation"),
        ("NEXT", next),
        ("NEXT_SCOPE", "api://downstream-api/user_impersonation"),
    ]);
    command
}

fn caller() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier").capabilities(["cp1"])
}

#[tokio::test]
async fn http_middle_tiers_call_on_behalf_of_and_relay() {
    let (authority, next_tier, next) = authority_and_next_tier("resource_server").await;
    for name in ["middle_tier_hyper", "middle_tier_reqwest"] {
        let (child, address) = listens(&mut middle_tier(name, &authority, &next)).await;
        let client = reqwest::Client::new();
        let get = async |spec: Option<TokenSpec>| {
            let mut request = client.get(format!("{address}/api"));
            if let Some(spec) = spec {
                request = request.bearer_auth(authority.issue(spec));
            }
            let response = request.send().await.unwrap();
            let challenge = response.headers().get("www-authenticate").cloned();
            let challenge = challenge.map(|value| value.to_str().unwrap().to_owned());
            (
                response.status().as_u16(),
                challenge.unwrap_or_default(),
                response.text().await.unwrap(),
            )
        };

        let (status, _, body) = get(Some(caller().mfa())).await;
        assert_eq!(status, 200, "{name}");
        assert!(body.starts_with("{\"sub\":\""), "{name}: {body}");

        let realm = format!("Bearer realm=\"{}\"", authority.tenant());
        let (status, challenge, body) = get(None).await;
        assert_eq!((status, challenge, &*body), (401, realm, ""), "{name}");
        let (status, challenge, _) = get(Some(caller().scopes(["other"]))).await;
        assert_eq!(status, 403, "{name}");
        assert!(challenge.contains("error=\"insufficient_scope\""), "{name}");

        // The authority wants a second factor before it gives a token of the next tier.
        let (status, challenge, body) = get(Some(caller())).await;
        assert_eq!((status, &*body), (401, ""), "{name}");
        let client_id = client_id(&authority, "middle-tier");
        for part in [
            "error=\"insufficient_claims\"",
            "claims=\"",
            &format!("client_id=\"{client_id}\""),
        ] {
            assert!(challenge.contains(part), "{name}: {part} in {challenge}");
        }
        stops_when_it_is_told_to(child).await;
    }
    stops_when_it_is_told_to(next_tier).await;
    authority.shutdown().await;
}

#[tokio::test]
async fn the_grpc_middle_tier_calls_on_behalf_of_and_relays() {
    let (authority, next_tier, next) = authority_and_next_tier("resource_server_tonic").await;
    let mut command = middle_tier("middle_tier_tonic", &authority, &next);
    let (child, address) = listens(&mut command).await;
    let channel = tonic::transport::Endpoint::new(address).unwrap();
    let mut client = HealthClient::new(channel.connect().await.unwrap());
    for (what, spec, code, challenge) in [
        ("good", caller().mfa(), Code::Ok, ""),
        (
            "forged",
            caller().mfa().foreign_key(),
            Code::Unauthenticated,
            "error=\"invalid_token\"",
        ),
        (
            "another scope",
            caller().scopes(["other"]),
            Code::PermissionDenied,
            "error=\"insufficient_scope\"",
        ),
        (
            "one factor",
            caller(),
            Code::Unauthenticated,
            "error=\"insufficient_claims\"",
        ),
    ] {
        let mut request = tonic::Request::new(HealthCheckRequest::default());
        let token = format!("Bearer {}", authority.issue(spec)).parse();
        let metadata = request.metadata_mut();
        metadata.insert("authorization", token.unwrap());
        let status = client.check(request).await.err();
        let status = status.unwrap_or_else(|| tonic::Status::ok(""));
        assert_eq!((status.code(), status.message()), (code, ""), "{what}");
        let printed = status.metadata().get("www-authenticate");
        let printed = printed.map_or("", |value| value.to_str().unwrap());
        assert!(printed.contains(challenge), "{what}: {printed}");
    }
    drop(client);
    stops_when_it_is_told_to(child).await;
    stops_when_it_is_told_to(next_tier).await;
    authority.shutdown().await;
}

#[tokio::test]
async fn a_variable_that_a_middle_tier_lacks_is_named() {
    let options = local_authority::Options::default();
    let authority = LocalAuthority::start(Directory::demo(), options);
    let authority = authority.await.unwrap();
    for name in [
        "PORT",
        "INSTANCE",
        "TENANT",
        "CLIENT_ID",
        "CLIENT_SECRET",
        "SCOPE",
        "NEXT",
        "NEXT_SCOPE",
    ] {
        let mut command = middle_tier("middle_tier_hyper", &authority, "http://localhost:9");
        let output = command.env_remove(name).output().await.unwrap();
        assert_eq!(output.status.code(), Some(2), "{name}");
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(text.starts_with(&format!("{name}: ")), "{text}");
    }
    authority.shutdown().await;
}
