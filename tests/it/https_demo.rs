//! The demo over https: one local CA for every service, the whole story through it, and pages of other origins at the middle tier.

use std::path::{Path, PathBuf};

use demo_services::{
    config::credential,
    daemon::{DaemonCall, DaemonError},
    demo::{self, DemoOptions},
    trust::Trust,
};
use integration_tests::{
    challenge::Challenge,
    person::Person,
    visitor::{Visitor, error_of},
    world::{World, https},
};
use local_authority::{Endpoint, Fault, TokenSpec};
use reqwest::{Client, Method, Response, header::HeaderMap};
use url::Url;

const OTP: &str = "123456";

async fn world(change: impl FnOnce(&mut DemoOptions)) -> World {
    World::start_with(|options| {
        options.https = Some(https().0);
        change(options);
    })
    .await
}

#[tokio::test]
async fn the_call_completes_under_both_names_of_the_authority_and_over_both_protocols() {
    for host in ["localhost", "127.0.0.1"] {
        let world = world(|options| options.authority_host = host.into()).await;
        let authority = world.demo.authority().url();
        assert!(
            authority.starts_with(&format!("https://{host}:")),
            "{authority}"
        );
        for path in [
            "/api/api",
            "/api/grpc/api",
            "/api/secure",
            "/api/grpc/secure",
        ] {
            let mut alice = Visitor::signed_in(&world, "alice").await;
            assert_eq!(alice.page.url.scheme(), "https");
            let mut answer = alice.call(path).await;
            let mut rounds = 0;
            while answer.status == 401 && rounds < 2 {
                assert_eq!(error_of(&answer), "step_up_required", "{host}: {path}");
                let page = alice.go(&answer).await;
                let back = match page.find_form("code") {
                    Some(_) => alice.give_code(&page, OTP).await,
                    None => page,
                };
                answer = alice.complete(back).await;
                rounds += 1;
            }
            assert_eq!(answer.status, 200, "{host}: {path}: {answer:?}");
            assert!(rounds > 0, "{host}: {path}");
            assert_eq!(answer.json()["name"], "Alice Liddell", "{host}: {path}");
        }
        world.stop().await;
    }
}

#[tokio::test]
async fn every_address_is_https_and_plain_http_gets_nothing() {
    let world = world(|_| {}).await;
    let authority: Url = world.demo.authority().url().parse().unwrap();
    let plain = Client::builder().no_proxy().build().unwrap();
    for url in [
        world.demo.spa(),
        world.demo.middle_tier(),
        world.demo.downstream(),
        &authority,
    ] {
        assert_eq!(url.scheme(), "https", "{url}");
        assert_eq!(
            world.get(url, "/healthz", None).await.status(),
            200,
            "{url}"
        );
        // Who does not know the CA.
        assert!(plain.get(url.clone()).send().await.is_err(), "{url}");
        let port = url.port().unwrap();
        let refused = plain
            .get(format!("http://localhost:{port}/healthz"))
            .send()
            .await;
        assert_eq!(refused.unwrap().status(), 400, "{url}");
    }
    world.stop().await;
}

#[tokio::test]
async fn addresses_of_the_other_name_lead_to_the_configured_one() {
    let world = world(|_| {}).await;
    let port = world.demo.spa().port().unwrap();
    let other = format!("https://127.0.0.1:{port}/").parse().unwrap();
    let page = Person::trusting(&world.trust).open(&other).await;
    assert_eq!(&page.url, world.demo.spa());
    world.stop().await;
}

#[tokio::test]
async fn what_clients_are_told_is_https_as_well() {
    let world = world(|_| {}).await;
    let base = world.demo.middle_tier();
    let refused = world.get(base, "/api", None).await;
    let challenge = Challenge::of(refused.headers());
    let metadata: Url = challenge.get("resource_metadata").unwrap().parse().unwrap();
    assert_eq!(metadata.origin(), base.origin());
    let weak = TokenSpec::user("alice", "middle-tier").capabilities(["cp1"]);
    let asked = world.get(base, "/api", Some(&world.token(weak))).await;
    let challenge = Challenge::of(asked.headers());
    let uri = challenge.get("authorization_uri").unwrap();
    assert!(uri.starts_with(world.demo.authority().url()), "{uri}");
    world.stop().await;
}

