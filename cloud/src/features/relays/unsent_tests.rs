//! What a relay that is put out had not passed on.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    db::Scope,
    testing::{Place, TestApp},
};
use axum::http::StatusCode;

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
    let own = "UPDATE devices SET relay_id = (SELECT id FROM relays WHERE site_id = $1) \
         WHERE site_id = $1";
    run(&app, &busy, own).await;
    let newest = "UPDATE device_loads SET metrics_at = now() WHERE site_id = $1";
    run(&app, &busy, newest).await;
    let gaps = gaps_after(&app, &busy).await;
    assert!(matches!(&gaps[..], [(lane, 0, 29..=30)] if lane == "metrics"), "{gaps:?}");

    let away = app.place("Away").await;
    let gone = "UPDATE relays SET online = false, state_since = now() - interval '2 hours' \
         WHERE site_id = $1";
    run(&app, &away, gone).await;
    let lanes = ["metrics", "output", "state", "urgent"].map(|lane| (lane.to_owned(), 0, 120));
    assert_eq!(gaps_after(&app, &away).await, lanes);
}
