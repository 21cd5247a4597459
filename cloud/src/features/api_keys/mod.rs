//! API keys: for programs, with a role and scope no wider than their maker's.

mod api;
mod model;
mod store;

pub use api::routes;
