//! `/admin`: the page on which a person does what `POST /control` does, without JavaScript.

mod form;
mod page;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, StatusCode, Uri, header};

use crate::admin_sessions::{Entry, Notice, Sessions};
use crate::authority::{Authority, Shared};
use crate::form::Form;
use crate::{control, cookies, hosts, pages};

const ENDED: &str = "Your session has ended. Type the control token again.";

pub(crate) fn routes() -> Router<Shared> {
    Router::new()
        .route("/admin", get(show).post(act))
        .route("/admin/enter", post(enter))
        .route("/admin/leave", post(leave))
}

/// `GET /admin`: the page, or the form that asks for the control token.
async fn show(State(authority): State<Shared>, uri: Uri, headers: HeaderMap) -> Response {
    if let Err(refused) = allowed(&authority, &uri, &headers) {
        return *refused;
    }
    let session = cookies::admin(&headers).and_then(|cookie| {
        let now = authority.clock.now();
        sessions(&authority).visit(&cookie, now)
    });
    match session {
        None => page::enter(&authority, StatusCode::OK, None),
        Some((form_token, notice)) => page::admin(&authority, &form_token, notice.as_ref()),
    }
}

/// `POST /admin/enter` with `token`.
async fn enter(
    State(authority): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = match posted(&authority, &uri, &headers) {
        Ok(token) => token,
        Err(refused) => return *refused,
    };
    let form = Form::parse(&body).unwrap_or_default();
    let presented = form.get("token").unwrap_or_default().trim();
    let right = control::is_token(token, presented.as_bytes());
    let entry = sessions(&authority).enter(right, authority.clock.now());
    match entry {
        Entry::Locked => {
            tracing::info!("the admin page is locked");
            let complaint = "Too many wrong tokens. Wait ten minutes, then try again.";
            page::enter(&authority, StatusCode::TOO_MANY_REQUESTS, Some(complaint))
        }
        Entry::Wrong => {
            tracing::info!("wrong token on the admin page");
            let complaint = "That is not the control token.";
            page::enter(&authority, StatusCode::UNAUTHORIZED, Some(complaint))
        }
        Entry::Open(cookie) => {
            tracing::info!("the admin page was opened");
            let mut response = back();
            cookies::set_admin(response.headers_mut(), &cookie);
            response
        }
    }
}

/// `POST /admin/leave` with `form_token`.
async fn leave(
    State(authority): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (cookie, _) = match own_form(&authority, &uri, &headers, &body) {
        Ok(own) => own,
        Err(refused) => return *refused,
    };
    sessions(&authority).leave(&cookie, authority.clock.now());
    let mut response = back();
    cookies::clear_admin(response.headers_mut());
    response
}

/// `POST /admin` with `form_token`, `do`, and the fields of that command.
async fn act(
    State(authority): State<Shared>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let (cookie, form) = match own_form(&authority, &uri, &headers, &body) {
        Ok(own) => own,
        Err(refused) => return *refused,
    };
    let notice = match form::command(&form) {
        Err(reason) => Notice::failed(reason),
        Ok(command) => {
            let words = form::words(&command);
            match control::run(&authority, command).await {
                Ok(_) => Notice::done(words),
                Err((_, reason)) => Notice::failed(reason),
            }
        }
    };
    sessions(&authority).notify(&cookie, notice, authority.clock.now());
    back()
}

/// The cookie of a live session, and a form that was drawn for it.
fn own_form(
    authority: &Authority,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<(String, Form), Box<Response>> {
    posted(authority, uri, headers)?;
    let now = authority.clock.now();
    let session = cookies::admin(headers).and_then(|cookie| {
        let expected = sessions(authority).form_token(&cookie, now)?;
        Some((cookie, expected))
    });
    let Some((cookie, expected)) = session else {
        return Err(page::enter(authority, StatusCode::UNAUTHORIZED, Some(ENDED)).into());
    };
    let form = Form::parse(body)
        .map_err(|_| pages::error(StatusCode::BAD_REQUEST, "The form is malformed."))?;
    let presented = form.get("form_token").unwrap_or_default();
    if !control::is_token(&expected, presented.as_bytes()) {
        tracing::info!("a form of another session was refused");
        return Err(pages::error(
            StatusCode::FORBIDDEN,
            "This form belongs to another session. Open /admin again and repeat what you did.",
        )
        .into());
    }
    Ok((cookie, form))
}

/// For forms: as [`allowed`], and sent from a page of this site. Unlike the sign-in pages, this one takes no form without an origin.
fn posted<'a>(
    authority: &'a Authority,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<&'a str, Box<Response>> {
    let token = allowed(authority, uri, headers)?;
    let own_origin = headers
        .get(header::ORIGIN)
        .is_some_and(|origin| hosts::is_own_origin(authority, origin));
    let own_site = headers
        .get("sec-fetch-site")
        .is_none_or(|site| site == "same-origin");
    if own_origin && own_site {
        Ok(token)
    } else {
        tracing::info!("a form from elsewhere was refused");
        Err(pages::error(
            StatusCode::FORBIDDEN,
            "This form was not sent from this site.",
        )
        .into())
    }
}

/// The control token, if there is one and this is a loopback name.
fn allowed<'a>(
    authority: &'a Authority,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<&'a str, Box<Response>> {
    let Some(token) = &authority.control_token else {
        return Err(pages::nothing_here().into());
    };
    if control::is_on_loopback(uri, headers) {
        Ok(token)
    } else {
        Err(pages::error(
            StatusCode::FORBIDDEN,
            "This page is for this machine only: open it under localhost or a loopback address.",
        )
        .into())
    }
}

/// After a POST, so that a reload does nothing again.
fn back() -> Response {
    let location = HeaderValue::from_static("/admin");
    let mut response = (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response();
    page::guard(response.headers_mut());
    response
}

fn sessions(authority: &Authority) -> std::sync::MutexGuard<'_, Sessions> {
    authority
        .admin
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
