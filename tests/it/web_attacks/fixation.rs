//! 141: a session id is worth something only after the sign-in that made it, and only until the session ends.

use integration_tests::{
    person::Person,
    visitor::{Visitor, error_of},
    world::World,
};

use super::{SESSION, cookie, name_of};

/// Puts a session id into a browser, as a neighbour on the same host could.
fn plant(world: &World, person: &mut Person, id: &str) {
    let line = format!("{SESSION}={id}; Path=/; Secure; HttpOnly; SameSite=Lax");
    person.jar.set(world.demo.spa(), &line);
}

fn session(world: &World, visitor: &Visitor) -> String {
    cookie(world, &visitor.person, SESSION).unwrap()
}

/// Signs in at the page that the visitor looks at.
async fn sign_in(world: &World, visitor: &mut Visitor, user: &str) {
    let form = visitor.press_sign_in().await;
    let directory = world.demo.authority().directory();
    let user = directory.user(user).unwrap();
    visitor.page = visitor
        .give_password(&form, &user.username, user.password())
        .await;
}

#[tokio::test]
async fn nobody_has_a_session_id_before_the_sign_in() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    visitor.press_sign_in().await;
    for page in &visitor.person.seen {
        for line in page.headers.get_all("set-cookie") {
            assert!(
                !line.to_str().unwrap().starts_with(SESSION),
                "{page:?}: {line:?}"
            );
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_planted_id_is_neither_taken_over_nor_signed_in() {
    let world = World::start().await;
    let attacker = Visitor::signed_in(&world, "bob").await;
    for planted in [
        "AAAAAAAAAAAAAAAAAAAAAA".to_owned(),
        session(&world, &attacker),
    ] {
        let mut alice = Visitor::new(&world).await;
        plant(&world, &mut alice.person, &planted);
        sign_in(&world, &mut alice, "alice").await;
        let own = session(&world, &alice);
        assert_ne!(own, planted);
        assert_eq!(
            name_of(&world, &format!("{SESSION}={own}")).await,
            "Alice Liddell"
        );
        assert_eq!(
            name_of(&world, &format!("{SESSION}={planted}")).await,
            "",
            "dead"
        );
    }
    world.stop().await;
}

#[tokio::test]
async fn an_unknown_id_is_taken_away_and_a_known_one_stays() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    plant(&world, &mut visitor.person, "AAAAAAAAAAAAAAAAAAAAAA");
    visitor.person.open(world.demo.spa()).await;
    assert_eq!(cookie(&world, &visitor.person, SESSION), None);

    let mut alice = Visitor::signed_in(&world, "alice").await;
    let before = session(&world, &alice);
    alice.person.open(world.demo.spa()).await;
    assert_eq!(session(&world, &alice), before);
    world.stop().await;
}

#[tokio::test]
async fn the_id_is_renewed_at_each_sign_in_and_the_old_one_dies() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let mut ids = vec![session(&world, &alice)];
    for _ in 0..3 {
        alice.page = alice
            .person
            .open(&world.demo.spa().join("/auth/sign-in").unwrap())
            .await;
        assert!(alice.page.says("Alice Liddell"), "{:?}", alice.page);
        ids.push(session(&world, &alice));
    }
    let last = ids.pop().unwrap();
    for old in ids {
        assert_eq!(
            name_of(&world, &format!("{SESSION}={old}")).await,
            "",
            "{old}"
        );
    }
    assert_eq!(
        name_of(&world, &format!("{SESSION}={last}")).await,
        "Alice Liddell"
    );
    world.stop().await;
}

#[tokio::test]
async fn sign_out_ends_the_session_for_everybody_who_holds_its_id() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let held = super::Session::of(&world, &alice);
    let mut thief = Visitor {
        person: alice.person.clone(),
        page: alice.page.clone(),
    };
    assert_eq!(name_of(&world, &held.cookie).await, "Alice Liddell");

    let headers = [
        ("x-session-token", &*held.token),
        ("x-account", &*held.account),
    ];
    let path = "/auth/sign-out";
    let ended = alice
        .person
        .fetch(&alice.page, reqwest::Method::POST, path, &headers, None)
        .await;
    assert_eq!(ended.status, 200, "{ended:?}");
    assert_eq!(
        cookie(&world, &alice.person, SESSION),
        None,
        "the browser lets go of it"
    );
    assert_eq!(name_of(&world, &held.cookie).await, "");
    let answer = thief.call("/api/api").await;
    assert_eq!(
        (answer.status.as_u16(), &*error_of(&answer)),
        (401, "sign_in_required")
    );
    world.stop().await;
}
