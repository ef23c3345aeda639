//! `response_mode=form_post`: the authority's form comes from another site, with the transaction's cookie and without the session's.

use axum::body::{Body, Bytes};
use futures_util::stream;
use http::{Method, StatusCode};
use tower_bearer::ClaimsRequest;

use super::doubles::{Browser, Page, Stage, come_back, param};
use crate::config::ResponseMode;

async fn stage() -> Stage {
    let mut stage = Stage::new().await;
    stage.router = stage.instance(|config| config.response_mode = ResponseMode::FormPost);
    stage
}

/// Posts a form as the authority's page makes the browser do: `Lax` cookies stay at home.
async fn post(browser: &mut Browser, form: &str) -> Page {
    let session = browser.cookies.remove("__Host-spa-session");
    let headers = [
        ("origin", "https://login.example"),
        ("sec-fetch-site", "cross-site"),
        ("content-type", "application/x-www-form-urlencoded"),
    ];
    let page = browser.send(Method::POST, "/auth/callback", &headers, form.to_owned());
    let page = page.await;
    let session = session.map(|session| ("__Host-spa-session".to_owned(), session));
    browser.cookies.extend(session);
    page
}

fn form(callback: &str) -> String {
    callback.strip_prefix("/auth/callback?").unwrap().to_owned()
}

/// To the authority by this path and back with a form; answers what the sign-in ends with.
async fn sign_in(browser: &mut Browser, path: &str, user: &str) -> Page {
    let request = browser.get(path).await.url();
    assert_eq!(param(&request, "response_mode"), "form_post");
    let kept = post(browser, &form(&come_back(&request, user))).await;
    assert_eq!(kept.status, StatusCode::SEE_OTHER, "{}", kept.text);
    assert!(browser.set_cookies.is_empty(), "{:?}", browser.set_cookies);
    let state = param(&request, "state");
    assert_eq!(kept.location(), format!("/auth/callback?state={state}"));
    browser.get(kept.location()).await
}

#[tokio::test]
async fn a_sign_in_and_a_step_up_come_back_by_form() {
    let stage = stage().await;
    let mut browser = stage.browser();
    let landed = sign_in(&mut browser, "/auth/sign-in?return_to=/id-token", "alice").await;
    assert_eq!(landed.location(), "/id-token", "{}", landed.text);
    assert_eq!(browser.cookies.len(), 1, "{:?}", browser.cookies);
    assert_eq!(browser.draw_page().await["name"], "alice");

    let claims = ClaimsRequest::acrs("c1").unwrap().to_base64();
    let challenge = format!("Bearer error=\"insufficient_claims\", claims=\"{claims}\"");
    stage.middle_tier.challenge(401, &challenge);
    let go = browser
        .fetch(Method::POST, "/api/change", "change")
        .await
        .go();
    let landed = sign_in(&mut browser, &go, "alice").await;
    let run = landed.location().replace("/?op=", "/api/ops/");
    let done = browser.fetch(Method::POST, &run, "").await;
    assert_eq!(done.status, StatusCode::OK, "{}", done.text);
    assert_eq!(stage.middle_tier.calls(), 2);
}

#[tokio::test]
async fn a_form_for_another_browsers_state_is_refused() {
    let stage = stage().await;
    let (mut alice, mut mallory) = (stage.browser(), stage.browser());
    let request = mallory.get("/auth/sign-in").await.url();
    alice.get("/auth/sign-in").await;
    let form = form(&come_back(&request, "mallory"));
    assert_eq!(
        post(&mut alice, &form).await.status,
        StatusCode::BAD_REQUEST
    );
    // Nor does it spoil the other one's sign-in.
    let kept = post(&mut mallory, &form).await;
    assert_eq!(kept.status, StatusCode::SEE_OTHER);
    let stolen = alice.get(kept.location()).await;
    assert_eq!(stolen.status, StatusCode::BAD_REQUEST);
    assert_eq!(mallory.get(kept.location()).await.location(), "/");
    assert_eq!(stage.authority.token_requests("authorization_code"), 1);
}

#[tokio::test]
async fn a_form_is_good_once_and_so_is_what_it_leads_to() {
    let stage = stage().await;
    let mut browser = stage.browser();
    let request = browser.get("/auth/sign-in").await.url();
    let form = form(&come_back(&request, "alice"));
    let kept = post(&mut browser, &form).await;
    let cookies = browser.cookies.clone();
    let again = post(&mut browser, &form).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "a second form");
    assert_eq!(browser.get(kept.location()).await.location(), "/");
    browser.cookies.extend(cookies);
    let again = browser.get(kept.location()).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "a second end");
    let again = post(&mut browser, &form).await;
    assert_eq!(again.status, StatusCode::BAD_REQUEST, "a form after it");
    assert_eq!(stage.authority.token_requests("authorization_code"), 1);
}

