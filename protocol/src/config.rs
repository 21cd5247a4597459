//! Settings that the cloud pushes to a site and its devices.

use crate::ids::TokenId;
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
}

impl Default for DeviceConfig {
    fn default() -> Self {
        Self { revision: 0, collect_every_s: 10, inventory_every_s: 900 }
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
}
