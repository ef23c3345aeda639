//! The device code grant (RFC 8628): two codes, a person on a page, and a client that asks until there is an answer.

use local_authority::{Consent, Endpoint, Fault, Policy};
use serde_json::Value;

use crate::harness::{Answer, Browser, Harness, VERIFIER, claims};

const TOOLS: &str = "Microsoft Graph Command Line Tools";
const GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";
const REGISTER: &str =
    "https://graph.microsoft.com/Application.ReadWrite.All openid profile offline_access";
const CONFIRM: &str = "Are you trying to sign in to";

impl Harness {
    async fn device(&self, form: &[(&str, &str)]) -> Answer {
        let url = self.endpoint("oauth2/v2.0/devicecode");
        Answer::of(self.http.post(url).form(form).send().await.unwrap()).await
    }

    /// The two codes of the tools.
    async fn codes(&self, scope: &str) -> Value {
        let id = self.id(TOOLS);
        let answer = self.device(&[("client_id", &id), ("scope", scope)]).await;
        assert_eq!(answer.status, 200, "{}", answer.text);
        answer.json()
    }

    async fn poll_as(&self, id: &str, codes: &Value, more: &[(&str, &str)]) -> Answer {
        let mut form = vec![
            ("grant_type", GRANT),
            ("client_id", id),
            ("device_code", codes["device_code"].as_str().unwrap()),
        ];
        form.extend(more);
        self.token(&form).await
    }

    async fn poll(&self, codes: &Value) -> Answer {
        self.poll_as(&self.id(TOOLS), codes, &[]).await
    }

    async fn enter(&self, browser: &mut Browser, code: &str) -> Answer {
        self.submit(browser, "oauth2/deviceauth", &[("user_code", code)])
            .await
    }

    async fn begin(&self, browser: &mut Browser, codes: &Value) -> Answer {
        self.enter(browser, codes["user_code"].as_str().unwrap())
            .await
    }

    /// The answer to "is this your device?": `continue` or `cancel`.
    async fn say(&self, browser: &mut Browser, page: &Answer, word: &str) -> Answer {
        assert!(page.text.contains(CONFIRM), "{}", page.text);
        let flow = page.field("flow");
        self.submit(browser, "device", &[("flow", &flow), (word, "1")])
            .await
    }
}

fn error(answer: &Answer) -> (String, u64) {
    assert_eq!(answer.status, 400, "{}", answer.text);
    let name = answer.json()["error"].as_str().unwrap().to_owned();
    (name, answer.error_code())
}

fn is(name: &str, code: u64) -> (String, u64) {
    (name.to_owned(), code)
}

/// The tools hold `User.Read` for everybody.
async fn plain() -> Harness {
    Harness::with(|directory| {
        let tools = directory.app_mut(TOOLS).unwrap();
        tools.consent = Consent::Granted;
        tools.delegated = vec!["https://graph.microsoft.com/User.Read".to_owned()];
    })
    .await
}

