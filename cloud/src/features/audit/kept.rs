//! For how long the audit log is kept, and how its chains are cut.

use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::{DbError, Place, Scope},
    jobs::Old,
    keeping::{Bound, Keeps, Policies, Setting},
};
use time::OffsetDateTime;
use uuid::Uuid;

/// Entries taken from chains in one transaction, and transactions of one run.
const ENTRIES: i32 = 5000;
const CUTS: usize = 200;

/// A chain that was cut.
#[derive(Debug, sqlx::FromRow)]
struct Cut {
    partner: Option<Uuid>,
    organization: Option<Uuid>,
    through: i64,
    gone: i64,
    until: OffsetDateTime,
}

/// The audit log.
const AUDIT_DAYS: Setting = Setting {
    field: "audit_days",
    column: "audit_days",
    about: "audit log",
    says: "The audit log, 180 to 3660.",
    usual: 3 * 365,
    least: Bound::Days(180),
    most: Setting::LONGEST,
    refusal: "The audit log is kept for 180 to 3660 days.",
};

/// What the feature keeps, and how it is cut.
pub(super) const KEEPS: Keeps = Keeps {
    settings: &[AUDIT_DAYS],
    sweep: Some(|old, policies| Box::pin(sweep(old, policies))),
    tables: &[
        ("audit_cuts", "for good: one row a chain"),
        ("audit_heads", "for good: one row a chain"),
        ("audit_log", "audit_days, from the old end of each chain"),
    ],
};

/// Takes old entries from the beginnings of audit chains. Each cut is an entry of
/// its chain, so that the end of what is gone is told where it is looked for.
async fn sweep(old: &Old, policies: &Policies) -> Result<(), DbError> {
    for _ in 0..CUTS {
        let mut tx = old.db().tenant(&Scope::Platform).await?;
        let cuts: Vec<Cut> = sqlx::query_as("SELECT * FROM audit_cut($1, $2)")
            .bind(policies.usual.days(&AUDIT_DAYS))
            .bind(ENTRIES)
            .fetch_all(&mut *tx)
            .await?;
        for cut in &cuts {
            let place = Place { partner: cut.partner, organization: cut.organization, site: None };
            let detail = format!(
                "{} entries, up to number {} of {}, were older than the log is kept",
                cut.gone,
                cut.through,
                cut.until.date()
            );
            let target = AuditTarget::at(place, "audit log");
            audit::record(&mut tx, &AuditActor::system(), "audit.cut", &target, &detail).await?;
        }
        tx.commit().await?;
        if cuts.is_empty() {
            return Ok(());
        }
        let gone: i64 = cuts.iter().map(|cut| cut.gone).sum();
        old.count("audit_log", gone.unsigned_abs());
    }
    tracing::warn!("More audit entries are past their time than one run takes.");
    Ok(())
}
