//! Settings: built-in values, then the TOML file, then `UNIFYIT_*` variables,
//! then flags; the later wins.
//!
//! Every setting has one path (`listen.mqtt`). Its variable is the path in
//! capitals with `_` for `.` (`UNIFYIT_LISTEN_MQTT`), its flag `--set
//! listen.mqtt=…`; lists are separated by commas. An unknown key is an error
//! that names it, because a misspelt setting that is silently ignored is worse
//! than a relay that does not start.

mod layers;

use crate::{
    cache::CacheConfig,
    travel::{BLOCK_MINUTES, MOST_MINUTES},
};
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
};

/// Where the file is looked for when none is named; it may be absent there.
pub const DEFAULT_FILE: &str = "/etc/unifyit/relay.toml";

/// Why the settings could not be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}. Check the path and that this user may read it.")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not what it should be.
    #[error("{path} is not usable: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Where and what.
        reason: String,
    },
    /// A variable or flag has an unusable value.
    #[error("{what} is not usable: {reason}")]
    Value {
        /// Its name.
        what: String,
        /// What was expected.
        reason: String,
    },
}

/// Everything that can be set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Folder of keys, store and cache.
    pub state: PathBuf,
    /// Further names and addresses under which agents reach this machine; they
    /// come first among those told to agents, and stand in the certificate.
    pub names: Vec<String>,
    /// Where to listen.
    pub listen: Listen,
    /// Bounds of the MQTT front.
    pub broker: BrokerLimits,
    /// Bounds of the HTTPS side for agents.
    pub https: HttpsLimits,
    /// Lifetimes of certificates.
    pub certificates: Certificates,
    /// The durable store.
    pub store: StoreLimits,
    /// The package cache.
    pub cache: CacheConfig,
}

/// Addresses to listen on; port 0 lets the system choose (the choice is logged
/// and stands in `runtime.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Listen {
    /// MQTT over mutual TLS.
    pub mqtt: SocketAddr,
    /// HTTPS for agents: enrolment, blobs.
    pub https: SocketAddr,
    /// Local UI for on-site staff.
    pub ui: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    /// Package cache.
    pub cache: SocketAddr,
    /// Sister relays of the same organization, while `cache.sisters` is on.
    pub sisters: SocketAddr,
}

/// Bounds of the MQTT front (G10).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BrokerLimits {
    /// Live sessions.
    pub max_sessions: usize,
    /// Connections that have not come as far as CONNECT, all together.
    pub max_half_open: usize,
    /// The same from one address.
    pub max_half_open_per_ip: usize,
    /// Seconds for the TLS handshake.
    pub handshake_s: u64,
    /// Seconds from the handshake to CONNECT.
    pub connect_s: u64,
    /// Bytes of the largest packet.
    pub max_packet: usize,
    /// Bytes a second that one device may send for long.
    pub bytes_per_s: u32,
    /// Packets a second that one device may send for long.
    pub packets_per_s: u32,
    /// Values a second that one device may have read for long; 64 bytes after
    /// decompression count as one.
    pub work_per_s: u32,
    /// Memory of one device's messages until they are stored, in bytes.
    pub device_memory_bytes: usize,
    /// The same of all devices together.
    pub memory_bytes: usize,
    /// Bytes waiting for one device.
    pub queue_bytes: usize,
    /// Messages waiting for one device.
    pub queue_messages: usize,
    /// Events waiting for ingest, over all devices.
    pub events: usize,
}

/// Bounds of the HTTPS side for agents (G10).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HttpsLimits {
    /// Connections, all together.
    pub max_connections: usize,
    /// The same from one address: where many computers share one (NAT), their number.
    pub max_connections_per_ip: usize,
    /// Connections that have not finished the handshake, all together.
    pub max_half_open: usize,
    /// The same from one address.
    pub max_half_open_per_ip: usize,
    /// Seconds for the handshake, and again for a request's head.
    pub handshake_s: u64,
    /// Enrolments a minute from one address.
    pub enrolments_per_minute: u32,
}

/// Lifetimes of certificates.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Certificates {
    /// Days that an agent's certificate is valid.
    pub agent_days: u32,
    /// Seconds instead of days, to watch renewals happen; 0 means days.
    pub agent_seconds: u32,
    /// Days that this relay's own certificate is valid.
    pub server_days: u32,
    /// Days after its end during which an agent's certificate is still taken,
    /// so that a long outage never locks a site's own computers out.
    pub grace_days: u32,
}

/// Bounds of the durable store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct StoreLimits {
    /// Bytes that the store may take before it drops by class (G6).
    pub quota_bytes: u64,
    /// Bytes of the disk that are left alone.
    pub keep_free_bytes: u64,
    /// Hours that raw samples are kept at the site.
    pub raw_hours: u32,
    /// Minutes of measurements that travel to the cloud as one block, unless somebody
    /// looks at the device. Longer ones take fewer bytes.
    pub block_minutes: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            state: "/var/lib/unifyit-relay".into(),
            names: Vec::new(),
            listen: Listen::default(),
            broker: BrokerLimits::default(),
            https: HttpsLimits::default(),
            certificates: Certificates::default(),
            store: StoreLimits::default(),
            cache: CacheConfig::default(),
        }
    }
}