#[tokio::test]
async fn an_administrator_signs_a_command_line_in() {
    let authority = Harness::start().await;
    let codes = authority.codes(REGISTER).await;
    let uri = format!("{}/common/oauth2/deviceauth", authority.running.url());
    assert_eq!(codes["verification_uri"], uri);
    assert_eq!(
        (codes["expires_in"].as_u64(), codes["interval"].as_u64()),
        (Some(900), Some(5))
    );
    let user_code = codes["user_code"].as_str().unwrap();
    assert_eq!(user_code.len(), 9);
    let message = codes["message"].as_str().unwrap();
    assert!(message.contains(&uri) && message.contains(user_code));
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_pending", 70_016)
    );

    let page = Answer::of(authority.http.get(uri).send().await.unwrap()).await;
    assert!(page.text.contains("name=\"user_code\""), "{}", page.text);
    let mut browser = Browser::default();
    let page = authority
        .enter(&mut browser, &user_code.to_ascii_lowercase())
        .await;
    assert!(page.is_sign_in(), "{}", page.text);
    let page = authority.sign_in(&mut browser, &page, "admin").await;
    for words in [TOOLS, "Microsoft Graph", "admin@contoso.example"] {
        assert!(page.text.contains(words), "{words}: {}", page.text);
    }
    authority.clock.advance(5);
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_pending", 70_016)
    );
    let page = authority.say(&mut browser, &page, "continue").await;
    assert!(page.is_consent(), "{}", page.text);
    let done = authority.accept(&mut browser, &page).await;
    assert!(
        done.status == 200 && done.text.contains("You are signed in on your device"),
        "{}",
        done.text
    );

    authority.clock.advance(5);
    let answer = authority.poll(&codes).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(
        (&token["scp"], &token["azpacr"], &token["azp"]),
        (
            &"Application.ReadWrite.All".into(),
            &"0".into(),
            &authority.id(TOOLS).into()
        )
    );
    assert_eq!(body["scope"], REGISTER);
    let id_token = claims(body["id_token"].as_str().unwrap());
    assert_eq!(id_token["preferred_username"], "admin@contoso.example");
    assert!(id_token.get("nonce").is_none());

    // Once is all; the refresh token goes on.
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("invalid_grant", 54_005)
    );
    let form = [
        ("grant_type", "refresh_token"),
        ("client_id", &authority.id(TOOLS)),
        ("refresh_token", body["refresh_token"].as_str().unwrap()),
        ("scope", REGISTER),
    ];
    assert_eq!(authority.token(&form).await.status, 200);
    let counters = authority.running.counters();
    assert_eq!((counters.device_code, counters.device_code_polls), (1, 4));
}

#[tokio::test]
async fn the_grant_has_an_older_name_as_well() {
    let authority = Harness::start().await;
    let codes = authority.codes(REGISTER).await;
    let id = authority.id(TOOLS);
    let form = [
        ("grant_type", "device_code"),
        ("client_id", &*id),
        ("device_code", codes["device_code"].as_str().unwrap()),
    ];
    assert_eq!(
        error(&authority.token(&form).await),
        is("authorization_pending", 70_016)
    );
}

#[tokio::test]
async fn what_only_an_administrator_may_grant_no_other_user_grants() {
    let authority = Harness::start().await;
    let codes = authority.codes(REGISTER).await;
    let mut browser = Browser::default();
    let page = authority.begin(&mut browser, &codes).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.text.contains("AADSTS65001"), "{}", page.text);
    // The code is still good for somebody who may.
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_pending", 70_016)
    );
    let page = authority.begin(&mut browser, &codes).await;
    let page = authority.sign_in(&mut browser, &page, "admin").await;
    let page = authority.say(&mut browser, &page, "continue").await;
    authority.accept(&mut browser, &page).await;
    assert_eq!(authority.poll(&codes).await.status, 200);
}

#[tokio::test]
async fn a_session_that_was_there_is_not_taken_for_granted() {
    let authority = plain().await;
    let mut browser = Browser::default();
    authority.code(&mut browser).await;
    let codes = authority.codes("User.Read").await;
    let page = authority.begin(&mut browser, &codes).await;
    assert!(page.is_sign_in(), "{}", page.text);
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.text.contains(CONFIRM), "{}", page.text);
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_pending", 70_016)
    );
    let done = authority.say(&mut browser, &page, "continue").await;
    assert!(done.text.contains("You are signed in"), "{}", done.text);
    let answer = authority.poll(&codes).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    assert!(answer.json().get("refresh_token").is_none());
    // The code is used up.
    let page = authority.begin(&mut browser, &codes).await;
    assert!(page.text.contains("That code is not right"));
}

