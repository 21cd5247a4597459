//! For how long losses are kept: as long as the measurements beside which they stand.

use crate::{
    db::DbError,
    features::metrics,
    jobs::Old,
    keeping::{Keeps, Policies, bind_days},
};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[],
    sweep: Some(|old, policies| Box::pin(sweep(old, policies))),
    tables: &[("gaps", "as long as measurements at all")],
};

/// Deletes what is past its time.
async fn sweep(old: &Old, policies: &Policies) -> Result<(), DbError> {
    let days = policies.by(&metrics::HOURS);
    old.delete(
        "gaps",
        "DELETE FROM gaps WHERE id = ANY(ARRAY(SELECT g.id FROM gaps g \
             LEFT JOIN unnest($4::uuid[], $5::int4[]) AS p (partner, days) ON p.partner = g.partner_id \
             WHERE g.to_at < now() - make_interval(days => $2) \
                 AND g.to_at < now() - make_interval(days => coalesce(p.days, $3)) LIMIT $1))",
        |query| bind_days!(query, days),
    )
    .await?;
    Ok(())
}
