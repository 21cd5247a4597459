//! Pure decisions: what needs somebody.

use super::model::{Attention, AttentionRef, DeviceCounts, SiteCounts};
use crate::features::{
    devices::{
        DeviceItem,
        identity::{Computer, shown},
    },
    sites::{SiteDevices, SiteStanding, SiteState},
};
use time::OffsetDateTime;
use unifyit_protocol::clock::{CLOCK_RIGHT_MS, sentence};

/// Most points shown.
pub(super) const MOST: usize = 50;
/// Fullness of a disk from which somebody should look at once; from 90 % on, the
/// database finds it.
const DISK_CRITICAL: f32 = 97.0;

/// A device whose identity several computers use, who they are, and since when.
pub(super) type SharedDevice = (DeviceItem, Vec<Computer>, OffsetDateTime);

/// What all sites come to, one after the other.
#[derive(Debug, Default)]
pub(super) struct Standing {
    pub(super) sites: SiteCounts,
    pub(super) devices: DeviceCounts,
    points: Vec<Attention>,
    /// How far ahead each connected relay's clock is, and the sites where it is.
    offsets: Vec<i64>,
    wrong: Vec<SiteStanding>,
}

impl Standing {
    /// Counts a site. Behind a relay that is away, all devices are unreachable.
    pub(super) fn add(&mut self, site: SiteStanding) {
        let SiteDevices { total, online } = site.devices;
        self.sites.total += 1;
        self.devices.total += total;
        match site.state {
            SiteState::Healthy => self.sites.healthy += 1,
            SiteState::Degraded => self.sites.degraded += 1,
            SiteState::Unreachable => self.sites.unreachable += 1,
            SiteState::NoRelay => self.sites.no_relay += 1,
        }
        match site.state {
            SiteState::Healthy | SiteState::Degraded => {
                self.devices.online += online;
                self.devices.offline += total - online;
            }
            SiteState::Unreachable | SiteState::NoRelay => self.devices.unreachable += total,
        }
        self.points.extend(of_site(&site));
        if self.points.len() > 20 * MOST {
            worst(&mut self.points);
        }
        self.offsets.extend(site.clock_ahead_ms);
        if site.clock_ahead_ms.is_some_and(|ahead| ahead != 0) {
            self.wrong.push(site);
        }
    }

    /// Sites, full disks, shared identities and wrong clocks that need somebody, worst
    /// and oldest first.
    pub(super) fn attention(
        self,
        full: Vec<DeviceItem>,
        shared: Vec<SharedDevice>,
        wrong: Vec<DeviceItem>,
    ) -> Vec<Attention> {
        let mut points = self.points;
        points.extend(of_relay_clocks(&self.wrong, self.offsets));
        points.extend(shared.into_iter().map(of_shared));
        points.extend(full.into_iter().map(of_disk));
        points.extend(wrong.into_iter().filter_map(of_clock));
        worst(&mut points);
        points
    }
}

fn worst(points: &mut Vec<Attention>) {
    let rank = |point: &Attention| u8::from(point.severity != "critical");
    points.sort_by_key(|point| (rank(point), point.since));
    points.truncate(MOST);
}

fn of_site(site: &SiteStanding) -> Option<Attention> {
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

fn of_shared((device, computers, since): SharedDevice) -> Attention {
    Attention {
        severity: "critical".to_owned(),
        kind: "identity_shared".to_owned(),
        title: format!("Two computers use the identity of {}", device.name),
        detail: format!(
            "{}. Only the first is served; give the other its own identity on the device's page.",
            shown(&computers)
        ),
        since,
        reference: AttentionRef { kind: "device".into(), id: device.id, name: device.name },
    }
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
fn of_relay_clocks(wrong: &[SiteStanding], mut offsets: Vec<i64>) -> Vec<Attention> {
    offsets.sort_unstable();
    let median = offsets.get(offsets.len() / 2).copied().unwrap_or_default();
    let with_it = offsets.iter().filter(|o| o.abs_diff(median) <= CLOCK_RIGHT_MS).count();
    let ours = offsets.len() >= 3 && median != 0 && with_it * 2 > offsets.len();
    let point = |site: &SiteStanding, title: String, detail: String| Attention {
        severity: "warning".to_owned(),
        kind: "clock_wrong".to_owned(),
        title,
        detail,
        since: site.state_since,
        reference: AttentionRef { kind: "site".into(), id: site.id, name: site.name.clone() },
    };
    let mut points = Vec::new();
    if ours
        && let Some(site) = wrong.first()
        && let Some(title) = sentence("This server's", median.saturating_neg())
    {
        let detail = format!(
            "{with_it} of {} relays agree on another time. Set the clock of the server; all goes \
             by it until then.",
            offsets.len()
        );
        points.push(point(site, title, detail));
    }
    for site in wrong {
        let ahead = site.clock_ahead_ms.unwrap_or_default();
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
    use time::{Duration, OffsetDateTime};
    use uuid::Uuid;

    const DAY: i64 = 86_400_000;

    fn site(n: i64, state: SiteState, clock_ahead_ms: Option<i64>) -> SiteStanding {
        SiteStanding {
            id: Uuid::nil(),
            name: format!("Site {n}"),
            state,
            state_since: OffsetDateTime::UNIX_EPOCH + Duration::minutes(20_000 - n),
            devices: SiteDevices { total: 3, online: 2 },
            clock_ahead_ms,
        }
    }

    /// What is said of sites whose connected relays' clocks are ahead by so much.
    fn titles(ahead: &[i64]) -> Vec<String> {
        let mut all = Standing::default();
        for (n, ahead) in (0..).zip(ahead) {
            all.add(site(n, SiteState::Healthy, Some(*ahead)));
        }
        all.add(site(99, SiteState::Unreachable, None));
        let points = all.attention(Vec::new(), Vec::new(), Vec::new());
        points.into_iter().filter(|p| p.kind == "clock_wrong").map(|p| p.title).collect()
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
        let mut named = titles(&[-hour, -hour, -hour, 3 * hour]);
        named.sort_unstable();
        let other = "The relay of Site 3: its clock is 3 h ahead.";
        assert_eq!(named, [other, "This server's clock is 1 h ahead."]);
    }

    #[test]
    fn of_however_many_sites_none_is_left_out_and_the_worst_stay() {
        let mut all = Standing::default();
        for n in 0..12_000 {
            let state = if n % 2 == 0 { SiteState::Unreachable } else { SiteState::Healthy };
            all.add(site(n, state, None));
        }
        assert_eq!((all.sites.total, all.sites.unreachable), (12_000, 6000));
        assert_eq!((all.devices.total, all.devices.unreachable), (36_000, 18_000));
        assert_eq!((all.devices.online, all.devices.offline), (12_000, 6000));
        let points = all.attention(Vec::new(), Vec::new(), Vec::new());
        assert_eq!(points.len(), MOST);
        assert_eq!(points[0].reference.name, "Site 11998", "the one that is away longest");
    }
}
