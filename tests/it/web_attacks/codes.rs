//! 144: a code signs in only the browser that asked for it, once, and only if it is our authority that sent it.

use integration_tests::{person::Person, visitor::Visitor, world::World};
use url::Url;

use super::{SESSION, callback_of, cookie, parameter, silent_callback, with};

async fn assert_no_session(world: &World, person: &mut Person, callback: &Url, what: &str) {
    person.jar.forget(SESSION);
    let page = person.open_once(callback).await;
    assert!(
        !page.status.is_redirection() && !page.status.is_success(),
        "{what}: {page:?}"
    );
    assert!(
        page.body.contains("href=\"/auth/sign-in"),
        "{what}: a way on: {page:?}"
    );
    super::assert_no_internals(what, &page.body);
    assert_eq!(cookie(world, person, SESSION), None, "{what}");
}

#[tokio::test]
async fn a_code_that_was_meant_for_another_sign_in_signs_nobody_in() {
    let world = World::start().await;
    // The attacker has a code of their own, or has seen that of the victim.
    let mut attacker = Visitor::new(&world).await;
    let of_attacker = callback_of(&world, &mut attacker, "bob").await;
    let mut victim = Visitor::new(&world).await;
    let of_victim = callback_of(&world, &mut victim, "alice").await;

    let code = |url: &Url| parameter(url, "code").unwrap();
    let injected = with(&of_victim, &[("code", Some(&code(&of_attacker)))]);
    let stolen = with(&of_attacker, &[("code", Some(&code(&of_victim)))]);
    assert_no_session(&world, &mut victim.person, &injected, "an injected code").await;
    assert_no_session(&world, &mut attacker.person, &stolen, "a stolen code").await;
    world.stop().await;
}

#[tokio::test]
async fn a_code_is_good_once_even_with_a_fresh_state() {
    let world = World::start().await;
    let mut alice = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut alice, "alice").await;
    assert!(alice.person.open(&callback).await.says("Alice Liddell"));

    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    let fresh = silent_callback(&mut alice.person, &sign_in).await;
    let code = parameter(&callback, "code").unwrap();
    let again = with(&fresh, &[("code", Some(&code))]);
    assert_no_session(&world, &mut alice.person, &again, "a spent code").await;
    for code in [None, Some(""), Some("x"), Some("a\r\nb"), Some("%00")] {
        let fresh = silent_callback(&mut alice.person, &sign_in).await;
        assert_no_session(
            &world,
            &mut alice.person,
            &with(&fresh, &[("code", code)]),
            "no code",
        )
        .await;
    }
    world.stop().await;
}

#[tokio::test]
async fn an_answer_of_another_authority_is_refused() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    let issuer = world.demo.authority().issuer().to_owned();
    for iss in [
        "https://evil.example",
        "",
        &issuer.to_ascii_uppercase(),
        &format!("{issuer}/"),
    ] {
        let callback = silent_callback(&mut alice.person, &sign_in).await;
        let mixed_up = with(&callback, &[("iss", Some(iss))]);
        assert_no_session(&world, &mut alice.person, &mixed_up, iss).await;
    }
    let callback = silent_callback(&mut alice.person, &sign_in).await;
    let twice = with(
        &callback,
        &[
            ("iss", Some(&issuer)),
            ("iss", Some("https://evil.example")),
        ],
    );
    assert_no_session(&world, &mut alice.person, &twice, "iss twice").await;

    let callback = silent_callback(&mut alice.person, &sign_in).await;
    let named = with(&callback, &[("iss", Some(&issuer))]);
    let landed = alice.person.open_once(&named).await;
    assert_eq!(landed.status, 303, "our own: {landed:?}");
    world.stop().await;
}
