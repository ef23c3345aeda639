//! The whole story on the wire: sign in, call, be asked for more, give it, and the same call completes.

use integration_tests::{
    person::{Page, Person},
    visitor::{Visitor, error_of},
    world::World,
};
use local_authority::{Endpoint, TokenSpec};

const OTP: &str = "123456";

/// The downstream API's answer, for the user at the end of two exchanges.
fn assert_downstream_answered(world: &World, answer: &Page) {
    assert_eq!(answer.status, 200, "{answer:?}");
    let body = answer.json();
    let directory = world.demo.authority().directory();
    let downstream = directory.app("downstream-api").unwrap();
    assert_eq!(body["name"], "Alice Liddell", "{body}");
    assert_eq!(body["issued-by"], world.demo.authority().issuer(), "{body}");
    assert_eq!(
        body["issued-for"],
        downstream.client_id.to_string(),
        "{body}"
    );
    assert_eq!(body["scope"], "user_impersonation", "{body}");
}

#[tokio::test]
async fn the_same_call_completes_after_mfa() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;

    let refused = alice.call("/api/api").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    assert_eq!(error_of(&refused), "step_up_required");

    let mfa = alice.go(&refused).await;
    assert!(
        mfa.find_form("password").is_none(),
        "the password was given before: {mfa:?}"
    );
    let back = alice.give_code(&mfa, OTP).await;
    let answer = alice.complete(back).await;
    assert_downstream_answered(&world, &answer);

    // The new token is the session's now, and the middle tier has a downstream token for it.
    let before = world.asked(Endpoint::Token);
    let answer = alice.call("/api/api").await;
    assert_downstream_answered(&world, &answer);
    assert_eq!(world.asked(Endpoint::Token), before);
    world.stop().await;
}

#[tokio::test]
async fn an_operation_completes_once_only() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let mfa = alice.go(&refused).await;
    let back = alice.give_code(&mfa, OTP).await;
    assert_downstream_answered(&world, &alice.complete(back.clone()).await);
    let again = alice.complete(back).await;
    assert_eq!(again.status, 410, "{again:?}");
    world.stop().await;
}

#[tokio::test]
async fn mfa_elsewhere_does_not_change_the_old_token() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    assert_eq!(error_of(&alice.call("/api/api").await), "step_up_required");

    // Alice gives her second factor at another computer, and the call works there.
    let mut elsewhere = Visitor::signed_in(&world, "alice").await;
    let refused = elsewhere.call("/api/api").await;
    let mfa = elsewhere.go(&refused).await;
    let back = elsewhere.give_code(&mfa, OTP).await;
    assert_downstream_answered(&world, &elsewhere.complete(back).await);

    assert_eq!(error_of(&alice.call("/api/api").await), "step_up_required");
    world.stop().await;
}

#[tokio::test]
async fn mfa_in_the_browser_does_not_change_a_token_issued_before() {
    let world = World::start().await;
    let old = world.token(TokenSpec::user("alice", "middle-tier").capabilities(["cp1"]));
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let mfa = alice.go(&refused).await;
    let back = alice.give_code(&mfa, OTP).await;
    assert_downstream_answered(&world, &alice.complete(back).await);

    let answer = world
        .get(world.demo.middle_tier(), "/api", Some(&old))
        .await;
    assert_eq!(answer.status(), 401);
    let new = world.token(
        TokenSpec::user("alice", "middle-tier")
            .capabilities(["cp1"])
            .mfa(),
    );
    let answer = world
        .get(world.demo.middle_tier(), "/api", Some(&new))
        .await;
    assert_eq!(answer.status(), 200);
    world.stop().await;
}

#[tokio::test]
async fn secure_takes_a_second_round_after_the_policy() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;

    let refused = alice.call("/api/secure").await;
    assert_eq!(error_of(&refused), "step_up_required");
    let mfa = alice.go(&refused).await;
    let back = alice.give_code(&mfa, OTP).await;
    let refused = alice.complete(back).await;
    assert_eq!(
        error_of(&refused),
        "step_up_required",
        "the policy is met, the context is not"
    );

    // The second factor is fresh: the authority grants the context without a page.
    let back = alice.go(&refused).await;
    let answer = alice.complete(back).await;
    assert_downstream_answered(&world, &answer);
    world.stop().await;
}

#[tokio::test]
async fn a_call_without_a_policy_needs_no_step_up() {
    let world = World::start().await;
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let mut alice = Visitor::signed_in(&world, "alice").await;
    assert_downstream_answered(&world, &alice.call("/api/api").await);
    world.stop().await;
}

