//! Reading a device's measurements over a range.
//!
//! ```text
//! weigh (no block is read) ─► a turn ─► blocks and tables ─► end of transaction
//!                                            └─► decode on a thread of its own ─► answer
//! ```
//!
//! What an answer costs is known before it is begun, and bounded: blocks, bytes,
//! cells, lines. Memory is set aside by turns until the decoding has ended, which
//! it does soon after whoever asked has gone. Blocks are read newest first, so
//! that of two rollups of one minute the later one is met first and holds, and so
//! that the newest lines find room.

use super::{
    model::{GapBody, MetricsBody, SeriesBody},
    rules::{Downsampler, Range},
    store::{self, StoredBlock},
};
use crate::{
    db::TenantTx,
    features::devices::store::DeviceRef,
    http::{Problem, turns::Turn},
    link::from_ms,
};
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};
use unifyit_protocol::telemetry::{Aggregate, RollupBlock, SeriesTable, block::Block};

/// Most blocks of an answer.
const MAX_BLOCKS: i64 = 50_000;
/// Most bytes of blocks of an answer.
const MAX_BYTES: i64 = 48 * 1024 * 1024;
/// Most bytes of tables of columns; what only older tables name is left out.
const MAX_TABLES: i64 = 8 * 1024 * 1024;
/// Most cells decoded for an answer: a few seconds of one processor.
const MAX_CELLS: u64 = 64 * 1024 * 1024;
/// Memory of one value until it is sent, about.
const VALUE: u64 = 120;
/// Memory of any answer, about: one block taken apart.
const LEAST: u64 = 8 * 1024 * 1024;

/// What is asked for.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) range: Range,
    /// All when none.
    pub(super) names: Option<HashSet<String>>,
}

/// What an answer costs.
#[derive(Debug, Clone, Copy)]
pub(super) struct Cost {
    range: Range,
    /// Memory, about.
    pub(super) bytes: usize,
}

/// All that an answer is made of.
#[derive(Debug)]
pub(super) struct Gathered {
    range: Range,
    names: Option<HashSet<String>>,
    blocks: Vec<StoredBlock>,
    tables: HashMap<i64, SeriesTable>,
    gaps: Vec<GapBody>,
}

/// Finds out what an answer costs, and whether it may.
pub(super) async fn weigh(
    tx: &mut TenantTx,
    device: &DeviceRef,
    asked: &Asked,
) -> Result<Cost, Problem> {
    let range = asked.range;
    let weight = store::weigh(tx, device, (range.first, range.end()), MAX_BLOCKS).await?;
    if weight.blocks > MAX_BLOCKS || weight.bytes > MAX_BYTES {
        return Err(too_long());
    }
    // Where only hours are kept, minutes would be dots.
    let range = range.at_least(u64::try_from(weight.step).unwrap_or(1));
    let values = range.steps.saturating_mul(range.most_lines().min(512) as u64);
    let bytes = LEAST
        .saturating_add(weight.bytes.unsigned_abs())
        .saturating_add(values.saturating_mul(VALUE));
    Ok(Cost { range, bytes: usize::try_from(bytes).unwrap_or(usize::MAX) })
}

/// Reads what an answer is made of.
pub(super) async fn gather(
    tx: &mut TenantTx,
    device: &DeviceRef,
    asked: Asked,
    cost: &Cost,
) -> Result<Gathered, Problem> {
    let range = cost.range;
    let minutes = (range.first, range.end());
    let blocks = store::blocks(tx, device, minutes, MAX_BLOCKS).await?;
    let mut seen = HashSet::new();
    let hashes: Vec<i64> =
        blocks.iter().map(|b| b.series_hash).filter(|hash| seen.insert(*hash)).collect();
    let tables = store::tables_of(tx, device, &hashes, MAX_TABLES).await?;
    if tables.len() < hashes.len() {
        tracing::warn!(device = %device.id, tables = hashes.len(), read = tables.len(),
            "A device has more tables of columns in a range than one answer reads.");
    }
    let gaps = store::gaps(tx, device, from_ms(minutes.0 * 60_000), from_ms(minutes.1 * 60_000));
    Ok(Gathered { range, names: asked.names, blocks, tables, gaps: gaps.await? })
}

/// Decodes on a thread of its own, which holds the turn until it is done, and
/// stops soon after nobody waits for it.
pub(super) async fn decode(gathered: Gathered, turn: Option<Turn>) -> Result<MetricsBody, Problem> {
    let wanted = Wanted(Arc::new(AtomicBool::new(true)));
    let still = wanted.0.clone();
    let decoding = tokio::task::spawn_blocking(move || {
        let body = gathered.decode(&still);
        drop(turn);
        body
    });
    let body = decoding.await.map_err(|_| Problem::internal())?;
    drop(wanted);
    body
}

/// Says, when it is dropped, that nobody waits any longer.
struct Wanted(Arc<AtomicBool>);