#[tokio::test]
async fn the_daemon_command_needs_the_ca_as_well() {
    let world = world(|_| {}).await;
    let directory = world.demo.authority().directory();
    let daemon = directory.app("daemon").unwrap();
    let call = |trust: &Trust| DaemonCall {
        authority: world.demo.authority().url().parse().unwrap(),
        tenant: world.demo.authority().tenant().to_string(),
        client_id: daemon.client_id.to_string(),
        credential: credential(daemon.secret().map(Into::into).as_ref(), None).unwrap(),
        scope: "api://downstream-api/.default".into(),
        url: world.demo.downstream().join("/admin").unwrap(),
        trust: trust.clone(),
    };
    let (status, body) = call(&world.trust).send().await.unwrap();
    assert_eq!(status, 200, "{body}");
    let refused = call(&Trust::default()).send().await.unwrap_err();
    assert!(matches!(refused, DaemonError::Transport(_)), "{refused}");
    world.stop().await;
}

/// A directory as npm leaves it, for tests that need the page to be there and no more.
fn bundle() -> PathBuf {
    let directory = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("msal");
    let library = directory.join("node_modules/@azure/msal-browser/lib");
    std::fs::create_dir_all(library.join("redirect-bridge")).unwrap();
    for name in [
        "msal-browser.min.js",
        "redirect-bridge/msal-redirect-bridge.min.js",
    ] {
        std::fs::write(library.join(name), "").unwrap();
    }
    directory
}

#[tokio::test]
async fn msal_js_without_https_or_without_its_bundle_does_not_start() {
    let start = async |with_https: bool, directory: &Path| {
        let options = DemoOptions {
            https: with_https.then(|| https().0),
            msal: Some(directory.into()),
            ..DemoOptions::on_free_ports()
        };
        let started = demo::start(options).await;
        started.map(|_| ()).map_err(|error| {
            let cause = std::error::Error::source(&error).map(ToString::to_string);
            format!("{error}: {}", cause.unwrap_or_default())
        })
    };
    assert_eq!(start(true, &bundle()).await, Ok(()));
    let refused = start(false, &bundle()).await.unwrap_err();
    assert!(refused.contains("--msal needs --https"), "{refused}");
    let refused = start(true, Path::new("/nowhere")).await.unwrap_err();
    let command = "npm install --prefix /nowhere @azure/msal-browser@5.30.0";
    assert!(refused.contains(command), "{refused}");
}

#[tokio::test]
async fn msal_js_is_a_public_client() {
    let world = world(|options| options.msal = Some(bundle())).await;
    let directory = world.demo.authority().directory();
    let app = directory.app("msal-spa").unwrap();
    assert_eq!(app.secret(), None);
    let page = world.demo.spa().join("/msal").unwrap();
    assert!(app.redirect_uris.spa.contains(&page.to_string()));
    let middle = directory.app("middle-tier").unwrap();
    assert!(middle.known_client_applications.contains(&app.client_id));
    let answer = world.get(world.demo.spa(), "/msal", None).await;
    assert_eq!(answer.status(), 200);
    world.stop().await;
}

async fn from_page(world: &World, method: Method, origin: &str, token: Option<&str>) -> Response {
    let url = world.demo.middle_tier().join("/api").unwrap();
    let mut request = world.http().request(method, url).header("origin", origin);
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    request.send().await.unwrap()
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    let mut values = headers.get_all(name).iter();
    let value = values.next().map_or("", |value| value.to_str().unwrap());
    assert!(values.next().is_none(), "{name} twice");
    value
}

