//! The authority is killed in the middle of its work: what it told a client is good after the next start.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    process::Stdio,
};

use futures_util::future::join_all;
use reqwest::{Client, redirect};
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
    sync::mpsc,
    task::JoinSet,
};

const CLIENT: &str = "33333333-2222-3333-4444-555555555555";
const REDIRECT: &str = "http://localhost:3000/cb";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

const DIRECTORY: &str = r#"
[tenant]
id = "11111111-2222-3333-4444-555555555555"
domain = "contoso.example"
[[users]]
username = "alice@contoso.example"
password = "alice-in-wonderland"
display_name = "Alice"
[[apps]]
name = "client"
client_id = "33333333-2222-3333-4444-555555555555"
redirect_uris = { native = ["http://localhost:3000/cb"] }
"#;

/// A process of the authority, and where it listens.
struct Process {
    child: Child,
    tenant: String,
    http: Client,
}

impl Process {
    async fn start(folder: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_demo-services"))
            .args(["authority", "--listen", "localhost:0", "--directory"])
            .arg(folder.join("directory.toml"))
            .arg("--state")
            .arg(folder.join("state.json"))
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("it starts");
        let (_, rest) = line.split_once("on ").unwrap();
        let (url, _) = rest.split_once(';').unwrap();
        Self {
            child,
            tenant: format!("{url}/contoso.example"),
            http: Client::builder()
                .redirect(redirect::Policy::none())
                .no_proxy()
                .build()
                .unwrap(),
        }
    }

    /// No signal that it could hear: SIGKILL.
    async fn kill(mut self) {
        self.child.kill().await.unwrap();
    }

    async fn first_token(&self) -> String {
        let query = [
            ("response_type", "code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("scope", "openid offline_access"),
            ("code_challenge", CHALLENGE),
            ("code_challenge_method", "S256"),
        ];
        let url = format!("{}/oauth2/v2.0/authorize", self.tenant);
        let page = self.http.post(url).form(&query).send().await.unwrap();
        let page = page.text().await.unwrap();
        let (_, rest) = page.split_once("name=\"flow\" value=\"").expect(&page);
        let flow = rest.split('"').next().unwrap();
        let form = [
            ("flow", flow),
            ("username", "alice"),
            ("password", "alice-in-wonderland"),
        ];
        let url = format!("{}/sign-in", self.tenant);
        let answer = self.http.post(url).form(&form).send().await.unwrap();
        let location = answer.headers()["location"].to_str().unwrap();
        let (_, rest) = location.split_once("code=").unwrap();
        let code = rest.split('&').next().unwrap();
        let form = [
            ("grant_type", "authorization_code"),
            ("client_id", CLIENT),
            ("redirect_uri", REDIRECT),
            ("code", code),
            ("code_verifier", VERIFIER),
        ];
        token_of(
            token_request(&self.http, &self.tenant, &form)
                .await
                .unwrap(),
        )
    }

    async fn refresh(&self, token: &str) -> Value {
        refresh(&self.http, &self.tenant, token).await.unwrap()
    }
}

async fn token_request(
    http: &Client,
    tenant: &str,
    form: &[(&str, &str)],
) -> Result<Value, reqwest::Error> {
    let url = format!("{tenant}/oauth2/v2.0/token");
    http.post(url).form(form).send().await?.json().await
}

async fn refresh(http: &Client, tenant: &str, token: &str) -> Result<Value, reqwest::Error> {
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", CLIENT),
        ("refresh_token", token),
        ("scope", "openid offline_access"),
    ];
    token_request(http, tenant, &form).await
}

fn token_of(answer: Value) -> String {
    let token = answer["refresh_token"].as_str();
    token.unwrap_or_else(|| panic!("{answer}")).to_owned()
}

fn folder() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("killed-authority");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("directory.toml"), DIRECTORY).unwrap();
    folder
}

/// Others keep the file being written all the time. One client refreshes a few times; the process is killed the moment its last answer
/// is here. It has no request under way then: nobody can know whether one was carried out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_last_refresh_token_that_was_answered_survives_a_kill() {
    let folder = folder();
    let mut process = Process::start(&folder).await;
    let mut token = process.first_token().await;
    for round in 1..=4 {
        let firsts = join_all((0..4).map(|_| process.first_token())).await;
        let (answered, mut answers) = mpsc::channel(64);
        let mut others = JoinSet::new();
        for mut other in firsts {
            let (http, tenant) = (process.http.clone(), process.tenant.clone());
            let answered = answered.clone();
            others.spawn(async move {
                // Until it is killed.
                while let Ok(answer) = refresh(&http, &tenant, &other).await {
                    other = token_of(answer);
                    let _ = answered.try_send(());
                }
            });
        }
        drop(answered);
        answers.recv().await.expect("the others are at work");
        let mut spent = token.clone();
        for _ in 0..round {
            spent = token;
            token = token_of(process.refresh(&spent).await);
        }
        process.kill().await;
        while let Some(ended) = others.join_next().await {
            ended.unwrap();
        }

        process = Process::start(&folder).await;
        token = token_of(process.refresh(&token).await);
        if round == 4 {
            let reused = process.refresh(&spent).await;
            assert_eq!(reused["error"], "invalid_grant", "{reused}");
        }
    }
}
