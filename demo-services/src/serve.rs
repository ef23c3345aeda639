//! How every service listens: one port on both loopback addresses, HTTP/1.1 and HTTP/2, bounded heads, graceful stop.

use std::{
    convert::Infallible,
    error::Error,
    future::Future,
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use http::{Request, Response};
use http_body::Body;
use hyper::body::Incoming;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::{conn::auto, graceful::GracefulShutdown},
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tower::Service;

/// Requests carry access tokens of several KiB and their challenges come back; a browser adds its cookies.
const HEADER_LIST: u32 = 32 * 1024;
/// Header lines of one HTTP/1.1 request.
const HEADERS: usize = 100;
/// From the first byte of an HTTP/1.1 head to its last, and from the opening of a connection to its first byte.
const HEAD_DEADLINE: Duration = Duration::from_secs(15);
/// Connections served at once per port; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// Streams at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
/// How long requests in flight may take to finish once a stop is asked for.
const DRAIN: Duration = Duration::from_secs(10);
/// Accept fails for lack of file descriptors: give the connections that hold them time to end.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// A free port on 127.0.0.1 may be taken on ::1; so many others are tried.
const FREE_PORT_ATTEMPTS: usize = 16;

/// Why a service cannot listen.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BindError {
    /// The text is not an address to listen on.
    #[error("`{0}` is not an address to listen on: write localhost:PORT or IP:PORT")]
    Address(String),
    /// The operating system refuses for a reason of its own.
    #[error("cannot listen on {address}")]
    Io {
        /// Where it was tried.
        address: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The address can be reached from other machines and nobody asked for that.
    #[error(
        "{0} can be reached from other machines; services listen on loopback only unless told otherwise"
    )]
    NotLoopback(IpAddr),
    /// Another program has the port.
    #[error("port {0} is in use")]
    Taken(u16),
}

/// Who may reach a service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reach {
    /// This machine.
    #[default]
    Loopback,
    /// Whoever can reach the address.
    Network,
}

/// One port, on one address or on both loopback addresses.
#[derive(Debug)]
pub struct Listeners {
    listeners: Vec<TcpListener>,
    port: u16,
}

impl Listeners {
    /// Listens on `localhost:PORT` (127.0.0.1 and, where it exists, ::1) or on `IP:PORT`; port 0 takes a free one.
    ///
    /// # Errors
    ///
    /// The text is no such address, it is not a loopback address and `reach` does not say so, or the port cannot be had.
    pub async fn bind(address: &str, reach: Reach) -> Result<Self, BindError> {
        if let Some(port) = address.strip_prefix("localhost:") {
            let port = port
                .parse()
                .map_err(|_| BindError::Address(address.into()))?;
            return Self::bind_localhost(port).await;
        }
        let address: SocketAddr = address
            .parse()
            .map_err(|_| BindError::Address(address.into()))?;
        if reach == Reach::Loopback && !address.ip().is_loopback() {
            return Err(BindError::NotLoopback(address.ip()));
        }
        let listener = listen(address).await?;
        Ok(Self {
            port: port_of(&listener, address)?,
            listeners: vec![listener],
        })
    }

    async fn bind_localhost(port: u16) -> Result<Self, BindError> {
        let attempts = if port == 0 { FREE_PORT_ATTEMPTS } else { 1 };
        let mut last = BindError::Taken(port);
        for _ in 0..attempts {
            let v4 = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let first = listen(v4).await?;
            let port = port_of(&first, v4)?;
            match listen((Ipv6Addr::LOCALHOST, port).into()).await {
                Ok(second) => {
                    return Ok(Self {
                        listeners: vec![first, second],
                        port,
                    });
                }
                Err(taken @ BindError::Taken(_)) => last = taken,
                // No IPv6 on this machine: then `localhost` has one address only.
                Err(_) => {
                    return Ok(Self {
                        listeners: vec![first],
                        port,
                    });
                }
            }
        }
        Err(last)
    }

    /// The port, also when a free one was asked for.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        let (stream, _) = match self.listeners.as_slice() {
            [first, second] => tokio::select! {
                accepted = first.accept() => accepted,
                accepted = second.accept() => accepted,
            },
            [only] => only.accept().await,
            _ => std::future::pending().await,
        }?;
        Ok(stream)
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, BindError> {
    TcpListener::bind(address)
        .await
        .map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::Taken(address.port()),
            _ => BindError::Io { address, source },
        })
}

fn port_of(listener: &TcpListener, address: SocketAddr) -> Result<u16, BindError> {
    listener
        .local_addr()
        .map(|bound| bound.port())
        .map_err(|source| BindError::Io { address, source })
}

