//! People: signing in and out, their passwords, and the first of them.

mod api;
pub mod bootstrap;
mod model;
mod store;

pub use model::{SessionBody, User, UserListItem};

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature =
    Feature { routes: api::routes, public_routes: api::public_routes, ..Feature::named("users") };
