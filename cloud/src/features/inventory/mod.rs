//! What computers are made of and what is on them, as last reported.

mod api;
mod model;
pub mod store;

pub use api::routes;
pub use model::{SectionBody, SoftwareItem};
