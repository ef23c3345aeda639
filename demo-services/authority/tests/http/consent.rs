//! Consent: the page, the grant, and the tokens that depend on it.

use crate::harness::{Answer, Browser, C1, Changes, Harness, MFA_POLICY, claims};
use local_authority::{Consent, Directory, TokenSpec};

const MIDDLE_DEFAULT: &str = "api://middle-tier/.default openid profile offline_access";
const ASK: (&str, &str) = ("prompt", "consent");
const SILENT: (&str, &str) = ("prompt", "none");

/// The SPA backend needs each user's consent.
async fn plain() -> Harness {
    Harness::with(|directory| {
        directory.app_mut("spa-backend").unwrap().consent = Consent::Required;
    })
    .await
}

/// The middle tier needs each user's consent to call the downstream API and leaves the asking to the SPA backend, which it knows.
fn combined(directory: &mut Directory) {
    directory.app_mut("middle-tier").unwrap().consent = Consent::Required;
}

async fn signed_in(
    authority: &Harness,
    browser: &mut Browser,
    user: &str,
    changes: Changes<'_>,
) -> Answer {
    let page = authority.authorize(browser, changes).await;
    authority.sign_in(browser, &page, user).await
}

async fn assertion(authority: &Harness, answer: &Answer, scope: &str) -> String {
    let code = answer.parameters()["code"].clone();
    let body = authority.redeem(&code, &[("scope", scope)]).await.json();
    body["access_token"].as_str().unwrap().to_owned()
}

/// The whole road of a kept operation of the SPA backend: refused On-Behalf-Of for lack of consent, consent to both tiers at once,
/// then the policy of the downstream API, then through.
#[tokio::test]
async fn combined_consent_opens_the_tier_behind() {
    let authority = Harness::with(combined).await;
    let mut browser = Browser::default();
    let answer = signed_in(&authority, &mut browser, "alice", &[]).await;
    let first = assertion(&authority, &answer, crate::harness::MIDDLE).await;
    let refused = authority.on_behalf_of(&first, &[]).await;
    assert_eq!(
        (
            refused.error_code(),
            refused.json()["suberror"].as_str(),
            refused.json().get("claims")
        ),
        (65_001, Some("consent_required"), None)
    );

    let page = authority
        .authorize(&browser, &[ASK, ("scope", MIDDLE_DEFAULT)])
        .await;
    assert!(page.is_consent(), "{}", page.text);
    for words in [
        "<strong>spa-backend</strong> would like to:",
        "<li>Use middle-tier as you (user_impersonation)</li>",
        "<li>Keep this access while you are away</li>",
        "<strong>middle-tier</strong>, which it works with, would like to:",
        "<li>Use downstream-api as you (user_impersonation)</li>",
    ] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    let answer = authority.accept(&mut browser, &page).await;
    assert_eq!(answer.status, 303);
    let second = assertion(&authority, &answer, MIDDLE_DEFAULT).await;
    // What is missing now is the second factor; consent counts for the old assertion as well.
    for assertion in [&first, &second] {
        let refused = authority.on_behalf_of(assertion, &[]).await;
        assert_eq!(refused.error_code(), 50_076);
    }
    let demand = authority.on_behalf_of(&second, &[]).await.json()["claims"].clone();
    let page = authority
        .authorize(&browser, &[("claims", demand.as_str().unwrap())])
        .await;
    let answer = authority.confirm(&mut browser, &page).await;
    let third = assertion(&authority, &answer, crate::harness::MIDDLE).await;
    let done = authority.on_behalf_of(&third, &[]).await;
    assert_eq!(done.status, 200, "{}", done.text);
    let token = done.json()["access_token"].as_str().unwrap().to_owned();
    assert_eq!(claims(&token)["scp"], "user_impersonation");

    // Bob has granted nothing.
    let bob = TokenSpec::user("bob", "middle-tier").mfa();
    let refused = authority
        .on_behalf_of(&authority.running.issue(bob), &[])
        .await;
    assert_eq!(refused.error_code(), 65_001);
}

