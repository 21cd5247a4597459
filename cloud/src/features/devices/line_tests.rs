//! Lines and loads, from which lists are made, are those of the computers.
#![allow(clippy::unwrap_used, reason = "tests")]

use crate::{
    db::Scope,
    testing::{Place, TestApp},
};
use sqlx::AssertSqlSafe;
use unifyit_protocol::ids::DeviceId;

const LINES: [&str; 2] = [
    "SELECT id, partner_id, organization_id, site_id, online, revoked_at IS NOT NULL AS revoked, name_key, \
         search, os_name, os_family FROM devices",
    "SELECT id, partner_id, organization_id, site_id, online, revoked, name_key, search, os_name, os_family \
         FROM device_lines",
];
const LOADS: [&str; 2] = [
    "SELECT id, partner_id, organization_id, site_id, online, revoked_at IS NOT NULL AS revoked, \
         coalesce(greatest(last_seen, metrics_at), '-infinity') AS seen, coalesce(metrics_at, '-infinity'), \
         coalesce(cpu_pct, -1), coalesce(memory_pct, -1), coalesce(disk_pct, -1), os_name, os_family FROM devices",
    "SELECT id, partner_id, organization_id, site_id, online, revoked, seen, metrics_at, cpu_pct, memory_pct, \
         disk_pct, os_name, os_family FROM device_loads",
];

/// How many rows are in one of two answers alone.
async fn differ(app: &TestApp, [a, b]: [&str; 2]) -> i64 {
    let question = format!(
        "SELECT count(*) FROM (({a}) EXCEPT ({b})) a FULL JOIN (({b}) EXCEPT ({a})) b ON false"
    );
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    sqlx::query_scalar(AssertSqlSafe(question)).fetch_one(&mut *tx).await.unwrap()
}

async fn fleet(app: &TestApp, name: &str) -> Place {
    let place = app.place(name).await;
    for n in 0..6 {
        app.device(&place, DeviceId::generate(), &format!("pc-{n}")).await;
    }
    place
}

#[tokio::test]
async fn lines_and_loads_are_those_of_the_computers_whatever_happens_to_them() {
    let app = TestApp::new().await;
    let place = fleet(&app, "Acme").await;
    let mut owner = app.test.owner().await;
    for change in [
        "SELECT 1",
        "UPDATE devices SET online = hostname < 'pc-2', last_seen = now()",
        "UPDATE devices SET name = 'Front desk', tags = ARRAY['lab'] WHERE hostname = 'pc-1'",
        "UPDATE devices SET os_name = 'Ubuntu', os_family = 'linux' WHERE hostname > 'pc-3'",
        "UPDATE devices SET revoked_at = now(), online = false WHERE hostname = 'pc-3'",
        "UPDATE devices SET clock_ahead_ms = 5",
        // A service of an earlier version writes loads there.
        "UPDATE devices SET cpu_pct = 5, disk_pct = 91, metrics_at = now() WHERE hostname < 'pc-3'",
        "UPDATE devices SET cpu_pct = NULL WHERE hostname = 'pc-1'",
        "DELETE FROM devices WHERE hostname = 'pc-5'",
    ] {
        sqlx::query(change).execute(&mut owner).await.unwrap();
        assert_eq!(differ(&app, LINES).await, 0, "{change}");
        assert_eq!(differ(&app, LOADS).await, 0, "{change}");
    }
    // What is not committed leaves nothing.
    let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
    sqlx::query("UPDATE devices SET online = NOT online").execute(&mut *tx).await.unwrap();
    drop(tx);
    assert_eq!(differ(&app, LINES).await + differ(&app, LOADS).await, 0);
}

#[tokio::test]
async fn what_else_changes_leaves_the_loads_that_were_told() {
    let app = TestApp::new().await;
    fleet(&app, "Acme").await;
    let mut owner = app.test.owner().await;
    let told =
        "UPDATE device_loads SET cpu_pct = 42, metrics_at = '2026-01-01', seen = '2026-01-02'";
    sqlx::query(told).execute(&mut owner).await.unwrap();
    for change in [
        "UPDATE devices SET online = NOT online, name = 'x', os_name = 'y'",
        "UPDATE devices SET last_seen = '2025-01-01'",
        "UPDATE devices SET revoked_at = now()",
    ] {
        sqlx::query(change).execute(&mut owner).await.unwrap();
        let kept = "SELECT count(*) FROM device_loads WHERE cpu_pct = 42 AND metrics_at = '2026-01-01' \
             AND seen = '2026-01-02'";
        let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut owner).await.unwrap();
        assert_eq!(kept, 7, "{change}");
    }
}

#[tokio::test]
async fn loads_of_before_that_were_dated_ahead_say_nothing_of_when_a_device_was_seen() {
    let app = TestApp::new().await;
    fleet(&app, "Acme").await;
    let mut owner = app.test.owner().await;
    for change in [
        "UPDATE devices SET metrics_at = now() + interval '1 year'",
        "UPDATE devices SET last_seen = now(), online = NOT online",
    ] {
        sqlx::query(change).execute(&mut owner).await.unwrap();
    }
    let ahead = "SELECT count(*) FROM device_loads WHERE seen > now()";
    let ahead: i64 = sqlx::query_scalar(ahead).fetch_one(&mut owner).await.unwrap();
    assert_eq!(ahead, 0);
}

#[tokio::test]
async fn lines_and_loads_of_others_are_in_no_list() {
    let app = TestApp::new().await;
    let (acme, _other) = (fleet(&app, "Acme").await, fleet(&app, "Other").await);
    let (key, _) = app.key("technician", Scope::Partner(acme.partner)).await;
    for query in [
        "sort=-cpu_pct",
        "q=pc",
        "q=pc&sort=-cpu_pct",
        "os=Debian&sort=last_seen",
        "q=pc-1&sort=disk_pct",
    ] {
        let path = format!("/devices?limit=3&{query}");
        let answer = app.by_key(&key, "GET", &path, None).await.body;
        assert_eq!(
            answer["total"],
            if query.contains("pc-1") {
                1
            } else if query.contains("q=") {
                6
            } else {
                7
            },
            "{query}"
        );
        for item in answer["items"].as_array().unwrap() {
            assert_eq!(item["organization_name"], "Acme", "{query}");
        }
    }
    for table in ["device_lines", "device_loads"] {
        let mut tx = app.state.db.tenant(&Scope::Partner(acme.partner)).await.unwrap();
        let count = AssertSqlSafe(format!("SELECT count(*) FROM {table}"));
        let count: i64 = sqlx::query_scalar(count).fetch_one(&mut *tx).await.unwrap();
        assert_eq!(count, 7, "{table}");
    }
}
