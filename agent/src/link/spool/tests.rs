//! The spool against a model relay: over losses, restarts and lost memories, the
//! relay always holds a prefix of what was reported (G4), and in the end all.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod any;
mod doubt;

use super::*;
use crate::store::Store;
use std::{collections::BTreeMap, path::Path, time::Duration};
use unifyit_protocol::{
    envelope::Decoded,
    ids::CommandId,
    outcome::{CommandEvent, Status},
    telemetry::Sample,
};

const ROOMY: Quotas = Quotas([1 << 24; 4]);

fn open(dir: &Path, quotas: Quotas) -> (Store, Spool) {
    // An earlier store of the same test closes its file when its writer ends.
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match Store::open(dir, quotas, 1_000) {
            Ok(store) => return (store.clone(), Spool::new(store)),
            Err(StoreError::InUse) if Instant::now() < deadline => std::thread::yield_now(),
            Err(error) => panic!("{error}"),
        }
    }
}

fn event(n: u64) -> Report {
    Report::Command(CommandEvent {
        command: CommandId::generate(),
        status: Status::Running,
        at_ms: n,
        exit_code: None,
        reason: None,
        output_len: 0,
        output_cut: 0,
    })
}

fn sample(n: u64) -> Report {
    Report::Sample(Sample { at_ms: n, table: 1, values: vec![Some(1); 8] })
}

async fn report(store: &Store, lane: Lane, n: u64) {
    let report = event(n);
    store.write(move |txn| append(txn, lane, n, &report)).await.unwrap();
}

/// What the relay does with batches, by the rule that `protocol::report` states.
#[derive(Default)]
struct Relay {
    positions: [Position; 4],
    got: Vec<(Lane, u64)>,
    gaps: u64,
    spans: BTreeMap<Lane, (u64, u64)>,
}

impl Relay {
    fn take(&mut self, bytes: &[u8]) -> ReportAck {
        let batch: ReportBatch = codec::decode(bytes).unwrap();
        assert!(batch.reports.len() <= MAX_BATCH);
        let at = &mut self.positions[index_of(batch.lane)];
        let continues = if batch.prev == 0 && batch.epoch > at.epoch {
            true
        } else {
            batch.epoch == at.epoch && batch.prev == at.seq
        };
        if continues {
            let mut next = batch.prev + 1;
            for report in &batch.reports {
                let decoded = Report::decode(&report.body).unwrap();
                let Decoded::Known(known) = decoded else { panic!("an unknown report") };
                match known {
                    Report::Gap(gap) => {
                        self.gaps += gap.count;
                        self.spans.insert(gap.lane, (gap.from_ms, gap.to_ms));
                        next = report.seq;
                    }
                    Report::Command(e) => self.got.push((batch.lane, e.at_ms)),
                    Report::Sample(s) => self.got.push((batch.lane, s.at_ms)),
                    _ => {}
                }
                assert_eq!(report.seq, next, "a hole without a gap");
                next += 1;
            }
            *at = Position { epoch: batch.epoch, seq: next - 1 };
        }
        let at = *at;
        ReportAck { lane: batch.lane, epoch: at.epoch, through: at.seq }
    }

    fn welcome(&self) -> Vec<ReportAck> {
        Lane::ALL
            .into_iter()
            .map(|lane| (lane, self.positions[index_of(lane)]))
            .filter(|(_, at)| at.epoch > 0)
            .map(|(lane, at)| ReportAck { lane, epoch: at.epoch, through: at.seq })
            .collect()
    }

    fn times(&self, lane: Lane) -> Vec<u64> {
        self.got.iter().filter(|(l, _)| *l == lane).map(|(_, n)| *n).collect()
    }
}

fn index_of(lane: Lane) -> usize {
    book::index(lane)
}

/// Sends until nothing is left.
fn drain(spool: &Spool, relay: &mut Relay) {
    let mut now = Instant::now();
    for _ in 0..10_000 {
        while let Some(batch) = spool.next_batch(None, now).unwrap() {
            let ack = relay.take(&batch);
            spool.acked(&ack, now);
        }
        if spool.is_drained() {
            return;
        }
        now += Duration::from_secs(20);
        spool.retry_stale(now);
    }
    panic!("the spool does not drain");
}

