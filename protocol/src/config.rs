//! Settings that the cloud pushes to a site and its devices.

use crate::{cache::CachePlan, ids::TokenId};
use serde::{Deserialize, Serialize};

/// What a device does by itself. Pushed by the relay after each connect and
/// whenever it changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeviceConfig {
    /// Rises with each change.
    pub revision: u64,
    /// Seconds between samples, 1 to 3600.
    pub collect_every_s: u32,
    /// Seconds between looks for inventory changes, 60 to 86400.
    pub inventory_every_s: u32,
    /// The site's package cache, filled in by the relay.
    #[serde(skip_serializing_if = "PackageCache::is_untold")]
    pub package_cache: PackageCache,
}

/// The site's package cache, as a device may use it. Empty where there is none.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct PackageCache {
    /// `host:port` of its HTTP proxy, one or several names of the same.
    #[serde(deserialize_with = "crate::codec::at_most::<64, _, _>")]
    pub addresses: Vec<String>,
    /// Hosts that it fetches from; `*.debian.org` covers subdomains. It refuses
    /// all others, which are therefore reached without it.
    #[serde(deserialize_with = "crate::codec::at_most::<1024, _, _>")]
    pub hosts: Vec<String>,
}

impl PackageCache {
    /// Whether nothing is said of one.
    fn is_untold(&self) -> bool {
        *self == Self::default()
    }

    /// Whether there is nothing to use.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.addresses.is_empty() || self.hosts.is_empty()
    }
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self {
            revision: 0,
            collect_every_s: 10,
            inventory_every_s: 900,
            package_cache: PackageCache::default(),
        }
    }
}

/// What a relay is told about its site.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct SiteConfig {
    /// Rises with each change; an older revision never replaces a newer one.
    pub revision: u64,
    /// Name of the organization, for the local UI.
    pub organization_name: String,
    /// Name of the site, for the local UI.
    pub site_name: String,
    /// For every device of the site.
    pub device: DeviceConfig,
    /// Agent tokens that are no longer to be honoured, bounded by expiry.
    pub revoked_tokens: Vec<TokenId>,
    /// Argon2id hash (PHC text) of the PIN of the local UI; empty when none is set.
    pub ui_pin_hash: String,
    /// URL prefixes that the package cache may remap, as `name=url`.
    pub cache_remaps: Vec<String>,
    /// Hosts that the package cache may fetch from; `*.debian.org` covers subdomains.
    pub cache_hosts: Vec<String>,
    /// Files that the package cache is to have ready, most urgent first.
    #[serde(deserialize_with = "crate::codec::at_most::<1024, _, _>")]
    pub cache_ahead: Vec<CacheAhead>,
    /// When that happens; `None` leaves it to the relay's own settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache_plan: Option<CachePlan>,
}

/// A file to fetch into the package cache ahead of its use.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheAhead {
    /// Its address, as a device would ask the cache.
    pub url: String,
    /// SHA-256 of its content.
    #[serde(with = "serde_bytes")]
    pub sha256: [u8; 32],
    /// Its length in bytes.
    pub size: u64,
    /// Kept until then at least, Unix milliseconds.
    pub until_ms: u64,
}
