//! Records into the database, each exactly once (G2).
//!
//! A batch of accepted frames is one transaction under the relay's site: the
//! lanes' cursors are locked and compared with what the session believes, the
//! records get their effect, the cursors move, all or nothing. The caller
//! acknowledges only what this returns (G1).
//!
//! A record that cannot be read or that the database refuses for its content
//! (*poison*) must not stop its lane: the batch is then applied record by record,
//! and the culprit is skipped with a gap record that the console shows (G6).
//! Trouble of the database itself is never taken for poison.

use super::{
    LinkMetrics, RelayIdentity,
    gaps::{self, NewGap},
    records::Records,
};
use crate::db::{Db, DbError, TenantTx};
use sqlx::Row;
use std::sync::Arc;
use time::OffsetDateTime;
use unifyit_protocol::{
    envelope::Decoded,
    lane::{Ack, Apply, Lane},
    link::UpRecord,
};

/// Why records got no effect.
#[derive(Debug, thiserror::Error)]
pub enum ApplyError {
    /// The record can never be applied.
    #[error("the record is not acceptable: {0}")]
    Malformed(String),
    /// The database failed.
    #[error(transparent)]
    Db(#[from] DbError),
}

impl From<sqlx::Error> for ApplyError {
    fn from(error: sqlx::Error) -> Self {
        Self::Db(error.into())
    }
}

impl ApplyError {
    /// Whether the content is at fault, not the circumstances.
    fn is_poison(&self) -> bool {
        match self {
            Self::Malformed(_) | Self::Db(DbError::Constraint { .. }) => true,
            Self::Db(DbError::Query(sqlx::Error::Database(said))) => {
                // Data exceptions and program limits; a missing column, say, is
                // a fault of the installation, for which the relay's data waits.
                said.code().is_some_and(|c| c.starts_with("22") || c.starts_with("54"))
            }
            Self::Db(DbError::Query(sqlx::Error::Encode(_))) => true,
            Self::Db(_) => false,
        }
    }
}

/// Why a batch was not applied. The session ends or begins anew.
#[derive(Debug, thiserror::Error)]
pub(super) enum IngestError {
    #[error("another session has moved the relay's lanes")]
    Moved,
    #[error("the relay was revoked")]
    Revoked,
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

impl From<DbError> for IngestError {
    fn from(error: DbError) -> Self {
        Self::Apply(error.into())
    }
}

impl From<sqlx::Error> for IngestError {
    fn from(error: sqlx::Error) -> Self {
        Self::Apply(error.into())
    }
}

/// A record with its position.
struct Item {
    at: Ack,
    body: Vec<u8>,
}

/// Applies one relay's records.
#[derive(Clone)]
pub(super) struct Ingest {
    pub(super) db: Db,
    pub(super) records: Arc<dyn Records>,
    pub(super) metrics: LinkMetrics,
    pub(super) relay: RelayIdentity,
}

impl Ingest {
    /// Makes the relay's cursors where they are missing and reads them, each with
    /// when it last moved, in the order of [`Lane::ALL`].
    pub(super) async fn cursors(&self) -> Result<(Vec<Ack>, Vec<u64>), DbError> {
        let mut tx = self.db.tenant_by_keys(&self.relay.scope()).await?;
        sqlx::query(
            "INSERT INTO lane_cursors (relay_id, lane, partner_id, organization_id, site_id, epoch, seq) \
             SELECT $1, l, $2, $3, $4, 0, 0 FROM unnest($5::text[]) AS l ON CONFLICT DO NOTHING",
        )
        .bind(self.relay.id.0)
        .bind(self.relay.partner.0)
        .bind(self.relay.organization.0)
        .bind(self.relay.site.0)
        .bind(Lane::ALL.map(name).as_slice())
        .execute(&mut *tx)
        .await?;
        let rows = sqlx::query(
            "SELECT lane, epoch, seq, updated_at FROM lane_cursors WHERE relay_id = $1",
        )
        .bind(self.relay.id.0)
        .fetch_all(&mut *tx)
        .await?;
        tx.commit().await?;
        let (mut cursors, mut moved) = (Vec::with_capacity(4), vec![0; Lane::ALL.len()]);
        for row in &rows {
            let Some(ack) = cursor(row)?.filter(|c| (c.epoch, c.through) != (0, 0)) else {
                continue;
            };
            let at: time::OffsetDateTime = row.try_get("updated_at")?;
            let ms = at.unix_timestamp_nanos() / 1_000_000;
            moved[ack.lane.index()] = u64::try_from(ms).unwrap_or_default();
            cursors.push(ack);
        }
        Ok((cursors, moved))
    }

