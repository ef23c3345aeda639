//! Several instances of the service over one Redis, as a browser behind a balancer meets them, and what Redis's faults cost.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use http::header::RETRY_AFTER;
use http::{Method, StatusCode};
use serde_json::json;
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval};
use tower_bearer::ClaimsRequest;

use super::doubles::{Browser, Page, Stage, come_back, param};
use super::store::server::{DURABLE, FORGETFUL, Server, with_redis};

const SECRET: &str = "0123456789abcdef0123456789abcdef";
const NEWER: &str = "fedcba9876543210fedcba9876543210";

fn instance(stage: &Stage, server: &Server) -> Router {
    stage.instance(|config| config.sessions = server.sessions(SECRET, None))
}

fn challenge(context: &str) -> String {
    let claims = ClaimsRequest::acrs(context).unwrap().to_base64();
    format!("Bearer realm=\"t\", error=\"insufficient_claims\", claims=\"{claims}\"")
}

/// A call that has to wait; answers where its step-up begins.
async fn waiting(stage: &Stage, browser: &mut Browser) -> String {
    stage.middle_tier.challenge(401, &challenge("c1"));
    let refused = browser.fetch(Method::POST, "/api/change", "the change");
    let refused = refused.await;
    assert_eq!(refused.error(), "step_up_required", "{}", refused.text);
    refused.go()
}

/// Calls that reached the middle tier, probes of its health aside.
fn calls(stage: &Stage) -> usize {
    let seen = stage.middle_tier.seen.lock().unwrap();
    seen.iter()
        .filter(|(_, uri, _, _)| uri != "/healthz")
        .count()
}

fn run(landed: &Page) -> String {
    let operation = landed.location().strip_prefix("/?op=");
    format!("/api/ops/{}", operation.expect("it waits for its run"))
}

#[tokio::test]
async fn a_session_is_known_to_all_instances_and_a_sign_in_ends_at_any() {
    with_redis("shared", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let [one, two] = [instance(&stage, server), instance(&stage, server)];
        let mut browser = stage.browser_of(one.clone());
        let request = browser.get("/auth/sign-in?return_to=/id-token").await.url();
        let callback = come_back(&request, "alice");
        let landed = browser.at(&two).get(&callback).await;
        assert_eq!(landed.location(), "/id-token", "{}", landed.text);
        let replayed = browser.at(&one).get(&callback).await;
        assert_eq!(replayed.status, StatusCode::BAD_REQUEST);
        for instance in [&one, &two] {
            let session = browser.at(instance).draw_page().await;
            assert_eq!(session["username"], "alice@contoso.example");
            let page = browser.fetch(Method::GET, "/api/api", "").await;
            assert_eq!(page.status, StatusCode::OK);
        }

        // Signed out at one is signed out at the other.
        let cookies = browser.cookies.clone();
        browser.fetch(Method::POST, "/auth/sign-out", "").await;
        browser.cookies = cookies;
        let session = browser.at(&one).draw_page().await;
        assert_eq!(session, json!({ "signed_in": false }));
    })
    .await;
}

#[tokio::test]
async fn an_operation_runs_at_most_once_when_all_instances_are_asked_at_once() {
    with_redis("once", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let [one, two] = [instance(&stage, server), instance(&stage, server)];
        let mut browser = stage.signed_in_at(&one, "alice").await;
        let go = waiting(&stage, &mut browser).await;
        let landed = browser.at(&two).sign_in(&go, "alice").await;
        let run = run(&landed);
        let before = calls(&stage);
        let asked = (0..20).map(|n| {
            let mut tab = browser.tab();
            tab.at(if n % 2 == 0 { &one } else { &two });
            let run = run.clone();
            async move {
                let page = tab.fetch(Method::POST, &run, "").await;
                match page.status {
                    StatusCode::OK => true,
                    status => {
                        assert_eq!(status, StatusCode::GONE);
                        assert!(page.error().starts_with("operation_"), "{}", page.text);
                        false
                    }
                }
            }
        });
        let ran = futures_util::future::join_all(asked).await;
        assert_eq!(ran.iter().filter(|ran| **ran).count(), 1);
        assert_eq!(calls(&stage), before + 1);
        let (method, uri, _, body) = stage.middle_tier.seen.lock().unwrap().pop().unwrap();
        assert_eq!(
            (method, uri.as_str(), body.as_ref()),
            (Method::POST, "/change", b"the change".as_slice())
        );
        let again = browser.at(&one).fetch(Method::POST, &run, "").await;
        assert_eq!(again.error(), "operation_sent");
    })
    .await;
}

