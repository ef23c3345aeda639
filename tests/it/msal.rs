//! MSAL.js in Chromium as the client: signs in, reads the middle tier's challenge, answers it, and the same call completes by itself.

use std::{io::Write as _, path::PathBuf};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use demo_services::demo::Https;
use integration_tests::{
    browser::{Browser, with_browser_that_trusts},
    world::{World, https},
};
use local_authority::{Consent, Endpoint, Fault, Mfa};
use serde_json::{Value, json};

/// Where `tests/clients/run` installs the package.
const INSTALLED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/clients");

/// Runs a story at the page of MSAL.js. Without the package it is skipped with a line that says so; under `CI=true` that is a failure.
async fn with_msal(name: &str, story: impl AsyncFnOnce(&Browser, &World)) {
    let installed = PathBuf::from(INSTALLED);
    if !installed.join("node_modules/@azure/msal-browser").exists() {
        assert!(
            std::env::var_os("CI").is_none_or(|ci| ci != "true"),
            "MSAL.js not found, and CI=true allows no skipped story"
        );
        // Not `eprintln!`, which the test runner keeps to itself when a test passes.
        let _ = writeln!(
            std::io::stderr(),
            "{name} skipped: MSAL.js not found (tests/clients/run --packages)"
        );
        return;
    }
    let (https, ca) = https();
    with_browser_that_trusts(&ca, name, async |browser| {
        let world = start(https, installed).await;
        story(browser, &world).await;
        world.stop().await;
    })
    .await;
}

async fn start(https: Https, installed: PathBuf) -> World {
    World::start_with(|options| {
        options.https = Some(https);
        options.msal = Some(installed);
        // Another site, as in production.
        options.authority_host = "127.0.0.1".into();
    })
    .await
}

async fn open(browser: &Browser, world: &World) {
    browser.goto(&page(world)).await;
    browser
        .wait_for_text("#status", "Nothing has been called")
        .await;
}

fn page(world: &World) -> String {
    world.demo.spa().join("/msal").unwrap().into()
}

async fn give_password(browser: &Browser, user: &str, password: &str) {
    let name = format!("{user}@contoso.example");
    browser.type_into("#username", &name).await;
    browser.type_into("#password", password).await;
    browser.click("button.primary").await;
}

async fn sign_in(browser: &Browser, world: &World) {
    open(browser, world).await;
    browser.click("#sign-in").await;
    give_password(browser, "alice", "alice-in-wonderland").await;
    browser.wait_for_text("#user", "Alice").await;
    browser.wait_for_text("#status", "Signed in").await;
}

async fn give_code(browser: &Browser) {
    browser.type_into("#code", "123456").await;
    browser.click("button.primary").await;
}

/// The page as it is, on a phone in the dark.
async fn look_at_phone_and_dark(browser: &Browser) {
    let phone = json!({ "width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": true });
    let dark = json!({ "features": [{ "name": "prefers-color-scheme", "value": "dark" }] });
    browser
        .devtools("Emulation.setDeviceMetricsOverride", phone)
        .await;
    browser.devtools("Emulation.setEmulatedMedia", dark).await;
    let script = "return document.documentElement.scrollWidth - window.innerWidth";
    let over = browser.execute(script, &[]).await;
    browser.whole_page("msal-5-phone-dark").await;
    assert!(over.as_i64().unwrap() <= 0, "scrolls sideways by {over}");
    browser
        .devtools("Emulation.clearDeviceMetricsOverride", json!({}))
        .await;
    let none = json!({ "features": [] });
    browser.devtools("Emulation.setEmulatedMedia", none).await;
}

/// What waits in the tab's storage; MSAL's own entries are not ours to look at.
async fn waiting(browser: &Browser) -> Value {
    let script =
        "return Object.keys(sessionStorage).filter(key => key.startsWith('tower-bearer.waiting'))";
    browser.execute(script, &[]).await
}

async fn no_token_is_shown(browser: &Browser) {
    let text = browser
        .execute("return document.documentElement.outerHTML", &[])
        .await;
    let text = text.as_str().unwrap();
    // How every JWT begins.
    assert!(
        !text.contains("eyJ0eXAi") && !text.contains("eyJhbGci"),
        "{text}"
    );
}