    /// Applies frames. `from` is where each lane stood before them.
    pub(super) async fn apply(
        &self,
        from: &[Ack],
        frames: Vec<Apply>,
    ) -> Result<Vec<Ack>, IngestError> {
        let timer = self.metrics.ingest_seconds.start_timer();
        let mut becomes: Vec<Ack> = Vec::with_capacity(4);
        let mut items = Vec::new();
        for frame in frames {
            let at = frame.becomes;
            replace(&mut becomes, at);
            items.extend(
                frame
                    .records
                    .into_iter()
                    .map(|(seq, body)| Item { at: Ack { through: seq, ..at }, body }),
            );
        }
        let done = match items
            .iter()
            .map(|item| self.read(&item.body))
            .collect::<Result<Vec<_>, _>>()
        {
            Ok(records) => {
                let unknown = records.iter().filter(|r| r.is_none()).count();
                let known = records.into_iter().flatten().collect();
                match self.at_once(from, &becomes, known).await {
                    Err(IngestError::Apply(error)) if error.is_poison() => {
                        tracing::warn!(relay = %self.relay.id, %error, "A batch holds a bad record.");
                        self.one_by_one(from, &becomes, &items).await
                    }
                    other => {
                        self.metrics.unknown.inc_by(unknown as u64);
                        other
                    }
                }
            }
            Err(_) => self.one_by_one(from, &becomes, &items).await,
        };
        timer.observe_duration();
        if let Err(error) = done {
            self.metrics.ingest_failures.inc();
            return Err(error);
        }
        for item in &items {
            self.metrics.records.with_label_values(&[name(item.at.lane)]).inc();
        }
        Ok(becomes)
    }

    async fn at_once(
        &self,
        from: &[Ack],
        becomes: &[Ack],
        records: Vec<UpRecord>,
    ) -> Result<(), IngestError> {
        let mut tx = self.db.tenant_by_keys(&self.relay.scope()).await?;
        self.lock(&mut tx, from, becomes).await?;
        if !records.is_empty() {
            self.records.apply(&mut tx, &self.relay, records).await?;
        }
        self.advance(&mut tx, becomes).await?;
        Ok(tx.commit().await?)
    }

    /// Slower, and stopped by nothing: a transaction a record.
    async fn one_by_one(
        &self,
        from: &[Ack],
        becomes: &[Ack],
        items: &[Item],
    ) -> Result<(), IngestError> {
        let mut from = from.to_vec();
        for Item { at, body } in items {
            let at = *at;
            let why = match self.read(body) {
                Err(why) => Some(why),
                Ok(None) => {
                    self.metrics.unknown.inc();
                    None
                }
                Ok(Some(record)) => match self.at_once(&from, &[at], vec![record]).await {
                    Ok(()) => {
                        replace(&mut from, at);
                        None
                    }
                    Err(IngestError::Apply(error)) if error.is_poison() => Some(error.to_string()),
                    Err(other) => return Err(other),
                },
            };
            if let Some(why) = why {
                self.quarantine(&from, at, &why).await?;
                replace(&mut from, at);
            }
        }
        // Unknown kinds and skipped numbers at the end move the cursors too.
        let rest: Vec<Ack> = becomes.iter().filter(|ack| !from.contains(ack)).copied().collect();
        if !rest.is_empty() {
            self.at_once(&from, &rest, Vec::new()).await?;
        }
        Ok(())
    }

    /// A record, or nothing where it is of a later version.
    fn read(&self, body: &[u8]) -> Result<Option<UpRecord>, String> {
        match UpRecord::decode(body) {
            Ok(Decoded::Known(record)) => Ok(Some(record).filter(|r| self.records.takes(r))),
            Ok(Decoded::Unknown(_)) => Ok(None),
            Err(error) => Err(error.to_string()),
        }
    }

