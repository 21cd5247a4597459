//! Events that a socket missed, from the table.
//!
//! Such a read stands in its sender's turn like any large one and lasts so long at most.
//! It touches what its sender's partner was told since, and of others what they were told
//! within the moments around the event that it resumes from. Where there is no turn, or
//! there is too much, refetching is cheaper.

use super::{Event, Kind};
use crate::{
    context::Ctx,
    db::{DbError, Place},
};
use serde_json::Value;
use std::{sync::Arc, time::Duration};
use time::OffsetDateTime;
use tokio::time::timeout;
use uuid::Uuid;

/// Most events replayed; beyond that refetching is cheaper.
const MOST: i64 = 5_000;
/// What they take in memory, about.
const BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for a turn: after a restart everybody comes at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Transactions end within this time, so an event of an earlier number is
/// committed at most so long after one of a later number, and dated so much apart.
const OVERLAP: time::Duration = time::Duration::seconds(35);

#[derive(sqlx::FromRow)]
struct Row {
    id: i64,
    #[sqlx(flatten)]
    place: Place,
    kind: String,
    payload: Value,
    at: OffsetDateTime,
}

/// What came after an event, and before it within the overlap; one more than the most
/// of each says that it is too much.
macro_rules! missed {
    ($whose:literal) => {
        concat!(
            "SELECT id, partner_id, organization_id, site_id, kind, payload, at FROM ( \
                 (SELECT * FROM events WHERE ",
            $whose,
            "id > $1 ORDER BY id LIMIT $4) UNION ALL (SELECT * FROM events WHERE ",
            $whose,
            "id < $1 AND at > $2 AND at < $3 LIMIT $4)) missed ORDER BY id LIMIT $4"
        )
    };
}
const OF_ALL: &str = missed!("");
/// The row policy says the same; it is not what an index is chosen by.
const OF_PARTNER: &str = missed!("partner_id = $5 AND ");

/// What the actor missed since an event; nothing where that is to be refetched.
pub(super) async fn read(ctx: &Ctx, after: i64) -> Result<Option<Vec<Arc<Event>>>, DbError> {
    let turn = ctx.state.turns.wait(ctx.actor.sender(), BYTES);
    let Ok(Ok(_turn)) = timeout(PATIENCE, turn).await else { return Ok(None) };
    let scope = &ctx.actor.scope;
    let mut tx = ctx.state.db.tenant(scope).await?;
    // The id itself must still be there, or nobody knows what is missing. The statement
    // that follows has two seconds.
    let from: Option<(OffsetDateTime, String)> = sqlx::query_as(
        "SELECT at, set_config('statement_timeout', '2s', true) FROM events WHERE id = $1",
    )
    .bind(after)
    .fetch_optional(&mut *tx)
    .await?;
    let Some((from, _)) = from else { return Ok(None) };
    let partner: Option<Uuid> = scope.place().partner;
    let missed = sqlx::query_as(if partner.is_some() { OF_PARTNER } else { OF_ALL })
        .bind(after)
        .bind(from - OVERLAP)
        .bind(from + OVERLAP)
        .bind(MOST + 1);
    let missed = if partner.is_some() { missed.bind(partner) } else { missed };
    let rows: Vec<Row> = missed.fetch_all(&mut *tx).await?;
    if i64::try_from(rows.len()).unwrap_or(i64::MAX) > MOST {
        return Ok(None);
    }
    // A kind that this build does not know is nobody's to read.
    let event = |row: Row| {
        let Row { id, place, kind, payload, at } = row;
        let needs = Kind::parse(&kind)?.needs();
        let event = Event::new(Some(id), &kind, place, at, &payload);
        Some(Arc::new(Event { needs, ..event }))
    };
    Ok(Some(rows.into_iter().filter_map(event).collect()))
}
