//! Gaps stand where their data would be, and one that goes on is one row.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use crate::{
    app::FEATURES,
    link::{
        now_ms,
        testing::{FakeLane, World},
    },
    reports::Reporting,
};
use std::sync::Arc;
use unifyit_protocol::{
    ids::DeviceId,
    lane::Lane,
    link::{DeviceGap, DeviceMetrics, DeviceSeries, SiteAudit, UpRecord},
    report::Gap,
    telemetry::{Aggregate, Rollup, RollupBlock, Series, SeriesTable},
};

async fn world() -> World {
    World::new(|db, _, watches| Arc::new(Reporting::of(FEATURES, &db.db, watches).0)).await
}

fn table() -> SeriesTable {
    let series =
        Series { name: "cpu.busy".into(), label: String::new(), unit: "percent".into(), scale: 0 };
    SeriesTable { series: vec![series] }
}

fn metrics(device: DeviceId, minute: u64) -> UpRecord {
    let cell = Some(Aggregate { min: 1, max: 1, avg: 1, last: 1 });
    let rollup = Rollup { minute, count: 6, values: vec![cell] };
    let block = RollupBlock::encode(table().hash(), &[rollup]).unwrap();
    UpRecord::Metrics(vec![DeviceMetrics { device, block }])
}

fn gap(device: Option<DeviceId>, lane: Lane, reason: &str) -> UpRecord {
    let now = now_ms();
    let reason = reason.to_owned();
    UpRecord::Gap(DeviceGap {
        device,
        gap: Gap { lane, count: 7, from_ms: now, to_ms: now, reason },
    })
}

const SPAN: &str = "SELECT (extract(epoch FROM to_at - from_at) / 60)::int8 FROM gaps";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_restored_database_lacks_begins_where_its_copy_ends() {
    let world = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane: FakeLane = relay.lane(1).await;
    let device = DeviceId::generate();
    let series = UpRecord::Series(DeviceSeries { device, table: table() });
    lane.push(Lane::Metrics, vec![series, metrics(device, now_ms() / 60_000 - 90)]).await;
    // The copy is an hour and a half old; the relay goes on in a later epoch and
    // says at once what the cloud lacks.
    let mut owner = world.db.owner().await;
    sqlx::query("UPDATE lane_cursors SET updated_at = now() - interval '90 minutes'")
        .execute(&mut owner)
        .await
        .unwrap();
    drop(lane);
    let mut lane = relay.lane(2).await;
    lane.push(Lane::Metrics, vec![metrics(device, now_ms() / 60_000)]).await;
    let lost = "The cloud was restored from an older copy and lost these records.";
    lane.push(Lane::Urgent, vec![gap(None, Lane::Metrics, lost)]).await;
    assert_eq!(world.scalar::<i64>(SPAN).await, 90);
    // What a healthy lane drops at a moment is of that moment.
    sqlx::query("UPDATE lane_cursors SET epoch_at = now() - interval '1 hour'")
        .execute(&mut owner)
        .await
        .unwrap();
    sqlx::query("DELETE FROM gaps").execute(&mut owner).await.unwrap();
    lane.push(Lane::Urgent, vec![gap(None, Lane::Metrics, "A record was too large.")]).await;
    assert!(world.scalar::<i64>(SPAN).await <= 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_stays_wrong_leaves_one_gap_from_the_last_values_on() {
    let world = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    let device = DeviceId::generate();
    let this_minute = now_ms() / 60_000;
    let series = UpRecord::Series(DeviceSeries { device, table: table() });
    lane.push(Lane::Metrics, vec![series, metrics(device, this_minute - 20)]).await;
    for minute in [123, 124, 125] {
        lane.push(Lane::Metrics, vec![metrics(device, this_minute + minute)]).await;
    }
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 1);
    assert_eq!(world.scalar::<i64>("SELECT records FROM gaps").await, 3);
    let span = world.scalar::<i64>(SPAN).await;
    assert!((18..=20).contains(&span), "{span}");
    let reason = world.scalar::<String>("SELECT reason FROM gaps").await;
    assert!(reason.contains("dated 2 h ") && reason.contains("ahead"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_device_lost_lies_after_its_last_values() {
    let world = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    let device = DeviceId::generate();
    let series = UpRecord::Series(DeviceSeries { device, table: table() });
    let last = metrics(device, now_ms() / 60_000 - 40);
    lane.push(Lane::Metrics, vec![series, last]).await;
    lane.push(Lane::Urgent, vec![gap(Some(device), Lane::Metrics, "The spool was full.")]).await;
    let span = world.scalar::<i64>(SPAN).await;
    assert!((38..=41).contains(&span), "the lane has moved since, the device has not: {span}");
}

#[tokio::test]
async fn a_gap_of_more_records_than_can_be_counted_grows_all_the_same() {
    let world = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    for _ in 0..2 {
        let UpRecord::Gap(mut loss) = gap(None, Lane::Urgent, "No end of them.") else {
            panic!("a gap was made")
        };
        loss.gap.count = u64::MAX;
        lane.push(Lane::Urgent, vec![UpRecord::Gap(loss)]).await;
    }
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 1);
    assert_eq!(world.scalar::<i64>("SELECT records FROM gaps").await, i64::MAX);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_site_says_of_its_device_stands_at_that_device() {
    let world = world().await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane: FakeLane = relay.lane(1).await;
    let device = DeviceId::generate();
    let series = UpRecord::Series(DeviceSeries { device, table: table() });
    lane.push(Lane::Metrics, vec![series]).await;
    let said = |actor: String| {
        let (action, detail) = ("device.key_refused".into(), "A computer showed it.".into());
        UpRecord::Audit(SiteAudit { at_ms: now_ms(), action, actor, detail })
    };
    let stranger = DeviceId::generate();
    let all = [device.to_string(), stranger.to_string(), "pin".into()];
    lane.push(Lane::Urgent, all.map(said).to_vec()).await;
    let at_it = "SELECT count(*) FROM audit_log a JOIN devices d ON d.id = a.device_id \
                 WHERE a.action = 'site.device.key_refused'";
    assert_eq!(world.scalar::<i64>(at_it).await, 1);
    let all = "SELECT count(*) FROM audit_log WHERE action = 'site.device.key_refused'";
    assert_eq!(world.scalar::<i64>(all).await, 3);
}
