//! What partners have set.

use super::{Kept, Setting};
use crate::db::{DbError, TenantTx};
use sqlx::{Row, postgres::PgRow};
use std::collections::BTreeMap;
use unifyit_protocol::ids::PartnerId;
use uuid::Uuid;

/// How long things are kept, by partner.
#[derive(Debug, Clone)]
pub struct Policies {
    /// Where a partner has set nothing.
    pub usual: Kept,
    /// What partners have set.
    pub own: BTreeMap<Uuid, Kept>,
}

/// How a setting is asked for in SQL.
#[derive(Debug)]
pub struct By {
    /// The shortest of all, which ends the search of an index.
    pub soonest: i32,
    /// The usual one.
    pub usual: i32,
    /// Partners that have their own.
    pub partners: Vec<Uuid>,
    /// Those.
    pub days: Vec<i32>,
}

/// Binds [`By`] as four arguments.
macro_rules! bind_days {
    ($query:expr, $by:expr) => {
        $query.bind($by.soonest).bind($by.usual).bind($by.partners.clone()).bind($by.days.clone())
    };
}
pub(crate) use bind_days;

impl Policies {
    /// A setting, for a statement.
    #[must_use]
    pub fn by(&self, setting: &Setting) -> By {
        let days: Vec<i32> = self.own.values().map(|kept| kept.days(setting)).collect();
        let usual = self.usual.days(setting);
        By {
            soonest: days.iter().copied().min().map_or(usual, |least| least.min(usual)),
            usual,
            partners: self.own.keys().copied().collect(),
            days,
        }
    }
}

/// What partners have set of these settings, as far as the scope sees them; or one.
///
/// # Errors
/// [`DbError`].
pub async fn policies(
    tx: &mut TenantTx,
    settings: &[Setting],
    of: Option<PartnerId>,
) -> Result<Policies, DbError> {
    let rows: Vec<PgRow> =
        sqlx::query("SELECT * FROM retention WHERE $1::uuid IS NULL OR partner_id = $1")
            .bind(of.map(|partner| partner.0))
            .fetch_all(&mut **tx)
            .await?;
    let own = rows.iter().map(|row| {
        let kept = Kept::each(settings, |setting| row.try_get(setting.column))?;
        Ok((row.try_get("partner_id")?, kept))
    });
    let own = own.collect::<Result<_, sqlx::Error>>()?;
    Ok(Policies { usual: Kept::usual(settings), own })
}
