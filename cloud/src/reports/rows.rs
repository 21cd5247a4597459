//! In which order rows are locked that the console's requests lock too: a site's
//! settings, its install tokens, its relay, its devices. Requests that change two of
//! these go in that order. A batch whose records go otherwise takes what it will need
//! at its beginning; else the two would wait for each other.

use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity},
};
use unifyit_protocol::link::UpRecord;
use uuid::Uuid;

/// Takes the rows above devices that these records change.
pub(crate) async fn take_rows(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    records: &[UpRecord],
) -> Result<(), ApplyError> {
    let (mut settings, mut row, mut tokens) = (false, false, Vec::<Uuid>::new());
    let (mut devices, mut measured) = (false, false);
    for record in records {
        match record {
            UpRecord::Holds(holds) => {
                (settings, row) = (true, true);
                tokens.extend(holds.tokens.iter().map(|t| t.token.0));
            }
            UpRecord::Enrolled(enrolled) => {
                row = true;
                tokens.push(enrolled.token.0);
            }
            UpRecord::Relay(_) | UpRecord::Cache(_) => row = true,
            UpRecord::Metrics(_) => measured = true,
            UpRecord::Inventory(_)
            | UpRecord::Presence(_)
            | UpRecord::Clocks(_)
            | UpRecord::Shared(_) => devices = true,
            _ => {}
        }
    }
    // Measurements may make the relay be asked for their columns.
    row |= devices && measured;
    if settings {
        sqlx::query("SELECT FROM site_configs WHERE site_id = $1 FOR NO KEY UPDATE")
            .bind(relay.site.0)
            .execute(&mut **tx)
            .await?;
    }
    if !tokens.is_empty() {
        sqlx::query(
            "SELECT FROM install_tokens WHERE id = ANY($1) AND site_id = $2 ORDER BY id FOR NO KEY UPDATE",
        )
        .bind(tokens)
        .bind(relay.site.0)
        .execute(&mut **tx)
        .await?;
    }
    if row {
        sqlx::query("SELECT FROM relays WHERE id = $1 FOR NO KEY UPDATE")
            .bind(relay.id.0)
            .execute(&mut **tx)
            .await?;
    }
    Ok(())
}
