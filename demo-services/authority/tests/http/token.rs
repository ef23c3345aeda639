//! The token endpoint: codes, refresh tokens, client credentials.

use crate::harness::{Answer, Browser, C1, Changes, Harness, MIDDLE, START, capolids, claims};

#[tokio::test]
async fn a_code_is_redeemed_for_tokens_that_say_what_entra_says() {
    let authority = Harness::start().await;
    let code = authority.code(&mut Browser::default()).await;
    let answer = authority.redeem(&code, &[("client_info", "1")]).await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["cache-control"], "no-store");
    let body = answer.json();
    assert_eq!(
        (
            body["token_type"].as_str(),
            body["expires_in"].as_u64(),
            body["scope"].as_str()
        ),
        (Some("Bearer"), Some(4500), Some(MIDDLE))
    );
    assert!(body["refresh_token"].is_string() && body["client_info"].is_string());
    let access = claims(body["access_token"].as_str().unwrap());
    assert_eq!(access["iss"], authority.running.issuer());
    assert_eq!(access["aud"], authority.id("middle-tier"));
    assert_eq!(
        (access["azp"].as_str(), access["azpacr"].as_str()),
        (Some(authority.id("spa-backend").as_str()), Some("1"))
    );
    assert_eq!(
        (access["iat"].as_u64(), access["exp"].as_u64()),
        (Some(START), Some(START + 4500))
    );
    assert!(access.get("acrs").is_none() && access.get("xms_cc").is_none());
    let id = claims(body["id_token"].as_str().unwrap());
    assert_eq!(
        (id["nonce"].as_str(), id["aud"].as_str()),
        (Some("n-1"), Some(authority.id("spa-backend").as_str()))
    );
    assert_eq!(
        (id["oid"].as_str(), id["preferred_username"].as_str()),
        (access["oid"].as_str(), Some("alice@contoso.example"))
    );
}

#[tokio::test]
async fn each_rule_of_the_code_grant_is_checked() {
    let authority = Harness::start().await;
    let other = authority.id("daemon");
    let other_secret = authority.secret("daemon");
    let rows: &[(&str, Changes<'_>, u16, u64)] = &[
        ("no verifier", &[("code_verifier", "")], 400, 501_481),
        (
            "wrong verifier",
            &[(
                "code_verifier",
                "aBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk",
            )],
            400,
            501_481,
        ),
        (
            "other redirect",
            &[("redirect_uri", "http://localhost:3000/other")],
            400,
            500_112,
        ),
        ("no redirect", &[("redirect_uri", "")], 400, 500_112),
        (
            "wrong secret",
            &[("client_secret", "wrong")],
            401,
            7_000_215,
        ),
        ("no secret", &[("client_secret", "")], 401, 7_000_218),
        (
            "other client",
            &[("client_id", &other), ("client_secret", &other_secret)],
            400,
            70_000,
        ),
        ("unknown client", &[("client_id", "nobody")], 400, 700_016),
        ("unknown code", &[("code", "nope")], 400, 70_000),
        ("no code", &[("code", "")], 400, 900_144),
        (
            "other resource",
            &[("scope", "api://downstream-api/user_impersonation")],
            400,
            70_000,
        ),
        (
            "two resources",
            &[(
                "scope",
                "api://middle-tier/user_impersonation api://downstream-api/user_impersonation",
            )],
            400,
            28_000,
        ),
        ("unmet context", &[("claims", C1)], 400, 50_076),
        ("broken claims", &[("claims", "{")], 400, 9_000_411),
        ("unknown grant", &[("grant_type", "password")], 400, 70_003),
        ("no grant", &[("grant_type", "")], 400, 900_144),
    ];
    let code = authority.code(&mut Browser::default()).await;
    for (name, changes, status, number) in rows {
        let answer = authority.redeem(&code, changes).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (*status, *number),
            "{name}: {}",
            answer.text
        );
        assert_eq!(answer.headers["access-control-allow-origin"], "*");
    }
    // None of these attempts spent the code of its owner.
    assert_eq!(authority.redeem(&code, &[]).await.status, 200);
}