/// For each condition of combined consent a request in which only that one is missing.
#[tokio::test]
async fn the_tier_behind_is_asked_for_only_by_clients_that_it_knows_and_with_default() {
    let known = Harness::with(combined).await;
    let unknown = Harness::with(|directory| {
        combined(directory);
        let middle = directory.app_mut("middle-tier").unwrap();
        middle.known_client_applications.clear();
    })
    .await;
    for (authority, scope, opens) in [
        (&known, MIDDLE_DEFAULT, true),
        (&known, crate::harness::MIDDLE, false),
        (&unknown, MIDDLE_DEFAULT, false),
    ] {
        let mut browser = Browser::default();
        // Bob and alice, so that no case stands on the consent of another.
        let user = if opens { "alice" } else { "bob" };
        let asks = [ASK, ("scope", scope)];
        let page = signed_in(authority, &mut browser, user, &asks).await;
        assert_eq!(page.text.contains("downstream-api"), opens, "{scope}");
        let answer = authority.accept(&mut browser, &page).await;
        assert!(answer.parameters().contains_key("code"));
        let strong = TokenSpec::user(user, "middle-tier").mfa();
        let strong = authority.running.issue(strong);
        let status = authority.on_behalf_of(&strong, &[]).await.status;
        assert_eq!(status == 200, opens, "{scope}");
    }
}

#[tokio::test]
async fn who_has_consented_is_not_asked_again() {
    let authority = plain().await;
    let mut browser = Browser::default();
    let page = signed_in(&authority, &mut browser, "alice", &[]).await;
    assert!(page.is_consent());
    assert!(page.text.contains("alice@contoso.example"));
    let answer = authority.accept(&mut browser, &page).await;
    let code = answer.parameters()["code"].clone();
    let body = authority.redeem(&code, &[]).await.json();
    let refresh = body["refresh_token"].as_str().unwrap();
    assert_eq!(authority.refresh(refresh, &[]).await.status, 200);
    for changes in [&[][..], &[SILENT]] {
        let answer = authority.authorize(&browser, changes).await;
        assert!(answer.parameters().contains_key("code"), "{changes:?}");
    }
    let other = &mut Browser::default();
    assert!(signed_in(&authority, other, "bob", &[]).await.is_consent());
}

#[tokio::test]
async fn without_a_page_missing_consent_is_an_error() {
    let authority = plain().await;
    let mut browser = Browser::default();
    // A session without consent.
    signed_in(&authority, &mut browser, "alice", &[]).await;
    let silent = authority.authorize(&browser, &[SILENT]).await.parameters();
    assert_eq!(silent["error"], "consent_required");
    assert!(silent["error_description"].starts_with("AADSTS65001: "));
    assert!(!silent.contains_key("claims"));
    assert!(authority.authorize(&browser, &[]).await.is_consent());
}

#[tokio::test]
async fn cancel_grants_nothing_and_goes_back() {
    let authority = plain().await;
    let mut browser = Browser::default();
    let page = signed_in(&authority, &mut browser, "alice", &[]).await;
    let flow = page.field("flow");
    // Neither button: the page again, and still nothing granted.
    let page = authority
        .submit(&mut browser, "consent", &[("flow", &flow)])
        .await;
    assert!(page.is_consent());
    let cancelled = authority
        .submit(
            &mut browser,
            "consent",
            &[("flow", &flow), ("accept", "1"), ("cancel", "1")],
        )
        .await;
    assert_eq!(cancelled.status, 303);
    let parameters = cancelled.parameters();
    assert_eq!(parameters["error"], "access_denied");
    assert_eq!(parameters["state"], "a b+c/%");
    assert!(parameters["error_description"].starts_with("AADSTS65004: "));
    let again = authority
        .submit(&mut browser, "consent", &[("flow", &flow), ("accept", "1")])
        .await;
    assert_eq!(again.status, 400, "the flow is over");
    let silent = authority.authorize(&browser, &[SILENT]).await.parameters();
    assert_eq!(silent["error"], "consent_required");
}

