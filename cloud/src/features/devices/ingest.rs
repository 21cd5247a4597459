//! Devices that join, come and go.

use super::{ENROLLED, store};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::TenantTx,
    events::{NewEvent, Reference, TimelineItem},
    features::sites,
    link::{ApplyError, RelayIdentity, downlink},
    reports::{line, time_of},
};
use std::collections::{BTreeMap, BTreeSet};
use unifyit_protocol::{
    ids::DeviceId,
    link::{DeviceClock, DownRecord, Enrolled, Presence},
};
use uuid::Uuid;

/// How far devices' clocks are off.
pub(super) async fn clocks(
    tx: &mut TenantTx,
    list: Vec<DeviceClock>,
    changed: &mut BTreeSet<DeviceId>,
) -> Result<(), ApplyError> {
    if list.is_empty() {
        return Ok(());
    }
    let last: BTreeMap<DeviceId, i64> = list.iter().map(|c| (c.device, c.ahead_ms)).collect();
    let moved: Vec<Uuid> = sqlx::query_scalar(
        "UPDATE devices d SET clock_ahead_ms = c.ahead \
         FROM unnest($1::uuid[], $2::int8[]) AS c (device, ahead) \
         WHERE d.id = c.device AND d.clock_ahead_ms <> c.ahead RETURNING d.id",
    )
    .bind(last.keys().map(|d| d.0).collect::<Vec<_>>())
    .bind(last.values().copied().collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    changed.extend(moved.into_iter().map(DeviceId));
    Ok(())
}

/// An agent enrolled at the relay, perhaps while the cloud was away. Whether the
/// device has a row.
pub(super) async fn enrolled(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    enrolled: Enrolled,
) -> Result<bool, ApplyError> {
    let hostname = line(&enrolled.hostname, 255);
    let revoked: Option<bool> = sqlx::query_scalar(
        "UPDATE devices SET hostname = $2, agent_version = $3, enrolled_at = least(enrolled_at, $4), \
             relay_id = $5, reenrol_until = NULL WHERE id = $1 RETURNING revoked_at IS NOT NULL",
    )
    .bind(enrolled.device.0)
    .bind(&hostname)
    .bind(line(&enrolled.version, 64))
    .bind(time_of(enrolled.at_ms))
    .bind(relay.id.0)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(revoked) = revoked else { return Ok(false) };
    // Its uses are counted here too: a relay honours tokens while the cloud is away.
    sqlx::query(
        "UPDATE install_tokens SET used = least(used + 1, 1000000) \
         WHERE id = $1 AND site_id = $2 AND kind = 'agent'",
    )
    .bind(enrolled.token.0)
    .bind(relay.site.0)
    .execute(&mut **tx)
    .await?;
    let actor = AuditActor { name: "relay".into(), id: Some(relay.id.0), ..AuditActor::system() };
    let target =
        AuditTarget::device(relay.place(), enrolled.device.0, format!("device {hostname}"));
    let detail = match enrolled.token.0.is_nil() {
        true => "as a computer that shared another's identity".to_owned(),
        false => format!("with install token {}", enrolled.token),
    };
    audit::record_at(tx, &actor, "device.enroll", &target, &detail, Some(time_of(enrolled.at_ms)))
        .await?;
    if revoked {
        // The relay did not know yet that the device is out.
        let record = DownRecord::RevokeDevice(enrolled.device);
        downlink::tell(tx, relay.id, &record).await?;
    }
    if let Some(item) = store::items(tx, &[enrolled.device]).await?.pop() {
        tx.emit(NewEvent::kept(ENROLLED, relay.place(), &item));
    }
    Ok(true)
}

/// Devices that connected or went, in the order in which they did.
pub(super) async fn presence(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    list: Vec<Presence>,
    changed: &mut BTreeSet<DeviceId>,
) -> Result<(), ApplyError> {
    if list.is_empty() {
        return Ok(());
    }
    let last: BTreeMap<DeviceId, &Presence> = list.iter().map(|p| (p.device, p)).collect();
    sqlx::query(
        "UPDATE devices d SET online = p.online AND d.revoked_at IS NULL, \
             online_since = CASE WHEN d.online = p.online THEN d.online_since ELSE p.at END, \
             last_seen = greatest(least(d.last_seen, now()), p.at), \
             agent_version = coalesce(nullif(p.version, ''), d.agent_version), \
             address = coalesce(nullif(p.address, ''), d.address) \
         FROM unnest($1::uuid[], $2::bool[], $3::timestamptz[], $4::text[], $5::text[]) \
             AS p (device, online, at, version, address) WHERE d.id = p.device",
    )
    .bind(last.keys().map(|d| d.0).collect::<Vec<_>>())
    .bind(last.values().map(|p| p.online).collect::<Vec<_>>())
    .bind(last.values().map(|p| time_of(p.at_ms)).collect::<Vec<_>>())
    .bind(last.values().map(|p| line(&p.agent_version, 64)).collect::<Vec<_>>())
    .bind(last.values().map(|p| line(&p.address, 64)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    sqlx::query(
        "INSERT INTO presence_log (partner_id, organization_id, site_id, relay_id, device_id, online, address, at) \
         SELECT $1, $2, $3, $4, p.device, p.online, p.address, p.at \
         FROM unnest($5::uuid[], $6::bool[], $7::text[], $8::timestamptz[]) \
             WITH ORDINALITY AS p (device, online, address, at, n) ORDER BY n",
    )
    .bind(relay.partner.0)
    .bind(relay.organization.0)
    .bind(relay.site.0)
    .bind(relay.id.0)
    .bind(list.iter().map(|p| p.device.0).collect::<Vec<_>>())
    .bind(list.iter().map(|p| p.online).collect::<Vec<_>>())
    .bind(list.iter().map(|p| line(&p.address, 64)).collect::<Vec<_>>())
    .bind(list.iter().map(|p| time_of(p.at_ms)).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    changed.extend(last.keys());
    tell_timelines(tx, relay, &list).await
}

/// Tells open timelines of connections that came and went.
async fn tell_timelines(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    list: &[Presence],
) -> Result<(), ApplyError> {
    let ids: Vec<Uuid> = list.iter().map(|p| p.device.0).collect();
    let names: Vec<(Uuid, String)> = sqlx::query_as(
        "SELECT id, CASE WHEN name = '' THEN hostname ELSE name END FROM devices WHERE id = ANY($1)",
    )
    .bind(ids)
    .fetch_all(&mut **tx)
    .await?;
    let names: BTreeMap<Uuid, String> = names.into_iter().collect();
    for presence in list {
        let address = line(&presence.address, 64);
        let item = TimelineItem {
            at: time_of(presence.at_ms),
            kind: sites::CONNECTION.as_str().into(),
            title: if presence.online { "Connected" } else { "Disconnected" }.into(),
            detail: if address.is_empty() { address } else { format!("From {address}") },
            actor: String::new(),
            reference: Reference::to(
                "device",
                presence.device.0,
                names.get(&presence.device.0).map_or("", String::as_str),
            ),
        };
        tx.emit(item.added(sites::CONNECTION, relay.place()));
    }
    Ok(())
}