#[tokio::test]
async fn reports_arrive_in_order_and_are_forgotten_once_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = open(dir.path(), Quotas([128 << 10; 4]));
    let mut relay = Relay::default();
    assert_eq!(spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds);
    for n in 1..=700 {
        report(&store, Lane::Urgent, n).await;
    }
    drain(&spool, &mut relay);
    assert_eq!(relay.times(Lane::Urgent), (1..=700).collect::<Vec<_>>());
    store.write(|_| Ok(())).await.unwrap();
    let kept = Quotas([128 << 10; 4]).0[0] / 4;
    let left = store.read(|tables| {
        let table = tables.open_table(SPOOL)?;
        let mut bytes = 0;
        for record in redb::ReadableTable::iter(&table)? {
            bytes += record?.1.value().1.len() as u64;
        }
        Ok(bytes)
    });
    assert!(left.unwrap() <= kept, "some are kept for a relay that is set back, no more");
}

#[tokio::test]
async fn a_crash_keeps_what_was_durable_and_the_next_epoch_follows_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut relay = Relay::default();
    let (store, spool) = open(dir.path(), ROOMY);
    let first = spool.epoch();
    for n in 1..=5 {
        report(&store, Lane::Urgent, n).await;
    }
    spool.push_metric(6, &sample(6));
    spool.settle(u64::MAX).await.unwrap();
    drop((store, spool));
    let (store, spool) = open(dir.path(), ROOMY);
    assert!(spool.epoch() > first);
    report(&store, Lane::Urgent, 7).await;
    spool.push_metric(8, &sample(8));
    assert_eq!(spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds);
    drain(&spool, &mut relay);
    assert_eq!(relay.times(Lane::Urgent), [1, 2, 3, 4, 5, 7]);
    assert_eq!(relay.times(Lane::Metrics), [6, 8]);
}

#[tokio::test]
async fn acknowledged_samples_never_touch_the_disk() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = open(dir.path(), ROOMY);
    let mut relay = Relay::default();
    spool.welcome(&[]).unwrap();
    for n in 1..=50 {
        spool.push_metric(n, &sample(n));
        let batch = spool.next_batch(None, Instant::now()).unwrap().unwrap();
        let ack = relay.take(&batch);
        spool.acked(&ack, Instant::now());
        spool.settle(u64::MAX).await.unwrap();
    }
    assert_eq!(relay.times(Lane::Metrics).len(), 50);
    let disk = store
        .read(|tables| Ok(redb::ReadableTableMetadata::len(&tables.open_table(SPOOL)?)?))
        .unwrap();
    assert_eq!(disk, 0);
}

#[tokio::test]
async fn a_full_lane_drops_its_oldest_with_a_gap_and_leaves_the_others_alone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = open(dir.path(), Quotas([1 << 20, 4096, 4096, 4096]));
    report(&store, Lane::Urgent, 1).await;
    for n in 1..=200 {
        report(&store, Lane::Output, n).await;
    }
    let mut relay = Relay::default();
    spool.welcome(&[]).unwrap();
    drain(&spool, &mut relay);
    let kept = relay.times(Lane::Output);
    assert_eq!(relay.times(Lane::Urgent), [1]);
    assert_eq!(kept.last(), Some(&200));
    assert!(!kept.is_empty() && kept.len() < 200);
    assert_eq!(relay.gaps + kept.len() as u64, 200, "every loss is told");
}

#[tokio::test]
async fn samples_that_find_no_disk_leave_a_gap_too() {
    let dir = tempfile::tempdir().unwrap();
    let (_store, spool) = open(dir.path(), ROOMY);
    for n in 1..=3000 {
        spool.push_metric(n, &sample(n));
    }
    let mut relay = Relay::default();
    spool.welcome(&[]).unwrap();
    drain(&spool, &mut relay);
    let kept = relay.times(Lane::Metrics);
    assert_eq!(kept.last(), Some(&3000));
    assert_eq!(relay.gaps + kept.len() as u64, 3000);
}

