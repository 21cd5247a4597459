//! How sites stand: counts of them and of the devices behind them, those that need
//! somebody, and relays whose clock is wrong.

use super::{SiteDevices, SiteStanding, SiteState, store};
use crate::{
    db::{DbError, TenantTx},
    standing::{Attention, AttentionRef, Severity, Standing},
};
use futures::future::BoxFuture;
use unifyit_protocol::clock::{CLOCK_RIGHT_MS, sentence};

/// Adds all sites of the scope, in one pass over them.
pub(super) fn add<'a>(
    tx: &'a mut TenantTx,
    all: &'a mut Standing,
) -> BoxFuture<'a, Result<(), DbError>> {
    Box::pin(async move {
        let mut clocks = Clocks::default();
        store::each_standing(tx, |site| add_site(all, &mut clocks, site)).await?;
        clocks.points().into_iter().for_each(|point| all.add(point));
        Ok(())
    })
}

/// Counts a site. Behind a relay that is away, all devices are unreachable.
fn add_site(all: &mut Standing, clocks: &mut Clocks, site: SiteStanding) {
    let SiteDevices { total, online } = site.devices;
    all.sites.total += 1;
    all.devices.total += total;
    match site.state {
        SiteState::Healthy => all.sites.healthy += 1,
        SiteState::Degraded => all.sites.degraded += 1,
        SiteState::Unreachable => all.sites.unreachable += 1,
        SiteState::NoRelay => all.sites.no_relay += 1,
    }
    match site.state {
        SiteState::Healthy | SiteState::Degraded => {
            all.devices.online += online;
            all.devices.offline += total - online;
        }
        SiteState::Unreachable | SiteState::NoRelay => all.devices.unreachable += total,
    }
    if let Some(point) = of_site(&site) {
        all.add(point);
    }
    clocks.add(site);
}

fn of_site(site: &SiteStanding) -> Option<Attention> {
    let (severity, kind, title, detail) = match site.state {
        SiteState::Unreachable => (
            Severity::Critical,
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
            Severity::Warning,
            "site_degraded",
            format!("{} is in trouble", site.name),
            "Its relay is short of disk space or far behind in sending.".to_owned(),
        ),
        SiteState::Healthy | SiteState::NoRelay => return None,
    };
    Some(Attention {
        severity,
        kind: kind.to_owned(),
        title,
        detail,
        since: site.state_since,
        reference: AttentionRef::site(site.id, site.name.clone()),
    })
}

/// How far ahead each connected relay's clock is, and the sites where it is.
#[derive(Debug, Default)]
struct Clocks {
    offsets: Vec<i64>,
    wrong: Vec<SiteStanding>,
}

impl Clocks {
    fn add(&mut self, site: SiteStanding) {
        self.offsets.extend(site.clock_ahead_ms);
        if site.clock_ahead_ms.is_some_and(|ahead| ahead != 0) {
            self.wrong.push(site);
        }
    }

    /// Relays whose clock and ours disagree. Where most of them agree with each other
    /// and not with us, it is ours that is wrong, which is one point and not many.
    fn points(self) -> Vec<Attention> {
        let Self { mut offsets, wrong } = self;
        offsets.sort_unstable();
        let median = offsets.get(offsets.len() / 2).copied().unwrap_or_default();
        let with_it = offsets.iter().filter(|o| o.abs_diff(median) <= CLOCK_RIGHT_MS).count();
        let ours = offsets.len() >= 3 && median != 0 && with_it * 2 > offsets.len();
        let point = |site: &SiteStanding, title: String, detail: String| Attention {
            severity: Severity::Warning,
            kind: "clock_wrong".to_owned(),
            title,
            detail,
            since: site.state_since,
            reference: AttentionRef::site(site.id, site.name.clone()),
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
        for site in &wrong {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::standing::MOST;
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
        let (mut all, mut clocks) = (Standing::default(), Clocks::default());
        for (n, ahead) in (0..).zip(ahead) {
            add_site(&mut all, &mut clocks, site(n, SiteState::Healthy, Some(*ahead)));
        }
        add_site(&mut all, &mut clocks, site(99, SiteState::Unreachable, None));
        clocks.points().into_iter().for_each(|point| all.add(point));
        all.attention().into_iter().filter(|p| p.kind == "clock_wrong").map(|p| p.title).collect()
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
        let (mut all, mut clocks) = (Standing::default(), Clocks::default());
        for n in 0..12_000 {
            let state = if n % 2 == 0 { SiteState::Unreachable } else { SiteState::Healthy };
            add_site(&mut all, &mut clocks, site(n, state, None));
        }
        assert_eq!((all.sites.total, all.sites.unreachable), (12_000, 6000));
        assert_eq!((all.devices.total, all.devices.unreachable), (36_000, 18_000));
        assert_eq!((all.devices.online, all.devices.offline), (12_000, 6000));
        let points = all.attention();
        assert_eq!(points.len(), MOST);
        assert_eq!(points[0].reference.name, "Site 11998", "the one that is away longest");
    }
}
