//! The first page: how everything stands, what needs somebody, what happened.

mod api;
mod model;
mod rules;

pub use api::routes;
