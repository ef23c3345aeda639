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

#[tokio::test]
async fn a_demand_for_a_later_sign_in_asks_for_the_password() {
    let authority = Harness::start().await;
    let mut browser = signed_in(&authority).await;
    authority.clock.advance(10);
    let nbf = format!(
        r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{}"}}}}}}"#,
        crate::harness::START + 5
    );
    let page = authority.authorize(&browser, &[("claims", &nbf)]).await;
    assert!(page.is_sign_in());
    assert!(
        authority
            .sign_in(&mut browser, &page, "alice")
            .await
            .parameters()
            .contains_key("code")
    );
    // A demand ahead of this clock is met by a sign-in now; another round could not do better.
    let ahead = nbf.replace(
        &(crate::harness::START + 5).to_string(),
        &(crate::harness::START + 60).to_string(),
    );
    authority.clock.advance(10);
    let page = authority.authorize(&browser, &[("claims", &ahead)]).await;
    assert!(page.is_sign_in());
    assert!(
        authority
            .sign_in(&mut browser, &page, "alice")
            .await
            .parameters()
            .contains_key("code")
    );
}

#[tokio::test]
async fn an_old_sign_in_is_repeated_on_the_page() {
    let authority = Harness::with(|directory| {
        directory
            .policy_mut("Step-up for c1")
            .unwrap()
            .sign_in_frequency = Some(3600)
    })
    .await;
    let mut browser = signed_in(&authority).await;
    authority.clock.advance(3601);
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    assert!(page.is_sign_in());
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_mfa());
    assert!(
        authority
            .confirm(&mut browser, &page)
            .await
            .parameters()
            .contains_key("code")
    );
}

#[tokio::test]
async fn one_of_several_contexts_is_enough() {
    let authority = Harness::with(|directory| {
        let mut other = directory.policy("Step-up for c1").unwrap().clone();
        other.name = "c2 is closed".into();
        other.id = directory.users[0].oid;
        other.target = local_authority::Target::AuthContext("c2".into());
        other.require = Require::Block;
        directory.policies.push(other);
    })
    .await;
    let mut browser = signed_in(&authority).await;
    let either = r#"{"access_token":{"acrs":{"essential":true,"values":["c2","c1"]}}}"#;
    let page = authority.authorize(&browser, &[("claims", either)]).await;
    assert!(page.is_mfa());
    let code = authority.confirm(&mut browser, &page).await.parameters()["code"].clone();
    let body = authority.redeem(&code, &[]).await.json();
    assert_eq!(
        claims(body["access_token"].as_str().unwrap())["acrs"],
        serde_json::json!(["c1"])
    );
}
