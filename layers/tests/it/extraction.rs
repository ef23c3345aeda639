//! Credentials as bytes on a connection: HTTP/1.1 by hand, HTTP/2 and gRPC through clients that let anything pass.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tower::{ServiceBuilder, service_fn};
use tower_bearer::{Principal, RequireScopeLayer};

use crate::compositions::serve;
use crate::support::*;

/// The documented limit of a token.
const LIMIT: usize = 12 * 1024;
/// Only so that a stalled connection fails a test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A protected server that counts who got through.
struct Server {
    address: SocketAddr,
    world: World,
    reached: Arc<AtomicUsize>,
}

/// What came back on a connection until its end.
#[derive(Debug)]
struct Reply(Vec<u8>);

impl Reply {
    /// 0: closed without an answer.
    fn status(&self) -> u16 {
        let text = String::from_utf8_lossy(&self.0);
        text.strip_prefix("HTTP/1.1 ")
            .map_or(0, |rest| rest[..3].parse().unwrap())
    }

    fn count(&self) -> usize {
        let text = String::from_utf8_lossy(&self.0);
        text.matches("HTTP/1.1 ").count()
    }

    fn challenge(&self) -> String {
        let text = String::from_utf8_lossy(&self.0);
        let line = text
            .lines()
            .find_map(|line| line.strip_prefix("www-authenticate: "));
        line.unwrap_or_default().to_owned()
    }
}

impl Server {
    async fn start() -> Self {
        let world = World::new();
        let reached = Arc::new(AtomicUsize::new(0));
        let counter = Arc::clone(&reached);
        let handler = move |request: Request<Incoming>| {
            assert!(request.extensions().get::<Principal>().is_some());
            counter.fetch_add(1, Ordering::SeqCst);
            std::future::ready(Ok::<_, Infallible>(Response::new(Body::default())))
        };
        let service = ServiceBuilder::new()
            .layer(world.api.protect())
            .layer(RequireScopeLayer::new("read").unwrap())
            .service(service_fn(handler));
        Self {
            address: serve(service).await,
            world,
            reached,
        }
    }

    fn good(&self) -> String {
        self.world.token(json!({}))
    }

    fn reached(&self) -> usize {
        self.reached.swap(0, Ordering::SeqCst)
    }

    /// Sends bytes and reads to the end. A server that refuses early may reset, so neither a failed write nor a lost answer is an error.
    async fn exchange(&self, bytes: &[u8]) -> Reply {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (mut from, mut to) = stream.into_split();
        let mut reply = Vec::new();
        let both = async { tokio::join!(to.write_all(bytes), from.read_to_end(&mut reply)) };
        let (_, _) = tokio::time::timeout(PATIENCE, both)
            .await
            .expect("the connection stays open");
        Reply(reply)
    }

    /// A request with these lines besides `Host`, each with its end.
    async fn send(&self, method: &str, lines: impl AsRef<[u8]>) -> Reply {
        let mut bytes =
            format!("{method} /x HTTP/1.1\r\nhost: h\r\nconnection: close\r\n").into_bytes();
        bytes.extend_from_slice(lines.as_ref());
        bytes.extend_from_slice(b"\r\n");
        self.exchange(&bytes).await
    }
}

fn line(name: &str, value: impl AsRef<[u8]>) -> Vec<u8> {
    [name.as_bytes(), b": ", value.as_ref(), b"\r\n"].concat()
}

fn authorization(value: impl AsRef<[u8]>) -> Vec<u8> {
    line("authorization", value)
}

#[tokio::test]
async fn no_credential_asks_for_one_whatever_the_method() {
    let server = Server::start().await;
    for method in [
        "GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND",
    ] {
        let reply = server.send(method, "").await;
        let asked = format!("Bearer realm=\"{TENANT}\"");
        assert_eq!(
            (reply.status(), reply.challenge()),
            (401, asked),
            "{method}"
        );
        assert_eq!(server.reached(), 0, "{method}");
        let reply = server
            .send(method, authorization(format!("Bearer {}", server.good())))
            .await;
        assert_eq!((reply.status(), server.reached()), (200, 1), "{method}");
    }
}

#[tokio::test]
async fn one_credential_passes_in_any_case_and_space() {
    let server = Server::start().await;
    let good = server.good();
    for lines in [
        format!("authorization: bearer {good}\r\n"),
        format!("AUTHORIZATION: BEARER {good}\r\n"),
        format!("Authorization:bEaReR   {good}\r\n"),
        format!("authorization: \t Bearer {good} \t\r\n"),
    ] {
        let reply = server.send("GET", &lines).await;
        assert_eq!((reply.status(), server.reached()), (200, 1), "{lines}");
    }
}