#[tokio::test]
async fn the_call_completes_by_itself_after_the_challenge_is_answered() {
    with_msal("msal", async |browser, world| {
        sign_in(browser, world).await;
        browser.whole_page("msal-1-signed-in").await;

        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        let header = browser.text("#challenge-header").await;
        assert!(header.starts_with("Bearer realm="), "{header}");
        assert!(header.contains("error=\"insufficient_claims\""), "{header}");
        let claims: Value = serde_json::from_str(&browser.text("#challenge-claims").await).unwrap();
        assert!(claims["access_token"].is_object(), "{claims}");
        no_token_is_shown(browser).await;
        browser.whole_page("msal-2-challenge").await;

        browser.click("#continue").await;
        give_code(browser).await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        browser.wait_for_text("#result", "Alice Liddell").await;
        assert_eq!(waiting(browser).await, json!([]));
        no_token_is_shown(browser).await;
        browser.whole_page("msal-3-completed").await;
        look_at_phone_and_dark(browser).await;

        // The new token is in MSAL's cache: no second demand, and no request for a token.
        let before = world.asked(Endpoint::Token);
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        browser.wait_for_text("#facts", "Status 200").await;
        assert_eq!(world.asked(Endpoint::Token), before);

        // The API's own demand; the second factor is fresh, so the authority shows no page.
        browser.click("#secure").await;
        browser.wait_for_text("#challenge-claims", "c1").await;
        browser.click("#continue").await;
        browser.wait_for_text("#status", "Secure succeeded").await;

        // A reload calls nothing.
        open(browser, world).await;
        assert_eq!(browser.text("#user strong").await, "Alice Liddell");

        browser.click("#sign-out").await;
        browser.wait_for("#sign-in").await;
        let accounts = browser
            .execute(
                "return Object.keys(sessionStorage).filter(key => key.includes('accesstoken'))",
                &[],
            )
            .await;
        assert_eq!(accounts, json!([]));
    })
    .await;
}

