//! Closes minutes: raw samples in, rollups into the outbox, when it is time for them
//! to travel (see [`crate::travel`]).
//!
//! The work between two commits (reading and rolling up) runs on a snapshot off
//! the writer's thread; the store takes a rollup only if no further sample of
//! that minute came in between, so each sample is in the cloud's rollups exactly
//! once (see [`crate::samples`]).

use crate::{
    samples::{self, Closed, Due},
    store::{StoreError, StoreHandle},
    travel::Travel,
};
use redb::ReadTransaction;
use std::{collections::BTreeMap, time::Duration};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    ids::DeviceId,
    telemetry::{MAX_CELLS, MAX_MINUTES, Rollup, RollupBlock, RollupBuilder, Sample},
};

/// How often minutes are looked for.
const EVERY: Duration = Duration::from_secs(1);

/// Closes minutes until cancelled.
pub(crate) async fn run(store: StoreHandle, travel: Travel, cancel: CancellationToken) {
    let mut tick = tokio::time::interval(EVERY);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = tick.tick() => {}
            () = travel.changed() => {}
        }
        if let Err(error) = close_due(&store, &travel).await {
            // The store says it aloud, and not each second.
            tracing::debug!(%error, "minutes could not be closed; trying again");
        }
    }
}

/// Closes all minutes that are due. Returns how many.
///
/// # Errors
/// [`StoreError`] when the file fails.
pub(crate) async fn close_due(store: &StoreHandle, travel: &Travel) -> Result<usize, StoreError> {
    let mut total = 0;
    loop {
        let ripe = travel.ripe(store.now_ms(), store.is_crowded());
        let due = store.write(move |txn| Ok(txn.due(&ripe))).await?;
        if due.is_empty() {
            return Ok(total);
        }
        let mirrored = travel.mirrored();
        let closed = store.read(move |tx| roll_up(tx, &due, mirrored)).await?;
        let count = store.write(move |txn| txn.close_minutes(closed)).await?;
        total += count;
        if count == 0 {
            return Ok(total);
        }
    }
}

/// Closes what is over, without waiting for blocks.
#[cfg(test)]
pub(crate) async fn close_all(store: &StoreHandle) -> Result<usize, StoreError> {
    close_due(store, &Travel::new(1, b"")).await
}

/// Rollups of the minutes that are due, a device at a time, with mirrored columns where
/// the cloud reads them.
pub(crate) fn roll_up(
    tx: &ReadTransaction,
    due: &[Due],
    mirrored: bool,
) -> Result<Vec<Closed>, StoreError> {
    let mut by_device: BTreeMap<DeviceId, Vec<Due>> = BTreeMap::new();
    for one in due {
        by_device.entry(one.device).or_default().push(*one);
    }
    let mut all = Vec::with_capacity(by_device.len());
    for (device, minutes) in by_device {
        let mut blocks = Blocks::default();
        for due in &minutes {
            for (table, rollup) in of_minute(&samples::raw(tx, device, due.minute)?) {
                blocks.push(table, rollup);
            }
        }
        all.push(Closed { device, blocks: blocks.finish(device, mirrored), minutes });
    }
    Ok(all)
}

/// The rollups of one minute: one a series table.
fn of_minute(samples: &[Sample]) -> Vec<(u32, Rollup)> {
    let mut tables: Vec<(u32, usize)> = Vec::new();
    for sample in samples {
        let shape = (sample.table, sample.values.len());
        if !tables.contains(&shape) {
            tables.push(shape);
        }
    }
    let mut rollups: Vec<(u32, Rollup)> = Vec::with_capacity(tables.len());
    for shape in tables {
        let mut builder = RollupBuilder::new();
        for sample in samples.iter().filter(|s| (s.table, s.values.len()) == shape) {
            // Widths were bounded when the samples were taken, and all samples
            // are of one minute and table: nothing closes before the end.
            drop(builder.push(sample));
        }
        if let Some(closed) = builder.finish() {
            rollups.push((closed.table, closed.rollup));
        }
    }
    rollups
}

/// Gathers a device's rollups into blocks of one table, rising minutes, and
/// bounded size.
#[derive(Default)]
struct Blocks {
    open: Vec<(u32, Vec<Rollup>)>,
    done: Vec<(u32, Vec<Rollup>)>,
}

impl Blocks {
    fn push(&mut self, table: u32, rollup: Rollup) {
        let width = rollup.values.len().max(1);
        let at = self.open.iter().position(|(t, r)| {
            *t == table && r.last().is_some_and(|last| last.values.len() == rollup.values.len())
        });
        let at = match at {
            Some(at) => at,
            None => {
                self.open.push((table, Vec::new()));
                self.open.len() - 1
            }
        };
        let run = &mut self.open[at].1;
        run.push(rollup);
        if run.len() >= MAX_MINUTES || (run.len() + 1) * width > MAX_CELLS / 4 {
            self.done.push(self.open.swap_remove(at));
        }
    }

    fn finish(mut self, device: DeviceId, mirrored: bool) -> Vec<RollupBlock> {
        self.done.append(&mut self.open);
        let encode = |(table, rollups): (u32, Vec<Rollup>)| {
            let block = match mirrored {
                true => RollupBlock::encode_mirrored(table, &rollups),
                false => RollupBlock::encode(table, &rollups),
            };
            block
                .inspect_err(|error| tracing::error!(%device, %error, "a rollup is not encodable"))
                .ok()
        };
        self.done.into_iter().filter_map(encode).collect()
    }
}
