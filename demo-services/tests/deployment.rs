//! The services beyond this machine: TLS from files, behind proxies that are trusted or not, probes, and the end by SIGTERM.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "helpers of tests fail by panicking"
)]

use std::{fs, path::PathBuf, process::Stdio};

use axum::{Router, body::Body};
use demo_services::{
    config::{
        AuthorityConfig, DownstreamApiConfig, MiddleTierConfig, SealedRedisConfig, ServiceConfig,
        SpaBackendConfig, load,
    },
    downstream_api,
    forwarded::TrustedProxies,
    middle_tier,
    routes::WebService,
    spa_backend,
};
use http::{
    Method, Request, StatusCode,
    header::{HOST, LOCATION, STRICT_TRANSPORT_SECURITY},
};
use hyper_util::{rt::TokioIo, service::TowerToHyperService};
use listening::{ConnectedFrom, Listeners, LocalCa, Reach, serve};
use local_authority::{Clock as _, Directory, SystemClock};
use secrecy::ExposeSecret as _;
use tokio::{
    io::{AsyncBufReadExt as _, BufReader},
    process::{Child, Command},
};
use tower::ServiceExt as _;

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const CLIENT: &str = "22222222-3333-4444-5555-666666666666";
/// Nobody answers there, and none of these tests asks.
const NOBODY: &str = "http://127.0.0.1:1";
const SERVICES: [&str; 3] = ["spa-backend", "middle-tier", "downstream-api"];
const PROXY: [u8; 4] = [192, 0, 2, 7];
const STRANGER: [u8; 4] = [192, 0, 2, 8];

/// A directory of this test's own.
fn scratch(name: &str) -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&directory);
    fs::create_dir_all(&directory).unwrap();
    directory
}

/// A configuration file, without what the test is about.
fn settings(service: &str) -> String {
    let own = match service {
        "spa-backend" => {
            "client_secret = \"unused\"\nscope = \"api://m/user_impersonation\"\nmiddle_tier = \"http://127.0.0.1:1\""
        }
        "middle-tier" => {
            "app_id_uri = \"api://m\"\nclient_secret = \"unused\"\nrequired_scope = \"user_impersonation\"\n\
             downstream = \"http://127.0.0.1:1\"\ndownstream_scope = \"api://d/user_impersonation\""
        }
        _ => {
            "app_id_uri = \"api://d\"\nrequired_scope = \"user_impersonation\"\nadmin_role = \"Task.Run\"\nsecure_context = \"c1\""
        }
    };
    let authority = format!("authority = {{ instance = \"{NOBODY}\", tenant = \"{TENANT}\" }}");
    format!("client_id = \"{CLIENT}\"\n{own}\n{authority}\n")
}

fn command(service: &str, name: &str, text: &str) -> Command {
    let directory = scratch(name);
    let file = directory.join(format!("{service}.toml"));
    fs::write(&file, format!("{text}\n{}", settings(service))).unwrap();
    let ca = LocalCa::in_memory(SystemClock.now()).unwrap();
    fs::write(directory.join("ca.pem"), ca.pem()).unwrap();
    fs::write(directory.join("chain.pem"), ca.certificate_pem()).unwrap();
    fs::write(directory.join("key.pem"), ca.key_pem()).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_demo-services"));
    command
        .args([service, "--config"])
        .arg(file)
        // Not the one in which the files are.
        .current_dir(env!("CARGO_TARGET_TMPDIR"))
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .kill_on_drop(true);
    command
}

/// What the command says when it does not start.
async fn refusal(mut command: Command) -> String {
    let output = command.output().await.unwrap();
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{text}");
    text
}

/// A process, and its port.
async fn start(mut command: Command) -> (Child, u16) {
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next_line().await.unwrap().expect("it starts");
    let (_, rest) = line.split_once("port ").unwrap();
    let (port, _) = rest.split_once(';').unwrap();
    (child, port.parse().unwrap())
}

fn client() -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .no_proxy()
        .http1_only()
        .redirect(reqwest::redirect::Policy::none())
}

/// Trusts the CA of the command of this name.
fn trusting(name: &str) -> reqwest::Client {
    let ca = fs::read(
        PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
            .join(name)
            .join("ca.pem"),
    );
    let ca = reqwest::Certificate::from_pem(&ca.unwrap()).unwrap();
    client().tls_certs_only([ca]).build().unwrap()
}

fn authority() -> AuthorityConfig {
    AuthorityConfig {
        instance: NOBODY.parse().unwrap(),
        tenant: TENANT.into(),
    }
}

