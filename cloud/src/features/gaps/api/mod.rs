//! Endpoints of losses.

mod of_device;
mod of_site;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(of_device::list_device_gaps))
        .routes(routes!(of_site::list_site_gaps))
}
