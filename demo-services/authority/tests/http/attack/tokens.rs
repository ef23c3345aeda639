//! What codes, tokens and assertions can be used for, also at once.

use super::*;

#[tokio::test]
async fn what_was_issued_to_one_client_is_worth_nothing_to_another() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let (daemon, secret) = (authority.id("daemon"), authority.secret("daemon"));
    let other = [
        ("client_id", daemon.as_str()),
        ("client_secret", secret.as_str()),
    ];
    assert_eq!(authority.redeem(&code, &other).await.error_code(), 70_000);
    let body = authority.redeem(&code, &[]).await.json();
    let refresh = text(&body, "refresh_token");
    assert_eq!(
        authority.refresh(&refresh, &other).await.error_code(),
        700_007
    );
    let without = [("client_secret", "")];
    assert_eq!(
        authority.refresh(&refresh, &without).await.error_code(),
        7_000_218
    );
    // The thief has not spent it.
    assert_eq!(authority.refresh(&refresh, &[]).await.status, 200);
    for name in ["access_token", "id_token"] {
        let answer = authority.on_behalf_of(&text(&body, name), &other).await;
        assert_eq!(answer.error_code(), 500_131, "{name}");
    }
    for name in ["access_token", "id_token", "refresh_token"] {
        let answer = authority.graph(&text(&body, name), "GET", "me", None).await;
        assert_eq!(answer.status, 401, "{name}");
    }
}

#[tokio::test]
async fn an_id_token_is_neither_an_assertion_nor_a_bearer_token() {
    // The middle tier is a client with a sign-in of its own as well: the ID token's audience is the one an assertion needs.
    let callback = "http://localhost:5000/cb";
    let authority = Harness::with(|directory| {
        let middle = directory.app_mut("middle-tier").unwrap();
        middle.redirect_uris.web = vec![callback.to_owned()];
        middle.delegated.push(format!("{GRAPH}/User.Read"));
    })
    .await;
    let (id, secret) = (authority.id("middle-tier"), authority.secret("middle-tier"));
    let mut browser = Browser::default();
    let scope = "openid User.Read";
    let asked = [
        ("client_id", id.as_str()),
        ("redirect_uri", callback),
        ("scope", scope),
    ];
    let page = authority.authorize(&browser, &asked).await;
    let answer = authority.sign_in(&mut browser, &page, "alice").await;
    let code = answer.parameters()["code"].clone();
    let form = [asked[0], asked[1], asked[2], ("client_secret", &secret)];
    let body = authority.redeem(&code, &form).await.json();
    let (id_token, for_graph) = (text(&body, "id_token"), text(&body, "access_token"));
    assert_eq!(claims(&id_token)["aud"], id);
    assert_eq!(
        authority.on_behalf_of(&id_token, &[]).await.error_code(),
        50_013
    );
    assert_eq!(
        authority.on_behalf_of(&for_graph, &[]).await.error_code(),
        500_131
    );
    assert_eq!(
        authority.graph(&id_token, "GET", "me", None).await.status,
        401
    );
    assert_eq!(
        authority.graph(&for_graph, "GET", "me", None).await.status,
        200
    );
}

#[tokio::test]
async fn an_assertion_whose_uti_was_changed_is_not_on_record() {
    let authority = Harness::start().await;
    let spec = || TokenSpec::user("bob", "middle-tier").mfa();
    let assertion = authority.running.issue(spec().claim("uti", "another"));
    assert_eq!(
        authority.on_behalf_of(&assertion, &[]).await.error_code(),
        50_013
    );
    // And it takes nobody's record away.
    let weak = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier"));
    let uti = claims(&weak)["uti"].clone();
    let _ = authority.running.issue(spec().claim("uti", uti));
    assert_eq!(
        authority.on_behalf_of(&weak, &[]).await.error_code(),
        50_076
    );
}

#[tokio::test]
async fn a_code_is_redeemed_for_what_the_directory_says_now() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let path = app_path(&authority, "middle-tier");
    let body = json!({ "displayName": "renamed" });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    authority
        .running
        .require(Policy::mfa_for_app("renamed"))
        .unwrap();
    for scope in [MIDDLE, ""] {
        let answer = authority.redeem(&code, &[("scope", scope)]).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (400, 50_076),
            "{scope}"
        );
    }
}

#[tokio::test]
async fn a_policy_that_came_during_the_sign_in_counts() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let page = authority.authorize(&browser, &[]).await;
    authority
        .running
        .require(Policy::mfa_for_app("middle-tier"))
        .unwrap();
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_mfa());
    authority
        .running
        .require(Policy::block_app("middle-tier"))
        .unwrap();
    let answer = authority.confirm(&mut browser, &page).await;
    assert!(answer.parameters()["error_description"].contains("53003"));
}

