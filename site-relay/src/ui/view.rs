//! What the local UI shows, gathered from memory and store.

use super::UiParts;
use crate::{
    inbox::CommandView,
    store::{StoreError, StoreHandle},
};
use serde::Serialize;
use std::collections::HashMap;
use unifyit_protocol::{
    clock::CLOCK_RIGHT_MS,
    ids::DeviceId,
    inventory::system,
    lane::Lane,
    telemetry::{Sample, SeriesTable},
};

/// A sample older than this is stale.
const STALE_MS: u64 = 90_000;
/// Above this a disk needs somebody, percent.
const DISK_FULL_PCT: f64 = 90.0;

/// The one-screen answer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Overview {
    /// Name of the organization; empty before the cloud told.
    pub organization: String,
    /// Name of the site; empty before the cloud told.
    pub site: String,
    /// Connection to the cloud.
    pub cloud: Connection,
    /// Devices by state.
    pub devices: Counts,
    /// What needs somebody, one sentence each.
    pub needs: Vec<Need>,
    /// Records waiting for the cloud.
    pub backlog: Backlog,
    /// Commands under way.
    pub running: u64,
    /// The relay.
    pub relay: Relay,
    /// The package cache, when it runs.
    pub cache: Option<CacheNow>,
}

/// Whether the cloud is reached.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Connection {
    /// Whether a session runs.
    pub up: bool,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
}

/// Devices by state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Counts {
    /// All that are enrolled.
    pub total: u64,
    /// Connected.
    pub online: u64,
    /// Connected and in need of nothing.
    pub healthy: u64,
}

/// Something that needs somebody.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Need {
    /// The device, when it is one.
    pub device: Option<DeviceId>,
    /// What it is, as a word: `offline`, `disk_full`, `clock_wrong`, `relay_clock`,
    /// `relay_disk`, `relay_read_only`.
    pub kind: &'static str,
    /// Name of the device.
    pub name: String,
    /// The number that matters: percent, seconds; absent where there is none.
    pub value: Option<f64>,
    /// Since when, Unix milliseconds.
    pub since_ms: Option<u64>,
}

/// What waits for the cloud.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub(super) struct Backlog {
    /// Records.
    pub records: u64,
    /// Bytes.
    pub bytes: u64,
    /// Of these, urgent ones.
    pub urgent: u64,
}

/// How the relay fares.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Relay {
    /// Version.
    pub version: &'static str,
    /// When it started, Unix milliseconds.
    pub started_ms: u64,
}

/// How the package cache fares.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(super) struct CacheNow {
    /// Bytes kept.
    pub stored_bytes: u64,
    /// Since when upstreams are out of reach, Unix milliseconds.
    pub offline_since_ms: Option<u64>,
}

/// A device as on-site staff see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct Device {
    /// Its id.
    pub id: DeviceId,
    /// Host name.
    pub name: String,
    /// Operating system.
    pub os: String,
    /// IP address on the LAN.
    pub address: String,
    /// Version of the agent.
    pub agent_version: String,
    /// Whether it is connected.
    pub online: bool,
    /// Since when, Unix milliseconds.
    pub since_ms: u64,
    /// Time of the newest sample, Unix milliseconds.
    pub sampled_ms: Option<u64>,
    /// Whether the newest sample is old.
    pub stale: bool,
    /// Percent.
    pub cpu_pct: Option<f64>,
    /// Percent.
    pub memory_pct: Option<f64>,
    /// Percent of the fullest file system.
    pub disk_pct: Option<f64>,
    /// How far its own clock is ahead of the site's time; negative: behind; 0: right.
    pub clock_ahead_ms: i64,
}

/// Gathers the one-screen answer.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(super) async fn overview(parts: &UiParts) -> Result<Overview, StoreError> {
    let devices = devices(parts).await?;
    let lanes = parts.store.lanes().borrow().clone();
    let site = parts.store.site_config().borrow().clone();
    let uplink = parts.uplink.borrow().clone();
    let mut needs = needs(&devices);
    needs.extend(own_clock(parts.clock.ahead_ms().unwrap_or_default()));
    needs.extend(own_disk(&parts.store));
    let troubled = |id| needs.iter().any(|need| need.device == Some(id));
    let online: Vec<_> = devices.iter().filter(|d| d.online).collect();
    let count = |n: usize| n as u64;
    let counts = Counts {
        total: count(devices.len()),
        online: count(online.len()),
        healthy: count(online.iter().filter(|d| !troubled(d.id)).count()),
    };
    let uptime_ms = u64::try_from(parts.started.elapsed().as_millis()).unwrap_or(0);
    Ok(Overview {
        organization: site.organization_name,
        site: site.site_name,
        cloud: Connection { up: uplink.up, since_ms: uplink.since_ms },
        devices: counts,
        needs,
        backlog: Backlog {
            records: Lane::ALL.iter().map(|l| lanes.of(*l).records).sum(),
            bytes: Lane::ALL.iter().map(|l| lanes.of(*l).bytes).sum(),
            urgent: lanes.of(Lane::Urgent).records,
        },
        running: work(parts).await?.iter().filter(|c| !c.done).count() as u64,
        relay: Relay {
            version: env!("CARGO_PKG_VERSION"),
            // Rounded, so that reading it twice gives the same.
            started_ms: parts.store.now_ms().saturating_sub(uptime_ms) / 10_000 * 10_000,
        },
        cache: parts.cache.as_ref().map(|cache| CacheNow {
            stored_bytes: cache.stored_bytes(),
            offline_since_ms: cache.upstream_lost_since_ms(),
        }),
    })
}

