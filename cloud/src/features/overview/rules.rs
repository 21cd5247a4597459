//! Pure decisions: what needs somebody.

use super::model::{Attention, AttentionRef, DeviceCounts, SiteCounts};
use crate::features::{
    devices::DeviceItem,
    sites::{Site, SiteDevices, SiteState},
};
use unifyit_protocol::clock::{CLOCK_RIGHT_MS, sentence};

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

/// Sites, full disks and wrong clocks that need somebody, worst and oldest first.
pub(super) fn attention(
    sites: &[Site],
    full: Vec<DeviceItem>,
    wrong: Vec<DeviceItem>,
) -> Vec<Attention> {
    let mut points: Vec<Attention> = sites.iter().filter_map(of_site).collect();
    points.extend(of_relay_clocks(sites));
    points.extend(full.into_iter().map(of_disk));
    points.extend(wrong.into_iter().filter_map(of_clock));
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

/// Relays whose clock and ours disagree. Where most of them agree with each other
/// and not with us, it is ours that is wrong, which is one point and not many.
fn of_relay_clocks(sites: &[Site]) -> Vec<Attention> {
    let relays: Vec<(&Site, i64)> = sites
        .iter()
        .filter_map(|s| Some((s, s.relay.as_ref()?)))
        .filter(|(_, relay)| relay.online)
        .map(|(site, relay)| (site, relay.clock_ahead_ms))
        .collect();
    let mut offsets: Vec<i64> = relays.iter().map(|(_, ahead)| *ahead).collect();
    offsets.sort_unstable();
    let median = offsets.get(offsets.len() / 2).copied().unwrap_or_default();
    let with_it = offsets.iter().filter(|o| o.abs_diff(median) <= CLOCK_RIGHT_MS).count();
    let ours = offsets.len() >= 3 && median != 0 && with_it * 2 > offsets.len();
    let point = |site: &Site, title: String, detail: String| Attention {
        severity: "warning".to_owned(),
        kind: "clock_wrong".to_owned(),
        title,
        detail,
        since: site.state_since,
        reference: AttentionRef { kind: "site".into(), id: site.id, name: site.name.clone() },
    };
    let mut points = Vec::new();
    if ours
        && let Some((site, _)) = relays.first()
        && let Some(title) = sentence("This server's", median.saturating_neg())
    {
        let detail = format!(
            "{with_it} of {} relays agree on another time. Set the clock of the server; all goes \
             by it until then.",
            offsets.len()
        );
        points.push(point(site, title, detail));
    }
    for (site, ahead) in relays {
        if ours && ahead.abs_diff(median) <= CLOCK_RIGHT_MS {
            continue;
        }
        if let Some(title) = sentence(&format!("The relay of {}: its", site.name), ahead) {
            let detail = "The site goes by the cloud's time while it is connected. Set the clock \
                of its machine: it is what the site has when the internet is away.";
            points.push(point(site, title, detail.to_owned()));
        }
    }
    points
}

fn of_clock(device: DeviceItem) -> Option<Attention> {
    let title = sentence(&format!("{}: its", device.name), device.clock_ahead_ms)?;
    Some(Attention {
        severity: "warning".to_owned(),
        kind: "clock_wrong".to_owned(),
        title,
        detail: format!(
            "At {}, {}. Scripts and charts go by the site's time.",
            device.site_name, device.organization_name
        ),
        since: device.state_since,
        reference: AttentionRef { kind: "device".into(), id: device.id, name: device.name },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const DAY: i64 = 86_400_000;

    /// Sites whose connected relays' clocks are ahead by so much.
    fn sites(ahead: &[i64]) -> Vec<Site> {
        let site = |(n, ahead): (usize, &i64)| {
            let id = uuid::Uuid::from_u128(n as u128);
            let figures = [
                "backlog_records",
                "backlog_bytes",
                "store_bytes",
                "disk_free_bytes",
                "memory_bytes",
                "uptime_s",
                "cache_bytes",
                "cache_served_bytes",
                "cache_fetched_bytes",
                "cache_hits",
                "cache_misses",
                "cache_ahead_files",
            ];
            let mut relay = json!({
                "id": id, "hostname": "box", "version": "1", "peer_id": "p", "online": true,
                "last_contact": null, "connected_since": null, "clock_ahead_ms": ahead,
            });
            figures.iter().for_each(|figure| relay[*figure] = json!(0));
            serde_json::from_value(json!({
                "id": id, "name": format!("Site {n}"), "organization_id": id,
                "organization_name": "O", "state": "healthy", "relay": relay,
                "state_since": "2026-01-01T00:00:00Z", "created_at": "2026-01-01T00:00:00Z",
                "devices": {"total": 0, "online": 0},
                "config": {"collect_every_s": 10, "inventory_every_s": 900},
            }))
            .unwrap()
        };
        ahead.iter().enumerate().map(site).collect()
    }

    fn titles(ahead: &[i64]) -> Vec<String> {
        of_relay_clocks(&sites(ahead)).into_iter().map(|p| p.title).collect()
    }

    #[test]
    fn a_relays_wrong_clock_is_named_and_right_ones_are_not() {
        assert_eq!(titles(&[0, 0, 0]), Vec::<String>::new());
        assert_eq!(titles(&[0, 2 * DAY, 0]), ["The relay of Site 1: its clock is 2 d ahead."]);
        assert_eq!(titles(&[-DAY]), ["The relay of Site 0: its clock is 1 d behind."]);
    }

    #[test]
    fn where_most_relays_agree_against_the_server_the_server_is_named() {
        let hour = 3_600_000;
        assert_eq!(titles(&[hour, hour + 900, hour - 900]), ["This server's clock is 1 h behind."]);
        let named = titles(&[-hour, -hour, -hour, 3 * hour]);
        let last = "The relay of Site 3: its clock is 3 h ahead.";
        assert_eq!(named, ["This server's clock is 1 h ahead.", last]);
    }
}
