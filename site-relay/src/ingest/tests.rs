//! Batches into the store: continuity, exactly-once rollups, late minutes.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

mod blocks;
mod bounds;
mod features;

use super::{Answer, Item, apply::Applied, apply_all, batch};
use crate::{
    rollup,
    samples::MINUTE_MS,
    store::{
        StoreHandle,
        tests::{Rig, START_MS},
    },
};
use std::collections::BTreeMap;
use unifyit_protocol::{
    codec,
    ids::{CommandId, DeviceId},
    lane::Lane,
    link::UpRecord,
    outcome::{CommandEvent, OutputChunk, Status, Stream},
    report::{BATCH_BUDGET, Report, ReportBatch, Sequenced},
    telemetry::{Sample, Series, SeriesTable},
};

fn table() -> SeriesTable {
    let series = Series { name: "a".into(), label: String::new(), unit: "count".into(), scale: 0 };
    SeriesTable { series: vec![series] }
}

fn sample(at_ms: u64, value: i64) -> Report {
    Report::Sample(Sample { at_ms, table: table().hash(), values: vec![Some(value)] })
}

fn event(command: CommandId, status: Status) -> Report {
    let event = CommandEvent {
        command,
        status,
        at_ms: START_MS,
        exit_code: None,
        reason: None,
        output_len: 0,
        output_cut: 0,
    };
    Report::Command(event)
}

fn payload(lane: Lane, epoch: u64, prev: u64, reports: &[(u64, Report)]) -> Vec<u8> {
    let reports = reports
        .iter()
        .map(|(seq, report)| Sequenced { seq: *seq, body: report.encode().unwrap() })
        .collect();
    codec::encode(&ReportBatch { epoch, lane, prev, shift_ms: Some(0), reports }).unwrap()
}

fn decode(
    device: DeviceId,
    payload: &[u8],
    now_ms: u64,
) -> Result<batch::Batch, unifyit_protocol::ProtocolError> {
    batch::decode_for(device, payload, now_ms, 0, &mut { BATCH_BUDGET })
}

async fn send(
    store: &StoreHandle,
    device: DeviceId,
    lane: Lane,
    (epoch, prev): (u64, u64),
    reports: &[Report],
) -> Applied {
    let numbered: Vec<_> = (prev + 1..).zip(reports.iter().cloned()).collect();
    let bytes = payload(lane, epoch, prev, &numbered);
    let batch = decode(device, &bytes, store.now_ms()).unwrap();
    let items = vec![Item::Batch(batch)];
    match store.write(move |txn| apply_all(txn, items)).await.unwrap().remove(0) {
        Answer::Batch { applied, .. } => applied,
        other => panic!("{other:?}"),
    }
}

/// Rollups as the cloud ends up with: the last one of a device and minute.
async fn at_cloud(rig: &Rig) -> BTreeMap<(DeviceId, u64), (u16, i64)> {
    let mut all = BTreeMap::new();
    for record in rig.waiting(Lane::Metrics).await {
        let UpRecord::Metrics(metrics) = record else { continue };
        for one in metrics {
            for rollup in one.block.decode().unwrap() {
                let last = rollup.values[0].unwrap().last;
                all.insert((one.device, rollup.minute), (rollup.count, last));
            }
        }
    }
    all
}

