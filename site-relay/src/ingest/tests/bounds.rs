//! What one device says at length or with ill will costs itself alone.

use super::{
    super::{Item, apply_all},
    decode, event, payload, sample, send,
};
use crate::store::{
    tables,
    tests::{Rig, START_MS},
};
use std::collections::BTreeMap;
use unifyit_protocol::{
    ids::{CommandId, DeviceId},
    inventory::{InventoryReport, Section},
    lane::Lane,
    link::UpRecord,
    outcome::{CommandEvent, Status},
    report::{Gap, Report},
};

fn system(facts: BTreeMap<String, String>) -> Report {
    Report::Inventory(InventoryReport {
        section: Section::System,
        at_ms: START_MS,
        whole: true,
        set: BTreeMap::from([("system".into(), facts)]),
        gone: Vec::new(),
        cut: 0,
    })
}

#[tokio::test]
async fn facts_of_any_length_can_be_read_back_and_replaced() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let long = BTreeMap::from([("os_name".into(), "x".repeat(600 * 1024))]);
    let many = (0..90_000).map(|n| (format!("{n}"), "y".into())).collect();
    let honest = BTreeMap::from([("os_name".to_owned(), "Debian".to_owned())]);
    for (prev, facts) in [(0, long), (1, many), (2, honest.clone())] {
        let taken = send(&rig.store, device, Lane::State, (1, prev), &[system(facts)]).await;
        assert_eq!(taken.position, (1, prev + 1));
        assert!(rig.store.all_facts().await.is_ok());
    }
    assert_eq!(rig.store.all_facts().await.unwrap()[&device].system, honest);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_fails_nobody_and_is_removed_at_the_start() {
    let rig = Rig::new();
    let (sick, well) = (rig.enrol().await, rig.enrol().await);
    let plant = move |txn: &mut crate::store::txn::Txn<'_>| {
        txn.facts()?.insert(tables::device_key(sick), [0xff; 3].as_slice())?;
        Ok(())
    };
    rig.store.write(plant).await.unwrap();
    let facts = BTreeMap::from([("os_name".to_owned(), "Debian".to_owned())]);
    send(&rig.store, well, Lane::State, (1, 0), &[system(facts.clone())]).await;
    assert_eq!(rig.store.all_facts().await.unwrap().len(), 1, "the other's facts are there");
    let rig = rig.crash();
    let urgent = rig.waiting(Lane::Urgent).await;
    assert!(urgent.iter().any(|r| matches!(r, UpRecord::Gap(g) if g.device == Some(sick))));
    send(&rig.store, sick, Lane::State, (1, 0), &[system(facts)]).await;
    assert_eq!(rig.store.all_facts().await.unwrap().len(), 2);
}

#[tokio::test]
async fn one_devices_long_reasons_do_not_cost_others_their_outcomes() {
    let rig = Rig::new();
    let (wordy, brief) = (rig.enrol().await, rig.enrol().await);
    let mut items = Vec::new();
    // Each another one: what repeats takes next to nothing in a record.
    for (device, count, length) in [(wordy, 250, 4096), (brief, 1, 2)] {
        let reports: Vec<_> = (1..=count)
            .map(|seq| match event(CommandId::generate(), Status::Failed) {
                Report::Command(event) => {
                    let reason = Some(noise(seq, length));
                    (seq, Report::Command(CommandEvent { reason, ..event }))
                }
                other => (seq, other),
            })
            .collect();
        for (n, some) in reports.chunks(50).enumerate() {
            let bytes = payload(Lane::Urgent, 1, n as u64 * 50, some);
            items.push(Item::Batch(decode(device, &bytes, START_MS).unwrap()));
        }
    }
    rig.store.write(move |txn| apply_all(txn, items)).await.unwrap();
    let told = rig.waiting(Lane::Urgent).await;
    let longest = told.iter().map(|record| record.encode().unwrap().len()).max().unwrap();
    assert!(longest <= 192 * 1024, "{longest} bytes in one record");
    let told = told.into_iter().filter_map(|r| match r {
        UpRecord::Progress(p) => Some(p.len()),
        _ => None,
    });
    assert_eq!(told.sum::<usize>(), 251);
}

