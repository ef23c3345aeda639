//! Two middle tiers behind one name, as two processes: they share their tokens through Redis, and go on when it is killed.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "helpers of tests fail by panicking"
)]

#[path = "../../layers/src/acquire/redis/server.rs"]
#[expect(dead_code, reason = "shared with the library's tests")]
mod redis_server;

use std::{fs, path::PathBuf, process::Stdio};

use demo_services::demo::{self, DemoOptions, Running};
use local_authority::TokenSpec;
use redis_server::with_redis;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};

/// A process of the middle tier, and where it listens.
struct Process {
    _child: Child,
    url: String,
}

impl Process {
    async fn start(demo: &Running, redis: &str, number: usize) -> Self {
        let directory = demo.authority().directory();
        let middle = directory.app("middle-tier").unwrap();
        let downstream = directory.app("downstream-api").unwrap();
        let text = format!(
            r#"
            listen = "localhost:0"
            client_id = "{}"
            app_id_uri = "{}"
            client_secret = "{}"
            required_scope = "user_impersonation"
            downstream = "{}"
            downstream_scope = "{}/user_impersonation"
            [authority]
            instance = "{}"
            tenant = "{}"
            [shared_tokens]
            redis = "{redis}"
            timeout_ms = 5000
            sealing_secret = "yAq0PbCTlqA2Y1LkFr9kD1ItJ1JYVIbP8zxPH8Zz2hM="
            "#,
            middle.client_id,
            middle.identifier_uris[0],
            middle.secret().unwrap(),
            demo.downstream(),
            downstream.identifier_uris[0],
            demo.authority().url(),
            demo.authority().tenant(),
        );
        let file = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("middle-{number}.toml"));
        fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_demo-services"))
            .args(["middle-tier", "--config"])
            .arg(file)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let line = lines.next_line().await.unwrap().expect("it starts");
        let (_, rest) = line.split_once("port ").unwrap();
        let (port, _) = rest.split_once(';').unwrap();
        Self {
            _child: child,
            url: format!("http://localhost:{port}/api"),
        }
    }
}

/// Calls every process so often at once; how many requests the token endpoint got for that.
async fn call(demo: &Running, processes: &[Process], user: &str) -> u64 {
    let token = TokenSpec::user(user, "middle-tier").scopes(["user_impersonation"]);
    let token = demo.authority().issue(token.mfa());
    let http = reqwest::Client::builder().no_proxy().build().unwrap();
    let asked = || serde_json::to_value(demo.authority().counters()).unwrap()["token"].as_u64();
    let before = asked().unwrap();
    let calls = processes.iter().flat_map(|process| [process; 10]);
    let calls = calls.map(|process| http.get(&process.url).bearer_auth(&token).send());
    for answer in futures_util::future::join_all(calls).await {
        assert_eq!(answer.unwrap().status(), 200);
    }
    asked().unwrap() - before
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_process_asks_for_both_and_each_for_itself_while_redis_is_dead() {
    with_redis("two middle tiers", &[], async |redis| {
        redis.start().await;
        let demo = demo::start(DemoOptions::on_free_ports()).await.unwrap();
        let mut processes = Vec::new();
        for number in 0..2 {
            processes.push(Process::start(&demo, &redis.url(), number).await);
        }
        let users = demo.authority().directory();
        let users: Vec<&str> = users
            .users
            .iter()
            .map(|user| user.username.as_str())
            .collect();
        assert_eq!(call(&demo, &processes, users[0]).await, 1);
        assert_eq!(
            call(&demo, &processes[..1], users[0]).await,
            1,
            "a token of its own"
        );

        redis.kill().await;
        assert_eq!(call(&demo, &processes, users[1]).await, 2);
        demo.stop().await;
    })
    .await;
}
