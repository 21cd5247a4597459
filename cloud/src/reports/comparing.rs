//! Brings a relay and the database together at the start of an epoch: asks the features'
//! parts in their order, and notes in one entry of the audit log what was mended.

use super::{Applied, Changed, Comparison, Part, Reports, Rows, Turn};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    db::TenantTx,
    feature::Feature,
    link::{ApplyError, RelayChange, RelayIdentity, downlink, from_ms, now_ms},
};
use futures::future::ready;
use unifyit_protocol::{compare::SiteHolds, link::UpRecord};

/// Entries of one kind that a relay leaves in the audit log within an hour: one that
/// forgets at each connection does not fill it.
const MOST_NOTED: i64 = 6;

/// Takes what relays say that they hold.
pub(super) struct Comparing {
    /// In the order of their turns; of one turn, as the features are listed.
    parts: Vec<Part>,
}

impl Comparing {
    /// Of all that features compare.
    pub(super) fn of(features: &[Feature]) -> Self {
        let mut parts: Vec<Part> =
            features.iter().flat_map(|feature| feature.compares).copied().collect();
        parts.sort_by_key(|part| part.turn);
        Self { parts }
    }

    /// The relay, or the database, was put back to an older copy: the relay is told
    /// everything.
    async fn restored(&self, tx: &mut TenantTx, relay: &RelayIdentity) -> Result<(), ApplyError> {
        let all = self.bring(tx, relay, None).await?;
        let detail = match all.sentence() {
            Some(told) => format!("Restored from an older copy: settings, {told}"),
            None => "Restored from an older copy: settings sent again".to_owned(),
        };
        note(tx, relay, all.site.as_deref(), "relay.restored", &detail).await
    }

    /// The relay says what it holds.
    async fn holds(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        holds: &SiteHolds,
        changed: &mut Changed,
    ) -> Result<(), ApplyError> {
        let mut all = self.bring(tx, relay, Some(holds)).await?;
        changed.devices.append(&mut all.changed);
        let Some(told) = all.sentence() else { return Ok(()) };
        changed.site = true;
        note(tx, relay, all.site.as_deref(), "relay.compared", &told).await
    }

    async fn bring(
        &self,
        tx: &mut TenantTx,
        relay: &RelayIdentity,
        holds: Option<&SiteHolds>,
    ) -> Result<Comparison, ApplyError> {
        // Seldom, and about all that a site has.
        tx.plan_for_values().await?;
        let cut = holds.is_some_and(|holds| holds.cut);
        if cut {
            tracing::warn!(relay = %relay.id, "A relay holds more than it can tell; it is not compared.");
        } else {
            // The parts tell it all that it lacks; what a comparison before found is in
            // that, or out of date.
            downlink::take_back(tx, relay.id, downlink::KNOWN).await?;
        }
        let mut all = Comparison::default();
        for part in self.parts.iter().filter(|part| !cut || part.turn == Turn::Site) {
            (part.bring)(tx, relay, holds, &mut all).await?;
        }
        Ok(all)
    }
}

impl Reports for Comparing {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Holds(_))
    }

    fn rows(&self, record: &UpRecord, rows: &mut Rows) {
        if let UpRecord::Holds(holds) = record {
            (rows.settings, rows.relay) = (true, true);
            rows.tokens.extend(holds.tokens.iter().map(|known| known.token));
        }
    }

    fn stands_alone(&self, _: &UpRecord) -> bool {
        true
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
                if let UpRecord::Holds(holds) = record {
                    self.holds(tx, relay, &holds, changed).await?;
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
            RelayChange::Restored => Box::pin(self.restored(tx, relay)),
            _ => Box::pin(ready(Ok(()))),
        }
    }
}

async fn note(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    site: Option<&str>,
    action: &str,
    detail: &str,
) -> Result<(), ApplyError> {
    tracing::warn!(relay = %relay.id, action, detail, "A relay and the database were brought together again.");
    if audit::within_an_hour(tx, relay.organization, relay.id.0, action).await? >= MOST_NOTED {
        tracing::warn!(relay = %relay.id, "That is not noted in the audit log: it happens all the time.");
        return Ok(());
    }
    let actor = AuditActor { name: "relay".into(), id: Some(relay.id.0), ..AuditActor::system() };
    let name = site.map_or_else(|| relay.id.to_string(), |site| format!("of {site}"));
    let target = AuditTarget::at(relay.place(), format!("relay {name}"));
    let at = Some(from_ms(now_ms()));
    Ok(audit::record_at(tx, &actor, action, &target, detail, at).await?)
}

#[cfg(test)]
mod tests;
