//! Complete tokens, field by field: what stands in them, and that nothing else does.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use local_authority::{Directory, OptionalClaim, TokenSpec, TokenVersion};
use serde_json::{Value, json};

use crate::harness::{Answer, Browser, C1, DOWNSTREAM, Harness, START, claims};

const TENANT: &str = "11111111-2222-3333-4444-555555555555";
const ALICE: &str = "a11ce000-0000-4000-8000-000000000001";
const SPA: &str = "5ba00000-0000-4000-8000-000000003000";
const MIDDLE_TIER: &str = "3edd1e00-0000-4000-8000-000000005000";
const DOWNSTREAM_API: &str = "d0300000-0000-4000-8000-000000007000";
const DAEMON: &str = "dae30000-0000-4000-8000-000000009000";
/// `sub` of alice at the three applications, and of the daemon everywhere.
const ALICE_AT_SPA: &str = "zsJ0lfeVZBCbrTuoKooHETTsYr0Zoa793Cj84iON1L4";
const ALICE_AT_MIDDLE_TIER: &str = "Bz4B15tz4vUa50-WmMA7oreGvtzQKUUB9RxNA588oqQ";
const ALICE_AT_DOWNSTREAM_API: &str = "6cz4ee_t3WMK6HfOd6W7J_P2OEhC9IjNbXos9mBZb_E";
const DAEMON_OBJECT: &str = "afd4881f-6554-8ef7-a3ff-3c13f30a70ec";

/// The claims without `uti`, which is random, once that has been looked at.
fn without_uti(token: &str) -> Value {
    let mut claims = claims(token);
    let uti = claims.as_object_mut().unwrap().remove("uti").unwrap();
    assert_eq!(uti.as_str().unwrap().len(), 22);
    claims
}

fn header(token: &str) -> Value {
    let header = token.split('.').next().unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
}

fn text<'a>(answer: &'a Value, name: &str) -> &'a str {
    answer[name].as_str().unwrap()
}

/// Both APIs take this version; both have asked for the claims that step-up needs.
fn of_version(version: u8) -> impl FnOnce(&mut Directory) {
    move |directory| {
        for app in ["middle-tier", "downstream-api"] {
            directory.app_mut(app).unwrap().access_token_version = version;
        }
    }
}

/// What alice, signed in with a second factor for `c1` by a client that understands challenges, gets at the front door.
async fn signed_in(authority: &Harness) -> (Value, String) {
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[("claims", C1)]).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    let answer = authority.confirm(&mut browser, &page).await;
    let parameters = answer.parameters();
    let capable = r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#;
    // A code is redeemed later than the user signed in.
    authority.clock.advance(7);
    let redeemed = authority
        .redeem(&parameters["code"], &[("claims", capable)])
        .await;
    (redeemed.json(), parameters["session_state"].clone())
}

async fn of_the_daemon(authority: &Harness, scope: &str) -> Value {
    let answer: Answer = authority
        .token(&[
            ("grant_type", "client_credentials"),
            ("client_id", DAEMON),
            ("client_secret", &authority.secret("daemon")),
            ("scope", scope),
        ])
        .await;
    answer.json()
}

#[tokio::test]
async fn a_user_s_token_of_version_2() {
    let authority = Harness::with(of_version(2)).await;
    let (answer, _) = signed_in(&authority).await;
    let token = text(&answer, "access_token");
    assert_eq!(
        header(token),
        json!({ "typ": "JWT", "alg": "RS256", "kid": authority.running.kid() })
    );
    assert_eq!(
        without_uti(token),
        json!({
            "aud": MIDDLE_TIER,
            "iss": authority.running.issuer(),
            "iat": START + 7,
            "nbf": START + 7,
            "exp": START + 7 + 4500,
            "acrs": ["c1"],
            "azp": SPA,
            "azpacr": "1",
            "name": "Alice Liddell",
            "oid": ALICE,
            "preferred_username": "alice@contoso.example",
            "scp": "user_impersonation",
            "sub": ALICE_AT_MIDDLE_TIER,
            "tid": TENANT,
            "ver": "2.0",
            "xms_cc": ["cp1"],
        })
    );
}

#[tokio::test]
async fn a_user_s_token_of_version_1() {
    let authority = Harness::with(of_version(1)).await;
    let (answer, _) = signed_in(&authority).await;
    let token = text(&answer, "access_token");
    let kid = authority.running.kid();
    assert_eq!(
        header(token),
        json!({ "typ": "JWT", "alg": "RS256", "kid": kid, "x5t": kid })
    );
    assert_eq!(
        without_uti(token),
        json!({
            "aud": "api://middle-tier",
            "iss": format!("{}/{TENANT}/", authority.running.url()),
            "iat": START + 7,
            "nbf": START + 7,
            "exp": START + 7 + 4500,
            "acr": "1",
            "acrs": ["c1"],
            "amr": ["pwd", "mfa"],
            "appid": SPA,
            "appidacr": "1",
            "family_name": "Liddell",
            "given_name": "Alice",
            "name": "Alice Liddell",
            "oid": ALICE,
            "scp": "user_impersonation",
            "sub": ALICE_AT_MIDDLE_TIER,
            "tid": TENANT,
            "unique_name": "alice@contoso.example",
            "upn": "alice@contoso.example",
            "ver": "1.0",
            "xms_cc": ["cp1"],
        })
    );
    assert_eq!(authority.running.issuer_v1(), claims(token)["iss"]);
}

