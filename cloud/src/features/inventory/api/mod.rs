//! Endpoints of inventory.

mod section;
mod software;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(section::get_inventory))
        .routes(routes!(software::list_software))
}
