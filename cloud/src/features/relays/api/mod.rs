//! Endpoints of relays. What a relay looks like stands in its site.

mod revoke;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// All of them.
pub fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(revoke::revoke_relay))
}
