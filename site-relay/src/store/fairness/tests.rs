//! Who loses first, what is accounted to whom, and what a look may cost.
#![allow(clippy::unwrap_used, reason = "tests")]
use super::*;
use crate::store::tests::Rig;
use unifyit_protocol::{
    envelope::Decoded,
    ids::CommandId,
    lane::{Ack, Resume},
    link::{DeviceOutput, UpRecord},
    outcome::{OutputChunk, Stream},
};

fn output(device: DeviceId, n: u64) -> UpRecord {
    // Bytes that do not compress.
    let data =
        (0..500u64).flat_map(|at| blake3::hash(&(n * 1000 + at).to_le_bytes()).as_bytes().to_vec());
    let chunk = OutputChunk {
        command: CommandId::generate(),
        offset: 0,
        stream: Stream::Stdout,
        data: data.collect(),
    };
    UpRecord::Output(DeviceOutput { device, chunks: vec![chunk] })
}

fn outputs_of(all: &[UpRecord], device: DeviceId) -> usize {
    let own = |r: &&UpRecord| matches!(r, UpRecord::Output(o) if o.device == device);
    all.iter().filter(own).count()
}

#[tokio::test]
async fn the_device_that_takes_most_loses_first() {
    let rig = Rig::new();
    let (loud, quiet) = (DeviceId::generate(), DeviceId::generate());
    rig.store
        .write(move |txn| {
            txn.append(Lane::Output, &output(quiet, 0))?;
            (1..100).try_for_each(|n| txn.append(Lane::Output, &output(loud, n)))?;
            txn.append(Lane::Output, &output(quiet, 100))
        })
        .await
        .unwrap();
    let rig = rig.crash();
    let lost = rig.store.write(|txn| txn.drop_oldest(Lane::Output, 800_000, "full"));
    let lost = lost.await.unwrap();
    assert!((45..60).contains(&lost), "{lost}");
    let left = rig.waiting(Lane::Output).await;
    assert_eq!(outputs_of(&left, quiet), 2);
    assert_eq!(outputs_of(&left, loud) as u64, 99 - lost);
    let urgent = rig.waiting(Lane::Urgent).await;
    let told = |r: &UpRecord| matches!(r, UpRecord::Gap(g) if g.device == Some(loud) && g.gap.count == lost);
    assert!(urgent.iter().any(told));
}

#[tokio::test]
async fn what_waits_is_known_after_a_start_without_reading_it() {
    let rig = Rig::new();
    let device = DeviceId::generate();
    rig.store.write(move |txn| txn.append(Lane::Output, &output(device, 1))).await.unwrap();
    let before = rig.store.lanes().borrow().of(Lane::Output).clone();
    let rig = rig.crash();
    let after = rig.store.lanes().borrow().of(Lane::Output).clone();
    assert_eq!((after.bytes, after.records), (before.bytes, before.records));
    assert_eq!(after.records, 1);
}

fn small(device: DeviceId, n: u64) -> UpRecord {
    let data = blake3::hash(&n.to_le_bytes()).as_bytes().to_vec();
    let command = CommandId::generate();
    let chunk = OutputChunk { command, offset: n, stream: Stream::Stdout, data };
    UpRecord::Output(DeviceOutput { device, chunks: vec![chunk] })
}

#[tokio::test]
async fn holes_that_one_device_left_do_not_slow_what_others_have_waiting() {
    let rig = Rig::new();
    let (loud, quiet) = (DeviceId::generate(), DeviceId::generate());
    rig.store
        .write(move |txn| {
            (0..100).try_for_each(|n| {
                txn.append(Lane::Output, &small(quiet, n))?;
                txn.append(Lane::Output, &small(loud, n))?;
                txn.append(Lane::Output, &small(loud, n + 100))
            })
        })
        .await
        .unwrap();
    let lost = rig.store.write(|txn| txn.drop_oldest(Lane::Output, 1 << 30, "full"));
    let lost = lost.await.unwrap();
    assert!(lost > 100, "{lost}");
    let mut sender = rig.sender();
    sender.open(&Resume::default()).unwrap();
    let (mut frames, mut found) = (0, 0);
    while let Some(fetch) = sender.next_fetch() {
        let rows = rig.store.fetch(fetch).await.unwrap();
        let data = sender.fetched(fetch, rows, 0).unwrap().unwrap();
        let (lane, epoch, through) = (data.lane, data.epoch, data.through().unwrap());
        sender.acked(&Ack { lane, epoch, through }, 0).unwrap();
        if lane == Lane::Output {
            frames += 1;
            let records = data.numbered().map(|(_, body)| UpRecord::decode(&body).unwrap());
            found += records.filter(|r| matches!(r, Decoded::Known(UpRecord::Output(_)))).count();
        }
    }
    assert_eq!(found as u64, 300 - lost, "each once");
    assert!(frames <= 3, "{frames} frames");
}

#[tokio::test]
async fn a_look_for_one_devices_records_is_bounded_and_goes_on_where_it_ended() {
    let rig = Rig::new();
    let (loud, quiet) = (DeviceId::generate(), [(); 9].map(|()| DeviceId::generate()));
    rig.store
        .write(move |txn| {
            (0..900)
                .try_for_each(|n| txn.append(Lane::Output, &small(quiet[n as usize % 9], n)))?;
            (0..900).try_for_each(|n| txn.append(Lane::Output, &small(loud, n)))
        })
        .await
        .unwrap();
    let mut lost = Vec::new();
    for _ in 0..5 {
        let drop = rig.store.write(|txn| txn.drop_oldest(Lane::Output, 1 << 30, "full"));
        lost.push(drop.await.unwrap());
    }
    assert_eq!(lost[..3], [0, 0, 0], "256 rows a look, and the first 900 are others'");
    assert!(lost[3] > 0 && lost[4] > 0, "{lost:?}");
    let left = rig.waiting(Lane::Output).await;
    assert_eq!(outputs_of(&left, loud) as u64, 900 - lost.iter().sum::<u64>());
    assert!(quiet.iter().all(|device| outputs_of(&left, *device) == 100));
}
