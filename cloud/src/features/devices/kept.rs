//! For how long computers and their connections are kept, and how they are cut.

use crate::{db::DbError, jobs::Old, keeping::Keeps};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[],
    sweep: Some(|old, _| Box::pin(sweep(old))),
    tables: &[
        ("device_lines", "with their device: one row each"),
        ("device_loads", "with their device: one row each"),
        ("device_tags", "with their device"),
        ("device_tallies", "folded each minute: a row a site, system and state"),
        ("devices", "for good: what a site may have, also revoked ones"),
        ("presence_log", "180 days"),
    ],
};

/// Deletes what is past its time.
async fn sweep(old: &Old) -> Result<(), DbError> {
    old.delete(
        "presence_log",
        "DELETE FROM presence_log WHERE id = ANY(ARRAY(SELECT id FROM presence_log \
                 WHERE at < now() - interval '180 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}
