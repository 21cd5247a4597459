//! Sites: their health as seen from here, their settings, and the one line
//! that brings a relay or an agent in.

mod api;
mod cache;
pub mod config;
mod model;
mod rules;
pub mod store;
mod tokens;

pub use api::routes;
pub(crate) use cache::report as cache_report;
pub use model::{RelayBody, Site, SiteDevices, SiteSettings, SiteStanding};
pub use rules::SiteState;
