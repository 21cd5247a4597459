//! How commands fare, from relays into the tables.

use super::{
    TARGET,
    live::LiveOutput,
    model::TargetEvent,
    progress::{self, Step},
    rules::{self, MAX_OUTPUT},
    ticker::{Marks, TaskTicker},
};
use crate::{
    db::{Db, TenantTx},
    events::{NewEvent, Outputs, Watches},
    link::{ApplyError, RelayIdentity, from_ms, now_ms},
    reports::line,
};
use sqlx::{Row, postgres::PgRow};
use std::collections::BTreeSet;
use time::OffsetDateTime;
use unifyit_protocol::{
    ids::{CommandId, DeviceId, SiteId, TaskId},
    link::{DeviceOutput, Progress},
    outcome::{OutputChunk, Stream},
};

/// A device's time within what is possible: not before the command was made, nor
/// later than now. Its clock may be wrong.
fn placed(command: CommandId, ms: u64, now_ms: u64) -> OffsetDateTime {
    let made = command.0.get_timestamp().map_or(0, |at| {
        let (seconds, nanos) = at.to_unix();
        seconds.saturating_mul(1000) + u64::from(nanos) / 1_000_000
    });
    // Ids only rise: after our clock was set back they show the time before for as long
    // as that is ahead, and say nothing of when they were made.
    let made = if made > now_ms { 0 } else { made };
    from_ms(ms.min(now_ms).max(made))
}

/// Longest piece of output accepted, in bytes.
const MAX_PIECE: usize = 256 * 1024;

/// The ingest of tasks.
pub(super) struct TasksIngest {
    live: LiveOutput,
    outputs: Outputs,
    marks: Marks,
}

impl std::fmt::Debug for TasksIngest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TasksIngest").finish_non_exhaustive()
    }
}

impl TasksIngest {
    /// The ingest, and the ticker that must run beside it.
    #[must_use]
    pub(super) fn new(db: &Db, watches: &Watches) -> (Self, TaskTicker) {
        let (marks, ticker) = TaskTicker::new(db.clone());
        let outputs = watches.outputs().clone();
        (Self { live: LiveOutput::new(db.clone(), watches.clone()), outputs, marks }, ticker)
    }

    /// The database is another than it was, as far as a site goes.
    pub(super) fn forget_site(&self, site: SiteId) {
        self.outputs.forget(site);
    }

