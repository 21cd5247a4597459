//! Minutes wait for each other and travel as one block, and nothing is lost or
//! doubled whatever happens while it is open.

use super::{at_cloud, made, sample, send};
use crate::{
    rollup,
    samples::MINUTE_MS,
    store::tests::{Rig, START_MS},
    travel::Travel,
};
use unifyit_protocol::{ids::DeviceId, lane::Lane, link::UpRecord};

/// A minute of samples, each ten seconds, as a device sends them; the time passes.
async fn measure(rig: &Rig, device: DeviceId, minutes: std::ops::Range<u64>) {
    for minute in minutes {
        let at = START_MS + minute * MINUTE_MS;
        let some: Vec<_> =
            (0..6).map(|n| sample(at + n * 10_000, (minute * 6 + n) as i64)).collect();
        send(&rig.store, device, Lane::Metrics, (1, minute * 6), &some).await;
        rig.pass_ms(MINUTE_MS);
    }
}

/// Blocks on their way, of how many minutes each.
async fn blocks(rig: &Rig) -> Vec<usize> {
    let records = rig.waiting(Lane::Metrics).await.into_iter();
    let metrics = records.filter_map(|record| match record {
        UpRecord::Metrics(metrics) => Some(metrics),
        _ => None,
    });
    metrics.flatten().map(|one| one.block.decode().unwrap().len()).collect()
}

/// Closes what is ripe, as the relay does each second.
async fn close(rig: &Rig, travel: &Travel) {
    rollup::close_due(&rig.store, travel).await.unwrap();
}

#[tokio::test]
async fn an_hour_of_minutes_travels_as_one_block_of_each_device() {
    let rig = Rig::new();
    let travel = Travel::new(60, b"site");
    let devices = [rig.enrol().await, rig.enrol().await];
    for minute in 0..130 {
        for device in devices {
            let at = START_MS + minute * MINUTE_MS;
            send(&rig.store, device, Lane::Metrics, (1, minute), &[sample(at, minute as i64)])
                .await;
        }
        for _ in 0..6 {
            rig.pass_ms(10_000);
            close(&rig, &travel).await;
        }
    }
    let all = blocks(&rig).await;
    let whole = all.iter().filter(|minutes| **minutes == 60).count();
    assert!(all.len() <= 6 && whole >= 2, "{all:?}");
    let open = 130 - made(&rig).await / 2;
    assert!(open <= 61, "{open} minutes wait");
}

#[tokio::test]
async fn a_kill_in_an_open_block_loses_and_doubles_nothing() {
    // The relay is killed after so many minutes; whatever was in the block by then
    // is in the one that it makes afterwards.
    for killed_after in [1, 20, 59] {
        let mut rig = Rig::new();
        let travel = Travel::new(60, b"site");
        let device = rig.enrol().await;
        measure(&rig, device, 0..killed_after).await;
        close(&rig, &travel).await;
        rig = rig.crash();
        measure(&rig, device, killed_after..60).await;
        close(&rig, &travel).await;
        rig = rig.crash();
        rig.pass_ms(61 * MINUTE_MS);
        close(&rig, &travel).await;
        let got = at_cloud(&rig).await;
        assert_eq!(got.len(), 60, "killed after {killed_after} minutes");
        let last = |minute: u64| (minute * 6 + 5) as i64;
        let first = START_MS / MINUTE_MS;
        assert!(got.iter().all(|((_, at), cell)| *cell == (6, last(at - first))));
        assert_eq!(made(&rig).await, 60, "each minute once");
        assert!(blocks(&rig).await.len() <= 2);
    }
}

#[tokio::test]
async fn who_looks_gets_all_that_is_over_at_once_and_others_wait_on() {
    let rig = Rig::new();
    let travel = Travel::new(1440, b"site");
    let (seen, unseen) = (rig.enrol().await, rig.enrol().await);
    for device in [seen, unseen] {
        send(&rig.store, device, Lane::Metrics, (1, 0), &[sample(START_MS, 1)]).await;
    }
    rig.pass_ms(2 * MINUTE_MS);
    close(&rig, &travel).await;
    assert_eq!(made(&rig).await, 0);
    travel.want(&[seen]);
    travel.changed().await;
    close(&rig, &travel).await;
    let owners: Vec<_> = at_cloud(&rig).await.into_keys().map(|(device, _)| device).collect();
    assert_eq!(owners, [seen]);
    // A late sample of that minute replaces it, and nothing is lost.
    send(&rig.store, seen, Lane::Metrics, (1, 1), &[sample(START_MS + 1, 2)]).await;
    rig.pass_ms(MINUTE_MS);
    close(&rig, &travel).await;
    assert_eq!(at_cloud(&rig).await[&(seen, START_MS / MINUTE_MS)], (2, 2));
    // A cloud that takes no newest loads gets the others' minutes too.
    travel.meet(false);
    close(&rig, &travel).await;
    assert_eq!(at_cloud(&rig).await.len(), 2);
}

#[tokio::test]
async fn what_is_dropped_of_a_block_is_a_gap_from_its_first_minute_on() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    measure(&rig, device, 0..60).await;
    rig.pass_ms(10 * MINUTE_MS);
    rollup::close_all(&rig.store).await.unwrap();
    rig.store.write(|txn| txn.drop_oldest(Lane::Metrics, 1, "full")).await.unwrap();
    let urgent = rig.waiting(Lane::Urgent).await;
    let gap = urgent.iter().find_map(|record| match record {
        UpRecord::Gap(gap) => Some(&gap.gap),
        _ => None,
    });
    let gap = gap.unwrap();
    assert_eq!((gap.from_ms, gap.to_ms), (START_MS, START_MS + 70 * MINUTE_MS));
}
