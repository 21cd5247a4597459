//! SQL of retention.

use super::{Policies, Retention};
use crate::db::{DbError, TenantTx};
use unifyit_protocol::ids::PartnerId;
use uuid::Uuid;

/// What partners have set, as far as the scope sees them.
///
/// # Errors
/// [`DbError`].
pub async fn policies(tx: &mut TenantTx) -> Result<Policies, DbError> {
    #[derive(sqlx::FromRow)]
    struct Row {
        partner_id: Uuid,
        #[sqlx(flatten)]
        kept: Retention,
    }
    let rows: Vec<Row> = sqlx::query_as("SELECT * FROM retention").fetch_all(&mut **tx).await?;
    let own = rows.into_iter().map(|row| (row.partner_id, row.kept)).collect();
    Ok(Policies { usual: Retention::default(), own })
}

/// How long a partner's data are kept.
///
/// # Errors
/// [`DbError`].
pub async fn get(tx: &mut TenantTx, partner: PartnerId) -> Result<Retention, DbError> {
    let own: Option<Retention> = sqlx::query_as("SELECT * FROM retention WHERE partner_id = $1")
        .bind(partner.0)
        .fetch_optional(&mut **tx)
        .await?;
    Ok(own.unwrap_or_default())
}

/// Sets it.
///
/// # Errors
/// [`DbError`].
pub async fn set(tx: &mut TenantTx, partner: PartnerId, kept: &Retention) -> Result<(), DbError> {
    sqlx::query(
        "INSERT INTO retention (partner_id, tasks_days, output_days, audit_days, minute_days, \
             quarter_days, hour_days) VALUES ($1, $2, $3, $4, $5, $6, $7) \
         ON CONFLICT (partner_id) DO UPDATE SET tasks_days = excluded.tasks_days, \
             output_days = excluded.output_days, audit_days = excluded.audit_days, \
             minute_days = excluded.minute_days, quarter_days = excluded.quarter_days, \
             hour_days = excluded.hour_days, updated_at = now()",
    )
    .bind(partner.0)
    .bind(kept.tasks_days)
    .bind(kept.output_days)
    .bind(kept.audit_days)
    .bind(kept.metrics_minute_days)
    .bind(kept.metrics_quarter_days)
    .bind(kept.metrics_hour_days)
    .execute(&mut **tx)
    .await?;
    Ok(())
}
