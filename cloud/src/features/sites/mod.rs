//! Sites: their health as seen from here, their settings, and the one line
//! that brings a relay or an agent in.

mod api;
pub mod config;
mod model;
mod rules;
pub mod store;
mod tokens;

pub use api::routes;
pub use model::{RelayBody, Site, SiteDevices, SiteSettings};
pub use rules::SiteState;
