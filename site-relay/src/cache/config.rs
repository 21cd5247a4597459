//! Settings of the package cache.

use super::CacheError;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Settings of the cache; every bound has one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CacheConfig {
    /// Whether it runs.
    pub enabled: bool,
    /// Whether agents of the site are told to use it.
    pub agents: bool,
    /// Folder of bodies and index; empty means `cache` in the state folder.
    pub folder: PathBuf,
    /// Bytes of bodies kept at most.
    pub max_bytes: u64,
    /// Bytes left free on the disk for everybody else.
    pub reserve_bytes: u64,
    /// Bytes of one file at most.
    pub max_file: u64,
    /// Files at most of which signed indexes' hashes are remembered; about 150
    /// bytes each.
    pub max_facts: u64,
    /// Names at most under which files are stored.
    pub max_names: u64,
    /// Client connections at most.
    pub max_connections: usize,
    /// Client connections from one address at most.
    pub max_connections_per_client: usize,
    /// Bytes a second to one connection; 0 means no limit.
    pub client_bytes_per_s: u64,
    /// Seconds without a byte after which an upstream counts as cut.
    pub upstream_stall_s: u64,
    /// Seconds after which a client that takes no byte, or does not end its
    /// request, is let go.
    pub client_stall_s: u64,
    /// From when files are fetched ahead, time of day in UTC.
    pub ahead_from: String,
    /// Until when; the same as `ahead_from` means all day.
    pub ahead_until: String,
    /// Bytes a second for fetching ahead; 0 means no limit.
    pub ahead_bytes_per_s: u64,
    /// Days that a confirmed file is served while the upstream is out of reach.
    pub stale_days: u32,
    /// Hosts that may be fetched from, in addition to what the console allows.
    pub hosts: Vec<String>,
    /// Remaps as `name=url`, in addition to what the console allows.
    pub remaps: Vec<String>,
    /// Hosts or addresses that may lie in a private network or on this machine.
    /// What `hosts` and `remaps` name beyond what is built in may lie in a private
    /// network without this.
    pub private: Vec<String>,
    /// Hosts whose redirects may lead to mirrors anywhere on the internet, for files
    /// of which a signed index names the hash.
    pub mirrors: Vec<String>,
    /// Whether relays of the same organization give each other files.
    pub sisters: bool,
    /// PEM file of authorities that vouch for HTTPS upstreams, beside the
    /// system's own: for a company's repository, or behind a proxy that opens TLS.
    pub authorities: PathBuf,
    /// HTTP proxy through which upstreams are reached, as `http://host:port`;
    /// empty means directly, or as the environment says.
    pub proxy: String,
}

impl CacheConfig {
    /// The proxy towards upstreams.
    pub(super) fn proxy(&self) -> Result<Option<reqwest::Proxy>, CacheError> {
        if self.proxy.is_empty() {
            return Ok(None);
        }
        Ok(Some(reqwest::Proxy::all(&self.proxy)?))
    }

    /// The further authorities.
    pub(super) fn authorities(&self) -> Result<Vec<reqwest::Certificate>, CacheError> {
        if self.authorities.as_os_str().is_empty() {
            return Ok(Vec::new());
        }
        let pem = std::fs::read(&self.authorities)
            .map_err(|e| CacheError::Authorities(self.authorities.clone(), e))?;
        Ok(reqwest::Certificate::from_pem_bundle(&pem)?)
    }
}

impl Default for CacheConfig {
    fn default() -> Self {
        let text = |all: &[&str]| all.iter().map(|s| (*s).to_owned()).collect();
        Self {
            enabled: true,
            agents: true,
            folder: PathBuf::new(),
            max_bytes: 50 << 30,
            reserve_bytes: 1 << 30,
            max_file: 20 << 30,
            max_facts: 2_000_000,
            max_names: 1_000_000,
            max_connections: 1024,
            max_connections_per_client: 64,
            client_bytes_per_s: 0,
            upstream_stall_s: 20,
            client_stall_s: 60,
            ahead_from: "21:00".into(),
            ahead_until: "05:00".into(),
            ahead_bytes_per_s: 4_000_000,
            stale_days: 30,
            hosts: text(DEFAULT_HOSTS),
            remaps: text(DEFAULT_REMAPS),
            private: Vec::new(),
            mirrors: text(DEFAULT_MIRRORS),
            sisters: true,
            authorities: PathBuf::new(),
            proxy: String::new(),
        }
    }
}

/// Distributions' own hosts, and the content hosts of Windows.
const DEFAULT_HOSTS: &[&str] = &[
    "deb.debian.org",
    "security.debian.org",
    "*.archive.ubuntu.com",
    "archive.ubuntu.com",
    "security.ubuntu.com",
    "ports.ubuntu.com",
    "dl.fedoraproject.org",
    "mirrors.rockylinux.org",
    "dl.rockylinux.org",
    "repo.almalinux.org",
    "download.opensuse.org",
    "dl-cdn.alpinelinux.org",
    "geo.mirror.pkgbuild.com",
    "*.windowsupdate.com",
    "*.delivery.mp.microsoft.com",
];

/// Distributions that send each client to a mirror.
const DEFAULT_MIRRORS: &[&str] = &["download.opensuse.org"];

/// Repositories that exist only over HTTPS.
const DEFAULT_REMAPS: &[&str] = &[
    "pypi=https://pypi.org",
    "pypi-files=https://files.pythonhosted.org",
    "npm=https://registry.npmjs.org",
    "winget=https://cdn.winget.microsoft.com",
];
