//! SQL of documents.

use super::{Document, Layer, Level, Spot, Topic};
use crate::db::{DbError, TenantTx};
use sqlx::types::Json;
use std::collections::HashMap;
use uuid::Uuid;

#[derive(sqlx::FromRow)]
struct Row {
    spot: Uuid,
    topic: String,
    level: String,
    name: Option<String>,
    fields: Json<Document>,
}

/// The documents that count at a spot, of each topic, from the widest to the nearest.
///
/// # Errors
/// [`DbError`].
pub async fn layers(
    tx: &mut TenantTx,
    spot: &Spot,
) -> Result<HashMap<String, Vec<Layer>>, DbError> {
    let place = spot.place;
    let ids = [place.partner, place.organization, place.site, spot.device()];
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT s.spot, s.topic, s.level, s.fields, CASE s.level \
             WHEN 'partner' THEN (SELECT name FROM partners WHERE id = s.spot) \
             WHEN 'organization' THEN (SELECT name FROM organizations WHERE id = s.spot) \
             WHEN 'site' THEN (SELECT name FROM sites WHERE id = s.spot) \
             ELSE (SELECT CASE WHEN name = '' THEN hostname ELSE name END \
                   FROM devices WHERE id = s.spot) END AS name \
         FROM settings s WHERE s.spot = ANY($1) AND s.partner_id = $2",
    )
    .bind(ids.into_iter().flatten().collect::<Vec<_>>())
    .bind(place.partner)
    .fetch_all(&mut **tx)
    .await?;
    Ok(by_topic(rows))
}

/// Documents of a site's devices, by device and topic.
///
/// # Errors
/// [`DbError`].
pub async fn of_devices(
    tx: &mut TenantTx,
    site: Uuid,
    topic: &Topic,
) -> Result<Vec<Layer>, DbError> {
    let rows: Vec<Row> = sqlx::query_as(
        "SELECT s.spot, s.topic, s.level, s.fields, NULL::text AS name \
         FROM settings s JOIN devices d ON d.id = s.spot \
         WHERE s.site_id = $1 AND s.level = 'device' AND s.topic = $2 \
             AND d.site_id = $1 AND d.revoked_at IS NULL ORDER BY s.spot",
    )
    .bind(site)
    .bind(topic.word)
    .fetch_all(&mut **tx)
    .await?;
    Ok(rows.into_iter().map(|row| row.into_layer(Level::Device)).collect())
}

impl Row {
    fn into_layer(self, level: Level) -> Layer {
        let Self { spot, name, fields: Json(document), .. } = self;
        Layer { level, id: spot, name: name.unwrap_or_default(), document }
    }
}

fn by_topic(rows: Vec<Row>) -> HashMap<String, Vec<Layer>> {
    let mut found: HashMap<String, Vec<Layer>> = HashMap::new();
    let levels = [Level::Partner, Level::Organization, Level::Site, Level::Device];
    for row in rows {
        let Some(level) = levels.into_iter().find(|l| l.as_str() == row.level) else { continue };
        found.entry(row.topic.clone()).or_default().push(row.into_layer(level));
    }
    found.values_mut().for_each(|layers| layers.sort_by_key(|layer| layer.level));
    found
}

/// Writes a document; an empty one is taken away. Whoever may not write there is refused
/// by the row policies. False where such a one tried to take it away.
///
/// # Errors
/// [`DbError`].
pub async fn write(
    tx: &mut TenantTx,
    spot: &Spot,
    topic: &Topic,
    document: &Document,
) -> Result<bool, DbError> {
    if document.0.is_empty() {
        let seen: i64 =
            sqlx::query_scalar("SELECT count(*) FROM settings WHERE spot = $1 AND topic = $2")
                .bind(spot.id)
                .bind(topic.word)
                .fetch_one(&mut **tx)
                .await?;
        let gone = sqlx::query("DELETE FROM settings WHERE spot = $1 AND topic = $2")
            .bind(spot.id)
            .bind(topic.word)
            .execute(&mut **tx)
            .await?;
        return Ok(i64::try_from(gone.rows_affected()).unwrap_or_default() == seen);
    }
    sqlx::query(
        "INSERT INTO settings (spot, topic, level, partner_id, organization_id, site_id, fields) \
         VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT (spot, topic) DO UPDATE \
         SET fields = excluded.fields, updated_at = now()",
    )
    .bind(spot.id)
    .bind(topic.word)
    .bind(spot.level.as_str())
    .bind(spot.place.partner)
    .bind(spot.place.organization)
    .bind(spot.place.site)
    .bind(Json(document))
    .execute(&mut **tx)
    .await?;
    Ok(true)
}
