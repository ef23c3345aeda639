//! 149: sign-ins that nobody finishes, and those that somebody does, cost nobody else a session.
//!
//! 1 % of the volume unless `CAMPAIGN_PERCENT` says otherwise. That all stores are bounded whatever comes is shown where they are.

use futures_util::{StreamExt as _, stream};
use integration_tests::{person::Person, visitor::Visitor, world::World};
use reqwest::Client;

use super::{Session, callback_of, name_of};

/// At once, as from one fast client.
const AT_ONCE: usize = 32;

fn volume(full: usize) -> usize {
    let percent = std::env::var("CAMPAIGN_PERCENT").ok();
    let percent: usize = percent
        .and_then(|percent| percent.parse().ok())
        .unwrap_or(1);
    (full / 100 * percent).max(1)
}

#[tokio::test]
async fn a_flood_of_sign_in_starts_leaves_sessions_and_the_next_sign_in_alone() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let mut started = Visitor::new(&world).await;
    let under_way = callback_of(&world, &mut started, "bob").await;
    let starts = volume(100_000);
    let sign_in = world
        .demo
        .spa()
        .join("/auth/sign-in?return_to=/id-token")
        .unwrap();
    let http = Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .unwrap();
    let statuses = stream::iter(0..starts).map(|_| http.get(sign_in.clone()).send());
    let statuses: Vec<u16> = statuses
        .buffer_unordered(AT_ONCE)
        .map(|answer| answer.unwrap().status().as_u16())
        .collect()
        .await;
    assert_eq!(statuses.len(), starts);
    // Begun, or told to come again later; never a fault.
    assert!(
        statuses
            .iter()
            .all(|status| matches!(status, 303 | 429 | 503)),
        "{statuses:?}"
    );

    let held = Session::of(&world, &alice);
    assert_eq!(name_of(&world, &held.cookie).await, "Alice Liddell");
    let answer = alice.call("/api/api").await;
    assert!(!super::operation_of(&answer).is_empty(), "{answer:?}");
    // Up to the bound of sign-ins under way no other one is pushed out either.
    if starts < 9_000 {
        let page = started.person.open(&under_way).await;
        assert!(page.says("Bob Stone"), "{page:?}");
    }
    Visitor::signed_in(&world, "carol").await;
    world.stop().await;
}

#[tokio::test]
async fn one_browser_holds_few_sign_ins_whatever_it_begins() {
    let world = World::start().await;
    let mut person = Person::new();
    for _ in 0..volume(4_000) {
        person
            .open_once(&world.demo.spa().join("/auth/sign-in").unwrap())
            .await;
        let held = super::cookie_line(&world, &person).len();
        assert!(held < 2_000, "{held} bytes of cookies");
    }
    assert!(person.jar.names("localhost").len() <= 8);
    world.stop().await;
}

#[tokio::test]
async fn a_flood_of_sessions_below_the_bound_costs_nobody_theirs() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let mut bob = Visitor::signed_in(&world, "bob").await;
    let sign_in = world.demo.spa().join("/auth/sign-in").unwrap();
    for _ in 0..volume(9_000) {
        // A new browser each time as far as the SPA can see, so that the old session is not given up.
        bob.person.jar.forget("__Host-spa-");
        let page = bob.person.open(&sign_in).await;
        assert!(page.says("Bob Stone"), "{page:?}");
        bob.person.seen.clear();
    }
    assert_eq!(name_of(&world, &held.cookie).await, "Alice Liddell");
    world.stop().await;
}
