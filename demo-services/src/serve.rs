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
use http_body_util::BodyExt;
use hyper::{
    body::Incoming,
    service::{Service as _, service_fn},
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
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
/// From the opening of a connection to the end of its first request's head, whatever is spoken.
const FIRST_REQUEST: Duration = Duration::from_secs(15);
/// From one answer to the next request's head. Longer than the 90 seconds for which client pools keep a connection, so that the client
/// is the one to close it and no request meets a closing connection.
const IDLE: Duration = Duration::from_secs(120);
/// How long a peer may take to see that its idle connection is being closed.
const GOODBYE: Duration = Duration::from_secs(1);
/// A peer that speaks HTTP/2 and sends nothing is asked this often whether it is there ...
const PING: Duration = Duration::from_secs(30);
/// ... and has this long to say so.
const PONG: Duration = Duration::from_secs(15);
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
        connections.spawn(attend(
            protocol.clone(),
            stream,
            service.clone(),
            stopped.clone(),
        ));
    }

    drop(listeners);
    let _ = stop.send(());
    let drained = timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!("requests still in flight are cut off");
    }
    connections.shutdown().await;
}

/// One connection, until the peer closes it, it is idle for too long, or the service stops.
async fn attend<I, S, B>(
    protocol: auto::Builder<TokioExecutor>,
    stream: I,
    service: TowerToHyperService<S>,
    mut stopped: watch::Receiver<()>,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let (requests, in_flight) = watch::channel(0);
    let counted = service_fn(move |request| {
        let underway = Underway::begin(&requests);
        let answer = service.call(request);
        async move {
            let answer = answer.await?;
            // A request is under way until the last of its answer is out: the body holds on to that.
            Ok::<_, Infallible>(answer.map(|body| {
                body.map_err(move |error| {
                    let _ = &underway;
                    error
                })
            }))
        }
    });
    let mut connection = pin!(protocol.serve_connection(TokioIo::new(stream), counted));
    let patience = tokio::select! {
        ended = connection.as_mut() => return note(ended),
        _ = stopped.changed() => DRAIN,
        () = idle_for_too_long(in_flight) => GOODBYE,
    };
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = timeout(patience, connection).await {
        note(ended);
    }
}

fn note(ended: Result<(), Box<dyn Error + Send + Sync>>) {
    if let Err(error) = ended {
        tracing::debug!(%error, "connection ended early");
    }
}

/// A request under way on a connection.
struct Underway(watch::Sender<usize>);

impl Underway {
    fn begin(requests: &watch::Sender<usize>) -> Self {
        requests.send_modify(|count| *count += 1);
        Self(requests.clone())
    }
}

impl Drop for Underway {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count -= 1);
    }
}

/// Ends once no request has been under way for the time allowed. hyper has no deadline of its own until it knows which protocol is
/// spoken, nor for HTTP/2 without requests.
async fn idle_for_too_long(mut in_flight: watch::Receiver<usize>) {
    let mut allowed = FIRST_REQUEST;
    loop {
        let idle = *in_flight.borrow_and_update() == 0;
        let changed = in_flight.changed();
        let changed = if idle {
            timeout(allowed, changed).await
        } else {
            Ok(changed.await)
        };
        let Ok(Ok(())) = changed else {
            return;
        };
        allowed = IDLE;
    }
}

/// HTTP/1.1 and HTTP/2 by prior knowledge, with bounds on what a request's head may cost.
fn protocol() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder
        .http1()
        .timer(TokioTimer::new())
        // hyper counts idle time as well.
        .header_read_timeout(IDLE)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_LIST as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(PING)
        .keep_alive_timeout(PONG)
        .max_header_list_size(HEADER_LIST)
        .max_concurrent_streams(STREAMS);
    builder
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};
    use std::sync::Arc;
    use tokio::{
        io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
        sync::{Notify, oneshot},
        time::Instant,
    };
    use tower::service_fn;

    /// The preface of HTTP/2 and an empty SETTINGS frame.
    const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// `GET http://localhost/1000` on stream 1.
    const HTTP_2_GET: &[u8] = b"\0\0\x14\x01\x05\0\0\0\x01\x82\x86\x44\x05/1000\x41\x09localhost";
    const SECOND: Duration = Duration::from_secs(1);

    /// The other end of a connection to a service that answers after so many seconds as the path says, in its body. In memory: over
    /// sockets a paused clock does not wait for what was sent.
    fn peer() -> DuplexStream {
        let service = service_fn(|request: Request<Incoming>| async move {
            let seconds = request.uri().path()[1..].parse().unwrap();
            let body = futures_util::stream::once(async move {
                sleep(Duration::from_secs(seconds)).await;
                Ok::<_, Infallible>(Frame::data(Bytes::from("done")))
            });
            Ok::<_, Infallible>(Response::new(StreamBody::new(body)))
        });
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(());
            attend(protocol(), far, TowerToHyperService::new(service), stopped).await;
        });
        near
    }

    /// Reads until the text `end`, or else the end of the connection.
    async fn read_until(stream: &mut DuplexStream, end: &str) -> String {
        let mut text = String::new();
        let mut buffer = [0; 1024];
        while !text.contains(end) {
            match stream.read(&mut buffer).await.unwrap() {
                0 => break,
                count => text.push_str(&String::from_utf8_lossy(&buffer[..count])),
            }
        }
        text
    }

    /// How long the connection stays open from now.
    async fn open_for(stream: &mut DuplexStream) -> Duration {
        let start = Instant::now();
        read_until(stream, "never said").await;
        start.elapsed()
    }

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

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        for said in [
            &b""[..],
            b"P",
            b"PRI * HTTP/2.0\r\n",
            b"GET /0 HTTP/1.1\r\nHost: lo",
            &HTTP_2[..24],
            HTTP_2,
        ] {
            let mut peer = peer();
            peer.write_all(said).await.unwrap();
            let open = open_for(&mut peer).await;
            assert!(
                (FIRST_REQUEST..=FIRST_REQUEST + GOODBYE).contains(&open),
                "{said:?}: {open:?}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_with_requests_stays_open_between_them_and_during_them() {
        let mut peer = peer();
        sleep(FIRST_REQUEST - SECOND).await;
        for path in ["/0", "/0", "/1000", "/0"] {
            let head = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n");
            peer.write_all(head.as_bytes()).await.unwrap();
            assert!(
                read_until(&mut peer, "done").await.contains("done"),
                "{path}"
            );
            sleep(IDLE - SECOND).await;
        }
        let open = open_for(&mut peer).await;
        assert!((SECOND..=SECOND + GOODBYE).contains(&open), "{open:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_2_peer_that_does_not_answer_a_ping_loses_its_request() {
        let mut gone = peer();
        gone.write_all(&[HTTP_2, HTTP_2_GET].concat())
            .await
            .unwrap();
        let open = open_for(&mut gone).await;
        assert!((PING..=PING + PONG + SECOND).contains(&open), "{open:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn an_http_2_peer_that_answers_pings_gets_its_answer_and_is_closed_when_idle() {
        let io = TokioIo::new(peer());
        let (mut client, connection) =
            hyper::client::conn::http2::handshake(TokioExecutor::new(), io)
                .await
                .unwrap();
        let connection = tokio::spawn(connection);
        let request = Request::get("http://localhost/1000")
            .body(Empty::<Bytes>::new())
            .unwrap();
        let answer = client.send_request(request).await.unwrap();
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "done");
        let idle = Instant::now();
        connection.await.unwrap().unwrap();
        assert!((IDLE..=IDLE + GOODBYE).contains(&idle.elapsed()));
    }
}