fn spa(base_url: &str, trusted_proxies: TrustedProxies) -> Router {
    spa_at("localhost:3000", base_url, trusted_proxies)
}

fn spa_at(listen: &str, base_url: &str, trusted_proxies: TrustedProxies) -> Router {
    let config = SpaBackendConfig {
        listen: listen.into(),
        base_url: base_url.parse().unwrap(),
        authority: authority(),
        client_id: CLIENT.into(),
        client_secret: Some("unused".into()),
        client_certificate: None,
        response_mode: Default::default(),
        id_token_hint: false,
        sessions: None,
        scope: "api://m/user_impersonation".into(),
        middle_tier: NOBODY.parse().unwrap(),
        insecure_cookies: false,
        tls: None,
        trusted_proxies,
        flow_events: false,
        flow_sources: Vec::new(),
        msal: None,
        trust: Default::default(),
    };
    spa_backend::router(&config).unwrap()
}

/// The middle tier and the downstream API under this URL.
fn apis(public_url: Option<&str>, trusted_proxies: &TrustedProxies) -> [WebService; 2] {
    apis_at("localhost:5000", public_url, trusted_proxies)
}

fn apis_at(
    listen: &str,
    public_url: Option<&str>,
    trusted_proxies: &TrustedProxies,
) -> [WebService; 2] {
    let public_url = public_url.map(|url| url.parse().unwrap());
    let middle_tier = middle_tier::service(&MiddleTierConfig {
        listen: listen.into(),
        authority: authority(),
        client_id: CLIENT.into(),
        app_id_uri: "api://m".into(),
        client_secret: Some("unused".into()),
        client_certificate: None,
        required_scope: "user_impersonation".into(),
        public_url: public_url.clone(),
        downstream: NOBODY.parse().unwrap(),
        downstream_scope: "api://d/user_impersonation".into(),
        shared_tokens: None,
        tls: None,
        trusted_proxies: trusted_proxies.clone(),
        allowed_origins: Default::default(),
        flow_events: false,
        profile: None,
        trust: Default::default(),
        samples_way: false,
    });
    let downstream = downstream_api::service(&DownstreamApiConfig {
        listen: listen.into(),
        authority: authority(),
        client_id: CLIENT.into(),
        app_id_uri: "api://d".into(),
        required_scope: "user_impersonation".into(),
        public_url,
        admin_role: "Task.Run".into(),
        secure_context: "c1".into(),
        tls: None,
        trusted_proxies: trusted_proxies.clone(),
        flow_events: false,
        trust: Default::default(),
    });
    [middle_tier.unwrap(), downstream.unwrap()]
}

fn proxies(entries: &[&str]) -> TrustedProxies {
    TrustedProxies::new(entries.iter().copied()).unwrap()
}

/// One request to the SPA backend from a peer of this address.
async fn ask(
    router: &Router,
    peer: [u8; 4],
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
) -> http::Response<Body> {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.extension(ConnectedFrom((peer, 40_000).into()));
    let request = request.body(Body::empty()).unwrap();
    router.clone().oneshot(request).await.unwrap()
}

#[tokio::test]
async fn each_service_serves_https_with_the_certificate_of_its_files() {
    for service in SERVICES {
        let name = format!("deployment-tls-{service}");
        let mut text = String::from(
            "listen = \"localhost:0\"\ntls = { certificate = \"chain.pem\", private_key = \"key.pem\" }\n",
        );
        if service == "spa-backend" {
            text.push_str("base_url = \"https://localhost:3000\"\n");
        }
        let (_child, port) = start(command(service, &name, &text)).await;
        let url = format!("https://localhost:{port}");
        let http = trusting(&name);
        let alive = http.get(format!("{url}/healthz")).send().await.unwrap();
        assert_eq!(alive.status(), StatusCode::OK, "{service}");
        let plain = client().build().unwrap();
        let plain = plain.get(format!("http://localhost:{port}/healthz")).send();
        assert_eq!(plain.await.unwrap().status(), StatusCode::BAD_REQUEST);
        if service == "spa-backend" {
            let page = http.get(&url).header(HOST, "localhost:3000").send().await;
            let page = page.unwrap();
            assert_eq!(page.status(), StatusCode::OK);
            // This machine's other ports must stay reachable by http.
            assert!(!page.headers().contains_key(STRICT_TRANSPORT_SECURITY));
        }
    }
}

