//! The pages. Self-contained, without inline style or script; askama escapes every value.

use askama::Template;
use axum::extract::RawQuery;
use axum::response::{Html, IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use uuid::Uuid;

use crate::clock;
use crate::directory::Directory;
use crate::errors::{Refusal, Trace, no_store};
use crate::form::Form;

pub(crate) const STYLE: &str = include_str!("../assets/authority.css");
pub(crate) const FORM_POST_SCRIPT: &str = include_str!("../assets/form-post.js");

/// No `form-action`: browsers apply it to the redirect after a form as well, and sign-in would end on the form.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; base-uri 'none'; frame-ancestors 'none'";

/// What the interactive pages have in common.
pub(crate) struct Page<'a> {
    pub(crate) directory: &'a Directory,
    /// Name of the application that the user comes from.
    pub(crate) client: &'a str,
    pub(crate) flow: &'a str,
    pub(crate) complaint: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "sign_in.html")]
struct SignIn<'a> {
    page: &'a Page<'a>,
    username: &'a str,
}

#[derive(Template)]
#[template(path = "mfa.html")]
struct SecondFactor<'a> {
    page: &'a Page<'a>,
    username: &'a str,
}

#[derive(Template)]
#[template(path = "user_code.html")]
struct UserCode<'a> {
    directory: &'a Directory,
    complaint: Option<&'static str>,
}

#[derive(Template)]
#[template(path = "device.html")]
struct Device<'a> {
    page: &'a Page<'a>,
    username: &'a str,
    client_id: Uuid,
    resource: &'a str,
}

/// What one application will be allowed.
pub(crate) struct Permissions {
    /// The application's name.
    pub(crate) holder: String,
    /// One sentence each.
    pub(crate) words: Vec<String>,
}

#[derive(Template)]
#[template(path = "consent.html")]
struct Consent<'a> {
    page: &'a Page<'a>,
    username: &'a str,
    groups: &'a [Permissions],
}

#[derive(Template)]
#[template(path = "form_post.html")]
struct FormPost<'a> {
    action: &'a str,
    parameters: &'a [(&'static str, String)],
    /// The error in words, if the answer is one.
    complaint: Option<&'a str>,
}

#[derive(Template)]
#[template(path = "message.html")]
struct Message<'a> {
    title: &'a str,
    text: &'a str,
    /// What to do now.
    way_on: &'a str,
    /// What helps to find the request again: label and value.
    details: &'a [(&'static str, String)],
}

pub(crate) fn sign_in(page: &Page<'_>, username: &str) -> Response {
    render(StatusCode::OK, &SignIn { page, username })
}

pub(crate) fn mfa(page: &Page<'_>, username: &str) -> Response {
    render(StatusCode::OK, &SecondFactor { page, username })
}

pub(crate) fn consent(page: &Page<'_>, username: &str, groups: &[Permissions]) -> Response {
    render(
        StatusCode::OK,
        &Consent {
            page,
            username,
            groups,
        },
    )
}

/// Where a person types the code of a device.
pub(crate) fn user_code(
    status: StatusCode,
    directory: &Directory,
    complaint: Option<&'static str>,
) -> Response {
    render(
        status,
        &UserCode {
            directory,
            complaint,
        },
    )
}

/// Whether the device is the person's own.
pub(crate) fn device(page: &Page<'_>, username: &str, client_id: Uuid, resource: &str) -> Response {
    render(
        StatusCode::OK,
        &Device {
            page,
            username,
            client_id,
            resource,
        },
    )
}

/// The end of a sign-in for a device.
pub(crate) fn device_signed_in(client: &str) -> Response {
    render(
        StatusCode::OK,
        &Message {
            title: "You are signed in on your device",
            text: &format!("{client} will go on in a moment."),
            way_on: "You can close this window.",
            details: &[],
        },
    )
}