#[tokio::test]
async fn all_instances_together_refresh_once_and_use_the_rotated_token_next() {
    with_redis("refresh", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let [one, two] = [instance(&stage, server), instance(&stage, server)];
        stage.authority.lifetimes.lock().unwrap().extend([1, 3600]);
        let browser = stage.signed_in_at(&one, "alice").await;
        let calls = (0..40).map(|n| {
            let mut tab = browser.tab();
            tab.at(if n % 2 == 0 { &one } else { &two });
            async move { tab.fetch(Method::GET, "/api/api", "").await.status }
        });
        let statuses = futures_util::future::join_all(calls).await;
        assert!(
            statuses.iter().all(|status| *status == StatusCode::OK),
            "{statuses:?}"
        );
        assert_eq!(stage.authority.token_requests("refresh_token"), 1);
        for (number, instance) in [&two, &one].into_iter().enumerate() {
            let refused = "Bearer error=\"invalid_token\"";
            stage.middle_tier.challenge(401, refused);
            let mut tab = browser.tab();
            let page = tab.at(instance).fetch(Method::GET, "/api/api", "").await;
            assert_eq!(page.status, StatusCode::OK);
            let forms = stage.authority.forms.lock().unwrap();
            let sent = &forms[2 + number]["refresh_token"];
            assert_eq!(*sent, format!("refresh-token-{}", 2 + number));
        }
    })
    .await;
}

#[tokio::test]
async fn a_refresh_that_began_before_a_step_up_elsewhere_does_not_overwrite_it() {
    with_redis("overtaken", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let [one, two] = [instance(&stage, server), instance(&stage, server)];
        let mut browser = stage.signed_in_at(&one, "alice").await;
        let go = waiting(&stage, browser.at(&two)).await;

        let gate = Arc::new(Semaphore::new(0));
        *stage.authority.gate.lock().unwrap() = Some(Arc::clone(&gate));
        stage
            .middle_tier
            .challenge(401, "Bearer error=\"invalid_token\"");
        let mut tab = browser.tab();
        tab.at(&one);
        let call = async move { tab.fetch(Method::GET, "/api/api", "").await.status };
        let call = tokio::spawn(call);
        let mut look = interval(Duration::from_millis(1));
        while stage.authority.token_requests("refresh_token") == 0 {
            look.tick().await;
        }
        let landed = browser.at(&two).sign_in(&go, "alice").await;
        gate.add_permits(1);
        assert_eq!(call.await.unwrap(), StatusCode::OK);
        let done = browser.fetch(Method::POST, &run(&landed), "").await;
        assert_eq!(done.status, StatusCode::OK);
        let seen = stage.middle_tier.seen.lock().unwrap();
        // Token request 1 was the sign-in, 2 the refresh, 3 the step-up.
        for (_, _, headers, _) in &seen[seen.len() - 2..] {
            assert_eq!(headers["authorization"], "Bearer access-token-3");
        }
    })
    .await;
}

#[tokio::test]
async fn a_restart_of_the_service_in_the_middle_of_a_step_up_loses_nothing() {
    with_redis("restarted", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let mut browser = stage.signed_in_at(&instance(&stage, server), "alice").await;
        let go = waiting(&stage, &mut browser).await;
        // A new process before each step.
        let request = browser.at(&instance(&stage, server)).get(&go).await.url();
        let callback = come_back(&request, "alice");
        let landed = browser.at(&instance(&stage, server)).get(&callback).await;
        let run = run(&landed);
        let page = browser.at(&instance(&stage, server)).get(landed.location());
        assert!(page.await.text.contains("data-path=\"/api/change\""));
        browser.at(&instance(&stage, server));
        let done = browser.fetch(Method::POST, &run, "").await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
        let seen = stage.middle_tier.seen.lock().unwrap();
        assert_eq!(seen.len(), 2);
        assert_eq!(seen[1].3.as_ref(), b"the change");
    })
    .await;
}

