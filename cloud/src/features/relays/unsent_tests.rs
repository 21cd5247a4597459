//! What a relay that is put out had not passed on.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    db::Scope,
    link::{RelayIdentity, gaps::stored_until},
    testing::{Place, TestApp},
};
use axum::http::StatusCode;
use unifyit_protocol::ids::DeviceId;

/// Puts the relay out and returns the gaps of its site: lane, records, minutes.
async fn gaps_after(app: &TestApp, place: &Place) -> Vec<(String, i64, i64)> {
    let (key, _) = app.key("admin", Scope::Platform).await;
    let gone = app.by_key(&key, "DELETE", &format!("/relays/{}", place.relay), None).await;
    assert_eq!(gone.status, StatusCode::NO_CONTENT, "{}", gone.body);
    sqlx::query_as(
        "SELECT lane, records, (extract(epoch FROM to_at - from_at) / 60)::int8 FROM gaps \
         WHERE site_id = $1 AND device_id IS NULL ORDER BY lane",
    )
    .bind(place.site.0)
    .fetch_all(&mut app.test.owner().await)
    .await
    .unwrap()
}

async fn run(app: &TestApp, place: &Place, sql: &'static str) {
    let mut owner = app.test.owner().await;
    sqlx::query(sql).bind(place.site.0).execute(&mut owner).await.unwrap();
}

/// The relay serves the site's devices.
const OWN: &str =
    "UPDATE devices SET relay_id = (SELECT id FROM relays WHERE site_id = $1) WHERE site_id = $1";

/// A day's blocks of devices whose columns changed and changed back: 31 minutes before a
/// moment the last minute of all is stored.
async fn packed(app: &TestApp, place: &Place, days_ago: i32) {
    let mut owner = app.test.owner().await;
    sqlx::query(
        "INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, \
             partner_id, organization_id, site_id, block) \
         SELECT id, m - first, m - last, hash, partner_id, organization_id, site_id, '' \
         FROM devices, (SELECT (extract(epoch FROM now()) / 60)::int8 - 1440 * $2 AS m) AS minute, \
             (VALUES (600, 31, 1), (300, 200, 2)) AS b (first, last, hash) WHERE site_id = $1",
    )
    .bind(place.site.0)
    .bind(days_ago)
    .execute(&mut owner)
    .await
    .unwrap();
    let heard = "UPDATE device_loads SET metrics_at = now() - make_interval(days => $2), \
         seen = now() - make_interval(days => $2) WHERE site_id = $1";
    let heard = sqlx::query(heard).bind(place.site.0).bind(days_ago);
    heard.execute(&mut owner).await.unwrap();
}

#[tokio::test]
async fn nothing_is_lost_of_who_had_gone_or_was_put_out_before() {
    let app = TestApp::new().await;
    let gone = app.place("Gone").await;
    run(&app, &gone, OWN).await;
    packed(&app, &gone, 30).await;
    assert_eq!(gaps_after(&app, &gone).await, []);

    let out = app.place("Out").await;
    run(&app, &out, OWN).await;
    packed(&app, &out, 0).await;
    run(&app, &out, "UPDATE devices SET revoked_at = now() WHERE site_id = $1").await;
    assert_eq!(gaps_after(&app, &out).await, []);
}

#[tokio::test]
async fn measurements_are_missing_from_the_last_minute_that_is_stored() {
    let app = TestApp::new().await;
    let changed = app.place("Changed").await;
    run(&app, &changed, OWN).await;
    packed(&app, &changed, 0).await;
    let gaps = gaps_after(&app, &changed).await;
    assert!(matches!(&gaps[..], [(lane, 0, 29..=31)] if lane == "metrics"), "{gaps:?}");

    // It came half an hour ago, and its first hour is not over.
    let new = app.place("New").await;
    run(&app, &new, OWN).await;
    let came = "UPDATE devices SET enrolled_at = now() - interval '30 minutes' WHERE site_id = $1";
    run(&app, &new, came).await;
    run(&app, &new, "UPDATE device_loads SET metrics_at = now() WHERE site_id = $1").await;
    let gaps = gaps_after(&app, &new).await;
    assert!(matches!(&gaps[..], [(lane, 0, 29..=31)] if lane == "metrics"), "{gaps:?}");

    // It was off for a month and is back: the month is not missing.
    let back = app.place("Back").await;
    run(&app, &back, OWN).await;
    packed(&app, &back, 30).await;
    run(&app, &back, "UPDATE device_loads SET metrics_at = now() WHERE site_id = $1").await;
    let gaps = gaps_after(&app, &back).await;
    assert!(matches!(&gaps[..], [(lane, 0, 1500)] if lane == "metrics"), "{gaps:?}");
}

