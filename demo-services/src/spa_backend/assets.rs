//! The page's scripts, style and icon, compiled in.

use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::header::{CACHE_CONTROL, CONTENT_TYPE};

use super::message::Message;

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

/// `GET /assets/{*name}`.
pub(super) async fn serve(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "app.css" => (STYLE, include_str!("../../assets/spa/app.css")),
        "app.js" => (SCRIPT, include_str!("../../assets/spa/app.js")),
        "backend.js" => (SCRIPT, include_str!("../../assets/spa/backend.js")),
        "controls.js" => (SCRIPT, include_str!("../../assets/spa/controls.js")),
        "draft.js" => (SCRIPT, include_str!("../../assets/spa/draft.js")),
        "profile.css" => (STYLE, include_str!("../../assets/spa/profile.css")),
        "profile.js" => (SCRIPT, include_str!("../../assets/spa/profile.js")),
        "shown.js" => (SCRIPT, include_str!("../../assets/spa/shown.js")),
        "sign-out.js" => (SCRIPT, include_str!("../../assets/spa/sign-out.js")),
        "words.js" => (SCRIPT, include_str!("../../assets/spa/words.js")),
        "picture/details.js" => (SCRIPT, include_str!("../../assets/spa/picture/details.js")),
        "picture/draw.js" => (SCRIPT, include_str!("../../assets/spa/picture/draw.js")),
        "picture/layout.js" => (SCRIPT, include_str!("../../assets/spa/picture/layout.js")),
        "picture/picture.js" => (SCRIPT, include_str!("../../assets/spa/picture/picture.js")),
        "picture/sentences.js" => (
            SCRIPT,
            include_str!("../../assets/spa/picture/sentences.js"),
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
