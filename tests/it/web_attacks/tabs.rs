//! 151: two tabs of one browser share its cookies. What one account began is never finished by another.

use integration_tests::{
    person::Page,
    visitor::{Visitor, error_of},
    world::World,
};
use reqwest::Method;

use super::{OTP, SESSION, Session, cookie, operation_of};

const AUTHORITY_SESSION: &str = "__Host-authority-session";

/// Another tab of the same browser signs in as somebody else; the first tab's page stays as it was drawn.
async fn other_tab_signs_in(world: &World, browser: &mut Visitor, user: &str) -> Page {
    browser.person.jar.forget(AUTHORITY_SESSION);
    let drawn = browser.page.clone();
    let form = browser.press_sign_in().await;
    let directory = world.demo.authority().directory();
    let user = directory.user(user).unwrap();
    let page = browser
        .give_password(&form, &user.username, user.password())
        .await;
    browser.page = drawn;
    page
}

#[tokio::test]
async fn a_page_of_one_account_calls_nothing_as_another() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let mut browser = Visitor::signed_in(&world, "alice").await;
    let of_alice = browser.page.clone();
    let of_bob = other_tab_signs_in(&world, &mut browser, "bob").await;
    assert!(of_bob.says("Bob Stone"), "{of_bob:?}");

    for _ in 0..2 {
        for (method, path) in [
            (Method::GET, "/api/api"),
            (Method::POST, "/api/api"),
            (Method::PATCH, "/api/profile"),
            (Method::POST, "/api/ops/x"),
            (Method::POST, "/auth/sign-out"),
        ] {
            let old = Session::of(
                &world,
                &Visitor {
                    person: browser.person.clone(),
                    page: of_alice.clone(),
                },
            );
            let headers = [
                ("x-session-token", &*old.token),
                ("x-account", &*old.account),
            ];
            let answer = browser
                .person
                .fetch(&of_alice, method, path, &headers, None)
                .await;
            assert_eq!(
                (answer.status.as_u16(), &*error_of(&answer)),
                (409, "account_changed"),
                "{path}"
            );
            assert!(
                answer.says("bob@contoso.example"),
                "says as whom: {answer:?}"
            );
            assert_eq!(answer.json()["go"], "/");
            // A page that names no account is stopped by its header token.
            let answer = browser
                .person
                .fetch(&of_alice, Method::GET, "/api/api", &headers[..1], None)
                .await;
            assert_eq!(
                (answer.status.as_u16(), &*error_of(&answer)),
                (403, "page_out_of_date")
            );
        }
        browser.page = of_bob.clone();
        let answer = browser.call("/api/api").await;
        assert_eq!(answer.json()["name"], "Bob Stone", "{answer:?}");
        browser.page = of_alice.clone();
    }
    world.stop().await;
}

