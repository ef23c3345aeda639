//! Sessions of the browser: single sign-on, prompts, step-up, sign-out.

use crate::harness::{Answer, Browser, C1, DOWNSTREAM, Harness, REDIRECT, capolids, claims};
use local_authority::Require;

async fn signed_in(authority: &Harness) -> Browser {
    let mut browser = Browser::default();
    authority.code(&mut browser).await;
    browser
}

#[tokio::test]
async fn a_live_session_needs_no_page() {
    let authority = Harness::start().await;
    let browser = signed_in(&authority).await;
    let answer = authority.authorize(&browser, &[]).await;
    assert_eq!(answer.status, 302);
    assert!(answer.parameters().contains_key("code"));
    assert!(
        authority
            .authorize(&Browser::default(), &[])
            .await
            .is_sign_in()
    );
}

#[tokio::test]
async fn what_asks_for_a_page_gets_one() {
    let authority = Harness::start().await;
    let browser = signed_in(&authority).await;
    for change in [
        ("prompt", "login"),
        ("prompt", "select_account"),
        ("login_hint", "bob@contoso.example"),
        ("max_age", "0"),
    ] {
        assert!(
            authority.authorize(&browser, &[change]).await.is_sign_in(),
            "{change:?}"
        );
    }
    for change in [
        ("login_hint", "ALICE@contoso.example"),
        ("max_age", "60"),
        ("prompt", "none"),
    ] {
        assert!(
            authority
                .authorize(&browser, &[change])
                .await
                .parameters()
                .contains_key("code"),
            "{change:?}"
        );
    }
    authority.clock.advance(61);
    assert!(
        authority
            .authorize(&browser, &[("max_age", "60")])
            .await
            .is_sign_in()
    );
}

#[tokio::test]
async fn prompt_none_never_shows_a_page() {
    let authority = Harness::with(|directory| {
        directory
            .app_mut("spa-backend")
            .unwrap()
            .delegated
            .push(DOWNSTREAM.into())
    })
    .await;
    let silent = ("prompt", "none");
    let mut browser = Browser::default();
    assert_eq!(
        authority.authorize(&browser, &[silent]).await.parameters()["error"],
        "login_required"
    );
    let parameters = authority
        .authorize(
            &signed_in(&authority).await,
            &[silent, ("scope", DOWNSTREAM)],
        )
        .await
        .parameters();
    assert_eq!(
        (parameters["error"].as_str(), parameters["claims"].as_str()),
        (
            "interaction_required",
            capolids(&authority.directory).as_str()
        )
    );
    assert_eq!(parameters["state"], "a b+c/%");
    authority.code(&mut browser).await;
    let parameters = authority
        .authorize(&browser, &[silent, ("claims", C1)])
        .await
        .parameters();
    assert_eq!(
        (parameters["error"].as_str(), parameters["claims"].as_str()),
        ("interaction_required", C1)
    );
    let other = authority
        .authorize(&browser, &[silent, ("login_hint", "bob@contoso.example")])
        .await;
    assert_eq!(other.parameters()["error"], "login_required");
}

#[tokio::test]
async fn an_unmet_context_goes_straight_to_the_second_factor_and_a_met_one_to_the_code() {
    let authority = Harness::start().await;
    let mut browser = signed_in(&authority).await;
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    assert!(page.is_mfa());
    let before = browser.cookie.clone();
    let code = authority.confirm(&mut browser, &page).await.parameters()["code"].clone();
    assert_ne!(browser.cookie, before, "the cookie changes at each step up");
    assert!(
        authority
            .authorize(&Browser { cookie: before }, &[])
            .await
            .is_sign_in(),
        "the old one is worth nothing"
    );
    let body = authority.redeem(&code, &[]).await.json();
    assert_eq!(
        claims(body["access_token"].as_str().unwrap())["acrs"],
        serde_json::json!(["c1"])
    );
    // The session has the second factor, but a token has the context only if it was asked for.
    let code = authority.authorize(&browser, &[]).await.parameters()["code"].clone();
    assert!(
        claims(
            authority.redeem(&code, &[]).await.json()["access_token"]
                .as_str()
                .unwrap()
        )
        .get("acrs")
        .is_none()
    );
    let code = authority
        .authorize(&browser, &[("claims", C1), ("prompt", "none")])
        .await
        .parameters()["code"]
        .clone();
    assert_eq!(
        claims(
            authority.redeem(&code, &[]).await.json()["access_token"]
                .as_str()
                .unwrap()
        )["acrs"],
        serde_json::json!(["c1"])
    );
}

#[tokio::test]
async fn who_has_no_second_factor_goes_back_with_50079() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    let parameters = authority
        .sign_in(&mut browser, &page, "carol")
        .await
        .parameters();
    assert_eq!(parameters["error"], "access_denied");
    assert!(parameters["error_description"].starts_with("AADSTS50079: "));
}

#[tokio::test]
async fn a_block_goes_back_with_53003() {
    let authority = Harness::with(|directory| {
        directory.policy_mut("Step-up for c1").unwrap().require = Require::Block
    })
    .await;
    let parameters = authority
        .authorize(&signed_in(&authority).await, &[("claims", C1)])
        .await
        .parameters();
    assert_eq!(parameters["error"], "access_denied");
    assert!(parameters["error_description"].starts_with("AADSTS53003: "));
}

#[tokio::test]
async fn missing_consent_goes_back_without_claims() {
    let authority = Harness::with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = local_authority::Consent::Required
    })
    .await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let parameters = authority
        .sign_in(&mut browser, &page, "alice")
        .await
        .parameters();
    assert_eq!(parameters["error"], "consent_required");
    assert!(
        parameters["error_description"].starts_with("AADSTS65001: ")
            && !parameters.contains_key("claims")
    );
}

#[tokio::test]
async fn sign_out_ends_the_session_and_redirects_only_where_it_may() {
    let authority = Harness::start().await;
    let spa = authority.id("spa-backend");
    let daemon = authority.id("daemon");
    for (query, goes) in [
        (
            vec![("post_logout_redirect_uri", REDIRECT), ("state", "s")],
            true,
        ),
        (
            vec![
                ("post_logout_redirect_uri", REDIRECT),
                ("client_id", spa.as_str()),
                ("state", "s"),
            ],
            true,
        ),
        (
            vec![
                ("post_logout_redirect_uri", REDIRECT),
                ("client_id", daemon.as_str()),
            ],
            false,
        ),
        (
            vec![("post_logout_redirect_uri", "https://evil.example/")],
            false,
        ),
        (vec![], false),
    ] {
        let browser = signed_in(&authority).await;
        let url =
            url::Url::parse_with_params(&authority.endpoint("oauth2/v2.0/logout"), query).unwrap();
        let answer = Answer::of(
            authority
                .http
                .get(url)
                .header("cookie", browser.cookie.as_deref().unwrap())
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(answer.status, if goes { 302 } else { 200 });
        if goes {
            assert_eq!(answer.location().as_str(), format!("{REDIRECT}?state=s"));
        }
        assert!(
            answer.headers["set-cookie"]
                .to_str()
                .unwrap()
                .contains("Max-Age=0")
        );
        assert_eq!(
            authority
                .authorize(&browser, &[("prompt", "none")])
                .await
                .parameters()["error"],
            "login_required"
        );
    }
}