#[tokio::test]
async fn other_machines_reach_a_service_only_with_tls_or_behind_a_proxy() {
    for service in SERVICES {
        let variable = service.to_ascii_uppercase().replace('-', "_");
        let listen = format!("{variable}__LISTEN");
        let mut text = "listen = \"localhost:0\"\n".to_owned();
        if service == "spa-backend" {
            text.push_str("base_url = \"https://shop.example\"\n");
        }
        let name = format!("deployment-open-{service}");
        let anywhere = |name: &str| {
            let mut command = command(service, name, &text);
            command.env(&listen, "0.0.0.0:0");
            command
        };
        let said = refusal(anywhere(&name)).await;
        for part in ["0.0.0.0:0", "`[tls]`", "`trusted_proxies`", ".toml"] {
            assert!(said.contains(part), "{service}: {part} in {said}");
        }

        let mut behind = anywhere(&name);
        behind.env(format!("{variable}__TRUSTED_PROXIES"), "10.0.0.0/8, ::1");
        let (_child, port) = start(behind).await;
        let alive = format!("http://127.0.0.1:{port}/healthz");
        let alive = client().build().unwrap().get(alive).send().await.unwrap();
        assert_eq!(alive.status(), StatusCode::OK, "{service}");

        let mut secure = anywhere(&name);
        secure.env(format!("{variable}__TLS__CERTIFICATE"), "chain.pem");
        secure.env(format!("{variable}__TLS__PRIVATE_KEY"), "key.pem");
        let (_child, port) = start(secure).await;
        let alive = format!("https://127.0.0.1:{port}/healthz");
        let alive = trusting(&name).get(alive).send().await.unwrap();
        assert_eq!(alive.status(), StatusCode::OK, "{service}");
    }
}

#[tokio::test]
async fn what_would_be_unsafe_is_refused_at_start() {
    let https = "base_url = \"https://shop.example\"\n";
    let http = "base_url = \"http://localhost:3000\"\n";
    let tls = "tls = { certificate = \"chain.pem\", private_key = \"key.pem\" }\n";
    for (name, text, named) in [
        (
            "cookies",
            format!("listen = \"localhost:0\"\ninsecure_cookies = true\n{https}"),
            "insecure_cookies",
        ),
        (
            "cookies-beyond",
            format!(
                "listen = \"0.0.0.0:0\"\ninsecure_cookies = true\ntrusted_proxies = [\"::1\"]\n{http}"
            ),
            "insecure_cookies",
        ),
        (
            "http",
            format!("listen = \"localhost:0\"\n{tls}{http}"),
            "base_url must be https",
        ),
        (
            "missing",
            format!(
                "listen = \"localhost:0\"\n{}{https}",
                tls.replace("chain", "other")
            ),
            "other.pem",
        ),
        (
            "everybody",
            format!("listen = \"0.0.0.0:0\"\ntrusted_proxies = [\"0.0.0.0/0\"]\n{https}"),
            "every address",
        ),
    ] {
        let name = format!("deployment-unsafe-{name}");
        let said = refusal(command("spa-backend", &name, &text)).await;
        assert!(said.contains(named), "{name}: {said}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn sigterm_ends_a_service_without_an_error() {
    for service in SERVICES {
        let mut text = String::from("listen = \"localhost:0\"\n");
        if service == "spa-backend" {
            text.push_str("base_url = \"http://localhost:3000\"\n");
        }
        let name = format!("deployment-term-{service}");
        let (mut child, _) = start(command(service, &name, &text)).await;
        let id = child.id().unwrap().to_string();
        let sent = Command::new("kill")
            .args(["-s", "TERM", &id])
            .status()
            .await;
        assert!(sent.unwrap().success());
        assert_eq!(child.wait().await.unwrap().code(), Some(0), "{service}");
    }
}

#[tokio::test]
async fn the_proxy_says_for_which_host_it_was_asked_and_nobody_else_does() {
    let router = spa("https://shop.example", proxies(&["192.0.2.7"]));
    let internal = (HOST.as_str(), "10.0.0.5:3000");
    let own = (HOST.as_str(), "shop.example");
    let said = |value| ("x-forwarded-host", value);
    let (ok, wrong) = (StatusCode::OK, StatusCode::MISDIRECTED_REQUEST);
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], [StatusCode; 2]);
    let rows: [Row<'_>; 13] = [
        // From the proxy, from anybody else.
        ("host kept", &[own], [ok, ok]),
        ("host lost", &[internal], [wrong, wrong]),
        // A rebound page can add this header; most proxies pass it on unless they are told to set it.
        (
            "host told instead",
            &[internal, said("shop.example")],
            [wrong, wrong],
        ),
        ("host told as well", &[own, said("shop.example")], [ok, ok]),
        ("its port told", &[own, said("shop.example:443")], [ok, ok]),
        (
            "another port",
            &[own, said("shop.example:3000")],
            [wrong, ok],
        ),
        ("rebound name", &[own, said("evil.example")], [wrong, ok]),
        (
            "two proxies",
            &[own, said("shop.example, shop.example")],
            [ok, ok],
        ),
        (
            "list, other last",
            &[own, said("shop.example, evil.example")],
            [wrong, ok],
        ),
        (
            "list, other first",
            &[own, said("evil.example, shop.example")],
            [wrong, ok],
        ),
        (
            "doubled",
            &[own, said("shop.example"), said("evil.example")],
            [wrong, ok],
        ),
        (
            "malformed",
            &[own, said("http://shop.example/")],
            [wrong, ok],
        ),
        ("empty", &[own, said("")], [wrong, ok]),
    ];
    for (what, headers, expected) in rows {
        for (peer, expected) in [PROXY, STRANGER].into_iter().zip(expected) {
            let answer = ask(&router, peer, Method::GET, "/", headers).await;
            assert_eq!(answer.status(), expected, "{what} from {peer:?}");
            assert_eq!(
                answer.headers()[STRICT_TRANSPORT_SECURITY],
                "max-age=31536000",
                "{what}"
            );
        }
    }
}

