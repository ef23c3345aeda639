//! Alive, and ready: the authority and the middle tier answer.

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

/// `GET /readyz`: `{"authority":true,"middle_tier":true}`, 503 when one is false.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let (metadata, middle_tier) =
        tokio::join!(app.authority.present(), app.middle_tier.is_reachable());
    let authority = metadata.is_ok();
    let status = if authority && middle_tier {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let body = Json(json!({ "authority": authority, "middle_tier": middle_tier }));
    retry_later((status, body).into_response())
}