#[tokio::test]
async fn an_application_s_token_of_version_2() {
    let authority = Harness::with(of_version(2)).await;
    let answer = of_the_daemon(&authority, "api://downstream-api/.default").await;
    assert_eq!(
        without_uti(text(&answer, "access_token")),
        json!({
            "aud": DOWNSTREAM_API,
            "iss": authority.running.issuer(),
            "iat": START,
            "nbf": START,
            "exp": START + 4500,
            "azp": DAEMON,
            "azpacr": "1",
            "idtyp": "app",
            "oid": DAEMON_OBJECT,
            "roles": ["Task.Run"],
            "sub": DAEMON_OBJECT,
            "tid": TENANT,
            "ver": "2.0",
        })
    );
}

#[tokio::test]
async fn an_application_s_token_of_version_1() {
    let authority = Harness::with(of_version(1)).await;
    let answer = of_the_daemon(&authority, &format!("{DOWNSTREAM_API}/.default")).await;
    let issuer = format!("{}/{TENANT}/", authority.running.url());
    assert_eq!(
        without_uti(text(&answer, "access_token")),
        json!({
            "aud": DOWNSTREAM_API,
            "iss": issuer,
            "iat": START,
            "nbf": START,
            "exp": START + 4500,
            "appid": DAEMON,
            "appidacr": "1",
            "idp": issuer,
            "idtyp": "app",
            "oid": DAEMON_OBJECT,
            "roles": ["Task.Run"],
            "sub": DAEMON_OBJECT,
            "tid": TENANT,
            "ver": "1.0",
        })
    );
}

#[tokio::test]
async fn an_id_token_is_of_version_2_whatever_the_api_takes() {
    for version in [1, 2] {
        let authority = Harness::with(of_version(version)).await;
        let (answer, session) = signed_in(&authority).await;
        let token = text(&answer, "id_token");
        assert_eq!(
            header(token),
            json!({ "typ": "JWT", "alg": "RS256", "kid": authority.running.kid() })
        );
        assert_eq!(
            claims(token),
            json!({
                "aud": SPA,
                "iss": authority.running.issuer(),
                "iat": START + 7,
                "nbf": START + 7,
                "exp": START + 7 + 3600,
                "name": "Alice Liddell",
                "nonce": "n-1",
                "oid": ALICE,
                "preferred_username": "alice@contoso.example",
                "sid": session,
                "sub": ALICE_AT_SPA,
                "tid": TENANT,
                "ver": "2.0",
            })
        );
    }
}

#[tokio::test]
async fn an_on_behalf_of_token_keeps_what_the_user_has_proven() {
    for version in [1, 2] {
        let authority = Harness::with(|directory| {
            of_version(version)(directory);
            directory
                .app_mut("downstream-api")
                .unwrap()
                .optional_claims
                .push(OptionalClaim::AuthTime);
        })
        .await;
        let (answer, _) = signed_in(&authority).await;
        authority.clock.advance(100);
        let answer = authority
            .on_behalf_of(text(&answer, "access_token"), &[])
            .await
            .json();
        let mut expected = json!({
            "iat": START + 107,
            "nbf": START + 107,
            "exp": START + 107 + 4500,
            "acrs": ["c1"],
            "auth_time": START,
            "name": "Alice Liddell",
            "oid": ALICE,
            "scp": "user_impersonation",
            "sub": ALICE_AT_DOWNSTREAM_API,
            "tid": TENANT,
        });
        let of_this_version = match version {
            1 => json!({
                "aud": "api://downstream-api",
                "iss": authority.running.issuer_v1(),
                "acr": "1",
                "amr": ["pwd", "mfa"],
                "appid": MIDDLE_TIER,
                "appidacr": "1",
                "family_name": "Liddell",
                "given_name": "Alice",
                "unique_name": "alice@contoso.example",
                "upn": "alice@contoso.example",
                "ver": "1.0",
            }),
            _ => json!({
                "aud": DOWNSTREAM_API,
                "iss": authority.running.issuer(),
                "azp": MIDDLE_TIER,
                "azpacr": "1",
                "preferred_username": "alice@contoso.example",
                "ver": "2.0",
            }),
        };
        expected
            .as_object_mut()
            .unwrap()
            .extend(of_this_version.as_object().unwrap().clone());
        assert_eq!(without_uti(text(&answer, "access_token")), expected);
    }
}

