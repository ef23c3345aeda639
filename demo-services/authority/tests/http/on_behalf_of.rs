//! On-Behalf-Of: the assertion's rules, and policies decided from its record.

use crate::harness::{
    Browser, C1, Changes, DOWNSTREAM, Harness, MFA_POLICY, START, capolids, claims,
};
use local_authority::{Consent, Require, TokenSpec};

fn strong() -> TokenSpec {
    TokenSpec::user("alice", "middle-tier").mfa()
}

#[tokio::test]
async fn a_strong_assertion_is_exchanged() {
    let authority = Harness::start().await;
    let answer = authority
        .on_behalf_of(
            &authority.running.issue(strong()),
            &[(
                "claims",
                r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#,
            )],
        )
        .await;
    let body = answer.json();
    assert_eq!(
        (answer.status, body["scope"].as_str()),
        (200, Some(DOWNSTREAM))
    );
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (token["aud"].as_str(), token["azp"].as_str()),
        (
            Some(authority.id("downstream-api").as_str()),
            Some(authority.id("middle-tier").as_str())
        )
    );
    assert_eq!(
        (token["scp"].as_str(), &token["xms_cc"]),
        (Some("user_impersonation"), &serde_json::json!(["cp1"]))
    );
    assert_eq!(token["nbf"].as_u64(), Some(START));
    assert!(body.get("refresh_token").is_none() && body.get("id_token").is_none());
    let answer = authority
        .on_behalf_of(
            &authority.running.issue(strong()),
            &[(
                "scope",
                "api://downstream-api/.default openid profile offline_access",
            )],
        )
        .await
        .json();
    assert!(answer["refresh_token"].is_string() && answer["id_token"].is_string());
    let refreshed = [
        ("client_id", authority.id("middle-tier")),
        ("client_secret", authority.secret("middle-tier")),
    ];
    let refreshed: Vec<_> = refreshed
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain([("scope", DOWNSTREAM)])
        .collect();
    assert_eq!(
        authority
            .refresh(answer["refresh_token"].as_str().unwrap(), &refreshed)
            .await
            .status,
        200,
        "the chain carries the second factor on"
    );
}

#[tokio::test]
async fn each_rule_of_the_assertion_is_checked() {
    let authority = Harness::start().await;
    let issue = |spec| authority.running.issue(spec);
    let middle = authority.id("middle-tier");
    let rows = [
        ("valid", issue(strong()), 0),
        ("expired", issue(strong().expires_in(0)), 500_133),
        ("not yet valid", issue(strong().issued_in(60)), 500_133),
        ("without exp", issue(strong().without("exp")), 500_133),
        (
            "other audience",
            issue(TokenSpec::user("alice", "downstream-api").mfa()),
            500_131,
        ),
        (
            "audience on the token only",
            issue(
                TokenSpec::user("alice", "downstream-api")
                    .mfa()
                    .audience(middle),
            ),
            50_013,
        ),
        (
            "other issuer",
            issue(strong().issuer("https://login.example/t/v2.0")),
            50_013,
        ),
        (
            "other tenant",
            issue(strong().claim("tid", "99999999-2222-3333-4444-555555555555")),
            50_013,
        ),
        ("foreign key", issue(strong().foreign_key()), 50_013),
        ("unknown kid", issue(strong().kid("nope")), 50_013),
        ("no kid", issue(strong().without_header("kid")), 50_013),
        (
            "other algorithm",
            issue(strong().header("alg", "none")),
            50_013,
        ),
        ("not on record", issue(strong().without("uti")), 50_013),
        (
            "application",
            issue(TokenSpec::app("daemon", "middle-tier")),
            7_000_114,
        ),
        ("no token", "nonsense".to_owned(), 50_013),
    ];
    for (name, assertion, number) in rows {
        let answer = authority.on_behalf_of(&assertion, &[]).await;
        if number == 0 {
            assert_eq!(answer.status, 200, "{name}");
        } else {
            assert_eq!(
                (answer.status, answer.error_code()),
                (400, number),
                "{name}"
            );
        }
    }
}

