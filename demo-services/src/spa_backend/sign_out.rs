//! `POST /auth/sign-out`: here first, then at the authority.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use serde_json::json;
use url::Url;

use super::App;
use super::guard::Caller;
use super::problem::Problem;

/// Ends the session and answers `{"go": <where the page must navigate>}`: the authority's end-session endpoint if it has one
/// (OpenID Connect RP-Initiated Logout 1.0), which sends the browser back to the start page.
pub(super) async fn end(State(app): State<Arc<App>>, caller: Caller) -> Result<Response, Problem> {
    caller
        .visitor
        .leave(&app)
        .await
        .map_err(|_| Problem::internal())?;
    let endpoint = app
        .authority
        .metadata()
        .await
        .ok()
        .and_then(|metadata| metadata.end_session_endpoint.clone());
    let go = match endpoint {
        Some(endpoint) => {
            end_session_request(endpoint, &app, &caller.seat.account.login_hint).into()
        }
        None => "/?notice=signed-out-here".to_owned(),
    };
    Ok(Json(json!({ "go": go })).into_response())
}

fn end_session_request(mut endpoint: Url, app: &App, logout_hint: &str) -> Url {
    endpoint
        .query_pairs_mut()
        .append_pair("post_logout_redirect_uri", &app.settings.absolute("/"))
        .append_pair("client_id", &app.settings.client_id)
        .append_pair("logout_hint", logout_hint);
    endpoint
}
