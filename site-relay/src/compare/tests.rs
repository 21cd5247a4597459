//! A disk that was put back: what it shows, states, tells and takes back.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
use super::*;
use crate::facts::Facts;
use crate::store::tests::{Fails, Rig, START_MS};
use unifyit_protocol::{
    compare::KnownDevice,
    ids::{DeviceId, TokenId},
    telemetry::SeriesTable,
};

fn told(records: &[UpRecord]) -> (Vec<&Gap>, Vec<&SiteHolds>) {
    let gaps = records.iter().filter_map(|r| match r {
        UpRecord::Gap(gap) => Some(&gap.gap),
        _ => None,
    });
    let holds = records.iter().filter_map(|r| match r {
        UpRecord::Holds(holds) => Some(holds.as_ref()),
        _ => None,
    });
    (gaps.collect(), holds.collect())
}

#[tokio::test]
async fn a_disk_put_back_states_the_loss_and_tells_what_it_holds_once() {
    let rig = Rig::new();
    let (kept, out) = (rig.enrol().await, rig.enrol().await);
    rig.store.write(move |txn| txn.revoke_device(out)).await.unwrap();
    let (copy, epoch) = (rig.backup(), rig.store.lanes().borrow().of(Lane::Urgent).epoch());
    rig.pass_ms(60_000);
    rig.enrol().await;
    let rig = rig.restore(copy);
    let peer = vec![Ack { lane: Lane::Urgent, epoch, through: 3 }];
    for _ in 0..2 {
        let peer = peer.clone();
        rig.store.write(move |txn| txn.compare(&peer, &[], &[])).await.unwrap();
    }
    let records = rig.waiting(Lane::Urgent).await;
    let (gaps, holds) = told(&records);
    let lanes: Vec<Lane> = gaps.iter().map(|gap| gap.lane).collect();
    assert_eq!(lanes, Lane::ALL);
    let covers =
        |gap: &&Gap| (gap.count, gap.from_ms, gap.to_ms) == (0, START_MS, START_MS + 60_000);
    assert!(gaps.iter().all(covers), "{gaps:?}");
    assert_eq!(holds.len(), 1);
    assert!(holds[0].asks, "devices may have had what this disk does not know of");
    assert_eq!((&holds[0].devices, &holds[0].revoked), (&vec![kept], &vec![out]));
}

#[tokio::test]
async fn an_ordinary_start_tells_what_is_held_and_states_no_loss() {
    let rig = Rig::new();
    rig.enrol().await;
    let epoch = rig.store.lanes().borrow().of(Lane::Urgent).epoch();
    rig.pass_ms(1000);
    let rig = rig.crash();
    let peer = vec![Ack { lane: Lane::Urgent, epoch, through: 1 }];
    rig.store.write(move |txn| txn.compare(&peer, &[], &[])).await.unwrap();
    let records = rig.waiting(Lane::Urgent).await;
    let (gaps, holds) = told(&records);
    assert_eq!((gaps.len(), holds.len(), holds[0].asks), (0, 1, false));
}

#[tokio::test]
async fn what_the_cloud_lost_stands_as_a_gap_since_its_copy() {
    let rig = Rig::new();
    rig.store.write(|txn| txn.compare(&[], &[], &[])).await.unwrap();
    rig.pass_ms(90_000);
    let lost = Forgotten { lane: Lane::State, epoch: 1, from: 5, through: 11 };
    let applied = vec![0, START_MS + 10_000, 0, 0];
    rig.store.write(move |txn| txn.compare(&[], &[lost], &applied)).await.unwrap();
    let records = rig.waiting(Lane::Urgent).await;
    let (gaps, holds) = told(&records);
    assert_eq!(holds.len(), 2, "the cloud has forgotten the first");
    let gap = gaps[0];
    let span = (gap.lane, gap.count, gap.from_ms, gap.to_ms);
    assert_eq!(span, (Lane::State, 7, START_MS + 10_000, START_MS + 90_000));
}

#[tokio::test]
async fn devices_come_back_and_a_revoked_one_does_not() {
    let rig = Rig::new();
    let (known, out, lost) = (rig.enrol().await, rig.enrol().await, DeviceId::generate());
    let (spent, revoked) = (TokenId::generate(), TokenId::generate());
    let device =
        |device| KnownDevice { device, hostname: "pc".into(), version: "1".into(), enrolled_ms: 7 };
    let said = SiteKnown {
        devices: [known, out, lost].map(device).to_vec(),
        tokens: vec![
            KnownToken { token: spent, used: 1, revoked: false },
            KnownToken { token: revoked, used: 0, revoked: true },
        ],
        ..SiteKnown::default()
    };
    rig.store.write(move |txn| txn.revoke_device(out)).await.unwrap();
    rig.store.write(move |txn| txn.take_known(said)).await.unwrap();
    assert!(rig.store.device(lost).is_some_and(|d| !d.revoked && d.enrolled_ms == 7));
    assert!(rig.store.device(out).is_some_and(|d| d.revoked));
    assert_eq!(rig.store.device(known).unwrap().hostname, "box");
    assert!(rig.store.token_revoked(revoked));
    let used = rig.store.write(move |txn| Ok(txn.token(spent)?.used)).await.unwrap();
    assert_eq!(used, 1);
}

