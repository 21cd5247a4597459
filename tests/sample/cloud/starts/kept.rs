//! For how long starts are kept.

use crate::{
    db::DbError,
    jobs::Old,
    keeping::{Keeps, Policies},
};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[],
    sweep: Some(|old, policies| Box::pin(sweep(old, policies))),
    tables: &[("starts", "ninety days")],
};

/// Deletes what is past its time.
async fn sweep(old: &Old, _: &Policies) -> Result<(), DbError> {
    old.delete(
        "starts",
        "DELETE FROM starts WHERE id = ANY(ARRAY(SELECT id FROM starts \
             WHERE at < now() - interval '90 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}
