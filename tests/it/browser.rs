//! The story in Chromium: what only a browser shows (cookies across sites, the page's script, what a person sees).

use demo_services::config::ResponseMode;
use integration_tests::{
    browser::{Browser, with_browser},
    world::World,
};
use local_authority::{Endpoint, Fault};
use serde_json::{Value, json};

async fn sign_in(browser: &Browser, world: &World) {
    browser.goto(world.demo.spa().as_str()).await;
    browser.click("#sign-in").await;
    browser
        .type_into("#username", "alice@contoso.example")
        .await;
    browser.type_into("#password", "alice-in-wonderland").await;
    browser.click("button.primary").await;
    browser.wait_for_text("#user", "Alice").await;
}

async fn sign_in_and_call(browser: &Browser, world: &World, site: &str) {
    let shot = async |moment: &str| browser.screenshot(&format!("{site}-{moment}")).await;
    browser.goto(world.demo.spa().as_str()).await;
    browser.wait_for("#sign-in").await;
    shot("1-signed-out").await;

    browser.click("#sign-in").await;
    browser
        .type_into("#username", "alice@contoso.example")
        .await;
    browser.type_into("#password", "alice-in-wonderland").await;
    shot("2-sign-in").await;
    browser.click("button.primary").await;
    browser.wait_for_text("#user", "Alice").await;

    browser.click("#call-api").await;
    browser.wait_for_text("#status", "Stronger sign-in").await;
    shot("3-step-up").await;

    browser.click("#continue").await;
    browser.wait_for("#code").await;
    browser.type_into("#code", "123456").await;
    shot("4-mfa").await;
    browser.click("button.primary").await;

    browser.wait_for_text("#status", "succeeded").await;
    let result = browser.text("#result").await;
    for part in [
        "name",
        "Alice Liddell",
        "issued-by",
        "issued-for",
        "scope",
        "user_impersonation",
    ] {
        assert!(result.contains(part), "{part} in {result}");
    }
    shot("5-completed").await;

    // A reload shows the page and sends nothing again.
    browser.goto(world.demo.spa().as_str()).await;
    browser
        .wait_for_text("#status", "Nothing has been called")
        .await;

    browser.click("#secure").await;
    browser.wait_for_text("#status", "Stronger sign-in").await;
    browser.click("#continue").await;
    browser.wait_for_text("#status", "succeeded").await;
    shot("6-secure").await;

    browser.click("#call-grpc").await;
    browser.click("#call-api").await;
    browser
        .wait_for_text("#status", "Call API over gRPC succeeded")
        .await;

    browser.click("#sign-out").await;
    browser.wait_for("#sign-in").await;
    shot("7-signed-out").await;
}

#[tokio::test]
async fn the_call_completes_with_the_authority_on_another_site() {
    with_browser("cross-site", async |browser| {
        let world = World::start_with(|options| options.authority_host = "127.0.0.1".into()).await;
        sign_in_and_call(browser, &world, "cross-site").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_call_completes_with_the_authority_on_the_same_site() {
    with_browser("same-site", async |browser| {
        let world = World::start().await;
        sign_in_and_call(browser, &world, "same-site").await;
        world.stop().await;
    })
    .await;
}

/// The answer comes as a form from the authority's page: what cookies come along with it only a browser knows.
async fn sign_in_and_step_up_by_form(host: &str) {
    with_browser("form-post", async |browser| {
        let world = World::start_with(|options| {
            options.authority_host = host.into();
            options.response_mode = ResponseMode::FormPost;
        })
        .await;
        sign_in(browser, &world).await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        browser.click("#continue").await;
        browser.type_into("#code", "123456").await;
        browser.click("button.primary").await;
        browser.wait_for_text("#status", "succeeded").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_answer_may_come_by_form_from_another_site() {
    sign_in_and_step_up_by_form("127.0.0.1").await;
}

#[tokio::test]
async fn the_answer_may_come_by_form_from_the_same_site() {
    sign_in_and_step_up_by_form("localhost").await;
}

#[tokio::test]
async fn a_call_that_failed_for_a_while_can_be_made_anew() {
    with_browser("outage", async |browser| {
        let world = World::start().await;
        let authority = world.demo.authority();
        sign_in(browser, &world).await;
        authority.fail_next(Endpoint::Token, 100, Fault::status(503));
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "did not succeed").await;
        authority.fail_next(Endpoint::Token, 0, Fault::default());
        browser.click("#again").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        assert_eq!(browser.text("#again").await, "", "not offered any more");
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_sign_out_that_fails_is_no_success_on_any_page() {
    with_browser("sign-out-fails", async |browser| {
        let world = World::start().await;
        sign_in(browser, &world).await;
        // The answer of the sign-out; `null` breaks the connection, and without one the backend itself is asked.
        let script = "const real = window.fetch;\
            window.fetch = (path, options) => {\
              if (path !== '/auth/sign-out' || window.answer === undefined) return real(path, options);\
              if (window.answer === null) return Promise.reject(new TypeError('broken'));\
              const [status, body] = window.answer;\
              return Promise.resolve(new Response(JSON.stringify(body), { status }));\
            };";
        browser
            .devtools("Page.addScriptToEvaluateOnNewDocument", json!({ "source": script }))
            .await;
        let answering = async |answer: Value| {
            let set = "window.answer = arguments[0]";
            browser.execute(set, &[answer]).await;
            browser.click("#sign-out").await;
        };
        let draft = async || {
            let read = "return sessionStorage.getItem('profile-draft')";
            browser.execute(read, &[]).await
        };
        let keep = "sessionStorage.setItem('profile-draft', '{}')";
        let failures = [
            (Value::Null, "There was no answer"),
            (json!([500, {}]), "status 500"),
            (json!([503, { "error": "sessions_unavailable", "detail": "Come again." }]), "Come again."),
            (json!([200, "a portal's own page"]), "There was no answer"),
            (json!([403, { "error": "page_out_of_date", "detail": "Out of date.", "go": "/" }]), "Load this page again"),
        ];
        for page in ["/", "/id-token", "/profile"] {
            let url = world.demo.spa().join(page).unwrap();
            browser.goto(url.as_str()).await;
            if page == "/profile" {
                browser.wait_for_text("#profile", "Alice Liddell").await;
            }
            browser.execute(keep, &[]).await;
            for (answer, said) in &failures {
                answering(answer.clone()).await;
                let notice = browser.wait_for_text("#sign-out-notice", said).await;
                assert!(notice.contains("Signing out did not succeed."), "{page}: {notice}");
                assert_eq!(browser.url().await, url.as_str());
                let focused = "return document.activeElement.id";
                assert_eq!(browser.execute(focused, &[]).await, "sign-out", "{page}");
                assert_eq!(draft().await, "{}", "{page}");
            }
            if page == "/" {
                browser.screenshot("sign-out-failed").await;
            }
            // The session has ended before.
            answering(json!([401, { "error": "sign_in_required" }])).await;
            browser.wait_for("#call-api").await;
            browser
                .wait_until("the draft is gone", async || draft().await.is_null().then_some(()))
                .await;
        }

        // It succeeds, and what was typed goes with it from any page.
        browser.goto(world.demo.spa().join("/id-token").unwrap().as_str()).await;
        browser.execute(keep, &[]).await;
        browser.click("#sign-out").await;
        browser.wait_for("#sign-in").await;
        assert_eq!(draft().await, Value::Null);
        world.stop().await;
    })
    .await;
}
