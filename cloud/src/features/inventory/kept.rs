//! For how long inventory is kept, and how it is cut.

use crate::{db::DbError, jobs::Old, keeping::Keeps};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[],
    sweep: Some(|old, _| Box::pin(sweep(old))),
    tables: &[
        ("inventory_entries", "with their device, 90 days beyond its revocation"),
        ("inventory_sections", "with their device, 90 days beyond its revocation"),
    ],
};

/// Deletes what is past its time.
async fn sweep(old: &Old) -> Result<(), DbError> {
    old.delete(
        "inventory_entries",
        "DELETE FROM inventory_entries WHERE ctid = ANY(ARRAY(SELECT e.ctid FROM devices d \
                 JOIN inventory_entries e ON e.device_id = d.id \
                 WHERE d.revoked_at < now() - interval '90 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    old.delete(
        "inventory_sections",
        "DELETE FROM inventory_sections WHERE ctid = ANY(ARRAY(SELECT e.ctid FROM devices d \
                 JOIN inventory_sections e ON e.device_id = d.id \
                 WHERE d.revoked_at < now() - interval '90 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}
