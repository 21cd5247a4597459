//! What a relay says of its package cache, made fit to store and passed on.

use super::site::tell_site;
use crate::{
    db::TenantTx,
    features::{relays::line, sites},
    link::{ApplyError, RelayIdentity},
};
use unifyit_protocol::cache::CacheReport;

/// The package cache's report, whenever something changed.
pub(crate) async fn cache(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    mut report: CacheReport,
) -> Result<(), ApplyError> {
    for day in &mut report.days {
        day.repository = line(&day.repository, 255);
    }
    for file in &mut report.ahead {
        file.reason = line(&file.reason, 300);
    }
    if let Some(policy) = &mut report.policy {
        let lines = |all: &mut Vec<String>, most| {
            all.iter_mut().for_each(|text| *text = line(text, most));
        };
        lines(&mut policy.hosts, 255);
        lines(&mut policy.remaps, 700);
        lines(&mut policy.overruled, 900);
    }
    sites::cache_report(tx, relay, report).await?;
    tell_site(tx, relay, false).await
}
