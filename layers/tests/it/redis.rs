//! The store in a real Redis: what it promises, and what happens when the server goes away, stops or refuses.

use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use ::redis::{FromRedisValue, cmd, pipe};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, UnixStream};
use tokio::time::{Instant, interval, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;
use tower_bearer::{ConfigError, RedisStore, TokenStore};

use crate::credentials::pem;
use crate::redis_server::{Server, with_redis};

const HOUR: Duration = Duration::from_secs(3600);

fn store(server: &Server) -> RedisStore {
    RedisStore::connect(&server.url()).unwrap()
}

/// A number of `INFO`.
async fn info(server: &Server, name: &str) -> u64 {
    let mut connection = server.connection().await;
    let text = cmd("INFO").query_async(&mut connection).await;
    let text: String = text.unwrap();
    let found = text.lines().find_map(|line| line.strip_prefix(name));
    found.unwrap().trim_start_matches(':').parse().unwrap()
}

async fn ask<T: FromRedisValue>(server: &Server, words: &[&str]) -> T {
    let mut command = cmd(words[0]);
    command.arg(&words[1..]);
    let answer = command.query_async(&mut server.connection().await).await;
    answer.unwrap()
}

#[tokio::test]
async fn what_is_put_is_there_byte_for_byte() {
    with_redis("round trip", &[], async |server| {
        server.start().await;
        let (one, two) = (store(server), store(server));
        let bytes: Vec<u8> = (0..=255).chain(*b"\r\n$-1\r\n").collect();
        assert_eq!(two.get("k").await.unwrap(), None);
        one.put("k", bytes.clone(), HOUR).await.unwrap();
        assert_eq!(two.get("k").await.unwrap(), Some(bytes));
        one.put("k", b"newer".to_vec(), HOUR).await.unwrap();
        assert_eq!(two.get("k").await.unwrap().unwrap(), b"newer");
        assert_eq!(two.get("K").await.unwrap(), None);
        two.remove("k").await.unwrap();
        assert_eq!(one.get("k").await.unwrap(), None);
        two.remove("k").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn values_end_with_their_time() {
    with_redis("time", &[], async |server| {
        server.start().await;
        let store = store(server);
        for (time, most) in [
            (Duration::from_secs(60), 60_000),
            (Duration::from_millis(61_001), 61_001),
            (Duration::MAX, 366 * 24 * 3_600_000),
        ] {
            store.put("k", b"v".to_vec(), time).await.unwrap();
            let left: i64 = ask(server, &["PTTL", "tower-bearer:k"]).await;
            assert!((most - 10_000..=most).contains(&left), "{time:?} {left}");
        }
        store.put("k", b"v".to_vec(), Duration::ZERO).await.unwrap();
        let mut look = interval(Duration::from_millis(1));
        while store.get("k").await.unwrap().is_some() {
            look.tick().await;
        }
        assert!(
            store
                .claim("c", "me", Duration::from_secs(15))
                .await
                .unwrap()
        );
        let left: i64 = ask(server, &["PTTL", "tower-bearer:c"]).await;
        assert!((5_000..=15_000).contains(&left), "{left}");
    })
    .await;
}

#[tokio::test]
async fn one_owner_has_a_claim_and_only_he_gives_it_up() {
    with_redis("claims", &[], async |server| {
        server.start().await;
        let (one, two) = (store(server), store(server));
        assert!(one.claim("c", "one", HOUR).await.unwrap());
        assert!(!two.claim("c", "two", HOUR).await.unwrap());
        assert!(one.claim("c", "one", HOUR).await.unwrap(), "asked again");
        assert!(two.claim("d", "two", HOUR).await.unwrap());

        two.release("c", "two").await.unwrap();
        two.release("nothing", "two").await.unwrap();
        assert!(!two.claim("c", "two", HOUR).await.unwrap());
        one.release("c", "one").await.unwrap();
        assert!(two.claim("c", "two", HOUR).await.unwrap());
        assert!(!one.claim("c", "one", HOUR).await.unwrap());

        two.release("c", "two").await.unwrap();
        let brief = Duration::from_millis(1);
        assert!(one.claim("e", "one", brief).await.is_ok());
        let mut look = interval(brief);
        while !two.claim("e", "two", HOUR).await.unwrap() {
            look.tick().await;
        }
    })
    .await;
}

#[tokio::test]
async fn of_many_claims_at_once_one_is_granted() {
    with_redis("race", &[], async |server| {
        server.start().await;
        let stores = [store(server), store(server)];
        let tasks: Vec<_> = (0..100)
            .map(|n| {
                let store = stores[n % 2].clone();
                tokio::spawn(async move { store.claim("c", &n.to_string(), HOUR).await.unwrap() })
            })
            .collect();
        let mut granted = 0;
        for task in tasks {
            granted += u32::from(task.await.unwrap());
        }
        assert_eq!(granted, 1);
    })
    .await;
}

#[tokio::test]
async fn keys_have_their_prefix_and_prefixes_do_not_meet() {
    with_redis("prefix", &[], async |server| {
        server.start().await;
        let (usual, other) = (store(server), store(server).prefix("other/"));
        usual.put("k", b"usual".to_vec(), HOUR).await.unwrap();
        assert_eq!(other.get("k").await.unwrap(), None);
        other.put("k", b"other".to_vec(), HOUR).await.unwrap();
        assert_eq!(usual.get("k").await.unwrap().unwrap(), b"usual");
        let mut keys: Vec<String> = ask(server, &["KEYS", "*"]).await;
        keys.sort();
        assert_eq!(keys, ["other/k", "tower-bearer:k"]);
    })
    .await;
}

#[tokio::test]
async fn what_somebody_made_too_large_is_not_taken() {
    with_redis("size", &[], async |server| {
        server.start().await;
        let store = store(server);
        // 64 KiB and the seal.
        let most = 64 * 1024 + 37;
        for (len, taken) in [(most, true), (most + 1, false), (50 << 20, false)] {
            store.put("k", vec![b'x'; len], HOUR).await.unwrap();
            let before = info(server, "total_net_output_bytes").await;
            let found = store.get("k").await.unwrap();
            assert_eq!(found.is_some_and(|value| value.len() == len), taken);
            let sent = info(server, "total_net_output_bytes").await - before;
            assert!(sent < 100_000, "{sent}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_broke_while_idle_is_no_failure() {
    with_redis("idle", &[], async |server| {
        server.start().await;
        let store = store(server);
        store.put("k", b"v".to_vec(), HOUR).await.unwrap();
        for _ in 0..3 {
            let _: i64 = ask(server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
            assert_eq!(store.get("k").await.unwrap().unwrap(), b"v");
            let _: i64 = ask(server, &["CLIENT", "KILL", "TYPE", "normal"]).await;
            assert!(store.claim("c", "me", HOUR).await.unwrap());
        }
        // A restart between two requests is none either.
        server.kill().await;
        server.start().await;
        assert_eq!(store.get("k").await.unwrap(), None);
    })
    .await;
}

#[tokio::test]
async fn a_connection_of_a_runtime_that_is_gone_is_no_failure() {
    with_redis("runtimes", &[], async |server| {
        server.start().await;
        let store = store(server);
        let elsewhere = store.clone();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let put = elsewhere.put("k", b"v".to_vec(), HOUR);
            runtime.unwrap().block_on(put).unwrap();
        });
        thread.join().unwrap();
        assert_eq!(store.get("k").await.unwrap().unwrap(), b"v");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_is_away_is_an_error_and_found_again() {
    with_redis("away", &[], async |server| {
        let store = store(server);
        let began = Instant::now();
        assert!(store.get("k").await.is_err());
        server.start().await;
        store.put("k", b"v".to_vec(), HOUR).await.unwrap();
        server.kill().await;
        for _ in 0..3 {
            assert!(store.get("k").await.is_err());
            assert!(store.put("k", b"v".to_vec(), HOUR).await.is_err());
            assert!(store.claim("k", "me", HOUR).await.is_err());
        }
        server.start().await;
        assert_eq!(store.get("k").await.unwrap(), None);
        assert!(began.elapsed() < Duration::from_secs(30));
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_answered_late_is_not_used_again() {
    with_redis("stopped", &[], async |server| {
        server.start().await;
        let store = store(server);
        store.put("k", b"v".to_vec(), HOUR).await.unwrap();
        let before = info(server, "total_connections_received").await;
        assert!(store.get("k").await.unwrap().is_some());
        let after = info(server, "total_connections_received").await;
        assert_eq!(after - before, 1, "the test's own");

        server.stop().await;
        let late = timeout(Duration::from_millis(50), store.get("k")).await;
        assert!(late.is_err());
        server.resume().await;
        assert!(store.get("k").await.unwrap().is_some());
        let end = info(server, "total_connections_received").await;
        assert_eq!(end - after, 2, "the test's own and a new one");
    })
    .await;
}

#[tokio::test]
async fn a_server_that_refuses_to_write_is_an_error() {
    with_redis("full", &[], async |server| {
        server.start().await;
        let store = store(server);
        store.put("k", b"v".to_vec(), HOUR).await.unwrap();
        let _: () = ask(server, &["CONFIG", "SET", "maxmemory", "1"]).await;
        assert!(store.put("k", b"w".to_vec(), HOUR).await.is_err());
        assert!(store.claim("c", "me", HOUR).await.is_err());
        assert_eq!(store.get("k").await.unwrap().unwrap(), b"v");
        let _: () = ask(server, &["CONFIG", "SET", "maxmemory", "0"]).await;
        assert!(store.claim("c", "me", HOUR).await.unwrap());

        // It became a replica: another connection may lead to its successor.
        let _: () = ask(server, &["REPLICAOF", "127.0.0.1", "1"]).await;
        let before = info(server, "total_connections_received").await;
        assert!(store.put("k", b"w".to_vec(), HOUR).await.is_err());
        let after = info(server, "total_connections_received").await;
        assert_eq!(after - before, 2, "the test's own and a new one");
        assert!(store.claim("d", "me", HOUR).await.is_err());
        let _: () = ask(server, &["REPLICAOF", "NO", "ONE"]).await;
        store.put("k", b"w".to_vec(), HOUR).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn a_password_is_used_and_never_shown() {
    let arguments = ["--requirepass", "pass-marker"];
    with_redis("password", &arguments, async |server| {
        server.start().await;
        let good = format!("{}?pass=pass-marker", server.url());
        let good = RedisStore::connect(&good).unwrap();
        good.put("k", b"v".to_vec(), HOUR).await.unwrap();
        let wrong = format!("{}?pass=wrong-marker", server.url());
        let wrong = RedisStore::connect(&wrong).unwrap();
        let error = wrong.get("k").await.unwrap_err();
        let none = store(server).get("k").await.unwrap_err();
        let shown = format!("{good:?} {wrong:?} {error} {error:?} {none} {none:?}");
        assert!(!shown.contains("marker"), "{shown}");
    })
    .await;
    let over_tcp = RedisStore::connect("redis://user:marker@cache.example:7/3").unwrap();
    assert_eq!(
        format!("{over_tcp:?}"),
        r#"RedisStore { address: "cache.example:7", prefix: "tower-bearer:", .. }"#
    );
}

#[tokio::test]
async fn only_urls_of_redis_are_taken_and_none_that_trusts_everybody() {
    for good in [
        "redis://cache",
        "redis://:p@127.0.0.1:7/1",
        "rediss://cache.example",
        "redis+unix:///run/redis.sock",
    ] {
        assert!(RedisStore::connect(good).is_ok(), "{good}");
    }
    for bad in [
        "",
        "cache:6379",
        "http://cache",
        "redis://",
        "redis://cache/x",
        "rediss://cache#insecure",
        "redis://cache#",
    ] {
        let refused = RedisStore::connect(bad).err();
        assert_eq!(refused, Some(ConfigError::StoreUrl), "{bad}");
    }
}

/// TLS in front of the server, with a certificate for localhost; the authority that issued it, in PEM.
async fn terminator(server: &Server) -> (u16, String) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["localhost".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = server.socket();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, socket) = (acceptor.clone(), socket.clone());
            tokio::spawn(async move {
                let mut outer = acceptor.accept(stream).await?;
                let mut inner = UnixStream::connect(socket).await?;
                copy_bidirectional(&mut outer, &mut inner).await
            });
        }
    });
    (port, pem("CERTIFICATE", authority.der()))
}

/// In the child: the store that the parent stands in front of, with the parent's authority as the only root.
const CHILD: &str = "TOWER_BEARER_TEST_REDIS_URL";

#[tokio::test]
async fn tls_is_checked_against_the_systems_roots() {
    if let Ok(url) = std::env::var(CHILD) {
        let store = RedisStore::connect(&url).unwrap();
        store.put("k", b"by tls".to_vec(), HOUR).await.unwrap();
        return;
    }
    with_redis("tls", &[], async |server| {
        server.start().await;
        let (port, root) = terminator(server).await;
        let url = format!("rediss://localhost:{port}");
        let stranger = RedisStore::connect(&url).unwrap();
        let error = stranger.get("k").await.unwrap_err().to_string();
        assert!(error.to_lowercase().contains("certificate"), "{error}");

        let file = server.socket().with_extension("pem");
        std::fs::write(&file, root).unwrap();
        let output = tokio::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "redis::tls_is_checked_against_the_systems_roots"])
            .env(CHILD, &url)
            .env("SSL_CERT_FILE", &file)
            .env_remove("SSL_CERT_DIR")
            .stdin(Stdio::null())
            .output()
            .await
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(
            output.status.success() && said.contains("1 passed"),
            "{said}"
        );
        let stored = store(server).get("k").await.unwrap();
        assert_eq!(stored.unwrap(), b"by tls");
    })
    .await;
}

#[tokio::test]
async fn commands_of_a_refused_pipeline_do_not_shift_the_answers_of_others() {
    with_redis("shift", &[], async |server| {
        server.start().await;
        let store = store(server);
        let mut raw = server.connection().await;
        let mut list = pipe();
        list.cmd("LPUSH").arg("tower-bearer:list").arg("x").ignore();
        let _: () = list.query_async(&mut raw).await.unwrap();
        store.put("k", b"v".to_vec(), HOUR).await.unwrap();
        for _ in 0..10 {
            assert!(store.get("list").await.is_err());
            assert!(store.claim("list", "me", HOUR).await.is_err());
            assert_eq!(store.get("k").await.unwrap().unwrap(), b"v");
        }
    })
    .await;
}
