//! A real Redis for a test: a child process on a Unix socket of its own, which dies with it.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command as Blocking, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::interval;

const PROGRAM: &str = "redis-server";

/// The server and the folder that it lives in.
pub(crate) struct Server {
    folder: PathBuf,
    arguments: Vec<String>,
    child: Option<Child>,
}

/// Runs a story with a folder for a server. Without Redis the story is skipped with a line that says so; under `CI=true`
/// that is a failure.
pub(crate) async fn with_redis(
    name: &str,
    arguments: &[&str],
    story: impl AsyncFnOnce(&mut Server),
) {
    let found = Blocking::new(PROGRAM).arg("--version").output();
    if found.is_err() {
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
    let folder = format!("tower-bearer-redis-{}-{number}", std::process::id());
    let folder = std::env::temp_dir().join(folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut server = Server {
        folder,
        arguments: arguments.iter().copied().map(str::to_owned).collect(),
        child: None,
    };
    story(&mut server).await;
}

impl Server {
    /// Where it listens, or is going to.
    pub(crate) fn socket(&self) -> PathBuf {
        self.folder.join("r.sock")
    }

    pub(crate) fn url(&self) -> String {
        format!("redis+unix://{}", self.socket().display())
    }

    /// Starts it and waits until it accepts connections.
    pub(crate) async fn start(&mut self) {
        let mut child = Command::new(PROGRAM)
            .args(["--port", "0", "--save", "", "--appendonly", "no"])
            .args(["--logfile", "", "--unixsocket"])
            .arg(self.socket())
            .arg("--dir")
            .arg(&self.folder)
            .args(&self.arguments)
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
    pub(crate) async fn kill(&mut self) {
        self.child.take().unwrap().kill().await.unwrap();
    }

    /// SIGSTOP: connections stay, and nothing is answered.
    pub(crate) async fn stop(&self) {
        self.signal("-STOP").await;
        let status = format!("/proc/{}/stat", self.pid());
        let mut look = interval(Duration::from_millis(1));
        while !std::fs::read_to_string(&status).unwrap().contains(") T ") {
            look.tick().await;
        }
    }

    /// SIGCONT.
    pub(crate) async fn resume(&self) {
        self.signal("-CONT").await;
    }

    /// A connection of the test's own.
    pub(crate) async fn connection(&self) -> ::redis::aio::MultiplexedConnection {
        let client = ::redis::Client::open(self.url()).unwrap();
        client.get_multiplexed_async_connection().await.unwrap()
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
