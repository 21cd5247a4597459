//! `/healthz` (the process lives), `/readyz` (it can do its work), `/metrics`.

use crate::context::AppState;
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;

/// Routes outside the API.
pub fn routes() -> Router<AppState> {
    Router::new()
        .route("/healthz", get(async || Json(json!({"ok": true}))))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
}

async fn ready(State(state): State<AppState>) -> Response {
    let database = match state.db.ping().await {
        Ok(_) => Ok(()),
        Err(error) => Err(error.to_string()),
    };
    let status = if database.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    if let Err(error) = &database {
        tracing::debug!(%error, "not ready");
    }
    (status, Json(json!({"ready": database.is_ok(), "database": database.is_ok()}))).into_response()
}

async fn metrics(State(state): State<AppState>) -> Response {
    let page = state.metrics.page(state.db.connections());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}
