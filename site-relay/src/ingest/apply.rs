//! A batch's effects within a group commit: cursor, tables and outbox move
//! together or not at all (G1, G2).

use super::batch::{Batch, Effect};
use crate::{
    facts::kept,
    parts,
    store::{StoreError, tables::lane_key, txn::Txn},
};
use unifyit_protocol::{
    feature::{FeatureReport, SiteReport},
    ids::{CommandId, DeviceId},
    inventory::{InventoryReport, Section},
    lane::Lane,
    link::{DeviceGap, DeviceInventory, DeviceOutput, UpRecord},
    outcome::{OutputChunk, Status},
};

/// Output of one record, in bytes.
const OUTPUT_BYTES: usize = 128 * 1024;
/// Samples of one device in one minute.
const MAX_SAMPLES_A_MINUTE: u64 = 3600;
/// A batch that starts behind a hole is refused this often, then taken.
const PATIENCE: u8 = 3;

const CROWDED: &str = "The computer took more samples in one minute than are kept of one.";
const BAD: &str = "The device sent reports that cannot be read or are not acceptable.";
const AHEAD: &str = "The computer's clock was ahead when these were measured, and it is not known \
    by how much.";

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Applied {
    /// Where the device's lane stands: (epoch, number).
    pub(crate) position: (u64, u64),
    /// Whether the batch did not continue what was there.
    pub(crate) out_of_step: bool,
    /// Commands on which it reported.
    pub(crate) answered: Vec<(CommandId, Status)>,
    /// Whether nothing was taken because the device brought its share: it keeps the
    /// batch, and sends it again when it was not acknowledged for a while.
    pub(crate) later: bool,
    /// Reports that were left out.
    pub(crate) bad: u64,
}

impl Applied {
    /// What the device is told that it need not keep.
    pub(crate) fn acknowledged(&self) -> Option<(u64, u64)> {
        (!self.later).then_some(self.position)
    }
}