    async fn quarantine(&self, from: &[Ack], at: Ack, why: &str) -> Result<(), IngestError> {
        tracing::warn!(
            relay = %self.relay.id, lane = name(at.lane), seq = at.through, why,
            "Skipped a record that cannot be applied."
        );
        self.metrics.quarantined.with_label_values(&[name(at.lane)]).inc();
        let mut tx = self.db.tenant_by_keys(&self.relay.scope()).await?;
        self.lock(&mut tx, from, &[at]).await?;
        let to = OffsetDateTime::now_utc();
        let from = gaps::known_until(&mut tx, &self.relay, at.lane).await?.unwrap_or(to);
        let reason = "The relay sent a record that cannot be applied; it was skipped.";
        let gap = NewGap { device: None, lane: at.lane, records: 1, from, to, reason };
        gaps::note(&mut tx, &self.relay, &gap).await?;
        self.advance(&mut tx, &[at]).await?;
        Ok(tx.commit().await?)
    }

    /// Locks the cursors and checks that they stand where the session believes.
    async fn lock(&self, tx: &mut TenantTx, from: &[Ack], to: &[Ack]) -> Result<(), IngestError> {
        let lanes: Vec<&str> = to.iter().map(|ack| name(ack.lane)).collect();
        let rows = sqlx::query(
            "SELECT c.lane, c.epoch, c.seq, r.revoked_at IS NOT NULL AS revoked \
             FROM lane_cursors c JOIN relays r ON r.id = c.relay_id \
             WHERE c.relay_id = $1 AND c.lane = ANY($2) ORDER BY c.lane FOR UPDATE OF c",
        )
        .bind(self.relay.id.0)
        .bind(&lanes)
        .fetch_all(&mut **tx)
        .await?;
        if rows.len() != to.len() {
            return Err(IngestError::Moved);
        }
        for row in &rows {
            if row.try_get("revoked")? {
                return Err(IngestError::Revoked);
            }
            let Some(stands) = cursor(row)? else { return Err(IngestError::Moved) };
            let believed = from
                .iter()
                .find(|ack| ack.lane == stands.lane)
                .map_or((0, 0), |ack| (ack.epoch, ack.through));
            if (stands.epoch, stands.through) != believed {
                return Err(IngestError::Moved);
            }
        }
        Ok(())
    }

    async fn advance(&self, tx: &mut TenantTx, to: &[Ack]) -> Result<(), IngestError> {
        let number = |n: u64| i64::try_from(n).unwrap_or(i64::MAX);
        sqlx::query(
            "UPDATE lane_cursors c SET epoch = t.epoch, seq = t.seq, updated_at = now(), \
                 before_at = CASE WHEN c.epoch = t.epoch THEN c.before_at ELSE c.updated_at END, \
                 epoch_at = CASE WHEN c.epoch = t.epoch THEN c.epoch_at ELSE now() END \
             FROM unnest($2::text[], $3::int8[], $4::int8[]) AS t (lane, epoch, seq) \
             WHERE c.relay_id = $1 AND c.lane = t.lane",
        )
        .bind(self.relay.id.0)
        .bind(to.iter().map(|ack| name(ack.lane)).collect::<Vec<_>>())
        .bind(to.iter().map(|ack| number(ack.epoch)).collect::<Vec<_>>())
        .bind(to.iter().map(|ack| number(ack.through)).collect::<Vec<_>>())
        .execute(&mut **tx)
        .await?;
        Ok(())
    }
}

fn replace(acks: &mut Vec<Ack>, with: Ack) {
    acks.retain(|ack| ack.lane != with.lane);
    acks.push(with);
}

/// A lane's name in the schema.
pub(crate) fn name(lane: Lane) -> &'static str {
    match lane {
        Lane::Urgent => "urgent",
        Lane::State => "state",
        Lane::Output => "output",
        Lane::Metrics => "metrics",
    }
}

fn cursor(row: &sqlx::postgres::PgRow) -> Result<Option<Ack>, sqlx::Error> {
    let text: &str = row.try_get("lane")?;
    let Some(lane) = Lane::ALL.into_iter().find(|lane| name(*lane) == text) else {
        return Ok(None);
    };
    let number = |n: i64| n.unsigned_abs();
    Ok(Some(Ack {
        lane,
        epoch: number(row.try_get("epoch")?),
        through: number(row.try_get("seq")?),
    }))
}
