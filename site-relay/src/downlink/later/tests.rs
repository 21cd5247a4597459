//! A relay that is older than its cloud, and its update.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{super::take_records, *};
use crate::store::tests::{Fails, Rig};
use bytes::Bytes;
use unifyit_protocol::{
    compare::SiteKnown,
    lane::{Ack, Lane},
    link::UpRecord,
    topics,
};

/// The lane's records from the first number on, of which none can be read.
async fn unreadable(rig: &Rig, epoch: u64, first: u64, count: u64) {
    let body = |seq: u64| [vec![0xff, 1, 2], seq.to_be_bytes().to_vec()].concat();
    let records = (first..first + count).map(|seq| (seq, body(seq))).collect();
    let becomes = Ack { lane: Lane::Urgent, epoch, through: first + count - 1 };
    let taken = rig.store.write(move |txn| take_records(txn, becomes, records)).await.unwrap();
    assert_eq!(taken.unwrap().unknown, count);
}

async fn told(rig: &Rig) -> Vec<String> {
    let told = rig.waiting(Lane::Urgent).await.into_iter().filter_map(|record| match record {
        UpRecord::Audit(entry) if entry.action == "relay.too_old" => Some(entry.detail),
        _ => None,
    });
    told.collect()
}

async fn kept(rig: &Rig) -> Vec<(u64, u64)> {
    let places = |txn: &mut Txn<'_>| {
        txn.unread()?.iter()?.map(|row| Ok(row?.0.value())).collect::<Result<Vec<_>, StoreError>>()
    };
    rig.store.write(places).await.unwrap()
}

#[tokio::test]
async fn what_a_later_version_can_read_is_carried_out_by_it_once() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    unreadable(&rig, 5, 1, 2).await;
    // The next version reads the second of them.
    let known = DownRecord::RevokeDevice(device).encode().unwrap();
    rig.store
        .write(move |txn| Ok(txn.unread()?.insert((5, 2), known.as_slice()).map(drop)?))
        .await
        .unwrap();
    let rig = rig.crash();
    // It was quick to connect: before what was kept is taken up.
    let broker = BrokerHandle::detached();
    broker.connect(device);
    let send = || broker.send(device, topics::Down::Control, Bytes::new());
    send().unwrap();
    take_up(&rig.store, &broker).await;
    assert!(rig.store.device(device).unwrap().revoked);
    send().unwrap_err();
    assert_eq!(kept(&rig).await, [(5, 1)]);
}

#[tokio::test]
async fn of_another_life_of_the_lane_and_of_a_conversation_that_is_over_nothing_is_carried_out() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    unreadable(&rig, 5, 1, 1).await;
    let gone = DownRecord::RevokeDevice(device).encode().unwrap();
    let known = SiteKnown { answered: true, ..SiteKnown::default() };
    let talk = DownRecord::Known(known).encode().unwrap();
    let both = move |txn: &mut Txn<'_>| {
        txn.unread()?.insert((4, 9), gone.as_slice())?;
        Ok(txn.unread()?.insert((5, 2), talk.as_slice()).map(drop)?)
    };
    rig.store.write(both).await.unwrap();
    take_up(&rig.store, &BrokerHandle::detached()).await;
    assert!(!rig.store.device(device).unwrap().revoked);
    assert_eq!(kept(&rig).await, [(5, 1)]);
}

#[tokio::test]
async fn a_relay_that_is_too_old_says_so_once_an_hour_and_that_something_is_lost() {
    let rig = Rig::new();
    unreadable(&rig, 5, 1, MOST as u64).await;
    let [said] = told(&rig).await.try_into().unwrap();
    assert!(said.contains("Update the relay"), "{said}");
    unreadable(&rig, 5, 1 + MOST as u64, 2).await;
    let [_, lost] = told(&rig).await.try_into().unwrap();
    assert!(lost.contains("no room"), "{lost}");
    rig.pass_ms(PAUSE_MS);
    unreadable(&rig, 5, 3 + MOST as u64, 2).await;
    assert_eq!(told(&rig).await.len(), 3);
    assert_eq!(kept(&rig).await.len(), MOST);
}

#[tokio::test]
async fn what_is_said_again_is_kept_once_in_its_last_place() {
    let rig = Rig::new();
    let becomes = Ack { lane: Lane::Urgent, epoch: 5, through: 3 };
    let again = vec![(1, vec![0xff, 7]), (2, vec![0xff, 8]), (3, vec![0xff, 7])];
    rig.store.write(move |txn| take_records(txn, becomes, again)).await.unwrap();
    assert_eq!(kept(&rig).await, [(5, 2), (5, 3)]);
}

#[tokio::test]
async fn where_the_disk_fails_what_was_kept_waits_and_the_relay_starts() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    unreadable(&rig, 5, 1, 1).await;
    let known = DownRecord::RevokeDevice(device).encode().unwrap();
    let insert =
        move |txn: &mut Txn<'_>| Ok(txn.unread()?.insert((5, 1), known.as_slice()).map(drop)?);
    rig.store.write(insert).await.unwrap();
    rig.fails(Fails::Unwritten);
    take_up(&rig.store, &BrokerHandle::detached()).await;
    assert_eq!(kept(&rig).await, [(5, 1)]);
}

#[tokio::test]
async fn a_cloud_that_begins_anew_says_again_what_holds() {
    let rig = Rig::new();
    unreadable(&rig, 5, 1, 2).await;
    unreadable(&rig, 6, 1, 1).await;
    assert_eq!(kept(&rig).await, [(6, 1)]);
    let [_, forgotten] = told(&rig).await.try_into().unwrap();
    assert!(forgotten.contains("2 orders"), "{forgotten}");
}
