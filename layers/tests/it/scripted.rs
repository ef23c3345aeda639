//! An authority on a raw socket, answering by script: what a broken server does, no HTTP library lets a test do.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD as B64;
use http::{Request, Response};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;
use tower::util::BoxCloneService;
use tower::{ServiceBuilder, ServiceExt as _, service_fn};
use tower_bearer::clock::ManualClock;
use tower_bearer::{Authority, AuthorityBuilder, RequireScopeLayer};

use crate::support::*;

/// After a good fetch an unknown key causes no other for this long (README).
pub(crate) const COOLDOWN: Duration = Duration::from_secs(30);
/// Long enough that no machine is too slow for a good answer; what hangs is not waited for, see [`skip`].
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);
/// Only so that a lost event fails a test rather than stalls it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Moves tokio's time, on which every deadline and cooldown stands, without waiting. Only for a moment in which nothing is in flight but
/// what is to run into its deadline, and only on a runtime of one thread.
pub(crate) async fn skip(duration: Duration) {
    tokio::time::pause();
    tokio::time::advance(duration).await;
    tokio::time::resume();
}

/// Bytes, and what becomes of the connection.
#[derive(Clone)]
pub(crate) struct Answer {
    bytes: Vec<u8>,
    then: Then,
    etag: Option<&'static str>,
}

#[derive(Clone, Copy)]
enum Then {
    Close,
    Hang,
    Drip,
    Endless,
    Reset,
}