async fn tell_again(rig: &Rig, again: TellAgain) {
    let told = move |txn: &mut Txn<'_>| txn.devices_tell_again(&again, &mut TellRoom::default());
    rig.store.write(told).await.unwrap();
}

/// What the cloud lost of the lane of inventories.
fn lost_state() -> Forgotten {
    Forgotten { lane: Lane::State, epoch: 1, from: 5, through: 11 }
}

#[tokio::test]
async fn who_told_of_its_inventory_since_the_clouds_copy_is_asked_whatever_waits() {
    let rig = Rig::new();
    let [waits, lost, before, out] =
        [rig.enrol().await, rig.enrol().await, rig.enrol().await, rig.enrol().await];
    let copy_ms = START_MS + 3_600_000;
    let report = |at_ms| unifyit_protocol::inventory::InventoryReport {
        section: unifyit_protocol::inventory::Section::Services,
        at_ms,
        whole: false,
        set: std::collections::BTreeMap::new(),
        gone: vec![],
        cut: 0,
    };
    rig.pass_ms(2 * 3_600_000);
    rig.store
        .write(move |txn| {
            let known = |ms| Facts { inventory_ms: ms, ..Facts::default() };
            txn.put_facts(lost, &known(copy_ms + 1000))?;
            txn.put_facts(out, &known(copy_ms + 1000))?;
            txn.put_facts(before, &known(copy_ms - 1_800_000))?;
            // Dated before the copy: its computer was away when it was made.
            txn.take_inventory(waits, report(copy_ms - 1_800_000))?;
            txn.revoke_device(out)
        })
        .await
        .unwrap();
    let applied = vec![0, copy_ms, 0, 0];
    let wanted =
        rig.store.write(move |txn| txn.compare(&[], &[lost_state()], &applied)).await.unwrap();
    let both = |mut devices: Vec<DeviceId>| {
        devices.sort_unstable();
        devices
    };
    assert_eq!(both(wanted), both(vec![waits, lost]));
    let records = rig.waiting(Lane::Urgent).await;
    let told: Vec<DeviceId> = told(&records).1[0].inventories().map(|(d, _)| d).collect();
    assert_eq!(told, [before], "the cloud sees for itself whether it has that of the rest");
    for (device, asked) in [(waits, true), (lost, true), (before, false), (out, false)] {
        let facts = rig.store.write(move |txn| txn.device_facts(device)).await.unwrap();
        assert_eq!(facts.ask_inventory, asked, "also when it comes back later");
    }
    // A cloud that has nothing at all.
    let wanted = rig.store.write(|txn| txn.compare(&[], &[lost_state()], &[])).await.unwrap();
    assert_eq!(both(wanted), both(vec![waits, lost, before]));
}

/// One of about a quarter of a megabyte.
fn large_table(n: usize) -> SeriesTable {
    use unifyit_protocol::telemetry::Series;
    let label = |n: usize| format!("{n:0>250}");
    let column = |m| Series { name: label(n), label: label(m), unit: String::new(), scale: 0 };
    SeriesTable { series: (0..500).map(column).collect() }
}

#[tokio::test]
async fn columns_are_told_again_a_share_at_a_time_until_all_are() {
    let rig = Rig::new();
    let mut devices = Vec::new();
    for _ in 0..24 {
        devices.push(rig.enrol().await);
    }
    let known = devices.clone();
    rig.store
        .write(move |txn| {
            for (device, n) in known.iter().flat_map(|d| [(d, 1), (d, 2)]) {
                txn.take_series(*device, large_table(n))?;
            }
            Ok(())
        })
        .await
        .unwrap();
    let told = async || {
        let all = rig.waiting(Lane::Metrics).await;
        all.iter()
            .filter_map(|r| match r {
                UpRecord::Series(series) => Some((series.device, series.table.hash())),
                _ => None,
            })
            .skip(48)
            .collect::<Vec<_>>()
    };
    assert_eq!(told().await, []);
    let wanted = large_table(2).hash();
    let mut left = devices.clone();
    for round in 0.. {
        assert!(round < 4 && !left.is_empty());
        let before = told().await.len();
        let (series, tables) = (left.clone(), vec![wanted; left.len()]);
        tell_again(&rig, TellAgain { series, tables, ..TellAgain::default() }).await;
        let all = told().await;
        assert!(all.iter().all(|(_, hash)| *hash == wanted), "what was asked for alone");
        assert!((1..=17).contains(&(all.len() - before)), "{}", all.len() - before);
        left.retain(|device| !all.iter().any(|(d, _)| d == device));
        if left.is_empty() {
            assert!(round > 0, "not all at once");
            break;
        }
    }
}