#[tokio::test]
async fn a_code_is_good_once_and_its_reuse_ends_the_refresh_token() {
    let authority = Harness::start().await;
    let code = authority.code(&mut Browser::default()).await;
    let first = authority.redeem(&code, &[]).await.json();
    assert_eq!(authority.redeem(&code, &[]).await.error_code(), 54_005);
    assert_eq!(
        authority
            .refresh(first["refresh_token"].as_str().unwrap(), &[])
            .await
            .error_code(),
        70_000
    );
}

#[tokio::test]
async fn a_code_expires() {
    let authority = Harness::start().await;
    let code = authority.code(&mut Browser::default()).await;
    authority.clock.advance(301);
    assert_eq!(authority.redeem(&code, &[]).await.error_code(), 70_008);
}

#[tokio::test]
async fn a_repeated_parameter_and_another_content_type_are_refused() {
    let authority = Harness::start().await;
    let answer = authority
        .token(&[
            ("grant_type", "client_credentials"),
            ("grant_type", "client_credentials"),
        ])
        .await;
    assert_eq!(answer.error_code(), 90_014);
    let request = authority
        .http
        .post(authority.endpoint("oauth2/v2.0/token"))
        .header("content-type", "text/plain")
        .body("grant_type=client_credentials");
    assert_eq!(
        Answer::of(request.send().await.unwrap()).await.error_code(),
        900_561
    );
}

#[tokio::test]
async fn basic_credentials_work_and_a_wrong_one_is_challenged() {
    let authority = Harness::start().await;
    for (secret, status) in [(authority.secret("daemon"), 200), ("wrong".to_owned(), 401)] {
        let request = authority
            .http
            .post(authority.endpoint("oauth2/v2.0/token"))
            .basic_auth(authority.id("daemon"), Some(secret));
        let answer = Answer::of(
            request
                .form(&[
                    ("grant_type", "client_credentials"),
                    ("scope", "api://downstream-api/.default"),
                ])
                .send()
                .await
                .unwrap(),
        )
        .await;
        assert_eq!(answer.status, status);
        assert_eq!(
            answer.headers.contains_key("www-authenticate"),
            status == 401
        );
    }
}

#[tokio::test]
async fn client_credentials_give_roles_and_nothing_of_a_user() {
    let authority = Harness::start().await;
    let ask = async |app: &str, scope: &str| {
        let (id, secret) = (authority.id(app), authority.secret(app));
        authority
            .token(&[
                ("grant_type", "client_credentials"),
                ("client_id", &id),
                ("client_secret", &secret),
                ("scope", scope),
            ])
            .await
    };
    let body = ask("daemon", "api://downstream-api/.default").await.json();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&token["roles"], &token["idtyp"]),
        (&serde_json::json!(["Task.Run"]), &serde_json::json!("app"))
    );
    assert!(
        token.get("scp").is_none()
            && body.get("refresh_token").is_none()
            && body.get("id_token").is_none()
            && body.get("scope").is_none()
    );
    // Without any permission: a token without roles, as in Entra.
    let body = ask("spa-backend", "api://downstream-api/.default")
        .await
        .json();
    assert!(
        claims(body["access_token"].as_str().unwrap())
            .get("roles")
            .is_none()
    );
    for scope in [
        "api://downstream-api/user_impersonation",
        "api://downstream-api/.default offline_access",
        "openid",
    ] {
        assert_eq!(
            ask("daemon", scope).await.error_code(),
            1_002_012,
            "{scope}"
        );
    }
}

#[tokio::test]
async fn client_credentials_need_a_credential_that_is_right() {
    let authority = Harness::start().await;
    let (id, secret) = (authority.id("daemon"), authority.secret("daemon"));
    let other = authority.secret("middle-tier");
    for (shown, status, number) in [
        (secret.as_str(), 200, None),
        ("", 401, Some(7_000_218)),
        ("wrong", 401, Some(7_000_215)),
        (other.as_str(), 401, Some(7_000_215)),
    ] {
        let answer = authority
            .token(&[
                ("grant_type", "client_credentials"),
                ("client_id", &id),
                ("client_secret", shown),
                ("scope", "api://downstream-api/.default"),
            ])
            .await;
        assert_eq!(answer.status, status, "{}", answer.text);
        let code = number.map(|_| answer.error_code());
        assert_eq!(code, number);
        if number.is_some() {
            assert_eq!(answer.json()["error"], "invalid_client");
        }
    }
}

