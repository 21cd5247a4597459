//! `GET /api/overview`

use super::unreadable;
use crate::ui::{Ui, view};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use std::sync::Arc;

/// Answers with [`view::overview`].
pub(crate) async fn handle(State(ui): State<Arc<Ui>>) -> Response {
    match view::overview(&ui.parts).await {
        Ok(found) => Json(found).into_response(),
        Err(error) => unreadable(&error),
    }
}
