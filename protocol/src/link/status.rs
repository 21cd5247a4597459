//! How a relay fares, told each minute.

use serde::{Deserialize, Serialize};

/// How a relay fares.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RelayStatus {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// Version.
    pub version: String,
    /// Seconds since its start.
    pub uptime_s: u64,
    /// Connected devices.
    pub devices_online: u32,
    /// Enrolled devices.
    pub devices_total: u32,
    /// Records waiting for the cloud.
    pub backlog_records: u64,
    /// Bytes waiting for the cloud.
    pub backlog_bytes: u64,
    /// Bytes of the database file.
    pub store_bytes: u64,
    /// Bytes free on its disk.
    pub disk_free_bytes: u64,
    /// Resident memory in bytes.
    pub memory_bytes: u64,
    /// Package cache: bytes kept.
    pub cache_bytes: u64,
    /// Package cache: bytes served to the site since the start of the day (UTC).
    pub cache_served_bytes: u64,
    /// Package cache: bytes fetched from outside since the start of the day (UTC).
    pub cache_fetched_bytes: u64,
    /// Package cache: requests answered from here since the start of the day (UTC).
    pub cache_hits: u64,
    /// Package cache: requests that had to fetch since the start of the day (UTC).
    pub cache_misses: u64,
    /// Package cache: files still to be fetched ahead.
    pub cache_ahead_files: u64,
    /// Revision of the site's settings that it has; 0 from one that does not say.
    #[serde(skip_serializing_if = "is_zero")]
    pub settings_revision: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde hands it")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}
