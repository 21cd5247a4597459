//! Answers of the REST API, as far as tests look into them. Unknown fields are
//! ignored; missing ones are an error, since clients rely on them.

use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;

/// Answer of a sign-in.
#[derive(Debug, Clone, Deserialize)]
pub struct Login {
    /// Who signed in.
    pub user: Value,
    /// Goes into `X-CSRF-Token`.
    pub csrf_token: String,
}

/// A page of a list.
#[derive(Debug, Clone, Deserialize)]
pub struct Page<T> {
    /// The items.
    pub items: Vec<T>,
    /// Where the next page starts.
    pub next_cursor: Option<String>,
    /// How many there are in all, where the list counts.
    #[serde(default)]
    pub total: Option<u64>,
}

/// A made install token.
#[derive(Debug, Clone, Deserialize)]
pub struct NewToken {
    /// Its id.
    pub id: String,
    /// Its text.
    pub token: String,
    /// The one line.
    pub command: String,
}

/// A made API key.
#[derive(Debug, Clone, Deserialize)]
pub struct NewKey {
    /// Its id.
    pub id: String,
    /// The secret, told once.
    pub key: String,
}

/// A site.
#[derive(Debug, Clone, Deserialize)]
pub struct Site {
    /// Its id.
    pub id: String,
    /// Name.
    pub name: String,
    /// `healthy`, `degraded`, `unreachable`, `no_relay`.
    pub state: String,
    /// Its relay.
    pub relay: Option<SiteRelay>,
}

/// A site's relay.
#[derive(Debug, Clone, Deserialize)]
pub struct SiteRelay {
    /// Its id.
    pub id: String,
    /// libp2p identity.
    pub peer_id: String,
    /// Whether it is connected.
    pub online: bool,
    /// Records that wait at the relay.
    #[serde(default)]
    pub backlog_records: Option<u64>,
    /// How far its machine's clock is ahead.
    pub clock_ahead_ms: i64,
}

/// A device of the list.
#[derive(Debug, Clone, Deserialize)]
pub struct Device {
    /// Its id.
    pub id: String,
    /// Display name.
    pub name: String,
    /// Host name.
    pub hostname: String,
    /// Its site.
    pub site_id: String,
    /// `online`, `offline`, `unreachable`, `revoked`.
    pub state: String,
    /// Operating system.
    pub os_name: Option<String>,
    /// Newest processor load.
    pub cpu_pct: Option<f64>,
    /// When the newest metrics were measured.
    pub metrics_at: Option<String>,
    /// How far its own clock is ahead.
    pub clock_ahead_ms: i64,
}

/// Answer of a submitted task.
#[derive(Debug, Clone, Deserialize)]
pub struct Submitted {
    /// Its id.
    pub id: String,
}

/// A task.
#[derive(Debug, Clone, Deserialize)]
pub struct Task {
    /// Its id.
    pub id: String,
    /// `running`, `done`, `cancelled`.
    pub status: String,
    /// Devices by status.
    pub counts: BTreeMap<String, u64>,
    /// Devices in all.
    pub total: u64,
    /// The first hundred.
    pub targets: Vec<Target>,
}

impl Task {
    /// Devices in a status.
    #[must_use]
    pub fn count(&self, status: &str) -> u64 {
        self.counts.get(status).copied().unwrap_or(0)
    }
}

/// A task on one device.
#[derive(Debug, Clone, Deserialize)]
pub struct Target {
    /// The device.
    pub device_id: String,
    /// Status.
    pub status: String,
    /// Exit code of a process that ended by itself.
    pub exit_code: Option<i32>,
    /// Why.
    pub reason: Option<String>,
    /// Output, shown as text.
    #[serde(default)]
    pub output: String,
    /// Bytes of output kept.
    #[serde(default)]
    pub output_len: u64,
    /// Bytes of output cut.
    #[serde(default)]
    pub output_cut: u64,
}

/// A stretch of metrics.
#[derive(Debug, Clone, Deserialize)]
pub struct Metrics {
    /// Seconds a step.
    pub step_s: u64,
    /// Start of each step, Unix milliseconds.
    pub times: Vec<i64>,
    /// The series.
    pub series: Vec<MetricSeries>,
    /// Declared gaps.
    pub gaps: Vec<Value>,
}

/// One series.
#[derive(Debug, Clone, Deserialize)]
pub struct MetricSeries {
    /// Name.
    pub name: String,
    /// Which of several.
    pub label: String,
    /// Means, one a step.
    pub avg: Vec<Option<f64>>,
}