/// What everybody is told while Redis is away.
async fn nobody_is_signed_out(browser: &mut Browser, callback: &str, run: &str) {
    for path in [
        "/",
        "/id-token",
        "/auth/sign-in",
        "/auth/step-up?op=x",
        callback,
    ] {
        let page = browser.get(path).await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(page.headers[RETRY_AFTER], "5");
        assert!(page.text.contains("Sessions cannot be reached"), "{path}");
        assert!(browser.set_cookies.is_empty(), "{path}");
    }
    for (method, path) in [
        (Method::GET, "/session"),
        (Method::GET, "/api/api"),
        (Method::POST, run),
        (Method::POST, "/auth/sign-out"),
    ] {
        let page = browser.fetch(method, path, "").await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE, "{path}");
        assert_eq!(page.error(), "sessions_unavailable", "{path}");
        assert_eq!(page.headers[RETRY_AFTER], "5");
        assert!(browser.set_cookies.is_empty(), "{path}");
    }
    let ready = browser.get("/readyz").await;
    assert_eq!(ready.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        ready.json(),
        json!({ "authority": true, "middle_tier": true, "sessions": false })
    );
    assert_eq!(browser.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn redis_restarted_with_its_data_in_the_middle_of_a_step_up() {
    with_redis("durable", DURABLE, async |server| {
        let stage = Stage::new().await;
        let instance = instance(&stage, server);
        let mut browser = stage.signed_in_at(&instance, "alice").await;
        assert_eq!(browser.get("/readyz").await.json()["sessions"], true);
        let go = waiting(&stage, &mut browser).await;
        let callback = come_back(&browser.get(&go).await.url(), "alice");
        let run = go.replace("/auth/step-up?op=", "/api/ops/");

        server.kill().await;
        nobody_is_signed_out(&mut browser, &callback, &run).await;

        server.start().await;
        assert_eq!(browser.get("/readyz").await.status, StatusCode::OK);
        let landed = browser.get(&callback).await;
        assert!(landed.location().starts_with("/?op="), "{}", landed.text);
        let done = browser.fetch(Method::POST, &run, "").await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
        let again = browser.fetch(Method::POST, &run, "").await;
        assert_eq!(again.error(), "operation_sent");
        assert_eq!(calls(&stage), 2);
    })
    .await;
}

#[tokio::test]
async fn redis_restarted_empty_in_the_middle_of_a_step_up() {
    with_redis("forgetful", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let instance = instance(&stage, server);
        let mut browser = stage.signed_in_at(&instance, "alice").await;
        let go = waiting(&stage, &mut browser).await;
        let callback = come_back(&browser.get(&go).await.url(), "alice");
        let run = go.replace("/auth/step-up?op=", "/api/ops/");

        server.kill().await;
        nobody_is_signed_out(&mut browser, &callback, &run).await;

        server.start().await;
        let mut tab = browser.tab();
        let lost = tab.get(&callback).await;
        assert_eq!(lost.status, StatusCode::BAD_REQUEST);
        assert!(lost.text.contains("href=\"/auth/sign-in\"") && lost.text.contains("was sent"));
        let mut tab = browser.tab();
        let lost = tab.get(&go).await;
        assert_eq!(lost.status, StatusCode::UNAUTHORIZED);
        assert!(lost.text.contains("not carried out") && lost.text.contains("/auth/sign-in"));
        let lost = browser.fetch(Method::POST, &run, "").await;
        assert_eq!(
            (lost.status, lost.error().as_str(), lost.go().as_str()),
            (
                StatusCode::UNAUTHORIZED,
                "sign_in_required",
                "/auth/sign-in"
            )
        );
        assert!(lost.text.contains("Nothing was sent"), "{}", lost.text);
        assert_eq!(calls(&stage), 1);

        browser.sign_in("/auth/sign-in", "alice").await;
        browser.draw_page().await;
        let page = browser.fetch(Method::GET, "/api/api", "").await;
        assert_eq!(page.status, StatusCode::OK);
        let gone = browser.fetch(Method::POST, &run, "").await;
        assert_eq!(gone.error(), "operation_unknown");
    })
    .await;
}

#[tokio::test]
async fn a_redis_that_does_not_answer_holds_nobody_up() {
    with_redis("stopped", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let patient = instance(&stage, server);
        let mut browser = stage.signed_in_at(&patient, "alice").await;
        let hasty = stage.instance(|config| {
            config.sessions = server.sessions(SECRET, None);
            config.sessions.as_mut().unwrap().timeout_ms = Some(100);
        });
        server.stop().await;
        let began = Instant::now();
        let page = browser.at(&hasty).get("/").await;
        assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
        assert!(began.elapsed() >= Duration::from_millis(100));
        assert!(began.elapsed() < Duration::from_secs(3));
        server.resume().await;
        let session = browser.at(&patient).draw_page().await;
        assert_eq!(session["name"], "alice");
    })
    .await;
}

