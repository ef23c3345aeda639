//! 142: a callback counts only with the state of a sign-in under way in this browser, and an ID token only with that sign-in's nonce.
//! That a sign-in ends after ten minutes is shown where the clock can be moved: `transactions.rs::ends_only_within_ten_minutes`.

use integration_tests::{
    person::{Page, Person},
    visitor::Visitor,
    world::World,
};
use local_authority::Endpoint;
use url::Url;

use super::{SESSION, callback_of, cookie, parameter, silent_callback, with};

async fn assert_refused(world: &World, person: &mut Person, callback: &Url, what: &str) -> Page {
    let redeemed = world.asked(Endpoint::Token);
    let before = cookie(world, person, SESSION);
    let page = person.open_once(callback).await;
    assert_eq!(page.status, 400, "{what}: {page:?}");
    assert!(page.says("no longer valid"), "{what}: {page:?}");
    assert!(page.body.contains("primary\" href=\"/"), "{what}: a way on");
    assert_eq!(cookie(world, person, SESSION), before, "{what}");
    assert_eq!(
        world.asked(Endpoint::Token),
        redeemed,
        "{what}: the code was sent on"
    );
    page
}

#[tokio::test]
async fn only_the_state_as_it_was_sent_counts() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut visitor, "alice").await;
    let state = parameter(&callback, "state").unwrap();

    let mut wrong = vec![
        ("missing".to_owned(), with(&callback, &[("state", None)])),
        ("empty".to_owned(), with(&callback, &[("state", Some(""))])),
        (
            "twice".to_owned(),
            with(
                &callback,
                &[("state", Some(&state)), ("state", Some(&state))],
            ),
        ),
        (
            "longer".to_owned(),
            with(&callback, &[("state", Some(&format!("{state}0")))]),
        ),
        (
            "shorter".to_owned(),
            with(&callback, &[("state", Some(&state[1..]))]),
        ),
        (
            "upper case".to_owned(),
            with(&callback, &[("state", Some(&state.to_ascii_uppercase()))]),
        ),
        (
            "spaced".to_owned(),
            with(&callback, &[("state", Some(&format!(" {state}")))]),
        ),
        (
            "huge".to_owned(),
            with(&callback, &[("state", Some(&"a".repeat(8000)))]),
        ),
    ];
    for position in 0..state.len() {
        let mut tampered = state.clone().into_bytes();
        tampered[position] = if tampered[position] == b'a' {
            b'b'
        } else {
            b'a'
        };
        let tampered = String::from_utf8(tampered).unwrap();
        wrong.push((
            format!("tampered at {position}"),
            with(&callback, &[("state", Some(&tampered))]),
        ));
    }
    for (what, callback) in wrong {
        assert_refused(&world, &mut visitor.person, &callback, &what).await;
    }
    let page = visitor.person.open(&callback).await;
    assert!(
        page.says("Alice Liddell"),
        "the genuine one still counts: {page:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_state_of_another_browser_counts_in_that_one_alone() {
    let world = World::start().await;
    let mut attacker = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut attacker, "bob").await;

    // Neither a browser with nothing, nor one with a sign-in of its own under way, nor one with a session is signed in as bob.
    let nobody = Visitor::new(&world).await;
    let mut starting = Visitor::new(&world).await;
    starting.press_sign_in().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    for mut victim in [nobody, starting, alice] {
        assert_refused(&world, &mut victim.person, &callback, "of another browser").await;
    }
    let page = attacker.person.open(&callback).await;
    assert!(
        page.says("Bob Stone"),
        "not spoilt by the attempts: {page:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_state_counts_once() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut visitor, "alice").await;
    let as_it_was = visitor.person.clone();
    assert!(visitor.person.open(&callback).await.says("Alice Liddell"));
    for mut person in [visitor.person.clone(), as_it_was] {
        assert_refused(&world, &mut person, &callback, "reused").await;
    }
    world.stop().await;
}

#[tokio::test]
async fn an_error_without_a_sign_in_under_way_says_nothing_of_what_it_says() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut visitor, "alice").await;
    let script = "<script>alert(1)</script>";
    for state in [None, Some("x")] {
        let changes = [
            ("state", state),
            ("code", None),
            ("error", Some(script)),
            ("error_description", Some("Call 555-0100 at once")),
        ];
        let page = assert_refused(
            &world,
            &mut visitor.person,
            &with(&callback, &changes),
            "error",
        )
        .await;
        assert!(
            !page.body.contains(script) && !page.says("555-0100"),
            "{page:?}"
        );
    }
    // With the right state it ends the sign-in, and nothing of the text is shown either.
    let changes = [
        ("code", None),
        ("error", Some("access_denied")),
        ("error_description", Some("Call 555-0100")),
    ];
    let page = visitor.person.open_once(&with(&callback, &changes)).await;
    assert!(
        page.says("was not completed") && !page.says("555-0100"),
        "{page:?}"
    );
    assert_refused(&world, &mut visitor.person, &callback, "after the error").await;
    world.stop().await;
}

#[tokio::test]
async fn an_id_token_with_another_nonce_signs_nobody_in() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    alice.person.jar.forget(SESSION);
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    for changed in [true, false] {
        let authorize = alice.person.open_once(&sign_in).await.redirect().unwrap();
        let nonce = parameter(&authorize, "nonce").unwrap();
        assert!(nonce.len() >= 32, "{nonce}");
        let other = "a".repeat(nonce.len());
        let sent = if changed { &other } else { &nonce };
        let authorize = with(&authorize, &[("nonce", Some(sent))]);
        let callback = alice.person.open_once(&authorize).await.redirect().unwrap();
        let page = alice.person.open_once(&callback).await;
        if changed {
            assert_eq!(page.status, 502, "{page:?}");
            assert!(page.says("unusable"), "{page:?}");
        } else {
            assert_eq!(page.status, 303, "{page:?}");
        }
        assert_eq!(cookie(&world, &alice.person, SESSION).is_none(), changed);
    }
    world.stop().await;
}

#[tokio::test]
async fn state_nonce_and_challenge_are_new_each_time() {
    let world = World::start().await;
    let mut person = Person::new();
    let mut known = std::collections::BTreeSet::new();
    for _ in 0..20 {
        let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
        let authorize = person.open_once(&sign_in).await.redirect().unwrap();
        for name in ["state", "nonce", "code_challenge"] {
            let value = parameter(&authorize, name).unwrap();
            assert!(value.len() >= 43, "{name}: {value}");
            assert!(known.insert(value), "{name}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn parallel_tabs_sign_in_each_by_its_own_state() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let begin = |target: &str| {
        world
            .demo
            .spa()
            .join(&format!("/auth/sign-in?return_to={target}"))
            .unwrap()
    };
    let one = silent_callback(&mut alice.person, &begin("/id-token")).await;
    let two = silent_callback(&mut alice.person, &begin("/")).await;
    for (callback, path) in [(two, "/"), (one, "/id-token")] {
        let landed = alice.person.open_once(&callback).await.redirect().unwrap();
        assert_eq!(landed.path(), path);
    }
    world.stop().await;
}