#[tokio::test]
async fn a_relay_that_lost_its_memory_gets_what_waits_in_a_new_epoch() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = open(dir.path(), ROOMY);
    let mut old = Relay::default();
    spool.welcome(&[]).unwrap();
    report(&store, Lane::Urgent, 1).await;
    drain(&spool, &mut old);
    report(&store, Lane::Urgent, 2).await;
    spool.push_metric(3, &sample(3));
    let mut fresh = Relay::default();
    let Continuity::BrokenAbove(above) = spool.welcome(&fresh.welcome()).unwrap() else {
        panic!("the loss went unnoticed")
    };
    spool.start_over(above).await.unwrap();
    assert!(spool.state_was_lost(), "the inventory must be told again");
    assert_eq!(spool.welcome(&fresh.welcome()).unwrap(), Continuity::Holds);
    drain(&spool, &mut fresh);
    assert_eq!(fresh.times(Lane::Urgent), [1, 2], "what is still kept is told again");
    assert_eq!(fresh.times(Lane::Metrics), [3]);
}

#[tokio::test]
async fn a_relay_that_was_set_back_is_told_again_and_the_rest_is_a_gap() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = open(dir.path(), Quotas([1 << 20, 1 << 20, 8192, 1 << 20]));
    let mut relay = Relay::default();
    spool.welcome(&[]).unwrap();
    let part = async |from: u64, to: u64| {
        for n in from..=to {
            report(&store, Lane::Urgent, n).await;
            report(&store, Lane::Output, n).await;
            spool.push_metric(n * 10_000, &sample(n * 10_000));
        }
    };
    part(1, 40).await;
    drain(&spool, &mut relay);
    let mut old = Relay { positions: relay.positions, ..Relay::default() };
    part(41, 400).await;
    drain(&spool, &mut relay);
    store.write(|_| Ok(())).await.unwrap();

    spool.link_lost();
    let Continuity::BrokenAbove(above) = spool.welcome(&old.welcome()).unwrap() else {
        panic!("the loss went unnoticed")
    };
    spool.start_over(above).await.unwrap();
    assert_eq!(spool.welcome(&old.welcome()).unwrap(), Continuity::Holds);
    drain(&spool, &mut old);
    assert_eq!(old.times(Lane::Urgent), (41..=400).collect::<Vec<_>>(), "kept and told again");
    let output = old.times(Lane::Output);
    assert!(!output.is_empty() && output.last() == Some(&400), "{output:?}");
    assert!(output.len() < 300, "what is kept is bounded: {}", output.len());
    assert_eq!(old.times(Lane::Metrics), [0; 0]);
    assert_eq!(old.gaps, 360 + 360 - output.len() as u64, "the rest is counted");
    let (from, to) = old.spans[&Lane::Metrics];
    assert!((400_000..=470_000).contains(&from) && to == 4_000_000, "{from} to {to}");
}

#[tokio::test]
async fn a_relay_that_is_ahead_of_a_wiped_agent_is_overtaken() {
    let dir = tempfile::tempdir().unwrap();
    let (store, spool) = open(dir.path(), ROOMY);
    report(&store, Lane::Urgent, 1).await;
    let mut relay = Relay::default();
    // In two lanes, of which one stays quiet.
    let above = 9_000_000_000_000;
    relay.positions[..2].fill(Position { epoch: above, seq: 77 });
    assert_eq!(spool.welcome(&relay.welcome()).unwrap(), Continuity::BrokenAbove(above));
    spool.start_over(above).await.unwrap();
    assert_eq!(spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds);
    drain(&spool, &mut relay);
    assert_eq!(relay.times(Lane::Urgent), [1]);
    // That was said once: what is given now is not refused at each start.
    drop((store, spool));
    let (_store, spool) = open(dir.path(), ROOMY);
    assert_eq!(spool.welcome(&relay.welcome()).unwrap(), Continuity::Holds);
}
