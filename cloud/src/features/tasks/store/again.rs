//! Commands that a relay has lost, sent to it again as they were signed.

#[cfg(test)]
mod tests;

use crate::{
    db::TenantTx,
    link::{
        ApplyError, RelayIdentity,
        downlink::{self, AppendError},
    },
};
use std::collections::HashSet;
use time::OffsetDateTime;
use unifyit_protocol::{
    codec,
    command::{Command, Targets},
    compare::KnownCommand,
    ids::{CommandId, DeviceId},
    link::{DeliverCommand, DownRecord},
    signing::Signed,
};
use uuid::Uuid;

/// Most commands sent again at once: as many as a relay takes unfinished.
const MOST: i64 = 4096;
/// Most deliveries that a restored relay is told of: ten commands for all devices that a
/// site may have. Few in tests, so that they meet the end.
const MOST_HAD: i64 = if cfg!(test) { 6 } else { 220_000 };
/// Most targets that are looked at for it, at some microseconds each: the answer comes
/// before the database ends the statement. Few in tests, as above.
const MOST_LOOKED_AT: i64 = if cfg!(test) { 32 } else { 500_000 };

/// Whether a device `t` may have had its command `c`: it said so, or it was connected
/// at any time between the making of the command and the relay's going (`$3`). A relay
/// that forgot commands may have forgotten, too, that it had handed them out, and should
/// the device's own memory be an older copy as well, nobody else keeps it from running
/// the command again. Who came back only after that cannot have had it, nor can anybody
/// have had what was made only after that; well after it, as the end of a session that
/// nobody saw is dated to when something was last heard.
macro_rules! may_have {
    () => {
        "(t.status <> 'pending' OR (coalesce(c.created_at, '-infinity') <= coalesce($3, now()) + interval '5 minutes' AND ( \
          EXISTS (SELECT FROM presence_log p WHERE p.device_id = t.device_id \
              AND p.at >= c.created_at AND p.at <= coalesce($3, now())) \
          OR coalesce( \
              (SELECT p.online FROM presence_log p WHERE p.device_id = t.device_id \
                  AND p.at < c.created_at ORDER BY p.at DESC, p.id DESC LIMIT 1), \
              (SELECT d.online FROM devices d WHERE d.id = t.device_id), false))))"
    };
}

/// What devices had of commands that a relay holds, as far as the cloud was told, and
/// what they may have had (`may_have`). The signed command may be deleted by its age while
/// the relay's copy is older still: its target alone says then who had it. What would be too
/// much is left out of those that are over, and of the oldest: whoever has an older copy
/// knows least of the youngest.
pub(in super::super) async fn had(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    held: &HashSet<Uuid>,
) -> Result<Vec<KnownCommand>, ApplyError> {
    // A row without a command only says how many targets were looked at.
    type Row = (Option<Uuid>, Option<Uuid>, Option<bool>, i64);
    let rows: Vec<Row> = sqlx::query_as(concat!(
        // Command by command in their order, so that it ends where enough was seen.
        "WITH seen AS MATERIALIZED ( \
             SELECT o.place, t.* FROM ( \
                 SELECT h.id, c.created_at, row_number() OVER ( \
                     ORDER BY coalesce(c.expires_at, '-infinity') < now(), h.id DESC) AS place \
                 FROM unnest($2::uuid[]) AS h (id) LEFT JOIN commands c ON c.id = h.id ORDER BY place) o \
             CROSS JOIN LATERAL ( \
                 SELECT t.command_id, t.device_id, t.status, o.created_at FROM task_targets t \
                 WHERE t.command_id = o.id AND t.site_id = $1 ORDER BY t.device_id) t LIMIT $5) \
         SELECT h.command_id, h.device_id, h.said, n.looked_at \
         FROM (SELECT count(*) AS looked_at FROM seen) n LEFT JOIN ( \
             SELECT t.place, t.command_id, t.device_id, t.status NOT IN ('pending', 'sent') AS said \
             FROM seen t CROSS JOIN LATERAL (SELECT t.created_at) c WHERE ",
        may_have!(),
        " ORDER BY t.place, t.device_id LIMIT $4) h ON true ORDER BY h.place, h.device_id",
    ))
    .bind(relay.site.0)
    .bind(held.iter().copied().collect::<Vec<_>>())
    .bind(gone(tx, relay, true).await?)
    .bind(MOST_HAD)
    .bind(MOST_LOOKED_AT)
    .fetch_all(&mut **tx)
    .await?;
    let looked_at = rows.first().map_or(0, |(.., looked_at)| *looked_at);
    if rows.len() as i64 >= MOST_HAD || looked_at >= MOST_LOOKED_AT {
        tracing::warn!(site = %relay.site, "A relay that was restored holds more commands than it can be told of.");
    }
    let known = |(command, device, started, _): Row| {
        let (command, device) = (CommandId(command?), DeviceId(device?));
        Some(KnownCommand { command, device, started: started.unwrap_or_default() })
    };
    Ok(rows.into_iter().filter_map(known).collect())
}

