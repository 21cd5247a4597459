//! The newest load of every device, for the cloud's lists: looked at once a minute,
//! and as soon as the cloud is reached. What becomes of it is the session's affair;
//! nothing waits, and nothing is kept: the next minute tells it again.

use crate::{
    samples,
    shadow::Shadows,
    store::{StoreError, StoreHandle},
    uplink::UplinkState,
};
use std::{collections::HashMap, sync::Arc, time::Duration};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    ids::DeviceId,
    telemetry::newest::{Load, LoadColumns},
};

/// How often.
const EVERY: Duration = Duration::from_secs(60);

/// Loads as of one moment.
pub(crate) type Loads = Arc<Vec<(DeviceId, Load)>>;

/// Looks.
pub(crate) struct Newest {
    store: StoreHandle,
    shadows: Shadows,
    columns: HashMap<DeviceId, (u32, LoadColumns)>,
    out: watch::Sender<Loads>,
}

impl Newest {
    pub(crate) fn new(store: StoreHandle, shadows: Shadows) -> (Self, watch::Receiver<Loads>) {
        let (out, loads) = watch::channel(Loads::default());
        (Self { store, shadows, columns: HashMap::new(), out }, loads)
    }

    /// Runs until cancelled.
    pub(crate) async fn run(
        mut self,
        mut state: watch::Receiver<UplinkState>,
        cancel: CancellationToken,
    ) {
        let mut tick = tokio::time::interval(EVERY);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                changed = state.changed() => if changed.is_err() { return },
                _ = tick.tick() => {}
            }
            if !state.borrow_and_update().up {
                continue;
            }
            tick.reset();
            match self.look().await {
                Ok(loads) => drop(self.out.send_replace(Arc::new(loads))),
                Err(error) => tracing::warn!(%error, "the newest loads could not be looked up"),
            }
        }
    }

    /// What every device measured last, as far as its columns are known.
    async fn look(&mut self) -> Result<Vec<(DeviceId, Load)>, StoreError> {
        let shadows = self.shadows.all();
        self.columns.retain(|device, _| shadows.contains_key(device));
        let samples =
            || shadows.iter().filter_map(|(device, s)| Some((*device, s.newest.as_ref()?)));
        let known = |device, table| self.columns.get(&device).is_some_and(|(of, _)| *of == table);
        let unknown: Vec<(DeviceId, u32)> = samples()
            .filter(|(device, sample)| !known(*device, sample.table))
            .map(|(device, sample)| (device, sample.table))
            .collect();
        if !unknown.is_empty() {
            let found = self.store.read(move |tx| {
                let mut found = Vec::with_capacity(unknown.len());
                for (device, hash) in unknown {
                    let table = samples::series(tx, device, hash)?;
                    found.extend(table.map(|t| (device, (hash, LoadColumns::of(&t)))));
                }
                Ok(found)
            });
            self.columns.extend(found.await?);
        }
        let load = |(device, sample): (DeviceId, &unifyit_protocol::telemetry::Sample)| {
            let (_, columns) = self.columns.get(&device).filter(|(of, _)| *of == sample.table)?;
            Some((device, columns.load(sample.at_ms, &sample.values)))
        };
        Ok(samples().filter_map(load).collect())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;
    use crate::store::tests::{Rig, START_MS};
    use unifyit_protocol::telemetry::{Sample, Series, SeriesTable};

    #[tokio::test]
    async fn every_device_with_known_columns_is_told_of() {
        let rig = Rig::new();
        let (known, unknown) = (rig.enrol().await, rig.enrol().await);
        let series = Series {
            name: "cpu.busy".into(),
            label: String::new(),
            unit: "percent".into(),
            scale: 1,
        };
        let table = SeriesTable { series: vec![series] };
        let hash = table.hash();
        rig.store.write(move |txn| txn.take_series(known, table)).await.unwrap();
        let shadows = Shadows::default();
        let sample = |value| Sample { at_ms: START_MS, table: hash, values: vec![Some(value)] };
        shadows.change(known, |s| s.newest = Some(sample(123)));
        shadows.change(unknown, |s| s.newest = Some(sample(456)));
        let (mut newest, _loads) = Newest::new(rig.store.clone(), shadows.clone());
        let load = |cpu| Load { at_s: START_MS / 1000, cpu: Some(cpu), memory: None, disk: None };
        assert_eq!(newest.look().await.unwrap(), [(known, load(123))]);
        shadows.change(known, |s| s.newest = Some(sample(124)));
        assert_eq!(newest.look().await.unwrap(), [(known, load(124))]);
        // Other columns, of which the load is the second.
        let column = |name: &str| Series {
            name: name.into(),
            label: String::new(),
            unit: "percent".into(),
            scale: 1,
        };
        let table = SeriesTable { series: vec![column("other"), column("cpu.busy")] };
        let (table_hash, values) = (table.hash(), vec![Some(1), Some(125)]);
        rig.store.write(move |txn| txn.take_series(known, table)).await.unwrap();
        let sample = Sample { at_ms: START_MS, table: table_hash, values };
        shadows.change(known, |s| s.newest = Some(sample));
        assert_eq!(newest.look().await.unwrap(), [(known, load(125))]);
    }
}