#[tokio::test]
async fn a_public_client_s_token_says_so() {
    for (version, name) in [(1, "appidacr"), (2, "azpacr")] {
        let authority = Harness::with(|directory| {
            of_version(version)(directory);
            let spa = directory.app_mut("spa-backend").unwrap();
            spa.redirect_uris.native = std::mem::take(&mut spa.redirect_uris.web);
        })
        .await;
        let code = authority.code(&mut Browser::default()).await;
        let answer = authority
            .redeem(&code, &[("client_secret", "")])
            .await
            .json();
        let claims = claims(text(&answer, "access_token"));
        assert_eq!(claims[name], "0");
        // Without a second factor, as the sign-in was.
        let methods = (version == 1).then(|| json!(["pwd"]));
        assert_eq!(claims.get("amr"), methods.as_ref());
    }
}

#[tokio::test]
async fn the_scope_email_is_for_the_id_token() {
    let authority = Harness::start().await;
    for (scope, mail) in [
        ("openid email", Some("alice@contoso.example")),
        ("openid profile", None),
    ] {
        let scope = format!("api://middle-tier/user_impersonation {scope}");
        let code = authority.code(&mut Browser::default()).await;
        let answer = authority.redeem(&code, &[("scope", &scope)]).await.json();
        let id_token = claims(text(&answer, "id_token"));
        assert_eq!(id_token.get("email").and_then(Value::as_str), mail);
        let access_token = claims(text(&answer, "access_token"));
        assert!(access_token.get("email").is_none());
    }
}

#[tokio::test]
async fn an_assertion_of_either_version_is_exchanged_if_it_is_of_one_piece() {
    let authority = Harness::start().await;
    let user = |version| {
        TokenSpec::user("alice", "api://middle-tier")
            .mfa()
            .version(version)
    };
    let v1 = authority.running.issuer_v1();
    let v2 = authority.running.issuer().to_owned();
    let rows = [
        ("v2.0", user(TokenVersion::V2), None),
        ("v1.0, by URI", user(TokenVersion::V1), None),
        (
            "v1.0, by client id",
            user(TokenVersion::V1).audience(MIDDLE_TIER),
            None,
        ),
        (
            "v1.0 from the issuer of v2.0",
            user(TokenVersion::V1).issuer(&v2),
            Some(50_013),
        ),
        (
            "v2.0 from the issuer of v1.0",
            user(TokenVersion::V2).issuer(&v1),
            Some(50_013),
        ),
        (
            "v1.0 that calls itself v2.0",
            user(TokenVersion::V1).claim("ver", "2.0"),
            Some(50_013),
        ),
        (
            "v2.0 that calls itself v1.0",
            user(TokenVersion::V2).claim("ver", "1.0"),
            Some(50_013),
        ),
        (
            "no version",
            user(TokenVersion::V1).without("ver"),
            Some(50_013),
        ),
        (
            "an unknown version",
            user(TokenVersion::V1).claim("ver", "3.0"),
            Some(50_013),
        ),
        (
            "a version that is no text",
            user(TokenVersion::V1).claim("ver", 1.0),
            Some(50_013),
        ),
        (
            "v2.0 for the URI",
            user(TokenVersion::V2).audience("api://middle-tier"),
            Some(500_131),
        ),
        (
            "v1.0 for another API",
            user(TokenVersion::V1).audience("api://downstream-api"),
            Some(500_131),
        ),
        (
            "v1.0 for the URI with a slash",
            user(TokenVersion::V1).audience("api://middle-tier/"),
            Some(500_131),
        ),
        (
            "v1.0 of an application",
            TokenSpec::app("daemon", "middle-tier").version(TokenVersion::V1),
            Some(7_000_114),
        ),
    ];
    for (what, spec, refused) in rows {
        let assertion = authority.running.issue(spec);
        let answer = authority
            .on_behalf_of(&assertion, &[("scope", DOWNSTREAM)])
            .await;
        let code = (answer.status != 200).then(|| answer.error_code());
        assert_eq!(code, refused, "{what}");
    }
}

#[tokio::test]
async fn a_login_hint_of_a_token_leads_back_to_its_user() {
    let authority = Harness::with(|directory| {
        let api = directory.app_mut("middle-tier").unwrap();
        api.optional_claims = vec![OptionalClaim::LoginHint];
    })
    .await;
    let mut browser = Browser::default();
    let token = claims(&authority.access_token(&mut browser).await);
    let hint = text(&token, "login_hint");
    assert!(!hint.contains("alice"));
    let silent = |hint: String| {
        let (authority, browser) = (&authority, &browser);
        async move {
            let changes = [("login_hint", hint.as_str()), ("prompt", "none")];
            authority.authorize(browser, &changes).await.parameters()
        }
    };
    assert!(silent(hint.to_owned()).await.contains_key("code"));
    let other = silent(hint.replace("O.", "O.x")).await;
    assert_eq!(other["error"], "login_required");
    let page = authority
        .authorize(&Browser::default(), &[("login_hint", hint)])
        .await;
    assert!(page.is_sign_in() && page.text.contains("alice@contoso.example"));
}