impl Answer {
    /// A whole response; `headers` are lines with their ends.
    pub(crate) fn new(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Self {
        let body = body.as_ref();
        Self::announced(status, headers, body.len(), body)
    }

    pub(crate) fn json(document: &Value) -> Self {
        Self::new(200, "", document.to_string())
    }

    /// Announces more than it sends, then closes.
    pub(crate) fn truncated(body: &str) -> Self {
        Self::announced(200, "", body.len() * 2, body)
    }

    /// Neither answers nor closes.
    pub(crate) fn hang() -> Self {
        Self::raw(b"", Then::Hang)
    }

    /// Never ends, and sends too little for any cap.
    pub(crate) fn drip() -> Self {
        Self::raw(b"HTTP/1.1 200 OK\r\n\r\n", Then::Drip)
    }

    pub(crate) fn drip_of_headers() -> Self {
        Self::raw(b"HTTP/1.1 200 OK\r\nx: ", Then::Drip)
    }

    /// Never ends, as fast as it is read.
    pub(crate) fn endless() -> Self {
        Self::raw(b"HTTP/1.1 200 OK\r\n\r\n", Then::Endless)
    }

    pub(crate) fn reset() -> Self {
        Self::raw(b"", Then::Reset)
    }

    pub(crate) fn reset_in_the_body() -> Self {
        let half = b"HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{\"keys\":[";
        Self::raw(half, Then::Reset)
    }

    pub(crate) fn no_http() -> Self {
        Self::raw(b"220 mail.example ESMTP\r\n", Then::Close)
    }

    /// With a validator that is honoured: who names it is told 304.
    pub(crate) fn etag(mut self, etag: &'static str) -> Self {
        self.etag = Some(etag);
        self
    }

    fn announced(status: u16, headers: &str, length: usize, body: impl AsRef<[u8]>) -> Self {
        let mut bytes = format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-length: {length}\r\nconnection: close\r\n{headers}\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(body.as_ref());
        Self {
            bytes,
            then: Then::Close,
            etag: None,
        }
    }

    fn raw(bytes: &[u8], then: Then) -> Self {
        Self {
            bytes: bytes.to_vec(),
            then,
            etag: None,
        }
    }

    /// What a client that sent `head` gets.
    fn to_client(&self, head: &str) -> Self {
        let Some(etag) = self.etag else {
            return self.clone();
        };
        if head.contains(&format!("if-none-match: {etag}\r\n")) {
            return Self::new(304, &format!("etag: {etag}\r\n"), "");
        }
        let mut tagged = self.clone();
        let end_of_head = b"connection: close\r\n";
        let at = tagged
            .bytes
            .windows(end_of_head.len())
            .position(|part| part == end_of_head)
            .unwrap();
        let line = format!("etag: {etag}\r\n").into_bytes();
        tagged.bytes.splice(at..at, line);
        tagged
    }
}

pub(crate) struct Scripted {
    address: SocketAddr,
    state: Arc<State>,
    accepting: AbortHandle,
}

struct State {
    metadata: Mutex<Answer>,
    keys: Mutex<Answer>,
    heads: watch::Sender<Vec<String>>,
    connections: watch::Sender<usize>,
    closed: watch::Sender<usize>,
}

impl Scripted {
    /// A healthy authority, which publishes `k1`.
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            metadata: Mutex::new(Answer::hang()),
            keys: Mutex::new(Answer::hang()),
            heads: watch::Sender::new(Vec::new()),
            connections: watch::Sender::new(0),
            closed: watch::Sender::new(0),
        });
        let accepting = tokio::spawn(accept(listener, Arc::clone(&state))).abort_handle();
        let scripted = Self {
            address,
            state,
            accepting,
        };
        scripted.heal();
        scripted
    }

    pub(crate) fn uri(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn heal(&self) {
        self.metadata(Answer::json(&self.good_metadata()));
        self.keys(Answer::json(&jwk_set(&["k1"])));
    }

    pub(crate) fn good_metadata(&self) -> Value {
        json!({
            "issuer": format!("{}/{TENANT}/v2.0", self.uri()),
            "jwks_uri": format!("{}/keys", self.uri()),
        })
    }

    pub(crate) fn metadata(&self, answer: Answer) {
        *self.state.metadata.lock().unwrap() = answer;
    }

    pub(crate) fn keys(&self, answer: Answer) {
        *self.state.keys.lock().unwrap() = answer;
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.borrow()
    }

    /// How often the path was asked for that ends so.
    pub(crate) fn fetches(&self, path: &str) -> usize {
        let wanted = format!("{path} HTTP/1.1\r\n");
        let heads = self.state.heads.borrow();
        heads.iter().filter(|head| head.contains(&wanted)).count()
    }

    pub(crate) fn last_head(&self) -> String {
        self.state.heads.borrow().last().unwrap().clone()
    }

    /// All requests so far.
    pub(crate) fn requests(&self) -> usize {
        self.state.heads.borrow().len()
    }

    /// Waits for the request of that number, counted from one.
    pub(crate) async fn received(&self, number: usize) {
        let mut heads = self.state.heads.subscribe();
        let enough = heads.wait_for(|heads| heads.len() >= number);
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        waited.expect("no request came").unwrap();
    }

    /// Waits until clients have closed that many connections on which they were kept waiting.
    pub(crate) async fn abandoned(&self, number: usize) {
        let mut closed = self.state.closed.subscribe();
        let enough = closed.wait_for(|closed| *closed >= number);
        let waited = tokio::time::timeout(PATIENCE, enough).await;
        waited.expect("the connection stays open").unwrap();
    }

    pub(crate) fn closed(&self) -> usize {
        *self.state.closed.borrow()
    }

    /// A resource server's view of this authority, with keys by discovery.
    pub(crate) fn authority(&self) -> Authority {
        self.authority_within(DEADLINE)
    }

    pub(crate) fn authority_within(&self, deadline: Duration) -> Authority {
        let builder = self.builder(ManualClock::new(NOW));
        builder.timeout(deadline).build().unwrap()
    }

    pub(crate) fn builder(&self, clock: ManualClock) -> AuthorityBuilder {
        AuthorityBuilder::entra(TENANT)
            .instance(&self.uri())
            .dangerous_loopback_http()
            .clock(clock)
    }

    /// A good token but for what its `kid` leads to.
    pub(crate) fn token(&self, kid: &str) -> String {
        self.token_with(&json!({"alg": "RS256", "typ": "JWT", "kid": kid}))
    }

    pub(crate) fn token_with(&self, header: &Value) -> String {
        sign(header, &World::at(&self.uri()).claims(json!({})))
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    while let Ok((stream, _)) = listener.accept().await {
        state.connections.send_modify(|count| *count += 1);
        tokio::spawn(answer(stream, Arc::clone(&state)));
    }
}

async fn answer(mut stream: TcpStream, state: Arc<State>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let script = if head.contains("/.well-known/openid-configuration ") {
        &state.metadata
    } else {
        &state.keys
    };
    let answer = script.lock().unwrap().to_client(&head);
    state.heads.send_modify(|heads| heads.push(head));
    if stream.write_all(&answer.bytes).await.is_err() {
        return;
    }
    match answer.then {
        Then::Close => return,
        Then::Hang => while stream.read_u8().await.is_ok() {},
        Then::Drip => {
            let mut pace = tokio::time::interval(Duration::from_millis(5));
            pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stream.write_all(b" ").await.is_ok() {
                pace.tick().await;
            }
        }
        Then::Endless => while stream.write_all(&[b' '; 64 * 1024]).await.is_ok() {},
        Then::Reset => {
            stream.set_zero_linger().unwrap();
            return;
        }
    }
    state.closed.send_modify(|count| *count += 1);
}

/// A part of a token.
pub(crate) fn encoded(members: &Value) -> String {
    B64.encode(members.to_string())
}

/// The set that publishes the one key of these tests under these names.
pub(crate) fn jwk_set(kids: &[&str]) -> Value {
    json!({"keys": kids.iter().map(|kid| jwk(kid)).collect::<Vec<_>>()})
}

pub(crate) fn jwk(kid: &str) -> Value {
    let set: Value = serde_json::from_str(&jwks()).unwrap();
    let mut jwk = set["keys"][0].clone();
    jwk["kid"] = kid.into();
    jwk
}

pub(crate) type Protected = BoxCloneService<Request<Body>, Response<Body>, Infallible>;

/// A service that requires the scope `read`.
pub(crate) fn protected(authority: &Authority) -> Protected {
    ServiceBuilder::new()
        .layer(authority.resource(CLIENT).unwrap().protect())
        .layer(RequireScopeLayer::new("read").unwrap())
        .service(service_fn(hello))
        .boxed_clone()
}

pub(crate) async fn call(service: &Protected, token: &str) -> Response<Body> {
    service.clone().oneshot(request(token)).await.unwrap()
}

/// A request that may not wait: its answer is there at once.
pub(crate) fn call_now(service: &Protected, token: &str) -> u16 {
    use futures_util::FutureExt as _;
    let answer = service.clone().oneshot(request(token)).now_or_never();
    let answer = answer.expect("a request whose key is known waited");
    answer.unwrap().status().as_u16()
}

/// Checks that the answer is "not now": no word about the token, and when to come again. Returns that time.
pub(crate) fn not_now(name: &str, response: &Response<Body>) -> Duration {
    assert_eq!(response.status(), 503, "{name}");
    assert_eq!(challenge(response), "", "{name}");
    let seconds = response.headers()["retry-after"].to_str().unwrap();
    Duration::from_secs(seconds.parse().unwrap())
}
