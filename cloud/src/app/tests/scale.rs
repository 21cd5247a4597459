//! A week of one computer's measurements, under row security and through the whole
//! HTTP service. Rerun with
//! `cargo nextest run --release -p unifyit-cloud --run-ignored only scale --no-capture`.
//! The lists of 100,000 computers are measured by `unifyit-bench lists`.

use crate::{
    db::Scope,
    testing::{Place, TestApp},
};
use axum::http::StatusCode;
use std::time::{Duration, Instant};
use unifyit_protocol::{
    codec,
    telemetry::{Aggregate, Rollup, Series, SeriesTable, block},
};

const ROUNDS: usize = 40;
/// The budget for a page of charts.
const GOAL: Duration = Duration::from_millis(50);

async fn measure(app: &TestApp, key: &str, path: &str) -> (Duration, Duration) {
    let mut took = Vec::with_capacity(ROUNDS);
    for round in 0..ROUNDS + 5 {
        let started = Instant::now();
        let answer = app.by_key(key, "GET", path, None).await;
        if round >= 5 {
            took.push(started.elapsed());
        }
        assert_eq!(answer.status, StatusCode::OK, "{path}: {}", answer.body);
    }
    took.sort_unstable();
    (took[ROUNDS / 2], took[ROUNDS * 99 / 100])
}

const DAY: u64 = 24 * 60;

/// Forty measured things over a week, a block a day as compaction leaves them.
async fn seed_week(app: &TestApp, place: &Place, end: u64) {
    let names = [
        "cpu.busy",
        "memory.used_pct",
        "disk.used_pct",
        "net.rx",
        "net.tx",
        "load.1",
        "disk.read",
        "disk.write",
    ];
    let series = (0..40)
        .map(|n: usize| Series {
            name: names[n % names.len()].into(),
            label: if n < names.len() { String::new() } else { format!("part{}", n / names.len()) },
            unit: "percent".into(),
            scale: 1,
        })
        .collect();
    let table = SeriesTable { series };
    let hash = i64::from(table.hash());
    let mut owner = app.test.owner().await;
    let place_columns = "partner_id, organization_id, site_id";
    sqlx::query(sqlx::AssertSqlSafe(format!(
        "INSERT INTO series_tables (device_id, hash, series, {place_columns}) VALUES ($1, $2, $3, $4, $5, $6)"
    )))
    .bind(place.device.0)
    .bind(hash)
    .bind(codec::encode(&table).unwrap())
    .bind(place.partner.0)
    .bind(place.organization.0)
    .bind(place.site.0)
    .execute(&mut owner)
    .await
    .unwrap();
    for day in 0..7 {
        let first = end - (7 - day) * DAY;
        let rollups: Vec<Rollup> = (first..first + DAY)
            .map(|minute| Rollup {
                minute,
                count: 6,
                values: (0..40)
                    .map(|n| {
                        let avg = i64::try_from((minute * 31 + n * 17) % 1000).unwrap();
                        Some(Aggregate { min: avg - 3, max: avg + 5, avg, last: avg + 1 })
                    })
                    .collect(),
            })
            .collect();
        sqlx::query(sqlx::AssertSqlSafe(format!(
            "INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, block, {place_columns}) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8)"
        )))
        .bind(place.device.0)
        .bind(i64::try_from(first).unwrap())
        .bind(i64::try_from(first + DAY - 1).unwrap())
        .bind(hash)
        .bind(block::encode(&rollups).unwrap())
        .bind(place.partner.0)
        .bind(place.organization.0)
        .bind(place.site.0)
        .execute(&mut owner)
        .await
        .unwrap();
    }
}

#[tokio::test]
#[ignore = "a figure; run by hand"]
async fn a_week_of_measurements_is_answered_within_its_budget() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let end = app.state.clock.now_ms() / 60_000 / DAY * DAY;
    seed_week(&app, &place, end).await;
    let (key, _) = app.key("viewer", Scope::Partner(place.partner)).await;
    let (from, to) = ((end - 7 * DAY) * 60_000, end * 60_000);
    let mut slow = Vec::new();
    for (what, names) in [
        ("one metric", "&names=cpu.busy"),
        ("key charts", "&names=cpu.busy,memory.used_pct,disk.used_pct,net.rx,net.tx"),
        ("all 40", ""),
    ] {
        let path = format!("/devices/{}/metrics?from={from}&to={to}{names}", place.device);
        let (p50, p99) = measure(&app, &key, &path).await;
        println!("a week, {what:12} p50 {p50:>9.1?}  p99 {p99:>9.1?}");
        if p99 > GOAL {
            slow.push(what);
        }
    }
    assert!(slow.is_empty(), "beyond {GOAL:?}: {slow:?}");
}