/// Rollups on their way to the cloud, repeats included.
async fn made(rig: &Rig) -> usize {
    let records = rig.waiting(Lane::Metrics).await.into_iter();
    let blocks = records.filter_map(|r| match r {
        UpRecord::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    blocks.flatten().map(|one| one.block.decode().unwrap().len()).sum()
}

#[tokio::test]
async fn a_batch_is_taken_once_and_only_where_it_continues() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let (a, b, c) = (sample(START_MS, 1), sample(START_MS + 1, 2), sample(START_MS + 2, 3));
    let first = send(&rig.store, device, Lane::Metrics, (7, 0), &[a.clone(), b.clone()]).await;
    assert_eq!((first.position, first.out_of_step), ((7, 2), false));
    let hole = send(&rig.store, device, Lane::Metrics, (7, 5), std::slice::from_ref(&c)).await;
    assert_eq!((hole.position, hole.out_of_step), ((7, 2), true));
    let twice = send(&rig.store, device, Lane::Metrics, (7, 0), &[a.clone(), b]).await;
    assert_eq!((twice.position, twice.out_of_step), ((7, 2), false));
    let overlap = send(&rig.store, device, Lane::Metrics, (7, 1), &[a.clone(), c]).await;
    assert_eq!(overlap.position, (7, 3));
    let old = send(&rig.store, device, Lane::Metrics, (6, 9), std::slice::from_ref(&a)).await;
    assert_eq!(old.position, (7, 3), "an earlier epoch is behind it");
    let middle = send(&rig.store, device, Lane::Metrics, (8, 4), std::slice::from_ref(&a)).await;
    assert!(middle.out_of_step, "an epoch opens with its first number");
    let fresh = send(&rig.store, device, Lane::Metrics, (8, 0), &[a]).await;
    assert_eq!(fresh.position, (8, 1));
    let rig = rig.crash();
    let (store, d) = (&rig.store, device);
    let after = send(store, d, Lane::Metrics, (8, 0), &[sample(START_MS, 9)]).await;
    assert_eq!(after.position, (8, 1), "the cursor survived");
}

#[tokio::test]
async fn a_device_behind_a_hole_that_nobody_can_fill_goes_on_and_the_hole_is_stated() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let mut taken = None;
    for attempt in 0..5 {
        let one = send(&rig.store, device, Lane::Metrics, (3, 40), &[sample(START_MS, 1)]).await;
        if !one.out_of_step {
            taken = Some((attempt, one.position));
            break;
        }
    }
    assert_eq!(taken, Some((3, (3, 41))));
    let urgent = rig.waiting(Lane::Urgent).await;
    assert!(urgent.iter().any(|r| matches!(r, UpRecord::Gap(g) if g.gap.count == 40)));
}

#[tokio::test]
async fn progress_of_many_devices_is_one_record_and_output_is_grouped() {
    let rig = Rig::new();
    let command = CommandId::generate();
    let mut items = Vec::new();
    for _ in 0..50 {
        let device = rig.enrol().await;
        let bytes = payload(Lane::Urgent, 1, 0, &[(1, event(command, Status::Running))]);
        items.push(Item::Batch(decode(device, &bytes, START_MS).unwrap()));
    }
    rig.store.write(move |txn| apply_all(txn, items)).await.unwrap();
    let progress: Vec<usize> = rig
        .waiting(Lane::Urgent)
        .await
        .into_iter()
        .filter_map(|r| match r {
            UpRecord::Progress(p) => Some(p.len()),
            _ => None,
        })
        .collect();
    assert_eq!(progress, [50]);
    let device = rig.enrol().await;
    let chunk = |offset| {
        let data = vec![b'x'; 10];
        Report::Output(OutputChunk { command, offset, stream: Stream::Stdout, data })
    };
    send(&rig.store, device, Lane::Output, (1, 0), &[chunk(0), chunk(10)]).await;
    let output = rig.waiting(Lane::Output).await;
    assert!(matches!(&output[..], [UpRecord::Output(o)] if o.chunks.len() == 2));
}

#[tokio::test]
async fn reports_that_cannot_be_read_are_stated_and_stop_nobody() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let reports = vec![
        Sequenced { seq: 1, body: vec![0xff, 0, 1] },
        Sequenced { seq: 2, body: sample(u64::MAX, 1).encode().unwrap() },
        Sequenced { seq: 3, body: sample(START_MS, 1).encode().unwrap() },
    ];
    let batch = ReportBatch { epoch: 1, lane: Lane::Metrics, prev: 0, shift_ms: Some(0), reports };
    let batch = decode(device, &codec::encode(&batch).unwrap(), START_MS).unwrap();
    let items = vec![Item::Batch(batch)];
    rig.store.write(move |txn| apply_all(txn, items)).await.unwrap();
    let urgent = rig.waiting(Lane::Urgent).await;
    let gaps = urgent.iter().filter(|r| matches!(r, UpRecord::Gap(g) if g.gap.count == 1));
    assert_eq!(gaps.count(), 2, "one that cannot be read, one of a time that has not come");
    rig.pass_ms(2 * MINUTE_MS);
    assert_eq!(rollup::close_all(&rig.store).await.unwrap(), 1);
}

