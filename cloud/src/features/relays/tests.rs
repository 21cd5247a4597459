//! Records of a relay over the real link, and what they leave in the tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use crate::{
    app::FEATURES,
    features::{
        devices,
        metrics::{MetricsBody, jobs, measured_for_test},
    },
    link::{
        now_ms,
        testing::{FakeLane, FakeRelay, World, make_place},
    },
    reports::Reporting,
};
use std::{collections::BTreeMap, sync::Arc};
use unifyit_protocol::{
    ids::{CommandId, DeviceId, TaskId, TokenId},
    inventory::{InventoryReport, Section},
    lane::Lane,
    link::{
        DeviceGap, DeviceInventory, DeviceMetrics, DeviceOutput, DeviceSeries, Enrolled, Ephemeral,
        Frame, Presence, Progress, RelayStatus, SiteAudit, UpRecord,
    },
    outcome::{CommandEvent, OutputChunk, Status, Stream},
    report::Gap,
    telemetry::{Aggregate, Rollup, RollupBlock, Series, SeriesTable},
};

pub(super) async fn world() -> (World, FakeRelay, FakeLane, tokio_util::sync::DropGuard) {
    let stop = tokio_util::sync::CancellationToken::new();
    let running = stop.clone();
    let world = World::new(|db, _, watches| {
        let (reporting, beside) = Reporting::of(FEATURES, &db.db, watches);
        beside.into_iter().for_each(|work| drop(tokio::spawn(work(running.clone()))));
        Arc::new(reporting)
    })
    .await;
    let (relay, _) = world.enrolled(&world.place).await;
    let lane = relay.lane(1).await;
    (world, relay, lane, stop.drop_guard())
}

pub(super) fn presence(device: DeviceId, online: bool) -> UpRecord {
    UpRecord::Presence(vec![Presence {
        device,
        online,
        at_ms: now_ms(),
        agent_version: "0.1.0".into(),
        address: "10.0.0.7".into(),
    }])
}

pub(super) fn table() -> SeriesTable {
    let series = |name: &str, label: &str| Series {
        name: name.into(),
        label: label.into(),
        unit: "percent".into(),
        scale: 1,
    };
    SeriesTable {
        series: vec![
            series("cpu.busy", ""),
            series("memory.used_pct", ""),
            series("disk.used_pct", "/"),
            series("disk.used_pct", "/data"),
        ],
    }
}

pub(super) fn rollup(minute: u64, value: i64) -> Rollup {
    let cell = Some(Aggregate { min: value - 10, max: value + 10, avg: value, last: value });
    Rollup {
        minute,
        count: 6,
        values: vec![cell, cell, cell, Some(Aggregate { last: 990, max: 990, min: 0, avg: 500 })],
    }
}

pub(super) fn metrics(device: DeviceId, rollups: &[Rollup]) -> UpRecord {
    let block = RollupBlock::encode(table().hash(), rollups).unwrap();
    UpRecord::Metrics(vec![DeviceMetrics { device, block }])
}

