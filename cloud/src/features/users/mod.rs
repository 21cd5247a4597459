//! People: signing in and out, their passwords, and the first of them.

mod api;
pub mod bootstrap;
mod model;
mod store;

pub use api::{public_routes, routes};
pub use model::{SessionBody, User, UserListItem};