#[tokio::test]
async fn who_refuses_is_taken_at_their_word_on_every_page() {
    let authority = plain().await;
    for page_of in ["sign-in", "device"] {
        let codes = authority.codes("User.Read").await;
        let mut browser = Browser::default();
        let mut page = authority.begin(&mut browser, &codes).await;
        if page_of == "device" {
            page = authority.sign_in(&mut browser, &page, "alice").await;
        }
        let flow = page.field("flow");
        let form = [("flow", flow.as_str()), ("cancel", "1")];
        let answer = authority.submit(&mut browser, page_of, &form).await;
        assert!(answer.text.contains("AADSTS65004"), "{}", answer.text);
        assert_eq!(
            error(&authority.poll(&codes).await),
            is("authorization_declined", 65_004),
            "{page_of}"
        );
        // Neither the page nor the code leads anywhere now.
        let again = authority.submit(&mut browser, page_of, &form).await;
        assert_eq!(again.status, 400);
        let page = authority.begin(&mut browser, &codes).await;
        assert!(page.text.contains("That code is not right"));
    }
}

#[tokio::test]
async fn the_first_of_two_windows_decides() {
    let authority = plain().await;
    let codes = authority.codes("User.Read").await;
    let (mut first, mut second) = (Browser::default(), Browser::default());
    let mut pages = Vec::new();
    for (browser, user) in [(&mut first, "alice"), (&mut second, "bob")] {
        let page = authority.begin(browser, &codes).await;
        pages.push(authority.sign_in(browser, &page, user).await);
    }
    let refused = authority.say(&mut first, &pages[0], "cancel").await;
    assert!(refused.text.contains("AADSTS65004"), "{}", refused.text);
    let late = authority.say(&mut second, &pages[1], "continue").await;
    assert_eq!(late.status, 400);
    assert!(late.text.contains("AADSTS70019"), "{}", late.text);
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_declined", 65_004)
    );
}

#[tokio::test]
async fn a_policy_on_the_api_asks_for_the_second_factor_on_the_way() {
    let authority = Harness::with(|directory| {
        let tools = directory.app_mut(TOOLS).unwrap();
        tools.consent = Consent::Granted;
        tools.delegated = vec!["api://downstream-api/user_impersonation".to_owned()];
    })
    .await;
    let codes = authority.codes(crate::harness::DOWNSTREAM).await;
    let mut browser = Browser::default();
    let page = authority.begin(&mut browser, &codes).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    assert!(page.is_mfa(), "{}", page.text);
    let page = authority.confirm(&mut browser, &page).await;
    authority.say(&mut browser, &page, "continue").await;
    assert_eq!(authority.poll(&codes).await.status, 200);
}

#[tokio::test]
async fn a_policy_counts_when_the_tokens_are_fetched_too() {
    let authority = plain().await;
    let codes = authority.codes("User.Read").await;
    let mut browser = Browser::default();
    let page = authority.begin(&mut browser, &codes).await;
    let page = authority.sign_in(&mut browser, &page, "alice").await;
    authority.say(&mut browser, &page, "continue").await;
    let policy = Policy::mfa_for_app("00000003-0000-0000-c000-000000000000");
    let name = policy.name.clone();
    authority.running.require(policy).unwrap();
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("interaction_required", 50_076)
    );
    assert!(authority.running.remove_policy(&name));
    assert_eq!(authority.poll(&codes).await.status, 200);
}

