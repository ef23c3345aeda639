//! Threats 140 to 151 of `layers/THREATS.md` at the wire: the web application as an attacker meets it, in one process with all that it
//! trusts. Nothing here knows how a session is kept.

#![allow(
    clippy::panic,
    reason = "helpers of tests fail by panicking, with the place and the reason"
)]

mod answers;
mod codes;
mod cookies;
mod csrf;
mod fixation;
mod flood;
mod no_tokens;
mod open_redirect;
mod pkce;
mod proxy;
mod rebinding;
mod refresh;
mod routes;
mod state;
mod tabs;
mod wire;

use integration_tests::{
    cookies::Sender,
    html,
    person::{Page, Person},
    visitor::Visitor,
    world::World,
};
use reqwest::{Client, Method};
use serde_json::Value;
use url::Url;

const SESSION: &str = "__Host-spa-session";
const OTP: &str = "123456";

/// RFC 7636 appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

/// What a signed-in browser holds, for requests that a browser would not send.
#[derive(Clone, Debug)]
struct Session {
    /// The whole `Cookie` line.
    cookie: String,
    /// The header token of the page.
    token: String,
    account: String,
}

impl Session {
    fn of(world: &World, visitor: &Visitor) -> Self {
        let meta = |name| html::attribute(&visitor.page.body, ("name", name), "content").unwrap();
        Self {
            cookie: cookie_line(world, &visitor.person),
            token: meta("session-token"),
            account: meta("account"),
        }
    }
}

fn cookie_line(world: &World, person: &Person) -> String {
    let line = person
        .jar
        .header(world.demo.spa(), &Method::GET, Sender::AddressBar);
    line.unwrap_or_default()
}

/// The value of a cookie that the person holds for the SPA's host.
fn cookie(world: &World, person: &Person, name: &str) -> Option<String> {
    cookie_line(world, person)
        .split("; ")
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(given, value)| (given == name).then(|| value.to_owned()))
}

/// Who the SPA takes the holder of these cookies for; empty for nobody.
async fn name_of(world: &World, cookie: &str) -> String {
    let headers = [("cookie", cookie), ("sec-fetch-site", "same-origin")];
    let answer = wire::send(world.demo.spa(), Method::GET, "/session", &headers, "").await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let said: Value = serde_json::from_str(&answer.body).unwrap();
    said["name"].as_str().unwrap_or_default().to_owned()
}

/// Begins a sign-in and ends it at the authority, without coming back: the address with code and state.
async fn callback_of(world: &World, visitor: &mut Visitor, user: &str) -> Url {
    let form = visitor.press_sign_in().await;
    let directory = world.demo.authority().directory();
    let user = directory.user(user).unwrap();
    let fields = [("username", &*user.username), ("password", user.password())];
    let password = form.form_with("password");
    visitor.person.submit_once(&form, &password, &fields).await
}

/// Begins a sign-in at an authority that knows the person already, from this address on: the callback, not yet opened.
async fn silent_callback(person: &mut Person, begin: &Url) -> Url {
    let sent = person.open_once(begin).await;
    let authorize = sent.redirect().unwrap_or_else(|| panic!("{sent:?}"));
    let back = person.open_once(&authorize).await;
    back.redirect().unwrap_or_else(|| panic!("{back:?}"))
}

/// Ends a sign-in of the SPA in its place: with its own request but for the challenge, which is that of [`VERIFIER`].
async fn redeem(
    world: &World,
    person: &mut Person,
    authorize: &Url,
    verifier: Option<&str>,
) -> (u16, Value) {
    let authorize = with(authorize, &[("code_challenge", Some(CHALLENGE))]);
    let answer = person.open_once(&authorize).await;
    let callback = answer.redirect().unwrap_or_else(|| panic!("{answer:?}"));
    let code = parameter(&callback, "code").unwrap();
    let redirect_uri = parameter(&authorize, "redirect_uri").unwrap();
    let mut form = vec![
        ("grant_type", "authorization_code"),
        ("code", &*code),
        ("redirect_uri", &*redirect_uri),
    ];
    form.extend(verifier.map(|verifier| ("code_verifier", verifier)));
    at_token_endpoint(world, &form).await
}

/// A token request with the SPA backend's own credential.
async fn at_token_endpoint(world: &World, form: &[(&str, &str)]) -> (u16, Value) {
    let directory = world.demo.authority().directory();
    let app = directory.app("spa-backend").unwrap();
    let client_id = app.client_id.to_string();
    let mut form = form.to_vec();
    form.extend([
        ("client_id", &*client_id),
        ("client_secret", app.secret().unwrap()),
    ]);
    let authority = world.demo.authority();
    let endpoint = format!(
        "{}/{}/oauth2/v2.0/token",
        authority.url(),
        authority.tenant()
    );
    let http = Client::builder().no_proxy().build().unwrap();
    let answer = http.post(endpoint).form(&form).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// The address with other values for some parameters; `None` takes one away.
fn with(url: &Url, changes: &[(&str, Option<&str>)]) -> Url {
    let kept: Vec<(String, String)> = url
        .query_pairs()
        .into_owned()
        .filter(|(name, _)| !changes.iter().any(|(changed, _)| changed == name))
        .collect();
    let mut changed = url.clone();
    let mut query = changed.query_pairs_mut();
    query.clear().extend_pairs(kept);
    for (name, value) in changes {
        if let Some(value) = value {
            query.append_pair(name, value);
        }
    }
    drop(query);
    changed
}

fn parameter(url: &Url, name: &str) -> Option<String> {
    url.query_pairs()
        .find_map(|(given, value)| (given == name).then(|| value.into_owned()))
}

/// The kept operation that a refusal's `go` leads to.
fn operation_of(refused: &Page) -> String {
    let go = refused.json()["go"].as_str().unwrap().to_owned();
    let operation = go.strip_prefix("/auth/step-up?op=");
    operation.unwrap_or_else(|| panic!("{go}")).to_owned()
}

/// Nothing of what only a developer should see.
fn assert_no_internals(what: &str, body: &str) {
    for mark in [
        "panicked",
        ".rs:",
        "backtrace",
        "RUST_",
        "stack trace",
        "at src/",
        "tokio",
        "hyper",
        "axum",
    ] {
        assert!(
            !body.contains(mark),
            "`{mark}` in the answer to {what}: {body}"
        );
    }
}
