//! What one device says at length or with ill will costs itself alone.

use super::{
    super::{Item, apply_all},
    decode, event, payload, send,
};
use crate::store::{
    tables,
    tests::{Rig, START_MS},
};
use std::collections::BTreeMap;
use unifyit_protocol::{
    ids::CommandId,
    inventory::{InventoryReport, Section},
    lane::Lane,
    link::UpRecord,
    outcome::{CommandEvent, Status},
    report::Report,
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
    for (device, count, reason) in [(wordy, 250, noise(4096)), (brief, 1, "no".into())] {
        let reports: Vec<_> = (1..=count)
            .map(|seq| match event(CommandId::generate(), Status::Failed) {
                Report::Command(event) => {
                    (seq, Report::Command(CommandEvent { reason: Some(reason.clone()), ..event }))
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
    let told = rig.waiting(Lane::Urgent).await.into_iter().filter_map(|r| match r {
        UpRecord::Progress(p) => Some(p.len()),
        _ => None,
    });
    assert_eq!(told.sum::<usize>(), 251);
}

/// Text that does not compress.
fn noise(bytes: usize) -> String {
    let mut state = 7u64;
    let mut letter = || {
        state =
            state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        char::from(33 + (state >> 33) as u8 % 90)
    };
    (0..bytes).map(|_| letter()).collect()
}
