//! Computers: the list that technicians live in, and one of them.

mod api;
mod found;
pub mod identity;
pub mod jobs;
mod model;
mod query;
pub mod store;

pub use api::routes;
pub use model::{DeviceDetail, DeviceItem, Facets, Latest};
pub use query::{DeviceQuery, Sort};

#[cfg(test)]
mod line_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod word_tests;
