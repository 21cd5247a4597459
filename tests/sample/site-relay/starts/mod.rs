//! When each computer's agent last started, for the site while it is alone.

use crate::store::{
    StoreError,
    part::{Gauge, Part, tables},
    tables::device_key,
    txn::Txn,
};
use redb::{ReadTransaction, ReadableTableMetadata as _};
use unifyit_protocol::{
    envelope::Decoded,
    feature::FeatureReport,
    ids::DeviceId,
    starts::{self, Said},
};

tables! { starts:
    /// Device → when its agent last started, Unix milliseconds.
    starts: u128 => u64, STARTS = "starts";
}

/// Starts, as a part of the store.
pub(crate) struct Starts;

/// What is remembered of them.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    /// Computers of which one is known.
    known: usize,
}

impl Part for Starts {
    type Tables<'t> = Tables<'t>;
    type Memory = Memory;
    type Gathered = ();
    type Shared = ();

    const GAUGES: &'static [Gauge<Memory>] =
        &[Gauge { name: "starts_known", help: "Computers that told a start", read: |m| m.known }];

    fn load(tx: &ReadTransaction) -> Result<Memory, StoreError> {
        let known = tx.open_table(STARTS)?.len()?;
        Ok(Memory { known: usize::try_from(known).unwrap_or(usize::MAX) })
    }

    fn hear(
        txn: &mut Txn<'_>,
        device: DeviceId,
        report: &FeatureReport,
    ) -> Result<(), StoreError> {
        if report.feature != starts::FEATURE {
            return Ok(());
        }
        if let Ok(Decoded::Known(Said::Started(start))) = Said::decode(&report.body) {
            let before = txn.starts()?.insert(device_key(device), start.at_ms)?.is_some();
            txn.mem.parts.starts.known += usize::from(!before);
        }
        Ok(())
    }
}
