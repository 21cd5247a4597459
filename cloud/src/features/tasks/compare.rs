//! Commands: those that a relay holds against those that are open.

use super::store::{had, send_again};
use crate::{
    db::TenantTx,
    link::{
        ApplyError, RelayIdentity,
        downlink::{self, AppendError},
    },
    reports::{Comparison, Part, Turn},
};
use std::collections::HashSet;
use unifyit_protocol::{
    compare::{MAX_KNOWN, SiteHolds, SiteKnown},
    link::DownRecord,
};
use uuid::Uuid;

/// The feature's part.
pub(super) const PART: Part = Part {
    turn: Turn::Work,
    bring: |tx, relay, holds, all| Box::pin(bring(tx, relay, holds, all)),
};

async fn bring(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: Option<&SiteHolds>,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    let held: HashSet<Uuid> =
        holds.iter().flat_map(|holds| &holds.commands).map(|command| command.0).collect();
    let sent = send_again(tx, relay, &held, all.reachable.as_ref()).await?;
    all.mended(sent, "commands sent again");
    match holds.is_some_and(|holds| holds.asks) {
        true => answer(tx, relay, &held).await,
        false => Ok(()),
    }
}

/// Who had the commands that the relay holds, as far as was told: its disk is an older
/// copy, and so may be the devices'. The latest answer stands alone, whatever a relay asks
/// and does not take.
async fn answer(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    held: &HashSet<Uuid>,
) -> Result<(), ApplyError> {
    downlink::take_back(tx, relay.id, downlink::HAD).await?;
    let had = had(tx, relay, held).await?;
    let batches = had.chunks(MAX_KNOWN).map(|some| (some.to_vec(), false));
    for (had, answered) in batches.chain([(Vec::new(), true)]) {
        let known = SiteKnown { had, answered, ..SiteKnown::default() };
        match downlink::append(tx, relay.id, &DownRecord::Known(known)).await {
            // That nothing follows is not said where something was left out.
            Err(AppendError::Full(_)) => break,
            told => downlink::settle(told.map(drop))?,
        }
    }
    Ok(())
}