#[tokio::test]
async fn a_code_goes_only_to_a_redirect_uri_that_is_still_registered() {
    for delete in [false, true] {
        let authority = Harness::start().await;
        let mut browser = Browser::default();
        let page = authority.authorize(&browser, &[]).await;
        let path = app_path(&authority, "spa-backend");
        let body = json!({ "web": { "redirectUris": ["http://localhost:3000/other"] } });
        let (method, body) = if delete {
            ("DELETE", Value::Null)
        } else {
            ("PATCH", body)
        };
        assert_eq!(by_writer(&authority, method, &path, body).await.status, 204);
        let answer = authority.sign_in(&mut browser, &page, "alice").await;
        assert_eq!(answer.status, 400, "{delete}: {}", answer.text);
        assert!(!answer.headers.contains_key("location"));
    }
}

#[tokio::test]
async fn a_deleted_client_has_nothing_left() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let refresh = text(&authority.redeem(&code, &[]).await.json(), "refresh_token");
    let code = authority.code(&mut browser).await;
    let path = app_path(&authority, "spa-backend");
    assert_eq!(
        by_writer(&authority, "DELETE", &path, Value::Null)
            .await
            .status,
        204
    );
    assert_eq!(authority.redeem(&code, &[]).await.error_code(), 700_016);
    assert_eq!(authority.refresh(&refresh, &[]).await.error_code(), 700_016);
    let page = authority.authorize(&browser, &[]).await;
    assert!(page.status == 400 && page.text.contains("AADSTS700016"));
    let logout = format!("oauth2/v2.0/logout?post_logout_redirect_uri={REDIRECT}");
    let answer = authority
        .http
        .get(authority.endpoint(&logout))
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status().as_u16(), 200);
}

#[tokio::test]
async fn neither_refresh_nor_common_nor_a_spare_context_gets_around_a_policy() {
    let authority = Harness::start().await;
    let mut browser = Browser::default();
    let code = authority.code(&mut browser).await;
    let weak = authority.redeem(&code, &[]).await.json();
    // Another browser of the same user steps up.
    let mut other = Browser::default();
    let page = authority.authorize(&other, &[("claims", C1)]).await;
    let page = authority.sign_in(&mut other, &page, "alice").await;
    assert!(
        authority
            .confirm(&mut other, &page)
            .await
            .parameters()
            .contains_key("code")
    );
    let both =
        r#"{"access_token":{"acrs":{"essential":true,"values":["c1"]},"capolids":{"values":[]}}}"#;
    let refreshed = authority
        .refresh(&text(&weak, "refresh_token"), &[("claims", both)])
        .await;
    assert_eq!(refreshed.error_code(), 50_076);
    let refreshed = authority
        .refresh(&text(&weak, "refresh_token"), &[])
        .await
        .json();
    let assertion = text(&refreshed, "access_token");
    assert!(claims(&assertion).get("acrs").is_none());
    for tenant in ["common", "organizations", "contoso.example"] {
        let url = format!("{}/{tenant}/oauth2/v2.0/token", authority.running.url());
        let (id, secret) = (authority.id("middle-tier"), authority.secret("middle-tier"));
        let form = [
            ("grant_type", "urn:ietf:params:oauth:grant-type:jwt-bearer"),
            ("client_id", &id),
            ("client_secret", &secret),
            ("assertion", &assertion),
            ("requested_token_use", "on_behalf_of"),
            ("scope", DOWNSTREAM),
        ];
        let answer = Answer::of(authority.http.post(url).form(&form).send().await.unwrap()).await;
        assert_eq!(answer.error_code(), 50_076, "{tenant}");
    }
}

#[tokio::test]
async fn a_client_assertion_is_for_this_endpoint_by_a_registered_key_and_an_algorithm_of_it() {
    let made = Made::new();
    let authority = Harness::with(|directory| {
        directory.app_mut("daemon").unwrap().certificates = vec![made.pem.clone()];
    })
    .await;
    let (id, endpoint) = (
        authority.id("daemon"),
        authority.endpoint("oauth2/v2.0/token"),
    );
    let token = async |assertion: &str| {
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "api://downstream-api/.default"),
            ("client_assertion_type", TYPE),
            ("client_assertion", assertion),
        ];
        authority.token(&form).await
    };
    let good = made.assertion(&id, &endpoint, START);
    assert_eq!(token(&good).await.status, 200);
    for audience in [
        authority.endpoint("oauth2/v2.0/authorize"),
        format!("{endpoint}/"),
        endpoint.to_uppercase(),
        endpoint.replace("localhost", "127.0.0.1"),
        authority.running.issuer_v1(),
        authority.running.url().to_owned(),
        String::new(),
    ] {
        let answer = token(&made.assertion(&id, &audience, START)).await;
        assert_eq!(answer.error_code(), 700_023, "{audience}");
    }
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    let parts: Vec<&str> = good.split('.').collect();
    let header = |change: Value| {
        let mut header: Value =
            serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[0]).unwrap()).unwrap();
        header
            .as_object_mut()
            .unwrap()
            .extend(change.as_object().unwrap().clone());
        let header = URL_SAFE_NO_PAD.encode(header.to_string());
        format!("{header}.{}.{}", parts[1], parts[2])
    };
    for (assertion, number) in [
        (header(json!({ "alg": "none" })), 5_002_738),
        (header(json!({ "alg": "HS256" })), 5_002_738),
        (header(json!({ "alg": "ps256" })), 5_002_738),
        (header(json!({ "alg": ["PS256"] })), 5_002_738),
        (header(json!({ "alg": "RS256" })), 700_027),
        (header(json!({ "crit": [] })), 50_027),
        (header(json!({ "x5t": "AAAA" })), 700_027),
        (header(json!({ "x5c": ["AAAA"] })), 700_027),
        (format!("{}.{}.", parts[0], parts[1]), 700_027),
        (format!("{good}="), 50_027),
        (format!("{good}."), 50_027),
        (format!(" {good}"), 50_027),
        (format!("{}..{}", parts[0], parts[2]), 50_027),
    ] {
        assert_eq!(token(&assertion).await.error_code(), number, "{assertion}");
    }
}

