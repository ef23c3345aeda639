//! 145: what the browser is told to keep, and what becomes of cookies that it did not get from us.

use integration_tests::{person::Person, visitor::Visitor, world::World};
use reqwest::Method;

use super::{OTP, SESSION, Session, callback_of, cookie, name_of, wire};

/// The `Set-Cookie` lines of the SPA that a person's browser has got.
fn lines(world: &World, person: &Person) -> Vec<String> {
    let spa = world.demo.spa().origin();
    let pages = person.seen.iter().filter(|page| page.url.origin() == spa);
    pages
        .flat_map(|page| page.headers.get_all("set-cookie"))
        .map(|line| line.to_str().unwrap().to_owned())
        .collect()
}

#[tokio::test]
async fn each_cookie_has_prefix_and_attributes_also_when_it_is_taken_away() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let mfa = alice.go(&refused).await;
    let back = alice.give_code(&mfa, OTP).await;
    alice.complete(back).await;
    let held = Session::of(&world, &alice);
    let headers = [("x-session-token", &*held.token)];
    let path = "/auth/sign-out";
    alice
        .person
        .fetch(&alice.page, Method::POST, path, &headers, None)
        .await;

    let (mut sessions, mut others, mut removals) = (0, 0, 0);
    for line in lines(&world, &alice.person) {
        let parts: Vec<&str> = line.split("; ").collect();
        let has = |attribute: &str| parts[1..].contains(&attribute);
        let value = |name: &str| parts.iter().find_map(|part| part.strip_prefix(name));
        assert!(line.starts_with("__Host-spa-"), "{line}");
        assert!(has("Secure") && has("HttpOnly") && has("Path=/"), "{line}");
        assert_eq!(value("Domain="), None, "{line}");
        if value("Max-Age=") == Some("0") {
            removals += 1;
        } else if line.starts_with(SESSION) {
            sessions += 1;
            assert!(has("SameSite=Lax"), "{line}");
            assert_eq!(value("Max-Age=").or(value("Expires=")), None, "{line}");
        } else {
            others += 1;
            assert!(has("SameSite=None") || has("SameSite=Lax"), "{line}");
            let seconds: u32 = value("Max-Age=").unwrap().parse().unwrap();
            assert!(seconds <= 600, "{line}");
        }
    }
    assert!(
        sessions >= 1 && others >= 2 && removals >= 3,
        "{sessions} {others} {removals}"
    );
    let left = alice.person.jar.names("localhost");
    assert!(
        left.iter().all(|name| !name.starts_with("__Host-spa-")),
        "{left:?}"
    );
    world.stop().await;
}

#[tokio::test]
async fn a_session_cookie_with_any_byte_changed_is_none() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let genuine = cookie(&world, &alice.person, SESSION).unwrap();
    let alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    let mut tried = 0;
    for position in 0..genuine.len() {
        let own = genuine.as_bytes()[position];
        // Each bit of a character, and at the end all characters: loose bits of base64 hide there.
        let last = position + 1 == genuine.len();
        let others = alphabet.iter().filter(|other| **other != own);
        for other in others.step_by(if last { 1 } else { 9 }) {
            let mut tampered = genuine.clone().into_bytes();
            tampered[position] = *other;
            let tampered = String::from_utf8(tampered).unwrap();
            let name = name_of(&world, &format!("{SESSION}={tampered}")).await;
            assert_eq!(name, "", "{tampered} for {genuine}");
            tried += 1;
        }
    }
    assert!(tried > 200, "{tried}");
    for odd in [
        format!("{genuine}A"),
        format!("{genuine}="),
        genuine[1..].to_owned(),
        format!("\"{genuine}\""),
        format!("%{:02x}{}", genuine.as_bytes()[0], &genuine[1..]),
        format!(" {genuine}"),
        String::new(),
        "A".repeat(4000),
        "../../etc/passwd".to_owned(),
    ] {
        assert_eq!(
            name_of(&world, &format!("{SESSION}={odd}")).await,
            "",
            "{odd}"
        );
    }
    let name = name_of(&world, &format!("{SESSION}={genuine}")).await;
    assert_eq!(name, "Alice Liddell");
    world.stop().await;
}

