//! A site's devices: which of them its relay has, keeps out and sees connected, against
//! what the database has.

use super::{identity, ingest, store};
use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity, downlink},
    reports::{Comparison, Part, Turn},
};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use time::OffsetDateTime;
use unifyit_protocol::{
    compare::{KnownDevice, MAX_KNOWN, SiteHolds, SiteKnown},
    ids::DeviceId,
    link::{DownRecord, Presence, SharedIdentity},
};
use uuid::Uuid;

/// The feature's parts.
pub(super) const PARTS: &[Part] = &[
    Part {
        turn: Turn::Devices,
        bring: |tx, relay, holds, all| {
            Box::pin(async move {
                match holds {
                    Some(holds) => held(tx, relay, holds, all).await,
                    None => everything(tx, relay, all).await,
                }
            })
        },
    },
    Part {
        turn: Turn::Connections,
        bring: |tx, relay, _, all| Box::pin(connections(tx, relay, all)),
    },
];

struct Known {
    hostname: String,
    version: String,
    enrolled_at: OffsetDateTime,
    revoked: bool,
    online: bool,
    /// Whether it joined through this relay.
    own: bool,
}

/// All that the relay must know of devices.
async fn everything(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    let known = known(tx, relay).await?;
    let out: Vec<DeviceId> = known.iter().filter(|(_, k)| k.revoked).map(|(d, _)| *d).collect();
    keep_out(tx, relay, &out, all).await?;
    let own: Vec<DeviceId> =
        known.iter().filter(|(_, k)| k.own && !k.revoked).map(|(d, _)| *d).collect();
    make_known(tx, relay, &known, own).await
}

/// What only the relay knows, and what it lacks.
async fn held(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: &SiteHolds,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    let known = known(tx, relay).await?;
    let present: HashSet<DeviceId> = holds.devices.iter().copied().collect();
    let out: HashSet<DeviceId> = holds.revoked.iter().copied().collect();
    let is = |device: &DeviceId, revoked| known.get(device).is_some_and(|k| k.revoked == revoked);

    let newly: Vec<DeviceId> = out.iter().filter(|device| is(device, false)).copied().collect();
    store::revoke_all(tx, &newly).await?;
    all.mended(newly.len(), "devices revoked here, as the relay had been told");
    all.changed.extend(&newly);
    let let_in: Vec<DeviceId> = present.iter().filter(|d| is(d, true)).copied().collect();
    keep_out(tx, relay, &let_in, all).await?;

    let lost: Vec<DeviceId> = known
        .iter()
        .filter(|(d, k)| k.own && !k.revoked && !present.contains(d) && !out.contains(d))
        .map(|(device, _)| *device)
        .collect();
    all.mended(lost.len(), "devices made known to the relay again");
    all.reachable = Some(present.iter().chain(&lost).copied().collect());
    make_known(tx, relay, &known, lost).await?;

    single(tx, relay, holds, all).await?;
    claim(tx, relay, &holds.devices).await?;
    all.presence = wrong(holds, &known, &newly);
    Ok(())
}

/// Puts right who is connected.
async fn connections(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    let wrong = std::mem::take(&mut all.presence);
    all.mended(wrong.len(), "devices whose connection was shown wrongly");
    ingest::presence(tx, relay, wrong, &mut all.changed).await
}

async fn known(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
) -> Result<HashMap<DeviceId, Known>, ApplyError> {
    let rows = sqlx::query(
        "SELECT id, hostname, agent_version, enrolled_at, revoked_at IS NOT NULL AS revoked, online, \
             relay_id IS NOT DISTINCT FROM $2 AS own FROM devices WHERE site_id = $1",
    )
    .bind(relay.site.0)
    .bind(relay.id.0)
    .fetch_all(&mut **tx)
    .await?;
    let known = rows.iter().map(|row| {
        let known = Known {
            hostname: row.try_get("hostname")?,
            version: row.try_get("agent_version")?,
            enrolled_at: row.try_get("enrolled_at")?,
            revoked: row.try_get("revoked")?,
            online: row.try_get("online")?,
            own: row.try_get("own")?,
        };
        Ok((DeviceId(row.try_get("id")?), known))
    });
    Ok(known.collect::<Result<_, sqlx::Error>>()?)
}

/// Tells the relay that these are out.
async fn keep_out(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    devices: &[DeviceId],
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    for device in devices {
        downlink::tell(tx, relay.id, &DownRecord::RevokeDevice(*device)).await?;
    }
    all.mended(devices.len(), "revocations of devices sent again");
    Ok(())
}

/// Tells the relay of devices that it may have forgotten.
async fn make_known(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    known: &HashMap<DeviceId, Known>,
    mut lost: Vec<DeviceId>,
) -> Result<(), ApplyError> {
    lost.sort_unstable();
    let list: Vec<KnownDevice> = lost
        .iter()
        .filter_map(|device| {
            let known = known.get(device)?;
            let ms = known.enrolled_at.unix_timestamp_nanos() / 1_000_000;
            Some(KnownDevice {
                device: *device,
                hostname: known.hostname.clone(),
                version: known.version.clone(),
                enrolled_ms: u64::try_from(ms).unwrap_or_default(),
            })
        })
        .collect();
    for some in list.chunks(MAX_KNOWN) {
        let known = SiteKnown { devices: some.to_vec(), ..SiteKnown::default() };
        downlink::tell(tx, relay.id, &DownRecord::Known(known)).await?;
    }
    Ok(())
}

/// Identities that several computers shared when the database was copied, and one uses
/// since. Those that are shared the relay tells of by itself.
async fn single(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: &SiteHolds,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    let Some(still) = &holds.shared else { return Ok(()) };
    let single: Vec<Uuid> = sqlx::query_scalar(
        "SELECT id FROM devices WHERE id = ANY($1) AND id <> ALL($2) AND computers IS NOT NULL ORDER BY id",
    )
    .bind(holds.devices.iter().map(|d| d.0).collect::<Vec<_>>())
    .bind(still.iter().map(|d| d.0).collect::<Vec<_>>())
    .fetch_all(&mut **tx)
    .await?;
    for device in single {
        let (device, at_ms) = (DeviceId(device), holds.at_ms);
        let told = SharedIdentity { device, at_ms, computers: Vec::new() };
        all.changed.insert(device);
        identity::apply(tx, relay, told).await?;
    }
    Ok(())
}

/// The relay speaks of these devices as its own: if it forgets them, it is told.
async fn claim(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    devices: &[DeviceId],
) -> Result<(), ApplyError> {
    sqlx::query(
        "UPDATE devices SET relay_id = $2 WHERE id = ANY($1) AND relay_id IS DISTINCT FROM $2",
    )
    .bind(devices.iter().map(|d| d.0).collect::<Vec<_>>())
    .bind(relay.id.0)
    .execute(&mut **tx)
    .await?;
    Ok(())
}

/// Where the database shows another presence than the relay, in the relay's words.
fn wrong(holds: &SiteHolds, known: &HashMap<DeviceId, Known>, newly: &[DeviceId]) -> Vec<Presence> {
    let online: HashSet<DeviceId> = holds.connected().collect();
    let away = known.iter().filter(|(d, k)| k.online && !online.contains(d) && !newly.contains(d));
    let back = holds
        .connected()
        .filter(|device| known.get(device).is_none_or(|k| !k.online && !k.revoked));
    let wrong = away.map(|(device, _)| (*device, false)).chain(back.map(|device| (device, true)));
    wrong
        .map(|(device, online)| Presence {
            device,
            online,
            at_ms: holds.at_ms,
            agent_version: String::new(),
            address: String::new(),
        })
        .collect()
}