impl Drop for Wanted {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Blocks hold all names of their minutes, so fewer names make none of them lighter.
fn too_long() -> Problem {
    Problem::invalid(
        "That range holds more measurements than one answer may; ask for a shorter range.",
    )
}

/// Of these only what was asked for is decoded.
fn too_much() -> Problem {
    Problem::invalid(
        "That range holds more measurements than one answer may; ask for a shorter range, or for some names only.",
    )
}

impl Gathered {
    fn decode(self, still: &AtomicBool) -> Result<MetricsBody, Problem> {
        let mut work = Work {
            range: self.range,
            names: self.names,
            steps: Downsampler::new(self.range),
            seen: HashSet::new(),
            cells: 0,
        };
        let mut unnamed = 0;
        for stored in self.blocks {
            if !still.load(Ordering::Relaxed) {
                return Err(Problem::internal());
            }
            let Some(table) = self.tables.get(&stored.series_hash) else {
                unnamed += 1;
                continue;
            };
            match stored.step {
                Some(step) => work.packed(table, &stored, step)?,
                None => work.loose(table, stored)?,
            }
        }
        if unnamed > 0 {
            tracing::debug!(unnamed, "Blocks without a table of their columns were left out.");
        }
        let (series, left_out): (Vec<SeriesBody>, u64) = work.steps.finish();
        let range = self.range;
        Ok(MetricsBody {
            from: from_ms(range.first * 60_000),
            to: from_ms(range.end() * 60_000),
            step_s: range.step * 60,
            times: range.times(),
            series,
            left_out,
            gaps: self.gaps,
        })
    }
}

struct Work {
    range: Range,
    names: Option<HashSet<String>>,
    steps: Downsampler,
    /// Minutes of loose rollups, by table: they replace what came before them.
    seen: HashSet<(i64, u64)>,
    cells: u64,
}

impl Work {
    fn wants(&self, name: &str) -> bool {
        self.names.as_ref().is_none_or(|names| names.contains(name))
    }

    /// Counts cells about to be decoded.
    fn spend(&mut self, rows: usize, columns: usize) -> Result<(), Problem> {
        self.cells = self.cells.saturating_add(rows as u64 * columns as u64);
        if self.cells > MAX_CELLS { Err(too_much()) } else { Ok(()) }
    }

    fn packed(
        &mut self,
        table: &SeriesTable,
        stored: &StoredBlock,
        step: i32,
    ) -> Result<(), Problem> {
        let Ok(block) = Block::parse(&stored.block) else { return Ok(()) };
        let minutes = block.minutes();
        self.spend(minutes.len(), 1)?;
        // Asked once a row and not once a cell. Rows of longer steps are replaced
        // by no minute.
        let held: Vec<bool> = minutes
            .iter()
            .map(|m| {
                self.range.holds(*m) && (step > 1 || !self.seen.contains(&(stored.series_hash, *m)))
            })
            .collect();
        if !held.contains(&true) {
            return Ok(());
        }
        let holds = |row: usize| held.get(row).copied().unwrap_or_default();
        for (column, series) in table.series.iter().enumerate() {
            if !self.wants(&series.name) {
                continue;
            }
            self.spend(minutes.len(), 1)?;
            let Ok(cells) = block.column(column) else { continue };
            self.steps.add(series, minutes, block.counts(), &cells, holds);
        }
        Ok(())
    }

    fn loose(&mut self, table: &SeriesTable, stored: StoredBlock) -> Result<(), Problem> {
        let hash = stored.series_hash;
        let block =
            RollupBlock { table: u32::try_from(hash).unwrap_or_default(), columns: stored.block };
        let Some((rows, width)) = block.dimensions() else { return Ok(()) };
        self.spend(rows, width)?;
        let Ok(rollups) = block.decode() else { return Ok(()) };
        let minutes: Vec<u64> = rollups.iter().map(|r| r.minute).collect();
        let counts: Vec<u16> = rollups.iter().map(|r| r.count).collect();
        let mut held = Vec::with_capacity(minutes.len());
        for minute in &minutes {
            held.push(self.range.holds(*minute) && self.seen.insert((hash, *minute)));
        }
        let holds = |row: usize| held.get(row).copied().unwrap_or_default();
        for (column, series) in table.series.iter().enumerate() {
            if !self.wants(&series.name) {
                continue;
            }
            let cells: Vec<Option<Aggregate>> =
                rollups.iter().map(|r| r.values.get(column).copied().flatten()).collect();
            self.steps.add(series, &minutes, &counts, &cells, holds);
        }
        Ok(())
    }
}

/// Decodes what a device has for somebody who has gone.
#[cfg(test)]
pub(super) async fn stops_when_unwanted(tx: &mut TenantTx, device: &DeviceRef) {
    let Ok(range) = Range::new(0, 60_000 * 2000, None) else { unreachable!() };
    let asked = Asked { range, names: None };
    let Ok(cost) = weigh(tx, device, &asked).await else { unreachable!() };
    let Ok(gathered) = gather(tx, device, asked, &cost).await else { unreachable!() };
    assert!(!gathered.blocks.is_empty());
    assert!(gathered.decode(&AtomicBool::new(false)).is_err());
}
