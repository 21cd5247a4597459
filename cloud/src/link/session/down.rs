//! The downlink of one session: the table as the lane machine's store.
//!
//! Rows are read ahead into a bounded buffer and stay there until the relay has
//! acknowledged them, so that a rewind needs no query. One statement batch
//! (*sync*) does all that is due: deletes what was acknowledged, reads on, notes
//! the contact, and sees whether the relay may stay. An entry that continues the
//! buffer and was just committed here needs no sync: it is handed over.

use super::super::{RelayIdentity, relay::now_ms};
use crate::db::{Db, DbError, DownRow, TenantTx};
use futures::future::BoxFuture;
use sqlx::Row;
use std::{collections::VecDeque, time::Duration};
use tokio::time::Instant;
use unifyit_protocol::lane::{
    Ack, Data, Lane, LaneError, LaneLimits, Resume, Sender, SenderPosition,
};

/// Rows read at a time.
const PAGE: i64 = 64;
/// Rows kept in memory, beyond which nothing is read ahead.
const MAX_BUFFER: usize = 512;
/// Deleting acknowledged rows may wait this long for other work to join.
const TRIM_AFTER: Duration = Duration::from_millis(250);
/// A contact is noted this often, and the downlink looked at even if no nudge came.
const TOUCH_EVERY: Duration = Duration::from_secs(30);

/// What a sync found.
pub(super) struct Synced {
    pub(super) revoked: bool,
    tail: u64,
    /// Number after which `rows` were read.
    after: u64,
    rows: Vec<(u64, Vec<u8>)>,
    trimmed: u64,
}

pub(super) struct Downlink {
    db: Db,
    relay: RelayIdentity,
    epoch: u64,
    sender: Sender,
    buffer: VecDeque<(u64, Vec<u8>)>,
    /// Number after which the lane machine wants rows that are not in the buffer.
    hungry: Option<u64>,
    wanted: bool,
    /// A sync is under way; what it finds was read at some moment of it.
    syncing: bool,
    /// Highest number known to be in the table.
    tail: u64,
    trim: Option<u64>,
    trim_at: Option<Instant>,
    touch_at: Instant,
}

impl Downlink {
    /// Reads where the relay's downlink stands, and whether the relay is revoked.
    pub(super) async fn load(db: Db, relay: RelayIdentity) -> Result<(Self, bool), super::Ended> {
        let mut tx = db.tenant(&relay.scope()).await?;
        let stand = stand(&mut tx, &relay).await?;
        tx.commit().await?;
        let sender = sender(stand.epoch, stand.acked, stand.tail)?;
        let down = Self {
            db,
            relay,
            epoch: stand.epoch,
            sender,
            buffer: VecDeque::new(),
            hungry: None,
            wanted: true,
            syncing: false,
            tail: stand.tail.max(stand.acked),
            trim: None,
            trim_at: None,
            touch_at: Instant::now() + TOUCH_EVERY,
        };
        Ok((down, stand.revoked))
    }

    pub(super) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Begins from where the relay stands. When it knows more than the database,
    /// the database is an older copy: what waits in it goes out in a new epoch.
    pub(super) async fn open(&mut self, resume: &Resume) -> Result<(), super::Ended> {
        if let Err(LaneError::PeerAhead { peer, .. }) = self.open_sender(resume) {
            let epoch = now_ms().max(peer.epoch + 1).max(self.epoch + 1);
            tracing::warn!(
                relay = %self.relay.id, epoch,
                "The relay has more of its downlink than the database; starting a new epoch."
            );
            let tail = renumber(&self.db, &self.relay, epoch).await?;
            self.epoch = epoch;
            self.tail = tail;
            self.sender = sender(epoch, 0, tail)?;
            // The relay has nothing of this epoch, whatever it has of others.
            self.open_sender(&Resume::default())?;
        }
        Ok(())
    }

    /// Begins again in the middle of a session.
    pub(super) fn reopen(&mut self, resume: &Resume) -> Result<(), LaneError> {
        self.open_sender(resume)
    }

    fn open_sender(&mut self, resume: &Resume) -> Result<(), LaneError> {
        // Positions of older epochs, which the database has forgotten, say
        // nothing about this one.
        let positions =
            resume.positions.iter().filter(|ack| ack.epoch >= self.epoch).copied().collect();
        let opened = self.sender.open(&Resume { positions })?;
        for lost in &opened.forgotten {
            tracing::warn!(
                relay = %self.relay.id, from = lost.from, through = lost.through,
                "The relay has lost records that it had acknowledged; its disk was replaced by an older one."
            );
        }
        for trim in opened.trims {
            self.note_trim(trim.through);
        }
        Ok(())
    }

    pub(super) fn acked(&mut self, ack: &Ack) -> Result<(), LaneError> {
        if ack.epoch < self.epoch {
            return Ok(());
        }
        if let Some(trim) = self.sender.acked(ack, now_ms())? {
            self.note_trim(trim.through);
        }
        Ok(())
    }

