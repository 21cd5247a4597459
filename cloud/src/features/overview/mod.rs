//! The first page: how everything stands, what needs somebody, what happened.

mod api;
mod model;
mod rules;
mod store;

pub use api::routes;
