//! A relay that is older than its cloud, and its update.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{super::take_records, *};
use crate::store::tests::Rig;
use unifyit_protocol::{
    lane::{Ack, Lane},
    link::UpRecord,
};

/// The lane's records from the first number on, of which none can be read.
async fn unreadable(rig: &Rig, epoch: u64, first: u64, count: u64) {
    let records = (first..first + count).map(|seq| (seq, vec![0xff, 1, 2])).collect();
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
    let effects = rig.store.write(take_up).await.unwrap();
    assert_eq!(effects.revoked, [device]);
    assert!(rig.store.device(device).unwrap().revoked);
    assert_eq!(kept(&rig).await, [(5, 1)]);
    assert_eq!(rig.store.write(take_up).await.unwrap().revoked, []);
}

#[tokio::test]
async fn a_relay_that_is_too_old_says_so_once_and_of_each_that_is_lost() {
    let rig = Rig::new();
    unreadable(&rig, 5, 1, MOST as u64).await;
    let [said] = told(&rig).await.try_into().unwrap();
    assert!(said.contains("Update the relay"), "{said}");
    unreadable(&rig, 5, 1 + MOST as u64, 1).await;
    let [_, lost] = told(&rig).await.try_into().unwrap();
    assert!(lost.contains("no room"), "{lost}");
    assert_eq!(kept(&rig).await.len(), MOST);
}

#[tokio::test]
async fn a_cloud_that_begins_anew_says_again_what_holds() {
    let rig = Rig::new();
    unreadable(&rig, 5, 1, 2).await;
    unreadable(&rig, 6, 1, 1).await;
    assert_eq!(kept(&rig).await, [(6, 1)]);
}
