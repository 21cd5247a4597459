//! The API document and a page to read it by. The page is ours and asks no
//! other host for anything.

use crate::context::AppState;
use axum::{
    Router,
    http::header,
    response::{IntoResponse, Response},
    routing::get,
};
use std::sync::Arc;
use utoipa::openapi::OpenApi;

const PAGE: &str = include_str!("reference/index.html");
const SCRIPT: &str = include_str!("reference/reference.js");
const STYLE: &str = include_str!("reference/reference.css");

/// `/api/v1/openapi.json` and `/api/docs`.
pub fn routes(api: &OpenApi) -> Router<AppState> {
    let document: Arc<str> = text(api).into();
    Router::new()
        .route(
            "/api/v1/openapi.json",
            get(async move || typed("application/json", document.to_string())),
        )
        .route("/api/docs", get(async || typed("text/html; charset=utf-8", PAGE)))
        .route(
            "/api/docs/reference.js",
            get(async || typed("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/api/docs/reference.css", get(async || typed("text/css; charset=utf-8", STYLE)))
}

/// The document as text, for the route and for `unifyit-cloud openapi`.
#[must_use]
pub fn text(api: &OpenApi) -> String {
    api.to_pretty_json().unwrap_or_default()
}

fn typed(media: &'static str, body: impl IntoResponse) -> Response {
    ([(header::CONTENT_TYPE, media)], body).into_response()
}
