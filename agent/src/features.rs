//! The table of contents: what the agent does by itself, a line each.

use crate::{collect, feature::Feature, package_cache};

/// All of it.
pub const FEATURES: &[Feature] =
    &[collect::sampling::FEATURE, collect::inventory::FEATURE, package_cache::FEATURE];
