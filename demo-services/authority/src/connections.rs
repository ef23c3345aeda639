//! Accepting and ending connections. The shape is that of the demo services' `serve`, which this package may not depend on.

use std::convert::Infallible;
use std::error::Error;
use std::pin::pin;
use std::time::Duration;

use axum::Router;
use axum::body::HttpBody;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const HEADER_LIST: u32 = 32 * 1024;
/// Connections served at once; more wait in the kernel's queue.
const CONNECTIONS: usize = 1024;
/// Streams at once on one HTTP/2 connection.
const STREAMS: u32 = 128;
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
/// How long requests in flight may take to finish once a stop is asked for.
const DRAIN: Duration = Duration::from_secs(5);
/// Accept fails for lack of file descriptors: trying again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Accepts connections until told to stop, then lets those that are being answered finish.
pub(crate) async fn serve(
    listeners: Vec<TcpListener>,
    router: Router,
    mut stop: watch::Receiver<bool>,
) {
    let service = TowerToHyperService::new(router);
    let protocol = protocol();
    let mut connections = JoinSet::new();
    let stopped = stop.clone();
    loop {
        let accepted = tokio::select! {
            () = told(&mut stop) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listeners), if connections.len() < CONNECTIONS => accepted,
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
    let drained = timeout(DRAIN, async {
        while connections.join_next().await.is_some() {}
    });
    if drained.await.is_err() {
        tracing::warn!("requests still in flight are cut off");
    }
    connections.shutdown().await;
}

/// At most two: `localhost` has two addresses.
async fn accept(listeners: &[TcpListener]) -> std::io::Result<TcpStream> {
    let (stream, _) = match listeners {
        [first, second] => tokio::select! {
            accepted = first.accept() => accepted,
            accepted = second.accept() => accepted,
        },
        [only] => only.accept().await,
        _ => std::future::pending().await,
    }?;
    Ok(stream)
}

/// Told to stop, or nobody is left who could tell.
async fn told(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// One connection, until the peer closes it, it is idle for too long, or the authority stops.
async fn attend<I, S, B>(
    protocol: auto::Builder<TokioExecutor>,
    stream: I,
    service: S,
    mut stop: watch::Receiver<bool>,
) where
    I: AsyncRead + AsyncWrite + Unpin + 'static,
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible>,
    S::Future: Send + 'static,
    B: HttpBody + Send + 'static,
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
        () = told(&mut stop) => DRAIN,
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
    use axum::extract::Path;
    use axum::routing::get;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use tokio::time::Instant;

    /// The preface of HTTP/2 and an empty SETTINGS frame.
    const HTTP_2: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
    /// `GET http://localhost/1000` on stream 1.
    const HTTP_2_GET: &[u8] = b"\0\0\x14\x01\x05\0\0\0\x01\x82\x86\x44\x05/1000\x41\x09localhost";
    const SECOND: Duration = Duration::from_secs(1);

    /// The other end of a connection to a service that answers after so many seconds as the path says. In memory: over sockets a
    /// paused clock does not wait for what was sent.
    fn peer() -> DuplexStream {
        let answer = |Path(seconds): Path<u64>| async move {
            sleep(Duration::from_secs(seconds)).await;
            "done"
        };
        let service = TowerToHyperService::new(Router::new().route("/{seconds}", get(answer)));
        let (near, far) = duplex(64 * 1024);
        tokio::spawn(async move {
            let (_stop, stopped) = watch::channel(false);
            attend(protocol(), far, service, stopped).await;
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
}