#[tokio::test]
async fn what_the_cloud_lacks_of_a_device_is_told_again() {
    use unifyit_protocol::{
        config::CacheAhead,
        inventory::{InventoryReport, Section},
        telemetry::{Series, SeriesTable},
    };
    let rig = Rig::new();
    let (told, silent) = (rig.enrol().await, rig.enrol().await);
    let series = Series { name: "a".into(), label: String::new(), unit: String::new(), scale: 0 };
    let table = SeriesTable { series: vec![series] };
    let known = table.clone();
    rig.store.write(move |txn| txn.take_series(told, known)).await.unwrap();
    let file = CacheAhead { url: "/remap/a".into(), sha256: [1; 32], size: 1, until_ms: 1 };
    let config = SiteConfig { revision: 3, cache_ahead: vec![file], ..SiteConfig::default() };
    rig.store.write(move |txn| txn.take_site_config(config).map(drop)).await.unwrap();
    let facts = move |txn: &mut Txn<'_>| txn.device_facts(told);
    let report = |section, whole| InventoryReport {
        section,
        at_ms: START_MS,
        whole,
        set: std::collections::BTreeMap::new(),
        gone: vec![],
        cut: 0,
    };
    rig.store
        .write(move |txn| {
            txn.put_facts(told, &Facts { inventory_ms: START_MS, ..Facts::default() })
        })
        .await
        .unwrap();
    rig.store.write(|txn| txn.tell_holds(false)).await.unwrap();
    let records = rig.waiting(Lane::Urgent).await;
    let holds = self::told(&records).1;
    let seconds = u32::try_from(START_MS / 1000).unwrap();
    assert_eq!(holds[0].inventories().collect::<Vec<_>>(), [(told, seconds)]);
    assert!(holds[0].ahead && holds[0].settings.cache_ahead.len() == 1);

    let (inventory, series) = (vec![told, DeviceId::generate()], vec![told, silent]);
    let again = TellAgain { inventory, series, ..TellAgain::default() };
    tell_again(&rig, again).await;
    let records = rig.waiting(Lane::Metrics).await;
    let tables = records
        .iter()
        .filter(|r| matches!(r, UpRecord::Series(s) if s.device == told && s.table == table));
    assert_eq!(tables.count(), 2);
    assert!(rig.store.write(facts).await.unwrap().ask_inventory, "also when it comes back later");
    for (section, whole, asked) in [
        (Section::Services, false, true),
        (Section::System, true, true),
        (Section::Packages, true, true),
        (Section::Services, true, false),
        // The second time without services: they cannot be read there.
        (Section::Unknown, true, true),
        (Section::Packages, true, true),
        (Section::Packages, true, false),
    ] {
        if section == Section::Unknown {
            let again = TellAgain { inventory: vec![told], ..TellAgain::default() };
            tell_again(&rig, again).await;
        }
        let report = report(section, whole);
        rig.store.write(move |txn| txn.take_inventory(told, report)).await.unwrap();
        assert_eq!(rig.store.write(facts).await.unwrap().ask_inventory, asked, "{section:?}");
    }
}

#[tokio::test]
async fn a_clock_that_was_ahead_once_leaves_no_date_of_the_future() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let report = |at_ms| unifyit_protocol::inventory::InventoryReport {
        section: unifyit_protocol::inventory::Section::Services,
        at_ms,
        whole: true,
        set: std::collections::BTreeMap::new(),
        gone: vec![],
        cut: 0,
    };
    let years_ms = 10 * 365 * 86_400_000;
    // The relay's own, before it heard the cloud.
    rig.pass_ms(years_ms);
    rig.store.write(move |txn| txn.take_inventory(device, report(u64::MAX))).await.unwrap();
    rig.set_back_ms(years_ms);
    rig.store.write(move |txn| txn.take_inventory(device, report(START_MS))).await.unwrap();
    let facts = rig.store.write(move |txn| txn.device_facts(device)).await.unwrap();
    assert_eq!(facts.inventory_ms, START_MS);
}

#[tokio::test]
async fn what_a_failed_commit_cannot_undo_is_still_known_after_it() {
    let rig = Rig::new();
    rig.enrol().await;
    let (copy, epoch) = (rig.backup(), rig.store.lanes().borrow().of(Lane::Urgent).epoch());
    rig.pass_ms(60_000);
    rig.enrol().await;
    let rig = rig.restore(copy);
    let peer = vec![Ack { lane: Lane::Urgent, epoch, through: 3 }];
    let lost = Forgotten { lane: Lane::State, epoch: 1, from: 5, through: 11 };
    rig.store.write(move |txn| txn.compare(&peer, &[lost], &[])).await.unwrap();
    rig.fails(Fails::Unwritten);
    let gone = DeviceId::generate();
    rig.store.write(move |txn| txn.revoke_device(gone)).await.unwrap_err();
    let known = rig.store.write(|txn| Ok((txn.asks_the_cloud(), txn.cloud_forgot()))).await;
    assert_eq!(known.unwrap(), (true, 1));
}
