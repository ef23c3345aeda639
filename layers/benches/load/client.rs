//! The load: so many connections, each of which sends its next request when it has the answer to the last.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::task::JoinSet;

const CONNECTIONS: usize = 32;

/// Requests that are sent in turn.
#[derive(Clone)]
pub(crate) struct Load {
    requests: Arc<[Bytes]>,
    /// Send no more than so many.
    limit: usize,
    /// What a server with the layers answers.
    pub(crate) status: u16,
}

/// What came of it.
#[derive(Clone, Copy)]
pub(crate) struct Sent {
    pub(crate) requests: usize,
    pub(crate) seconds: f64,
}

pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}

impl Load {
    pub(crate) fn new<'a>(tokens: impl IntoIterator<Item = &'a str>, status: u16) -> Self {
        let request = |token: &str| {
            let text = format!(
                "GET /api HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
            );
            Bytes::from(text)
        };
        Self {
            requests: tokens.into_iter().map(request).collect(),
            limit: usize::MAX,
            status,
        }
    }

    /// The same token over and over.
    pub(crate) fn again(token: &str) -> Self {
        Self::new([token], 200)
    }

    pub(crate) fn without_token() -> Self {
        let request = Bytes::from_static(b"GET /api HTTP/1.1\r\nhost: localhost\r\n\r\n");
        Self {
            requests: Arc::new([request]),
            limit: usize::MAX,
            status: 401,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.requests.len()
    }

    /// No more than so many requests.
    pub(crate) fn first(&self, limit: usize) -> Self {
        let mut load = self.clone();
        load.limit = limit;
        load
    }

    /// As [`first`](Self::first), each once.
    pub(crate) fn once(&self) -> Self {
        self.first(self.len())
    }

    /// To a server that answers so.
    pub(crate) fn answered_with(&self, status: u16) -> Self {
        let mut load = self.clone();
        load.status = status;
        load
    }

    /// Sends until the time is over or the requests are.
    pub(crate) async fn send(&self, address: SocketAddr, time: Option<Duration>) -> Sent {
        let mut streams = Vec::new();
        for _ in 0..CONNECTIONS {
            let stream = TcpStream::connect(address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            streams.push(stream);
        }
        let start = Instant::now();
        let end = time.map(|time| start + time);
        let next = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        for stream in streams {
            connections.spawn(self.clone().loop_over(stream, Arc::clone(&next), end));
        }
        let requests = connections.join_all().await.into_iter().sum();
        let seconds = start.elapsed().as_secs_f64();
        Sent { requests, seconds }
    }

    async fn loop_over(
        self,
        mut stream: TcpStream,
        next: Arc<AtomicUsize>,
        end: Option<Instant>,
    ) -> usize {
        let status = format!("HTTP/1.1 {}", self.status);
        let mut buffer = vec![0; 4096];
        let mut sent = 0;
        while end.is_none_or(|end| Instant::now() < end) {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= self.limit {
                break;
            }
            let request = &self.requests[number % self.requests.len()];
            stream.write_all(request).await.unwrap();
            let mut filled = 0;
            while !is_whole(&buffer[..filled]) {
                let read = stream.read(&mut buffer[filled..]).await.unwrap();
                assert!(read > 0, "the server closed a connection");
                filled += read;
            }
            let head = &buffer[..status.len()];
            assert_eq!(
                head,
                status.as_bytes(),
                "{}",
                String::from_utf8_lossy(&buffer[..filled])
            );
            sent += 1;
        }
        sent
    }
}

/// Is this a response with all of its body, whose length hyper writes in lower case?
fn is_whole(bytes: &[u8]) -> bool {
    const LENGTH: &[u8] = b"\r\ncontent-length: ";
    let find = |wanted: &[u8]| bytes.windows(wanted.len()).position(|at| at == wanted);
    let Some(head) = find(b"\r\n\r\n") else {
        return false;
    };
    let length = find(LENGTH).map_or(0, |at| {
        let digits = bytes[at + LENGTH.len()..].iter();
        let digits = digits.take_while(|byte| byte.is_ascii_digit());
        digits.fold(0, |length, digit| length * 10 + usize::from(digit - b'0'))
    });
    bytes.len() == head + 4 + length
}
