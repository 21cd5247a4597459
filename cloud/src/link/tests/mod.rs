//! The gateway, met by a relay that speaks the real protocol.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

mod enrolment;
mod flood;
mod lanes;
mod later;
mod presence;

use super::{ApplyError, Records, RelayChange, RelayIdentity};
use crate::db::TenantTx;
use futures::future::BoxFuture;
use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};
use unifyit_protocol::{
    ids::DeviceId,
    link::{Ephemeral, UpRecord},
    telemetry::newest::Load,
};

/// Records that write audit texts into a table of the test and refuse `bad`.
#[derive(Default)]
struct Ledger {
    changes: Mutex<Vec<RelayChange>>,
    live: Mutex<usize>,
    /// The next live item ends the task that passes it on.
    crashes: AtomicBool,
}

impl Records for Arc<Ledger> {
    fn takes(&self, record: &UpRecord) -> bool {
        !matches!(record, UpRecord::Feature(_))
    }

    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async move {
            for record in records {
                let UpRecord::Audit(audit) = record else { continue };
                if audit.action == "bad" {
                    return Err(ApplyError::Malformed("bad".into()));
                }
                sqlx::query(
                    "INSERT INTO presence_log (partner_id, organization_id, site_id, relay_id, \
                         online, address, at) VALUES ($1, $2, $3, $4, true, $5, now())",
                )
                .bind(relay.partner.0)
                .bind(relay.organization.0)
                .bind(relay.site.0)
                .bind(relay.id.0)
                // A NUL byte in it is refused by the database itself.
                .bind(audit.detail)
                .execute(&mut **tx)
                .await?;
            }
            Ok(())
        })
    }

    fn relay_changed<'a>(
        &'a self,
        _: &'a mut TenantTx,
        _: &'a RelayIdentity,
        change: RelayChange,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        self.changes.lock().unwrap().push(change);
        Box::pin(async { Ok(()) })
    }

    fn newest<'a>(
        &'a self,
        _: &'a mut TenantTx,
        _: &'a RelayIdentity,
        _: Vec<(DeviceId, Load)>,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(async { Ok(()) })
    }

    fn live(&self, _: &RelayIdentity, items: Vec<Ephemeral>) {
        assert!(!self.crashes.swap(false, Ordering::Relaxed), "as the test wants it");
        *self.live.lock().unwrap() += items.len();
    }
}
