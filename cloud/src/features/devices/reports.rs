//! What relays report of devices themselves.

use super::{CHANGED, identity, ingest, store};
use crate::{
    db::TenantTx,
    events::NewEvent,
    link::{ApplyError, RelayIdentity},
    reports::{Applied, Changed, Reporter, Reports, Rows},
};
use unifyit_protocol::{ids::DeviceId, link::UpRecord};

/// The feature's end.
pub(super) fn open() -> Reporter {
    Reporter::new(DeviceReports)
}

struct DeviceReports;

impl Reports for DeviceReports {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(
            record,
            UpRecord::Enrolled(_)
                | UpRecord::Presence(_)
                | UpRecord::Clocks(_)
                | UpRecord::Shared(_)
        )
    }

    fn rows(&self, record: &UpRecord, rows: &mut Rows) {
        if let UpRecord::Enrolled(enrolled) = record {
            rows.relay = true;
            rows.tokens.push(enrolled.token);
        } else {
            rows.devices = true;
        }
    }

    fn stands_alone(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Enrolled(_))
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        changed: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            let (mut presence, mut clocks) = (Vec::new(), Vec::new());
            for record in records {
                match record {
                    UpRecord::Enrolled(enrolled) => {
                        let is_there = ingest::enrolled(tx, relay, enrolled).await?;
                        if !is_there {
                            // The row was there once: it is made when the batch comes again.
                            return Err(ApplyError::from(sqlx::Error::RowNotFound));
                        }
                    }
                    UpRecord::Presence(list) => presence.extend(list),
                    UpRecord::Clocks(list) => clocks.extend(list),
                    UpRecord::Shared(told) => {
                        changed.devices.insert(told.device);
                        identity::apply(tx, relay, told).await?;
                    }
                    _ => {}
                }
            }
            changed.connections |= !presence.is_empty();
            ingest::presence(tx, relay, presence, &mut changed.devices).await?;
            ingest::clocks(tx, clocks, &mut changed.devices).await
        })
    }

    /// Tells browsers of devices that changed.
    fn tell<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        changed: &'a Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            if changed.devices.is_empty() {
                return Ok(());
            }
            let ids: Vec<DeviceId> = changed.devices.iter().copied().collect();
            for item in store::items(tx, &ids).await? {
                let event = match changed.connections {
                    true => NewEvent::kept(CHANGED, relay.place(), &item),
                    // Values of a minute; the next minute's replace them.
                    false => NewEvent::passing(CHANGED, relay.place(), &item),
                };
                tx.emit(event);
            }
            Ok(())
        })
    }
}
