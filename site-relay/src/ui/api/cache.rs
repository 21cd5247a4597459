//! `GET /api/cache`: what the package cache saved, by day and repository.

use crate::ui::{Ui, sessions::problem};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use std::sync::Arc;

#[derive(Serialize)]
struct Row {
    day: String,
    repository: String,
    served: u64,
    fetched: u64,
    hits: u64,
    misses: u64,
}

/// Answers with rows, oldest first; none when the cache does not run.
pub(crate) async fn handle(State(ui): State<Arc<Ui>>) -> Response {
    let Some(cache) = ui.parts.cache.clone() else {
        return Json(Vec::<Row>::new()).into_response();
    };
    match tokio::task::spawn_blocking(move || cache.saved()).await {
        Ok(Ok(rows)) => {
            let rows: Vec<_> = rows
                .into_iter()
                .map(|(day, repository, s)| Row {
                    day,
                    repository,
                    served: s.served,
                    fetched: s.fetched,
                    hits: s.hits,
                    misses: s.misses,
                })
                .collect();
            Json(rows).into_response()
        }
        _ => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "The package cache's account cannot be read.")
        }
    }
}
