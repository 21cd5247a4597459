//! How the relay fares, what was lost, what happened at the site, and telling
//! browsers.

use super::presence::time_of;
use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::TenantTx,
    events::{NewEvent, Reference, TimelineItem},
    features::{
        devices,
        relays::{self, line},
        sites,
    },
    link::{
        ApplyError, RelayChange, RelayIdentity, downlink,
        gaps::{self, NewGap},
    },
};
use std::collections::BTreeSet;
use time::OffsetDateTime;
use unifyit_protocol::{
    ids::DeviceId,
    lane::Lane,
    link::{DeviceGap, RelayStatus, SiteAudit},
};
use uuid::Uuid;

/// The relay's own report, each minute.
pub(crate) async fn status(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    mut status: RelayStatus,
) -> Result<(), ApplyError> {
    status.version = line(&status.version, 64);
    let json = serde_json::to_value(&status).map_err(|e| ApplyError::Malformed(e.to_string()))?;
    sqlx::query(
        "UPDATE relays SET status = $2, status_at = now(), last_contact = now(), \
             version = coalesce(nullif($3, ''), version) WHERE id = $1",
    )
    .bind(relay.id.0)
    .bind(json)
    .bind(&status.version)
    .execute(&mut **tx)
    .await?;
    tell_site(tx, relay, false).await
}

/// Data that existed and was dropped (G6).
pub(crate) async fn gap(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    gap: DeviceGap,
) -> Result<(), ApplyError> {
    let DeviceGap { device, gap } = gap;
    let (mut from, to) = (time_of(gap.from_ms), time_of(gap.to_ms));
    if gap.from_ms == gap.to_ms {
        // A moment says when the loss was noticed. What was lost lies before it, and
        // after what is known.
        let known = match device {
            Some(device) if gap.lane == Lane::Metrics => gaps::measured_until(tx, device).await?,
            _ => gaps::known_until(tx, relay, gap.lane).await?,
        };
        from = known.map_or(from, |known| known.min(from));
    }
    let reason = line(&gap.reason, 512);
    let gap = NewGap { device, lane: gap.lane, records: gap.count, from, to, reason: &reason };
    Ok(gaps::note(tx, relay, &gap).await?)
}

/// Something that happened at the site, for the audit log.
pub(crate) async fn audit(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    said: SiteAudit,
) -> Result<(), ApplyError> {
    // The prefix keeps a relay from writing rows that look like a person's.
    let name = format!("site:{}", line(&said.actor, 128));
    let actor = AuditActor { name, id: Some(relay.id.0), ..AuditActor::system() };
    let action = format!("site.{}", line(&said.action, 64));
    let target = match own_device(tx, relay, &said.actor).await? {
        Some((device, name)) => {
            AuditTarget::device(relay.place(), device, format!("device {name}"))
        }
        None => AuditTarget::at(relay.place(), ""),
    };
    let (detail, at) = (line(&said.detail, 1024), Some(time_of(said.at_ms)));
    Ok(audit::record_at(tx, &actor, &action, &target, &detail, at).await?)
}

/// The site's device of that id, if it is one: what is said of it stands in its
/// timeline.
async fn own_device(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    id: &str,
) -> Result<Option<(Uuid, String)>, ApplyError> {
    let Ok(id) = id.parse::<Uuid>() else { return Ok(None) };
    let found = sqlx::query_as(
        "SELECT id, CASE WHEN name = '' THEN hostname ELSE name END FROM devices \
         WHERE id = $1 AND site_id = $2",
    );
    Ok(found.bind(id).bind(relay.site.0).fetch_optional(&mut **tx).await?)
}

/// The relay joined, came or went.
pub(crate) async fn relay_changed(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    change: RelayChange,
) -> Result<(), ApplyError> {
    if change == RelayChange::Restored {
        return super::compare::restored(tx, relay).await;
    }
    if change == RelayChange::Enrolled {
        downlink::settle(sites::config::push(tx, relay.site).await)?;
        let actor =
            AuditActor { name: "relay".into(), id: Some(relay.id.0), ..AuditActor::system() };
        let site = sites::store::get(tx, relay.site).await?;
        let shown =
            site.map_or_else(|| relay.id.to_string(), |(site, _)| format!("of {}", site.name));
        let target = AuditTarget::at(relay.place(), format!("relay {shown}"));
        audit::record(tx, &actor, "relay.enroll", &target, "").await?;
    }
    tell_site(tx, relay, true).await?;
    let online = match change {
        RelayChange::Enrolled | RelayChange::Clock | RelayChange::Restored => return Ok(()),
        RelayChange::Online => true,
        RelayChange::Offline => false,
    };
    if let Some((site, place)) = sites::store::get(tx, relay.site).await? {
        let item = TimelineItem {
            at: OffsetDateTime::now_utc(),
            kind: "connection".into(),
            title: if online { "Connected" } else { "Disconnected" }.into(),
            detail: format!("The relay of {}", site.name),
            actor: String::new(),
            reference: Reference::to("site", site.id, &site.name),
        };
        tx.emit(item.added(place));
    }
    Ok(())
}

/// Tells browsers of devices that changed, and of the site when its counts did.
pub(crate) async fn tell(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    changed: &BTreeSet<DeviceId>,
    connections: bool,
) -> Result<(), ApplyError> {
    if !changed.is_empty() {
        let ids: Vec<DeviceId> = changed.iter().copied().collect();
        for item in devices::store::items(tx, &ids).await? {
            let event = match connections {
                true => NewEvent::kept(devices::CHANGED, relay.place(), &item),
                // Values of a minute; the next minute's replace them.
                false => NewEvent::passing(devices::CHANGED, relay.place(), &item),
            };
            tx.emit(event);
        }
    }
    if connections {
        tell_site(tx, relay, false).await?;
    }
    Ok(())
}

pub(super) async fn tell_site(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    keep: bool,
) -> Result<(), ApplyError> {
    let Some((site, place)) = sites::store::get(tx, relay.site).await? else { return Ok(()) };
    for (kind, data) in [
        (sites::CHANGED, serde_json::to_value(&site)),
        (relays::CHANGED, serde_json::to_value(&site.relay)),
    ] {
        let data = data.unwrap_or_default();
        tx.emit(match keep {
            true => NewEvent::kept(kind, place, data),
            false => NewEvent::passing(kind, place, data),
        });
    }
    Ok(())
}