#[tokio::test]
async fn the_page_reads_every_refusal_of_the_middle_tier_and_others_read_none() {
    let world = world(|options| options.msal = Some(bundle())).await;
    let page = world.demo.spa().origin().ascii_serialization();
    let caller = || TokenSpec::user("alice", "middle-tier").capabilities(["cp1"]);
    let good = world.token(caller().mfa());
    let weak = world.token(caller());
    let other = world.token(caller().mfa().scopes(["other"]));
    for (status, token, challenged) in [
        (200, Some(&good), false),
        (401, None, true),
        (401, Some(&weak), true),
        (403, Some(&other), true),
    ] {
        let answer = from_page(
            &world,
            Method::GET,
            &page,
            token.map(|token| token.as_str()),
        )
        .await;
        assert_eq!(answer.status(), status);
        let headers = answer.headers();
        assert_eq!(
            text(headers, "access-control-allow-origin"),
            page,
            "{status}"
        );
        assert_eq!(
            headers.contains_key("www-authenticate"),
            challenged,
            "{status}"
        );
        let exposed = text(headers, "access-control-expose-headers").to_ascii_lowercase();
        assert_eq!(
            exposed, "www-authenticate,x-correlation-id,retry-after",
            "{status}"
        );
        assert!(
            !headers.contains_key("access-control-allow-credentials"),
            "{status}"
        );
        assert!(
            text(headers, "vary")
                .to_ascii_lowercase()
                .contains("origin"),
            "{status}"
        );
    }
    for foreign in ["https://evil.example", "null", "http://localhost:3000"] {
        let answer = from_page(&world, Method::GET, foreign, None).await;
        assert_eq!(answer.status(), 401, "{foreign}");
        assert_eq!(
            text(answer.headers(), "access-control-allow-origin"),
            "",
            "{foreign}"
        );
    }

    world
        .demo
        .authority()
        .fail_next(Endpoint::Token, 100, Fault::status(503));
    let another = world.token(
        TokenSpec::user("bob", "middle-tier")
            .capabilities(["cp1"])
            .mfa(),
    );
    let answer = from_page(&world, Method::GET, &page, Some(&another)).await;
    assert_eq!(answer.status(), 503);
    assert_eq!(text(answer.headers(), "access-control-allow-origin"), page);
    assert!(answer.headers().contains_key("retry-after"));
    world.stop().await;
}

#[tokio::test]
async fn a_preflight_needs_no_token_and_a_foreign_name_gets_no_answer() {
    let world = world(|options| options.msal = Some(bundle())).await;
    let page = world.demo.spa().origin().ascii_serialization();
    let preflight = |origin: &str| {
        let url = world.demo.middle_tier().join("/api").unwrap();
        let request = world.http().request(Method::OPTIONS, url);
        request
            .header("origin", origin)
            .header("access-control-request-method", "PATCH")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
    };
    let answer = preflight(&page).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    let headers = answer.headers();
    assert_eq!(text(headers, "access-control-allow-origin"), page);
    assert_eq!(text(headers, "access-control-allow-methods"), "GET,PATCH");
    assert_eq!(
        text(headers, "access-control-allow-headers"),
        "authorization,content-type"
    );

    // The guard of names stands before.
    let rebound = preflight(&page).header("host", "evil.example").send().await;
    let rebound = rebound.unwrap();
    assert_ne!(rebound.status(), 200);
    assert_eq!(text(rebound.headers(), "access-control-allow-origin"), "");

    for foreign in ["https://evil.example", "null"] {
        let answer = preflight(foreign).send().await.unwrap();
        assert_eq!(
            text(answer.headers(), "access-control-allow-origin"),
            "",
            "{foreign}"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn without_the_page_no_origin_is_allowed() {
    let world = world(|_| {}).await;
    let page = world.demo.spa().origin().ascii_serialization();
    let answer = from_page(&world, Method::GET, &page, None).await;
    assert_eq!(answer.status(), 401);
    assert_eq!(text(answer.headers(), "access-control-allow-origin"), "");
    assert_eq!(
        world.get(world.demo.spa(), "/msal", None).await.status(),
        404
    );
    world.stop().await;
}
