//! From hostile bytes to effects: decoding and judging of report batches.
//!
//! Pure. What cannot be read within a batch is counted and left out, so that
//! one bad report never stops a lane; a batch that is no batch is an error.

use unifyit_protocol::{
    ProtocolError,
    codec::{self, Budget, MAX_MESSAGE},
    envelope::Decoded,
    feature::FeatureReport,
    ids::DeviceId,
    inventory::{InventoryReport, MAX_ENTRIES},
    lane::Lane,
    outcome::{CommandEvent, MAX_PIECE, OutputChunk},
    report::{Gap, MAX_BATCH, Report, ReportBatch},
    telemetry::{MAX_SERIES, Sample, SeriesTable},
};

/// A sample may be ahead of the site's time by this much: clocks are compared once
/// a minute.
pub(super) const MAX_AHEAD_MS: u64 = 120_000;
/// Values of a batch without its reports: four a report, and room for later ones.
const FRAME_VALUES: usize = 16 * MAX_BATCH;
/// Longest reason that a device may give.
const MAX_REASON: usize = 4096;

/// A batch of one lane, decoded.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Batch {
    pub(crate) device: DeviceId,
    pub(crate) lane: Lane,
    pub(crate) epoch: u64,
    pub(crate) prev: u64,
    /// Last sequence number of the batch; `prev` when it is empty.
    pub(crate) through: u64,
    pub(crate) effects: Vec<(u64, Effect)>,
    /// Kinds of a later version, left out.
    pub(crate) unknown: u64,
}

/// What a report does.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Series(SeriesTable),
    /// The sample, and its report as it came.
    Sample(Sample, Vec<u8>),
    Inventory(InventoryReport),
    Command(CommandEvent),
    Output(OutputChunk),
    Gap(Gap),
    /// A feature's own message.
    Feature(FeatureReport),
    /// A sample of a time that has not come, Unix milliseconds: not believed.
    Ahead(u64),
    /// Not readable or not acceptable: counted as lost.
    Bad,
}

/// Decodes a batch at the expense of a budget. Reports for which nothing is left
/// count as lost, like those that cannot be read.
/// `measured_ms` is how far the device's clock was ahead when it was last measured,
/// for agents that do not say so themselves.
///
/// # Errors
/// [`ProtocolError`] when it is no batch, or its numbers make no sense.
pub(crate) fn decode_for(
    device: DeviceId,
    payload: &[u8],
    now_ms: u64,
    measured_ms: i64,
    budget: &mut Budget,
) -> Result<Batch, ProtocolError> {
    let mut frame = Budget::new(MAX_MESSAGE, FRAME_VALUES);
    let batch: ReportBatch = codec::decode_for(payload, MAX_MESSAGE, &mut frame)?;
    let shift_ms = batch.shift_ms.unwrap_or(measured_ms.saturating_neg());
    if batch.reports.len() > MAX_BATCH {
        return Err(ProtocolError::Invalid("the batch has too many reports"));
    }
    let mut effects = Vec::with_capacity(batch.reports.len());
    let mut last = batch.prev;
    let mut unknown = 0;
    for report in batch.reports {
        let effect = match Report::decode_for(&report.body, budget) {
            Ok(Decoded::Known(known)) if batch.lane == Lane::Metrics && shift_ms != 0 => {
                let (known, body) = shifted(known, report.body, shift_ms);
                Some(judged(known, body, now_ms))
            }
            Ok(Decoded::Known(known)) => Some(judged(known, report.body, now_ms)),
            Ok(Decoded::Unknown(_)) => None,
            Err(_) => Some(Effect::Bad),
        };
        let follows = last.checked_add(1) == Some(report.seq);
        let explained = matches!(effect, Some(Effect::Gap(_))) && report.seq > last;
        if !follows && !explained {
            return Err(ProtocolError::Invalid("the batch's numbers do not rise by one"));
        }
        last = report.seq;
        match effect {
            Some(effect) => effects.push((report.seq, effect)),
            None => unknown += 1,
        }
    }
    let (lane, epoch, prev) = (batch.lane, batch.epoch, batch.prev);
    Ok(Batch { device, lane, epoch, prev, through: last, effects, unknown })
}

/// A sample or gap at the site's time, with its report.
fn shifted(mut report: Report, body: Vec<u8>, shift_ms: i64) -> (Report, Vec<u8>) {
    match &mut report {
        Report::Sample(sample) => sample.at_ms = sample.at_ms.saturating_add_signed(shift_ms),
        Report::Gap(gap) => {
            gap.from_ms = gap.from_ms.saturating_add_signed(shift_ms);
            gap.to_ms = gap.to_ms.saturating_add_signed(shift_ms);
        }
        _ => return (report, body),
    }
    let encoded = report.encode().unwrap_or(body);
    (report, encoded)
}

fn judged(report: Report, body: Vec<u8>, now_ms: u64) -> Effect {
    match report {
        Report::Series(table) => match table.check() {
            Ok(()) => Effect::Series(table),
            Err(_) => Effect::Bad,
        },
        Report::Sample(sample) => {
            if sample.values.len() > MAX_SERIES {
                Effect::Bad
            } else if sample.at_ms > now_ms.saturating_add(MAX_AHEAD_MS) {
                Effect::Ahead(sample.at_ms)
            } else {
                Effect::Sample(sample, body)
            }
        }
        Report::Inventory(inventory) => {
            let good = inventory.set.len() <= MAX_ENTRIES && inventory.gone.len() <= MAX_ENTRIES;
            if good { Effect::Inventory(inventory) } else { Effect::Bad }
        }
        Report::Command(event) => {
            let good = event.reason.as_ref().is_none_or(|r| r.len() <= MAX_REASON);
            if good { Effect::Command(event) } else { Effect::Bad }
        }
        Report::Output(chunk) => {
            if chunk.data.len() <= MAX_PIECE {
                Effect::Output(chunk)
            } else {
                Effect::Bad
            }
        }
        Report::Gap(gap) => {
            if gap.reason.len() <= MAX_REASON {
                Effect::Gap(gap)
            } else {
                Effect::Bad
            }
        }
        Report::Feature(report) => match report.check() {
            Ok(()) => Effect::Feature(report),
            Err(_) => Effect::Bad,
        },
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::panic, reason = "tests")]
    use super::*;
    use unifyit_protocol::telemetry::{MAX_NAME, MAX_SCALE, Series};

    fn judged_with(change: impl FnOnce(&mut Series)) -> Effect {
        let text = "x".repeat(MAX_NAME);
        let (name, label, unit) = (text.clone(), text.clone(), text);
        let mut series = Series { name, label, unit, scale: MAX_SCALE };
        change(&mut series);
        judged(Report::Series(SeriesTable { series: vec![series] }), Vec::new(), 0)
    }

    #[test]
    fn what_is_taken_of_columns_is_what_the_cloud_takes() {
        let Effect::Series(taken) = judged_with(|_| {}) else { panic!("the longest are taken") };
        assert!(taken.check().is_ok(), "by this the cloud goes");
        for change in [
            |s: &mut Series| s.name.push('x'),
            |s: &mut Series| s.label.push('x'),
            |s: &mut Series| s.unit.push('x'),
            |s: &mut Series| s.scale += 1,
        ] {
            assert_eq!(judged_with(change), Effect::Bad);
        }
    }
}