#[tokio::test]
async fn beyond_this_machine_plain_http_is_for_the_proxy_alone() {
    let headers = [(HOST.as_str(), "shop.example")];
    let proxies = || proxies(&["192.0.2.7"]);
    let shop = "https://shop.example";
    let (ok, foreign) = (StatusCode::OK, StatusCode::FORBIDDEN);
    for (listen, expected) in [
        ("0.0.0.0:3000", [ok, ok, foreign]),
        ("[::]:3000", [ok, ok, foreign]),
        ("localhost:3000", [ok, ok, ok]),
    ] {
        let router = spa_at(listen, shop, proxies());
        for (peer, expected) in [PROXY, [127, 0, 0, 1], STRANGER].into_iter().zip(expected) {
            let page = ask(&router, peer, Method::GET, "/", &headers).await;
            assert_eq!(page.status(), expected, "{listen} from {peer:?}");
            let probe = ask(&router, peer, Method::GET, "/healthz", &headers).await;
            assert_eq!(probe.status(), ok, "{listen} from {peer:?}");
        }
    }
}

/// Asks an API over a connection that does not say where it comes from.
async fn ask_from_nowhere(api: WebService, path: &str) -> StatusCode {
    let (near, far) = tokio::io::duplex(4096);
    let api = TowerToHyperService::new(api);
    let server = hyper::server::conn::http1::Builder::new();
    tokio::spawn(server.serve_connection(TokioIo::new(far), api));
    let client = hyper::client::conn::http1::handshake(TokioIo::new(near));
    let (mut client, connection) = client.await.unwrap();
    tokio::spawn(connection);
    let request = Request::get(path).header(HOST, "localhost");
    let request = request.body(Body::empty()).unwrap();
    client.send_request(request).await.unwrap().status()
}

#[tokio::test]
async fn an_api_beyond_this_machine_is_for_the_proxy_alone_as_well() {
    for (listen, expected) in [
        ("0.0.0.0:5000", StatusCode::FORBIDDEN),
        ("localhost:5000", StatusCode::UNAUTHORIZED),
    ] {
        for api in apis_at(listen, None, &proxies(&["192.0.2.7"])) {
            let called = ask_from_nowhere(api.clone(), "/api").await;
            assert_eq!(called, expected, "{listen}");
            assert_eq!(ask_from_nowhere(api, "/healthz").await, StatusCode::OK);
        }
    }
}

