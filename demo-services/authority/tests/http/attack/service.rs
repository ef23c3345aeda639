//! What can be done to the service as a whole: its names, clock, commands, TLS port and state file.

use super::*;

#[tokio::test]
async fn no_way_of_writing_the_host_gets_another_name_in() {
    let authority = Harness::start().await;
    let port = authority.running.port();
    let own = format!("localhost:{port}");
    for (line, hosts, good) in [
        ("GET /healthz HTTP/1.1".to_owned(), vec![own.clone()], true),
        ("GET /healthz HTTP/1.1".to_owned(), vec![], false),
        ("GET /healthz HTTP/1.0".to_owned(), vec![], false),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![own.clone(), own.clone()],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![own.clone(), "evil.example".into()],
            false,
        ),
        (
            "GET http://evil.example/healthz HTTP/1.1".to_owned(),
            vec![own.clone()],
            false,
        ),
        (
            format!("GET http://{own}/healthz HTTP/1.1"),
            vec!["evil.example".into()],
            false,
        ),
        (
            format!("GET http://{own}/healthz HTTP/1.1"),
            vec![own.clone()],
            true,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("{own}, evil.example")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("evil.example@{own}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("localhost.evil.example:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("localhost.:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("127.1:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("2130706433:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("[::ffff:127.0.0.1]:{port}")],
            false,
        ),
        (
            "GET /healthz HTTP/1.1".to_owned(),
            vec![format!("localhost:0{port}")],
            false,
        ),
    ] {
        let hosts: String = hosts
            .iter()
            .map(|host| format!("Host: {host}\r\n"))
            .collect();
        let request = format!("{line}\r\n{hosts}Connection: close\r\n\r\n");
        let answer = raw(&authority, &request).await;
        assert_eq!(answer.contains(" 200 "), good, "{request}{answer}");
    }
    let http = reqwest::Client::builder()
        .http2_prior_knowledge()
        .build()
        .unwrap();
    for (host, good) in [(own.as_str(), true), ("evil.example", false)] {
        let url = format!("{}/healthz", authority.running.url());
        let answer = http.get(url).header("host", host).send().await;
        assert_eq!(
            answer.is_ok_and(|answer| answer.status() == 200),
            good,
            "{host}"
        );
    }
}

#[tokio::test]
async fn smuggled_and_broken_requests_are_refused() {
    let authority = Harness::start().await;
    let own = format!("localhost:{}", authority.running.port());
    for head in [
        "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
        "Content-Length: -1\r\n\r\n",
        "X : y\r\n\r\n",
        "X: a\0b\r\n\r\n",
    ] {
        let request = format!(
            "POST /control HTTP/1.1\r\nHost: {own}\r\nX-Control: control-me\r\nContent-Type: application/json\r\nConnection: close\r\n{head}"
        );
        let answer = raw(&authority, &request).await;
        assert!(
            answer.is_empty() || answer.starts_with("HTTP/1.1 400"),
            "{head}: {answer}"
        );
    }
    assert_eq!(
        control(&authority, json!({ "do": "counters" }))
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn a_clock_that_is_set_off_without_measure_breaks_nothing() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    for seconds in [i64::MAX, i64::MIN, -1, 0] {
        let done = control(&authority, json!({ "do": "skew", "seconds": seconds })).await;
        assert_eq!(done.status, 200);
        assert_eq!(admin.page(&authority).await.status, 200);
        let mut browser = Browser::default();
        let page = authority.authorize(&browser, &[]).await;
        let answer = authority.sign_in(&mut browser, &page, "alice").await;
        assert!(answer.status < 500, "{seconds}: {}", answer.text);
        let answer = authority.redeem("nonsense", &[]).await;
        assert_eq!(answer.status, 400, "{seconds}");
        let token = authority.graph_token("alice", &["User.Read", "Application.ReadWrite.All"]);
        let answer = authority.graph(&token, "GET", "me", None).await;
        assert!(
            matches!(answer.status, 200 | 401),
            "{seconds}: {}",
            answer.text
        );
        let body = Some(json!({ "displayName": "x", "passwordCredentials": [{}] }));
        let answer = authority.graph(&token, "POST", "applications", body).await;
        assert!(answer.status < 500, "{seconds}: {}", answer.text);
    }
    let code = authority.code(&mut Browser::default()).await;
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn commands_with_values_beyond_measure_are_refused() {
    let authority = Harness::start().await;
    let policy = |frequency: &str| json!({ "do": "require", "policy": { "name": "x", "app": "middle-tier", "require": "mfa", "sign_in_frequency": frequency } });
    for (command, status) in [
        (policy("18446744073709551615d"), 400),
        (policy("4294967295d"), 200),
        (policy(""), 400),
        (policy("\u{1f600}"), 400),
        (
            json!({ "do": "fail_next", "endpoint": "token", "n": 4294967296u64 }),
            400,
        ),
        (
            json!({ "do": "fail_next", "endpoint": "token", "n": -1 }),
            400,
        ),
        (
            json!({ "do": "user", "user": "alice", "mfa": "registered", "otp": "" }),
            400,
        ),
        (json!({ "do": "withdraw_key", "kid": "\u{0}" }), 404),
        (json!({ "do": "skew", "seconds": 1e300 }), 400),
    ] {
        let answer = control(&authority, command.clone()).await;
        assert_eq!(answer.status, status, "{command}: {}", answer.text);
    }
    for (status, taken) in [
        (100, 400),
        (101, 400),
        (199, 400),
        (204, 200),
        (304, 200),
        (999, 400),
    ] {
        let command =
            json!({ "do": "fail_next", "endpoint": "keys", "n": 1, "status": status, "body": "x" });
        assert_eq!(control(&authority, command).await.status, taken);
        let _ = authority
            .http
            .get(authority.endpoint("discovery/v2.0/keys"))
            .send()
            .await;
    }
    let keys = authority
        .http
        .get(authority.endpoint("discovery/v2.0/keys"))
        .send()
        .await;
    assert_eq!(keys.unwrap().status().as_u16(), 200);
}

#[tokio::test]
async fn a_secret_that_graph_made_is_told_once_and_nowhere_else() {
    let authority = Harness::start().await;
    let admin = Admin::open(&authority).await;
    let path = app_path(&authority, "daemon");
    let body = json!({ "passwordCredential": { "displayName": "n" } });
    let made = by_writer(&authority, "POST", &format!("{path}/addPassword"), body).await;
    let secret = text(&made.json(), "secretText");
    let token = authority.graph_token("bob", &["Application.ReadWrite.All"]);
    let seen = [
        by_writer(&authority, "GET", &path, Value::Null).await.text,
        by_writer(
            &authority,
            "GET",
            "applications?$select=passwordCredentials",
            Value::Null,
        )
        .await
        .text,
        by_writer(&authority, "GET", "servicePrincipals", Value::Null)
            .await
            .text,
        control(&authority, json!({ "do": "requests" })).await.text,
        admin.page(&authority).await.text,
        format!(
            "{:?} {:?}",
            authority.running.directory(),
            authority.running
        ),
    ];
    for seen in seen {
        assert!(!seen.contains(&secret) && !seen.contains(&token), "{seen}");
        for app in &authority.directory.apps {
            assert!(app.secret().is_none_or(|secret| !seen.contains(secret)));
        }
        assert!(!seen.contains("alice-in-wonderland") && !seen.contains("control-me"));
    }
}

#[tokio::test]
async fn junk_and_silence_on_the_tls_port_harm_nobody_else() {
    let now = rustls_pki_types::UnixTime::now().as_secs();
    let ca = listening::LocalCa::in_memory(now).unwrap();
    let options = Options::default().tls(ca.tls().unwrap());
    let running = LocalAuthority::start(Directory::demo(), options)
        .await
        .unwrap();
    let address = ("127.0.0.1", running.port());
    let mut silent = Vec::new();
    for junk in [
        &b""[..],
        b"\x16",
        b"\x16\x03\x01\xff\xff",
        b"\x16\x03\x01\x00\x05hello",
        b"\x80\x2e\x01\x00\x02",
        b"GET / HTTP/1.1\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        &[0x16; 20_000],
    ] {
        for _ in 0..8 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let _ = stream.write_all(junk).await;
            silent.push(stream);
        }
    }
    let pem = reqwest::Certificate::from_pem(ca.pem().as_bytes()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([pem])
        .build()
        .unwrap();
    let url = format!("{}/healthz", running.url());
    assert!(url.starts_with("https://"));
    let answer = http.get(url).send().await.unwrap();
    assert_eq!(answer.text().await.unwrap(), "ok");
}

/// A state file of its own, changed by `change` between two starts.
async fn restarted(name: &str, change: impl FnOnce(&mut Value)) -> Option<Harness> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("attack-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir(&folder).unwrap();
    let file = folder.join("state.json");
    let directory = Directory::demo();
    let start = async || {
        let options = Options::default().state(&file);
        Harness::start_as(directory.clone(), ManualClock::at(START), options).await
    };
    let first = start().await.unwrap();
    let _ = first.code(&mut Browser::default()).await;
    assert!(first.running.revoke("alice"));
    let _ = first.code(&mut Browser::default()).await;
    first.running.shutdown().await;
    let mut state: Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    change(&mut state);
    std::fs::write(&file, state.to_string()).unwrap();
    let again = start().await.ok();
    let _ = std::fs::remove_dir_all(&folder);
    again
}

#[tokio::test]
async fn counts_at_their_end_in_a_state_file_are_no_panic() {
    let again = restarted("counts", |state| {
        let revocations = state["stores"]["revocations"].as_object_mut().unwrap();
        for revocation in revocations.values_mut() {
            revocation["generation"] = json!(u64::MAX);
            revocation["at"] = json!(u64::MAX);
        }
        for list in ["sessions", "codes", "families", "records", "tries"] {
            for entry in state["stores"][list].as_array_mut().unwrap() {
                entry[1] = json!(u64::MAX);
            }
        }
        for entry in state["stores"]["tries"].as_array_mut().unwrap() {
            entry[2] = json!(255);
        }
    })
    .await
    .unwrap();
    assert!(again.running.revoke("alice"));
    let mut browser = Browser::default();
    let page = again.authorize(&browser, &[]).await;
    assert!(again.sign_in(&mut browser, &page, "alice").await.status < 500);
    again.clock.advance(u64::MAX - START - 1);
    let page = again.authorize(&browser, &[]).await;
    assert!(again.sign_in(&mut browser, &page, "alice").await.status < 500);
    assert!(again.running.revoke("alice"));
}