impl Txn<'_> {
    /// Applies what is new of a batch, if it continues what is there.
    pub(crate) fn take_batch(&mut self, batch: Batch) -> Result<Applied, StoreError> {
        let key = (batch.device, lane_key(batch.lane));
        let (epoch, seen) = self.cursor(key.0, key.1).unwrap_or_default();
        let continues = match batch.epoch.cmp(&epoch) {
            std::cmp::Ordering::Less => {
                return Ok(Applied { position: (epoch, seen), ..Applied::default() });
            }
            std::cmp::Ordering::Equal => batch.prev <= seen,
            std::cmp::Ordering::Greater => batch.prev == 0,
        };
        let fresh = batch.epoch != epoch || batch.through > seen;
        if batch.lane == Lane::Metrics && fresh && !self.may_bring(batch.device) {
            // What follows it is no hole.
            self.mem.parts.ingest.stuck.remove(&key);
            return Ok(Applied { position: (epoch, seen), later: true, ..Applied::default() });
        }
        let seen = if batch.epoch == epoch { seen } else { 0 };
        if !continues && !self.cannot_continue(&batch) {
            let position = self.cursor(key.0, key.1).unwrap_or_default();
            return Ok(Applied { position, out_of_step: true, ..Applied::default() });
        }
        self.mem.parts.ingest.stuck.remove(&key);
        if !continues {
            self.lost_before(&batch, seen)?;
        }
        let mut applied = Applied::default();
        if batch.through > seen || batch.epoch != epoch {
            let through = batch.through.max(seen);
            applied.position = (batch.epoch, through);
            self.set_cursor(batch.device, lane_key(batch.lane), applied.position);
            self.take_effects(batch, seen, &mut applied)?;
        } else {
            applied.position = (epoch, seen);
        }
        Ok(applied)
    }

    /// A device whose spool begins behind what this store knows can never
    /// continue it: it was acknowledged by a disk that was since replaced by an
    /// older copy. It repeats the same batch however often it is told; after a
    /// few times its word is taken, and the hole is stated.
    fn cannot_continue(&mut self, batch: &Batch) -> bool {
        let key = (batch.device, lane_key(batch.lane));
        let (epoch, prev, times) =
            self.mem.parts.ingest.stuck.get(&key).copied().unwrap_or_default();
        let same = (epoch, prev) == (batch.epoch, batch.prev);
        let times = if same { times + 1 } else { 1 };
        self.mem.parts.ingest.stuck.insert(key, (batch.epoch, batch.prev, times));
        times > PATIENCE
    }

    fn lost_before(&mut self, batch: &Batch, seen: u64) -> Result<(), StoreError> {
        let count = batch.prev.saturating_sub(seen);
        tracing::warn!(device = %batch.device, lane = ?batch.lane, count,
            "the device's reports start behind a hole; the relay's disk may be an old copy");
        let reason = "The relay was restored from an older copy.";
        self.gap(Some(batch.device), batch.lane, count, reason)
    }

    fn take_effects(
        &mut self,
        batch: Batch,
        seen: u64,
        applied: &mut Applied,
    ) -> Result<(), StoreError> {
        let device = batch.device;
        let mut output: Vec<OutputChunk> = Vec::new();
        let (mut output_bytes, mut ahead, mut crowded) = (0, 0, 0);
        for (seq, effect) in batch.effects.into_iter().filter(|(seq, _)| *seq > seen) {
            match effect {
                Effect::Series(table) => self.take_series(device, table)?,
                Effect::Sample(sample, body) => {
                    let minute = sample.at_ms / crate::samples::MINUTE_MS;
                    if self.samples_open(device, minute) >= MAX_SAMPLES_A_MINUTE {
                        crowded += 1;
                    } else {
                        self.bring(device, body.len());
                        let tag = seq ^ batch.epoch.rotate_left(32);
                        self.take_sample(device, sample.at_ms, tag, &body)?;
                    }
                }
                Effect::Inventory(report) => self.take_inventory(device, report)?,
                Effect::Command(event) => {
                    applied.answered.push((event.command, event.status));
                    self.device_event(device, event)?;
                }
                Effect::Output(chunk) => {
                    output_bytes += chunk.data.len() + 48;
                    output.push(chunk);
                    if output_bytes >= OUTPUT_BYTES {
                        let chunks = std::mem::take(&mut output);
                        output_bytes = 0;
                        let record = UpRecord::Output(DeviceOutput { device, chunks });
                        self.append(Lane::Output, &record)?;
                    }
                }
                Effect::Gap(gap) => {
                    let record = UpRecord::Gap(DeviceGap { device: Some(device), gap });
                    self.append(Lane::Urgent, &record)?;
                }
                Effect::Feature(report) => self.take_feature(device, batch.lane, report)?,
                Effect::Ahead(_) => ahead += 1,
                Effect::Bad => applied.bad += 1,
            }
        }
        if !output.is_empty() {
            let record = UpRecord::Output(DeviceOutput { device, chunks: output });
            self.append(Lane::Output, &record)?;
        }
        for (count, reason) in [(ahead, AHEAD), (crowded, CROWDED), (applied.bad, BAD)] {
            if count > 0 {
                self.gap(Some(device), batch.lane, count, reason)?;
            }
        }
        applied.bad += crowded;
        Ok(())
    }

    /// A feature's own message: the relay's parts hear it, and the cloud is told.
    fn take_feature(
        &mut self,
        device: DeviceId,
        lane: Lane,
        report: FeatureReport,
    ) -> Result<(), StoreError> {
        let report = FeatureReport { at_ms: report.at_ms.min(self.now_ms), ..report };
        parts::hear(self, device, &report)?;
        let lane = if lane == Lane::State { Lane::State } else { Lane::Urgent };
        self.append(lane, &UpRecord::Feature(SiteReport { device: Some(device), report }))
    }

    pub(crate) fn take_inventory(
        &mut self,
        device: DeviceId,
        report: InventoryReport,
    ) -> Result<(), StoreError> {
        let mut facts = self.device_facts(device)?;
        if report.section == Section::System
            && let Some(system) = report.set.get("system")
        {
            facts.system = kept(system);
        }
        // Reports of a device come in order. The later of two may be dated earlier: a
        // clock that was ahead once must not leave a date that nothing gets past.
        facts.inventory_ms = report.at_ms.min(self.now_ms);
        if report.whole {
            facts.told_whole(report.section);
        }
        self.put_facts(device, &facts)?;
        self.append(Lane::State, &UpRecord::Inventory(DeviceInventory { device, report }))
    }
}