#[tokio::test]
async fn one_kind_of_grant_does_not_pass_for_another() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let body = authority.redeem(&code, &[]).await.json();
    let fresh = authority.code(&mut browser).await;
    for name in ["refresh_token", "access_token", "id_token"] {
        let token = body[name].as_str().unwrap();
        let answer = authority.redeem(token, &[]).await;
        assert_eq!(answer.error_code(), 70_000, "{name} as a code");
        assert_eq!(answer.json()["error"], "invalid_grant");
    }
    for (name, token) in [
        ("code", fresh.as_str()),
        ("access token", body["access_token"].as_str().unwrap()),
    ] {
        let answer = authority.refresh(token, &[]).await;
        assert_eq!(answer.error_code(), 70_000, "{name} as a refresh token");
        assert_eq!(answer.json()["error"], "invalid_grant");
    }
    let refresh_token = body["refresh_token"].as_str().unwrap();
    assert_eq!(authority.refresh(refresh_token, &[]).await.status, 200);
    assert_eq!(authority.redeem(&fresh, &[]).await.status, 200);
}

#[tokio::test]
async fn a_refresh_token_rotates_and_carries_the_scope_on() {
    let authority = Harness::start().await;
    let code = authority.code(&mut Browser::default()).await;
    let first = authority.redeem(&code, &[]).await.json();
    let token = first["refresh_token"].as_str().unwrap();
    let other = (authority.id("daemon"), authority.secret("daemon"));
    let rows: &[(&str, Changes<'_>, u64)] = &[
        (
            "other client",
            &[("client_id", &other.0), ("client_secret", &other.1)],
            700_007,
        ),
        ("wrong secret", &[("client_secret", "wrong")], 7_000_215),
        ("no secret", &[("client_secret", "")], 7_000_218),
        (
            "not granted",
            &[("scope", "api://downstream-api/user_impersonation")],
            65_001,
        ),
        ("unmet context", &[("claims", C1)], 50_076),
        ("no scope", &[("scope", "")], 900_144),
    ];
    for (name, changes, number) in rows {
        assert_eq!(
            authority.refresh(token, changes).await.error_code(),
            *number,
            "{name}"
        );
    }
    let second = authority.refresh(token, &[]).await;
    assert_eq!(second.json()["scope"], MIDDLE);
    let id_token = claims(second.json()["id_token"].as_str().unwrap());
    assert!(id_token.get("nonce").is_none());
    let second = second.json()["refresh_token"].as_str().unwrap().to_owned();
    assert_ne!(second, token);
    assert_eq!(authority.refresh(token, &[]).await.error_code(), 70_000);
    assert_eq!(
        authority.refresh(&second, &[]).await.error_code(),
        70_000,
        "reuse ends the family"
    );
}

#[tokio::test]
async fn a_refresh_token_expires() {
    let authority = Harness::start().await;
    let code = authority.code(&mut Browser::default()).await;
    let body = authority.redeem(&code, &[]).await.json();
    authority.clock.advance(86_400);
    let answer = authority
        .refresh(body["refresh_token"].as_str().unwrap(), &[])
        .await;
    assert_eq!(
        (answer.error_code(), answer.json()["suberror"].as_str()),
        (700_082, Some("token_expired"))
    );
}

#[tokio::test]
async fn a_policy_that_is_switched_on_later_stops_the_refresh() {
    let authority = Harness::with(|directory| {
        directory
            .app_mut("spa-backend")
            .unwrap()
            .delegated
            .push("api://downstream-api/user_impersonation".into());
        directory
            .policy_mut(crate::harness::MFA_POLICY)
            .unwrap()
            .enabled = false;
    })
    .await;
    let scope = (
        "scope",
        "api://downstream-api/user_impersonation offline_access",
    );
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[scope]).await;
    let code = authority
        .sign_in(&mut browser, &page, "alice")
        .await
        .parameters()["code"]
        .clone();
    let body = authority.redeem(&code, &[scope]).await.json();
    let token = body["refresh_token"].as_str().unwrap().to_owned();
    authority
        .running
        .set_policy(crate::harness::MFA_POLICY, true);
    let refused = authority.refresh(&token, &[scope]).await;
    assert_eq!(
        (refused.error_code(), refused.json()["claims"].as_str()),
        (50_076, Some(capolids(&authority.directory).as_str()))
    );
    authority
        .running
        .set_policy(crate::harness::MFA_POLICY, false);
    assert_eq!(
        authority.refresh(&token, &[scope]).await.status,
        200,
        "the refusal did not spend the token"
    );
}

