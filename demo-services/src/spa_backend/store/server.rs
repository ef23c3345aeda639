//! A real Redis for a test: a child process on a Unix socket of its own, which dies with it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command as Blocking, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::interval;

use crate::config::SealedRedisConfig;

const PROGRAM: &str = "redis-server";

/// The server and the folder that it lives in.
pub(in crate::spa_backend) struct Server {
    folder: PathBuf,
    arguments: &'static [&'static str],
    child: Option<Child>,
}

/// Keeps what it was told over a restart.
pub(in crate::spa_backend) const DURABLE: &[&str] =
    &["--appendonly", "yes", "--appendfsync", "always"];
/// Is empty after a restart.
pub(in crate::spa_backend) const FORGETFUL: &[&str] = &["--appendonly", "no"];
/// Tells nobody how it is configured.
pub(in crate::spa_backend) const NO_CONFIG: &[&str] = &["--rename-command", "CONFIG", ""];

/// Runs a story with a server. Without Redis the story is skipped with a line that says so; under `CI=true` that is a failure.
pub(in crate::spa_backend) async fn with_redis(
    name: &str,
    arguments: &'static [&'static str],
    story: impl AsyncFnOnce(&mut Server),
) {
    if Blocking::new(PROGRAM).arg("--version").output().is_err() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "{PROGRAM} not found, and CI=true allows no skipped story"
        );
        // Not `eprintln!`, which the test runner keeps to itself when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "{name} skipped: {PROGRAM} not found (apt-get install redis-server)"
        );
        return;
    }
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let folder = format!("spa-backend-redis-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut server = Server {
        folder,
        arguments,
        child: None,
    };
    server.start().await;
    story(&mut server).await;
}

impl Server {
    /// Sessions in this server, sealed with this secret, for tests that do not hurry: a busy machine is no fault.
    pub(in crate::spa_backend) fn sessions(
        &self,
        secret: &str,
        previous: Option<&str>,
    ) -> Option<SealedRedisConfig> {
        Some(SealedRedisConfig {
            redis: self.url().into(),
            sealing_secret: secret.into(),
            previous_sealing_secret: previous.map(Into::into),
            timeout_ms: Some(5000),
        })
    }

    /// Starts it and waits until it accepts connections.
    pub(in crate::spa_backend) async fn start(&mut self) {
        let mut child = Command::new(PROGRAM)
            .args(["--port", "0", "--save", "", "--logfile", ""])
            .arg("--unixsocket")
            .arg(self.folder.join("r.sock"))
            .arg("--dir")
            .arg(&self.folder)
            .args(self.arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut said = String::new();
        loop {
            let line = lines.next_line().await.unwrap();
            assert!(line.is_some(), "{PROGRAM} ended: {said}");
            let line = line.unwrap();
            if line.contains("ready to accept connections") {
                break;
            }
            said.push_str(&line);
            said.push('\n');
        }
        // Its pipe must be read on, or it stops when the pipe is full.
        tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
        self.child = Some(child);
    }

    /// SIGKILL.
    pub(in crate::spa_backend) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// SIGSTOP: connections stay, and nothing is answered.
    pub(in crate::spa_backend) async fn stop(&self) {
        self.signal("-STOP").await;
        let status = format!("/proc/{}/stat", self.pid());
        let mut look = interval(Duration::from_millis(1));
        while !std::fs::read_to_string(&status).unwrap().contains(") T ") {
            look.tick().await;
        }
    }

    /// SIGCONT.
    pub(in crate::spa_backend) async fn resume(&self) {
        self.signal("-CONT").await;
    }

    /// All keys and values.
    pub(in crate::spa_backend) async fn dump(&self) -> Vec<(String, Vec<u8>)> {
        let client = ::redis::Client::open(self.url()).unwrap();
        let mut raw = client.get_multiplexed_async_connection().await.unwrap();
        let keys = ::redis::cmd("KEYS").arg("*").query_async(&mut raw).await;
        let keys: Vec<String> = keys.unwrap();
        let mut all = Vec::new();
        for key in keys {
            let value = ::redis::cmd("GET").arg(&key).query_async(&mut raw).await;
            all.push((key, value.unwrap()));
        }
        all
    }

    fn url(&self) -> String {
        format!("redis+unix://{}", self.folder.join("r.sock").display())
    }

    fn pid(&self) -> u32 {
        self.child.as_ref().and_then(Child::id).unwrap()
    }

    async fn signal(&self, signal: &str) {
        let mut kill = Command::new("kill");
        let status = kill.arg(signal).arg(self.pid().to_string()).status().await;
        assert!(status.unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}