#[tokio::test]
async fn prompt_consent_asks_once_although_everything_is_granted() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = signed_in(&authority, &mut browser, "alice", &[ASK]).await;
    assert!(page.is_consent());
    let answer = authority.accept(&mut browser, &page).await;
    assert!(answer.parameters().contains_key("code"));
    assert!(authority.authorize(&browser, &[ASK]).await.is_consent());
    let plain = authority.authorize(&browser, &[]).await;
    assert!(plain.parameters().contains_key("code"));
}

#[tokio::test]
async fn the_second_factor_comes_before_consent() {
    let authority = plain().await;
    let mut browser = Browser::default();
    let page = signed_in(&authority, &mut browser, "alice", &[("claims", C1)]).await;
    assert!(page.is_mfa());
    let page = authority.confirm(&mut browser, &page).await;
    assert!(page.is_consent());
    let answer = authority.accept(&mut browser, &page).await;
    let token = assertion(&authority, &answer, crate::harness::MIDDLE).await;
    assert_eq!(claims(&token)["acrs"], serde_json::json!(["c1"]));
}

/// A flow takes the form of the page that it waits on and no other.
#[tokio::test]
async fn consent_cannot_be_given_before_its_page() {
    let authority = plain().await;
    let mut browser = Browser::default();
    let sign_in = authority.authorize(&browser, &[("claims", C1)]).await;
    assert_eq!(authority.accept(&mut browser, &sign_in).await.status, 400);
    let mfa = signed_in(&authority, &mut browser, "alice", &[("claims", C1)]).await;
    assert!(mfa.is_mfa());
    assert_eq!(authority.accept(&mut browser, &mfa).await.status, 400);
    let consent = authority.confirm(&mut browser, &mfa).await;
    assert_eq!(
        authority.confirm(&mut browser, &consent).await.status,
        400,
        "nor the form of another page for this one"
    );
    let answer = authority.accept(&mut browser, &consent).await;
    assert!(answer.parameters().contains_key("code"));
}

#[tokio::test]
async fn the_page_keeps_the_rules_of_all_pages() {
    let authority = plain().await;
    let own = authority.running.url().to_owned();
    let evil = "https://evil.example";
    for (name, value, status) in [
        ("origin", evil, 403),
        ("sec-fetch-site", "cross-site", 403),
        ("origin", own.as_str(), 303),
    ] {
        let page = signed_in(&authority, &mut Browser::default(), "alice", &[ASK]).await;
        let policy = page.headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("frame-ancestors 'none'") && !policy.contains("unsafe-inline"));
        assert_eq!(page.headers["x-frame-options"], "DENY");
        assert!(!page.text.contains("<script") && !page.text.contains("style=\""));
        let answer = authority
            .http
            .post(authority.endpoint("consent"))
            .header(name, value)
            .form(&[("flow", page.field("flow").as_str()), ("accept", "1")])
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status().as_u16(), status, "{name}: {value}");
    }
}

#[tokio::test]
async fn a_session_that_was_revoked_meanwhile_grants_nothing() {
    let authority = plain().await;
    let mut browser = Browser::default();
    let page = signed_in(&authority, &mut browser, "alice", &[]).await;
    assert!(authority.running.revoke("alice"));
    let page = authority.accept(&mut browser, &page).await;
    assert!(page.is_sign_in());
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_consent());
}

/// Asking would not help: the application is not registered for it.
#[tokio::test]
async fn what_the_client_is_not_registered_for_is_refused_without_a_page() {
    let authority = Harness::with(|directory| {
        directory.policy_mut(MFA_POLICY).unwrap().enabled = false;
    })
    .await;
    let mut browser = Browser::default();
    for scope in [crate::harness::DOWNSTREAM, "api://downstream-api/.default"] {
        let changes = [ASK, ("scope", scope)];
        let answer = authority.authorize(&browser, &changes).await;
        let answer = if answer.is_sign_in() {
            authority.sign_in(&mut browser, &answer, "alice").await
        } else {
            answer
        };
        assert_eq!(answer.parameters()["error"], "consent_required");
    }
}
