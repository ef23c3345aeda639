//! RP-initiated logout: ends the session, then goes back to the application if it may.

use axum::Extension;
use axum::extract::{RawQuery, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use url::Url;

use crate::authority::Shared;
use crate::authorization::registered;
use crate::cookies;
use crate::directory::Directory;
use crate::form::Form;
use crate::known::Known;
use crate::pages;

/// `GET /{tenant}/oauth2/v2.0/logout`.
pub(crate) async fn logout(
    State(authority): State<Shared>,
    Extension(Known(directory)): Extension<Known>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let now = authority.now();
    if let Some(cookie) = cookies::session(&headers) {
        authority.stores().sessions.remove(&cookie, now);
        tracing::info!("signed out");
    }
    let form = Form::parse(query.unwrap_or_default().as_bytes()).unwrap_or_default();
    let mut response = target(&directory, &form).map_or_else(pages::signed_out, |location| {
        (StatusCode::FOUND, [(header::LOCATION, location)]).into_response()
    });
    pages::guard(response.headers_mut());
    cookies::clear_session(response.headers_mut());
    response
}

/// Only a registered redirect URI, of the named client if one is named: anything else would be an open redirector.
fn target(directory: &Directory, form: &Form) -> Option<HeaderValue> {
    let presented = form.get("post_logout_redirect_uri")?;
    let client = form.get("client_id");
    let mut clients = directory
        .apps
        .iter()
        .filter(|app| client.is_none_or(|id| app.client_id.to_string().eq_ignore_ascii_case(id)));
    clients.find(|app| registered(app, presented).is_some())?;
    let mut url = Url::parse(presented).ok()?;
    if let Some(state) = form.get("state") {
        url.query_pairs_mut().append_pair("state", state);
    }
    HeaderValue::try_from(url.as_str()).ok()
}
