//! Endpoints of measurements.

mod of_device;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(of_device::get_device_metrics))
}
