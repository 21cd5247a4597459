//! Starts as relays report them.

use super::{HAPPENED, STARTED, store};
use crate::{
    db::{Place, TenantTx},
    events::{NewEvent, Reference, TimelineItem},
    link::{ApplyError, RelayIdentity},
    reports::{Applied, Changed, Reporter, Reports, line, time_of},
};
use unifyit_protocol::{
    envelope::Decoded,
    feature::SiteReport,
    link::UpRecord,
    starts::{FEATURE, Said, Started},
};

/// The feature's end.
pub(super) fn open() -> Reporter {
    Reporter::new(Starts)
}

struct Starts;

impl Reports for Starts {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Feature(one) if one.report.feature == FEATURE)
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        _: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            for record in records {
                if let UpRecord::Feature(SiteReport { device: Some(device), report }) = record
                    && let Ok(Decoded::Known(Said::Started(start))) = Said::decode(&report.body)
                {
                    note(tx, relay, device.0, start).await?;
                }
            }
            Ok(())
        })
    }
}

async fn note(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    device: uuid::Uuid,
    start: Started,
) -> Result<(), ApplyError> {
    let start = store::Start {
        device_id: device,
        at: time_of(start.at_ms),
        version: line(&start.version, 64),
    };
    if !store::add(tx, relay, &start).await? {
        // Told again.
        return Ok(());
    }
    let place = Place::site(relay.partner, relay.organization, relay.site);
    let item = TimelineItem {
        at: start.at,
        kind: String::new(),
        title: store::TITLE.into(),
        detail: format!("Version {}", start.version),
        actor: String::new(),
        reference: Reference::to("device", device, ""),
    };
    tx.emit(NewEvent::kept(STARTED, place, &start));
    tx.emit(item.added(HAPPENED, place));
    Ok(())
}
