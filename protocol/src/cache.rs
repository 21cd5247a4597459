//! The site's package cache, as cloud and relay speak of it: the plan that the
//! cloud sends with the site's settings, and what the relay says came of it.

use serde::{Deserialize, Serialize};

/// When files are fetched ahead, and how much of the line that may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CachePlan {
    /// From when, minutes since midnight, UTC.
    pub from_min: u16,
    /// Until when; the same as `from_min` means all day.
    pub until_min: u16,
    /// Bytes a second; 0 means no limit.
    pub bytes_per_s: u64,
}

/// How a package cache fares. Each list holds what changed since the report
/// before it; values are sums so far, never differences, so that a report that
/// is applied twice changes nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheReport {
    /// Unix milliseconds.
    pub at_ms: u64,
    /// What was saved, by day and repository.
    #[serde(deserialize_with = "crate::codec::at_most::<512, _, _>")]
    pub days: Vec<CacheDay>,
    /// How the files to be fetched ahead fare.
    #[serde(deserialize_with = "crate::codec::at_most::<1024, _, _>")]
    pub ahead: Vec<AheadFile>,
    /// What the cache allows, local settings included, when that changed.
    pub policy: Option<CachePolicy>,
}

/// What a cache saved: one day, one repository.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CacheDay {
    /// The day, UTC, as `2026-11-21`.
    pub day: String,
    /// Host, or name of a remap.
    pub repository: String,
    /// Bytes sent to clients.
    pub served: u64,
    /// Bytes fetched from outside.
    pub fetched: u64,
    /// Requests answered from the disk.
    pub hits: u64,
    /// Requests that had to fetch.
    pub misses: u64,
}

/// How one file to be fetched ahead fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AheadFile {
    /// SHA-256 of its content.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
    /// How far it is.
    pub state: AheadState,
    /// Why it is not here, when it was tried.
    #[serde(default)]
    pub reason: String,
}

/// How far a file to be fetched ahead is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AheadState {
    /// Not tried yet.
    Waiting,
    /// It is here.
    Ready,
    /// The site does not allow its address.
    Refused,
    /// It could not be had the last time; it is tried again.
    Failed,
}

/// What a cache allows.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct CachePolicy {
    /// Hosts that it fetches from.
    #[serde(deserialize_with = "crate::codec::at_most::<1024, _, _>")]
    pub hosts: Vec<String>,
    /// Remaps, as `name=url`.
    #[serde(deserialize_with = "crate::codec::at_most::<1024, _, _>")]
    pub remaps: Vec<String>,
    /// When files are fetched ahead.
    pub plan: Option<CachePlan>,
    /// What the console set and the relay's own file overrules, a sentence each.
    #[serde(deserialize_with = "crate::codec::at_most::<256, _, _>")]
    pub overruled: Vec<String>,
}
