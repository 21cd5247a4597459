//! Packing and growing coarser, over the tables.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::{super::aging, compact_at};
use crate::{
    db::Scope,
    features::{devices, metrics::MetricsBody},
    testing::{Place, TestApp},
};
use std::{
    io,
    sync::{Arc, Mutex},
};
use tracing_subscriber::fmt::MakeWriter;
use unifyit_protocol::{
    codec,
    telemetry::{Aggregate, Rollup, RollupBlock, Series, SeriesTable},
};

fn table() -> SeriesTable {
    let series =
        Series { name: "cpu.busy".into(), label: String::new(), unit: "percent".into(), scale: 0 };
    SeriesTable { series: vec![series] }
}

fn rollups(minutes: std::ops::Range<u64>, width: usize, value: i64) -> Vec<Rollup> {
    let cell = Some(Aggregate { min: value - 1, max: value + 1, avg: value, last: value });
    minutes.map(|minute| Rollup { minute, count: 6, values: vec![cell; width] }).collect()
}

/// Rollups as they come from a relay.
async fn keep(app: &TestApp, place: &Place, rollups: &[Rollup]) {
    let hash = table().hash();
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query(
        "INSERT INTO series_tables (device_id, hash, partner_id, organization_id, site_id, series) \
         VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
    )
    .bind(place.device.0)
    .bind(i64::from(hash))
    .bind(place.partner.0)
    .bind(place.organization.0)
    .bind(place.site.0)
    .bind(codec::encode(&table()).unwrap())
    .execute(&mut *tx)
    .await
    .unwrap();
    sqlx::query(
        "INSERT INTO metric_recent (device_id, first_minute, last_minute, series_hash, block, \
             partner_id, organization_id, site_id) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
    )
    .bind(place.device.0)
    .bind(i64::try_from(rollups[0].minute).unwrap())
    .bind(i64::try_from(rollups[rollups.len() - 1].minute).unwrap())
    .bind(i64::from(hash))
    .bind(RollupBlock::encode(hash, rollups).unwrap().columns)
    .bind(place.partner.0)
    .bind(place.organization.0)
    .bind(place.site.0)
    .execute(&mut *tx)
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn read(app: &TestApp, place: &Place, from: u64, to: u64) -> MetricsBody {
    let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
    let device = devices::store::find(&mut tx, place.device).await.unwrap().unwrap();
    super::super::measured_for_test(&mut tx, &device, from * 60_000, to * 60_000).await
}

async fn steps(app: &TestApp) -> Vec<(i16, i64)> {
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query_as("SELECT step, count(*) FROM metric_blocks GROUP BY 1 ORDER BY 1")
        .fetch_all(&mut *tx)
        .await
        .unwrap()
}

const DAY: u64 = 1440;

#[tokio::test]
async fn an_odd_rollup_leaves_a_gap_and_takes_nothing_with_it() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let start = 20_000 * DAY;
    keep(&app, &place, &rollups(start..start + 10, 1, 50)).await;
    compact_at(&app.state.db, start + 2 * DAY).await.unwrap();
    keep(&app, &place, &rollups(start + 20..start + 22, 3, 50)).await;
    keep(&app, &place, &rollups(start + 30..start + 40, 1, 50)).await;
    compact_at(&app.state.db, start + 2 * DAY).await.unwrap();
    let body = read(&app, &place, start, start + 40).await;
    let known = body.series[0].avg.iter().flatten().count();
    assert_eq!(known, 20, "what was packed before and what fits is there");
    let gap = &body.gaps[0];
    assert_eq!(body.gaps.len(), 1);
    let at = |minute: u64| crate::link::from_ms(minute * 60_000);
    assert_eq!((gap.from, gap.to), (at(start + 20), at(start + 22)));
    assert!(gap.reason.contains("did not fit"), "{}", gap.reason);
}