#[tokio::test]
async fn a_backlog_is_taken_whole_and_beyond_its_share_a_device_waits_and_loses_nothing() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let lane = Lane::Metrics;
    // Eleven days in samples of ten seconds come at once.
    let within = rig.store.write(move |txn| {
        let taken = |_: &u32| {
            let may = txn.may_bring(device);
            txn.bring(device, 400);
            may
        };
        Ok((0..100_000).filter(taken).count())
    });
    assert_eq!(within.await.unwrap(), 100_000);
    let more = rig.store.write(move |txn| {
        txn.bring(device, 64 << 20);
        Ok(())
    });
    more.await.unwrap();
    let (first, second) = (sample(START_MS, 1), sample(START_MS + 1, 2));
    for _ in 0..5 {
        let held = send(&rig.store, device, lane, (1, 0), std::slice::from_ref(&first)).await;
        assert!(held.later && held.acknowledged().is_none(), "it keeps what was not taken");
        let next = send(&rig.store, device, lane, (1, 1), std::slice::from_ref(&second)).await;
        assert!(next.later, "what follows is no hole");
    }
    let urgent = |r: &UpRecord| matches!(r, UpRecord::Gap(_));
    assert!(!rig.waiting(Lane::Urgent).await.iter().any(urgent), "nothing is lost");
    let failed = [event(CommandId::generate(), Status::Failed)];
    let other = send(&rig.store, device, Lane::Urgent, (1, 0), &failed).await;
    assert_eq!(other.acknowledged(), Some((1, 1)), "other lanes go on");
    rig.pass_ms(2 * 3_600_000);
    let taken = send(&rig.store, device, lane, (1, 0), &[first, second]).await;
    assert_eq!(taken.acknowledged(), Some((1, 2)));
}

#[tokio::test]
async fn samples_beyond_what_a_minute_holds_are_lost_with_the_true_reason() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    for n in 0..15 {
        let some: Vec<_> = (0..256).map(|i| sample(START_MS + n * 256 + i, 1)).collect();
        send(&rig.store, device, Lane::Metrics, (1, n * 256), &some).await;
    }
    let gaps: Vec<_> = rig
        .waiting(Lane::Urgent)
        .await
        .into_iter()
        .filter_map(|r| match r {
            UpRecord::Gap(told) => Some((told.gap.count, told.gap.reason)),
            _ => None,
        })
        .collect();
    assert_eq!(gaps.iter().map(|(count, _)| count).sum::<u64>(), 15 * 256 - 3600);
    assert!(gaps.iter().all(|(_, reason)| reason.contains("in one minute")), "{gaps:?}");
}

#[tokio::test]
async fn what_a_device_says_at_length_is_accounted_to_it_in_whatever_company() {
    let rig = Rig::new();
    let (wordy, brief) = (rig.enrol().await, rig.enrol().await);
    for n in 0..40 {
        let said = |device, reason: String| {
            let Report::Command(event) = event(CommandId::generate(), Status::Failed) else {
                panic!()
            };
            let event = CommandEvent { reason: Some(reason), ..event };
            let bytes = payload(Lane::Urgent, 1, n, &[(n + 1, Report::Command(event))]);
            Item::Batch(decode(device, &bytes, START_MS).unwrap())
        };
        let items = vec![said(wordy, noise(7, 4096)), said(brief, "no".into())];
        rig.store.write(move |txn| apply_all(txn, items)).await.unwrap();
    }
    let waiting = rig.store.write(move |txn| {
        let key = (tables::lane_key(Lane::Urgent), wordy);
        Ok(txn.mem.waiting.get(&key).copied().unwrap_or_default().bytes)
    });
    assert!(waiting.await.unwrap() > 20 * 4096 / 2, "compressed, and all but the first of it");
    let told = rig.waiting(Lane::Urgent).await.into_iter().filter_map(|r| match r {
        UpRecord::Progress(p) => Some(p.into_iter().filter(|p| p.device == brief).count()),
        _ => None,
    });
    assert_eq!(told.sum::<usize>(), 40);
}

/// Text that does not compress.
fn noise(seed: u64, bytes: usize) -> String {
    let mut state = seed;
    let mut letter = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(33 + (state >> 33) as u8 % 90)
    };
    (0..bytes).map(|_| letter()).collect()
}

#[tokio::test]
async fn numbers_that_jump_without_a_gap_report_are_no_batch() {
    let device = DeviceId::generate();
    let gap = |count| {
        let reason = "full".into();
        Report::Gap(Gap { lane: Lane::Metrics, count, from_ms: 1, to_ms: 2, reason })
    };
    let jump = payload(Lane::Metrics, 1, 0, &[(3, sample(START_MS, 1))]);
    assert!(decode(device, &jump, START_MS).is_err());
    let told = payload(Lane::Metrics, 1, 0, &[(3, gap(3)), (4, sample(START_MS, 1))]);
    assert_eq!(decode(device, &told, START_MS).unwrap().through, 4);
}