#[tokio::test]
async fn two_demands_of_one_call_are_answered_one_after_the_other() {
    with_msal("msal-secure", async |browser, world| {
        sign_in(browser, world).await;
        browser.click("#secure").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        browser.click("#continue").await;
        give_code(browser).await;
        browser.wait_for_text("#status", "Secure succeeded").await;
        assert_eq!(waiting(browser).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn an_api_that_is_never_satisfied_is_asked_no_more_than_thrice() {
    with_msal("msal-loop", async |browser, world| {
        sign_in(browser, world).await;
        // A middle tier that demands something for ever: what it answers is decided in front of it.
        let header = format!(
            "Bearer error=\"insufficient_claims\", claims=\"{}\"",
            STANDARD.encode(r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#)
        );
        let middle = world.demo.middle_tier().as_str().trim_end_matches('/');
        let script = format!(
            "const real = window.fetch; window.calls = 0; window.fetch = (target, ...rest) => {{\
             if (!String(target).startsWith({middle:?})) return real(target, ...rest);\
             sessionStorage.setItem('calls', Number(sessionStorage.getItem('calls')) + 1);\
             return Promise.resolve(new Response('', {{ status: 401, headers: {{ 'www-authenticate': {header:?} }} }})); }};"
        );
        let source = json!({ "source": script });
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", source).await;
        open(browser, world).await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        browser.click("#continue").await;
        give_code(browser).await;
        browser.wait_for_text("#status", "asks again and again").await;
        let calls = browser.execute("return sessionStorage.getItem('calls')", &[]).await;
        assert_eq!(calls, "3");
        assert_eq!(waiting(browser).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn a_popup_does_as_well_and_where_it_is_blocked_the_window_goes_itself() {
    with_msal("msal-popup", async |browser, world| {
        open(browser, world).await;
        browser.click("#popup").await;
        browser.execute("window.open = () => null", &[]).await;
        browser.click("#sign-in").await;
        give_password(browser, "alice", "alice-in-wonderland").await;
        browser.wait_for_text("#status", "Signed in").await;
        assert_eq!(
            browser
                .execute("return document.querySelector('#popup').checked", &[])
                .await,
            true
        );

        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        browser.click("#continue").await;
        let main = browser.window().await;
        browser.switch_to_other_than(&main).await;
        give_code(browser).await;
        browser.switch_to(&main).await;
        browser.wait_for_text("#status", "Call API succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn what_goes_wrong_is_said_in_words_with_the_way_on() {
    with_msal("msal-errors", async |browser, world| {
        // Cancelled at the authority.
        open(browser, world).await;
        browser.click("#sign-in").await;
        browser.click("button[name=cancel]").await;
        browser.wait_for_text("#status", "cancelled").await;

        // No second factor.
        browser.click("#sign-in").await;
        give_password(browser, "carol", "carol-of-the-bells").await;
        browser.wait_for_text("#user", "Carol").await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        browser.click("#continue").await;
        browser.wait_for_text("#status", "no second factor").await;
        assert_eq!(waiting(browser).await, json!([]));

        // Registered since, and the authority away for the middle tier.
        let authority = world.demo.authority();
        authority
            .set_mfa("carol", Mfa::Registered, Some("123456"))
            .unwrap();
        authority.fail_next(Endpoint::Token, 100, Fault::status(503));
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "at this moment").await;
        authority.fail_next(Endpoint::Token, 0, Fault::default());
        browser.whole_page("msal-4-error").await;

        // The API itself cannot be reached.
        let urls = json!({ "urls": [format!("{}*", world.demo.middle_tier())] });
        browser.devtools("Network.enable", json!({})).await;
        browser.devtools("Network.setBlockedURLs", urls).await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "not reachable").await;
        let script = "return document.querySelector('#look').href";
        let look = browser.execute(script, &[]).await;
        assert_eq!(
            look,
            world.demo.middle_tier().join("/healthz").unwrap().as_str()
        );
        let none = json!({ "urls": [] });
        browser.devtools("Network.setBlockedURLs", none).await;
    })
    .await;
}

#[tokio::test]
async fn a_revoked_person_signs_in_again_and_the_call_completes() {
    with_msal("msal-revoked", async |browser, world| {
        assert!(
            world
                .demo
                .authority()
                .set_policy("MFA for the downstream API", false)
        );
        sign_in(browser, world).await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Call API succeeded").await;

        assert!(world.demo.authority().revoke("alice"));
        // Another call than before, for which the middle tier has no token yet.
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", true);
        browser.click("#secure").await;
        browser.wait_for("#continue").await;
        browser.click("#continue").await;
        give_password(browser, "alice", "alice-in-wonderland").await;
        give_code(browser).await;
        browser.wait_for_text("#status", "Secure succeeded").await;
    })
    .await;
}

#[tokio::test]
async fn missing_consent_is_given_and_the_call_completes() {
    with_msal("msal-consent", async |browser, world| {
        let authority = world.demo.authority();
        assert!(authority.set_policy("MFA for the downstream API", false));
        sign_in(browser, world).await;
        assert!(authority.set_consent("middle-tier", Consent::Required));
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Consent is missing").await;
        browser.click("#continue").await;
        browser.click("button[name=accept]").await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        assert_eq!(waiting(browser).await, json!([]));
    })
    .await;
}

#[tokio::test]
async fn the_account_is_chosen_where_there_are_several() {
    with_msal("msal-accounts", async |browser, world| {
        sign_in(browser, world).await;
        browser.click("#another").await;
        give_password(browser, "bob", "bob-the-builder").await;
        browser.wait_for_text("#user", "Bob").await;
        let accounts = browser.text("#account").await;
        assert!(accounts.contains("alice@") && accounts.contains("bob@"), "{accounts}");
        let script = "const select = document.querySelector('#account'); \
                      select.value = [...select.options].find(option => option.text.startsWith('alice')).value; \
                      select.dispatchEvent(new Event('change'))";
        browser.execute(script, &[]).await;
        browser.wait_for_text("#user", "Alice").await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        assert_eq!(browser.text("#user strong").await, "Alice Liddell");
    })
    .await;
}

/// What `demand` makes of headers, in the page itself.
#[tokio::test]
async fn hostile_headers_make_no_demand() {
    with_msal("msal-parser", async |browser, world| {
        open(browser, world).await;
        let claims = r#"{"access_token":{"acrs":{"essential":true,"value":"c1"}}}"#;
        let c = STANDARD.encode(claims);
        let url_safe = c.replace('+', "-").replace('/', "_");
        let bare = url_safe.trim_end_matches('=');
        let with = |error: &str| json!({ "error": error, "claims": claims });
        let none = json!({ "error": "insufficient_claims", "claims": null });
        let other = |json: &str| format!("Bearer error=\"insufficient_claims\", claims=\"{}\"", STANDARD.encode(json));
        let rows = [
            // In order.
            (format!("Bearer realm=\"r\", error=\"insufficient_claims\", claims=\"{c}\""), with("insufficient_claims")),
            (format!("bearer CLAIMS={bare}, Error=invalid_token"), with("invalid_token")),
            (format!("Bearer claims=\"{c}\""), json!({ "error": null, "claims": claims })),
            (format!("Bearer realm = \"a, b\" ,, error=\"insufficient_claims\"\t,claims=\"{c}\","), with("insufficient_claims")),
            (format!("Negotiate YII==, Basic realm=\"x\", Bearer error=\"insufficient_claims\", claims=\"{c}\""), with("insufficient_claims")),
            (format!("Bearer realm=\"r\", Bearer error=\"insufficient_claims\", claims=\"{c}\", Negotiate"), with("insufficient_claims")),
            (format!("Bearer realm=\"\\\"\\\\\", error=\"insufficient_\\claims\", claims=\"{c}\""), with("insufficient_claims")),
            // What is not demanded of this page.
            (format!("Basic realm=\"Bearer error=\\\"insufficient_claims\\\", claims=\\\"{c}\\\"\""), Value::Null),
            (format!("Basic realm=\"x\", error=\"insufficient_claims\", claims=\"{c}\""), Value::Null),
            (format!("Bearer realm=\"r, claims=\\\"{c}\\\"\", error=\"insufficient_claims\""), none.clone()),
            (format!("Bearer error=\"insufficient_scope\", claims=\"{c}\""), json!({ "error": "insufficient_scope", "claims": null })),
            (format!("Bearer error=\"insufficient_claims\", claims=\"{c}\", claims=\"{c}\""), Value::Null),
            // No grammar.
            (format!("Bearer error=\"insufficient_claims\", claims=\"{c}"), Value::Null),
            (format!("Bearer error=\"insufficient_claims\" claims=\"{c}\""), Value::Null),
            (format!("Bearer error=\"insufficient_claims\"; claims=\"{c}\""), Value::Null),
            (format!("error=\"insufficient_claims\", claims=\"{c}\""), Value::Null),
            (format!("Bearer abc, error=\"insufficient_claims\", claims=\"{c}\""), Value::Null),
            (format!("Bearer error=\"insufficient_claims\", claims={claims}"), Value::Null),
            ("Bearer \u{0}error=\"x\"".to_owned(), Value::Null),
            (String::new(), Value::Null),
            (", ,\t,".to_owned(), Value::Null),
            (format!("Bearer {}error=\"insufficient_claims\", claims=\"{c}\"", " ".repeat(20_000)), Value::Null),
            (format!("Bearer realm=\"{}", "\\".repeat(16_000)), Value::Null),
            // No claims.
            ("Bearer error=\"insufficient_claims\", claims=\"***\"".to_owned(), none.clone()),
            ("Bearer error=\"insufficient_claims\", claims=\"/w==\"".to_owned(), none.clone()),
            (other("[]"), none.clone()),
            (other("null"), none.clone()),
            (other("{"), none.clone()),
            (other("{\"access_token\":[]}"), none.clone()),
            (other("{\"id_token\":{\"acrs\":null}}"), none.clone()),
            (other(&format!("{{\"access_token\":{{\"x\":\"{}\"}}}}", "x".repeat(9_000))), none.clone()),
            // Only the access token's part.
            (
                other("{\"id_token\":{\"auth_time\":null}, \"access_token\": {\"nbf\": {\"value\": \"1\"}}}"),
                json!({ "error": "insufficient_claims", "claims": "{\"access_token\":{\"nbf\":{\"value\":\"1\"}}}" }),
            ),
        ];
        let headers: Vec<&str> = rows.iter().map(|(header, _)| header.as_str()).collect();
        let script = "const [headers] = arguments; \
                      return import('/msal/challenge.js').then(({ demand }) => headers.map(demand))";
        let read = browser.execute(script, &[json!(headers)]).await;
        for ((header, expected), read) in rows.iter().zip(read.as_array().unwrap()) {
            assert_eq!(read, expected, "{}", header.chars().take(200).collect::<String>());
        }
        assert_eq!(read.as_array().unwrap().len(), rows.len());
    })
    .await;
}
