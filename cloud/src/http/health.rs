//! `/healthz` (the process lives) for everybody; `/readyz` (it can do its work)
//! and `/metrics` for this machine and its monitoring, on a listener of their
//! own: they cost work, tell of the inside, and ask for no sign-in.

use super::Problem;
use crate::{
    context::AppState,
    db::{Cause, DbError},
};
use axum::{
    Json, Router,
    extract::State,
    http::{StatusCode, header},
    middleware,
    response::{IntoResponse, Response},
    routing::get,
};
use serde_json::json;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Mutex, Semaphore},
    time::Instant,
};

/// An answer about the database holds for this long: monitoring asks often, and
/// the question costs a write.
const FRESH: Duration = Duration::from_secs(1);
/// Pages of figures written at a time.
const PAGES: usize = 2;

/// Routes before everybody.
pub fn routes() -> Router<AppState> {
    let elsewhere = async || {
        Problem::new(
            StatusCode::NOT_FOUND,
            "about:blank",
            "Not found",
            "Readiness and figures are on a listener of their own (setting `admin_listen`).",
        )
    };
    alive().route("/readyz", get(elsewhere)).route("/metrics", get(elsewhere))
}

fn alive() -> Router<AppState> {
    Router::new().route("/healthz", get(async || Json(json!({"ok": true}))))
}

/// Routes of the listener for monitoring.
pub fn admin(state: AppState) -> Router {
    let admin = Admin {
        state: state.clone(),
        known: Arc::default(),
        pages: Arc::new(Semaphore::new(PAGES)),
    };
    Router::new()
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics))
        .with_state(admin)
        .merge(alive().with_state(state.clone()))
        .layer(middleware::from_fn_with_state(state, super::layers::frame))
}

/// When the database was last asked, and what kept it from its work.
type Known = (Instant, Option<Cause>);

#[derive(Clone)]
struct Admin {
    state: AppState,
    known: Arc<Mutex<Option<Known>>>,
    pages: Arc<Semaphore>,
}

impl Admin {
    /// What keeps the database from working, if anything does. Asked once at a
    /// time, however many want to know.
    async fn trouble(&self) -> Option<Cause> {
        let mut known = self.known.lock().await;
        if let Some((at, cause)) = known.as_ref()
            && at.elapsed() < FRESH
        {
            return *cause;
        }
        let cause = match self.state.db.can_write().await {
            Ok(()) => None,
            Err(error) => {
                tracing::debug!(%error, "not ready");
                Some(match error {
                    DbError::Unavailable { cause, .. } => cause,
                    _ => Cause::Refused,
                })
            }
        };
        *known = Some((Instant::now(), cause));
        cause
    }
}

async fn ready(State(admin): State<Admin>) -> Response {
    match admin.trouble().await {
        None => Json(json!({"ready": true, "database": true})).into_response(),
        Some(cause) => {
            let why = json!({"ready": false, "database": false, "cause": cause.sentence()});
            (StatusCode::SERVICE_UNAVAILABLE, Json(why)).into_response()
        }
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    // A page waits in memory until its reader has taken it.
    let Ok(_page) = admin.pages.try_acquire() else {
        return Problem::slow_down("Others read the figures at this moment. Try again.")
            .into_response();
    };
    let page = admin.state.metrics.page(admin.state.db.connections());
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], page).into_response()
}