#[tokio::test]
async fn a_token_of_another_authority_or_of_another_kind_is_no_assertion() {
    let authority = Harness::start().await;
    let other = Harness::with(|directory| {
        directory.tenant.id = "99999999-2222-3333-4444-555555555555".parse().unwrap();
    })
    .await;
    let foreign = other.running.issue(strong());
    assert_eq!(other.on_behalf_of(&foreign, &[]).await.status, 200);
    let scope = (
        "scope",
        "api://downstream-api/user_impersonation openid offline_access",
    );
    let own = authority.running.issue(strong());
    let body = authority.on_behalf_of(&own, &[scope]).await.json();
    // The ID token has the right issuer, audience and signature.
    let id_token = body["id_token"].as_str().unwrap();
    assert_eq!(claims(id_token)["aud"], authority.id("middle-tier"));
    let refresh_token = body["refresh_token"].as_str().unwrap();
    for assertion in [&foreign, id_token, refresh_token] {
        let answer = authority.on_behalf_of(assertion, &[]).await;
        assert_eq!((answer.status, answer.error_code()), (400, 50_013));
    }
}

#[tokio::test]
async fn each_rule_of_the_request_is_checked() {
    let authority = Harness::start().await;
    let assertion = authority.running.issue(strong());
    let daemon = (authority.id("daemon"), authority.secret("daemon"));
    let rows: &[(&str, Changes<'_>, u64)] = &[
        (
            "another client than the audience",
            &[("client_id", &daemon.0), ("client_secret", &daemon.1)],
            500_131,
        ),
        ("no assertion", &[("assertion", "")], 900_144),
        ("no use", &[("requested_token_use", "")], 900_144),
        ("other use", &[("requested_token_use", "other")], 90_023),
        ("no secret", &[("client_secret", "")], 7_000_218),
        ("wrong secret", &[("client_secret", "x")], 7_000_215),
        ("no scope", &[("scope", "")], 900_144),
        ("unknown resource", &[("scope", "api://nobody/x")], 500_011),
        (
            "unknown scope",
            &[("scope", "api://downstream-api/x")],
            650_053,
        ),
        (
            "not granted",
            &[("scope", "api://middle-tier/user_impersonation")],
            65_001,
        ),
        (
            "two resources",
            &[(
                "scope",
                "api://downstream-api/user_impersonation api://middle-tier/user_impersonation",
            )],
            28_000,
        ),
    ];
    for (name, changes, number) in rows {
        let answer = authority.on_behalf_of(&assertion, changes).await;
        assert_eq!(answer.error_code(), *number, "{name}");
    }
    assert_eq!(authority.on_behalf_of(&assertion, &[]).await.status, 200);
}

#[tokio::test]
async fn a_weak_assertion_is_answered_with_the_policy_in_the_envelope_of_entra() {
    let authority = Harness::start().await;
    let assertion = authority.access_token(&mut Browser::default()).await;
    let answer = authority.on_behalf_of(&assertion, &[]).await;
    let body = answer.json();
    assert_eq!(answer.status, 400);
    assert_eq!(
        (body["error"].as_str(), body["suberror"].as_str()),
        (Some("interaction_required"), Some("basic_action"))
    );
    assert_eq!(
        body["claims"].as_str(),
        Some(capolids(&authority.directory).as_str())
    );
    assert!(
        body["error_description"]
            .as_str()
            .unwrap()
            .starts_with("AADSTS50076: ")
    );
    for member in ["timestamp", "trace_id", "correlation_id"] {
        assert!(body[member].is_string(), "{member}");
    }
    authority.running.set_policy(MFA_POLICY, false);
    assert_eq!(authority.on_behalf_of(&assertion, &[]).await.status, 200);
}

#[tokio::test]
async fn who_has_no_second_factor_is_told_so() {
    let authority = Harness::start().await;
    let body = authority
        .on_behalf_of(
            &authority
                .running
                .issue(TokenSpec::user("carol", "middle-tier")),
            &[],
        )
        .await
        .json();
    assert_eq!(
        (body["error"].as_str(), body["error_codes"][0].as_u64()),
        (Some("interaction_required"), Some(50_079))
    );
    assert_eq!(
        body["claims"].as_str(),
        Some(capolids(&authority.directory).as_str())
    );
}

/// The loop of `/api`: refused, second factor in the browser, the old token still fails, the new one goes through.
#[tokio::test]
async fn the_old_token_fails_after_mfa_elsewhere_and_the_new_one_succeeds() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let old = authority.access_token(&mut browser).await;
    let demanded = authority.on_behalf_of(&old, &[]).await.json()["claims"]
        .as_str()
        .unwrap()
        .to_owned();
    let page = authority
        .authorize(&browser, &[("claims", &demanded)])
        .await;
    assert!(page.is_mfa(), "{}", page.text);
    let code = authority.confirm(&mut browser, &page).await.parameters()["code"].clone();
    let new = authority.redeem(&code, &[]).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(authority.on_behalf_of(&old, &[]).await.error_code(), 50_076);
    assert_eq!(authority.on_behalf_of(&new, &[]).await.status, 200);
}

