//! A site's settings and install tokens: what its relay has of them against what the
//! database has.

use super::{adopt, config, store, tokens};
use crate::{
    db::TenantTx,
    link::{ApplyError, RelayIdentity, downlink},
    reports::{Comparison, Part, Turn},
};
use std::collections::HashMap;
use unifyit_protocol::{
    compare::{KnownToken, MAX_KNOWN, SiteHolds, SiteKnown},
    ids::TokenId,
    link::DownRecord,
};

/// The feature's part.
pub(super) const PART: Part = Part {
    turn: Turn::Site,
    bring: |tx, relay, holds, all| Box::pin(bring(tx, relay, holds, all)),
};

async fn bring(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    holds: Option<&SiteHolds>,
    all: &mut Comparison,
) -> Result<(), ApplyError> {
    all.site = store::name(tx, relay.site).await?;
    let mut adopted = 0;
    if let Some(holds) = holds {
        let place = (&relay.place(), relay.site);
        let newer = adopt::adopt(tx, place, (&holds.settings, holds.ahead)).await?;
        all.mended(usize::from(newer), "newer settings taken from the relay");
        if !holds.cut {
            adopted = tokens::adopt(tx, relay.site, &holds.tokens).await?;
        }
    }
    downlink::settle(match holds {
        Some(holds) => config::held(tx, (relay.id, relay.site), holds.settings.revision).await,
        None => config::send(tx, relay.site).await,
    })?;
    if holds.is_some_and(|holds| holds.cut) {
        return Ok(());
    }
    let mut known = tokens::in_use(tx, relay.site, MAX_KNOWN).await?;
    if let Some(holds) = holds {
        known = behind(&known, &holds.tokens);
        all.mended(adopted + known.len(), "install tokens brought up to date");
    }
    for some in known.chunks(MAX_KNOWN) {
        let known = SiteKnown { tokens: some.to_vec(), ..SiteKnown::default() };
        downlink::tell(tx, relay.id, &DownRecord::Known(known)).await?;
    }
    Ok(())
}

/// Those of the cloud's tokens of which the relay knows less.
fn behind(ours: &[KnownToken], held: &[KnownToken]) -> Vec<KnownToken> {
    let held: HashMap<TokenId, &KnownToken> = held.iter().map(|t| (t.token, t)).collect();
    let behind = |token: &&KnownToken| {
        let there = held.get(&token.token);
        there.map_or(0, |t| t.used) < token.used
            || (token.revoked && !there.is_some_and(|t| t.revoked))
    };
    ours.iter().filter(behind).copied().collect()
}