/// A form that sends itself to the client, or is sent by a button where scripts are off.
pub(crate) fn form_post(action: &str, parameters: &[(&'static str, String)]) -> Response {
    let complaint = parameters
        .iter()
        .find(|(name, _)| *name == "error_description")
        .map(|(_, words)| words.as_str());
    render(
        StatusCode::OK,
        &FormPost {
            action,
            parameters,
            complaint,
        },
    )
}

pub(crate) fn error(status: StatusCode, text: &str) -> Response {
    render(
        status,
        &Message {
            title: "That did not work",
            text,
            way_on: "",
            details: &[],
        },
    )
}

/// What is here, for whoever opens the base URL.
pub(crate) fn home(issuer: &str, admin: Option<String>) -> Response {
    let metadata = format!("{issuer}/.well-known/openid-configuration");
    let mut details = vec![("Issuer", issuer.to_owned()), ("Metadata", metadata)];
    details.extend(admin.map(|url| ("Administration", url)));
    render(
        StatusCode::OK,
        &Message {
            title: "A local authority",
            text: "It signs users in and issues tokens as Microsoft Entra ID does, for demos and tests on this machine.",
            way_on: "Point an application at the issuer below.",
            details: &details,
        },
    )
}

/// `GET /error?code=N`: where `error_uri` of a refusal leads.
pub(crate) async fn error_code(RawQuery(query): RawQuery) -> Response {
    let form = Form::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    match form.get("code").map(str::parse::<u32>) {
        Some(Ok(code)) => render(
            StatusCode::OK,
            &Message {
                title: &format!("AADSTS{code}"),
                text: "A refusal of this local authority, under the number that Microsoft Entra ID has for the same reason.",
                way_on: "Its sentence stood beside the number in error_description. What Entra does and what this authority does stands in its TABLE.md.",
                details: &[],
            },
        ),
        _ => nothing_here(),
    }
}

pub(crate) fn nothing_here() -> Response {
    error(StatusCode::NOT_FOUND, "There is nothing here.")
}

/// A refusal that must not or cannot go back to the client, with what helps to find it again.
pub(crate) fn refused(status: StatusCode, refusal: &Refusal, trace: Trace, now: u64) -> Response {
    render(
        status,
        &Message {
            title: "That did not work",
            text: &refusal.sentence(),
            way_on: "Go back to the application and start again. If it ends here once more, give what stands below to those who run the application.",
            details: &[
                ("Error", refusal.error.to_owned()),
                ("Correlation ID", trace.correlation_id.to_string()),
                ("Trace ID", trace.trace_id.to_string()),
                ("Time", clock::timestamp(now)),
            ],
        },
    )
}

pub(crate) fn signed_out() -> Response {
    render(
        StatusCode::OK,
        &Message {
            title: "You are signed out",
            text: "You can close this window.",
            way_on: "",
            details: &[],
        },
    )
}

pub(crate) fn render(status: StatusCode, template: &impl Template) -> Response {
    let Ok(html) = template.render() else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    let mut response = (status, Html(html)).into_response();
    guard(response.headers_mut());
    response
}

/// Headers of everything that a browser navigates to.
pub(crate) fn guard(headers: &mut HeaderMap) {
    no_store(headers);
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        // `no-referrer` would make browsers send `Origin: null` with our own forms.
        (header::REFERRER_POLICY, "same-origin"),
        (
            HeaderName::from_static("cross-origin-opener-policy"),
            "same-origin",
        ),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_escaped() {
        let directory = Directory::demo();
        let evil = "\"><script>alert(1)</script>";
        let page = Page {
            directory: &directory,
            client: evil,
            flow: evil,
            complaint: Some("wrong"),
        };
        for html in [
            SignIn {
                page: &page,
                username: evil,
            }
            .render()
            .unwrap(),
            SecondFactor {
                page: &page,
                username: evil,
            }
            .render()
            .unwrap(),
            Device {
                page: &page,
                username: evil,
                client_id: Uuid::nil(),
                resource: evil,
            }
            .render()
            .unwrap(),
            Consent {
                page: &page,
                username: evil,
                groups: &[Permissions {
                    holder: evil.to_owned(),
                    words: vec![evil.to_owned()],
                }],
            }
            .render()
            .unwrap(),
            FormPost {
                action: evil,
                parameters: &[("state", evil.to_owned())],
                complaint: Some(evil),
            }
            .render()
            .unwrap(),
            Message {
                title: evil,
                text: evil,
                way_on: evil,
                details: &[("Error", evil.to_owned())],
            }
            .render()
            .unwrap(),
        ] {
            assert!(!html.contains("<script>alert"), "{html}");
        }
    }
}