#[tokio::test]
async fn a_credential_of_another_scheme_or_in_another_place_is_none() {
    let server = Server::start().await;
    let good = server.good();
    let mut rows: Vec<Vec<u8>> = ["Basic", "DPoP", "Negotiate", "JWT", "BearerToken"]
        .map(|scheme| authorization(format!("{scheme} {good}")))
        .into();
    rows.extend(
        [
            "x-forwarded-access-token",
            "x-ms-token-aad-access-token",
            "x-ms-client-principal",
            "x-forwarded-user",
            "x-auth-request-access-token",
            "proxy-authorization",
            "x-original-authorization",
            "authorization_",
            "cookie",
        ]
        .map(|name| line(name, format!("Bearer {good}"))),
    );
    rows.push(line(
        "cookie",
        format!("access_token={good}; Authorization={good}"),
    ));
    for lines in rows {
        let reply = server.send("GET", &lines).await;
        let asked = format!("Bearer realm=\"{TENANT}\"");
        let name = String::from_utf8_lossy(&lines);
        assert_eq!((reply.status(), reply.challenge()), (401, asked), "{name}");
    }
    for (target, body) in [
        (format!("/x?access_token={good}"), String::new()),
        (format!("/x?authorization=Bearer%20{good}"), String::new()),
        ("/x".to_owned(), format!("access_token={good}")),
    ] {
        let head = format!(
            "POST {target} HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {}\r\n",
            body.len()
        );
        let form = "content-type: application/x-www-form-urlencoded\r\n";
        let reply = server
            .exchange(format!("{head}{form}\r\n{body}").as_bytes())
            .await;
        assert_eq!(reply.status(), 401);
        assert!(!reply.challenge().contains("error="));
    }
    assert_eq!(server.reached(), 0);
}

#[tokio::test]
async fn a_token_in_the_query_does_not_win_over_a_bad_one_in_the_header() {
    let server = Server::start().await;
    let (good, bad) = (server.good(), server.world.token(json!({"aud": "x"})));
    let send = async |query: &str, header: &str| {
        let request = format!(
            "GET /x?access_token={query} HTTP/1.1\r\nhost: h\r\nconnection: close\r\nauthorization: Bearer {header}\r\n\r\n"
        );
        server.exchange(request.as_bytes()).await.status()
    };
    assert_eq!(send(&good, &bad).await, 401);
    assert_eq!(send(&bad, &good).await, 200, "not looked at");
}

#[tokio::test]
async fn several_credentials_are_none_in_any_order() {
    let server = Server::start().await;
    let good = format!("Bearer {}", server.good());
    let evil = format!("Bearer {}", server.world.token(json!({"aud": "x"})));
    let (basic, empty) = ("Basic YTpi".to_owned(), String::new());
    let rows = [
        vec![&good, &good],
        vec![&good, &evil],
        vec![&evil, &good],
        vec![&basic, &good],
        vec![&good, &basic],
        vec![&empty, &good],
        vec![&good, &empty],
        vec![&good, &good, &good],
    ];
    for row in rows {
        let lines: Vec<u8> = row.iter().copied().flat_map(authorization).collect();
        let reply = server.send("GET", &lines).await;
        assert_eq!(reply.status(), 400, "{row:?}");
        assert!(reply.challenge().contains("invalid_request"), "{row:?}");
        let joined = row.iter().map(|value| value.as_str()).collect::<Vec<_>>();
        let reply = server.send("GET", authorization(joined.join(", "))).await;
        // What begins with another scheme is a credential of that scheme.
        let expected: &[u16] = if row[0] == &basic { &[401] } else { &[400] };
        assert!(expected.contains(&reply.status()), "{row:?} joined");
    }
    assert_eq!(server.reached(), 0);
}

