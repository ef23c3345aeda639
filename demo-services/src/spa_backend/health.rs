//! Alive, and ready: the authority's metadata can be had and the middle tier answers.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::StatusCode;
use serde_json::json;

use super::App;

/// `GET /healthz`.
pub(super) async fn alive() -> &'static str {
    "ok\n"
}

/// `GET /readyz`: `{"authority":true,"middle_tier":true}`, 503 when one is false.
pub(super) async fn ready(State(app): State<Arc<App>>) -> Response {
    let metadata = tokio::time::timeout(Duration::from_secs(2), app.authority.metadata());
    let (metadata, middle_tier) = tokio::join!(metadata, app.middle_tier.is_reachable());
    let authority = matches!(metadata, Ok(Ok(_)));
    let status = if authority && middle_tier {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (
        status,
        Json(json!({ "authority": authority, "middle_tier": middle_tier })),
    )
        .into_response()
}