#[derive(sqlx::FromRow)]
struct Lost {
    id: Uuid,
    kind: String,
    signed: Vec<u8>,
    expires_at: OffsetDateTime,
    devices: Vec<Uuid>,
    /// Those to whom it may have gone. A stop is for everybody: it may come twice, and
    /// must not be taken for one that was forgotten.
    handed: Vec<Uuid>,
    /// Those that said that they had started.
    started: Vec<Uuid>,
}

/// Until when the relay may have handed out commands before it lost them: until its
/// last session ended, or until now when no end of it was seen. Where the session that asks
/// is noted already (`$2`), the end is the one before it; otherwise one that stands there
/// as if it lived is the last one.
const GONE: &str = "SELECT CASE WHEN NOT r.online THEN r.state_since \
         WHEN $2 AND r.state_since = r.connected_since THEN ( \
             SELECT p.at FROM presence_log p WHERE p.site_id = r.site_id AND p.device_id IS NULL \
                 AND p.relay_id = r.id AND NOT p.online ORDER BY p.at DESC LIMIT 1) END \
     FROM relays r WHERE r.id = $1";

async fn gone(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    noted: bool,
) -> Result<Option<OffsetDateTime>, sqlx::Error> {
    sqlx::query_scalar(GONE).bind(relay.id.0).bind(noted).fetch_one(&mut **tx).await
}

/// Queues the site's open commands that the relay neither holds nor is about to
/// get, for those devices that it can reach; `None` for all, at the begin of a session
/// that is not noted yet. Expired ones are not
/// sent: what became of those is for the devices to say. Returns how many.
pub(in super::super) async fn send_again(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    held: &HashSet<Uuid>,
    reachable: Option<&HashSet<DeviceId>>,
) -> Result<usize, ApplyError> {
    let gone = gone(tx, relay, reachable.is_some()).await?;
    let lost: Vec<Lost> = sqlx::query_as(concat!(
        "SELECT c.id, c.kind, c.signed, c.expires_at, array_agg(t.device_id ORDER BY t.device_id) AS devices, \
             coalesce(array_agg(t.device_id) FILTER (WHERE c.kind <> 'cancel' AND ",
        may_have!(),
        "), '{}') AS handed, \
             coalesce(array_agg(t.device_id) FILTER (WHERE t.status = 'running'), '{}') AS started \
         FROM task_targets t JOIN commands c ON c.task_id = t.task_id AND c.site_id = t.site_id \
             AND (c.id = t.command_id OR c.kind = 'cancel') \
         WHERE t.site_id = $1 AND t.status IN ('pending', 'sent', 'running') AND c.expires_at > now() \
             AND c.id <> ALL($4) AND NOT EXISTS ( \
                 SELECT FROM downlink d WHERE d.relay_id = $2 AND d.kind = 'command' AND d.key = c.id) \
         GROUP BY c.id ORDER BY c.created_at, c.id LIMIT $5",
    ))
    .bind(relay.site.0)
    .bind(relay.id.0)
    .bind(gone)
    .bind(held.iter().copied().collect::<Vec<_>>())
    .bind(MOST)
    .fetch_all(&mut **tx)
    .await?;
    let mut sent = 0;
    for lost in lost {
        let signed: Signed<Command> = codec::decode_within(&lost.signed, usize::MAX)
            .map_err(|e| ApplyError::Malformed(e.to_string()))?;
        // A stop names devices of its own; a script's are those that are open.
        let named = match signed.peek().map(|command| command.targets) {
            Ok(Targets::Devices(named)) if lost.kind == "cancel" => Some(named),
            _ => None,
        };
        let devices: Vec<DeviceId> = lost
            .devices
            .iter()
            .map(|id| DeviceId(*id))
            .filter(|device| reachable.is_none_or(|all| all.contains(device)))
            .filter(|device| named.as_ref().is_none_or(|named| named.contains(device)))
            .collect();
        if devices.is_empty() {
            continue;
        }
        let (handed, started): (HashSet<Uuid>, HashSet<Uuid>) =
            (lost.handed.into_iter().collect(), lost.started.into_iter().collect());
        let handed: Vec<DeviceId> =
            devices.iter().filter(|device| handed.contains(&device.0)).copied().collect();
        let unheard =
            handed.iter().filter(|device| !started.contains(&device.0)).copied().collect();
        let expires_ms = lost.expires_at.unix_timestamp_nanos() / 1_000_000;
        let record = DownRecord::Command(DeliverCommand {
            command: CommandId(lost.id),
            devices,
            handed,
            unheard,
            expires_ms: u64::try_from(expires_ms).unwrap_or_default(),
            signed,
        });
        match downlink::append(tx, relay.id, &record).await {
            Ok(_) => sent += 1,
            // The rest ends by its expiry, or is sent after the next comparison.
            Err(AppendError::Full(_) | AppendError::NoRelay) => break,
            // It ends by its expiry. What else the comparison brings does not.
            Err(error @ AppendError::TooLarge(_)) => {
                tracing::warn!(command = %lost.id, %error, "A command cannot be sent again.");
            }
            Err(error) => downlink::settle(Err(error))?,
        }
    }
    Ok(sent)
}