#[tokio::test]
async fn a_second_or_disguised_cookie_never_swaps_the_session() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let bob = Visitor::signed_in(&world, "bob").await;
    let [own, planted] =
        [&alice, &bob].map(|visitor| cookie(&world, &visitor.person, SESSION).unwrap());
    for disguise in [
        SESSION,
        "spa-session",
        "__host-spa-session",
        "__HOST-SPA-SESSION",
        "%5F_Host-spa-session",
        "%5f%5fHost%2Dspa%2dsession",
        "__Host-spa-session ",
        "__Host-spa-session\t",
        "\t__Host-spa-session",
        "$Version=1; __Host-spa-session",
        "x=\"; __Host-spa-session",
        "x=\u{e9}; __Host-spa-session",
        "__Host-spa-session; x",
        "__Secure-spa-session",
        "",
    ] {
        let pair = format!("{disguise}={planted}");
        for line in [
            format!("{SESSION}={own}; {pair}"),
            format!("{pair}; {SESSION}={own}"),
        ] {
            let name = name_of(&world, &line).await;
            assert!(
                name.is_empty() || name == "Alice Liddell",
                "{name} by {line}"
            );
        }
    }
    // Two `Cookie` lines are read as one.
    let lines = [format!("{SESSION}={own}"), format!("{SESSION}={planted}")];
    let headers = [
        ("cookie", &*lines[0]),
        ("cookie", &*lines[1]),
        ("sec-fetch-site", "same-origin"),
    ];
    let answer = wire::send(world.demo.spa(), Method::GET, "/session", &headers, "").await;
    assert!(!answer.body.contains("Bob"), "{answer:?}");
    world.stop().await;
}

#[tokio::test]
async fn many_foreign_cookies_do_no_harm() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let own = cookie(&world, &alice.person, SESSION).unwrap();
    let foreign: Vec<String> = (0..400).map(|n| format!("tracker-{n}=value-{n}")).collect();
    let line = format!("{}; {SESSION}={own}", foreign.join("; "));
    assert_eq!(name_of(&world, &line).await, "Alice Liddell");
    world.stop().await;
}

#[tokio::test]
async fn a_sign_in_with_a_changed_transaction_cookie_is_nobodys() {
    let world = World::start().await;
    let mut visitor = Visitor::new(&world).await;
    let callback = callback_of(&world, &mut visitor, "alice").await;
    let line = super::cookie_line(&world, &visitor.person);
    let pair = line
        .split("; ")
        .find(|pair| pair.starts_with("__Host-spa-tx-"))
        .unwrap();
    let (name, value) = pair.split_once('=').unwrap();
    let path = format!("{}?{}", callback.path(), callback.query().unwrap());
    let mut wrong = vec![
        String::new(),
        format!("{name}="),
        format!("{name}={value}; {name}={value}"),
        format!("{}={value}", name.to_ascii_lowercase()),
        format!("{name}x={value}"),
        format!("%5F{}={value}", &name[1..]),
    ];
    for position in 0..value.len() {
        let mut tampered = value.as_bytes().to_vec();
        tampered[position] = if tampered[position] == b'0' {
            b'1'
        } else {
            b'0'
        };
        wrong.push(format!("{name}={}", String::from_utf8(tampered).unwrap()));
    }
    for line in wrong {
        let answer = wire::send(
            world.demo.spa(),
            Method::GET,
            &path,
            &[("cookie", &line)],
            "",
        )
        .await;
        assert_eq!(answer.status, 400, "{line}: {answer:?}");
        assert!(!answer.header("set-cookie").contains(SESSION), "{line}");
    }
    let page = visitor.person.open(&callback).await;
    assert!(page.says("Alice Liddell"), "the genuine one: {page:?}");
    world.stop().await;
}