/// The loop of `/secure`, with policy and context together: two rounds, the second without a page.
#[tokio::test]
async fn policy_and_context_take_two_rounds() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let weak = authority.access_token(&mut browser).await;
    let first = authority
        .on_behalf_of(&weak, &[("claims", C1)])
        .await
        .json();
    assert_eq!(
        first["claims"].as_str(),
        Some(capolids(&authority.directory).as_str())
    );
    let page = authority
        .authorize(&browser, &[("claims", first["claims"].as_str().unwrap())])
        .await;
    let code = authority.confirm(&mut browser, &page).await.parameters()["code"].clone();
    let strong = authority.redeem(&code, &[]).await.json()["access_token"]
        .as_str()
        .unwrap()
        .to_owned();
    assert_eq!(authority.on_behalf_of(&strong, &[]).await.status, 200);

    let second = authority
        .on_behalf_of(&strong, &[("claims", C1)])
        .await
        .json();
    assert_eq!(
        (second["error"].as_str(), second["claims"].as_str()),
        (Some("interaction_required"), Some(C1))
    );
    let code = authority
        .authorize(&browser, &[("claims", second["claims"].as_str().unwrap())])
        .await
        .parameters()["code"]
        .clone();
    let body = authority.redeem(&code, &[]).await.json();
    let stronger = body["access_token"].as_str().unwrap();
    assert_eq!(claims(stronger)["acrs"], serde_json::json!(["c1"]));
    let exchanged = authority
        .on_behalf_of(stronger, &[("claims", C1)])
        .await
        .json();
    assert_eq!(
        claims(exchanged["access_token"].as_str().unwrap())["acrs"],
        serde_json::json!(["c1"])
    );
    // The refresh token remembers it as well.
    let refreshed = authority
        .refresh(body["refresh_token"].as_str().unwrap(), &[("claims", C1)])
        .await
        .json();
    assert_eq!(
        claims(refreshed["access_token"].as_str().unwrap())["acrs"],
        serde_json::json!(["c1"])
    );
}

#[tokio::test]
async fn acrs_is_absent_where_the_api_did_not_ask_for_the_claim() {
    let authority = Harness::with(|directory| {
        directory
            .app_mut("downstream-api")
            .unwrap()
            .optional_claims
            .clear()
    })
    .await;
    let body = authority
        .on_behalf_of(
            &authority.running.issue(strong().acrs(["c1"])),
            &[("claims", C1)],
        )
        .await
        .json();
    assert!(
        claims(body["access_token"].as_str().unwrap())
            .get("acrs")
            .is_none()
    );
}