#[tokio::test]
async fn a_page_asked_for_over_http_is_led_to_https_and_a_call_is_refused() {
    let router = spa("https://shop.example", proxies(&["192.0.2.7"]));
    let own = (HOST.as_str(), "shop.example");
    let said = |value| ("x-forwarded-proto", value);
    let (ok, led) = (StatusCode::OK, StatusCode::TEMPORARY_REDIRECT);
    let get = Method::GET;
    let page = "/?x=1";
    let wrong = StatusCode::MISDIRECTED_REQUEST;
    type Row<'a> = (&'a Method, &'a str, &'a [(&'a str, &'a str)], StatusCode);
    let post = Method::POST;
    let rows: [Row<'_>; 10] = [
        (&get, page, &[own], ok),
        (&get, page, &[own, said("https")], ok),
        (&get, page, &[own, said("http")], led),
        (&get, page, &[own, said("http, https")], led),
        (&get, page, &[own, said("https, http")], ok),
        (&get, page, &[own, said("https"), said("http")], ok),
        (&get, page, &[own, said("gopher")], ok),
        (&get, "/api/api", &[own, said("http")], wrong),
        (&post, "/auth/sign-out", &[own, said("http")], wrong),
        (&get, "/healthz", &[own, said("http")], ok),
    ];
    for (method, path, headers, expected) in rows {
        let answer = ask(&router, PROXY, method.clone(), path, headers).await;
        assert_eq!(answer.status(), expected, "{method} {path} {headers:?}");
        if expected == led {
            // To the configured address, whatever was asked for.
            assert_eq!(
                answer.headers()[LOCATION],
                format!("https://shop.example{path}")
            );
        }
    }
    // A stranger is not believed: it gets the page, as without the header.
    let answer = ask(&router, STRANGER, get.clone(), page, &[own, said("http")]).await;
    assert_eq!(answer.status(), ok);
    // Nor does it move a service that is at home on http.
    let router = spa("http://localhost:3000", proxies(&["192.0.2.7"]));
    let local = (HOST.as_str(), "localhost:3000");
    let answer = ask(&router, PROXY, get, page, &[local, said("http")]).await;
    assert_eq!(answer.status(), ok);
}

