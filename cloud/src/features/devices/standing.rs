//! Which devices need somebody: full disks, shared identities and wrong clocks.

use super::{
    DeviceItem,
    identity::{self, Computer, shown},
    store,
};
use crate::{
    db::{DbError, TenantTx},
    standing::{Attention, AttentionRef, MOST, Severity, Standing},
};
use futures::future::BoxFuture;
use time::OffsetDateTime;
use unifyit_protocol::clock::sentence;

/// Fullness of a disk from which somebody should look at once; from 90 % on, the
/// database finds it.
const DISK_CRITICAL: f32 = 97.0;

/// A device whose identity several computers use, who they are, and since when.
type SharedDevice = (DeviceItem, Vec<Computer>, OffsetDateTime);

/// Adds the devices of the scope that need somebody.
pub(super) fn add<'a>(
    tx: &'a mut TenantTx,
    all: &'a mut Standing,
) -> BoxFuture<'a, Result<(), DbError>> {
    Box::pin(async move {
        let shared = identity::shared(tx, MOST).await?.into_iter().map(of_shared);
        shared.for_each(|point| all.add(point));
        let full = store::fullest_disks(tx, MOST).await?.into_iter().map(of_disk);
        full.for_each(|point| all.add(point));
        let wrong = store::wrong_clocks(tx, MOST).await?.into_iter().filter_map(of_clock);
        wrong.for_each(|point| all.add(point));
        Ok(())
    })
}

fn of_shared((device, computers, since): SharedDevice) -> Attention {
    Attention {
        severity: Severity::Critical,
        kind: "identity_shared".to_owned(),
        title: format!("Two computers use the identity of {}", device.name),
        detail: format!(
            "{}. Only the first is served; give the other its own identity on the device's page.",
            shown(&computers)
        ),
        since,
        reference: AttentionRef::device(device.id, device.name),
    }
}

fn of_disk(device: DeviceItem) -> Attention {
    let full = device.disk_pct.unwrap_or_default();
    Attention {
        severity: if full >= DISK_CRITICAL { Severity::Critical } else { Severity::Warning },
        kind: "disk_full".to_owned(),
        title: format!("A disk of {} is {full:.0} % full", device.name),
        detail: format!("At {}, {}.", device.site_name, device.organization_name),
        since: device.metrics_at.unwrap_or(device.state_since),
        reference: AttentionRef::device(device.id, device.name),
    }
}

fn of_clock(device: DeviceItem) -> Option<Attention> {
    let title = sentence(&format!("{}: its", device.name), device.clock_ahead_ms)?;
    Some(Attention {
        severity: Severity::Warning,
        kind: "clock_wrong".to_owned(),
        title,
        detail: format!(
            "At {}, {}. Scripts and charts go by the site's time.",
            device.site_name, device.organization_name
        ),
        since: device.state_since,
        reference: AttentionRef::device(device.id, device.name),
    })
}
