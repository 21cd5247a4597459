//! The local UI's endpoints, one a file.

pub(super) mod cache;
pub(super) mod devices;
pub(super) mod overview;
pub(super) mod session;
pub(super) mod sign_in;
pub(super) mod sign_out;
pub(super) mod work;

use super::sessions::problem;
use crate::store::StoreError;
use axum::response::Response;
use http::StatusCode;

/// A store that cannot be read, told to staff without its internals.
fn unreadable(error: &StoreError) -> Response {
    tracing::warn!(%error, "The local UI could not read the store.");
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "The relay cannot read its store at the moment. If this stays, restart the relay and run `unifyit-relay doctor` on it.",
    )
}