/// Gathers the devices, those in trouble first, then by name.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(super) async fn devices(parts: &UiParts) -> Result<Vec<Device>, StoreError> {
    let now_ms = parts.store.now_ms();
    let shadows = parts.shadows.all();
    let presence = parts.store.all_presence().await?;
    let facts = parts.store.all_facts().await?;
    let tables = parts.store.newest_tables(&shadows).await?;
    let mut devices: Vec<_> = parts
        .store
        .devices()
        .into_iter()
        .filter(|record| !record.revoked)
        .map(|record| {
            let shadow = shadows.get(&record.device);
            let told = presence.get(&record.device);
            let newest = shadow.and_then(|s| s.newest.as_ref());
            let table = newest.and_then(|s| tables.get(&(record.device, s.table)));
            let value = |name| newest.zip(table).and_then(|(s, t)| largest(s, t, name));
            let online = parts.broker.is_online(record.device);
            let since = shadow.filter(|s| s.since_ms > 0).map(|s| s.since_ms);
            let address = shadow.map(|s| s.address.clone()).filter(|a| !a.is_empty());
            let system = facts.get(&record.device).map(|f| &f.system);
            Device {
                id: record.device,
                os: system.and_then(|s| s.get(system::OS_NAME).cloned()).unwrap_or_default(),
                name: record.hostname,
                address: address.or_else(|| told.map(|p| p.address.clone())).unwrap_or_default(),
                agent_version: record.version,
                online,
                since_ms: since.or_else(|| told.map(|p| p.since_ms)).unwrap_or(record.enrolled_ms),
                sampled_ms: newest.map(|s| s.at_ms),
                stale: newest.is_none_or(|s| now_ms.saturating_sub(s.at_ms) > STALE_MS),
                cpu_pct: value("cpu.busy"),
                memory_pct: value("memory.used_pct"),
                disk_pct: value("disk.used_pct"),
                clock_ahead_ms: shadow.map_or(0, |s| s.clock_ahead_ms),
            }
        })
        .collect();
    devices.sort_by(|a, b| (a.online, &a.name).cmp(&(b.online, &b.name)));
    Ok(devices)
}

/// Commands under way and lately done, newest first.
///
/// # Errors
/// [`StoreError`] when the store cannot be read.
pub(super) async fn work(parts: &UiParts) -> Result<Vec<CommandView>, StoreError> {
    parts.store.recent_commands(50).await
}

/// The relay's own clock, when it and the cloud's disagree.
fn own_clock(ahead_ms: i64) -> Option<Need> {
    #[expect(clippy::cast_precision_loss, reason = "shown rounded")]
    let value = Some((ahead_ms / 60_000 * 60) as f64);
    let wrong = ahead_ms.unsigned_abs() > CLOCK_RIGHT_MS;
    let (device, name) = (None, String::new());
    wrong.then_some(Need { device, kind: "relay_clock", name, value, since_ms: None })
}

fn own_disk(store: &StoreHandle) -> Option<Need> {
    let kind = match (store.is_read_only(), store.is_short()) {
        (true, _) => "relay_read_only",
        (false, true) => "relay_disk",
        (false, false) => return None,
    };
    Some(Need { device: None, kind, name: String::new(), value: None, since_ms: None })
}

fn needs(devices: &[Device]) -> Vec<Need> {
    let mut needs = Vec::new();
    for device in devices {
        let mut need = |kind, value, since_ms| {
            let (device, name) = (Some(device.id), device.name.clone());
            needs.push(Need { device, kind, name, value, since_ms });
        };
        if !device.online {
            need("offline", None, Some(device.since_ms));
        }
        if device.clock_ahead_ms != 0 {
            #[expect(clippy::cast_precision_loss, reason = "shown rounded")]
            let seconds = (device.clock_ahead_ms / 1000) as f64;
            need("clock_wrong", Some(seconds), None);
        }
        if let Some(pct) = device.disk_pct.filter(|pct| *pct >= DISK_FULL_PCT) {
            need("disk_full", Some(pct), None);
        }
    }
    needs
}

/// The largest value of a series by name, over all its labels.
fn largest(sample: &Sample, table: &SeriesTable, name: &str) -> Option<f64> {
    let columns = table.series.iter().zip(&sample.values);
    columns
        .filter(|(series, _)| series.name == name)
        .filter_map(|(series, value)| {
            // Precision beyond 52 bits does not matter on a screen.
            #[expect(clippy::cast_precision_loss, reason = "shown rounded")]
            let raw = (*value)? as f64;
            Some(raw / 10f64.powi(i32::from(series.scale)))
        })
        .reduce(f64::max)
}

/// Series tables by device and hash.
pub type Tables = HashMap<(DeviceId, u32), SeriesTable>;
