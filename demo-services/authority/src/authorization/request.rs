//! An authorization request, checked: what cannot be trusted to be the client's own stays on a page, the rest goes back to the client.

use serde::{Deserialize, Serialize};
use url::Url;

use super::reply::{Reply, ResponseMode};
use crate::client;
use crate::demands::Demands;
use crate::directory::{App, Directory, is_loopback};
use crate::errors::{self, Refusal, Trace};
use crate::form::{Form, FormError};
use crate::login_hint;
use crate::scopes::Requested;

/// The kind of client that a redirect URI was registered for.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum RedirectKind {
    Native,
    Spa,
    Web,
}

/// OpenID Connect Core 3.1.2.1.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Prompt {
    Consent,
    Login,
    None,
    SelectAccount,
    WhenNeeded,
}

/// What a sign-in is for, however its outcome gets to the client.
#[derive(Clone, Debug)]
pub(crate) struct AuthorizeRequest {
    pub(crate) client: App,
    pub(crate) requested: Requested,
    pub(crate) prompt: Prompt,
    pub(crate) login_hint: Option<String>,
    pub(crate) max_age: Option<u64>,
    pub(crate) demands: Demands,
    pub(crate) trace: Trace,
}

/// How a code gets to the client, and what must come with it at its redemption.
#[derive(Clone, Debug)]
pub(crate) struct Redirect {
    pub(crate) kind: RedirectKind,
    pub(crate) reply: Reply,
    pub(crate) challenge: String,
    pub(crate) nonce: Option<String>,
    pub(crate) client_info: bool,
}

/// A request that breaks a rule.
pub(crate) enum Rejected {
    /// Client or redirect URI are not known: nothing may be redirected.
    Page(Refusal),
    /// The client hears of it.
    Redirect(Box<Reply>, Refusal),
}

impl AuthorizeRequest {
    pub(crate) fn parse(
        directory: &Directory,
        form: Result<Form, FormError>,
        trace: Trace,
    ) -> Result<(Self, Redirect), Rejected> {
        let form = form.map_err(|_| {
            Rejected::Page(Refusal::invalid_request(
                90_014,
                "The request is malformed or repeats a parameter.",
            ))
        })?;
        let client = form
            .get("client_id")
            .ok_or_else(|| Refusal::missing("client_id"))
            .and_then(|id| client::find(directory, id))
            .map_err(Rejected::Page)?;
        let redirect_uri = form
            .get("redirect_uri")
            .ok_or_else(|| Rejected::Page(Refusal::missing("redirect_uri")))?;
        let kind = registered(client, redirect_uri)
            .ok_or_else(|| Rejected::Page(redirect_uri_mismatch(client, redirect_uri)))?;
        let mut reply = Reply {
            redirect_uri: redirect_uri.to_owned(),
            mode: ResponseMode::Query,
            state: form.get("state").map(str::to_owned),
        };
        let mode = mode(form.get("response_mode"));
        reply.mode = mode.unwrap_or(ResponseMode::Query);
        let checked = mode
            .ok_or_else(|| unsupported("response_mode"))
            .and_then(|_| Self::check(directory, &form, client, kind, &reply, trace));
        checked.map_err(|refusal| Rejected::Redirect(Box::new(reply), refusal))
    }

    fn check(
        directory: &Directory,
        form: &Form,
        client: &App,
        kind: RedirectKind,
        reply: &Reply,
        trace: Trace,
    ) -> Result<(Self, Redirect), Refusal> {
        match form.get("response_type") {
            Some("code") => {}
            None => return Err(Refusal::missing("response_type")),
            Some(_) => {
                return Err(Refusal::new(
                    "unsupported_response_type",
                    700_054,
                    "The 'response_type' is not enabled for the application.",
                ));
            }
        }
        let challenge = form.get("code_challenge").ok_or_else(|| {
            Refusal::invalid_request(
                9_002_325,
                "Proof Key for Code Exchange is required for authorization code redemption.",
            )
        })?;
        // RFC 7636 section 4.3: a missing method means `plain`.
        if form.get("code_challenge_method") != Some("S256") {
            return Err(Refusal::invalid_request(
                501_491,
                "The 'code_challenge_method' must be S256.",
            ));
        }
        if challenge.len() != 43
            || !challenge
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
        {
            return Err(Refusal::invalid_request(
                501_491,
                "The 'code_challenge' is not a SHA-256 digest in base64url.",
            ));
        }
        let prompt = match form.get("prompt") {
            None => Prompt::WhenNeeded,
            Some("consent") => Prompt::Consent,
            Some("login") => Prompt::Login,
            Some("none") => Prompt::None,
            Some("select_account") => Prompt::SelectAccount,
            Some(_) => return Err(unsupported("prompt")),
        };
        let redirect = Redirect {
            kind,
            reply: reply.clone(),
            challenge: challenge.to_owned(),
            nonce: form.get("nonce").map(str::to_owned),
            client_info: form.get("client_info") == Some("1"),
        };
        let request = Self {
            client: client.clone(),
            requested: Requested::parse(directory, form.get("scope"))?,
            prompt,
            login_hint: form
                .get("login_hint")
                .map(|hint| login_hint::username(directory, hint)),
            max_age: form
                .get("max_age")
                .map(|seconds| seconds.parse().map_err(|_| unsupported("max_age")))
                .transpose()?,
            demands: Demands::parse(form.get("claims")).map_err(|_| unsupported("claims"))?,
            trace,
        };
        Ok((request, redirect))
    }
}

