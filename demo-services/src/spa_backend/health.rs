//! Alive, and ready: the authority, the middle tier and the store of the sessions answer.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::App;
use super::problem::retry_later;

/// `GET /healthz`.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: `{"authority":true,"middle_tier":true}`, with `"sessions":true` where they are in Redis; 503 when one is false.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (metadata, middle_tier, sessions) = tokio::join!(
        app.authority.present(),
        app.middle_tier.is_reachable(),
        app.records.answers()
    );
    let authority = metadata.is_ok();
    let status = if authority && middle_tier && sessions != Some(false) {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let mut body = json!({ "authority": authority, "middle_tier": middle_tier });
    if let (Some(sessions), Some(body)) = (sessions, body.as_object_mut()) {
        body.insert("sessions".to_owned(), sessions.into());
    }
    retry_later((status, Json(body)).into_response())
}
