//! What was granted to a service principal, or on it, ends with it.

use local_authority::Consent;
use serde_json::json;

use crate::graph::text;
use crate::harness::{Answer, Browser, Harness};

/// An authority in which everybody is asked for consent.
async fn asking() -> Harness {
    Harness::with(|directory| {
        for app in &mut directory.apps {
            app.consent = Consent::Required;
        }
    })
    .await
}

/// The page that alice sees after her password; consent if she must give it.
async fn signed_in(authority: &Harness) -> (Browser, Answer) {
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    let answer = authority.sign_in(&mut browser, &page, "alice").await;
    (browser, answer)
}

/// A code, after alice has consented.
async fn code(authority: &Harness) -> String {
    let (mut browser, page) = signed_in(authority).await;
    let answer = if page.is_consent() {
        authority.accept(&mut browser, &page).await
    } else {
        page
    };
    answer.parameters()["code"].clone()
}

async fn refresh_token(authority: &Harness) -> String {
    let code = code(authority).await;
    text(&authority.redeem(&code, &[]).await.json(), "refresh_token")
}

/// Deletes the service principal and makes it again.
async fn again(authority: &Harness, app: &str) {
    let id = authority.id(app);
    let path = format!("servicePrincipals(appId='{id}')");
    authority.admin("DELETE", &path, None, 204).await;
    let body = Some(json!({ "appId": id }));
    authority
        .admin("POST", "servicePrincipals", body, 201)
        .await;
}

#[tokio::test]
async fn a_client_that_comes_back_has_neither_consent_nor_codes_nor_refresh_tokens() {
    let authority = asking().await;
    let (token, code) = (refresh_token(&authority).await, code(&authority).await);
    assert!(!signed_in(&authority).await.1.is_consent());
    // Another one's coming and going is nothing to it.
    again(&authority, "daemon").await;
    assert!(!signed_in(&authority).await.1.is_consent());
    let answer = authority.refresh(&token, &[]).await;
    let token = text(&answer.json(), "refresh_token");

    let (mut browser, page) = {
        let mut browser = Browser::default();
        let page = authority
            .authorize(&browser, &[("prompt", "consent")])
            .await;
        let page = authority.sign_in(&mut browser, &page, "alice").await;
        (browser, page)
    };
    assert!(page.is_consent(), "{}", page.text);
    again(&authority, "spa-backend").await;
    let answer = authority.refresh(&token, &[]).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    let answer = authority.redeem(&code, &[]).await;
    assert_eq!(
        (answer.status, answer.json()["error"].as_str()),
        (400, Some("invalid_grant"))
    );
    assert_eq!(
        authority.accept(&mut browser, &page).await.status,
        400,
        "a page of before"
    );
    let (mut browser, page) = signed_in(&authority).await;
    assert!(page.is_consent(), "{}", page.text);
    let answer = authority.accept(&mut browser, &page).await;
    let code = answer.parameters()["code"].clone();
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn consent_on_an_api_ends_with_it() {
    let authority = asking().await;
    let token = refresh_token(&authority).await;
    again(&authority, "middle-tier").await;
    assert_eq!(authority.refresh(&token, &[]).await.error_code(), 65_001);
    assert!(signed_in(&authority).await.1.is_consent());
}
