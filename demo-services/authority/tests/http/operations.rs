//! Starting, names, metadata, health, stopping.

use std::time::Duration;

use crate::harness::{Answer, Harness};
use local_authority::{Directory, LocalAuthority, Options, StartError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[tokio::test]
async fn metadata_names_this_service_under_both_names_of_the_tenant() {
    let authority = Harness::start().await;
    for tenant in ["11111111-2222-3333-4444-555555555555", "contoso.example"] {
        let url = format!(
            "{}/{tenant}/v2.0/.well-known/openid-configuration?x-client-SKU=passport",
            authority.running.url()
        );
        let answer = Answer::of(authority.http.get(url).send().await.unwrap()).await;
        let metadata = answer.json();
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
        assert_eq!(metadata["issuer"], authority.running.issuer());
        assert_eq!(
            metadata["jwks_uri"],
            authority.endpoint("discovery/v2.0/keys")
        );
        assert_eq!(
            metadata["token_endpoint"],
            authority.endpoint("oauth2/v2.0/token")
        );
        assert_eq!(
            metadata["authorization_endpoint"],
            authority.endpoint("oauth2/v2.0/authorize")
        );
        assert_eq!(
            metadata["end_session_endpoint"],
            authority.endpoint("oauth2/v2.0/logout")
        );
    }
    let unknown = format!(
        "{}/other.example/v2.0/.well-known/openid-configuration",
        authority.running.url()
    );
    let answer = Answer::of(authority.http.get(unknown).send().await.unwrap()).await;
    assert_eq!((answer.status, answer.error_code()), (400, 90_002));
}

#[tokio::test]
async fn the_public_url_is_the_issuer() {
    let options = Options::default()
        .listen("127.0.0.1:0")
        .public_url("https://login.example".parse().unwrap());
    let running = LocalAuthority::start(Directory::demo(), options)
        .await
        .unwrap();
    assert_eq!(
        running.issuer(),
        "https://login.example/11111111-2222-3333-4444-555555555555/v2.0"
    );
    let running =
        LocalAuthority::start(Directory::demo(), Options::default().listen("127.0.0.1:0"))
            .await
            .unwrap();
    assert_eq!(
        running.url(),
        format!("http://127.0.0.1:{}", running.port())
    );
}

#[tokio::test]
async fn only_loopback_addresses_are_listened_on() {
    for listen in [
        "0.0.0.0:0",
        "[::]:0",
        "192.0.2.1:0",
        "example.com:80",
        "localhost",
        "8080",
        "",
    ] {
        let started =
            LocalAuthority::start(Directory::demo(), Options::default().listen(listen)).await;
        assert!(
            matches!(started, Err(StartError::NotLoopback(_))),
            "{listen}"
        );
    }
    let taken = LocalAuthority::start(Directory::demo(), Options::default())
        .await
        .unwrap();
    let again = LocalAuthority::start(
        Directory::demo(),
        Options::default().listen(format!("localhost:{}", taken.port())),
    )
    .await;
    assert!(matches!(again, Err(StartError::Bind { .. })));
}

#[tokio::test]
async fn the_page_of_an_error_number_exists_and_shows_nothing_else() {
    let authority = Harness::start().await;
    let refused = authority.token(&[]).await.json();
    let page = async |uri: &str| Answer::of(authority.http.get(uri).send().await.unwrap()).await;
    let uri = refused["error_uri"].as_str().unwrap();
    let known = page(uri).await;
    let number = refused["error_codes"][0].to_string();
    assert_eq!(known.status, 200);
    assert!(
        known.text.contains(&format!("AADSTS{number}")),
        "{}",
        known.text
    );
    for other in ["<script>", "-1", "4294967296"] {
        let other = page(&uri.replace(&number, other)).await;
        assert_eq!(other.status, 404);
        assert!(!other.text.contains("<script>"));
    }
}

#[tokio::test]
async fn the_base_url_shows_where_to_go_on() {
    let authority = Harness::start().await;
    let home = authority.http.get(authority.running.url()).send();
    let home = Answer::of(home.await.unwrap()).await;
    assert_eq!(home.status, 200);
    let issuer = authority.running.issuer();
    for part in [
        format!("{issuer}/.well-known/openid-configuration"),
        format!("{}/admin", authority.running.url()),
    ] {
        assert!(home.text.contains(&part), "{part} in {}", home.text);
    }
    assert!(!home.text.contains("control-me"));
}

#[tokio::test]
async fn each_start_has_keys_of_its_own() {
    let (one, other) = (Harness::start().await, Harness::start().await);
    assert_ne!(one.running.kid(), other.running.kid());
}

#[tokio::test]
async fn a_broken_directory_does_not_start() {
    let mut directory = Directory::demo();
    directory
        .app_mut("daemon")
        .unwrap()
        .app_permissions
        .push("api://nobody/x".into());
    assert!(matches!(
        LocalAuthority::start(directory, Options::default()).await,
        Err(StartError::Directory(_))
    ));
}

#[tokio::test]
async fn requests_to_another_name_are_refused() {
    let authority = Harness::start().await;
    let port = authority.running.port();
    for (host, status) in [
        (format!("localhost:{port}"), 200),
        (format!("LOCALHOST:{port}"), 200),
        (format!("127.0.0.1:{port}"), 200),
        (format!("[::1]:{port}"), 200),
        (format!("evil.example:{port}"), 421),
        ("localhost".to_owned(), 421),
        (format!("localhost:{port}@evil.example"), 421),
    ] {
        let answer = authority
            .http
            .get(format!("{}/healthz", authority.running.url()))
            .header("host", &host)
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{host}");
    }
}

#[tokio::test]
async fn both_loopback_addresses_answer_over_http_1_and_http_2() {
    let authority = Harness::start().await;
    let port = authority.running.port();
    for host in ["127.0.0.1", "[::1]"] {
        if TcpStream::connect(format!("{host}:{port}")).await.is_err() && host == "[::1]" {
            continue; // A machine without IPv6.
        }
        for http in [
            reqwest::Client::new(),
            reqwest::Client::builder()
                .http2_prior_knowledge()
                .build()
                .unwrap(),
        ] {
            let answer = http
                .get(format!("http://{host}:{port}/readyz"))
                .send()
                .await
                .unwrap();
            assert_eq!(answer.text().await.unwrap(), "ok");
        }
    }
}

#[tokio::test]
async fn long_bodies_and_headers_are_refused() {
    let authority = Harness::start().await;
    let long = authority
        .http
        .post(authority.endpoint("oauth2/v2.0/token"))
        .header("content-type", "application/x-www-form-urlencoded")
        .body("a=".to_owned() + &"x".repeat(70_000));
    let long = Answer::of(long.send().await.unwrap()).await;
    assert_eq!(
        (long.status, long.json()["error"].as_str()),
        (413, Some("invalid_request"))
    );
    assert_eq!(long.headers["cache-control"], "no-store");
    assert_eq!(long.headers["access-control-allow-origin"], "*");
    let fits = authority
        .token(&[("grant_type", "nothing"), ("a", &"x".repeat(60_000))])
        .await;
    assert_eq!(
        (fits.status, fits.json()["error"].as_str()),
        (400, Some("unsupported_grant_type"))
    );
    let wide = |length: usize| {
        authority
            .http
            .get(format!("{}/healthz", authority.running.url()))
            .header("x-wide", "x".repeat(length))
            .send()
    };
    assert_eq!(wide(24_000).await.unwrap().status(), 200);
    assert_eq!(wide(40_000).await.unwrap().status(), 431);
}

#[tokio::test]
async fn shutdown_lets_an_answer_finish_and_ends_idle_connections() {
    let authority = Harness::start().await;
    let port = authority.running.port();
    let mut idle = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    idle.write_all(format!("GET /healthz HTTP/1.1\r\nhost: localhost:{port}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    let mut buffer = [0; 1024];
    assert!(idle.read(&mut buffer).await.unwrap() > 0);
    tokio::time::timeout(Duration::from_secs(4), authority.running.shutdown())
        .await
        .unwrap();
    assert_eq!(idle.read(&mut buffer).await.unwrap(), 0);
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}

#[tokio::test]
async fn serve_until_ends_with_its_signal() {
    let running = LocalAuthority::start(Directory::demo(), Options::default())
        .await
        .unwrap();
    let (done, wait) = tokio::sync::oneshot::channel::<()>();
    let port = running.port();
    let serving = tokio::spawn(running.serve_until(async { drop(wait.await) }));
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
    done.send(()).unwrap();
    serving.await.unwrap();
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
}