fn mode(text: Option<&str>) -> Option<ResponseMode> {
    match text {
        None | Some("query") => Some(ResponseMode::Query),
        Some("fragment") => Some(ResponseMode::Fragment),
        Some("form_post") => Some(ResponseMode::FormPost),
        Some(_) => None,
    }
}

pub(crate) fn redirect_uri_mismatch(client: &App, presented: &str) -> Refusal {
    let (uri, client) = (errors::named(presented), client.client_id);
    Refusal::invalid_request(
        50_011,
        format!(
            "The redirect URI '{uri}' specified in the request does not match the redirect URIs configured for the application '{client}'."
        ),
    )
}

fn unsupported(parameter: &str) -> Refusal {
    Refusal::invalid_request(
        90_023,
        format!("The value of the parameter '{parameter}' is not supported."),
    )
}

/// Redirect URIs are compared to the byte (RFC 9700 section 2.1); only a native client's loopback port is free (RFC 8252 section 7.3).
pub(crate) fn registered(app: &App, presented: &str) -> Option<RedirectKind> {
    let uris = &app.redirect_uris;
    let has = |list: &[String]| list.iter().any(|uri| uri == presented);
    if has(&uris.web) {
        Some(RedirectKind::Web)
    } else if has(&uris.spa) {
        Some(RedirectKind::Spa)
    } else if has(&uris.native)
        || uris
            .native
            .iter()
            .any(|uri| differs_in_port_only(uri, presented))
    {
        Some(RedirectKind::Native)
    } else {
        None
    }
}

/// As text: a URL parser forgives spaces, tabs and capitals.
fn differs_in_port_only(registered: &str, presented: &str) -> bool {
    let loopback = Url::parse(registered).is_ok_and(|url| is_loopback(&url));
    let registered = without_port(registered);
    loopback && registered.is_some() && registered == without_port(presented)
}

/// What stands before the port and after it in an `http` URL.
fn without_port(url: &str) -> Option<(&str, &str)> {
    let host_and_port = url.strip_prefix("http://")?;
    let end = host_and_port
        .find(['/', '?'])
        .unwrap_or(host_and_port.len());
    let (host_and_port, rest) = host_and_port.split_at(end);
    // The colons of an IPv6 address stand within brackets.
    let bare = host_and_port.ends_with(']') || !host_and_port.contains(':');
    let host = if bare {
        host_and_port
    } else {
        let (host, port) = host_and_port.rsplit_once(':')?;
        let digits = port.bytes().all(|byte| byte.is_ascii_digit());
        (digits && port.parse::<u16>().is_ok()).then_some(host)?
    };
    Some((host, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::RedirectUris;

    fn app() -> App {
        let mut app = App::new("x", uuid::Uuid::from_u128(1));
        app.redirect_uris = RedirectUris {
            spa: vec!["https://spa.example/".into()],
            web: vec!["http://localhost:3000/auth/callback".into()],
            native: vec![
                "http://localhost".into(),
                "http://127.0.0.1/cb".into(),
                "http://[::1]:9/cb?x".into(),
            ],
        };
        app
    }

    #[test]
    fn redirect_uris_match_to_the_byte() {
        for (uri, kind) in [
            (
                "http://localhost:3000/auth/callback",
                Some(RedirectKind::Web),
            ),
            ("https://spa.example/", Some(RedirectKind::Spa)),
            ("https://spa.example", None),
            ("http://localhost:3000/auth/callback/", None),
            ("http://localhost:3000/auth/Callback", None),
            ("http://localhost:3000/auth/callback?x=1", None),
            ("http://localhost:3000/auth/callback#", None),
            ("http://127.0.0.1:3000/auth/callback", None),
            ("https://localhost:3000/auth/callback", None),
            ("http://localhost:3000/auth/../auth/callback", None),
            ("https://spa.example.evil.example/", None),
        ] {
            assert_eq!(registered(&app(), uri), kind, "{uri}");
        }
    }

    #[test]
    fn only_the_port_of_a_native_loopback_is_free() {
        for (uri, kind) in [
            ("http://localhost:51234", Some(RedirectKind::Native)),
            ("http://127.0.0.1:51234/cb", Some(RedirectKind::Native)),
            ("http://[::1]:51234/cb?x", Some(RedirectKind::Native)),
            ("http://[::1]/cb?x", Some(RedirectKind::Native)),
            ("http://[::1]:51234/cb", None),
            ("http://localhost:51234/", None),
            ("http://localhost\t:7777", None),
            ("http://local\nhost:7777", None),
            (" http://localhost:7777", None),
            ("http://localhost:7777 ", None),
            ("HTTP://localhost:7777", None),
            ("http://LOCALHOST:7777", None),
            ("http:\\\\localhost:7777", None),
            ("http:/localhost:7777", None),
            ("http://localhost:", None),
            ("http://localhost:+77", None),
            ("http://localhost:65536", None),
            ("http://localhost:7777#", None),
            ("http://localhost:7777:8888", None),
            ("http://localhost:7777@evil.example", None),
            ("http://127.1:51234/cb", None),
            ("http://[0::1]:51234/cb?x", None),
            ("http://127.0.0.1:51234/other", None),
            ("http://localhost:51234/cb", None),
            ("http://user@localhost:51234/", None),
            ("https://localhost:51234/", None),
            ("http://evil.example:51234/", None),
        ] {
            assert_eq!(registered(&app(), uri), kind, "{uri}");
        }
    }
}