    fn note_trim(&mut self, through: u64) {
        while self.buffer.front().is_some_and(|(seq, _)| *seq <= through) {
            self.buffer.pop_front();
        }
        self.trim = self.trim.max(Some(through));
        self.trim_at.get_or_insert_with(|| Instant::now() + TRIM_AFTER);
    }

    /// Takes an entry that was just committed. Anything that does not simply
    /// continue what is known is left to a sync.
    pub(super) fn handed(&mut self, row: &DownRow) -> Result<(), LaneError> {
        let behind = self.buffer.back().map_or(self.tail, |(seq, _)| *seq);
        let next = row.epoch == self.epoch && row.seq == self.tail + 1 && behind == self.tail;
        if !next || self.syncing || self.hungry.is_some() || self.buffer.len() >= MAX_BUFFER {
            self.wanted |= row.epoch == self.epoch && row.seq > self.tail;
            return Ok(());
        }
        self.tail = row.seq;
        self.buffer.push_back((row.seq, row.body.to_vec()));
        self.sender.appended(Lane::Urgent, row.seq)
    }

    /// Something may be new in the table.
    pub(super) fn want(&mut self) {
        self.wanted = true;
    }

    /// When to look without being asked.
    pub(super) fn trim_at(&self) -> Option<Instant> {
        Some(self.trim_at.map_or(self.touch_at, |at| at.min(self.touch_at)))
    }

    /// The next frame, if there is one and the window has room.
    pub(super) fn next_data(&mut self, now_ms: u64) -> Result<Option<Data>, LaneError> {
        if self.hungry.is_some() {
            return Ok(None);
        }
        while let Some(fetch) = self.sender.next_fetch() {
            let start = self.buffer.partition_point(|(seq, _)| *seq <= fetch.after);
            let mut bytes = 0;
            let rows: Vec<_> = self
                .buffer
                .range(start..)
                .take(fetch.max_records)
                .take_while(|(_, body)| {
                    let fits = bytes == 0 || bytes + body.len() <= fetch.max_bytes;
                    bytes += body.len();
                    fits
                })
                .cloned()
                .collect();
            // The buffer must continue exactly where the machine is: a later
            // start would pass for dropped rows.
            if rows.first().is_none_or(|(seq, _)| *seq != fetch.after + 1) {
                self.sender.unfetched(fetch);
                self.hungry = Some(fetch.after);
                return Ok(None);
            }
            if let Some(data) = self.sender.fetched(fetch, rows, now_ms)? {
                return Ok(Some(data));
            }
        }
        Ok(None)
    }

    /// The next sync, when one is due.
    pub(super) fn next_sync(&mut self) -> Option<BoxFuture<'static, Result<Synced, DbError>>> {
        let now = Instant::now();
        let touch = self.touch_at <= now;
        let trim_due = self.trim_at.is_some_and(|at| at <= now);
        if !(self.wanted || touch || trim_due || self.hungry.is_some()) {
            return None;
        }
        self.wanted = false;
        self.syncing = true;
        self.trim_at = None;
        if touch {
            self.touch_at = now + TOUCH_EVERY;
        }
        let behind = self.buffer.back().map(|(seq, _)| *seq);
        let after = match self.hungry {
            Some(after) => Some(after),
            None if self.buffer.len() >= MAX_BUFFER => None,
            None => behind,
        };
        let (db, relay, trim) = (self.db.clone(), self.relay, self.trim.take());
        Some(Box::pin(sync(db, relay, trim, after, touch)))
    }

    pub(super) fn synced(&mut self, synced: Synced) -> Result<(), LaneError> {
        let Synced { tail, after, rows, .. } = synced;
        self.syncing = false;
        self.tail = tail;
        if let Some(hungry) = self.hungry.take()
            && hungry == after
        {
            self.buffer.clear();
            match rows.first() {
                None if tail > after => {
                    // Nobody deletes what is not acknowledged; if it happened by
                    // hand all the same, the lane goes on.
                    self.sender.dropped(Lane::Urgent, self.epoch, tail)?;
                    tracing::warn!(relay = %self.relay.id, "Rows of a downlink are gone.");
                }
                Some((first, _)) if *first > after + 1 => {
                    self.sender.dropped(Lane::Urgent, self.epoch, first - 1)?;
                }
                _ => {}
            }
        }
        let behind = self.buffer.back().map_or(after, |(seq, _)| *seq);
        let full = i64::try_from(rows.len()).is_ok_and(|n| n >= PAGE);
        self.buffer.extend(rows.into_iter().filter(|(seq, _)| *seq > behind));
        self.wanted |= full && self.buffer.len() < MAX_BUFFER;
        if synced.trimmed > 0 {
            while self.buffer.front().is_some_and(|(seq, _)| *seq <= synced.trimmed) {
                self.buffer.pop_front();
            }
        }
        self.sender.appended(Lane::Urgent, tail)
    }

    /// Looks again a little later.
    pub(super) fn sync_failed(&mut self) {
        self.syncing = false;
        self.trim_at = Some(Instant::now() + 4 * TRIM_AFTER);
        self.hungry = None;
    }
}