#[tokio::test]
async fn garbage_is_refused_by_us_or_by_the_server() {
    let server = Server::start().await;
    let good = server.good();
    let (head, tail) = good.split_at(40);
    let texts = [
        String::new(),
        "Bearer".to_owned(),
        "Bearer   ".to_owned(),
        format!("Bearer {good} x"),
        format!("Bearer {good} {good}"),
        format!("Bearer {head}\t{tail}"),
        format!("Bearer\t{good}"),
        format!("Bearer \"{good}\""),
        format!("Bearer <{good}>"),
        format!("Bearer {good};x"),
        format!("Bearer token=\"{good}\""),
        format!("Bearer Bearer {good}"),
        format!("Bearer:{good}"),
        format!("\"Bearer {good}\""),
        format!("Bearer\u{a0}{good}"),
        format!("Bearer {good}\u{200b}"),
        format!("\u{feff}Bearer {good}"),
        format!("Ｂｅａｒｅｒ {good}"),
        format!("Bearer {head}\u{430}{tail}"),
        good.clone(),
    ];
    let mut rows: Vec<Vec<u8>> = texts.iter().map(authorization).collect();
    for byte in [b'\0', 1, 8, 0x0b, 0x0c, b'\r', 0x1b, 0x7f, 0x80, 0xff] {
        let value = [b"Bearer ", head.as_bytes(), &[byte], tail.as_bytes()].concat();
        rows.push(authorization(value));
        let value = [b"Bearer ", good.as_bytes(), &[byte]].concat();
        rows.push(authorization(value));
        let name = [
            b"authorization",
            &[byte][..],
            b": Bearer ",
            good.as_bytes(),
            b"\r\n",
        ];
        rows.push(name.concat());
    }
    rows.push(authorization(b"Bearer \xff\xfe"));
    rows.push(format!("authorization : Bearer {good}\r\n").into());
    rows.push(format!(" authorization: Bearer {good}\r\n").into());
    rows.push(format!("authorization: Bearer\r\n {good}\r\n").into());
    rows.push(format!("authorization: Bearer {head}\r\n {tail}\r\n").into());
    rows.push(format!("authorization: Bearer {head}\r\n\t{tail}\r\n").into());
    rows.push(format!("authorization Bearer {good}\r\n").into());
    for lines in rows {
        let reply = server.send("GET", &lines).await;
        let name = String::from_utf8_lossy(&lines);
        assert!(matches!(reply.status(), 0 | 400 | 401), "{name}: {reply:?}");
        assert!(reply.count() <= 1, "{name}");
    }
    assert_eq!(server.reached(), 0);
    let alive = server
        .send("GET", authorization(format!("Bearer {good}")))
        .await;
    assert_eq!(alive.status(), 200);
}

#[tokio::test]
async fn trailers_and_smuggled_requests_carry_no_credential() {
    let server = Server::start().await;
    let good = server.good();
    let trailers = format!(
        "transfer-encoding: chunked\r\ntrailer: authorization\r\n\r\n1\r\nx\r\n0\r\nauthorization: Bearer {good}\r\n"
    );
    let hidden = format!("GET /x HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {good}\r\n\r\n");
    let both = format!(
        "content-length: {}\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
        hidden.len() + 5
    );
    let two_lengths = format!(
        "content-length: {}\r\ncontent-length: 0\r\n\r\n{hidden}",
        hidden.len()
    );
    for (name, lines) in [
        ("trailers", trailers),
        ("both", both),
        ("lengths", two_lengths),
    ] {
        let reply = server.send("POST", &lines).await;
        assert!(matches!(reply.status(), 0 | 400 | 401), "{name}: {reply:?}");
        assert!(reply.count() <= 1, "{name}: {reply:?}");
        assert_eq!(server.reached(), 0, "{name}");
    }
}

