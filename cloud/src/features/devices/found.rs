//! How a page of a list is found: in the way that reads least.

use super::query::{Checked, FEW};
use crate::db::{DbError, TenantTx};
use sqlx::{Postgres, QueryBuilder};
use std::collections::HashMap;
use uuid::Uuid;

/// Ids and sort values of a page and the one after it, and how many match in all.
pub(super) type Found = (Vec<(Uuid, String)>, i64);

/// A first page that is found and counted in one scan.
async fn scanned(tx: &mut TenantTx, query: QueryBuilder<Postgres>) -> Result<Found, DbError> {
    let rows: Vec<(Uuid, String, i64)> = tx.composed(query).await?;
    let total = rows.first().map_or(0, |(.., total)| *total);
    Ok((rows.into_iter().map(|(id, key, _)| (id, key)).collect(), total))
}

async fn page(tx: &mut TenantTx, query: &Checked) -> Result<Vec<(Uuid, String)>, DbError> {
    let scope = tx.scope().copied();
    if let Some(high) = query.page_of_high(scope.as_ref()) {
        let keys: Vec<_> = tx.composed(high).await?;
        if keys.len() as i64 > query.limit {
            return Ok(keys);
        }
    }
    tx.composed(query.page(scope.as_ref())).await
}

/// A page of what has the words, in the order of loads: of the first few when so many
/// have them that it is found there.
async fn page_by_load(
    tx: &mut TenantTx,
    query: &Checked,
    total: i64,
) -> Result<Vec<(Uuid, String)>, DbError> {
    let scope = tx.scope().copied();
    if let Some(wordless) = query.wordless() {
        let all = counted(tx, &wordless).await?;
        if let Some(many) = query.glance_at(total, all) {
            for high in query.high().map(Some).into_iter().chain([None]) {
                let glance = query.glance_at_loads(scope.as_ref(), many, high);
                let keys: Vec<_> = tx.composed(glance).await?;
                if keys.len() as i64 > query.limit {
                    return Ok(keys);
                }
            }
        }
    }
    page(tx, query).await
}

/// How many match in all, counted.
async fn counted(tx: &mut TenantTx, query: &Checked) -> Result<i64, DbError> {
    let scope = tx.scope().copied();
    let total: Vec<(i64,)> = tx.composed(query.total(scope.as_ref())).await?;
    Ok(total.first().map_or(0, |(total,)| *total))
}

/// Ids of a page, in the way that reads least: few matches are sorted, many are
/// found in the order of an index where there is one, and no computer is read to
/// count it where sums are kept.
pub(super) async fn found(tx: &mut TenantTx, query: &Checked) -> Result<Found, DbError> {
    let scope = tx.scope().copied();
    if query.is_tallied() {
        let mut total = match query.counted {
            Some(total) => total,
            None => counted(tx, query).await?,
        };
        if total <= FEW && query.counted.is_none() && !query.is_all() {
            let (keys, found) = scanned(tx, query.few(scope.as_ref())).await?;
            if found <= query.few_are() {
                return Ok((keys, found));
            }
            // More came to match since they were counted.
            total = counted(tx, query).await?;
        }
        if query.is_by_state() && total > FEW {
            let keys = by_state(tx, query).await?;
            if keys.len() as i64 > query.limit {
                return Ok((keys, total));
            }
            // States that were read one after the other are of different moments: that
            // nothing follows is believed of one moment only.
        }
        return Ok((page(tx, query).await?, total));
    }
    if query.is_by_load_of_lines() {
        return found_by_load(tx, query).await;
    }
    if let Some(total) = query.counted {
        return Ok((page(tx, query).await?, total));
    }
    // What nothing but reading finds is found and counted in one scan, unless it is
    // seen at once that an index finds the page.
    let one_word = match query.is_one_word_by_name() {
        true => Some(counted(tx, query).await?),
        false => None,
    };
    if query.is_glanced() && one_word.is_none_or(|total| total > query.soon_read()) {
        let keys: Vec<(Uuid, String)> = tx.composed(query.glance(scope.as_ref())).await?;
        if keys.len() as i64 > query.limit {
            let total = match one_word {
                Some(total) => total,
                None => counted(tx, query).await?,
            };
            return Ok((keys, total));
        }
    }
    if let Some(total) = one_word {
        return Ok((tx.composed(query.first_of_one_word()).await?, total));
    }
    if query.is_glanced() || !query.is_indexed() {
        return scanned(tx, query.scan(scope.as_ref())).await;
    }
    let (keys, total) = scanned(tx, query.few(scope.as_ref())).await?;
    if total <= query.few_are() {
        return Ok((keys, total));
    }
    Ok((page(tx, query).await?, counted(tx, query).await?))
}

/// Ids of a page of what has the words, in the order of loads: few are looked up there.
async fn found_by_load(tx: &mut TenantTx, query: &Checked) -> Result<Found, DbError> {
    let scope = tx.scope().copied();
    if let Some(total) = query.counted {
        return Ok((page_by_load(tx, query, total).await?, total));
    }
    let ids: Vec<(Uuid,)> = tx.composed(query.ids(scope.as_ref())).await?;
    let ids: Vec<Uuid> = ids.into_iter().map(|(id,)| id).collect();
    let found = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    if found <= query.looked_up() {
        return Ok((tx.composed(query.by_load(ids)).await?, found));
    }
    let total = counted(tx, query).await?;
    Ok((page_by_load(tx, query, total).await?, total))
}

/// A page in the order of states, from one after the other until it is full.
async fn by_state(tx: &mut TenantTx, query: &Checked) -> Result<Vec<(Uuid, String)>, DbError> {
    let scope = tx.scope().copied();
    let totals: Vec<(String, i64)> = tx.composed(query.totals_by_state(scope.as_ref())).await?;
    let totals: HashMap<String, i64> = totals.into_iter().collect();
    let mut keys = Vec::new();
    for part in query.states_left() {
        let total = totals.get(part.0).copied().unwrap_or_default();
        let most = query.limit + 1 - keys.len() as i64;
        if total <= 0 || most <= 0 {
            continue;
        }
        let ids = query.in_state(scope.as_ref(), part, total <= FEW, most);
        let ids: Vec<(Uuid,)> = tx.composed(ids).await?;
        keys.extend(ids.into_iter().map(|(id,)| (id, part.0.to_owned())));
    }
    Ok(keys)
}
