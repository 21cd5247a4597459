//! What relays report of themselves.

use super::ingest;
use crate::{
    db::TenantTx,
    link::{RelayChange, RelayIdentity},
    reports::{Applied, Changed, Reporter, Reports, Rows},
};
use futures::future::ready;
use unifyit_protocol::link::UpRecord;

/// The feature's end.
pub(super) fn open() -> Reporter {
    Reporter::new(RelayReports)
}

struct RelayReports;

impl Reports for RelayReports {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Relay(_) | UpRecord::Audit(_))
    }

    fn rows(&self, record: &UpRecord, rows: &mut Rows) {
        rows.relay |= matches!(record, UpRecord::Relay(_));
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
                match record {
                    UpRecord::Relay(status) => {
                        ingest::status(tx, relay, status).await?;
                        changed.site = true;
                    }
                    UpRecord::Audit(said) => ingest::audit(tx, relay, said).await?,
                    _ => {}
                }
            }
            Ok(())
        })
    }

    fn relay_changed<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        change: RelayChange,
    ) -> Applied<'a> {
        match change {
            RelayChange::Enrolled => Box::pin(ingest::enrolled(tx, relay)),
            _ => Box::pin(ready(Ok(()))),
        }
    }
}
