//! Whatever happens, in whatever order.

use super::{doubt::reports, *};
use proptest::prelude::*;

/// When the records of a lane on disk were made.
fn on_disk(store: &Store, lane: Lane) -> Vec<u64> {
    let read = store.read(|tables| {
        let table = tables.open_table(SPOOL)?;
        let whole = (key_of(lane), 0, 0)..(key_of(lane) + 1, 0, 0);
        table.range(whole)?.map(|record| Ok(record?.1.value().0)).collect()
    });
    read.unwrap()
}

#[derive(Debug, Clone)]
enum Step {
    Report(bool),
    /// So many reports whose commit fails; and whether all of it is in the file.
    Fail(u64, bool),
    Send {
        lost: bool,
        ack_lost: bool,
    },
    Reconnect,
    /// And whether its commit only seems to fail.
    Settle(bool),
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => any::<bool>().prop_map(Step::Report),
        6 => (any::<bool>(), any::<bool>())
            .prop_map(|(lost, ack_lost)| Step::Send { lost, ack_lost }),
        2 => Just(Step::Reconnect),
        1 => (1..4_u64, any::<bool>()).prop_map(|(count, kept)| Step::Fail(count, kept)),
        1 => any::<bool>().prop_map(Step::Settle),
        1 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn whatever_happens_the_relay_holds_every_durable_report_once_and_in_order(
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let outcome: Result<(), TestCaseError> = runtime.block_on(async {
            let dir = tempfile::tempdir().unwrap();
            let (mut store, mut spool) = open(dir.path(), ROOMY);
            let mut relay = Relay::default();
            let (mut n, mut urgent, mut doubted) = (0, Vec::new(), Vec::new());
            let (mut metrics, mut unsettled) = (Vec::new(), Vec::new());
            spool.welcome(&[]).unwrap();
            // A crash before anything was ever written makes it a new device.
            store.write(|_| Ok(())).await.unwrap();
            for step in steps {
                match step {
                    Step::Report(true) => {
                        n += 1;
                        report(&store, Lane::Urgent, n).await;
                        urgent.push(n);
                    }
                    Step::Fail(count, kept) => {
                        if kept { store.fails() } else { store.loses() }
                        let several = reports(&store, n + 1, count);
                        prop_assert!(several.await.is_err());
                        doubted.extend(n + 1..=n + count);
                        n += count;
                    }
                    Step::Report(false) => {
                        n += 1;
                        spool.push_metric(n, &sample(n));
                        unsettled.push(n);
                    }
                    Step::Send { lost, ack_lost } => {
                        if let Some(batch) = spool.next_batch(None, Instant::now()).unwrap()
                            && !lost
                        {
                            let ack = relay.take(&batch);
                            if !ack_lost {
                                spool.acked(&ack, Instant::now());
                            }
                        }
                    }
                    Step::Reconnect => {
                        spool.link_lost();
                        prop_assert_eq!(
                            spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds
                        );
                    }
                    Step::Settle(true) => {
                        spool.settle(u64::MAX).await.unwrap();
                        metrics.append(&mut unsettled);
                    }
                    Step::Settle(false) => {
                        store.fails();
                        // Nothing is written where nothing waits.
                        let _failed = spool.settle(u64::MAX).await;
                        let _taken = store.write(|_| Ok(())).await;
                    }
                    Step::Crash => {
                        drop((store, spool));
                        (store, spool) = open(dir.path(), ROOMY);
                        // Samples in memory go with a crash, unless the relay has them; or
                        // the file, by a commit that seemed to fail.
                        let mut there = relay.times(Lane::Metrics);
                        there.extend(on_disk(&store, Lane::Metrics));
                        unsettled.retain(|n| there.contains(n));
                        metrics.append(&mut unsettled);
                        prop_assert_eq!(
                            spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds
                        );
                    }
                }
            }
            spool.link_lost();
            spool.welcome(&relay.welcome()).unwrap();
            drain(&spool, &mut relay);
            metrics.append(&mut unsettled);
            let mut told = relay.times(Lane::Urgent);
            prop_assert!(told.is_sorted_by(|one, next| one < next), "{:?}", told);
            told.retain(|n| !doubted.contains(n));
            prop_assert_eq!(told, urgent);
            prop_assert_eq!(relay.times(Lane::Metrics), metrics);
            prop_assert_eq!(relay.gaps, 0);
            Ok(())
        });
        outcome?;
    }
}