    /// Moves targets forward, never back.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(super) async fn progress(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        list: Vec<Progress>,
    ) -> Result<(), ApplyError> {
        let steps = progress::fold(list);
        let columns = |pick: fn(&Step) -> Option<String>| {
            steps.values().map(pick).collect::<Vec<Option<String>>>()
        };
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        let now = now_ms();
        let finished: Vec<_> = steps
            .iter()
            .map(|((id, _), s)| s.last.status.is_final().then(|| placed(*id, s.last.at_ms, now)))
            .collect();
        let started: Vec<_> =
            steps.iter().map(|((id, _), s)| s.started_ms.map(|ms| placed(*id, ms, now))).collect();
        // A target that was closed for want of an answer gives way to the device's own
        // word of how it ended, and to nothing less: its task may be closed. One that was
        // called expired may have run there all the same: the relay was killed just after it
        // had handed the command on. So an expiry ends nothing that runs, and gives way to
        // what runs, whose task is opened again: it must be possible to stop it. After the
        // longest that a script may run, and two days in which its relay may be away, nothing
        // runs any more, and its task stays closed.
        let moved = sqlx::query(
            "UPDATE task_targets t SET status = s.status, updated_at = now(), \
                 exit_code = s.exit_code, reason = s.reason, \
                 output_len = greatest(t.output_len, s.output_len), output_cut = s.output_cut, \
                 started_at = coalesce(t.started_at, s.started_at), finished_at = s.finished_at \
             FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int4[], $5::int4[], $6::text[], \
                 $7::int8[], $8::int8[], $9::timestamptz[], $10::timestamptz[]) \
                 AS s (command, device, status, rank, exit_code, reason, output_len, output_cut, \
                     started_at, finished_at) \
             WHERE t.command_id = s.command AND t.device_id = s.device AND s.rank > CASE \
                 WHEN t.status = 'pending' THEN 0 WHEN t.status = 'sent' THEN 1 \
                 WHEN t.status = 'running' AND s.status <> 'expired' THEN 2 \
                 WHEN t.status = 'expired' AND s.status = 'running' \
                     AND t.finished_at > now() - interval '3 days' THEN 1 \
                 WHEN (t.status = 'expired' OR t.reason = ANY($11)) \
                     AND s.status IN ('succeeded', 'failed', 'timed_out', 'cancelled', 'indeterminate') THEN 2 \
                 ELSE 3 END \
             RETURNING t.task_id, t.device_id, t.command_id, t.status, t.exit_code, t.reason, t.output_len",
        )
        .bind(steps.keys().map(|(command, _)| command.0).collect::<Vec<_>>())
        .bind(steps.keys().map(|(_, device)| device.0).collect::<Vec<_>>())
        .bind(steps.values().map(|s| rules::word(s.last.status)).collect::<Vec<_>>())
        .bind(steps.values().map(|s| rules::rank(s.last.status)).collect::<Vec<_>>())
        .bind(steps.values().map(|s| s.last.exit_code).collect::<Vec<_>>())
        .bind(columns(|s| s.last.reason.as_deref().map(|why| line(why, 1024))))
        .bind(steps.values().map(|s| number(s.last.output_len)).collect::<Vec<_>>())
        .bind(steps.values().map(|s| number(s.last.output_cut)).collect::<Vec<_>>())
        .bind(started)
        .bind(finished)
        .bind(super::store::ASSUMED.as_slice())
        .fetch_all(&mut **tx)
        .await?;
        let mut tasks = BTreeSet::new();
        for row in &moved {
            let task = TaskId(row.try_get("task_id")?);
            tasks.insert(task);
            let command = CommandId(row.try_get("command_id")?);
            self.outputs.learn(relay.site, command, DeviceId(row.try_get("device_id")?), task);
            emit(tx, relay, row)?;
        }
        tasks.into_iter().for_each(|task| self.marks.mark(task));
        Ok(())
    }

    /// Keeps output. A piece that is there already is left alone.
    ///
    /// # Errors
    /// [`ApplyError`].
    pub(super) async fn output(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        list: Vec<DeviceOutput>,
    ) -> Result<(), ApplyError> {
        let mut pieces: Vec<(DeviceId, OutputChunk)> = list
            .into_iter()
            .flat_map(|o| o.chunks.into_iter().map(move |chunk| (o.device, chunk)))
            .collect();
        let all = pieces.len();
        pieces.retain(|(_, c)| {
            let end = c.offset.saturating_add(c.data.len() as u64);
            !c.data.is_empty() && c.data.len() <= MAX_PIECE && end <= u64::from(MAX_OUTPUT) + 4096
        });
        if pieces.len() < all {
            tracing::warn!(relay = %relay.id, "Output beyond the bounds was left out.");
        }
        let offset = |c: &OutputChunk| i64::try_from(c.offset).unwrap_or(i64::MAX);
        // Pieces and what was kept of them are added up together: joined, each device would
        // look through what was kept of all.
        let grown = sqlx::query(
            "WITH pieces AS (SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int8[], $4::int2[], $5::bytea[]) \
                 AS p (command, device, at, stream, data)), \
             kept AS (INSERT INTO task_output (task_id, device_id, byte_offset, partner_id, organization_id, \
                     site_id, stream, data) \
                 SELECT t.task_id, t.device_id, p.at, t.partner_id, t.organization_id, t.site_id, p.stream, p.data \
                 FROM pieces p JOIN task_targets t ON t.command_id = p.command AND t.device_id = p.device \
                     AND t.output_stored <= $6 \
                 ON CONFLICT DO NOTHING RETURNING task_id, device_id, octet_length(data) AS bytes) \
             UPDATE task_targets t SET output_len = greatest(t.output_len, l.length), \
                 output_stored = t.output_stored + l.bytes \
             FROM (SELECT u.task_id, u.device_id, max(u.length) AS length, sum(u.bytes) AS bytes FROM ( \
                     SELECT g.task_id, g.device_id, p.at + length(p.data) AS length, 0 AS bytes FROM pieces p \
                         JOIN task_targets g ON g.command_id = p.command AND g.device_id = p.device \
                     UNION ALL SELECT k.task_id, k.device_id, NULL, k.bytes FROM kept k) u \
                 GROUP BY 1, 2) l \
             WHERE t.task_id = l.task_id AND t.device_id = l.device_id AND (t.output_len < l.length OR l.bytes > 0) \
             RETURNING t.task_id, t.device_id, t.status, t.exit_code, t.reason, t.output_len",
        )
        .bind(pieces.iter().map(|(_, c)| c.command.0).collect::<Vec<_>>())
        .bind(pieces.iter().map(|(device, _)| device.0).collect::<Vec<_>>())
        .bind(pieces.iter().map(|(_, c)| offset(c)).collect::<Vec<_>>())
        .bind(pieces.iter().map(|(_, c)| stream(c.stream)).collect::<Vec<_>>())
        .bind(pieces.into_iter().map(|(_, c)| c.data).collect::<Vec<_>>())
        // Honest pieces follow each other; a device may tell each byte twice.
        .bind(2 * i64::from(MAX_OUTPUT))
        .fetch_all(&mut **tx)
        .await?;
        for row in &grown {
            emit(tx, relay, row)?;
        }
        Ok(())
    }

    /// Passes live output on to who watches.
    pub(super) fn pass(&self, relay: &RelayIdentity, device: DeviceId, chunk: OutputChunk) {
        self.live.pass(relay, device, chunk);
    }
}

