//! What relays report of commands.

use super::ingest::TasksIngest;
use crate::{
    db::{Db, TenantTx},
    events::Watches,
    link::RelayIdentity,
    reports::{Applied, Changed, Reporter, Reports},
};
use unifyit_protocol::{
    ids::SiteId,
    link::{Ephemeral, UpRecord},
};

/// The feature's end, and the ticker beside it.
pub(super) fn open(db: &Db, watches: &Watches) -> Reporter {
    let (tasks, ticker) = TasksIngest::new(db, watches);
    Reporter::new(tasks).beside(|stop| Box::pin(ticker.run(stop)))
}

impl Reports for TasksIngest {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Progress(_) | UpRecord::Output(_))
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        _: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async move {
            let (mut output, mut progress) = (Vec::new(), Vec::new());
            for record in records {
                match record {
                    UpRecord::Output(pieces) => output.push(pieces),
                    UpRecord::Progress(list) => progress.extend(list),
                    _ => {}
                }
            }
            if !output.is_empty() {
                self.output(tx, relay, output).await?;
            }
            if !progress.is_empty() {
                self.progress(tx, relay, progress).await?;
            }
            Ok(())
        })
    }

    fn live(&self, relay: &RelayIdentity, item: Ephemeral) -> Option<Ephemeral> {
        match item {
            Ephemeral::Output(device, chunk) => self.pass(relay, device, chunk),
            other => return Some(other),
        }
        None
    }

    fn forget(&self, site: SiteId) {
        self.forget_site(site);
    }
}