#[tokio::test]
async fn sizes_up_to_the_limit_pass_and_beyond_it_nothing_harmful_happens() {
    let server = Server::start().await;
    // No length of one part alone is free in base64; of two parts together each is.
    let encoded_len = |part: &Value| (part.to_string().len() * 8).div_ceil(6);
    let token = |length: usize| {
        let header =
            |x: usize| json!({"alg": "RS256", "typ": "JWT", "kid": "k1", "x": "x".repeat(x)});
        let claims = |pad: usize| server.world.claims(json!({"pad": "x".repeat(pad)}));
        let signature = server.good().rsplit_once('.').unwrap().1.len();
        let rest = length - signature - 2;
        let padding = (rest - encoded_len(&header(0)) - encoded_len(&claims(0))) / 4 * 3;
        let (x, pad) = (0..3)
            .flat_map(|x| (padding - 6..padding + 6).map(move |pad| (x, pad)))
            .find(|(x, pad)| encoded_len(&header(*x)) + encoded_len(&claims(*pad)) == rest)
            .unwrap();
        let token = sign(&header(x), &claims(pad));
        assert_eq!(token.len(), length);
        token
    };
    for (length, status) in [
        (4096, 200),
        (LIMIT - 1, 200),
        (LIMIT, 200),
        (LIMIT + 1, 400),
    ] {
        let reply = server
            .send("GET", authorization(format!("Bearer {}", token(length))))
            .await;
        assert_eq!(reply.status(), status, "{length}");
    }
    assert_eq!(server.reached(), 3);

    let good = server.good();
    for size in [300 * 1024, 2 * 1024 * 1024] {
        for value in [
            format!("Bearer {}", "a".repeat(size)),
            format!("Bearer {}{good}", " ".repeat(size)),
            "Bearer ".to_owned() + &".".repeat(size),
        ] {
            let reply = server.send("GET", authorization(value)).await;
            let refused = matches!(reply.status(), 0 | 400 | 401 | 431);
            // Blanks are no part of the token; a server that takes them all may answer it.
            let blanks = reply.status() == 200 && size < 512 * 1024;
            assert!(refused || blanks, "{size}: {}", reply.status());
        }
    }
    let many = authorization(format!("Bearer {good}")).repeat(200);
    let reply = server.send("GET", many).await;
    assert!(matches!(reply.status(), 0 | 400 | 431), "{reply:?}");
}

async fn over_http2(
    server: &Server,
    values: &[HeaderValue],
    content_type: &'static str,
) -> Option<Response<Incoming>> {
    let client = Client::builder(TokioExecutor::new())
        .http2_only(true)
        .build_http::<Full<Bytes>>();
    let mut request = Request::post(format!("http://{}/x", server.address))
        .header("content-type", content_type)
        .body(Body::default())
        .unwrap();
    for value in values {
        request.headers_mut().append(AUTHORIZATION, value.clone());
    }
    client.request(request).await.ok()
}

#[tokio::test]
async fn the_same_over_http2_and_grpc() {
    let server = Server::start().await;
    let value = |text: &str| HeaderValue::from_bytes(text.as_bytes()).unwrap();
    let good = value(&format!("Bearer {}", server.good()));
    let evil = value(&format!(
        "Bearer {}",
        server.world.token(json!({"aud": "x"}))
    ));
    let joined = value(&format!("Bearer {0}, Bearer {0}", server.good()));
    let (basic, empty) = (value("Basic YTpi"), value(""));
    let not_text = HeaderValue::from_bytes(b"Bearer \xff\xfe").unwrap();
    let mut bomb = value(&format!("Bearer {}", "a".repeat(LIMIT + 1)));
    bomb.set_sensitive(true);
    let rows: [(&str, Vec<&HeaderValue>, u16); 15] = [
        ("good", vec![&good], 200),
        ("none", vec![], 401),
        ("basic", vec![&basic], 401),
        ("evil", vec![&evil], 401),
        ("twice", vec![&good, &good], 400),
        ("good, evil", vec![&good, &evil], 400),
        ("evil, good", vec![&evil, &good], 400),
        ("basic, good", vec![&basic, &good], 400),
        ("good, basic", vec![&good, &basic], 400),
        ("empty, good", vec![&empty, &good], 400),
        ("three", vec![&good, &good, &good], 400),
        ("empty", vec![&empty], 400),
        ("joined", vec![&joined], 400),
        ("not text", vec![&not_text], 400),
        ("too long", vec![&bomb], 400),
    ];
    for (name, values, status) in rows {
        let values: Vec<HeaderValue> = values.into_iter().cloned().collect();
        let response = over_http2(&server, &values, "text/plain").await.unwrap();
        assert_eq!(response.status(), status, "{name}");
        let plain = challenge(&response).to_owned();
        assert_eq!(plain.is_empty(), status == 200, "{name}");

        let response = over_http2(&server, &values, "application/grpc")
            .await
            .unwrap();
        let code = response.headers().get("grpc-status");
        let expected = (status != 200).then(|| HeaderValue::from_static("16"));
        assert_eq!(
            (response.status().as_u16(), code),
            (200, expected.as_ref()),
            "{name}"
        );
        assert_eq!(challenge(&response), plain, "{name}");
        assert_eq!(
            server.reached(),
            if status == 200 { 2 } else { 0 },
            "{name}"
        );
    }
    let too_much = value(&format!("Bearer {}", "a".repeat(300 * 1024)));
    if let Some(response) = over_http2(&server, &[too_much], "text/plain").await {
        assert!(response.status().is_client_error());
    }
    assert_eq!(server.reached(), 0);
}