async fn read(world: &World, device: DeviceId, from: u64, to: u64) -> MetricsBody {
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    let found = devices::store::find(&mut tx, device).await.unwrap().unwrap();
    measured_for_test(&mut tx, &found, from * 60_000, to * 60_000).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_joins_speaks_and_is_described() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    let enrolled = UpRecord::Enrolled(Enrolled {
        device,
        hostname: "web-1\0\u{1b}[31m".into(),
        version: "0.1.0".into(),
        token: TokenId::generate(),
        at_ms: now_ms(),
    });
    lane.push(Lane::Urgent, vec![enrolled, presence(device, true)]).await;
    let facts = [("hostname", "web-1"), ("os_name", "Debian 12"), ("os_family", "linux")];
    let facts: BTreeMap<_, _> =
        facts.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    let system = UpRecord::Inventory(DeviceInventory {
        device,
        report: InventoryReport {
            section: Section::System,
            at_ms: now_ms(),
            whole: true,
            set: BTreeMap::from([("system".to_owned(), facts)]),
            gone: vec![],
            cut: 0,
        },
    });
    let packages = |whole, set: &[&str], gone: &[&str]| {
        UpRecord::Inventory(DeviceInventory {
            device,
            report: InventoryReport {
                section: Section::Packages,
                at_ms: now_ms(),
                whole,
                set: set
                    .iter()
                    .map(|k| ((*k).to_owned(), BTreeMap::from([("version".into(), "1\0".into())])))
                    .collect(),
                gone: gone.iter().map(|k| (*k).to_owned()).collect(),
                cut: 0,
            },
        })
    };
    let status = UpRecord::Relay(RelayStatus { backlog_records: 3, ..RelayStatus::default() });
    lane.push(
        Lane::State,
        vec![
            system,
            packages(true, &["dpkg/a", "dpkg/b"], &[]),
            packages(false, &["dpkg/c"], &["dpkg/a"]),
            status,
        ],
    )
    .await;
    let gap = |device| {
        UpRecord::Gap(DeviceGap {
            device,
            gap: Gap {
                lane: Lane::Metrics,
                count: 9,
                from_ms: now_ms() - 60_000,
                to_ms: now_ms(),
                reason: "The disk was full.".into(),
            },
        })
    };
    let audit = UpRecord::Audit(SiteAudit {
        at_ms: now_ms(),
        action: "ui.sign_in".into(),
        actor: "pin".into(),
        detail: "From 10.0.0.9".into(),
    });
    lane.push(Lane::Urgent, vec![gap(Some(device)), gap(None), audit]).await;
    world
        .until(
            "the device is there as it said",
            "SELECT EXISTS (SELECT FROM devices WHERE online AND hostname = 'web-1' \
             AND os_name = 'Debian 12' AND address = '10.0.0.7')",
        )
        .await;
    let keys = "SELECT string_agg(key, ',' ORDER BY key) FROM inventory_entries WHERE section = 'packages'";
    assert_eq!(world.scalar::<String>(keys).await, "dpkg/b,dpkg/c");
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 2);
    let actions = "SELECT string_agg(action, ',' ORDER BY action) FROM audit_log";
    assert_eq!(world.scalar::<String>(actions).await, "device.enroll,relay.enroll,site.ui.sign_in");
    let backlog = "SELECT (status->>'backlog_records')::int8 FROM relays";
    assert_eq!(world.scalar::<i64>(backlog).await, 3);
    lane.push(Lane::Urgent, vec![presence(device, false)]).await;
    assert!(!world.scalar::<bool>("SELECT online FROM devices").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relay_cannot_touch_a_device_of_another_site() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let other = make_place(&world.db, &world.trust).await;
    let (_other_relay, _) = world.enrolled(&other).await;
    let foreign = DeviceId::generate();
    let mut their_lane = _other_relay.lane(1).await;
    their_lane.push(Lane::Urgent, vec![presence(foreign, true)]).await;
    let own = DeviceId::generate();
    lane.push(Lane::Urgent, vec![presence(foreign, false), presence(own, true)]).await;
    let series = UpRecord::Series(DeviceSeries { device: foreign, table: table() });
    lane.push(Lane::Metrics, vec![series, metrics(foreign, &[rollup(now_ms() / 60_000, 50)])])
        .await;
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM devices WHERE online").await, 2);
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM metric_recent").await, 0);
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn measurements_come_back_and_a_replaced_minute_counts_once() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let device = DeviceId::generate();
    let base = now_ms() / 60_000 - 24 * 60;
    let series = UpRecord::Series(DeviceSeries { device, table: table() });
    let block: Vec<Rollup> = (0..20).map(|n| rollup(base + n, 100)).collect();
    // Minute 5 of the block again, with its late samples; minute 30 after a hole.
    let records = vec![
        series,
        metrics(device, &block),
        metrics(device, &[rollup(base + 5, 300)]),
        metrics(device, &[rollup(base + 30, 100)]),
    ];
    lane.push(Lane::Metrics, records).await;
    let check = |body: MetricsBody| {
        let cpu = body.series.iter().find(|s| s.name == "cpu.busy").unwrap();
        assert_eq!(body.times.len(), 31);
        assert_eq!(cpu.avg[4], Some(10.0));
        assert_eq!(cpu.avg[5], Some(30.0));
        assert_eq!((cpu.min[5], cpu.max[5]), (Some(29.0), Some(31.0)));
        assert_eq!(cpu.avg[25], None);
        assert_eq!(cpu.avg[30], Some(10.0));
        let data = body.series.iter().find(|s| s.label == "/data").unwrap();
        assert_eq!((data.min[0], data.avg[0], data.max[0]), (Some(0.0), Some(50.0), Some(99.0)));
    };
    check(read(&world, device, base, base + 31).await);
    let latest = "SELECT cpu_pct::float8 + disk_pct::float8 FROM device_loads";
    assert!((world.scalar::<f64>(latest).await - 109.0).abs() < 0.01);
    let newest = world.scalar::<Vec<u8>>("SELECT vals FROM metric_latest").await;
    let newest: Vec<Option<i64>> = unifyit_protocol::codec::decode(&newest).unwrap();
    assert_eq!(newest, [Some(100), Some(100), Some(100), Some(990)]);

    jobs::compact(&world.db.db).await.unwrap();
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM metric_recent").await, 0);
    assert!(world.scalar::<i64>("SELECT count(*) FROM metric_blocks").await <= 2);
    check(read(&world, device, base, base + 31).await);

    // A minute replaced after packing, and the packing of it.
    lane.push(Lane::Metrics, vec![metrics(device, &[rollup(base + 4, 700)])]).await;
    for _ in 0..2 {
        let body = read(&world, device, base, base + 31).await;
        let cpu = body.series.iter().find(|s| s.name == "cpu.busy").unwrap();
        assert_eq!(cpu.avg[4], Some(70.0));
        assert_eq!(cpu.avg[6], Some(10.0));
        jobs::compact(&world.db.db).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_block_costs_only_itself() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let (good, bad) = (DeviceId::generate(), DeviceId::generate());
    let series = |device| UpRecord::Series(DeviceSeries { device, table: table() });
    let block = RollupBlock::encode(table().hash(), &[rollup(now_ms() / 60_000, 50)]).unwrap();
    let damaged = RollupBlock { table: table().hash(), columns: vec![1, 2, 3] };
    let both = UpRecord::Metrics(vec![
        DeviceMetrics { device: bad, block: damaged },
        DeviceMetrics { device: good, block },
    ]);
    lane.push(Lane::Metrics, vec![series(good), series(bad), both]).await;
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM metric_recent").await, 1);
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_target_moves_forward_only_and_its_output_is_kept_once() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let (device, task, command) = (DeviceId::generate(), TaskId::generate(), CommandId::generate());
    lane.push(Lane::Urgent, vec![presence(device, true)]).await;
    let mut tx = world.db.db.tenant(&world.place.scope()).await.unwrap();
    sqlx::query(
        "INSERT INTO tasks (id, partner_id, organization_id, action, created_by, created_by_id, expires_at, total) \
         VALUES ($1, $2, $3, '{}', 'test', $1, now() + interval '1 hour', 1)",
    )
    .bind(task.0)
    .bind(world.place.partner.0)
    .bind(world.place.organization.0)
    .execute(&mut *tx)
    .await
    .unwrap_err();
    drop(tx);
    // A task above a site is written by whoever sees the organization.
    let above = crate::db::Scope::Organization(world.place.partner, world.place.organization);
    let mut tx = world.db.db.tenant(&above).await.unwrap();
    sqlx::query(
        "INSERT INTO tasks (id, partner_id, organization_id, action, created_by, created_by_id, expires_at, total) \
         VALUES ($1, $2, $3, '{}', 'test', $1, now() + interval '1 hour', 1)",
    )
    .bind(task.0)
    .bind(world.place.partner.0)
    .bind(world.place.organization.0)
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO task_targets (task_id, device_id, command_id, partner_id, organization_id, site_id) \
         VALUES ($1, $2, $3, $4, $5, $6)",
    )
    .bind(task.0)
    .bind(device.0)
    .bind(command.0)
    .bind(world.place.partner.0)
    .bind(world.place.organization.0)
    .bind(world.place.site.0)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();

    let event = |status, exit_code| {
        UpRecord::Progress(vec![Progress {
            device,
            event: CommandEvent {
                command,
                status,
                at_ms: now_ms(),
                exit_code,
                reason: None,
                output_len: 10,
                output_cut: 0,
            },
        }])
    };
    let output = |offset, text: &str| {
        UpRecord::Output(DeviceOutput {
            device,
            chunks: vec![OutputChunk {
                command,
                offset,
                stream: Stream::Stdout,
                data: text.as_bytes().to_vec(),
            }],
        })
    };
    lane.push(Lane::Urgent, vec![event(Status::Running, None)]).await;
    lane.push(Lane::Urgent, vec![event(Status::Sent, None)]).await;
    let status = "SELECT status FROM task_targets";
    assert_eq!(world.scalar::<String>(status).await, "running");
    lane.push(Lane::Output, vec![output(0, "hello"), output(5, "world"), output(0, "hello")]).await;
    // A relay that was killed does not know what it had handed on; the device does.
    lane.push(Lane::Urgent, vec![event(Status::Expired, None)]).await;
    lane.push(Lane::Urgent, vec![event(Status::Failed, Some(3))]).await;
    lane.push(Lane::Urgent, vec![event(Status::Succeeded, Some(0)), event(Status::Running, None)])
        .await;
    assert_eq!(world.scalar::<String>(status).await, "failed");
    assert_eq!(world.scalar::<i32>("SELECT exit_code FROM task_targets").await, 3);
    let text = "SELECT convert_from(string_agg(data, ''::bytea ORDER BY byte_offset), 'UTF8') FROM task_output";
    assert_eq!(world.scalar::<String>(text).await, "helloworld");
    world.until("the task is closed", "SELECT finished_at IS NOT NULL FROM tasks").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn live_output_is_shown_only_of_devices_that_the_command_is_for() {
    let (world, _relay, mut lane, _ticker) = world().await;
    let [own, foreign, last] = [(); 3].map(|()| DeviceId::generate());
    let command = CommandId::generate();
    let task = TaskId::generate();
    let mut tx = world.db.db.tenant(&crate::db::Scope::Platform).await.unwrap();
    const TASK: &str = "INSERT INTO tasks (id, action, created_by, created_by_id, expires_at, total) \
         SELECT $1, '{}', 'test', $1, now() + interval '1 hour', 2 WHERE $2 IS NOT NULL AND $3 IS NOT NULL \
             AND $4 IS NOT NULL AND $5 IS NOT NULL AND $6 IS NOT NULL";
    const TARGET: &str = "INSERT INTO task_targets (task_id, device_id, command_id, partner_id, \
         organization_id, site_id) VALUES ($1, $2, $3, $4, $5, $6)";
    for (device, sql) in [(own, TASK), (own, TARGET), (last, TARGET)] {
        sqlx::query(sql)
            .bind(task.0)
            .bind(device.0)
            .bind(command.0)
            .bind(world.place.partner.0)
            .bind(world.place.organization.0)
            .bind(world.place.site.0)
            .execute(&mut *tx)
            .await
            .unwrap();
    }
    tx.commit().await.unwrap();
    let _watching = world.watches.register(vec![], vec![task]);
    let mut bus = world.db.db.bus().subscribe();
    let chunk = |text: &str| OutputChunk {
        command,
        offset: 0,
        stream: Stream::Stdout,
        data: text.as_bytes().to_vec(),
    };
    // What is forged is looked up before the last one is; the third is known by then.
    let said = [(own, "own"), (foreign, "forged"), (own, "own again"), (foreign, "forged")];
    let said = said.into_iter().chain([(foreign, "forged"), (last, "last")]);
    for (device, text) in said.chain([(own, "own at last"); 20]) {
        lane.send(Frame::Ephemeral(vec![Ephemeral::Output(device, chunk(text))])).await;
        if text == "forged" {
            continue;
        }
        loop {
            let event = bus.recv().await.unwrap();
            if event.text.contains(crate::features::tasks::OUTPUT.as_str()) {
                assert!(event.text.contains(&device.to_string()), "{text}: {}", event.text);
                break;
            }
        }
    }
}
