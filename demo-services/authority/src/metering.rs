//! Each endpoint's requests are counted, and fail when they were told to.

use std::time::Duration;

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::Response;

use crate::authority::Shared;
use crate::meter::{Endpoint, MAX_DELAY_MS};
use crate::requests;

/// Middleware around one endpoint.
pub(crate) async fn meter(
    State((authority, endpoint)): State<(Shared, Endpoint)>,
    request: Request,
    next: Next,
) -> Response {
    if let Some(fault) = authority.meter.enter(endpoint) {
        requests::note(|request| request.on_demand = true);
        if fault.delay_ms > 0 {
            tokio::time::sleep(Duration::from_millis(fault.delay_ms.min(MAX_DELAY_MS))).await;
        }
        if let Some(answer) = fault.answer() {
            if fault.after {
                next.run(request).await;
            }
            tracing::info!(
                ?endpoint,
                status = answer.status().as_u16(),
                "failed on demand"
            );
            return answer;
        }
    }
    next.run(request).await
}
