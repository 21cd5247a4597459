//! Endpoints of signing in and of people.

mod list;
mod login;
mod logout;
mod password;
mod session;

use crate::context::AppState;
use utoipa_axum::{router::OpenApiRouter, routes};

/// Those that need a session or key.
pub(super) fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(session::get_session))
        .routes(routes!(logout::logout))
        .routes(routes!(password::change_password))
        .routes(routes!(list::list_users))
}

/// Signing in.
pub(super) fn public_routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(login::login))
}
