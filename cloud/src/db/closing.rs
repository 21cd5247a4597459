//! What a transaction writes at its end, in one statement: its audit rows, the events
//! that are kept for browsers, and the answer that repeats of the request get.
//!
//! A chain's head is the last thing that anybody locks, and where there are several, in
//! one order (see [`crate::audit`]); nothing here locks what others wait for after it.

use super::DbError;
use crate::{
    audit::NewAudit,
    events::{Event, NewEvent},
};
use serde_json::Value;
use sqlx::PgConnection;
use time::OffsetDateTime;
use uuid::Uuid;

/// What repeats of a request are answered.
#[derive(Debug)]
pub(crate) struct Answer {
    /// Who asked.
    pub(crate) actor: Uuid,
    /// Under which key.
    pub(crate) key: String,
    /// The answer's status.
    pub(crate) status: i16,
    /// The answer.
    pub(crate) body: Value,
}

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Closing {
    pub(super) events: Vec<NewEvent>,
    pub(super) audits: Vec<NewAudit>,
    pub(super) answer: Option<Answer>,
}

/// An event names the audit row that it tells of: it says when that was written, which
/// only the database knows. It is dated by its writing as well: a transaction may have begun
/// long before, and who resumes looks for events that were written within moments.
const WRITE: &str = "WITH logged AS ( \
     INSERT INTO audit_log (id, partner_id, organization_id, site_id, device_id, actor, actor_id, \
         action, target, detail, request_id, at, chain_id, seq, prev_hash, hash) \
     SELECT id, p, o, s, d, actor, actor_id, action, target, detail, request_id, \
         coalesce(at, clock_timestamp()), id, 0, '', '' \
     FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::uuid[], \
         $8::text[], $9::text[], $10::text[], $11::text[], $12::timestamptz[]) \
     WITH ORDINALITY AS r (id, p, o, s, d, actor, actor_id, action, target, detail, request_id, at, n) \
     ORDER BY n RETURNING id, at), \
 told AS ( \
     INSERT INTO events (partner_id, organization_id, site_id, kind, payload, at) \
     SELECT e.p, e.o, e.s, e.k, CASE WHEN l.at IS NULL THEN e.d ELSE e.d || jsonb_build_object('at', \
         to_char(l.at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) END, clock_timestamp() \
     FROM unnest($13::uuid[], $14::uuid[], $15::uuid[], $16::text[], $17::jsonb[], $18::uuid[]) \
     WITH ORDINALITY AS e (p, o, s, k, d, about, n) LEFT JOIN logged l ON l.id = e.about \
     ORDER BY n RETURNING id), \
 answered AS ( \
     UPDATE idempotency_keys SET status = $21, body = $22 WHERE actor_id = $19 AND key = $20) \
 SELECT ARRAY(SELECT id FROM told ORDER BY id), \
     ARRAY(SELECT l.at FROM unnest($1::uuid[]) WITH ORDINALITY AS r (id, n) JOIN logged l ON l.id = r.id \
         ORDER BY n)";

impl Closing {
    /// Writes it, and returns what browsers are to be told, numbered where it is kept.
    pub(super) async fn write(self, tx: &mut PgConnection) -> Result<Vec<Event>, DbError> {
        let Self { mut events, mut audits, answer } = self;
        audits.sort_by_key(NewAudit::chain);
        let own = events.len();
        events.extend(audits.iter().map(|row| row.event(OffsetDateTime::UNIX_EPOCH)));
        let mut ids = Vec::new();
        if answer.is_some() || events.iter().any(|event| event.keep) {
            let kept = || events.iter().enumerate().filter(|(_, event)| event.keep);
            let place = |pick: fn(&NewEvent) -> Option<Uuid>| {
                kept().map(|(_, event)| pick(event)).collect::<Vec<_>>()
            };
            let about = |n: usize| n.checked_sub(own).and_then(|n| audits.get(n)).map(|row| row.id);
            let (told, at): (Vec<i64>, Vec<OffsetDateTime>) = {
                let query = NewAudit::bind(&audits, sqlx::query_as(WRITE));
                query
                    .bind(place(|e| e.place.partner))
                    .bind(place(|e| e.place.organization))
                    .bind(place(|e| e.place.site))
                    .bind(kept().map(|(_, e)| e.kind.as_str()).collect::<Vec<_>>())
                    .bind(kept().map(|(_, e)| e.data.clone()).collect::<Vec<_>>())
                    .bind(kept().map(|(n, _)| about(n)).collect::<Vec<_>>())
                    .bind(answer.as_ref().map(|answer| answer.actor))
                    .bind(answer.as_ref().map(|answer| answer.key.as_str()))
                    .bind(answer.as_ref().map(|answer| answer.status))
                    .bind(answer.as_ref().map(|answer| &answer.body))
                    .fetch_one(&mut *tx)
                    .await?
            };
            ids = told;
            events.truncate(own);
            for (row, at) in audits.iter().zip(at) {
                events.push(row.event(at));
                events.extend(row.timeline(at));
            }
        }
        let (mut ids, at) = (ids.into_iter(), OffsetDateTime::now_utc());
        let numbered = events.into_iter().map(|event| {
            let id = if event.keep { ids.next() } else { None };
            event.numbered(id, at)
        });
        Ok(numbered.collect())
    }
}
