//! Migrations run by an owner who may not look past row security.
#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::{MIGRATIONS, apply, password_of};
use crate::testing;
use sqlx::{Connection, PgConnection};

#[test]
fn a_password_is_taken_from_a_url_as_the_driver_takes_it() {
    let of = |rest: &str| password_of(&format!("postgres://{rest}"));
    assert_eq!(of("app:p%40ss%2Fw+rd@db:5432/unifyit").unwrap(), "p@ss/w+rd");
    assert_eq!(of("app@db/unifyit?sslmode=require&password=a%26b").unwrap(), "a&b");
    assert_eq!(of("app:secret@%2Frun%2Fpostgresql/unifyit").unwrap(), "secret");
    assert_eq!(of("app@db/unifyit"), None);
    assert_eq!(password_of("no url"), None);
}

#[tokio::test]
async fn rows_that_name_anothers_ancestors_are_seen_by_an_owner_whom_policies_bind() {
    let test = testing::owned_by_a_plain_role().await;
    let mut owner = test.owner().await;
    MIGRATIONS.run_direct(Some(27), &mut owner, false).await.unwrap();
    let mut admin = PgConnection::connect(&test.admin_url()).await.unwrap();
    // A computer of South's that stands at North's site, as from before there were keys.
    sqlx::raw_sql(
        "SET session_replication_role = replica; \
         INSERT INTO partners (id, name) SELECT gen_random_uuid(), n FROM unnest('{North,South}'::text[]) n; \
         INSERT INTO organizations (id, partner_id, name) SELECT gen_random_uuid(), id, name FROM partners; \
         INSERT INTO sites (id, partner_id, organization_id, name) \
             SELECT gen_random_uuid(), partner_id, id, name FROM organizations WHERE name = 'North'; \
         INSERT INTO devices (id, partner_id, organization_id, site_id) \
             SELECT gen_random_uuid(), o.partner_id, o.id, s.id FROM organizations o, sites s WHERE o.name = 'South'",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    MIGRATIONS.run_direct(None, &mut owner, false).await.unwrap();
    let unchecked: Vec<String> = sqlx::query_scalar(
        "SELECT conname::text FROM pg_constraint WHERE contype = 'f' AND NOT convalidated",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(unchecked, ["devices_site"]);
    let bare: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' \
             AND relname <> '_sqlx_migrations' AND NOT relforcerowsecurity",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    assert_eq!(bare, Vec::<String>::new(), "policies bind the owner again");
    let copied: i64 = sqlx::query_scalar(
        "SELECT count(*) FROM devices JOIN device_lines USING (id) JOIN device_loads USING (id)",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(copied, 1, "what was there before has its line and its loads");
    // What the owner's own migrations made, the service can use.
    sqlx::raw_sql(
        "SET ROLE unifyit_app; SET app.scope = 'platform'; SELECT * FROM audit_cut(1095, 10)",
    )
    .execute(&mut admin)
    .await
    .unwrap();
}

#[tokio::test]
async fn a_migration_that_was_ended_for_a_deadlock_is_tried_again() {
    let test = testing::owned_by_a_plain_role().await;
    let mut owner = test.owner().await;
    MIGRATIONS.run_direct(Some(29), &mut owner, false).await.unwrap();
    // A service that runs has read computers. The migration lets nobody write these and is
    // held back; the service wants to write one; the migration then wants that nobody reads.
    let mut service = PgConnection::connect(&test.admin_url()).await.unwrap();
    sqlx::raw_sql("BEGIN; SELECT FROM devices").execute(&mut service).await.unwrap();
    let mut gate = PgConnection::connect(&test.admin_url()).await.unwrap();
    sqlx::raw_sql("BEGIN; LOCK TABLE pg_proc IN SHARE MODE").execute(&mut gate).await.unwrap();
    let watch = async |table: &str| {
        let mut watcher = PgConnection::connect(&test.admin_url()).await.unwrap();
        let waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE relation = $1::text::regclass \
             AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database()))";
        while !sqlx::query_scalar::<_, bool>(waits)
            .bind(table)
            .fetch_one(&mut watcher)
            .await
            .unwrap()
        {
            tokio::task::yield_now().await;
        }
    };
    let serves = async {
        watch("pg_proc").await;
        let writes = sqlx::raw_sql("UPDATE devices SET online = false; COMMIT");
        let opens = async {
            watch("devices").await;
            sqlx::raw_sql("COMMIT").execute(&mut gate).await.unwrap();
        };
        tokio::join!(writes.execute(&mut service), opens).0
    };
    let (applied, served) = tokio::join!(apply(&mut owner), serves);
    served.expect("it was not the service that was ended");
    applied.expect("it is tried again");
}

#[tokio::test]
async fn what_was_seen_in_the_future_is_put_right() {
    let test = testing::owned_by_a_plain_role().await;
    let mut owner = test.owner().await;
    MIGRATIONS.run_direct(Some(33), &mut owner, false).await.unwrap();
    let mut admin = PgConnection::connect(&test.admin_url()).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO partners (id, name) VALUES (gen_random_uuid(), 'North'); \
         INSERT INTO organizations (id, partner_id, name) SELECT gen_random_uuid(), id, name FROM partners; \
         INSERT INTO sites (id, partner_id, organization_id, name) \
             SELECT gen_random_uuid(), partner_id, id, name FROM organizations; \
         INSERT INTO devices (id, partner_id, organization_id, site_id) \
             SELECT gen_random_uuid(), s.partner_id, s.organization_id, s.id FROM sites s, generate_series(1, 3); \
         UPDATE device_loads SET seen = now() + interval '1 year' WHERE id = (SELECT max(id::text) FROM devices)::uuid; \
         UPDATE device_loads SET seen = '2020-01-01' WHERE id = (SELECT min(id::text) FROM devices)::uuid",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    MIGRATIONS.run_direct(None, &mut owner, false).await.unwrap();
    let seen: (i64, i64, i64) = sqlx::query_as(
        "SELECT count(*) FILTER (WHERE seen > now()), count(*) FILTER (WHERE seen = '2020-01-01'), \
             count(*) FILTER (WHERE seen = '-infinity') FROM device_loads",
    )
    .fetch_one(&mut admin)
    .await
    .unwrap();
    assert_eq!(seen, (0, 1, 1));
}

#[tokio::test]
async fn settings_of_sites_become_documents_and_go_on_to_hold() {
    let test = testing::owned_by_a_plain_role().await;
    let mut owner = test.owner().await;
    MIGRATIONS.run_direct(Some(34), &mut owner, false).await.unwrap();
    let mut admin = PgConnection::connect(&test.admin_url()).await.unwrap();
    sqlx::raw_sql(
        "INSERT INTO partners (id, name) VALUES (gen_random_uuid(), 'North'); \
         INSERT INTO organizations (id, partner_id, name) SELECT gen_random_uuid(), id, name FROM partners; \
         INSERT INTO sites (id, partner_id, organization_id, name) \
             SELECT gen_random_uuid(), partner_id, id, n FROM organizations, unnest('{set,usual}'::text[]) n; \
         INSERT INTO site_configs (site_id, partner_id, organization_id, revision) \
             SELECT id, partner_id, organization_id, 7 FROM sites; \
         UPDATE site_configs SET collect_every_s = 30, ui_pin_hash = '$argon2id$x', cache_hosts = '{a.org}', \
             cache_remaps = '{npm=https://r.org/?a=b}', cache_from_min = 1325, cache_until_min = 5, cache_bytes_per_s = 9 \
             WHERE site_id = (SELECT id FROM sites WHERE name = 'set')",
    )
    .execute(&mut admin)
    .await
    .unwrap();
    MIGRATIONS.run_direct(None, &mut owner, false).await.unwrap();
    let desired: Vec<serde_json::Value> = sqlx::query_scalar(
        "SELECT c.desired FROM site_configs c JOIN sites s ON s.id = c.site_id \
         WHERE c.revision = 7 ORDER BY s.name",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let plan = serde_json::json!({"from": "22:05", "until": "00:05", "bytes_per_s": 9});
    let remap = serde_json::json!({"name": "npm", "url": "https://r.org/?a=b"});
    assert_eq!(
        desired[0],
        serde_json::json!({"collection": {"collect_every_s": 30, "inventory_every_s": 900},
            "package_cache": {"hosts": ["a.org"], "remaps": [remap], "plan": plan},
            "local_ui": {"pin": "$argon2id$x"}})
    );
    assert_eq!(desired[1]["package_cache"]["plan"], serde_json::Value::Null);
    let kept: Vec<(String, String, String)> = sqlx::query_as(
        "SELECT t.topic, f.key, f.value->>'value' FROM settings t, jsonb_each(t.fields) f \
         ORDER BY 1, 2",
    )
    .fetch_all(&mut admin)
    .await
    .unwrap();
    let names: Vec<_> = kept.iter().map(|(topic, field, _)| format!("{topic}.{field}")).collect();
    assert_eq!(
        names,
        [
            "collection.collect_every_s",
            "local_ui.pin",
            "package_cache.hosts",
            "package_cache.plan",
            "package_cache.remaps"
        ],
        "what is as usual was set by nobody"
    );
    assert_eq!(kept[0].2, "30");
}
