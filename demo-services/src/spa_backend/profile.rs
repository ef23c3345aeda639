//! The page of the person's own profile. What it shows and sends goes through `/api/profile` like any other call.

use std::sync::Arc;

use askama::Template;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;

use super::App;
use super::message::Message;
use super::pages::{Person, draw, notice, person};
use super::query::Params;
use super::session::Visitor;

#[derive(Template)]
#[template(path = "spa/profile.html")]
struct ProfilePage<'a> {
    person: Option<Person<'a>>,
    notice: Option<&'static str>,
    operation: Option<Waiting>,
}

/// A kept operation that the page is to run now.
struct Waiting {
    id: String,
    /// What it is: `view`, `edit` or `save`; empty if it is not kept any more.
    kind: &'static str,
}

/// `GET /profile`; who is not signed in comes back here afterwards.
pub(super) async fn page(State(app): State<Arc<App>>, visitor: Visitor, query: Params) -> Response {
    let id = query
        .one("op")
        .filter(|id| id.len() <= 64 && id.bytes().all(|b| b.is_ascii_alphanumeric()));
    let Some(seat) = visitor.seat.as_deref() else {
        let back = match id {
            Some(_) => "/auth/sign-in?return_to=/profile%3Fnotice%3Dsession-ended",
            None => "/auth/sign-in?return_to=/profile",
        };
        return Redirect::to(back).into_response();
    };
    let mut operation = None;
    if let Some(id) = id {
        let Ok(kept) = seat.operations().peek(id).await else {
            return Message::sessions_away().into_response();
        };
        let kind = kept.map(
            |kept| match (kept.call.method.is_safe(), kept.call.target.as_str()) {
                (false, _) => "save",
                (true, "/profile/edit") => "edit",
                (true, _) => "view",
            },
        );
        operation = Some(Waiting {
            kind: kind.unwrap_or_default(),
            id: id.to_owned(),
        });
    }
    let page = ProfilePage {
        person: Some(person(&app, seat)),
        notice: query.one("notice").and_then(notice),
        operation,
    };
    draw(StatusCode::OK, &page)
}
