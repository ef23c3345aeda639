//! The page's script, style and icon, compiled in.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::message::Message;

/// `GET /assets/{name}`.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "app.css" => (
            "text/css; charset=utf-8",
            include_str!("../../assets/spa/app.css"),
        ),
        "app.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../../assets/spa/app.js"),
        ),
        "backend.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../../assets/spa/backend.js"),
        ),
        "profile.css" => (
            "text/css; charset=utf-8",
            include_str!("../../assets/spa/profile.css"),
        ),
        "profile.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../../assets/spa/profile.js"),
        ),
        "words.js" => (
            "text/javascript; charset=utf-8",
            include_str!("../../assets/spa/words.js"),
        ),
        "icon.svg" => ("image/svg+xml", include_str!("../../assets/spa/icon.svg")),
        _ => return Message::not_found().into_response(),
    };
    (
        [(CONTENT_TYPE, content_type), (CACHE_CONTROL, "no-cache")],
        text,
    )
        .into_response()
}
