//! What a relay holds against what the database knows, at the start of an epoch.
//!
//! One of the two may be an older copy of itself. Whatever only one side knows is
//! carried to the other: a revocation holds wherever it was made, the later settings
//! win, and who is connected is the relay's word. Commands that a relay lost are
//! sent again as they were signed; the devices' ledgers see to it that nothing runs
//! twice (G3). Doing it twice changes nothing.

use super::lacks;
use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::TenantTx,
    features::{
        devices::{self, presence},
        sites, tasks,
    },
    link::{
        ApplyError, RelayIdentity,
        downlink::{self, AppendError},
        from_ms,
    },
    reports::Changed,
};
use sqlx::Row;
use std::collections::{HashMap, HashSet};
use time::OffsetDateTime;
use unifyit_protocol::{
    compare::{KnownDevice, KnownToken, MAX_KNOWN, SiteHolds, SiteKnown},
    ids::{DeviceId, TokenId},
    link::{DownRecord, Presence},
};
use uuid::Uuid;

/// Entries of one kind that a relay leaves in the audit log within an hour: one that
/// forgets at each connection does not fill it.
const MOST_NOTED: i64 = 6;

/// What was mended, for the audit log.
#[derive(Debug, Default)]
struct Mended {
    settings: bool,
    revoked_here: usize,
    revoked_there: usize,
    tokens: usize,
    devices: usize,
    commands: usize,
    presence: usize,
    inventories: usize,
}

