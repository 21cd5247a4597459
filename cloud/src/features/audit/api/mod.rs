//! Endpoints of the audit log.

mod list;
mod of_device;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_audit))
        .routes(routes!(of_device::list_device_audit))
}