/// Serves `service` until `shutdown` completes, then lets requests in flight finish within a bound.
pub async fn serve<S, B>(listeners: Listeners, service: S, shutdown: impl Future<Output = ()>)
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let service = TowerToHyperService::new(service);
    let protocol = protocol();
    let graceful = GracefulShutdown::new();
    let (stop, stopped) = watch::channel(());
    let mut connections = JoinSet::new();
    let mut shutdown = pin!(shutdown);

    loop {
        let accepted = tokio::select! {
            () = &mut shutdown => break,
            Some(_) = connections.join_next() => continue,
            accepted = listeners.accept(), if connections.len() < CONNECTIONS => accepted,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for the peer's delayed acknowledgement; without it they are only slower.
        let _ = stream.set_nodelay(true);
        let watcher = graceful.watcher();
        let (protocol, service, mut stopped) = (protocol.clone(), service.clone(), stopped.clone());
        connections.spawn(async move {
            let mut byte = [0];
            let speaks = tokio::select! {
                _ = stopped.changed() => false,
                peeked = timeout(HEAD_DEADLINE, stream.peek(&mut byte)) => matches!(peeked, Ok(Ok(_))),
            };
            if !speaks {
                return;
            }
            let connection = protocol.serve_connection(TokioIo::new(stream), service);
            if let Err(error) = watcher.watch(connection.into_owned()).await {
                tracing::debug!(%error, "connection ended early");
            }
        });
    }

    drop(listeners);
    let _ = stop.send(());
    if timeout(DRAIN, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests still in flight are cut off");
    }
    connections.shutdown().await;
}

/// HTTP/1.1 and HTTP/2 by prior knowledge, with bounds on what a request's head may cost.
fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_LIST as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(STREAMS);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body_util::Full;
    use std::sync::Arc;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt},
        sync::{Notify, oneshot},
    };
    use tower::service_fn;

    async fn read_all(mut stream: TcpStream) -> String {
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    #[tokio::test]
    async fn localhost_is_one_port_on_both_loopback_addresses() {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        assert_ne!(listeners.port(), 0);
        TcpStream::connect((Ipv4Addr::LOCALHOST, listeners.port()))
            .await
            .unwrap();
        if TcpListener::bind((Ipv6Addr::LOCALHOST, 0)).await.is_ok() {
            TcpStream::connect((Ipv6Addr::LOCALHOST, listeners.port()))
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_taken_port_is_named() {
        let taken = Listeners::bind("127.0.0.1:0", Reach::Loopback)
            .await
            .unwrap();
        for host in ["localhost", "127.0.0.1"] {
            let address = format!("{host}:{}", taken.port());
            let error = Listeners::bind(&address, Reach::Loopback)
                .await
                .unwrap_err();
            assert_eq!(
                error.to_string(),
                format!("port {} is in use", taken.port())
            );
        }
    }

    #[tokio::test]
    async fn a_network_address_needs_to_be_asked_for() {
        let refused = Listeners::bind("0.0.0.0:0", Reach::Loopback)
            .await
            .unwrap_err();
        assert!(matches!(refused, BindError::NotLoopback(_)), "{refused}");
        Listeners::bind("0.0.0.0:0", Reach::Network).await.unwrap();
    }

    #[tokio::test]
    async fn what_is_no_address_is_refused() {
        for text in [
            "",
            "localhost",
            "localhost:",
            "localhost:70000",
            "example.org:80",
            "8080",
        ] {
            let error = Listeners::bind(text, Reach::Network).await.unwrap_err();
            assert!(matches!(error, BindError::Address(_)), "{text}: {error}");
        }
    }

    #[tokio::test]
    async fn a_stop_lets_the_request_in_flight_finish() {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let port = listeners.port();
        let (entered, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let service = service_fn({
            let (entered, finish) = (entered.clone(), finish.clone());
            move |_: Request<Incoming>| {
                let (entered, finish) = (entered.clone(), finish.clone());
                async move {
                    entered.notify_one();
                    finish.notified().await;
                    Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("done"))))
                }
            }
        });
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(serve(listeners, service, async {
            let _ = stopped.await;
        }));

        // A connection that never speaks must not hold the stop up.
        let _silent = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
            .await
            .unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
            .await
            .unwrap();
        entered.notified().await;
        stop.send(()).unwrap();
        finish.notify_one();
        assert!(read_all(stream).await.ends_with("done"));
        timeout(DRAIN / 2, server).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_head_beyond_the_bound_is_refused() {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let port = listeners.port();
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from("reached"))))
        });
        tokio::spawn(serve(listeners, service, std::future::pending()));
        for (filler, status) in [(1024, "200"), (HEADER_LIST as usize, "431")] {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
            let head = format!(
                "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Filler: {}\r\n\r\n",
                "a".repeat(filler)
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            let answer = read_all(stream).await;
            assert!(
                answer.starts_with(&format!("HTTP/1.1 {status}")),
                "{answer}"
            );
        }
    }
}
