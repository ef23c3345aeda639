//! DNS rebinding: a page whose name was made to point at this machine gets nothing from any of the four services.

use integration_tests::{visitor::Visitor, world::World};
use local_authority::TokenSpec;
use url::Url;

use super::wire::{head, host, raw, statuses};

/// Method, path, and the status under the own name.
type Asked<'a> = (&'a str, &'a str, u16);

#[tokio::test]
async fn no_service_answers_under_a_name_that_is_not_its_own() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let cookie = format!("Cookie: {}", super::cookie_line(&world, &alice.person));
    let tenant = world.demo.authority().tenant();
    let authority: Url = world.demo.authority().url().parse().unwrap();
    let of = |app: &str| {
        let token = world.token(TokenSpec::user("alice", app).mfa().capabilities(["cp1"]));
        format!("Authorization: Bearer {token}")
    };
    let (middle, downstream) = (of("middle-tier"), of("downstream-api"));
    let metadata = format!("/{tenant}/v2.0/.well-known/openid-configuration");
    let keys = format!("/{tenant}/discovery/v2.0/keys");
    let tokens = format!("/{tenant}/oauth2/v2.0/token");
    let services: [(&Url, &str, &[Asked<'_>]); 4] = [
        (
            world.demo.spa(),
            &cookie,
            &[
                ("GET", "/", 200),
                ("GET", "/session", 200),
                ("GET", "/id-token", 200),
                ("GET", "/auth/sign-in", 303),
                ("GET", "/assets/app.js", 200),
                ("GET", "/nowhere", 404),
                ("POST", "/auth/sign-out", 403),
                ("GET", "/api/api", 403),
            ],
        ),
        (
            world.demo.middle_tier(),
            &middle,
            &[("GET", "/api", 200), ("GET", "/nowhere", 404)],
        ),
        (
            world.demo.downstream(),
            &downstream,
            &[("GET", "/api", 200), ("GET", "/nowhere", 404)],
        ),
        (
            &authority,
            "Accept: */*",
            &[
                ("GET", &metadata, 200),
                ("GET", &keys, 200),
                ("GET", "/admin", 200),
                ("POST", &tokens, 400),
            ],
        ),
    ];
    for (base, line, requests) in services {
        let port = base.port().unwrap();
        for (method, path, expected) in requests {
            let request = |host: &str| head(method, path, host, &[line]);
            let twin = raw(base, request(&host(base)).as_bytes()).await;
            assert_eq!(statuses(&twin), [*expected], "{base}{path}: {twin}");
            for name in [
                format!("evil.example:{port}"),
                "evil.example".into(),
                format!("localhost.evil.example:{port}"),
                format!("evil.localhost:{port}"),
                format!("127.0.0.1.evil.example:{port}"),
                format!("7f000001.rebind.example:{port}"),
            ] {
                let answer = raw(base, request(&name).as_bytes()).await;
                assert_eq!(statuses(&answer), [421], "{base}{path} as {name}: {answer}");
                assert!(
                    !answer.to_ascii_lowercase().contains("set-cookie"),
                    "{base}{path} as {name}: {answer}"
                );
                assert!(
                    !answer.contains("Alice"),
                    "{base}{path} as {name}: {answer}"
                );
            }
            // The same in absolute form, with the right Host beside it.
            let target = format!("http://evil.example:{port}{path}");
            let answer = raw(base, head(method, &target, &host(base), &[line]).as_bytes()).await;
            let refused = statuses(&answer)
                .iter()
                .all(|status| matches!(status, 400 | 421));
            assert!(refused, "{base} {target}: {answer}");
        }
    }
    world.stop().await;
}
