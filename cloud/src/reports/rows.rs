//! In which order rows are locked that the console's requests lock too: a site's
//! settings, its install tokens, its relay, its devices. Requests that change two of
//! these go in that order. A batch whose records go otherwise takes what it will need
//! at its beginning; else the two would wait for each other.

use super::Reports;
use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity},
};
use unifyit_protocol::{ids::TokenId, link::UpRecord};
use uuid::Uuid;

/// Rows that records change, as their features say.
#[derive(Debug, Default)]
pub struct Rows {
    /// The site's settings.
    pub settings: bool,
    /// Install tokens.
    pub tokens: Vec<TokenId>,
    /// The relay's own.
    pub relay: bool,
    /// Those of devices.
    pub devices: bool,
    /// The relay's own, perhaps, and not before those of devices.
    pub relay_last: bool,
}

/// Takes the rows above devices that these records change.
pub(super) async fn take(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    features: &[Box<dyn Reports>],
    records: &[UpRecord],
) -> Result<(), ApplyError> {
    let mut rows = Rows::default();
    for record in records {
        if let Some(feature) = features.iter().find(|feature| feature.takes(record)) {
            feature.rows(record, &mut rows);
        }
    }
    if rows.settings {
        sqlx::query("SELECT FROM site_configs WHERE site_id = $1 FOR NO KEY UPDATE")
            .bind(relay.site.0)
            .execute(&mut **tx)
            .await?;
    }
    if !rows.tokens.is_empty() {
        sqlx::query(
            "SELECT FROM install_tokens WHERE id = ANY($1) AND site_id = $2 ORDER BY id FOR NO KEY UPDATE",
        )
        .bind(rows.tokens.iter().map(|token| token.0).collect::<Vec<Uuid>>())
        .bind(relay.site.0)
        .execute(&mut **tx)
        .await?;
    }
    if rows.relay || (rows.devices && rows.relay_last) {
        sqlx::query("SELECT FROM relays WHERE id = $1 FOR NO KEY UPDATE")
            .bind(relay.id.0)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
