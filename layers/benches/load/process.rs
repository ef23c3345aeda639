//! A server as a process, and what the kernel says about it.

use std::env;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use super::CORE_OF_SERVER;
use super::authority::Authority;
use super::server::Contestant;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    child: Child,
}

impl Server {
    /// Waits until it listens. `LOAD_WRAPPER` may name a tool to run it under.
    pub(crate) fn start(contestant: Contestant, authority: &Authority) -> Self {
        let program = env::current_exe().unwrap();
        let wrapper = env::var("LOAD_WRAPPER").unwrap_or_default();
        let pinned = has_taskset().then_some(["taskset", "-c", CORE_OF_SERVER]);
        let words = pinned
            .into_iter()
            .flatten()
            .chain(wrapper.split_whitespace());
        let mut words = words.chain(program.to_str());
        let mut child = Command::new(words.next().unwrap())
            .args(words)
            .envs(contestant.variables(authority))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        output.read_line(&mut line).unwrap();
        let address = line.trim().parse().unwrap();
        Self { address, child }
    }

    /// Seconds of all its threads so far, user and system.
    pub(crate) fn cpu_seconds(&self) -> f64 {
        // Fields 14 and 15; the name in field 2 may hold spaces, and ends with the last parenthesis.
        let text = self.read("stat");
        let (_, fields) = text.rsplit_once(") ").unwrap();
        let ticks = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<f64>().unwrap());
        // Linux counts for user space in hundredths, whatever the kernel's own clock is.
        ticks.sum::<f64>() / 100.0
    }

    pub(crate) fn rss_mib(&self) -> f64 {
        let text = self.read("status");
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .unwrap();
        line.trim().trim_end_matches(" kB").parse::<f64>().unwrap() / 1024.0
    }

    /// Runs a command with this process as last argument, if there is one.
    pub(crate) fn tell(&self, command: &str) {
        let mut words = command.split_whitespace();
        if let Some(program) = words.next() {
            let id = self.child.id().to_string();
            let status = Command::new(program)
                .args(words)
                .arg(id)
                .stdout(Stdio::null())
                .status();
            assert!(status.unwrap().success(), "{command}");
        }
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It ends with its standard input, by itself, so that a tool around it can write what it counted.
        drop(self.child.stdin.take());
        let _ = self.child.wait();
    }
}

/// This process, from now on.
pub(crate) fn pin(core: &str) {
    if has_taskset() {
        let id = std::process::id().to_string();
        let status = Command::new("taskset")
            .args(["-pc", core, &id])
            .stdout(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "two cores are needed");
    }
}

fn has_taskset() -> bool {
    let version = Command::new("taskset")
        .arg("--version")
        .stdout(Stdio::null())
        .status();
    version.is_ok_and(|status| status.success())
}
