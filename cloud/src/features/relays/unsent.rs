//! What goes with a relay that is put out: all that it had not passed on (G6).

use crate::{
    db::{DbError, Place, TenantTx},
    link::gaps::{self, NewGap, last_minute},
};
use time::OffsetDateTime;
use unifyit_protocol::{ids::RelayId, lane::Lane};

const REASON: &str =
    "The site's relay was revoked; what it had not passed on to the cloud is lost.";

/// Since when its devices' measurements are not stored, and since when it is away.
#[derive(sqlx::FromRow)]
struct Since {
    measured: Option<OffsetDateTime>,
    away: Option<OffsetDateTime>,
}

/// Notes it as gaps of the site, until now: the measurements that travel later than their
/// newest values, an hour of them unless set and a day at most, and every lane of a relay
/// that is away. How many records that are, nobody can say any more.
///
/// What a device had told a day before the relay went had gone to the cloud; so nothing
/// older is missing, and nothing of who was silent since: what is stored is looked at minute
/// by minute alone, a few rows of each device, since nobody may be kept from revoking. Of a
/// new one nothing may be stored yet.
///
/// # Errors
/// [`DbError`].
pub(super) async fn note(tx: &mut TenantTx, place: &Place, relay: RelayId) -> Result<(), DbError> {
    let since: Option<Since> = sqlx::query_as(concat!(
        "SELECT (SELECT min(s.stored) FROM devices d JOIN device_loads l ON l.id = d.id, \
             LATERAL (SELECT greatest(g.day_before, coalesce(to_timestamp(60 * (1 + ",
        last_minute!("d.id"),
        ")), d.enrolled_at)) AS stored OFFSET 0) s \
             WHERE d.relay_id = r.id AND NOT l.revoked AND l.metrics_at > g.day_before \
                 AND l.metrics_at > s.stored + interval '1 minute') AS measured, \
             g.away \
         FROM relays r, LATERAL (SELECT CASE WHEN NOT r.online THEN r.state_since END AS away, \
             CASE WHEN r.online THEN now() ELSE r.state_since END - interval '25 hours' AS day_before) g \
         WHERE r.id = $1",
    ))
    .bind(relay.0)
    .fetch_optional(&mut **tx)
    .await?;
    let Some(Since { measured, away }) = since else { return Ok(()) };
    let to = OffsetDateTime::now_utc();
    for lane in Lane::ALL {
        let from = if lane == Lane::Metrics { measured.or(away) } else { away };
        let Some(from) = from else { continue };
        let gap = NewGap { device: None, lane, records: 0, from, to, reason: REASON };
        gaps::note_at(tx, place, &gap).await?;
    }
    Ok(())
}
