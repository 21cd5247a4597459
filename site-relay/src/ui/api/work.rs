//! `GET /api/work`

use super::unreadable;
use crate::ui::{Ui, view};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// Answers with [`view::work`].
pub(crate) async fn handle(State(ui): State<Arc<Ui>>) -> Response {
    match view::work(&ui.parts).await {
        Ok(found) => Json(found).into_response(),
        Err(error) => unreadable(&error),
    }
}
