//! The demo's own stories as they are drawn, before and after the person has done what was demanded.

use super::*;

/// Gives the code that the demo's users have.
async fn second_factor(browser: &Browser) {
    browser.type_into("#code", "123456").await;
    browser.click("button.primary").await;
}

/// The panel's text for the first step that says this in words.
async fn open(browser: &Browser, words: &str) -> String {
    let script = "const items = [...document.querySelectorAll('#picture li')];\
        return items.findIndex(item => item.textContent.includes(arguments[0])) + 1";
    let step = browser.execute(script, &[json!(words)]).await;
    let button = format!("#picture li:nth-child({step}) button");
    assert!(step != 0, "{words} in {:?}", steps(browser).await);
    browser.click(&button).await;
    browser.text("#hop").await
}

async fn begin(browser: &Browser, world: &World) {
    media(browser, "reduce", "light").await;
    sign_in(browser, world, "alice", "alice-in-wonderland").await;
}

#[tokio::test]
async fn call_api_is_one_picture_before_and_after_the_step_up() {
    with_browser("picture-call-api", async |browser| {
        let world = World::start().await;
        begin(browser, &world).await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        done(browser).await;
        let before = [
            "call browser spa-backend request",
            "call spa-backend middle-tier request",
            "token_request middle-tier authority request",
            "token_refused authority middle-tier warn",
            "answer middle-tier spa-backend warn",
            "answer spa-backend browser warn",
        ];
        assert_eq!(steps(browser).await, before);
        let shown = open(browser, "answers 401: a challenge").await;
        for part in [
            "WWW-Authenticate: Bearer",
            "insufficient_claims",
            "\"access_token\"",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        shows_no_token(browser).await;
        look(browser, "call-api-challenged").await;

        browser.click("#continue").await;
        second_factor(browser).await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        done(browser).await;
        let after = [
            "sign_in browser authority request",
            "signed_in authority browser good",
            "token_request spa-backend authority request",
            "token authority spa-backend good",
            "call browser spa-backend good",
            "call spa-backend middle-tier good",
            "token_request middle-tier authority request",
            "token authority middle-tier good",
            "call middle-tier downstream-api good",
            "answer downstream-api middle-tier good",
            "answer middle-tier spa-backend good",
            "answer spa-backend browser good",
        ];
        assert_eq!(steps(browser).await, [&before[..], &after].concat());
        let facts = browser.text("[data-part=facts]").await;
        assert!(facts.contains("3 token requests"), "{facts}");
        let shown = open(browser, "Middle tier calls Downstream API").await;
        for part in [
            "Audience",
            "user_impersonation",
            "Age",
            "curl -i -X GET",
            "$TOKEN",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
        shows_no_token(browser).await;
        look(browser, "call-api").await;
        // What the README shows: docs/picture.png is a copy.
        open(browser, "answers 401: a challenge").await;
        browser.element("#picture", "readme-picture").await;

        // Again: every tier holds its token.
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        done(browser).await;
        let facts = browser.text("[data-part=facts]").await;
        assert!(facts.contains("0 token requests"), "{facts}");
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn without_the_policy_only_the_api_demands() {
    with_browser("picture-secure", async |browser| {
        let world = World::start().await;
        begin(browser, &world).await;
        browser.click("#policy").await;
        browser.wait_for("#policy:not(:checked):enabled").await;
        let enabled = |world: &World| world.demo.authority().directory().policies[0].enabled;
        assert!(!enabled(&world));
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        done(browser).await;
        let through = steps(browser).await;
        assert!(
            through.iter().all(|step| !step.ends_with("warn")),
            "{through:?}"
        );

        browser.click("#secure").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        done(browser).await;
        let challenged = steps(browser).await;
        assert!(
            challenged.contains(&"answer downstream-api middle-tier warn".to_owned()),
            "{challenged:?}"
        );
        let shown = open(browser, "Downstream API answers 401: a challenge").await;
        assert!(shown.contains("\"c1\""), "{shown}");
        browser.click("#continue").await;
        second_factor(browser).await;
        browser.wait_for_text("#status", "Secure succeeded").await;
        done(browser).await;
        let whole = steps(browser).await;
        assert_eq!(whole[..challenged.len()], challenged);
        assert!(
            whole.contains(&"call middle-tier downstream-api good".to_owned()),
            "{whole:?}"
        );
        shows_no_token(browser).await;
        look(browser, "secure").await;

        browser.click("#policy").await;
        browser.wait_for("#policy:checked:enabled").await;
        assert!(enabled(&world));
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn whoever_is_revoked_signs_in_again_and_the_call_completes() {
    with_browser("picture-revoke", async |browser| {
        let world = World::start().await;
        begin(browser, &world).await;
        browser.click("#call-api").await;
        browser.click("#continue").await;
        second_factor(browser).await;
        browser.wait_for_text("#status", "Call API succeeded").await;
        done(browser).await;
        // Twice: a token of the second sign-in can be revoked as well.
        for _ in 0..2 {
            browser.click("#revoke").await;
            browser
                .wait_for_text("#status", "new sign-in is needed")
                .await;
            done(browser).await;
            // The token that the middle tier holds has not ended, so it is sent, and refused by the API.
            let challenged = steps(browser).await;
            assert!(
                challenged.contains(&"answer downstream-api middle-tier warn".to_owned()),
                "{challenged:?}"
            );
            let shown = open(browser, "Downstream API answers 401: a challenge").await;
            assert!(shown.contains("\"nbf\""), "{shown}");
            browser.click("#continue").await;
            browser.type_into("#password", "alice-in-wonderland").await;
            browser.click("button.primary").await;
            // The policy wants the second factor of the new sign-in as well; the page goes there by itself.
            second_factor(browser).await;
            browser.wait_for_text("#status", "Call API succeeded").await;
            done(browser).await;
            let whole = steps(browser).await;
            assert_eq!(whole[..challenged.len()], challenged);
            let rounds = whole.iter().filter(|step| step.starts_with("sign_in "));
            assert_eq!(rounds.count(), 2, "{whole:?}");
        }
        shows_no_token(browser).await;
        look(browser, "revoke").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_samples_way_ends_at_the_middle_tier() {
    with_browser("picture-samples", async |browser| {
        let world = World::start().await;
        begin(browser, &world).await;
        browser.click("#samples-way").await;
        browser.click("#call-api").await;
        let status = browser.wait_for_text("#status", "did not succeed").await;
        assert!(status.contains("dead end"), "{status}");
        assert_eq!(browser.text("#continue").await, "", "there is no way on");
        done(browser).await;
        assert_eq!(
            steps(browser).await,
            [
                "call browser spa-backend request",
                "call spa-backend middle-tier request",
                "token_request middle-tier authority request",
                "token_refused authority middle-tier warn",
                "answer middle-tier spa-backend bad",
                "answer spa-backend browser bad",
            ]
        );
        let shown = open(browser, "Middle tier answers 403").await;
        assert!(!shown.contains("WWW-Authenticate"), "{shown}");
        assert!(shown.contains("nothing says what is missing"), "{shown}");
        look(browser, "samples").await;

        // The same call in the way of this project names its demand; a call goes one way.
        browser.click("#call-grpc").await;
        browser.wait_for("#samples-way:not(:checked)").await;
        browser.click("#call-api").await;
        browser.wait_for_text("#status", "Stronger sign-in").await;
        world.stop().await;
    })
    .await;
}

#[tokio::test]
async fn two_people_at_once_see_their_own_calls_alone() {
    with_browser("picture-alice", async |alice| {
        with_browser("picture-bob", async |bob| {
            let world = World::start().await;
            media(alice, "reduce", "light").await;
            media(bob, "reduce", "light").await;
            sign_in(alice, &world, "alice", "alice-in-wonderland").await;
            sign_in(bob, &world, "bob", "bob-the-builder").await;
            alice.click("#call-api").await;
            bob.click("#secure").await;
            for browser in [alice, bob] {
                browser.wait_for_text("#status", "Stronger sign-in").await;
                done(browser).await;
                assert_eq!(steps(browser).await.len(), 6);
            }
            let urls = "return [...document.querySelectorAll('#picture li')].map(item => item.textContent).join()";
            for (browser, own, others) in [(alice, "/api/api", "/api/secure"), (bob, "/api/secure", "/api/api")] {
                let text = browser.execute(urls, &[]).await;
                let text = text.as_str().unwrap();
                assert!(text.contains(own) && !text.contains(others), "{text}");
            }
            let flow = "return document.getElementById('facts').textContent.split('correlation id ')[1]";
            let flow = alice.execute(flow, &[]).await;
            let ask = "const meta = name => document.querySelector(`meta[name=${name}]`).content;\
                const request = new XMLHttpRequest();\
                request.open('GET', `/flows/${arguments[0]}`, false);\
                request.setRequestHeader('X-Session-Token', meta('session-token'));\
                request.setRequestHeader('X-Account', meta('account'));\
                request.send();\
                return request.status";
            assert_eq!(alice.execute(ask, std::slice::from_ref(&flow)).await, 200);
            assert_eq!(bob.execute(ask, &[flow]).await, 404);
            world.stop().await;
        })
        .await;
    })
    .await;
}
