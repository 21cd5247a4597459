//! One-minute rollups and their columnar encoding.

use serde::{Deserialize, Serialize};

/// What a minute of one series came to, in scaled integers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Aggregate {
    /// Smallest.
    pub min: i64,
    /// Largest.
    pub max: i64,
    /// Mean, rounded to nearest, ties away from zero.
    pub avg: i64,
    /// Latest.
    pub last: i64,
}

/// All columns over one minute.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rollup {
    /// Unix minutes: the minute that starts at `minute * 60_000` ms.
    pub minute: u64,
    /// Samples that went in. A column may have had fewer.
    pub count: u16,
    /// One aggregate a column; `None` where nothing was measured.
    pub values: Vec<Option<Aggregate>>,
}

/// Consecutive rollups of one device and series table, column by column.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RollupBlock {
    /// [`super::SeriesTable::hash`] of the columns.
    pub table: u32,
    /// The encoded columns.
    #[serde(with = "serde_bytes")]
    pub columns: Vec<u8>,
}