#[tokio::test]
async fn a_wrong_password_may_be_corrected() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let form = visitor.press_sign_in().await;
    let again = visitor
        .give_password(&form, "alice@contoso.example", "wrong")
        .await;
    assert!(again.says("not right"), "{again:?}");
    let page = visitor
        .give_password(&again, "alice@contoso.example", "alice-in-wonderland")
        .await;
    assert!(page.says("Alice Liddell"), "{page:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_wrong_code_may_be_corrected() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let mfa = alice.go(&refused).await;
    let again = alice.give_code(&mfa, "000000").await;
    assert!(again.says("not right"), "{again:?}");
    let back = alice.give_code(&again, OTP).await;
    assert_downstream_answered(&world, &alice.complete(back).await);
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_sign_in_says_so_and_offers_a_way_on() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let form = visitor.press_sign_in().await;
    let page = visitor.cancel(&form, "password").await;
    assert!(page.says("cancelled"), "{page:?}");
    assert!(page.body.contains("/auth/sign-in"), "{page:?}");
    world.stop().await;
}

#[tokio::test]
async fn a_cancelled_step_up_keeps_session_and_operation() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let mfa = alice.go(&refused).await;
    let page = alice.cancel(&mfa, "code").await;
    assert!(page.says("cancelled"), "{page:?}");
    let mfa = alice.go(&refused).await;
    let back = alice.give_code(&mfa, OTP).await;
    assert_downstream_answered(&world, &alice.complete(back).await);
    world.stop().await;
}

#[tokio::test]
async fn a_replayed_callback_signs_nobody_in() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let form = visitor.press_sign_in().await;
    let stolen = visitor.person.clone();
    let callback = callback_of(&mut visitor, &form).await;

    // The same browser again, the browser as it was before, and another one.
    for mut person in [visitor.person.clone(), stolen, Person::new()] {
        let page = person.open(&callback).await;
        assert_eq!(page.status, 400, "{page:?}");
        assert!(page.says("no longer valid"), "{page:?}");
    }
    world.stop().await;
}

/// Gives the password without following the last redirect's target out of sight: the URL with code and state.
async fn callback_of(visitor: &mut Visitor, form: &Page) -> url::Url {
    let submitted = form.form_with("password");
    let fields = [
        ("username", "alice@contoso.example"),
        ("password", "alice-in-wonderland"),
    ];
    let mut person = visitor.person.clone();
    let callback = person.submit_once(form, &submitted, &fields).await;
    let page = visitor.person.open(&callback).await;
    assert!(page.says("Alice Liddell"), "{page:?}");
    callback
}

#[tokio::test]
async fn a_lost_session_is_told_to_sign_in() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    alice.person.jar.forget("spa-session");
    let answer = alice.call("/api/api").await;
    assert_eq!(answer.status, 401, "{answer:?}");
    assert_eq!(error_of(&answer), "sign_in_required");
    world.stop().await;
}

#[tokio::test]
async fn a_revoked_user_signs_in_again_and_the_call_completes() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    assert!(world.demo.authority().revoke("alice"));
    let refused = alice.call("/api/api").await;
    assert_eq!(refused.status, 401, "{refused:?}");
    let form = alice.go(&refused).await;
    let mfa = alice
        .give_password(&form, "alice@contoso.example", "alice-in-wonderland")
        .await;
    // Whether the second factor is asked for in the same visit is the authority's choice.
    let back = match mfa.find_form("code") {
        Some(_) => alice.give_code(&mfa, OTP).await,
        None => mfa,
    };
    let mut answer = alice.complete(back).await;
    if answer.status == 401 {
        let mfa = alice.go(&answer).await;
        let back = alice.give_code(&mfa, OTP).await;
        answer = alice.complete(back).await;
    }
    assert_downstream_answered(&world, &answer);
    world.stop().await;
}

#[tokio::test]
async fn a_user_without_a_second_factor_is_told_so() {
    let world = World::start().await;
    let mut carol = Visitor::signed_in(&world, "carol").await;
    let refused = carol.call("/api/api").await;
    assert_eq!(error_of(&refused), "step_up_required");
    let page = carol.go(&refused).await;
    assert!(
        page.url.as_str().starts_with(world.demo.spa().as_str()),
        "{page:?}"
    );
    assert!(page.body.contains("href=\"/\""), "{page:?}");
    world.stop().await;
}
