//! Partners and their organizations. An organization is born with its authority
//! key (G7): without one nothing could ever be signed for it.

mod api;
mod model;
pub mod store;

pub use api::checked_name;
pub use model::{Organization, Partner};

use crate::feature::Feature;

/// What it tells of itself.
pub const FEATURE: Feature = Feature { routes: api::routes, ..Feature::named("tenants") };
