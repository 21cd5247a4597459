//! Newest loads of a site's devices, told beside their blocks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::tests::{metrics, presence, rollup, table, world};
use crate::link::{now_ms, testing::make_place};
use unifyit_protocol::{
    ids::DeviceId,
    lane::Lane,
    link::{DeviceSeries, Frame, UpRecord},
    telemetry::newest::{Load, Newest, Teller},
};

const SHOWN: &str = "SELECT count(*) = 1 FROM device_loads WHERE round(cpu_pct::numeric, 1) = 12.3 \
    AND round(memory_pct::numeric, 1) = 45.6 AND disk_pct = -1 \
    AND metrics_at > now() - interval '1 minute' AND seen >= metrics_at";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn newest_loads_are_shown_to_the_tenth_and_no_block_sets_them_back() {
    let (world, _relay, mut lane, _ticker) = world().await;
    assert!(lane.hello.as_ref().unwrap().takes_newest);
    let other = make_place(&world.db, &world.trust).await;
    let (their_relay, _) = world.enrolled(&other).await;
    let (own, foreign) = (DeviceId::generate(), DeviceId::generate());
    their_relay.lane(1).await.push(Lane::Urgent, vec![presence(foreign, true)]).await;
    lane.push(Lane::Urgent, vec![presence(own, true)]).await;
    let written = "SELECT string_agg(xmin::text, ',' ORDER BY id) FROM devices";
    let before = world.scalar::<String>(written).await;

    let load = Load { at_s: now_ms() / 1000 - 3, cpu: Some(123), memory: Some(456), disk: None };
    let told = Teller::default().tell(now_ms() / 1000, &[(own, load), (foreign, load)]).unwrap();
    lane.send(Frame::Newest(told)).await;
    world.until("the newest load is shown, of the relay's own device alone", SHOWN).await;

    // Its block comes later and ends before it.
    let series = UpRecord::Series(DeviceSeries { device: own, table: table() });
    let block: Vec<_> = (2..12).rev().map(|n| rollup(now_ms() / 60_000 - n, 500)).collect();
    lane.push(Lane::Metrics, vec![series, metrics(own, &block)]).await;
    assert!(world.scalar::<bool>(SHOWN).await, "older values do not replace it");
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM metric_recent").await, 1);
    let after = world.scalar::<String>(written).await;
    assert_eq!(after, before, "a minute's loads leave the wide rows alone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_understood_stops_no_lane() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    let odd = Newest { at_s: now_ms() / 1000, joined: vec![device], loads: vec![0xff; 40] };
    for _ in 0..100 {
        lane.send(Frame::Newest(odd.clone())).await;
    }
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let shown = "SELECT count(*) FROM device_loads WHERE cpu_pct >= 0";
    assert_eq!(world.scalar::<i64>(shown).await, 0);
}