#[tokio::test]
async fn a_certificate_that_graph_has_replaced_proves_nothing_at_once() {
    let (old, new) = (Made::new(), Made::new());
    let authority = Harness::with(|directory| {
        directory.app_mut("daemon").unwrap().certificates = vec![old.pem.clone()];
    })
    .await;
    let (id, endpoint) = (
        authority.id("daemon"),
        authority.endpoint("oauth2/v2.0/token"),
    );
    let status = async |made: &Made| {
        let assertion = made.assertion(&id, &endpoint, START);
        let form = [
            ("grant_type", "client_credentials"),
            ("scope", "api://downstream-api/.default"),
            ("client_assertion_type", TYPE),
            ("client_assertion", &assertion),
        ];
        authority.token(&form).await.status
    };
    assert_eq!((status(&old).await, status(&new).await), (200, 401));
    let path = app_path(&authority, "daemon");
    let told = by_writer(&authority, "GET", &path, Value::Null).await;
    assert!(!told.text.contains("BEGIN CERTIFICATE"));
    let key_id = told.json()["keyCredentials"][0]["keyId"].clone();
    let der: String = new
        .pem
        .lines()
        .filter(|line| !line.starts_with('-'))
        .collect();
    // Under the id of the old one: the name of a key is not its value.
    let key = |der: Value| json!({ "keyId": key_id, "type": "AsymmetricX509Cert", "usage": "Verify", "key": der });
    let body = json!({ "keyCredentials": [key(json!(der)), key(json!(der))] });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        400
    );
    let body = json!({ "keyCredentials": [key(json!(der))] });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    assert_eq!((status(&old).await, status(&new).await), (401, 200));
    let body = json!({ "keyCredentials": [] });
    assert_eq!(
        by_writer(&authority, "PATCH", &path, body).await.status,
        204
    );
    assert_eq!((status(&old).await, status(&new).await), (401, 401));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_refreshes_at_once_at_most_one_succeeds() {
    let authority = std::sync::Arc::new(Harness::start().await);
    for round in 0..5 {
        let code = authority.code(&mut Browser::default()).await;
        let token = text(&authority.redeem(&code, &[]).await.json(), "refresh_token");
        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (authority, token) = (authority.clone(), token.clone());
            tasks.spawn(async move { authority.refresh(&token, &[]).await.status });
        }
        let statuses = tasks.join_all().await;
        let good = statuses.iter().filter(|status| **status == 200).count();
        assert!(good <= 1, "{round}: {statuses:?}");
        assert!(statuses.iter().all(|status| matches!(status, 200 | 400)));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_revocation_between_exchanges_leaves_no_refresh_token_that_works() {
    let authority = std::sync::Arc::new(Harness::start().await);
    let assertion = authority
        .running
        .issue(TokenSpec::user("alice", "middle-tier").mfa());
    let mut tasks = tokio::task::JoinSet::new();
    for index in 0..12 {
        let (authority, assertion) = (authority.clone(), assertion.clone());
        tasks.spawn(async move {
            if index == 6 {
                assert!(authority.running.revoke("alice"));
            }
            let scope = format!("{DOWNSTREAM} offline_access");
            authority
                .on_behalf_of(&assertion, &[("scope", &scope)])
                .await
        });
    }
    let (id, secret) = (authority.id("middle-tier"), authority.secret("middle-tier"));
    let changes = [
        ("client_id", id.as_str()),
        ("client_secret", &secret),
        ("scope", DOWNSTREAM),
    ];
    for answer in tasks.join_all().await {
        if answer.status == 200 {
            let token = text(&answer.json(), "refresh_token");
            assert_eq!(
                authority.refresh(&token, &changes).await.error_code(),
                50_173
            );
        }
    }
    assert_eq!(
        authority.on_behalf_of(&assertion, &[]).await.error_code(),
        50_173
    );
}
