//! Endpoints of relays.

mod list;
mod revoke;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(list::list_relays)).routes(routes!(revoke::revoke_relay))
}
