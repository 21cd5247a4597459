//! What a relay may make of a comparison, over the real link.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::tests::{presence, world};
use crate::{
    db::Scope,
    link::{
        now_ms,
        testing::{FakeLane, World},
    },
};
use std::collections::{BTreeMap, BTreeSet};
use unifyit_protocol::{
    compare::SiteHolds,
    config::{CacheAhead, SiteConfig},
    ids::{CommandId, DeviceId},
    inventory::{InventoryReport, Section},
    lane::{Ack, Lane, Resume},
    link::{DeviceInventory, DownRecord, Frame, RelayStatus, UpRecord},
};

async fn run(world: &World, sql: &'static str) {
    let mut tx = world.db.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::raw_sql(sql).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
}

async fn tell(lane: &mut FakeLane, holds: SiteHolds) {
    lane.push(Lane::Urgent, vec![UpRecord::Holds(Box::new(holds))]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn settings_that_are_taken_from_a_relay_are_noted_and_not_without_end() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let noted = "SELECT count(*) FROM audit_log WHERE action = 'relay.compared'";
    for n in 1..10 {
        let revision = 100 * n;
        let settings = SiteConfig { revision, ..SiteConfig::default() };
        // More than a message holds, so that only the settings are told.
        tell(&mut lane, SiteHolds { settings, cut: true, ..SiteHolds::default() }).await;
        assert_eq!(world.scalar::<i64>(noted).await, (n as i64).min(6));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_batch_holds_no_device_while_it_waits_for_the_relays_row() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    // As a request holds it that revokes a device.
    let mut request = world.db.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query("UPDATE relays SET down_seq = down_seq").execute(&mut *request).await.unwrap();
    let facts = BTreeMap::from([("hostname".to_owned(), "web-1".to_owned())]);
    let report = InventoryReport {
        section: Section::System,
        at_ms: now_ms(),
        whole: true,
        set: BTreeMap::from([("system".to_owned(), facts)]),
        gone: vec![],
        cut: 0,
    };
    let batch = vec![
        UpRecord::Inventory(DeviceInventory { device, report }),
        UpRecord::Relay(RelayStatus::default()),
    ];
    let waits = "SELECT count(*) > 0 FROM pg_stat_activity \
                 WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let requested = async {
        world.until("the batch waits", waits).await;
        let free = sqlx::query("SELECT FROM devices WHERE id = $1 FOR UPDATE NOWAIT")
            .bind(device.0)
            .execute(&mut *request)
            .await;
        request.commit().await.unwrap();
        free
    };
    let (_, free) = tokio::join!(lane.push(Lane::State, batch), requested);
    free.expect("the two would wait for each other");
    assert_eq!(world.scalar::<String>("SELECT hostname FROM devices").await, "web-1");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_does_not_fit_is_not_queued_again() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    super::compare_tests::open_task(&world, device).await;
    run(
        &world,
        "UPDATE relays SET down_seq = down_seq + 5000; \
         INSERT INTO downlink (relay_id, seq, partner_id, organization_id, site_id, body, kind, key, expires_at) \
         SELECT id, down_seq - n, partner_id, organization_id, site_id, '', 'command', gen_random_uuid(), \
             now() + interval '1 hour' FROM relays, generate_series(0, 4095) n",
    )
    .await;
    let mut holds = SiteHolds { at_ms: now_ms(), ..SiteHolds::default() };
    holds.devices.push(device);
    holds.note_last(true);
    tell(&mut lane, holds).await;
    let queued = "SELECT count(*) FROM downlink WHERE kind = 'command'";
    assert_eq!(world.scalar::<i64>(queued).await, 4096);
    let known = "SELECT count(*) FROM downlink d JOIN commands c ON c.id = d.key";
    assert_eq!(world.scalar::<i64>(known).await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_that_claims_the_last_of_all_epochs_is_not_served() {
    let (_world, relay, lane, _ticker) = world().await;
    drop(lane);
    for epoch in [u64::MAX, 1 << 63] {
        let at = Ack { lane: Lane::Urgent, epoch, through: 1 };
        let mut lane = relay.try_lane(2, Resume { positions: vec![at] }).await.unwrap();
        while let Some(frame) = lane.recv().await {
            assert!(!matches!(frame, Frame::Data(_)), "{frame:?}");
        }
    }
    // Nothing of it is kept, and it is served when it has come to its senses.
    let lane = relay.lane(3).await;
    let epoch = lane.hello.unwrap().epoch;
    assert!(epoch <= now_ms(), "{epoch}");
}

/// Whom the commands that wait for the relay name as having had them.
async fn handed(world: &World) -> BTreeSet<DeviceId> {
    let commands = super::compare_tests::waiting(world).await.into_iter();
    let commands = commands.filter_map(|record| match record {
        DownRecord::Command(command) => Some(command),
        _ => None,
    });
    let (mut all, mut had) = (0, BTreeSet::new());
    for command in commands {
        all += 1;
        had.extend(command.handed);
    }
    assert_eq!(all, 3, "each is sent again");
    had
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_was_there_before_the_relay_forgot_counts_as_having_had_a_command() {
    let (world, relay, mut lane, _ticker) = world().await;
    let [here, away, back] = [(); 3].map(|()| DeviceId::generate());
    let records = vec![
        presence(here, true),
        presence(away, true),
        presence(back, true),
        presence(away, false),
        presence(back, false),
    ];
    lane.push(Lane::Urgent, records).await;
    for device in [here, away, back] {
        super::compare_tests::open_task(&world, device).await;
    }
    run(&world, "UPDATE task_targets SET status = 'pending'").await;
    let epoch = lane.hello.as_ref().unwrap().epoch;
    let through = world.scalar::<i64>("SELECT down_seq FROM relays").await.unsigned_abs();
    lane.send(Frame::Ack(Ack { lane: Lane::Urgent, epoch, through })).await;
    world.until("it is deleted", "SELECT count(*) = 0 FROM downlink").await;
    drop(lane);
    world.until("it is gone", "SELECT NOT online FROM relays").await;

    // It has forgotten everything, and says so once it is back.
    let mut lane = relay.lane(2).await;
    world.until("it is told anew", "SELECT count(*) >= 4 FROM downlink").await;
    assert_eq!(handed(&world).await, BTreeSet::from([here]));
    run(&world, "DELETE FROM downlink").await;
    lane.push(Lane::Urgent, vec![presence(back, true)]).await;
    let devices = vec![here, away, back];
    let online = vec![0b101];
    tell(&mut lane, SiteHolds { at_ms: now_ms(), devices, online, ..SiteHolds::default() }).await;
    assert_eq!(handed(&world).await, BTreeSet::from([here]), "one came when it was forgotten");

    // A copy that holds them, and does not know whether they went out since.
    run(&world, "DELETE FROM downlink").await;
    let ids = "SELECT array_agg(id) FROM commands WHERE kind <> 'cancel'";
    let commands = world.scalar::<Vec<uuid::Uuid>>(ids).await.into_iter().map(CommandId).collect();
    let devices = vec![here, away, back];
    let holds =
        SiteHolds { at_ms: now_ms(), devices, commands, asks: true, ..SiteHolds::default() };
    tell(&mut lane, holds).await;
    let mut had = Vec::new();
    for record in super::compare_tests::waiting(&world).await {
        if let DownRecord::Known(known) = record {
            had.extend(known.had.into_iter().map(|known| (known.device, known.started)));
        }
    }
    assert_eq!(had, [(here, false)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_there_only_by_the_comparisons_own_word_had_no_command() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(device, false)]).await;
    super::compare_tests::open_task(&world, device).await;
    run(&world, "UPDATE task_targets SET status = 'pending'").await;
    let mut holds = SiteHolds { at_ms: now_ms(), ..SiteHolds::default() };
    holds.devices.push(device);
    holds.note_last(true);
    tell(&mut lane, holds).await;
    assert!(world.scalar::<bool>("SELECT bool_and(online) FROM devices").await);
    let told = super::compare_tests::waiting(&world).await;
    let commands = told.iter().filter_map(|record| match record {
        DownRecord::Command(command) => Some(&command.handed),
        _ => None,
    });
    assert_eq!(commands.collect::<Vec<_>>(), [&Vec::<DeviceId>::new()], "{told:?}");
}

/// What waits for the relay of things that devices are to tell again.
async fn asked(world: &World) -> (Vec<DeviceId>, Vec<DeviceId>) {
    let (mut inventory, mut series) = (Vec::new(), Vec::new());
    for record in super::compare_tests::waiting(world).await {
        if let DownRecord::TellAgain(again) = record {
            inventory.extend(again.inventory);
            series.extend(again.series);
        }
    }
    (inventory, series)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restored_database_asks_for_what_devices_told_since_its_copy() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let [up_to_date, behind, silent] = [(); 3].map(|()| DeviceId::generate());
    let now = now_ms() / 1000;
    for (device, at_ms) in [(up_to_date, now * 1000), (behind, (now - 60) * 1000)] {
        let set = BTreeMap::from([("eth0".to_owned(), BTreeMap::new())]);
        let section = Section::Interfaces;
        let report = InventoryReport { section, at_ms, whole: true, set, gone: vec![], cut: 0 };
        lane.push(Lane::State, vec![UpRecord::Inventory(DeviceInventory { device, report })]).await;
    }
    let mut holds = SiteHolds { at_ms: now_ms(), ..SiteHolds::default() };
    for device in [up_to_date, behind, silent] {
        holds.devices.push(device);
        holds.note_last(true);
        holds.note_inventory(if device == silent { 0 } else { u32::try_from(now).unwrap() });
    }
    tell(&mut lane, holds).await;
    assert_eq!(asked(&world).await, (vec![behind], vec![]));

    // Two computers used an identity when the copy was made, and one does since.
    run(&world, "UPDATE devices SET computers = '[]', computers_since = now()").await;
    let shared = Some(vec![behind]);
    let devices = vec![behind, silent];
    tell(&mut lane, SiteHolds { at_ms: now_ms(), devices, shared, ..SiteHolds::default() }).await;
    let left = "SELECT count(*) FROM devices WHERE computers IS NOT NULL";
    assert_eq!(
        world.scalar::<i64>(left).await,
        2,
        "of the third, and of one not named, nothing is said"
    );

    // Columns that the relay told of once, before the copy was put back.
    run(&world, "DELETE FROM downlink").await;
    let rollups = [super::tests::rollup(now / 60, 50)];
    for _ in 0..2 {
        lane.push(Lane::Metrics, vec![super::tests::metrics(behind, &rollups)]).await;
    }
    assert_eq!(asked(&world).await, (vec![], vec![behind]), "and not at once again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_to_have_ready_are_taken_back_from_the_relay() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let file = |n: u8, url: &str| CacheAhead {
        url: url.into(),
        sha256: [n; 32],
        size: 7,
        until_ms: now_ms() + 86_400_000,
    };
    let told = |revision, ahead, cache_ahead| {
        let settings = SiteConfig { revision, cache_ahead, ..SiteConfig::default() };
        SiteHolds { at_ms: now_ms(), settings, ahead, ..SiteHolds::default() }
    };
    let urls = "SELECT coalesce(string_agg(url, ' ' ORDER BY place), '') FROM cache_ahead";
    let files = vec![file(1, "/remap/a/b"), file(2, "javascript:x"), file(1, "/remap/a/c")];
    tell(&mut lane, told(10, true, files)).await;
    assert_eq!(world.scalar::<String>(urls).await, "/remap/a/b");
    // A relay of an earlier version does not say, or has no room to.
    tell(&mut lane, told(20, false, vec![])).await;
    assert_eq!(world.scalar::<String>(urls).await, "/remap/a/b");
    tell(&mut lane, told(5, true, vec![file(3, "/remap/old")])).await;
    assert_eq!(world.scalar::<String>(urls).await, "/remap/a/b", "older settings");
    tell(&mut lane, told(30, true, vec![])).await;
    assert_eq!(world.scalar::<String>(urls).await, "");
}