/// The loop of a revocation: grant and session dead, sign-in again.
#[tokio::test]
async fn revocation_ends_grants_and_sessions() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let unredeemed = authority.code(&mut browser).await;
    let body = authority.redeem(&code, &[]).await.json();
    let assertion = authority.running.issue(strong());
    assert!(authority.running.revoke("alice"));
    assert!(!authority.running.revoke("nobody"));
    let nbf = format!(r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{START}"}}}}}}"#);
    for answer in [
        authority.on_behalf_of(&assertion, &[]).await,
        authority
            .refresh(body["refresh_token"].as_str().unwrap(), &[])
            .await,
        authority.redeem(&unredeemed, &[]).await,
    ] {
        let body = answer.json();
        assert_eq!(
            (
                body["error"].as_str(),
                body["suberror"].as_str(),
                answer.error_code()
            ),
            (Some("invalid_grant"), Some("bad_token"), 50_173)
        );
        assert_eq!(body["claims"].as_str(), Some(nbf.as_str()));
    }
    assert_eq!(
        authority
            .authorize(&browser, &[("prompt", "none")])
            .await
            .parameters()["error"],
        "login_required"
    );
    let page = authority.authorize(&browser, &[("claims", &nbf)]).await;
    assert!(page.is_sign_in());
    let code = authority
        .sign_in(&mut browser, &page, "alice")
        .await
        .parameters()["code"]
        .clone();
    assert_eq!(
        authority.redeem(&code, &[("claims", &nbf)]).await.status,
        200
    );
    assert_eq!(
        authority
            .on_behalf_of(&authority.running.issue(strong()), &[])
            .await
            .status,
        200,
        "later grants are alive"
    );
    assert_eq!(
        authority
            .on_behalf_of(
                &authority
                    .running
                    .issue(TokenSpec::user("bob", "middle-tier").mfa()),
                &[]
            )
            .await
            .status,
        200,
        "others are"
    );
}

#[tokio::test]
async fn an_nbf_demand_wants_a_later_sign_in() {
    let authority = Harness::start().await;
    let old = authority.running.issue(strong());
    authority.clock.advance(10);
    let nbf = format!(
        r#"{{"access_token":{{"nbf":{{"essential":true,"value":"{}"}}}}}}"#,
        START + 5
    );
    assert_eq!(
        authority
            .on_behalf_of(&old, &[("claims", &nbf)])
            .await
            .error_code(),
        50_173
    );
    assert_eq!(
        authority
            .on_behalf_of(&authority.running.issue(strong()), &[("claims", &nbf)])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn blocked_and_unconsented_requests_have_no_claims() {
    let authority = Harness::with(|directory| {
        directory.policy_mut(MFA_POLICY).unwrap().require = Require::Block
    })
    .await;
    let body = authority
        .on_behalf_of(&authority.running.issue(strong()), &[])
        .await
        .json();
    assert_eq!(
        (
            body["error"].as_str(),
            body["suberror"].as_str(),
            body["error_codes"][0].as_u64()
        ),
        (Some("invalid_grant"), Some("message_only"), Some(53_003))
    );
    assert!(body.get("claims").is_none());

    let authority = Harness::with(|directory| {
        directory.app_mut("middle-tier").unwrap().consent = Consent::Required
    })
    .await;
    let body = authority
        .on_behalf_of(&authority.running.issue(strong()), &[])
        .await
        .json();
    assert_eq!(
        (
            body["error"].as_str(),
            body["suberror"].as_str(),
            body["error_codes"][0].as_u64()
        ),
        (
            Some("invalid_grant"),
            Some("consent_required"),
            Some(65_001)
        )
    );
    assert!(body.get("claims").is_none());
}

#[tokio::test]
async fn an_old_sign_in_must_be_repeated() {
    let authority = Harness::with(|directory| {
        directory.policy_mut(MFA_POLICY).unwrap().sign_in_frequency = Some(3600)
    })
    .await;
    let assertion = authority.running.issue(strong());
    authority.clock.advance(3600);
    assert_eq!(authority.on_behalf_of(&assertion, &[]).await.status, 200);
    authority.clock.advance(1);
    let body = authority.on_behalf_of(&assertion, &[]).await.json();
    assert_eq!(
        (body["error_codes"][0].as_u64(), body["claims"].as_str()),
        (Some(70_043), Some(capolids(&authority.directory).as_str()))
    );
}
