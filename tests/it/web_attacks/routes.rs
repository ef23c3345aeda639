//! All routes of the SPA backend, read from its source, and who may use each. A route that is not in the table fails the tests.

use crate::tidy::sources;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Guard {
    /// Anybody, to read: pages, assets, health.
    Read,
    /// Anybody, to read, as an address that the browser opens; it begins a sign-in.
    Navigate,
    /// The authority's answer: guarded by state and transaction cookie.
    Callback,
    /// The page's script, to read.
    OwnPage,
    /// The page's script: session, header token, same origin.
    Call,
}

use Guard::{Call, Callback, Navigate, OwnPage, Read};

/// Also what other configurations serve.
const GUARDS: [(&str, Guard); 21] = [
    ("/", Read),
    ("/id-token", Read),
    ("/profile", Read),
    ("/msal", Read),
    ("/msal/{name}", Read),
    ("/msal/redirect", Read),
    ("/assets/{*name}", Read),
    ("/healthz", Read),
    ("/readyz", Read),
    ("/session", OwnPage),
    ("/auth/sign-in", Navigate),
    ("/auth/step-up", Navigate),
    ("/auth/callback", Callback),
    ("/auth/sign-out", Call),
    ("/api/ops/{id}", Call),
    ("/api/{*path}", Call),
    ("/flows", Call),
    ("/flows/{id}", Call),
    ("/demo", Call),
    ("/demo/policy", Call),
    ("/demo/revoke", Call),
];

/// One route: an address that it takes, its guard, its methods as they stand in the source (`get`, `post`, `any`).
#[derive(Debug)]
pub(super) struct Route {
    pub(super) path: String,
    pub(super) guard: Guard,
    pub(super) methods: String,
}

/// Every route that the source of the SPA backend adds.
pub(super) fn all() -> Vec<Route> {
    let mut found = Vec::new();
    let sources = sources("demo-services/src/spa_backend");
    let modules = sources
        .iter()
        .find(|source| source.path.ends_with("spa_backend/mod.rs"));
    let for_tests: Vec<String> = modules
        .unwrap()
        .text
        .split("#[cfg(test)]\nmod ")
        .skip(1)
        .map(|rest| format!("spa_backend/{}.rs", rest.split(';').next().unwrap()))
        .collect();
    for source in sources {
        if for_tests.iter().any(|file| source.path.ends_with(file)) {
            continue;
        }
        let code = source.product_code();
        for call in code.split(".route(").skip(1) {
            let Some((path, rest)) = call
                .trim_start()
                .strip_prefix('"')
                .and_then(|call| call.split_once('"'))
            else {
                panic!(
                    "{}: a route whose path is no literal: {:.60}",
                    source.path, call
                );
            };
            let methods = rest.split(".route(").next().unwrap();
            let methods = methods.split_once(')').map_or(methods, |(first, _)| first);
            let guard = GUARDS.iter().find(|(known, _)| matches(known, path));
            let guard = guard.unwrap_or_else(|| {
                panic!(
                    "{}: who may use the route {path}? Put it into GUARDS",
                    source.path
                )
            });
            found.push(Route {
                path: example(path),
                guard: guard.1,
                methods: methods.to_owned(),
            });
        }
    }
    assert!(found.len() >= 12, "{found:?}");
    found
}

/// The same path, whatever its parameters are called.
fn matches(known: &str, path: &str) -> bool {
    let (mut known, mut path) = (known.split('/'), path.split('/'));
    loop {
        match (known.next(), path.next()) {
            (None, None) => return true,
            (Some(known), Some(part)) if known == part || (is_one(known) && is_one(part)) => {}
            (Some(known), Some(part)) if known.starts_with("{*") && part.starts_with("{*") => {}
            _ => return false,
        }
    }
}

/// A parameter that is one segment.
fn is_one(part: &str) -> bool {
    part.starts_with('{') && !part.starts_with("{*")
}

fn example(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{*path}" => "api",
        "{name}" | "{*name}" => "app.js",
        part if part.starts_with('{') => "6f1c2f8e-0000-4000-8000-000000000000",
        part => part,
    });
    parts.collect::<Vec<_>>().join("/")
}

#[test]
fn each_route_of_the_spa_backend_has_a_guard() {
    for route in all() {
        let reads = !["post", "put", "patch", "delete", "any"]
            .iter()
            .any(|method| route.methods.contains(method));
        let may_change = matches!(route.guard, Call | Callback);
        assert!(
            reads || may_change,
            "{route:?} takes more than GET and has no guard against other sites"
        );
    }
}

#[test]
fn routes_are_told_apart() {
    assert!(matches("/api/ops/{id}", "/api/ops/{operation}"));
    assert!(matches("/demo/{command}", "/demo/policy"));
    assert!(!matches("/demo", "/demo/policy"));
    assert!(!matches("/flows/{id}", "/flows"));
    assert!(matches("/api/{*path}", "/api/{*rest}"));
}
