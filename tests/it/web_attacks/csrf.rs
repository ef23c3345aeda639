//! 146: what another site can make a signed-in browser send does nothing, at any route and with any method.
//!
//! The cookies are sent along as if `SameSite` did not exist.

use integration_tests::{visitor::Visitor, world::World};
use local_authority::Endpoint;
use reqwest::Method;

use super::{
    Session, name_of,
    routes::{self, Guard},
    wire::{self, Answer},
};

const METHODS: [Method; 7] = [
    Method::GET,
    Method::HEAD,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

type Headers = Vec<(&'static str, String)>;

/// One way to make the browser send something, with what is wrong about it.
struct Forgery {
    what: &'static str,
    headers: Headers,
    error: &'static str,
    body: &'static str,
}

fn forgeries(held: &Session, own: &str, others_token: &str) -> Vec<Forgery> {
    let port: u16 = own.rsplit_once(':').unwrap().1.parse().unwrap();
    let same = || ("sec-fetch-site", "same-origin".to_owned());
    let token = || ("x-session-token", held.token.clone());
    let origin = |origin: &str| ("origin", origin.to_owned());
    let site = |site: &str| ("sec-fetch-site", site.to_owned());
    let mut all = Vec::new();
    let mut put = |what, error, headers: Headers, body| {
        all.push(Forgery {
            what,
            headers,
            error,
            body,
        });
    };
    // Everything right but where it comes from.
    put("nothing said", "cross_site", vec![token()], "");
    put(
        "foreign origin",
        "cross_site",
        vec![token(), origin("http://evil.example")],
        "",
    );
    put(
        "other port",
        "cross_site",
        vec![token(), origin(&format!("http://localhost:{}", port ^ 1))],
        "",
    );
    put(
        "other scheme",
        "cross_site",
        vec![token(), origin(&own.replace("http:", "https:"))],
        "",
    );
    put(
        "other name of this host",
        "cross_site",
        vec![token(), origin(&own.replace("localhost", "127.0.0.1"))],
        "",
    );
    put(
        "name that ends well",
        "cross_site",
        vec![token(), origin(&own.replace("localhost", "evil-localhost"))],
        "",
    );
    put(
        "name that begins well",
        "cross_site",
        vec![token(), origin(&format!("{own}.evil.example"))],
        "",
    );
    put("null", "cross_site", vec![token(), origin("null")], "");
    put("empty", "cross_site", vec![token(), origin("")], "");
    put(
        "with a slash",
        "cross_site",
        vec![token(), origin(&format!("{own}/"))],
        "",
    );
    put(
        "two origins",
        "cross_site",
        vec![token(), origin(own), origin("http://evil.example")],
        "",
    );
    put(
        "two origins in one line",
        "cross_site",
        vec![token(), origin(&format!("{own} http://evil.example"))],
        "",
    );
    put(
        "cross-site",
        "cross_site",
        vec![token(), site("cross-site")],
        "",
    );
    put(
        "same-site",
        "cross_site",
        vec![token(), site("same-site")],
        "",
    );
    put("none", "cross_site", vec![token(), site("none")], "");
    put(
        "own origin, cross-site",
        "cross_site",
        vec![token(), origin(own), site("cross-site")],
        "",
    );
    put(
        "foreign origin, same-origin",
        "cross_site",
        vec![token(), origin("http://evil.example"), same()],
        "",
    );
    put(
        "referer alone",
        "cross_site",
        vec![token(), ("referer", format!("{own}/"))],
        "",
    );
    // What a form of another site sends.
    for kind in [
        "application/x-www-form-urlencoded",
        "multipart/form-data; boundary=x",
        "text/plain",
        "application/json",
    ] {
        let headers = vec![
            ("content-type", kind.to_owned()),
            origin("http://evil.example"),
            site("cross-site"),
        ];
        put(
            "form of another site",
            "cross_site",
            headers,
            "a=b&session_token=x&X-Session-Token=x",
        );
    }
    put(
        "method in a header",
        "cross_site",
        vec![token(), ("x-http-method-override", "GET".into())],
        "",
    );
    // From here, but not by the page that was drawn for this session.
    put("no token", "page_out_of_date", vec![same()], "");
    put(
        "empty token",
        "page_out_of_date",
        vec![same(), ("x-session-token", String::new())],
        "",
    );
    put(
        "wrong token",
        "page_out_of_date",
        vec![same(), ("x-session-token", "0".repeat(64))],
        "",
    );
    put(
        "part of the token",
        "page_out_of_date",
        vec![same(), ("x-session-token", held.token[..32].into())],
        "",
    );
    put(
        "token of another session",
        "page_out_of_date",
        vec![same(), ("x-session-token", others_token.into())],
        "",
    );
    put(
        "token twice",
        "page_out_of_date",
        vec![same(), token(), token()],
        "",
    );
    put(
        "token in another header",
        "page_out_of_date",
        vec![same(), ("x-csrf-token", held.token.clone())],
        "",
    );
    put(
        "token as a credential",
        "page_out_of_date",
        vec![same(), ("authorization", format!("Bearer {}", held.token))],
        "",
    );
    all
}

fn assert_refused(what: &str, answer: &Answer, method: &Method, status: u16, error: &str) {
    assert_eq!(answer.status, status, "{what}: {answer:?}");
    if *method != Method::HEAD {
        assert_eq!(answer.error(), error, "{what}: {answer:?}");
    }
    assert_open_to_nobody(what, answer);
}

/// No answer lets another origin's script read it or send more, and none changes a cookie.
fn assert_open_to_nobody(what: &str, answer: &Answer) {
    for name in answer.headers.keys() {
        assert!(!name.starts_with("access-control-"), "{what}: {name}");
    }
    assert_eq!(answer.header("set-cookie"), "", "{what}");
}

fn own_origin(world: &World) -> String {
    world.demo.spa().origin().ascii_serialization()
}

#[tokio::test]
async fn no_forged_request_passes_any_guarded_route() {
    let world = World::start().await;
    // So that a call that did pass would get through to the end.
    assert!(
        world
            .demo
            .authority()
            .set_policy("MFA for the downstream API", false)
    );
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let bob = Visitor::signed_in(&world, "bob").await;
    let own = own_origin(&world);
    let forgeries = forgeries(&held, &own, &Session::of(&world, &bob).token);
    let redeemed = world.asked(Endpoint::Token);

    let mut tried = 0;
    for route in routes::all()
        .iter()
        .filter(|route| route.guard == Guard::Call)
    {
        for method in &METHODS {
            if !route.methods.contains("any")
                && !route
                    .methods
                    .contains(&method.as_str().to_ascii_lowercase())
            {
                continue;
            }
            for forgery in &forgeries {
                let mut headers = vec![("cookie", &*held.cookie)];
                headers.extend(
                    forgery
                        .headers
                        .iter()
                        .map(|(name, value)| (*name, &**value)),
                );
                let what = format!("{method} {}: {}", route.path, forgery.what);
                let body = if *method == Method::HEAD {
                    ""
                } else {
                    forgery.body
                };
                let answer = wire::send(
                    world.demo.spa(),
                    method.clone(),
                    &route.path,
                    &headers,
                    body,
                )
                .await;
                assert_refused(&what, &answer, method, 403, forgery.error);
                tried += 1;
            }
            // Without the session nothing else helps.
            let headers = [
                ("sec-fetch-site", "same-origin"),
                ("x-session-token", &*held.token),
            ];
            let answer =
                wire::send(world.demo.spa(), method.clone(), &route.path, &headers, "").await;
            let what = format!("{method} {}: no session", route.path);
            assert_refused(&what, &answer, method, 401, "sign_in_required");
        }
    }
    assert!(tried > 250, "{tried}");
    assert_eq!(
        world.asked(Endpoint::Token),
        redeemed,
        "no call went through"
    );
    assert_eq!(
        name_of(&world, &held.cookie).await,
        "Alice Liddell",
        "still signed in"
    );

    // What the page itself sends passes.
    let headers = [
        ("cookie", &*held.cookie),
        ("origin", &own),
        ("x-session-token", &held.token),
    ];
    let answer = wire::send(world.demo.spa(), Method::GET, "/api/api", &headers, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let answer = wire::send(
        world.demo.spa(),
        Method::POST,
        "/auth/sign-out",
        &headers,
        "",
    )
    .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(name_of(&world, &held.cookie).await, "");
    world.stop().await;
}

#[tokio::test]
async fn no_other_route_takes_anything_but_reading() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let mut paths: Vec<_> = routes::all()
        .into_iter()
        .filter(|route| !matches!(route.guard, Guard::Call | Guard::Callback))
        .map(|route| route.path)
        .collect();
    paths.extend(
        [
            "/nowhere",
            "/auth",
            "/auth/",
            "/api",
            "/api/",
            "/Auth/Sign-Out",
        ]
        .map(str::to_owned),
    );
    for path in paths {
        for method in [
            "POST",
            "PUT",
            "PATCH",
            "DELETE",
            "OPTIONS",
            "PROPFIND",
            "X-ANYTHING",
        ] {
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            for (origin, token) in [
                (own_origin(&world), &*held.token),
                ("http://evil.example".into(), ""),
            ] {
                let headers = [
                    ("cookie", &*held.cookie),
                    ("origin", &*origin),
                    ("x-session-token", token),
                ];
                let answer =
                    wire::send(world.demo.spa(), method.clone(), &path, &headers, "a=b").await;
                let what = format!("{method} {path} of {origin}");
                assert!(matches!(answer.status, 404 | 405), "{what}: {answer:?}");
                assert_open_to_nobody(&what, &answer);
            }
        }
    }
    assert_eq!(name_of(&world, &held.cookie).await, "Alice Liddell");
    world.stop().await;
}

#[tokio::test]
async fn what_only_the_page_may_read_is_told_to_no_other() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let own = own_origin(&world);
    for route in routes::all()
        .iter()
        .filter(|route| route.guard == Guard::OwnPage)
    {
        for (name, value) in [
            ("origin", "http://evil.example"),
            ("origin", "null"),
            ("origin", ""),
            ("origin", &*own.replace("localhost", "127.0.0.1")),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let headers = [("cookie", &*held.cookie), (name, value)];
            let answer = wire::send(world.demo.spa(), Method::GET, &route.path, &headers, "").await;
            let what = format!("{} with {name}: {value}", route.path);
            assert_refused(&what, &answer, &Method::GET, 403, "cross_site");
            assert!(!answer.body.contains(&held.token), "{what}");
        }
        let headers = [("cookie", &*held.cookie), ("origin", &*own)];
        let answer = wire::send(world.demo.spa(), Method::GET, &route.path, &headers, "").await;
        assert!(answer.body.contains(&held.token), "{answer:?}");
    }
    world.stop().await;
}

#[tokio::test]
async fn no_page_of_another_site_begins_a_sign_in_unseen() {
    let world = World::start().await;
    let mut alice = Visitor::signed_in(&world, "alice").await;
    let refused = alice.call("/api/api").await;
    let held = Session::of(&world, &alice);
    for route in routes::all()
        .iter()
        .filter(|route| route.guard == Guard::Navigate)
    {
        let path = match &*route.path {
            "/auth/step-up" => refused.json()["go"].as_str().unwrap().to_owned(),
            path => path.to_owned(),
        };
        for (mode, dest, expected) in [
            ("no-cors", "image", 403),
            ("no-cors", "script", 403),
            ("navigate", "iframe", 403),
            ("navigate", "embed", 403),
            ("navigate", "object", 403),
            ("cors", "empty", 403),
            ("websocket", "empty", 403),
            ("navigate", "document", 303),
        ] {
            let headers = [
                ("cookie", &*held.cookie),
                ("sec-fetch-site", "cross-site"),
                ("sec-fetch-mode", mode),
                ("sec-fetch-dest", dest),
            ];
            let answer = wire::send(world.demo.spa(), Method::GET, &path, &headers, "").await;
            assert_eq!(answer.status, expected, "{path} {mode} {dest}: {answer:?}");
            if expected == 403 {
                assert_open_to_nobody(&path, &answer);
            }
        }
    }
    world.stop().await;
}

#[tokio::test]
async fn a_forged_callback_signs_nobody_in_by_any_method() {
    let world = World::start().await;
    let alice = Visitor::signed_in(&world, "alice").await;
    let held = Session::of(&world, &alice);
    let forged = "code=x&state=y";
    for (method, path, body) in [
        (Method::GET, "/auth/callback?code=x&state=y", ""),
        (Method::POST, "/auth/callback", forged),
        (Method::POST, "/auth/callback?code=x&state=y", forged),
        (Method::PUT, "/auth/callback", forged),
    ] {
        let headers = [
            ("cookie", &*held.cookie),
            ("origin", "http://evil.example"),
            ("sec-fetch-site", "cross-site"),
            ("content-type", "application/x-www-form-urlencoded"),
        ];
        let answer = wire::send(world.demo.spa(), method.clone(), path, &headers, body).await;
        assert!(
            (400..500).contains(&answer.status),
            "{method} {path}: {answer:?}"
        );
        assert_open_to_nobody(path, &answer);
    }
    assert_eq!(
        name_of(&world, &held.cookie).await,
        "Alice Liddell",
        "and signs nobody out"
    );
    world.stop().await;
}