#[tokio::test]
async fn a_kill_at_any_step_leaves_each_sample_in_the_rollups_once() {
    // Steps: report, find what is due, make the rollup, append it, report the
    // next minute. The relay is killed after each in turn, and goes on.
    for killed_after in 0..5 {
        let mut rig = Rig::new();
        let device = rig.enrol().await;
        let minute = START_MS / MINUTE_MS;
        let one: Vec<_> = (0..6).map(|n| sample(START_MS + n * 10_000, n as i64)).collect();
        send(&rig.store, device, Lane::Metrics, (1, 0), &one).await;
        if killed_after == 0 {
            rig = rig.crash();
        }
        rig.pass_ms(MINUTE_MS + 20_000);
        let due = rig.store.write(|txn| Ok(txn.due(&crate::travel::Ripe::all()))).await.unwrap();
        assert_eq!(due.len(), 1);
        if killed_after == 1 {
            rig = rig.crash();
        }
        let closed = rig.store.read(move |tx| rollup::roll_up(tx, &due, true)).await.unwrap();
        match killed_after {
            1 | 2 => rig = rig.crash(),
            _ => {
                let count = rig.store.write(move |txn| txn.close_minutes(closed)).await.unwrap();
                assert_eq!(count, 1);
            }
        }
        if killed_after == 3 {
            rig = rig.crash();
        }
        let two: Vec<_> =
            (0..3).map(|n| sample(START_MS + MINUTE_MS + n * 10_000, 100 + n as i64)).collect();
        send(&rig.store, device, Lane::Metrics, (1, 6), &two).await;
        if killed_after == 4 {
            rig = rig.crash();
        }
        rig.pass_ms(2 * MINUTE_MS);
        rollup::close_all(&rig.store).await.unwrap();
        let got = at_cloud(&rig).await;
        let want = BTreeMap::from([((device, minute), (6, 5)), ((device, minute + 1), (3, 102))]);
        assert_eq!(got, want, "killed after step {killed_after}");
        assert_eq!(made(&rig).await, 2, "each minute once, killed after step {killed_after}");
    }
}

#[tokio::test]
async fn a_sample_that_comes_while_its_minute_is_closed_is_not_lost() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    send(&rig.store, device, Lane::Metrics, (1, 0), &[sample(START_MS, 1)]).await;
    rig.pass_ms(2 * MINUTE_MS);
    let due = rig.store.write(|txn| Ok(txn.due(&crate::travel::Ripe::all()))).await.unwrap();
    let closed = rig.store.read(move |tx| rollup::roll_up(tx, &due, true)).await.unwrap();
    send(&rig.store, device, Lane::Metrics, (1, 1), &[sample(START_MS + 5, 2)]).await;
    let count = rig.store.write(move |txn| txn.close_minutes(closed)).await.unwrap();
    assert_eq!(count, 0, "the rollup was stale");
    rig.pass_ms(MINUTE_MS);
    rollup::close_all(&rig.store).await.unwrap();
    let minute = START_MS / MINUTE_MS;
    assert_eq!(at_cloud(&rig).await, BTreeMap::from([((device, minute), (2, 2))]));
}

#[tokio::test]
async fn a_late_sample_gives_a_rollup_that_replaces_the_one_sent() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let early = [sample(START_MS, 1), sample(START_MS + 10_000, 2)];
    send(&rig.store, device, Lane::Metrics, (1, 0), &early).await;
    rig.pass_ms(2 * MINUTE_MS);
    rollup::close_all(&rig.store).await.unwrap();
    rig.pass_ms(30 * MINUTE_MS);
    send(&rig.store, device, Lane::Metrics, (1, 2), &[sample(START_MS + 20_000, 3)]).await;
    rig.pass_ms(10_000);
    rollup::close_all(&rig.store).await.unwrap();
    let minute = START_MS / MINUTE_MS;
    assert_eq!(at_cloud(&rig).await, BTreeMap::from([((device, minute), (3, 3))]));
}

#[tokio::test]
async fn a_backlog_of_minutes_travels_packed() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    rig.pass_ms(600 * MINUTE_MS);
    let all: Vec<_> = (0..500).map(|n| sample(START_MS + n * MINUTE_MS, n as i64)).collect();
    for (n, some) in all.chunks(250).enumerate() {
        let prev = n as u64 * 250;
        send(&rig.store, device, Lane::Metrics, (1, prev), some).await;
    }
    rig.pass_ms(10_000);
    assert_eq!(rollup::close_all(&rig.store).await.unwrap(), 500);
    assert_eq!(at_cloud(&rig).await.len(), 500);
    assert!(rig.waiting(Lane::Metrics).await.len() <= 2);
}

#[tokio::test]
async fn raw_samples_go_when_they_are_old_but_never_before_their_rollup() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    send(&rig.store, device, Lane::Metrics, (1, 0), &[sample(START_MS, 1)]).await;
    let minute = START_MS / MINUTE_MS;
    rig.pass_ms(120 * MINUTE_MS);
    assert_eq!(rig.store.write(move |txn| txn.prune_raw(minute + 60)).await.unwrap().0, 0);
    rollup::close_all(&rig.store).await.unwrap();
    assert_eq!(rig.store.write(move |txn| txn.prune_raw(minute + 60)).await.unwrap().0, 1);
    assert_eq!(at_cloud(&rig).await.len(), 1);
}

