//! What relays report of their sites, and telling browsers of it.

use super::{CHANGED, CONNECTION, RELAY_CHANGED, adopt, cache, config, store};
use crate::{
    db::TenantTx,
    events::{NewEvent, Reference, TimelineItem},
    link::{ApplyError, RelayChange, RelayIdentity, downlink},
    reports::{Applied, Changed, Reporter, Reports, Rows},
};
use time::OffsetDateTime;
use unifyit_protocol::{enroll::EnrollRelay, ids::SiteId, link::UpRecord};

/// The feature's end.
pub(super) fn open() -> Reporter {
    Reporter::new(SiteReports)
}

struct SiteReports;

impl Reports for SiteReports {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Cache(_))
    }

    fn rows(&self, _: &UpRecord, rows: &mut Rows) {
        rows.relay = true;
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        changed: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            for record in records {
                if let UpRecord::Cache(report) = record {
                    cache::report(tx, relay, report).await?;
                    changed.site = true;
                }
            }
            Ok(())
        })
    }

    fn tell<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        changed: &'a Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            match changed.connections || changed.site {
                true => tell(tx, relay.site, false).await,
                false => Ok(()),
            }
        })
    }

    fn joins<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        says: &'a EnrollRelay,
    ) -> Applied<'a> {
        Box::pin(async move {
            match says.ui_pin_hash.is_empty() {
                true => Ok(()),
                false => Ok(adopt::pin(tx, relay.site, &says.ui_pin_hash).await?),
            }
        })
    }

    fn relay_changed<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        change: RelayChange,
    ) -> Applied<'a> {
        Box::pin(async move {
            if change == RelayChange::Enrolled {
                downlink::settle(config::send(tx, relay.site).await)?;
            }
            if change != RelayChange::Restored {
                tell(tx, relay.site, true).await?;
            }
            match change {
                RelayChange::Enrolled | RelayChange::Clock | RelayChange::Restored => Ok(()),
                RelayChange::Online => tell_timeline(tx, relay, "Connected").await,
                RelayChange::Offline => tell_timeline(tx, relay, "Disconnected").await,
            }
        })
    }
}

/// Tells browsers how a site and its relay stand. Those who were away hear of it when
/// it is kept.
async fn tell(tx: &mut TenantTx, site: SiteId, keep: bool) -> Result<(), ApplyError> {
    let Some((site, place)) = store::get(tx, site).await? else { return Ok(()) };
    for (kind, data) in
        [(CHANGED, serde_json::to_value(&site)), (RELAY_CHANGED, serde_json::to_value(&site.relay))]
    {
        let data = data.unwrap_or_default();
        tx.emit(match keep {
            true => NewEvent::kept(kind, place, data),
            false => NewEvent::passing(kind, place, data),
        });
    }
    Ok(())
}

async fn tell_timeline(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    title: &str,
) -> Result<(), ApplyError> {
    if let Some((site, place)) = store::get(tx, relay.site).await? {
        let item = TimelineItem {
            at: OffsetDateTime::now_utc(),
            kind: CONNECTION.as_str().into(),
            title: title.into(),
            detail: format!("The relay of {}", site.name),
            actor: String::new(),
            reference: Reference::to("site", site.id, &site.name),
        };
        tx.emit(item.added(CONNECTION, place));
    }
    Ok(())
}
