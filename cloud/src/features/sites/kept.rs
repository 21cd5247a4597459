//! For how long what belongs to sites is kept, and how it is cut.

use crate::{db::DbError, jobs::Old, keeping::Keeps};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[],
    sweep: Some(|old, _| Box::pin(sweep(old))),
    tables: &[
        ("cache_ahead", "until their own `keep_until`; bounded a site"),
        ("cache_savings", "bounded days and repositories a site, when written"),
        ("install_tokens", "180 days after their expiry"),
        ("site_configs", "for good: one row a site"),
        ("sites", "for good: made by hand"),
    ],
};

/// Deletes what is past its time.
async fn sweep(old: &Old) -> Result<(), DbError> {
    old.delete(
        "install_tokens",
        "DELETE FROM install_tokens WHERE id = ANY(ARRAY(SELECT id FROM install_tokens \
                 WHERE expires_at < now() - interval '180 days' LIMIT $1))",
        |query| query,
    )
    .await?;
    Ok(())
}
