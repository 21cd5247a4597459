//! What the package cache looks like from outside.

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use utoipa::ToSchema;

/// Settings of a site's package cache, and how they fare.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct PackageCacheBody {
    /// Hosts that it may fetch from, beside those of the relay's own file.
    pub hosts: Vec<String>,
    /// Repositories behind HTTPS, reached as `/remap/<name>/`.
    pub remaps: Vec<Remap>,
    /// When files are fetched ahead; absent leaves it to the relay.
    pub plan: Option<Plan>,
    /// Files to have ready, most urgent first.
    pub ahead: Vec<AheadItem>,
    /// What holds at the relay, its own file included; absent until it told.
    pub in_force: Option<InForce>,
}

/// A name for an HTTPS address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Remap {
    /// Name, of letters, digits, `-`, `_` and `.`.
    pub name: String,
    /// What the name stands for: `https://host` with or without a path.
    pub url: String,
}

/// When files are fetched ahead.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Plan {
    /// From when, time of day in UTC, as `21:00`.
    pub from: String,
    /// Until when; the same as `from` means all day.
    pub until: String,
    /// Bytes a second that it may take of the line; 0 means no limit.
    pub bytes_per_s: u64,
}

/// How far a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum AheadStateBody {
    /// Not tried yet.
    Waiting,
    /// At the site.
    Ready,
    /// The site does not allow its address.
    Refused,
    /// Could not be had the last time; it is tried again.
    Failed,
}

/// A file to have ready.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct AheadItem {
    /// Its address, as a computer of the site would ask the cache.
    pub url: String,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
    /// Kept at the site until then at least.
    #[serde(with = "time::serde::rfc3339")]
    pub keep_until: OffsetDateTime,
    /// How far it is, in the relay's last word.
    pub state: AheadStateBody,
    /// Why it is not there.
    pub reason: String,
    /// When the relay said so.
    #[serde(with = "time::serde::rfc3339::option")]
    pub state_at: Option<OffsetDateTime>,
}

/// What holds at the relay.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct InForce {
    /// Hosts that it fetches from.
    pub hosts: Vec<String>,
    /// Its remaps.
    pub remaps: Vec<Remap>,
    /// When files are fetched ahead.
    pub plan: Option<Plan>,
    /// What is set here and overruled by the relay's own file, a sentence each.
    pub overruled: Vec<String>,
}

/// New settings of a site's package cache; they replace all of the present ones.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct CacheInput {
    /// Hosts that it may fetch from (`*.example.org` covers subdomains), at most 256.
    #[serde(default)]
    pub hosts: Vec<String>,
    /// Repositories behind HTTPS, at most 128.
    #[serde(default)]
    pub remaps: Vec<Remap>,
    /// When files are fetched ahead; absent leaves it to the relay.
    pub plan: Option<Plan>,
    /// Files to have ready, most urgent first, at most 1024.
    #[serde(default)]
    pub ahead: Vec<AheadInput>,
}

/// A file to have ready: by its address, or by repository and path.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct AheadInput {
    /// `http://host/path`, `/remap/<name>/path`, or an HTTPS address that one of
    /// the remaps covers.
    pub url: Option<String>,
    /// Instead of `url`: a remap's name or a host.
    pub repository: Option<String>,
    /// With `repository`: the path, with its leading slash.
    pub path: Option<String>,
    /// SHA-256 of its content, in hexadecimal.
    pub sha256: String,
    /// Its length in bytes.
    pub size: u64,
    /// Kept at the site until then at least; 30 days from now when absent.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub keep_until: Option<OffsetDateTime>,
}

/// What a site's package cache saved.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct CacheSavings {
    /// First day, UTC.
    pub from: String,
    /// Last day, UTC.
    pub to: String,
    /// All of it.
    pub total: Saved,
    /// By day, each of the span, oldest first.
    pub days: Vec<SavedDay>,
    /// By repository, most served first, at most 100.
    pub repositories: Vec<SavedRepository>,
}

/// Sums.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub(crate) struct Saved {
    /// Bytes sent to the site's computers.
    pub served_bytes: u64,
    /// Bytes fetched from outside.
    pub fetched_bytes: u64,
    /// Requests answered from what was kept.
    pub hits: u64,
    /// Requests that had to fetch.
    pub misses: u64,
}

/// A day's sums.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct SavedDay {
    /// The day, UTC, as `2026-11-21`.
    pub day: String,
    /// Its sums.
    #[serde(flatten)]
    pub saved: Saved,
}

/// A repository's sums.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(crate) struct SavedRepository {
    /// Host, or name of a remap.
    pub repository: String,
    /// Its sums.
    #[serde(flatten)]
    pub saved: Saved,
}
