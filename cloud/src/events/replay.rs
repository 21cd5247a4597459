//! Events that a socket missed, from the table.
//!
//! Such a read stands in its sender's turn like any large one and lasts so long at most.
//! It touches what its sender's partner was told since, and of others what they were told
//! within the moments around the event that it resumes from. Where there is no turn, or
//! there is too much, refetching is cheaper. What was read is kept for a reader that takes
//! it within half a minute, and for none that trickles.

use super::Event;
use crate::{
    context::Ctx,
    db::{DbError, Place},
    feature,
};
use serde_json::Value;
use std::{sync::Arc, time::Duration, vec};
use time::OffsetDateTime;
use tokio::time::{Instant, timeout};
use uuid::Uuid;

/// Most events replayed; beyond that refetching is cheaper.
const MOST: i64 = 5_000;
/// What they take in memory, about.
const BYTES: usize = 4 * 1024 * 1024;
/// Longest wait for a turn: after a restart everybody comes at once.
const PATIENCE: Duration = Duration::from_secs(1);
/// Longest that events which were missed are kept for who is being told of them.
const KEPT: Duration = Duration::from_secs(30);
/// An event is dated and numbered by the last statement of its transaction, which ends
/// within this time: so one of an earlier number is committed at most so long after one of
/// a later number, and dated so much apart.
const OVERLAP: time::Duration = time::Duration::seconds(35);

/// What somebody missed.
pub(super) enum Missed {
    /// All of it.
    Events(Kept),
    /// More than is told, or nobody knows; and why.
    Refetch(&'static str),
}

/// Events that are told one after the other, for as long as they are kept.
pub(super) struct Kept {
    events: vec::IntoIter<Arc<Event>>,
    until: Instant,
    given_up: bool,
}

impl Kept {
    pub(super) fn new(events: Vec<Arc<Event>>) -> Self {
        let until = Instant::now() + KEPT;
        Self { events: events.into_iter(), until, given_up: false }
    }

    /// The next one; none when all are told or their time is over.
    pub(super) fn next(&mut self) -> Option<Arc<Event>> {
        if !self.events.as_slice().is_empty() && Instant::now() >= self.until {
            (self.events, self.given_up) = (Vec::new().into_iter(), true);
        }
        self.events.next()
    }

    /// Whether some were not told.
    pub(super) fn given_up(&self) -> bool {
        self.given_up
    }
}

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

/// What the actor missed since an event.
pub(super) async fn read(ctx: &Ctx, after: i64) -> Result<Missed, DbError> {
    let turn = ctx.state.turns.wait(ctx.actor.sender(), BYTES);
    let Ok(Ok(_turn)) = timeout(PATIENCE, turn).await else {
        return Ok(Missed::Refetch("no_turn"));
    };
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
    let Some((from, _)) = from else { return Ok(Missed::Refetch("forgotten")) };
    let partner: Option<Uuid> = scope.place().partner;
    let missed = sqlx::query_as(if partner.is_some() { OF_PARTNER } else { OF_ALL })
        .bind(after)
        .bind(from - OVERLAP)
        .bind(from + OVERLAP)
        .bind(MOST + 1);
    let missed = if partner.is_some() { missed.bind(partner) } else { missed };
    let rows: Vec<Row> = missed.fetch_all(&mut *tx).await?;
    if i64::try_from(rows.len()).unwrap_or(i64::MAX) > MOST {
        return Ok(Missed::Refetch("too_much"));
    }
    // A kind that this build does not know is nobody's to read.
    let event = |row: Row| {
        let Row { id, place, kind, payload, at } = row;
        let needs = feature::kind(ctx.state.features, &kind)?.needs();
        let event = Event::new(Some(id), &kind, place, at, &payload);
        Some(Arc::new(Event { needs, ..event }))
    };
    Ok(Missed::Events(Kept::new(rows.into_iter().filter_map(event).collect())))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_was_missed_is_not_kept_for_who_trickles() {
        let at = OffsetDateTime::UNIX_EPOCH;
        let event = || Arc::new(Event::new(Some(1), "x", Place::default(), at, &Value::Null));
        let events: Vec<_> = std::iter::repeat_with(event).take(3).collect();
        let last = Arc::downgrade(&events[2]);
        let mut kept = Kept::new(events);
        assert!(kept.next().is_some());
        tokio::time::advance(KEPT - Duration::from_secs(1)).await;
        assert!(kept.next().is_some() && !kept.given_up());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(kept.next().is_none() && kept.given_up());
        assert!(last.upgrade().is_none(), "its memory is free");
        let mut all = Kept::new(vec![event()]);
        assert!(all.next().is_some());
        tokio::time::advance(KEPT).await;
        assert!(all.next().is_none() && !all.given_up(), "all was told in time");
    }
}