#[tokio::test]
async fn column_names_travel_before_the_first_block_and_once() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let reports = [Report::Series(table()), sample(START_MS, 1)];
    send(&rig.store, device, Lane::Metrics, (1, 0), &reports).await;
    send(&rig.store, device, Lane::Metrics, (2, 0), &reports).await;
    rig.pass_ms(2 * MINUTE_MS);
    rollup::close_all(&rig.store).await.unwrap();
    let records = rig.waiting(Lane::Metrics).await;
    assert!(matches!(&records[..], [UpRecord::Series(_), UpRecord::Metrics(_)]));
}

/// Minutes that reach the cloud for a device whose samples of `at` came with `shift`.
async fn minutes_of(at: u64, shift_ms: Option<i64>, measured_ms: i64) -> (Rig, Vec<u64>) {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let reports = (1..=2u64)
        .map(|n| Sequenced { seq: n, body: sample(at + n * 1000, n as i64).encode().unwrap() });
    let (lane, reports) = (Lane::Metrics, reports.collect());
    let batch = ReportBatch { epoch: 1, lane, prev: 0, shift_ms, reports };
    let bytes = codec::encode(&batch).unwrap();
    let batch =
        batch::decode_for(device, &bytes, START_MS, measured_ms, &mut { BATCH_BUDGET }).unwrap();
    rig.store.write(move |txn| txn.take_batch(batch)).await.unwrap();
    rig.pass_ms(3 * MINUTE_MS);
    rollup::close_all(&rig.store).await.unwrap();
    let minutes = at_cloud(&rig).await.into_keys().map(|(_, minute)| minute).collect();
    (rig, minutes)
}

#[tokio::test]
async fn samples_of_a_wrong_clock_stand_at_the_right_time() {
    let hour = 60 * MINUTE_MS;
    let years = 10 * 365 * 24 * hour;
    let right = START_MS / MINUTE_MS;
    for off in [0, hour as i64, -(hour as i64), 24 * hour as i64, years as i64, -(years as i64)] {
        let at = START_MS.saturating_add_signed(off);
        let (_, told) = minutes_of(at, Some(-off), 0).await;
        assert_eq!(told, [right], "{off}: the agent knows");
        let (_, measured) = minutes_of(at, None, off).await;
        assert_eq!(measured, [right], "{off}: the relay measured");
    }
}

#[tokio::test]
async fn samples_of_a_time_that_has_not_come_leave_a_gap_that_names_the_clock() {
    let (rig, minutes) = minutes_of(START_MS + 2 * 60 * MINUTE_MS, Some(0), 0).await;
    assert_eq!(minutes, Vec::<u64>::new());
    let told = rig.waiting(Lane::Urgent).await;
    let gap = told.iter().find_map(|record| match record {
        UpRecord::Gap(gap) => Some(&gap.gap),
        _ => None,
    });
    let gap = gap.unwrap();
    assert!(gap.count == 2 && gap.reason.contains("clock was ahead"), "{gap:?}");
}

#[tokio::test]
async fn a_site_whose_time_is_set_back_drops_what_it_dated_ahead_with_a_true_gap() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let hour = 60 * MINUTE_MS;
    rig.pass_ms(hour);
    let ahead: Vec<_> = (0..12).map(|n| sample(START_MS + hour + n * 10_000, 1)).collect();
    send(&rig.store, device, Lane::Metrics, (1, 0), &ahead).await;
    rig.set_back_ms(hour);
    rig.store.write(|txn| txn.forget_ahead()).await.unwrap();
    send(&rig.store, device, Lane::Metrics, (1, 12), &[sample(START_MS, 5)]).await;
    rig.pass_ms(2 * hour);
    rollup::close_all(&rig.store).await.unwrap();
    let right = START_MS / MINUTE_MS;
    assert_eq!(at_cloud(&rig).await, BTreeMap::from([((device, right), (1, 5))]));
    let told = rig.waiting(Lane::Urgent).await;
    let gap = told.iter().find_map(|record| match record {
        UpRecord::Gap(gap) => Some(gap.gap.clone()),
        _ => None,
    });
    let gap = gap.unwrap();
    assert_eq!((gap.count, gap.from_ms, gap.to_ms), (12, START_MS - 110_000, START_MS));
}