#[tokio::test]
async fn capabilities_come_with_the_request_or_not_at_all() {
    let authority = Harness::start().await;
    let cp1 = (
        "claims",
        r#"{"access_token":{"xms_cc":{"values":["cp1"]}}}"#,
    );
    let code = authority.code(&mut Browser::default()).await;
    let body = authority.redeem(&code, &[cp1]).await.json();
    assert_eq!(
        claims(body["access_token"].as_str().unwrap())["xms_cc"],
        serde_json::json!(["cp1"])
    );
    let body = authority
        .refresh(body["refresh_token"].as_str().unwrap(), &[])
        .await
        .json();
    assert!(
        claims(body["access_token"].as_str().unwrap())
            .get("xms_cc")
            .is_none()
    );
}

#[tokio::test]
async fn a_public_client_shows_no_secret_and_only_a_spa_comes_cross_origin() {
    let authority = Harness::with(|directory| {
        let uris = &mut directory.app_mut("spa-backend").unwrap().redirect_uris;
        uris.spa = vec!["https://spa.example/".into()];
        uris.native = vec!["http://localhost".into()];
    })
    .await;
    for (uri, origin, secret, number) in [
        ("https://spa.example/", true, false, 0),
        ("https://spa.example/", false, false, 9_002_327),
        ("https://spa.example/", true, true, 700_025),
        ("http://localhost:51234", false, false, 0),
        ("http://localhost:51234", false, true, 700_025),
        ("http://localhost:51234", true, false, 9_002_326),
        (crate::harness::REDIRECT, true, true, 9_002_326),
    ] {
        let mut browser = Browser::default();
        let page = authority
            .authorize(&browser, &[("redirect_uri", uri)])
            .await;
        let code = authority
            .sign_in(&mut browser, &page, "alice")
            .await
            .parameters()["code"]
            .clone();
        let (id, shown) = (authority.id("spa-backend"), authority.secret("spa-backend"));
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("client_id", &id),
            ("code", &code),
            ("redirect_uri", uri),
            ("code_verifier", crate::harness::VERIFIER),
        ];
        if secret {
            form.push(("client_secret", &shown));
        }
        let mut request = authority
            .http
            .post(authority.endpoint("oauth2/v2.0/token"))
            .form(&form);
        if origin {
            request = request.header("origin", "https://spa.example");
        }
        let answer = Answer::of(request.send().await.unwrap()).await;
        if number == 0 {
            assert_eq!(
                claims(answer.json()["access_token"].as_str().unwrap())["azpacr"],
                "0"
            );
        } else {
            assert_eq!(answer.error_code(), number, "{uri}");
        }
    }
}

#[tokio::test]
async fn of_two_redemptions_at_once_one_succeeds() {
    let authority = Harness::start().await;
    for _ in 0..5 {
        let code = authority.code(&mut Browser::default()).await;
        let (one, other) = tokio::join!(authority.redeem(&code, &[]), authority.redeem(&code, &[]));
        let mut statuses = [one.status, other.status];
        statuses.sort_unstable();
        assert_eq!(statuses, [200, 400]);
    }
}