struct Stand {
    epoch: u64,
    acked: u64,
    tail: u64,
    revoked: bool,
}

fn sender(epoch: u64, acked: u64, tail: u64) -> Result<Sender, LaneError> {
    let position = SenderPosition { lane: Lane::Urgent, epoch, acked, tail: tail.max(acked) };
    Sender::new(LaneLimits::default(), [position])
}

async fn stand(tx: &mut TenantTx, relay: &RelayIdentity) -> Result<Stand, DbError> {
    let row = sqlx::query(
        "SELECT down_epoch, down_acked, down_seq, revoked_at IS NOT NULL AS revoked \
         FROM relays WHERE id = $1",
    )
    .bind(relay.id.0)
    .fetch_one(&mut **tx)
    .await?;
    let number = |n: i64| n.unsigned_abs();
    Ok(Stand {
        epoch: number(row.try_get("down_epoch")?),
        acked: number(row.try_get("down_acked")?),
        tail: number(row.try_get("down_seq")?),
        revoked: row.try_get("revoked")?,
    })
}

fn db_number(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

async fn sync(
    db: Db,
    relay: RelayIdentity,
    trim: Option<u64>,
    after: Option<u64>,
    touch: bool,
) -> Result<Synced, DbError> {
    let mut tx = db.tenant(&relay.scope()).await?;
    if let Some(through) = trim {
        sqlx::query("DELETE FROM downlink WHERE relay_id = $1 AND seq <= $2")
            .bind(relay.id.0)
            .bind(db_number(through))
            .execute(&mut *tx)
            .await?;
        sqlx::query("UPDATE relays SET down_acked = greatest(down_acked, $2) WHERE id = $1")
            .bind(relay.id.0)
            .bind(db_number(through))
            .execute(&mut *tx)
            .await?;
    }
    if touch {
        sqlx::query("UPDATE relays SET last_contact = now() WHERE id = $1")
            .bind(relay.id.0)
            .execute(&mut *tx)
            .await?;
    }
    let stand = stand(&mut tx, &relay).await?;
    let after = after.unwrap_or(stand.acked);
    let rows = sqlx::query(
        "SELECT seq, body FROM downlink WHERE relay_id = $1 AND seq > $2 ORDER BY seq LIMIT $3",
    )
    .bind(relay.id.0)
    .bind(db_number(after))
    .bind(PAGE)
    .fetch_all(&mut *tx)
    .await?
    .iter()
    .map(|row| Ok((row.try_get::<i64, _>("seq")?.unsigned_abs(), row.try_get("body")?)))
    .collect::<Result<Vec<_>, sqlx::Error>>()?;
    tx.commit().await?;
    Ok(Synced {
        revoked: stand.revoked,
        tail: stand.tail.max(rows.last().map_or(0, |(seq, _)| *seq)),
        after,
        rows,
        trimmed: trim.unwrap_or_default(),
    })
}

/// Moves what waits into a new epoch, numbered from 1. Returns the last number.
async fn renumber(db: &Db, relay: &RelayIdentity, epoch: u64) -> Result<u64, DbError> {
    let mut tx = db.tenant(&relay.scope()).await?;
    sqlx::query("SELECT id FROM relays WHERE id = $1 FOR UPDATE")
        .bind(relay.id.0)
        .fetch_one(&mut *tx)
        .await?;
    let moved = sqlx::query(
        "WITH old AS (DELETE FROM downlink WHERE relay_id = $1 RETURNING *), \
         numbered AS (SELECT *, row_number() OVER (ORDER BY seq) AS n FROM old) \
         SELECT n, body FROM numbered ORDER BY n",
    )
    .bind(relay.id.0)
    .fetch_all(&mut *tx)
    .await?;
    for row in &moved {
        sqlx::query(
            "INSERT INTO downlink (relay_id, seq, partner_id, organization_id, site_id, body) \
             VALUES ($1, $2, $3, $4, $5, $6)",
        )
        .bind(relay.id.0)
        .bind(row.try_get::<i64, _>("n")?)
        .bind(relay.partner.0)
        .bind(relay.organization.0)
        .bind(relay.site.0)
        .bind(row.try_get::<&[u8], _>("body")?)
        .execute(&mut *tx)
        .await?;
    }
    let tail = moved.len() as u64;
    sqlx::query("UPDATE relays SET down_epoch = $2, down_seq = $3, down_acked = 0 WHERE id = $1")
        .bind(relay.id.0)
        .bind(db_number(epoch))
        .bind(db_number(tail))
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(tail)
}