impl Default for Listen {
    fn default() -> Self {
        let everywhere = |port| SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), port);
        Self {
            mqtt: everywhere(8883),
            https: everywhere(8443),
            ui: everywhere(9443),
            admin: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9464),
            cache: everywhere(3142),
            sisters: everywhere(4002),
        }
    }
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            max_sessions: 10_000,
            max_half_open: 1024,
            max_half_open_per_ip: 256,
            handshake_s: 10,
            connect_s: 10,
            max_packet: 512 * 1024,
            bytes_per_s: 4 * 1024 * 1024,
            packets_per_s: 2000,
            work_per_s: 100_000,
            device_memory_bytes: 16 << 20,
            memory_bytes: 128 << 20,
            queue_bytes: 4 * 1024 * 1024,
            queue_messages: 4096,
            events: 1024,
        }
    }
}

impl Default for HttpsLimits {
    fn default() -> Self {
        Self {
            max_connections: 1024,
            max_connections_per_ip: 128,
            max_half_open: 256,
            max_half_open_per_ip: 64,
            handshake_s: 10,
            enrolments_per_minute: 60,
        }
    }
}

impl Certificates {
    /// How long an agent's certificate is valid.
    #[must_use]
    pub fn agent_life(&self) -> time::Duration {
        match self.agent_seconds {
            0 => time::Duration::days(self.agent_days.into()),
            seconds => time::Duration::seconds(seconds.into()),
        }
    }
}

impl Default for Certificates {
    fn default() -> Self {
        Self { agent_days: 90, agent_seconds: 0, server_days: 398, grace_days: 180 }
    }
}

impl Default for StoreLimits {
    fn default() -> Self {
        Self {
            quota_bytes: 8 << 30,
            keep_free_bytes: 256 << 20,
            raw_hours: 24,
            block_minutes: BLOCK_MINUTES,
        }
    }
}

/// Where settings come from, besides the built-in values.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    /// The file named by the user. Without it [`DEFAULT_FILE`] is read if it exists.
    pub file: Option<PathBuf>,
    /// Variables of the environment.
    pub variables: Vec<(String, String)>,
    /// `path=value` from `--set`, and `state` from `--state`.
    pub flags: Vec<(String, String)>,
}

impl Config {
    /// Reads all sources.
    ///
    /// # Errors
    /// [`ConfigError`] that names the source and what is wrong with it.
    pub fn load(sources: &Sources) -> Result<Self, ConfigError> {
        let usual = Some(Path::new(DEFAULT_FILE)).filter(|path| path.exists());
        let config = layers::put_together(sources.file.as_deref().or(usual), sources)?;
        config.check()?;
        Ok(config)
    }

    /// Folder of the package cache.
    #[must_use]
    pub fn cache_folder(&self) -> PathBuf {
        if self.cache.folder.as_os_str().is_empty() {
            self.state.join("cache")
        } else {
            self.cache.folder.clone()
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("broker.max_sessions", self.broker.max_sessions),
            ("broker.max_half_open", self.broker.max_half_open),
            ("broker.max_half_open_per_ip", self.broker.max_half_open_per_ip),
            ("broker.queue_bytes", self.broker.queue_bytes),
            ("broker.queue_messages", self.broker.queue_messages),
            ("broker.events", self.broker.events),
            ("broker.packets_per_s", self.broker.packets_per_s as usize),
            ("broker.bytes_per_s", self.broker.bytes_per_s as usize),
            ("broker.work_per_s", self.broker.work_per_s as usize),
            ("broker.device_memory_bytes", self.broker.device_memory_bytes),
            ("broker.memory_bytes", self.broker.memory_bytes),
            ("https.max_connections", self.https.max_connections),
            ("https.max_connections_per_ip", self.https.max_connections_per_ip),
            ("https.max_half_open", self.https.max_half_open),
            ("https.max_half_open_per_ip", self.https.max_half_open_per_ip),
            ("https.enrolments_per_minute", self.https.enrolments_per_minute as usize),
            ("certificates.agent_days", self.certificates.agent_days as usize),
            ("certificates.server_days", self.certificates.server_days as usize),
        ];
        let zero = positive.into_iter().find(|(_, value)| *value == 0);
        let refuse = |what: &str, reason: &str| {
            Err(ConfigError::Value { what: what.into(), reason: reason.into() })
        };
        match zero {
            Some((name, _)) => refuse(name, "it must be at least 1"),
            None if self.state.as_os_str().is_empty() => refuse("state", "a folder is expected"),
            None if !(1..=MOST_MINUTES).contains(&self.store.block_minutes) => {
                refuse("store.block_minutes", "1 to 1440 minutes are possible")
            }
            None if !(1024..=16 << 20).contains(&self.broker.max_packet) => {
                refuse("broker.max_packet", "1024 to 16777216 bytes are possible")
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
