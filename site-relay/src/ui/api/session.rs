//! `GET /api/session`: whether the page is signed in; 401 when it is not.

use axum::Json;

/// Reached only by signed-in requests.
pub(crate) async fn handle() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "signed_in": true }))
}
