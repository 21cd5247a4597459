//! Measurements: series, samples as the agent takes them, one-minute rollups
//! as the relay forwards them.
//!
//! Values are scaled integers: `value = raw / 10^scale`. Integers compress far
//! better than floats and two computers agree on them to the bit.
//!
//! A device's series table names its columns once; samples and rollups refer to
//! it by its [`SeriesTable::hash`] and carry columns only. A table is a report
//! of its own in the same lane, before the first sample that uses it.

pub mod block;
mod builder;
mod column;
mod model;
pub mod newest;
mod numbers;
mod range;
mod rollup;

pub use builder::{Closed, RollupBuilder};
pub use rollup::{Aggregate, MAX_CELLS, MAX_MINUTES, Rollup, RollupBlock};

use crate::ProtocolError;
use serde::{Deserialize, Serialize};

/// Most series of one device.
pub const MAX_SERIES: usize = 512;

/// Longest name, label or unit of a column, in bytes.
pub const MAX_NAME: usize = 256;
/// Most decimal digits of a column: more than a raw value has.
pub const MAX_SCALE: u8 = 18;

/// One column of measurements.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Series {
    /// What is measured, in dotted lower case: `cpu.busy`, `disk.used`.
    pub name: String,
    /// Which of several: a mount point, an interface. Empty when there is one.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub label: String,
    /// Unit of the value: `percent`, `bytes`, `bytes_per_s`, `count`, `celsius`,
    /// `seconds`, `load`, `ops_per_s`.
    pub unit: String,
    /// Decimal digits behind the point that `raw` carries.
    pub scale: u8,
}

/// The columns of a device, in order.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct SeriesTable {
    /// At most [`MAX_SERIES`].
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_SERIES, _, _>")]
    pub series: Vec<Series>,
}

impl SeriesTable {
    /// Whether everyone on its way takes it: what a relay takes, the cloud must too.
    ///
    /// # Errors
    /// [`ProtocolError::Invalid`] with what it has too much of.
    pub fn check(&self) -> Result<(), ProtocolError> {
        if self.series.len() > MAX_SERIES {
            return Err(ProtocolError::Invalid("the table has too many columns"));
        }
        let long = |text: &str| text.len() > MAX_NAME;
        if self.series.iter().any(|s| long(&s.name) || long(&s.label) || long(&s.unit)) {
            return Err(ProtocolError::Invalid("a column's name, label or unit is too long"));
        }
        if self.series.iter().any(|s| s.scale > MAX_SCALE) {
            return Err(ProtocolError::Invalid("a column has too many decimal digits"));
        }
        Ok(())
    }

    /// Names the table: the first four bytes of the BLAKE3 hash of its content.
    #[must_use]
    pub fn hash(&self) -> u32 {
        let mut hasher = blake3::Hasher::new();
        for s in &self.series {
            for part in [s.name.as_bytes(), s.label.as_bytes(), s.unit.as_bytes(), &[s.scale]] {
                hasher.update(&(part.len() as u64).to_le_bytes());
                hasher.update(part);
            }
        }
        let mut four = [0; 4];
        hasher.finalize_xof().fill(&mut four);
        u32::from_le_bytes(four)
    }
}

/// All columns at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Unix milliseconds by the device's clock.
    pub at_ms: u64,
    /// [`SeriesTable::hash`] of the table that names the columns.
    pub table: u32,
    /// One scaled integer a column; `None` where nothing was measured.
    #[serde(deserialize_with = "crate::codec::at_most::<MAX_SERIES, _, _>")]
    pub values: Vec<Option<i64>>,
}

#[cfg(test)]
mod tests;
