//! `POST /auth/sign-out`: here first, then at the authority.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use secrecy::ExposeSecret;
use serde_json::json;
use url::Url;

use super::App;
use super::guard::Caller;
use super::problem::Problem;
use super::vault::Seat;

/// Ends the session and answers `{"go": <where the page must navigate>}`: the authority's end-session endpoint if it has one
/// (OpenID Connect RP-Initiated Logout 1.0), which sends the browser back to the start page.
pub(super) async fn end(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    caller.visitor.leave(&app).await?;
    let endpoint = app
        .authority
        .metadata()
        .await
        .ok()
        .and_then(|metadata| metadata.end_session_endpoint.clone());
    let go = match endpoint {
        Some(endpoint) => end_session_request(endpoint, &app, &caller.seat).into(),
        None => "/?notice=signed-out-here".to_owned(),
    };
    Ok(Json(json!({ "go": go })).into_response())
}

/// Entra ends the session of `logout_hint` without asking; an authority that wants `id_token_hint` gets the ID token, which only
/// then was kept.
fn end_session_request(mut endpoint: Url, app: &App, seat: &Seat) -> Url {
    let mut query = endpoint.query_pairs_mut();
    query
        .append_pair("post_logout_redirect_uri", &app.settings.absolute("/"))
        .append_pair("client_id", &app.settings.client_id)
        .append_pair("logout_hint", &seat.account.login_hint);
    if let Some(id_token) = &seat.id_token {
        query.append_pair("id_token_hint", id_token.expose_secret());
    }
    drop(query);
    endpoint
}
