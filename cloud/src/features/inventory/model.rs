//! What inventory looks like from outside.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use utoipa::ToSchema;

/// A section of a device's inventory.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SectionBody {
    /// When it was read; none when it has not been reported yet.
    #[serde(with = "time::serde::rfc3339::option")]
    pub at: Option<OffsetDateTime>,
    /// Entries by key.
    pub entries: BTreeMap<String, BTreeMap<String, String>>,
    /// Entries that the device left out, being too many.
    pub cut: i32,
}

/// An installed package.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SoftwareItem {
    /// Package manager.
    pub manager: String,
    /// Name.
    pub name: String,
    /// Version.
    pub version: String,
    /// Whatever else is known of it.
    #[serde(flatten)]
    pub more: BTreeMap<String, String>,
}
