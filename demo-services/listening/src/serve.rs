//! Connections from the first byte to the last: HTTP/1.1 and HTTP/2, bounded heads, deadlines, graceful stop.

use std::convert::Infallible;
use std::error::Error;
use std::future::Future;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use http::{Request, Response};
use http_body::Body;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::Service;

use crate::bind::Listeners;
use crate::tls::Tls;

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

/// The other end of the connection, in the extensions of every request: a client, or a proxy in front of this service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectedFrom(pub SocketAddr);

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
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Small answers must not wait for the peer's delayed acknowledgement; without it they are only slower.
        let _ = stream.set_nodelay(true);
        connections.spawn(receive(
            listeners.handshake(),
            protocol.clone(),
            (stream, ConnectedFrom(peer)),
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

/// One connection, from its handshake on if there is one.
async fn receive<S, B>(
    tls: Option<Tls>,
    protocol: auto::Builder<TokioExecutor>,
    (stream, from): (TcpStream, ConnectedFrom),
    service: TowerToHyperService<S>,
    mut stopped: watch::Receiver<()>,
) where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>
        + Clone
        + Send
        + 'static,
    S::Future: Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let Some(tls) = tls else {
        return attend(protocol, (stream, from), service, stopped).await;
    };
    let shaken = tokio::select! {
        shaken = timeout(FIRST_REQUEST, tls.accept(stream)) => shaken,
        _ = stopped.changed() => return,
    };
    match shaken {
        Ok(Ok(stream)) => attend(protocol, (stream, from), service, stopped).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS handshake"),
        Err(_) => tracing::debug!("no TLS handshake in time"),
    }
}

/// One connection, until the peer closes it, it is idle for too long, or the service stops.
async fn attend<I, S, B>(
    protocol: auto::Builder<TokioExecutor>,
    (stream, from): (I, ConnectedFrom),
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
    let counted = service_fn(move |mut request: Request<Incoming>| {
        request.extensions_mut().insert(from);
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
    use crate::{LocalCa, Reach};
    use bytes::Bytes;
    use http_body::Frame;
    use http_body_util::{Empty, Full, StreamBody};
    use std::net::Ipv4Addr;
    use std::sync::Arc;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::sync::{Notify, oneshot};
    use tokio::time::Instant;
    use tower::service_fn;

    /// The preface of HTTP/2 and an empty SETTINGS frame.
    const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// `GET http://localhost/1000` on stream 1.
    const HTTP_2_GET: &[u8] = b"\0\0\x14\x01\x05\0\0\0\x01\x82\x86\x44\x05/1000\x41\x09localhost";
    const SECOND: Duration = Duration::from_secs(1);

    fn nobody() -> ConnectedFrom {
        ConnectedFrom(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))
    }

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
            attend(
                protocol(),
                (far, nobody()),
                TowerToHyperService::new(service),
                stopped,
            )
            .await;
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

    #[tokio::test]
    async fn each_request_knows_the_other_end_of_its_own_connection() {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let port = listeners.port();
        let service = service_fn(|request: Request<Incoming>| async move {
            let ConnectedFrom(peer) = request.extensions().get().unwrap();
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(peer.to_string()))))
        });
        tokio::spawn(serve(listeners, service, std::future::pending()));
        for _ in 0..2 {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))
                .await
                .unwrap();
            let own = stream.local_addr().unwrap().to_string();
            stream
                .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                .await
                .unwrap();
            let answer = read_all(stream).await;
            assert!(answer.ends_with(&own), "{own}: {answer}");
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

    /// A port that says `version` over TLS, and its CA.
    async fn secure_port() -> (u16, LocalCa) {
        // The time of day of the client, which checks the certificate, cannot be set.
        let now = rustls_pki_types::UnixTime::now().as_secs();
        let ca = LocalCa::in_memory(now).unwrap();
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap()
            .tls(ca.tls().unwrap());
        assert_eq!(listeners.scheme(), "https");
        let port = listeners.port();
        let service = service_fn(|request: Request<Incoming>| async move {
            let version = format!("{:?}", request.version());
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(version))))
        });
        tokio::spawn(serve(listeners, service, std::future::pending()));
        (port, ca)
    }

    fn client() -> reqwest::ClientBuilder {
        reqwest::Client::builder().no_proxy()
    }

    #[tokio::test]
    async fn a_client_that_trusts_the_ca_gets_through_by_each_name_and_no_other_does() {
        let (port, ca) = secure_port().await;
        let ca = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
        let trusting = || client().tls_certs_only([ca.clone()]);
        for (client, version) in [
            (trusting(), "HTTP/2.0"),
            (trusting().http1_only(), "HTTP/1.1"),
        ] {
            let client = client.build().unwrap();
            for host in ["localhost", "127.0.0.1"] {
                let answer = client.get(format!("https://{host}:{port}/")).send();
                assert_eq!(answer.await.unwrap().text().await.unwrap(), version);
            }
        }
        let stranger = client().build().unwrap();
        let answer = stranger.get(format!("https://localhost:{port}/")).send();
        assert!(answer.await.unwrap_err().is_connect());
    }

    #[tokio::test]
    async fn plain_http_to_a_tls_port_is_told_so() {
        let (port, _) = secure_port().await;
        let answer = client()
            .build()
            .unwrap()
            .get(format!("http://localhost:{port}/"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), 400);
        assert!(answer.text().await.unwrap().contains("https"));
    }

    #[tokio::test]
    async fn a_peer_without_a_handshake_is_closed() {
        let ca = LocalCa::in_memory(1_795_319_366).unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut peer = TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        tokio::time::pause();
        let service = service_fn(|_: Request<Incoming>| async {
            Ok::<_, Infallible>(Response::new(Full::new(Bytes::new())))
        });
        let (_stop, stopped) = watch::channel(());
        let start = Instant::now();
        let service = TowerToHyperService::new(service);
        receive(
            Some(ca.tls().unwrap()),
            protocol(),
            (stream, nobody()),
            service,
            stopped,
        )
        .await;
        assert_eq!(start.elapsed().as_secs(), FIRST_REQUEST.as_secs());
        tokio::time::resume();
        assert_eq!(peer.read(&mut [0]).await.unwrap(), 0);
    }
}
