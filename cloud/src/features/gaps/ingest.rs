//! What relays say was lost.

use crate::{
    db::TenantTx,
    link::{
        ApplyError, RelayIdentity,
        gaps::{self, NewGap},
    },
    reports::{Applied, Changed, Reporter, Reports, line, time_of},
};
use unifyit_protocol::{
    lane::Lane,
    link::{DeviceGap, UpRecord},
};

/// The feature's end of what relays report.
pub(super) fn open() -> Reporter {
    Reporter::new(GapReports)
}

struct GapReports;

impl Reports for GapReports {
    fn takes(&self, record: &UpRecord) -> bool {
        matches!(record, UpRecord::Gap(_))
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
                if let UpRecord::Gap(gap) = record {
                    note(tx, relay, gap).await?;
                }
            }
            Ok(())
        })
    }
}

/// Data that existed and was dropped (G6).
async fn note(tx: &mut TenantTx, relay: &RelayIdentity, gap: DeviceGap) -> Result<(), ApplyError> {
    let DeviceGap { device, gap } = gap;
    let (mut from, to) = (time_of(gap.from_ms), time_of(gap.to_ms));
    if gap.from_ms == gap.to_ms {
        // A moment says when the loss was noticed. What was lost lies before it, and
        // after what is known.
        let known = match device {
            Some(device) if gap.lane == Lane::Metrics => gaps::measured_until(tx, device).await?,
            _ => gaps::known_until(tx, relay, gap.lane).await?,
        };
        from = known.map_or(from, |known| known.min(from));
    }
    let reason = line(&gap.reason, 512);
    let gap = NewGap { device, lane: gap.lane, records: gap.count, from, to, reason: &reason };
    Ok(gaps::note(tx, relay, &gap).await?)
}