#[tokio::test]
async fn what_one_account_left_waiting_is_not_run_for_the_next() {
    let world = World::start().await;
    let mut browser = Visitor::signed_in(&world, "alice").await;
    let refused = browser.call("/api/api").await;
    let operation = operation_of(&refused);
    let of_bob = other_tab_signs_in(&world, &mut browser, "bob").await;

    browser.page = of_bob;
    let held = Session::of(&world, &browser);
    let headers = [
        ("x-session-token", &*held.token),
        ("x-account", &*held.account),
    ];
    let path = format!("/api/ops/{operation}");
    let answer = browser
        .person
        .fetch(&browser.page, Method::POST, &path, &headers, None)
        .await;
    assert_eq!(
        (answer.status.as_u16(), &*error_of(&answer)),
        (410, "operation_unknown")
    );
    let step_up = world
        .demo
        .spa()
        .join(refused.json()["go"].as_str().unwrap())
        .unwrap();
    let page = browser.person.open_once(&step_up).await;
    assert_eq!(page.status, 410, "{page:?}");
    let page = browser
        .person
        .open(&world.demo.spa().join(&format!("/?op={operation}")).unwrap())
        .await;
    assert!(
        page.says("Bob Stone") && !page.body.contains("Alice Liddell"),
        "{page:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_step_up_that_somebody_else_answers_drops_what_waited() {
    // On one site and across two: which cookies travel differs.
    for host in ["localhost", "127.0.0.1"] {
        let world = World::start_with(|options| options.authority_host = host.into()).await;
        let mut alice = Visitor::signed_in(&world, "alice").await;
        let refused = alice.call("/api/api").await;
        let operation = operation_of(&refused);

        // At the authority somebody else sits down: it knows nobody, asks who it is, and bob answers with both factors.
        alice.person.jar.forget(AUTHORITY_SESSION);
        let form = alice.go(&refused).await;
        let bob = world
            .demo
            .authority()
            .directory()
            .user("bob")
            .unwrap()
            .clone();
        let mut page = alice
            .give_password(&form, &bob.username, bob.password())
            .await;
        if page.find_form("code").is_some() {
            page = alice.give_code(&page, OTP).await;
        }
        assert!(page.says("Somebody else signed in"), "{host}: {page:?}");
        assert!(
            page.says("Alice Liddell") && !page.says("Bob Stone"),
            "still alice's session: {page:?}"
        );
        alice.page = page;
        let held = Session::of(&world, &alice);
        let headers = [("x-session-token", &*held.token)];
        let path = format!("/api/ops/{operation}");
        let answer = alice
            .person
            .fetch(&alice.page, Method::POST, &path, &headers, None)
            .await;
        assert_eq!(
            (answer.status.as_u16(), &*error_of(&answer)),
            (410, "operation_unknown"),
            "{host}"
        );
        world.stop().await;
    }
}

#[tokio::test]
async fn a_step_up_that_ends_in_another_session_runs_nothing() {
    let world = World::start().await;
    let mut browser = Visitor::signed_in(&world, "alice").await;
    let refused = browser.call("/api/api").await;
    let mfa = browser.go(&refused).await;
    // While one tab waits for the second factor, the other one signs in as bob, or signs out.
    let mut signed_out = Visitor {
        person: browser.person.clone(),
        page: browser.page.clone(),
    };

    let authority = browser.person.jar.clone();
    let of_bob = other_tab_signs_in(&world, &mut browser, "bob").await;
    assert!(of_bob.says("Bob Stone"));
    let spa_session = cookie(&world, &browser.person, SESSION).unwrap();
    // The authority's page still belongs to alice's visit there.
    browser.person.jar = authority;
    let line = format!("{SESSION}={spa_session}; Path=/; Secure; HttpOnly; SameSite=Lax");
    browser.person.jar.set(world.demo.spa(), &line);
    let back = browser.give_code(&mfa, OTP).await;
    assert!(back.says("session has ended"), "{back:?}");
    let page = browser.person.open(world.demo.spa()).await;
    assert!(
        page.says("Bob Stone") && !page.says("Alice Liddell is"),
        "{page:?}"
    );
    browser.page = of_bob;
    let answer = browser.call("/api/api").await;
    assert_eq!(
        error_of(&answer),
        "step_up_required",
        "nothing of alice's factor is bob's: {answer:?}"
    );

    // The other world: the session that the first tab's step-up belonged to is over, and stays over.
    let page = signed_out.person.open(world.demo.spa()).await;
    assert!(
        !page.says("Alice Liddell"),
        "the old session ended with bob's sign-in: {page:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_sign_out_in_one_tab_ends_the_step_up_of_the_other() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let operation = operation_of(&refused);
    let mfa = alice.go(&refused).await;
    let held = Session::of(&world, &alice);
    let headers = [
        ("x-session-token", &*held.token),
        ("x-account", &*held.account),
    ];
    let ended = alice
        .person
        .fetch(&alice.page, Method::POST, "/auth/sign-out", &headers, None)
        .await;
    assert_eq!(ended.status, 200, "{ended:?}");

    let back = alice.give_code(&mfa, OTP).await;
    assert!(back.says("session has ended"), "{back:?}");
    assert!(
        back.body.contains("href=\"/auth/sign-in"),
        "a way on: {back:?}"
    );
    assert_eq!(cookie(&world, &alice.person, SESSION), None);
    let path = format!("/api/ops/{operation}");
    let answer = alice
        .person
        .fetch(&alice.page, Method::POST, &path, &headers, None)
        .await;
    assert_eq!(
        (answer.status.as_u16(), &*error_of(&answer)),
        (401, "sign_in_required")
    );
    world.stop().await;
}

#[tokio::test]
async fn the_same_person_in_two_tabs_is_no_change() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let again = other_tab_signs_in(&world, &mut alice, "alice").await;
    // The old page has the header token of a session that is over; the new one works.
    let answer = alice.call("/api/api").await;
    assert_eq!(
        (answer.status.as_u16(), &*error_of(&answer)),
        (403, "page_out_of_date")
    );
    alice.page = again;
    assert_eq!(alice.call("/api/api").await.json()["name"], "Alice Liddell");
    world.stop().await;
}
