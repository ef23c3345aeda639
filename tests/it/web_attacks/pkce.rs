//! 143: the SPA backend always sends an `S256` challenge, and the authority hands out nothing without the verifier to it.

use integration_tests::{visitor::Visitor, world::World};

use super::{CHALLENGE, VERIFIER, callback_of, redeem, with};

#[tokio::test]
async fn each_way_to_the_authority_has_an_s256_challenge() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let step_up = refused.json()["go"].as_str().unwrap().to_owned();
    for path in [
        "/auth/sign-in",
        "/auth/sign-in?prompt=select_account",
        "/auth/sign-in?code_challenge_method=plain&code_challenge=x",
        &step_up,
    ] {
        let sent = alice
            .person
            .open_once(&world.demo.spa().join(path).unwrap())
            .await;
        let authorize = sent.redirect().unwrap();
        let all: Vec<_> = authorize.query_pairs().into_owned().collect();
        let values = |name: &str| -> Vec<String> {
            let named = all.iter().filter(|(given, _)| given == name);
            named.map(|(_, value)| value.clone()).collect()
        };
        assert_eq!(values("code_challenge_method"), ["S256"], "{path}");
        assert_eq!(values("response_type"), ["code"], "{path}");
        let challenge = values("code_challenge");
        assert_eq!(challenge.len(), 1, "{path}");
        assert_eq!(challenge[0].len(), 43, "{path}");
        assert!(values("code_verifier").is_empty(), "{path}");
    }
    world.stop().await;
}

#[tokio::test]
async fn a_downgraded_request_is_not_redeemed() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    // Somebody between page and authority rewrites the request: the backend still sends its verifier.
    for changes in [
        &[("code_challenge", None), ("code_challenge_method", None)][..],
        &[("code_challenge_method", Some("plain"))],
        &[("code_challenge_method", None)],
        &[("code_challenge", Some(CHALLENGE))],
    ] {
        let authorize = alice.person.open_once(&sign_in).await.redirect().unwrap();
        let answer = alice.person.open_once(&with(&authorize, changes)).await;
        if let Some(callback) = answer.redirect() {
            alice.person.jar.forget(super::SESSION);
            let page = alice.person.open_once(&callback).await;
            assert!(!page.status.is_redirection(), "{changes:?}: {page:?}");
            assert_eq!(
                super::cookie(&world, &alice.person, super::SESSION),
                None,
                "{changes:?}"
            );
        } else {
            assert!(answer.status.is_client_error(), "{changes:?}: {answer:?}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn the_authority_takes_no_code_without_the_verifier_to_its_challenge() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    for (verifier, expected) in [
        (None, 400),
        (Some(""), 400),
        (Some(CHALLENGE), 400),
        (Some("a-verifier-of-somebody-else-that-is-long-enough"), 400),
        (Some(VERIFIER), 200),
    ] {
        let authorize = alice.person.open_once(&sign_in).await.redirect().unwrap();
        let (status, body) = redeem(&world, &mut alice.person, &authorize, verifier).await;
        assert_eq!(status, expected, "{verifier:?}: {body}");
        if expected == 400 {
            assert_eq!(body["error"], "invalid_grant", "{verifier:?}: {body}");
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn the_verifier_never_passes_the_browser() {
    let world = World::start().await;
    let mut alice = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut alice, "alice").await;
    alice.person.open(&callback).await;
    for page in &alice.person.seen {
        let all = format!("{} {:?} {}", page.url, page.headers, page.body);
        assert!(!all.contains("code_verifier"), "{page:?}");
    }
    world.stop().await;
}