#[tokio::test]
async fn each_wrong_poll_has_its_answer() {
    let authority = plain().await;
    let codes = authority.codes("User.Read").await;
    let tools = authority.id(TOOLS);
    let unknown = serde_json::json!({ "device_code": "nothing" });
    assert_eq!(
        error(&authority.poll(&unknown).await),
        is("bad_verification_code", 70_018)
    );
    let missing = [("grant_type", GRANT), ("client_id", tools.as_str())];
    assert_eq!(
        error(&authority.token(&missing).await),
        is("invalid_request", 900_144)
    );
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_pending", 70_016)
    );
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("slow_down", 70_016)
    );
    // A public client has no secret, and one that is not public has one.
    let secret = authority
        .poll_as(&tools, &codes, &[("client_secret", "x")])
        .await;
    assert_eq!((secret.status, secret.error_code()), (401, 7_000_215));
    let daemon = authority.id("daemon");
    let form = [("client_id", daemon.as_str()), ("scope", "User.Read")];
    let others = authority.device(&form).await.json();
    let bare = authority.poll_as(&daemon, &others, &[]).await;
    assert_eq!((bare.status, bare.error_code()), (401, 7_000_218));
    let secret = authority.secret("daemon");
    let proven = [("client_secret", secret.as_str())];
    assert_eq!(
        error(&authority.poll_as(&daemon, &others, &proven).await),
        is("authorization_pending", 70_016)
    );
    // And nobody asks for another one's device.
    assert_eq!(
        error(&authority.poll_as(&daemon, &codes, &proven).await),
        is("bad_verification_code", 70_018)
    );
    authority.clock.advance(900);
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("expired_token", 70_020)
    );
}

#[tokio::test]
async fn a_device_that_may_not_ask_gets_no_codes() {
    let authority = Harness::start().await;
    let tools = authority.id(TOOLS);
    let nobody = "00000000-0000-4000-8000-000000000009";
    for (form, code) in [
        (vec![("client_id", tools.as_str())], 900_144),
        (vec![("scope", "User.Read")], 900_144),
        (vec![("client_id", nobody), ("scope", "User.Read")], 700_016),
        (
            vec![("client_id", tools.as_str()), ("scope", "api://nobody/x")],
            500_011,
        ),
        (
            vec![
                ("client_id", tools.as_str()),
                ("scope", "User.Read"),
                ("claims", "{"),
            ],
            9_000_411,
        ),
    ] {
        let answer = authority.device(&form).await;
        assert_eq!(
            (answer.status, answer.error_code()),
            (400, code),
            "{form:?}"
        );
    }
    let url = authority.endpoint("oauth2/v2.0/devicecode");
    let json = authority
        .http
        .post(url)
        .body("{}")
        .header("content-type", "application/json");
    let answer = Answer::of(json.send().await.unwrap()).await;
    assert_eq!(answer.error_code(), 900_561);
    let fault = Fault::status(503).with_retry_after(7);
    authority.running.fail_next(Endpoint::DeviceCode, 1, fault);
    let form = [("client_id", tools.as_str()), ("scope", "User.Read")];
    let answer = authority.device(&form).await;
    assert_eq!(
        (
            answer.status,
            answer.headers["retry-after"].to_str().unwrap()
        ),
        (503, "7")
    );
    assert_eq!(authority.device(&form).await.status, 200);
}

#[tokio::test]
async fn no_other_site_types_a_code() {
    let authority = plain().await;
    let codes = authority.codes("User.Read").await;
    let typed = [("user_code", codes["user_code"].as_str().unwrap())];
    let post = || {
        let url = authority.endpoint("oauth2/deviceauth");
        authority.http.post(url).form(&typed)
    };
    for (name, value) in [
        ("origin", "https://evil.example"),
        ("sec-fetch-site", "cross-site"),
    ] {
        let answer = Answer::of(post().header(name, value).send().await.unwrap()).await;
        assert_eq!(answer.status, 403, "{name}");
    }
    let own = authority.running.url().to_owned();
    let answer = Answer::of(post().header("origin", own).send().await.unwrap()).await;
    assert!(answer.is_sign_in());
}

#[tokio::test]
async fn guessing_ends_after_a_hundred_wrong_codes() {
    let authority = plain().await;
    let codes = authority.codes("User.Read").await;
    let mut browser = Browser::default();
    for _ in 0..100 {
        let page = authority.enter(&mut browser, "BBBBBBBBB").await;
        assert!(page.text.contains("That code is not right"));
    }
    let page = authority.begin(&mut browser, &codes).await;
    assert_eq!(page.status, 429, "{}", page.text);
    assert!(page.text.contains("Try again in ten minutes"));
    authority.clock.advance(600);
    assert!(authority.begin(&mut browser, &codes).await.is_sign_in());
}