#[tokio::test]
async fn a_dump_of_redis_tells_nothing() {
    with_redis("sealed", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let instance = stage.instance(|config| {
            config.sessions = server.sessions(SECRET, None);
            config.id_token_hint = true;
        });
        let mut browser = stage.signed_in_at(&instance, "alice").await;
        let go = waiting(&stage, &mut browser).await;
        let request = browser.get(&go).await.url();
        let sent = go.replace("/auth/step-up?op=", "/api/ops/");

        // A session, a seat, a transaction, an operation and the list of them.
        let mut dump = server.dump().await;
        assert_eq!(dump.len(), 5, "{:?}", dump.iter().map(|(key, _)| key));
        browser.fetch(Method::POST, &sent, "").await;
        dump.extend(server.dump().await);
        let mut known: Vec<String> = [
            "access-token",
            "refresh-token",
            "eyJ",
            "alice",
            "contoso",
            "oid-",
            "c1\"",
            "the change",
            "dGhlIGNoYW5nZQ",
            "/change",
            "user_impersonation",
            "seat",
            "POST",
            SECRET,
        ]
        .map(str::to_owned)
        .to_vec();
        known.extend(browser.cookies.iter().flat_map(|(name, value)| {
            let id = name.trim_start_matches("__Host-spa-tx-").to_owned();
            [id, value.clone()]
        }));
        known.push(browser.session_token.clone());
        known.push(go.replace("/auth/step-up?op=", ""));
        known.extend(["state", "nonce"].map(|name| param(&request, name)));
        for (key, value) in dump {
            assert!(key.starts_with("spa-backend:"), "{key}");
            let seen = [key.into_bytes(), value].concat();
            for known in &known {
                let part = &known.as_bytes()[..known.len().min(12)];
                assert!(
                    !seen.windows(part.len()).any(|window| window == part),
                    "{known}"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn the_sealing_secret_is_replaced_without_signing_anybody_out() {
    with_redis("rotated", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let sealed = |secret, previous| {
            stage.instance(|config| config.sessions = server.sessions(secret, previous))
        };
        let old = sealed(SECRET, Some(NEWER));
        let new = sealed(NEWER, Some(SECRET));
        let mut browser = stage.signed_in_at(&old, "alice").await;
        let go = waiting(&stage, &mut browser).await;
        let landed = browser.at(&new).sign_in(&go, "alice").await;
        let run = run(&landed);
        let done = browser.at(&old).fetch(Method::POST, &run, "");
        assert_eq!(done.await.status, StatusCode::OK);
        let again = browser.at(&new).fetch(Method::POST, &run, "");
        assert_eq!(again.await.status, StatusCode::GONE);

        let stranger = sealed("ffffffffffffffffffffffffffffff01", None);
        let session = browser.at(&stranger).draw_page().await;
        assert_eq!(session, json!({ "signed_in": false }));
    })
    .await;
}

#[tokio::test]
async fn an_operation_that_met_no_api_runs_at_another_instance_once() {
    with_redis("unsent", FORGETFUL, async |server| {
        let stage = Stage::new().await;
        let live = instance(&stage, server);
        let lost = stage.instance(|config| {
            config.sessions = server.sessions(SECRET, None);
            config.middle_tier = "http://127.0.0.1:1".parse().unwrap();
        });
        let mut browser = stage.signed_in_at(&live, "alice").await;
        let go = waiting(&stage, &mut browser).await;
        let run = run(&browser.sign_in(&go, "alice").await);
        let page = browser.at(&lost).fetch(Method::POST, &run, "").await;
        assert_eq!(page.error(), "api_unreachable", "{}", page.text);
        let done = browser.at(&live).fetch(Method::POST, &run, "").await;
        assert_eq!(done.status, StatusCode::OK, "{}", done.text);
        let again = browser.at(&lost).fetch(Method::POST, &run, "").await;
        assert_eq!(again.error(), "operation_sent");
        assert_eq!(calls(&stage), 2);
    })
    .await;
}
