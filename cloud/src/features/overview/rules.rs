//! Pure decisions: what needs somebody.

use super::model::{Attention, AttentionRef, DeviceCounts, SiteCounts};
use crate::features::{
    devices::DeviceItem,
    sites::{Site, SiteDevices, SiteState},
};

/// Most points shown.
pub(super) const MOST: usize = 50;
/// Fullness of a disk from which somebody should look, and from which at once.
pub(super) const DISK_WARN: f32 = 90.0;
const DISK_CRITICAL: f32 = 97.0;

pub(super) fn counts(sites: &[Site]) -> SiteCounts {
    let mut counts = SiteCounts::default();
    for site in sites {
        counts.total += 1;
        match site.state {
            SiteState::Healthy => counts.healthy += 1,
            SiteState::Degraded => counts.degraded += 1,
            SiteState::Unreachable => counts.unreachable += 1,
            SiteState::NoRelay => counts.no_relay += 1,
        }
    }
    counts
}

/// Devices by state: behind a relay that is away, all are unreachable.
pub(super) fn devices(sites: &[Site]) -> DeviceCounts {
    let mut counts = DeviceCounts::default();
    for site in sites {
        let SiteDevices { total, online } = site.devices;
        counts.total += total;
        match site.state {
            SiteState::Healthy | SiteState::Degraded => {
                counts.online += online;
                counts.offline += total - online;
            }
            SiteState::Unreachable | SiteState::NoRelay => counts.unreachable += total,
        }
    }
    counts
}

/// Sites and full disks that need somebody, worst and oldest first.
pub(super) fn attention(sites: &[Site], full: Vec<DeviceItem>) -> Vec<Attention> {
    let mut points: Vec<Attention> = sites.iter().filter_map(of_site).collect();
    points.extend(full.into_iter().map(of_disk));
    let rank = |point: &Attention| u8::from(point.severity != "critical");
    points.sort_by_key(|point| (rank(point), point.since));
    points.truncate(MOST);
    points
}

fn of_site(site: &Site) -> Option<Attention> {
    let (severity, kind, title, detail) = match site.state {
        SiteState::Unreachable => (
            "critical",
            "site_unreachable",
            format!("{} cannot be reached", site.name),
            match site.devices.total {
                0 => "Its relay is not connected. No computer has joined there yet.".to_owned(),
                1 => "Its relay is not connected. The computer there keeps working under its policies.".to_owned(),
                n => format!(
                    "Its relay is not connected. The {n} computers there keep working under their policies."
                ),
            },
        ),
        SiteState::Degraded => (
            "warning",
            "site_degraded",
            format!("{} is in trouble", site.name),
            "Its relay is short of disk space or far behind in sending.".to_owned(),
        ),
        SiteState::Healthy | SiteState::NoRelay => return None,
    };
    Some(Attention {
        severity: severity.to_owned(),
        kind: kind.to_owned(),
        title,
        detail,
        since: site.state_since,
        reference: AttentionRef { kind: "site".into(), id: site.id, name: site.name.clone() },
    })
}

fn of_disk(device: DeviceItem) -> Attention {
    let full = device.disk_pct.unwrap_or_default();
    Attention {
        severity: if full >= DISK_CRITICAL { "critical" } else { "warning" }.to_owned(),
        kind: "disk_full".to_owned(),
        title: format!("A disk of {} is {full:.0} % full", device.name),
        detail: format!("At {}, {}.", device.site_name, device.organization_name),
        since: device.metrics_at.unwrap_or(device.state_since),
        reference: AttentionRef { kind: "device".into(), id: device.id, name: device.name },
    }
}