#[tokio::test]
async fn minutes_become_quarters_then_hours_and_late_ones_join_them() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let db = &app.state.db;
    // A period of sixty days begins here, so one of fifteen does too.
    let start = 20_040 * DAY;
    assert_eq!(start % (60 * DAY), 0);
    for day in 0..2 {
        let first = start + day * DAY;
        keep(&app, &place, &rollups(first..first + 60, 1, 40)).await;
    }
    compact_at(db, start + 3 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 2)]);
    // Minutes are kept thirty days beyond the period's end.
    aging::age_at(db, start + 45 * DAY - 1).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 2)]);
    aging::age_at(db, start + 45 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(15, 1)]);
    let body = read(&app, &place, start, start + 60).await;
    assert_eq!((body.step_s, body.series[0].avg.clone()), (900, vec![Some(40.0); 4]));
    assert_eq!((body.series[0].min[0], body.series[0].max[0]), (Some(39.0), Some(41.0)));

    // From a relay that was away for long.
    keep(&app, &place, &rollups(start + 60..start + 75, 1, 80)).await;
    compact_at(db, start + 46 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 1), (15, 1)]);
    let late = read(&app, &place, start, start + 75).await;
    aging::age_at(db, start + 46 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(15, 1)]);
    let joined = read(&app, &place, start, start + 75).await;
    assert_eq!(late.series, joined.series);
    assert_eq!(joined.series[0].avg[4], Some(80.0));

    aging::age_at(db, start + (60 + 365) * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(60, 1)]);
    let hours = read(&app, &place, start, start + 2 * DAY).await;
    assert_eq!(hours.step_s, 3600);
    let known: Vec<f64> = hours.series[0].avg.iter().flatten().copied().collect();
    assert_eq!(known, [40.0, 80.0, 40.0]);
}

#[tokio::test]
async fn what_a_later_version_wrote_waits_for_it() {
    let app = TestApp::new().await;
    let (place, db) = (app.place("Acme").await, &app.state.db);
    let start = 20_040 * DAY;
    keep(&app, &place, &rollups(start..start + 10, 1, 50)).await;
    let mut owner = app.test.owner().await;
    let mut run = async |sql: &'static str| {
        sqlx::query(sql).execute(&mut owner).await.unwrap();
    };
    run("UPDATE metric_recent SET block = set_byte(block, 0, 3)").await;
    compact_at(db, start + 2 * DAY).await.unwrap();
    keep(&app, &place, &rollups(start + 20..start + 30, 1, 50)).await;
    compact_at(db, start + 2 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 1)], "others of the device are packed");
    run("UPDATE metric_blocks SET block = set_byte(block, 0, 2)").await;
    aging::age_at(db, start + 45 * DAY).await.unwrap();
    keep(&app, &place, &rollups(start + 40..start + 50, 1, 50)).await;
    compact_at(db, start + 2 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 2)]);

    // It is here again.
    run("UPDATE metric_blocks SET block = set_byte(block, 0, 1)").await;
    run("UPDATE metric_recent SET block = set_byte(block, 0, 1)").await;
    compact_at(db, start + 2 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 1)]);
    let body = read(&app, &place, start, start + 50).await;
    assert_eq!(body.series[0].avg.iter().flatten().count(), 30);
    assert!(body.gaps.is_empty(), "{:?}", body.gaps);
}

#[tokio::test]
async fn a_read_beyond_its_bounds_is_refused_before_it_costs_anything() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let (key, _) = app.key("viewer", Scope::Partner(place.partner)).await;
    keep(&app, &place, &rollups(1000..1010, 1, 50)).await;
    let path = format!("/devices/{}/metrics", place.device);
    for step in ["9223372036854775807", "18446744073709551600", "31622401"] {
        let answer = app.by_key(&key, "GET", &format!("{path}?from=0&step={step}"), None).await;
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert!(answer.body["detail"].as_str().unwrap().contains("`step`"), "{}", answer.body);
    }
    let all = format!("{path}?from=0&step=100000000");
    assert_eq!(app.by_key(&key, "GET", &all, None).await.status, 422);
    let year = format!("{path}?from=0&step=31536000");
    assert_eq!(app.by_key(&key, "GET", &year, None).await.status, 200);
    let mut owner = app.test.owner().await;
    sqlx::query(
        "INSERT INTO metric_recent (device_id, first_minute, last_minute, series_hash, block, \
             partner_id, organization_id, site_id) \
         SELECT device_id, n, n, series_hash, block, partner_id, organization_id, site_id \
         FROM metric_recent, generate_series(2000, 52000) n",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    let refused = app.by_key(&key, "GET", &year, None).await;
    assert_eq!(refused.status, 422);
    assert!(refused.body["detail"].as_str().unwrap().contains("shorter range"));
    let few = format!("{path}?from=60000000&to=60600000");
    assert_eq!(app.by_key(&key, "GET", &few, None).await.body["series"][0]["avg"][0], 50.0);
}