/// Tells browsers of a target as it stands.
fn emit(tx: &mut TenantTx, relay: &RelayIdentity, row: &PgRow) -> Result<(), ApplyError> {
    let data = TargetEvent {
        task_id: row.try_get("task_id")?,
        device_id: row.try_get("device_id")?,
        status: row.try_get("status")?,
        exit_code: row.try_get("exit_code")?,
        reason: row.try_get("reason")?,
        output_len: row.try_get("output_len")?,
    };
    tx.emit(NewEvent::passing(TARGET, relay.place(), data));
    Ok(())
}

fn stream(stream: Stream) -> i16 {
    match stream {
        Stream::Stdout => 1,
        Stream::Stderr => 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::{NoContext, Timestamp, Uuid};

    const NOW: u64 = 1_800_000_000_000;

    fn made(ms: u64) -> CommandId {
        CommandId(Uuid::new_v7(Timestamp::from_unix(NoContext, ms / 1000, 0)))
    }

    #[test]
    fn a_devices_time_lies_between_the_commands_and_now() {
        let at = |command, ms| placed(command, ms, NOW);
        assert_eq!(at(made(NOW - 60_000), NOW - 30_000), from_ms(NOW - 30_000));
        assert_eq!(at(made(NOW - 60_000), NOW - 90_000), from_ms(NOW - 60_000));
        assert_eq!(at(made(NOW - 60_000), NOW + 90_000), from_ms(NOW));
    }

    #[test]
    fn an_id_of_a_time_that_has_not_come_says_nothing() {
        // Ours was an hour ahead when an id was made, and ids only rise.
        let command = made(NOW + 3_600_000);
        assert_eq!(placed(command, NOW - 1_000, NOW), from_ms(NOW - 1_000));
    }
}