#[tokio::test]
async fn what_is_stored_goes_as_far_as_its_furthest_block() {
    let app = TestApp::new().await;
    let place = app.place("Changed").await;
    packed(&app, &place, 0).await;
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let device = sqlx::query_scalar("SELECT id FROM devices").fetch_one(&mut *tx).await.unwrap();
    let stored = stored_until(&mut tx, DeviceId(device)).await.unwrap().unwrap();
    let ago = time::OffsetDateTime::now_utc() - stored;
    assert!((29..=31).contains(&ago.whole_minutes()), "{ago}");
}

#[tokio::test]
async fn what_a_revoked_relay_had_not_passed_on_stands_as_a_gap() {
    let app = TestApp::new().await;
    let idle = app.place("Idle").await;
    assert_eq!(gaps_after(&app, &idle).await, [], "it had passed on all that it had");

    // The newest values of a device came, and the last half hour of its minutes did not.
    let busy = app.place("Busy").await;
    let stored = "INSERT INTO metric_recent (device_id, first_minute, last_minute, series_hash, \
             partner_id, organization_id, site_id, block) \
         SELECT id, m, m, 1, partner_id, organization_id, site_id, '' FROM devices, \
             (SELECT (extract(epoch FROM now()) / 60)::int8 - 31 AS m) AS minute WHERE site_id = $1";
    run(&app, &busy, stored).await;
    run(&app, &busy, OWN).await;
    let newest = "UPDATE device_loads SET metrics_at = now() WHERE site_id = $1";
    run(&app, &busy, newest).await;
    let gaps = gaps_after(&app, &busy).await;
    assert!(matches!(&gaps[..], [(lane, 0, 29..=31)] if lane == "metrics"), "{gaps:?}");

    let away = app.place("Away").await;
    let gone = "UPDATE relays SET online = false, state_since = now() - interval '2 hours' \
         WHERE site_id = $1";
    run(&app, &away, gone).await;
    let lanes = ["metrics", "output", "state", "urgent"].map(|lane| (lane.to_owned(), 0, 120));
    assert_eq!(gaps_after(&app, &away).await, lanes);
}

#[tokio::test]
async fn few_of_a_devices_blocks_are_read_to_find_where_what_is_stored_ends() {
    let app = TestApp::new().await;
    let place = app.place("Large").await;
    run(&app, &place, OWN).await;
    // Two months of days, quarters and hours, of this device and of many others, of which
    // there is more since.
    let stored = "INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, step, \
             partner_id, organization_id, site_id, block) \
         SELECT o.id, m - n * 1440 * step, m - n * 1440 * step + 1439 * step, 1, step, \
             d.partner_id, d.organization_id, d.site_id, '' \
         FROM devices d, (SELECT (extract(epoch FROM now()) / 60)::int8 - 1440 AS m) AS minute, \
             (SELECT id FROM devices UNION ALL SELECT gen_random_uuid() FROM generate_series(1, 100)) AS o, \
             unnest('{1,15,60}'::int2[]) AS step, generate_series(0, 66) n \
         WHERE d.site_id = $1 AND n >= CASE WHEN o.id = d.id THEN 6 ELSE 0 END";
    run(&app, &place, stored).await;
    run(&app, &place, "UPDATE device_loads SET metrics_at = now() WHERE site_id = $1").await;
    let analyze = "ANALYZE metric_blocks";
    sqlx::query(analyze).execute(&mut app.test.owner().await).await.unwrap();
    let relay = RelayIdentity {
        id: place.relay,
        partner: place.partner,
        organization: place.organization,
        site: place.site,
    };
    let read = "SELECT idx_tup_fetch + seq_tup_read FROM pg_stat_xact_user_tables \
         WHERE relname = 'metric_blocks'";
    let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
    super::unsent::note(&mut tx, &relay.place(), relay.id).await.unwrap();
    let at_revoking: i64 = sqlx::query_scalar(read).fetch_one(&mut *tx).await.unwrap();
    assert!((1..=4).contains(&at_revoking), "{at_revoking}");
    stored_until(&mut tx, place.device).await.unwrap().unwrap();
    let of_one: i64 = sqlx::query_scalar(read).fetch_one(&mut *tx).await.unwrap();
    assert!((1..=16).contains(&(of_one - at_revoking)), "{of_one}");
}

#[tokio::test]
async fn what_is_stored_of_quarters_and_hours_counts_too() {
    let app = TestApp::new().await;
    let place = app.place("Old").await;
    for step in [60, 15] {
        let coarse = "INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, step, \
                 partner_id, organization_id, site_id, block) \
             SELECT id, 1000000 / $2::int2, 2000000 / $2::int2, 1, $2, partner_id, organization_id, site_id, '' \
             FROM devices WHERE site_id = $1";
        let mut owner = app.test.owner().await;
        sqlx::query(coarse).bind(place.site.0).bind(step).execute(&mut owner).await.unwrap();
        let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
        let stored = stored_until(&mut tx, place.device).await.unwrap().unwrap();
        assert_eq!(stored.unix_timestamp() / 60, 2_000_000 / i64::from(step) + 1);
    }
}