#[tokio::test]
async fn neither_code_is_on_record() {
    let authority = plain().await;
    let codes = authority.codes("User.Read").await;
    let mut browser = Browser::default();
    let page = authority.begin(&mut browser, &codes).await;
    authority.sign_in(&mut browser, &page, "alice").await;
    authority.poll(&codes).await;
    let requests = authority.running.requests();
    let text = serde_json::to_string(&requests).unwrap();
    for code in ["user_code", "device_code"] {
        assert!(!text.contains(codes[code].as_str().unwrap()), "{code}");
    }
    let endpoints: Vec<_> = requests.iter().map(|request| request.endpoint).collect();
    assert_eq!(endpoints, ["device_code", "device", "sign-in", "token"]);
    assert_eq!(requests[3].grant_type, Some(GRANT));
    assert_eq!(requests[1].client.as_deref(), Some(TOOLS));
}

#[tokio::test]
async fn security_defaults_block_the_grant_and_nothing_else() {
    let authority = Harness::with(|directory| directory.security_defaults = true).await;
    let codes = authority.codes(REGISTER).await;
    assert_eq!(
        error(&authority.poll(&codes).await),
        is("authorization_pending", 70_016)
    );
    let mut browser = Browser::default();
    let page = authority.begin(&mut browser, &codes).await;
    let page = authority.sign_in(&mut browser, &page, "admin").await;
    let page = authority.say(&mut browser, &page, "continue").await;
    authority.accept(&mut browser, &page).await;
    authority.clock.advance(5);
    let answer = authority.poll(&codes).await;
    assert_eq!(error(&answer), is("access_denied", 530_035));
    let body = answer.json();
    assert_eq!(body["suberror"], "message_only");
    assert!(body.get("claims").is_none() && body.get("access_token").is_none());

    // With a browser of the command line's own machine, whatever port that has.
    let id = authority.id(TOOLS);
    let uri = "http://localhost:51234";
    let mut browser = Browser::default();
    let request = [
        ("client_id", id.as_str()),
        ("redirect_uri", uri),
        ("scope", REGISTER),
        ("prompt", "select_account"),
    ];
    let page = authority.authorize(&browser, &request).await;
    // Consent was given with the device's sign-in.
    let page = authority.sign_in(&mut browser, &page, "admin").await;
    let location = page.location();
    assert!(
        location
            .as_str()
            .starts_with("http://localhost:51234/?code="),
        "{location}"
    );
    let form = [
        ("grant_type", "authorization_code"),
        ("client_id", &id),
        ("code", &page.parameters()["code"]),
        ("redirect_uri", uri),
        ("code_verifier", VERIFIER),
    ];
    let answer = authority.token(&form).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let body = answer.json();
    let token = claims(body["access_token"].as_str().unwrap());
    assert_eq!(token["scp"], "Application.ReadWrite.All");
    assert!(body["refresh_token"].is_string());
}

/// RFC 8252 sections 7.3 and 8.3: the port alone is free, and on this machine alone.
#[tokio::test]
async fn the_tools_are_redirected_to_this_machine_only() {
    let authority = Harness::start().await;
    let id = authority.id(TOOLS);
    for (uri, status) in [
        ("http://localhost", 200),
        ("http://localhost:1", 200),
        ("http://localhost:65535", 200),
        ("http://127.0.0.1:1", 400),
        ("http://localhost:1/callback", 400),
        ("https://localhost:1", 400),
        ("http://localhost.evil.example:1", 400),
    ] {
        let request = [("client_id", id.as_str()), ("redirect_uri", uri)];
        let page = authority.authorize(&Browser::default(), &request).await;
        assert_eq!(page.status, status, "{uri}");
        assert_eq!(page.text.contains("AADSTS50011"), status == 400, "{uri}");
    }
}
