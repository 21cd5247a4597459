//! The table of contents: what the agent does by itself, a line each.

use crate::feature::Feature;

/// All of it.
pub const FEATURES: &[Feature] = &[
    crate::collect::sampling::FEATURE,
    crate::collect::inventory::FEATURE,
    crate::package_cache::FEATURE,
];