impl Mended {
    fn sentence(&self) -> Option<String> {
        let parts = [
            (usize::from(self.settings), "newer settings taken from the relay"),
            (self.revoked_here, "devices revoked here, as the relay had been told"),
            (self.revoked_there, "revocations of devices sent again"),
            (self.tokens, "install tokens brought up to date"),
            (self.devices, "devices made known to the relay again"),
            (self.commands, "commands sent again"),
            (self.presence, "devices whose connection was shown wrongly"),
            (self.inventories, "devices asked for their whole inventory"),
        ];
        let told: Vec<String> =
            parts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}

struct Known {
    hostname: String,
    version: String,
    enrolled_at: OffsetDateTime,
    revoked: bool,
    online: bool,
    own: bool,
}

/// The relay, or the database, was put back to an older copy: the relay is told
/// everything, as it may be of a version that does not say what it holds.
pub(crate) async fn restored(tx: &mut TenantTx, relay: &RelayIdentity) -> Result<(), ApplyError> {
    // Seldom, and about all that a site has.
    tx.plan_for_values().await?;
    let known = devices_of(tx, relay).await?;
    let mut mended = Mended::default();
    downlink::settle(sites::config::push(tx, relay.site).await)?;
    for (device, _) in known.iter().filter(|(_, known)| known.revoked) {
        tell(tx, relay, &DownRecord::RevokeDevice(*device)).await?;
        mended.revoked_there += 1;
    }
    let lost: Vec<DeviceId> =
        known.iter().filter(|(_, k)| k.own && !k.revoked).map(|(device, _)| *device).collect();
    let uses = uses(tx, relay).await?;
    make_known(tx, relay, &known, &lost, &uses).await?;
    mended.commands = tasks::send_again(tx, relay, &HashSet::new(), None).await?;
    let detail = match mended.sentence() {
        Some(told) => format!("Restored from an older copy: settings, {told}"),
        None => "Restored from an older copy: settings sent again".to_owned(),
    };
    note(tx, relay, "relay.restored", &detail).await
}

/// The relay says what it holds.
pub(crate) async fn holds(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: SiteHolds,
    changed: &mut Changed,
) -> Result<(), ApplyError> {
    tx.plan_for_values().await?;
    let mut mended = Mended {
        settings: sites::config::adopt(
            tx,
            (&relay.place(), relay.site),
            (&holds.settings, holds.ahead),
        )
        .await?,
        ..Mended::default()
    };
    if !holds.cut {
        mended.tokens = adopt_tokens(tx, relay, &holds.tokens).await?;
    }
    downlink::settle(sites::config::push(tx, relay.site).await)?;
    if holds.cut {
        tracing::warn!(relay = %relay.id, "A relay holds more than it can tell; it is not compared.");
        return told(tx, relay, &mended, changed).await;
    }
    let known = devices_of(tx, relay).await?;
    let present: HashSet<DeviceId> = holds.devices.iter().copied().collect();
    let out: HashSet<DeviceId> = holds.revoked.iter().copied().collect();

    let newly: Vec<DeviceId> = out
        .iter()
        .filter(|device| known.get(device).is_some_and(|k| !k.revoked))
        .copied()
        .collect();
    devices::store::revoke_all(tx, &newly).await?;
    mended.revoked_here = newly.len();
    changed.devices.extend(&newly);
    for device in present.iter().filter(|device| known.get(device).is_some_and(|k| k.revoked)) {
        tell(tx, relay, &DownRecord::RevokeDevice(*device)).await?;
        mended.revoked_there += 1;
    }

    let lost: Vec<DeviceId> = known
        .iter()
        .filter(|(d, k)| k.own && !k.revoked && !present.contains(d) && !out.contains(d))
        .map(|(device, _)| *device)
        .collect();
    let behind = uses_behind(&uses(tx, relay).await?, &holds.tokens);
    make_known(tx, relay, &known, &lost, &behind).await?;
    mended.devices = lost.len();
    mended.tokens += behind.len();

    let held: HashSet<Uuid> = holds.commands.iter().map(|c| c.0).collect();
    let reachable: HashSet<DeviceId> =
        present.iter().copied().chain(lost.iter().copied()).collect();
    mended.commands = tasks::send_again(tx, relay, &held, Some(&reachable)).await?;
    if holds.asks {
        answer(tx, relay, &held).await?;
    }

    mended.inventories = lacks::ask_inventories(tx, relay, &holds).await?;
    lacks::single(tx, relay, &holds, &mut changed.devices).await?;
    let wrong = presence_of(&holds, &known, &newly);
    mended.presence = wrong.len();
    claim(tx, relay, &holds.devices).await?;
    presence(tx, relay, wrong, &mut changed.devices).await?;
    told(tx, relay, &mended, changed).await
}

/// Says what was mended, if anything was.
async fn told(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    mended: &Mended,
    changed: &mut Changed,
) -> Result<(), ApplyError> {
    let Some(told) = mended.sentence() else { return Ok(()) };
    changed.site = true;
    note(tx, relay, "relay.compared", &told).await
}

/// Where the database shows another presence than the relay, in the relay's words.
fn presence_of(
    holds: &SiteHolds,
    known: &HashMap<DeviceId, Known>,
    newly: &[DeviceId],
) -> Vec<Presence> {
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

async fn devices_of(
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

/// The relay speaks of these devices as its own: if it forgets them, it is told.
pub(super) async fn claim(
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

/// Takes over uses and revocations of tokens that only the relay knows of.
async fn adopt_tokens(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    held: &[KnownToken],
) -> Result<usize, ApplyError> {
    let taken = sqlx::query(
        "UPDATE install_tokens t SET used = greatest(t.used, h.used), \
             revoked_at = CASE WHEN h.revoked THEN coalesce(t.revoked_at, now()) ELSE t.revoked_at END \
         FROM unnest($2::uuid[], $3::int4[], $4::bool[]) AS h (id, used, revoked) \
         WHERE t.id = h.id AND t.site_id = $1 AND t.kind = 'agent' \
             AND (t.used < h.used OR (h.revoked AND t.revoked_at IS NULL))",
    )
    .bind(relay.site.0)
    .bind(held.iter().map(|t| t.token.0).collect::<Vec<_>>())
    .bind(held.iter().map(|t| i32::try_from(t.used.min(1_000_000)).unwrap_or_default()).collect::<Vec<_>>())
    .bind(held.iter().map(|t| t.revoked).collect::<Vec<_>>())
    .execute(&mut **tx)
    .await?;
    Ok(usize::try_from(taken.rows_affected()).unwrap_or(usize::MAX))
}

/// Tokens of agents that may still be used, with what was used of them.
async fn uses(tx: &mut TenantTx, relay: &RelayIdentity) -> Result<Vec<KnownToken>, ApplyError> {
    let rows: Vec<(Uuid, i32, bool)> = sqlx::query_as(
        "SELECT id, used, revoked_at IS NOT NULL FROM install_tokens WHERE site_id = $1 \
             AND kind = 'agent' AND expires_at > now() AND (used > 0 OR revoked_at IS NOT NULL) \
         ORDER BY id DESC LIMIT $2",
    )
    .bind(relay.site.0)
    .bind(i64::try_from(MAX_KNOWN).unwrap_or(i64::MAX))
    .fetch_all(&mut **tx)
    .await?;
    let token = |(id, used, revoked): (Uuid, i32, bool)| KnownToken {
        token: TokenId(id),
        used: used.unsigned_abs(),
        revoked,
    };
    Ok(rows.into_iter().map(token).collect())
}

/// Those of the cloud's tokens of which the relay knows less.
fn uses_behind(ours: &[KnownToken], held: &[KnownToken]) -> Vec<KnownToken> {
    let held: HashMap<TokenId, &KnownToken> = held.iter().map(|t| (t.token, t)).collect();
    let behind = |token: &&KnownToken| {
        let there = held.get(&token.token);
        there.map_or(0, |t| t.used) < token.used
            || (token.revoked && !there.is_some_and(|t| t.revoked))
    };
    ours.iter().filter(behind).copied().collect()
}

async fn make_known(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    known: &HashMap<DeviceId, Known>,
    lost: &[DeviceId],
    tokens: &[KnownToken],
) -> Result<(), ApplyError> {
    // This is all that it lacks; what a comparison before found is in it, or out of date.
    downlink::take_back(tx, relay.id, downlink::KNOWN).await?;
    let mut lost = lost.to_vec();
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
        tell(tx, relay, &DownRecord::Known(known)).await?;
    }
    for some in tokens.chunks(MAX_KNOWN) {
        let known = SiteKnown { tokens: some.to_vec(), ..SiteKnown::default() };
        tell(tx, relay, &DownRecord::Known(known)).await?;
    }
    Ok(())
}

/// Who had the commands that the relay holds, as far as was told: its disk is an older
/// copy, and so may be the devices'. The latest answer stands alone, whatever a relay asks
/// and does not take.
async fn answer(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    held: &HashSet<Uuid>,
) -> Result<(), ApplyError> {
    downlink::take_back(tx, relay.id, downlink::HAD).await?;
    let had = tasks::had(tx, relay, held).await?;
    let batches = had.chunks(MAX_KNOWN).map(|some| (some.to_vec(), false));
    for (had, answered) in batches.chain([(Vec::new(), true)]) {
        let known = SiteKnown { had, answered, ..SiteKnown::default() };
        match downlink::append(tx, relay.id, &DownRecord::Known(known)).await {
            // That nothing follows is not said where something was left out.
            Err(AppendError::Full(_)) => break,
            told => downlink::settle(told.map(drop))?,
        }
    }
    Ok(())
}

pub(super) async fn tell(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    record: &DownRecord,
) -> Result<(), ApplyError> {
    downlink::settle(downlink::append(tx, relay.id, record).await.map(drop))
}

/// Ids of entries that are written within the last hour are above this one.
fn hour_ago() -> Uuid {
    let seconds = (crate::link::now_ms() / 1000).saturating_sub(3600);
    Uuid::new_v7(uuid::Timestamp::from_unix_time(seconds, 0, 0, 0))
}

async fn note(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    action: &str,
    detail: &str,
) -> Result<(), ApplyError> {
    tracing::warn!(relay = %relay.id, action, detail, "A relay and the database were brought together again.");
    let often: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM audit_log WHERE organization_id = $1 AND id > $2 AND actor_id = $3 AND action = $4",
    )
    .bind(relay.organization.0)
    .bind(hour_ago())
    .bind(relay.id.0)
    .bind(action)
    .fetch_one(&mut **tx)
    .await?;
    if often >= MOST_NOTED {
        tracing::warn!(relay = %relay.id, "That is not noted in the audit log: it happens all the time.");
        return Ok(());
    }
    let actor = AuditActor { name: "relay".into(), id: Some(relay.id.0), ..AuditActor::system() };
    let site = sites::store::get(tx, relay.site).await?;
    let name = site.map_or_else(|| relay.id.to_string(), |(site, _)| format!("of {}", site.name));
    let target = AuditTarget::at(relay.place(), format!("relay {name}"));
    let at = Some(from_ms(crate::link::now_ms()));
    Ok(audit::record_at(tx, &actor, action, &target, detail, at).await?)
}
