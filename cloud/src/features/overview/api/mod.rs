//! Endpoint of the overview.

mod get;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The one.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get::get_overview))
}