#[tokio::test]
async fn nothing_of_these_headers_is_written_anywhere() {
    let router = spa("https://shop.example", proxies(&["192.0.2.7"]));
    let headers = [
        (HOST.as_str(), "shop.example"),
        ("x-forwarded-host", "SHOP.example:443"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-prefix", "/evil"),
        ("forwarded", "host=evil.example;proto=http"),
    ];
    let answer = ask(&router, PROXY, Method::GET, "/id-token", &headers).await;
    assert_eq!(answer.headers()[LOCATION], "https://shop.example/id-token");
}

#[tokio::test]
async fn over_the_wire_the_peer_decides() {
    for (entries, expected) in [
        (["127.0.0.0/8", "::1"], StatusCode::MISDIRECTED_REQUEST),
        (["192.0.2.0/24", "2001:db8::/32"], StatusCode::OK),
    ] {
        let listeners = Listeners::bind("localhost:0", Reach::Loopback)
            .await
            .unwrap();
        let url = format!("http://localhost:{}/", listeners.port());
        let router = spa("https://shop.example", proxies(&entries));
        let server = tokio::spawn(serve(listeners, router, std::future::pending()));
        let answer = client().build().unwrap().get(url);
        let answer = answer.header(HOST, "shop.example");
        let answer = answer.header("x-forwarded-host", "evil.example").send();
        assert_eq!(answer.await.unwrap().status(), expected, "{entries:?}");
        server.abort();
    }
}

#[tokio::test]
async fn an_api_answers_under_its_public_name_and_probes_under_any() {
    let (challenged, wrong) = (StatusCode::UNAUTHORIZED, StatusCode::MISDIRECTED_REQUEST);
    let public = Some("https://api.example");
    let rows = [
        (None, "localhost", [challenged, challenged]),
        (None, "api.example", [wrong, wrong]),
        (public, "api.example", [challenged, wrong]),
        (public, "evil.example", [wrong, wrong]),
        (public, "10.0.0.5", [wrong, wrong]),
    ];
    for (public_url, host, expected) in rows {
        // Without a proxy, and behind one that tells another host.
        let kinds = [proxies(&[]), proxies(&["127.0.0.0/8", "::1"])];
        for (number, (proxies, expected)) in kinds.iter().zip(expected).enumerate() {
            for service in apis(public_url, proxies) {
                let listeners = Listeners::bind("localhost:0", Reach::Loopback)
                    .await
                    .unwrap();
                let url = format!("http://localhost:{}", listeners.port());
                let server = tokio::spawn(serve(listeners, service, std::future::pending()));
                let http = client().build().unwrap();
                let mut call = http.get(format!("{url}/api")).header(HOST, host);
                if host != "localhost" {
                    let told = if host == "10.0.0.5" {
                        "api.example"
                    } else {
                        "evil.example"
                    };
                    call = call.header("x-forwarded-host", told);
                }
                let answer = call.send().await.unwrap();
                assert_eq!(
                    answer.status(),
                    expected,
                    "{public_url:?}, {host}, {number}"
                );
                for (probe, status) in [("/healthz", 200), ("/readyz", 503)] {
                    let probe = http.get(format!("{url}{probe}"));
                    let probe = probe.header(HOST, "10.244.0.17:5000").send().await.unwrap();
                    assert_eq!(probe.status(), status);
                }
                server.abort();
            }
        }
    }
}

#[test]
fn an_api_made_without_a_file_keeps_the_rules() {
    let file = |name| {
        PathBuf::from(env!("CARGO_MANIFEST_DIR"))
            .join("config/local")
            .join(name)
    };
    let middle = load::<MiddleTierConfig>(&file("middle-tier.toml"), []).unwrap();
    let downstream = load::<DownstreamApiConfig>(&file("downstream-api.toml"), []).unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let _within = runtime.enter();
    let refused = |change: fn(&mut MiddleTierConfig)| {
        let mut config = middle.clone();
        change(&mut config);
        middle_tier::service(&config)
            .err()
            .map(|error| error.to_string())
    };
    let shared = |timeout_ms| SealedRedisConfig {
        redis: "redis://localhost".into(),
        sealing_secret: "0123456789abcdefghijklmnopqrstuv".into(),
        previous_sealing_secret: None,
        timeout_ms: Some(timeout_ms),
    };
    assert_eq!(refused(|_| ()), None);
    assert_eq!(refused(|config| config.flow_events = true), None);
    let beyond = refused(|config| (config.flow_events, config.listen) = (true, "0.0.0.0:1".into()));
    assert!(beyond.unwrap().starts_with("flow_events"));
    for (timeout_ms, expected) in [(9, false), (10, true), (5000, true), (5001, false)] {
        let mut config = middle.clone();
        config.shared_tokens = Some(shared(timeout_ms));
        let built = middle_tier::service(&config)
            .err()
            .map(|error| error.to_string());
        match expected {
            true => assert_eq!(built, None, "{timeout_ms}"),
            false => assert!(
                built.unwrap().starts_with("shared_tokens.timeout_ms"),
                "{timeout_ms}"
            ),
        }
    }
    let mut watched = downstream.clone();
    watched.flow_events = true;
    assert!(downstream_api::service(&watched).is_ok());
    watched.public_url = Some("https://api.example".parse().unwrap());
    let refused = downstream_api::service(&watched).err().unwrap().to_string();
    assert!(refused.starts_with("flow_events"), "{refused}");
}

/// The file's own settings, as the guide has a reader use them.
fn local<T: ServiceConfig>(file: &str) -> T {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("config/local");
    load(&folder.join(file), []).unwrap()
}

#[tokio::test]
async fn the_files_of_the_guide_belong_together() {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("authority/default-directory.toml");
    let mut text = fs::read_to_string(file).unwrap();
    for name in ["spa-backend", "middle-tier"] {
        let line = format!("\nname = \"{name}\"\n");
        assert!(text.contains(&line), "the guide's command looks for {line}");
        text = text.replace(
            &line,
            &format!("{line}secrets = [\"{name}-on-localhost-only\"]\n"),
        );
    }
    let directory: Directory = text.parse().unwrap();
    let app = |name: &str| directory.app(name).unwrap();

    let spa: SpaBackendConfig = local("spa-backend.toml");
    let middle: MiddleTierConfig = local("middle-tier.toml");
    let downstream: DownstreamApiConfig = local("downstream-api.toml");
    for (name, id, secret) in [
        ("spa-backend", &spa.client_id, spa.client_secret.as_ref()),
        (
            "middle-tier",
            &middle.client_id,
            middle.client_secret.as_ref(),
        ),
        ("downstream-api", &downstream.client_id, None),
    ] {
        assert_eq!(&app(name).client_id.to_string(), id, "{name}");
        let secret = secret.map(|secret| secret.expose_secret());
        assert_eq!(app(name).secret(), secret, "{name}");
    }
    for path in ["auth/callback", ""] {
        let uri = format!("{}{path}", spa.base_url);
        assert!(app("spa-backend").redirect_uris.web.contains(&uri), "{uri}");
    }
    assert!(spa_backend::router(&spa).is_ok());
    assert!(middle_tier::service(&middle).is_ok());
    assert!(downstream_api::service(&downstream).is_ok());
}