#[tokio::test]
async fn decoding_ends_soon_after_nobody_waits_for_it() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    keep(&app, &place, &rollups(1000..1010, 1, 50)).await;
    let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
    let device = devices::store::find(&mut tx, place.device).await.unwrap().unwrap();
    super::super::stops_when_unwanted(&mut tx, &device).await;
}

#[tokio::test]
async fn what_a_device_sent_is_packed_in_pieces_and_none_of_it_is_lost() {
    let app = TestApp::new().await;
    let (place, start) = (app.place("Acme").await, 20_040 * DAY);
    for n in 0..5 {
        let first = start + n * 60;
        keep(&app, &place, &rollups(first..first + 60, 1, 50)).await;
    }
    let mut owner = app.test.owner().await;
    sqlx::raw_sql(
        "CREATE TABLE pieces (minutes bigint); \
         CREATE FUNCTION piece() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
             INSERT INTO pieces VALUES (NEW.last_minute - NEW.first_minute + 1); RETURN NULL; END $$; \
         CREATE TRIGGER piece AFTER INSERT ON metric_blocks FOR EACH ROW EXECUTE FUNCTION piece()",
    )
    .execute(&mut owner)
    .await
    .unwrap();
    compact_at(&app.state.db, start + 2 * DAY).await.unwrap();
    let pieces: Vec<i64> = sqlx::query_scalar("SELECT minutes FROM pieces ORDER BY 1")
        .fetch_all(&mut owner)
        .await
        .unwrap();
    // Each takes up what was packed before: two of sixty are more than is gathered.
    assert_eq!(pieces, [120, 240, 300]);
    let body = read(&app, &place, start, start + 300).await;
    assert_eq!(body.series[0].avg.iter().flatten().count(), 300);
}

#[tokio::test]
async fn what_keeps_one_device_from_being_packed_holds_up_no_other() {
    let app = TestApp::new().await;
    let start = 20_040 * DAY;
    for name in ["Acme", "Bolt", "Cube"] {
        keep(&app, &app.place(name).await, &rollups(start..start + 10, 1, 50)).await;
    }
    // Whichever comes first fails.
    sqlx::raw_sql(
        "CREATE SEQUENCE turns; \
         CREATE FUNCTION turn() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN \
             IF nextval('turns') = 1 THEN RAISE 'it cannot be packed'; END IF; RETURN NEW; END $$; \
         CREATE TRIGGER turn BEFORE INSERT ON metric_blocks FOR EACH ROW EXECUTE FUNCTION turn()",
    )
    .execute(&mut app.test.owner().await)
    .await
    .unwrap();
    compact_at(&app.state.db, start + 2 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 2)]);
    compact_at(&app.state.db, start + 2 * DAY).await.unwrap();
    assert_eq!(steps(&app).await, [(1, 3)], "what failed is tried again");
}

/// What is logged, from here on.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Log {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}

impl Log {
    fn lines(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        String::from_utf8(text).unwrap().lines().map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn damaged_blocks_of_a_device_are_one_line_of_the_log_a_run() {
    let app = TestApp::new().await;
    let (place, db, start) = (app.place("Acme").await, &app.state.db, 20_040 * DAY);
    let mut owner = app.test.owner().await;
    let log = Log::default();
    let errors = tracing_subscriber::fmt().with_max_level(tracing::Level::ERROR);
    let errors = errors.with_ansi(false).with_writer(log.clone()).finish();
    let _guard = tracing::subscriber::set_default(errors);
    for n in 0..3 {
        keep(&app, &place, &rollups(start + n * 100..start + n * 100 + 10, 1, 50)).await;
    }
    let damage = "UPDATE metric_recent SET block = substring(block FROM 1 FOR 1)";
    sqlx::query(damage).execute(&mut owner).await.unwrap();
    compact_at(db, start + 2 * DAY).await.unwrap();
    let said = log.lines();
    assert!(said.len() == 1 && said[0].contains("gaps=3 "), "{said:?}");

    // Two periods of it, which grow coarser one after the other.
    for first in [start, start + 60 * DAY] {
        keep(&app, &place, &rollups(first..first + 10, 1, 50)).await;
    }
    compact_at(db, start + 62 * DAY).await.unwrap();
    let damage = "UPDATE metric_blocks SET block = substring(block FROM 1 FOR 1)";
    sqlx::query(damage).execute(&mut owner).await.unwrap();
    aging::age_at(db, start + 200 * DAY).await.unwrap();
    let said = log.lines();
    assert!(said.len() == 1 && said[0].contains("gaps=2 "), "{said:?}");
}