#[tokio::test]
async fn without_a_form_before_it_a_callback_is_refused_and_spoils_nothing() {
    let stage = stage().await;
    let mut browser = stage.browser();
    let request = browser.get("/auth/sign-in").await.url();
    let callback = come_back(&request, "alice");
    let state = param(&request, "state");
    for early in [callback.clone(), format!("/auth/callback?state={state}")] {
        let page = browser.get(&early).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{early}");
    }
    assert_eq!(stage.authority.token_requests("authorization_code"), 0);
    let kept = post(&mut browser, &form(&callback)).await;
    assert_eq!(browser.get(kept.location()).await.location(), "/");
}

#[tokio::test]
async fn what_the_query_says_is_not_the_answer() {
    let stage = stage().await;
    let mut browser = stage.browser();
    let request = browser.get("/auth/sign-in").await.url();
    let kept = post(&mut browser, &form(&come_back(&request, "alice"))).await;
    let planted = format!("{}&code=planted&error=access_denied", kept.location());
    assert_eq!(browser.get(&planted).await.location(), "/");
    assert_eq!(browser.draw_page().await["name"], "alice");
}

#[tokio::test]
async fn errors_and_mixtures_end_in_words() {
    let stage = stage().await;
    let mut browser = stage.browser();
    for (answer, status, says) in [
        ("error=access_denied", StatusCode::OK, "not completed"),
        (
            "code=x&error=access_denied",
            StatusCode::OK,
            "not completed",
        ),
        ("code=x&error=", StatusCode::BAD_GATEWAY, "refused"),
        ("code=x&code=y", StatusCode::BAD_GATEWAY, "unusable"),
        ("", StatusCode::BAD_GATEWAY, "unusable"),
        (
            "code=x&iss=https://evil.example",
            StatusCode::BAD_REQUEST,
            "not from our",
        ),
    ] {
        let request = browser.get("/auth/sign-in").await.url();
        let form = format!("state={}&{answer}", param(&request, "state"));
        let kept = post(&mut browser, &form).await;
        assert_eq!(kept.status, StatusCode::SEE_OTHER, "{answer}");
        let page = browser.get(kept.location()).await;
        assert_eq!(page.status, status, "{answer}");
        assert!(page.text.contains(says), "{answer}: {}", page.text);
    }
    assert_eq!(stage.authority.token_requests("authorization_code"), 0);
    for nameless in ["", "code=x", "state=&code=x", "state=a&state=b&code=x", "%"] {
        let page = post(&mut browser, nameless).await;
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{nameless}");
    }
}

#[tokio::test]
async fn a_form_is_read_up_to_16_kib() {
    let stage = stage().await;
    let mut browser = stage.browser();
    let request = browser.get("/auth/sign-in").await.url();
    let form = form(&come_back(&request, "alice"));
    let padded = |length: usize| format!("{form}&x={}", "x".repeat(length - form.len() - 3));
    let page = post(&mut browser, &padded(16 * 1024 + 1)).await;
    assert_eq!(page.status, StatusCode::PAYLOAD_TOO_LARGE);
    assert!(page.text.contains("href=\"/auth/sign-in\""), "a way on");
    let page = post(&mut browser, &padded(16 * 1024)).await;
    assert_eq!(page.status, StatusCode::SEE_OTHER);
}

#[tokio::test]
async fn by_default_no_form_is_taken() {
    let stage = Stage::new().await;
    let mut browser = stage.browser();
    let request = browser.get("/auth/sign-in").await.url();
    let callback = come_back(&request, "alice");
    let page = post(&mut browser, &form(&callback)).await;
    assert_eq!(page.status, StatusCode::METHOD_NOT_ALLOWED);
    assert_eq!(browser.get(&callback).await.location(), "/");
}

#[tokio::test]
async fn a_form_that_does_not_arrive_is_late_and_waited_for_only_where_a_sign_in_began() {
    let stage = stage().await;
    let never = || Body::from_stream(stream::pending::<Result<Bytes, std::io::Error>>());
    let mut stranger = stage.browser();
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let page = stranger.send(Method::POST, "/auth/callback", &[], never());
    assert_eq!(page.await.status, StatusCode::BAD_REQUEST);
    assert!(began.elapsed() < std::time::Duration::from_secs(1));

    tokio::time::resume();
    let mut browser = stage.browser();
    browser.get("/auth/sign-in").await;
    tokio::time::pause();
    let page = browser.send(Method::POST, "/auth/callback", &[], never());
    let page = page.await;
    assert_eq!(page.status, StatusCode::REQUEST_TIMEOUT);
    assert!(page.text.contains("href=\"/auth/sign-in\""), "a way on");
}
