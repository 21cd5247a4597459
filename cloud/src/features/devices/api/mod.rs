//! Endpoints of computers.

mod allow_reenrolment;
mod facets;
mod forget_computer;
mod get;
mod list;
mod list_of_site;
mod revoke;
mod separate_identity;
mod timeline;
mod update;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(list::list_devices))
        .routes(routes!(facets::device_facets))
        .routes(routes!(get::get_device, update::update_device, revoke::revoke_device))
        .routes(routes!(list_of_site::list_site_devices))
        .routes(routes!(allow_reenrolment::allow_reenrolment))
        .routes(routes!(separate_identity::separate_identity))
        .routes(routes!(forget_computer::forget_computer))
        .routes(routes!(timeline::device_timeline))
}
