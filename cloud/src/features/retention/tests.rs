//! What is deleted, and what stays.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use super::store;
use crate::{
    app::FEATURES,
    audit::{self, AuditActor, AuditTarget},
    db::Scope,
    jobs::Old,
    keeping::{self, Asked, Bound, Kept, SPINES_OWN, Setting, settings},
    testing::{self, Place, TestApp},
};
use axum::http::StatusCode;
use prometheus::Registry;
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use unifyit_protocol::ids::DeviceId;

#[tokio::test]
async fn every_table_has_a_stated_end() {
    let test = testing::database().await;
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT relname::text FROM pg_class WHERE relnamespace = 'public'::regnamespace \
         AND relkind IN ('r', 'p') ORDER BY 1",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap();
    let kept = FEATURES.iter().flat_map(|feature| feature.keeps.tables);
    let kept: Vec<_> = kept.chain(SPINES_OWN).collect();
    for table in &tables {
        assert!(
            kept.iter().filter(|(name, kept)| name == table && !kept.is_empty()).count() == 1,
            "say in `keeps` of the feature for how long rows of {table} are kept, and delete them then"
        );
    }
    for (table, _) in &kept {
        assert!(tables.iter().any(|name| name == table), "there is no table {table}");
    }
}

/// What is built in, with a change.
fn changed(change: &Value) -> Value {
    let mut all = json!(Kept::usual(&settings(FEATURES)));
    for (field, days) in change.as_object().unwrap() {
        all[field] = days.clone();
    }
    all
}

fn kept(change: &Value) -> Kept {
    let asked: Asked = serde_json::from_value(changed(change)).unwrap();
    Kept::read(&settings(FEATURES), &asked).unwrap()
}

async fn run(owner: &mut PgConnection, text: String) {
    sqlx::raw_sql(AssertSqlSafe(text)).execute(owner).await.unwrap();
}

async fn count(owner: &mut PgConnection, of: &str) -> i64 {
    sqlx::query_scalar(AssertSqlSafe(format!("SELECT count(*) FROM {of}")))
        .fetch_one(owner)
        .await
        .unwrap()
}

/// A finished task of some days ago with two pieces of output, a command, a target.
async fn task(owner: &mut PgConnection, place: &Place, days: i32) {
    let Place { partner, organization, site, device, .. } = place;
    let at = format!("'{partner}', '{organization}', '{site}'");
    run(
        owner,
        format!(
            "WITH t AS (INSERT INTO tasks (id, partner_id, organization_id, site_id, action, created_by, \
                 created_by_id, created_at, expires_at, finished_at, total) \
                 SELECT gen_random_uuid(), {at}, '{{}}', 'x', '{device}', a, a, a, 1 \
                 FROM (SELECT now() - interval '{days} days' AS a) m RETURNING id, created_at), \
             c AS (INSERT INTO commands (id, partner_id, organization_id, site_id, task_id, kind, signed, expires_at) \
                 SELECT gen_random_uuid(), {at}, id, 'script', '', created_at FROM t), \
             g AS (INSERT INTO task_targets (task_id, device_id, command_id, partner_id, organization_id, site_id, status) \
                 SELECT id, '{device}', gen_random_uuid(), {at}, 'succeeded' FROM t) \
             INSERT INTO task_output (task_id, device_id, byte_offset, partner_id, organization_id, site_id, stream, data) \
                 SELECT id, '{device}', n, {at}, 1, 'x' FROM t, generate_series(0, 1) n"
        ),
    )
    .await;
}

async fn sweep(app: &TestApp) {
    let old = Old::new(app.state.db.clone(), &Registry::new()).unwrap();
    keeping::sweep(FEATURES, &old).await.unwrap();
}

#[tokio::test]
async fn what_a_partner_keeps_for_less_time_goes_earlier_and_only_there() {
    let app = TestApp::new().await;
    let (short, usual) = (app.place("Short").await, app.place("Usual").await);
    let mut tx = app.state.db.tenant(&Scope::Partner(short.partner)).await.unwrap();
    let kept = kept(&json!({"tasks_days": 30, "output_days": 5}));
    store::set(&mut tx, short.partner, &kept).await.unwrap();
    tx.commit().await.unwrap();
    let mut owner = app.test.owner().await;
    for place in [&short, &usual] {
        for days in [2, 10, 40, 100, 500] {
            task(&mut owner, place, days).await;
        }
    }
    sweep(&app).await;
    for (place, tasks, with_output) in [(&short, 2, 1), (&usual, 4, 3)] {
        let of = |table: &str| format!("{table} WHERE partner_id = '{}'", place.partner);
        assert_eq!(count(&mut owner, &of("tasks")).await, tasks);
        assert_eq!(count(&mut owner, &of("task_targets")).await, tasks);
        assert_eq!(count(&mut owner, &of("task_output")).await, 2 * with_output);
        assert_eq!(count(&mut owner, &of("commands")).await, with_output);
        let said = of("tasks") + " AND output_removed_at IS NOT NULL";
        assert_eq!(count(&mut owner, &said).await, tasks - with_output);
    }
}

#[tokio::test]
async fn a_task_goes_after_all_that_belongs_to_it_however_much_that_is() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let Place { partner, organization, site, device, .. } = place;
    let at = format!("'{partner}', '{organization}', '{site}'");
    let mut owner = app.test.owner().await;
    let old = Old::new(app.state.db.clone(), &Registry::new()).unwrap().with_most(1);
    let many = [
        format!(
            "task_output (task_id, device_id, byte_offset, partner_id, organization_id, site_id, stream, data) \
             SELECT id, '{device}', 9 + n, {at}, 1, 'x'"
        ),
        format!(
            "commands (id, partner_id, organization_id, site_id, task_id, kind, signed, expires_at) \
             SELECT gen_random_uuid(), {at}, id, 'script', '', created_at"
        ),
        format!(
            "task_targets (task_id, device_id, command_id, partner_id, organization_id, site_id, status) \
             SELECT id, gen_random_uuid(), gen_random_uuid(), {at}, 'succeeded'"
        ),
    ];
    for rows in many {
        task(&mut owner, &place, 1000).await;
        // More than two transactions delete.
        run(&mut owner, format!("INSERT INTO {rows} FROM tasks, generate_series(1, 4500) n")).await;
        let (mut runs, mut left) = (0, 4505);
        while count(&mut owner, "tasks").await == 1 {
            keeping::sweep(FEATURES, &old).await.unwrap();
            let output = count(&mut owner, "task_output").await;
            let output = output + count(&mut owner, "commands").await;
            let rows = output + count(&mut owner, "task_targets").await;
            assert!(rows < left, "each run goes on");
            let said = count(&mut owner, "tasks WHERE output_removed_at IS NOT NULL").await;
            assert!(said == 0 || output == 0, "output that is said to be gone is");
            (runs, left) = (runs + 1, rows);
        }
        assert_eq!(left, 0, "what belongs to a task does not outlive it");
        assert!(runs > 1, "that was done in one run");
    }
}

#[tokio::test]
async fn what_no_partner_sets_goes_in_its_time() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let Place { partner, organization, site, device, .. } = place;
    let at = format!("'{partner}', '{organization}', '{site}'");
    let mut owner = app.test.owner().await;
    for days in [1, 200, 4000] {
        run(
            &mut owner,
            format!(
                "INSERT INTO gaps (partner_id, organization_id, site_id, lane, records, from_at, to_at, reason) \
                     SELECT {at}, 'state', 1, a, a, 'x' FROM (SELECT now() - interval '{days} days' AS a) m; \
                 INSERT INTO presence_log (partner_id, organization_id, site_id, online, at) \
                     VALUES ({at}, true, now() - interval '{days} days'); \
                 INSERT INTO install_tokens (id, partner_id, organization_id, site_id, kind, uses, expires_at, created_by) \
                     VALUES (gen_random_uuid(), {at}, 'agent', 1, now() - interval '{days} days', 'x'); \
                 INSERT INTO metric_blocks (device_id, first_minute, last_minute, series_hash, step, \
                         partner_id, organization_id, site_id, block) \
                     SELECT '{device}', m, m + 59, 1, 60, {at}, '' FROM \
                         (SELECT extract(epoch FROM now() - interval '{days} days')::int8 / 60 AS m) x"
            ),
        )
        .await;
    }
    run(
        &mut owner,
        format!(
            "INSERT INTO series_tables (device_id, hash, partner_id, organization_id, site_id, series, first_seen) \
             SELECT '{device}', n, {at}, '', now() - make_interval(days => 100 - n) FROM generate_series(1, 70) n"
        ),
    )
    .await;
    sweep(&app).await;
    assert_eq!(count(&mut owner, "gaps").await, 2);
    assert_eq!(count(&mut owner, "presence_log").await, 1);
    assert_eq!(count(&mut owner, "install_tokens").await, 1);
    assert_eq!(count(&mut owner, "metric_blocks").await, 2);
    // The last 64, and one that a block still names.
    assert_eq!(count(&mut owner, "series_tables").await, 65);
    assert_eq!(count(&mut owner, "series_tables WHERE hash = 1").await, 1);
}

#[tokio::test]
async fn what_was_of_a_device_goes_some_time_after_its_revocation() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let Place { partner, organization, site, .. } = place;
    let at = format!("'{partner}', '{organization}', '{site}'");
    let mut owner = app.test.owner().await;
    for days in [89, 91] {
        let device = DeviceId::generate();
        app.device(&place, device, "pc").await;
        run(
            &mut owner,
            format!(
                "UPDATE devices SET revoked_at = now() - interval '{days} days' WHERE id = '{device}'; \
                 INSERT INTO inventory_sections (device_id, section, partner_id, organization_id, site_id, at) \
                     VALUES ('{device}', 'packages', {at}, now()); \
                 INSERT INTO inventory_entries (device_id, section, key, partner_id, organization_id, site_id, entry) \
                     VALUES ('{device}', 'packages', 'k', {at}, '{{}}'); \
                 INSERT INTO metric_latest (device_id, partner_id, organization_id, site_id, at, readings) \
                     VALUES ('{device}', {at}, now(), '[]'); \
                 INSERT INTO commands (id, partner_id, organization_id, site_id, kind, signed, expires_at) \
                     VALUES (gen_random_uuid(), {at}, 'terminal', '', now() - interval '{days} days' + interval '60 days')"
            ),
        )
        .await;
    }
    sweep(&app).await;
    let left = "JOIN devices d ON d.id = e.device_id AND d.revoked_at > now() - interval '90 days'";
    for table in ["inventory_sections", "inventory_entries", "metric_latest"] {
        assert_eq!(count(&mut owner, &format!("{table} e {left}")).await, 1, "{table}");
        let of_the_old = format!(
            "{table} WHERE device_id IN (SELECT id FROM devices \
            WHERE revoked_at < now() - interval '90 days')"
        );
        assert_eq!(count(&mut owner, &of_the_old).await, 0, "{table}");
    }
    assert_eq!(
        count(&mut owner, "commands WHERE expires_at > now() - interval '30 days'").await,
        1
    );
    assert_eq!(count(&mut owner, "commands").await, 1);
}

/// The end of what may be set, in days.
fn end(bound: Bound, of: fn(&Setting) -> Bound) -> i32 {
    match bound {
        Bound::Days(days) => days,
        Bound::Of(other) => end(of(other), of),
    }
}

#[tokio::test]
async fn what_may_be_set_is_what_the_table_takes() {
    let test = testing::database().await;
    for setting in settings(FEATURES) {
        let Setting { column, least, most, .. } = setting;
        let ends = (end(least, |other| other.least), end(most, |other| other.most));
        let bounds: Vec<String> = sqlx::query_scalar(
            "SELECT pg_get_constraintdef(oid) FROM pg_constraint \
             WHERE conrelid = 'retention'::regclass AND contype = 'c' AND cardinality(conkey) = 1",
        )
        .fetch_all(&mut test.owner().await)
        .await
        .unwrap();
        let own = format!("CHECK ((({column} >= {}) AND ({column} <= {})))", ends.0, ends.1);
        assert!(bounds.contains(&own), "{own}: {bounds:?}");
    }
}

#[tokio::test]
async fn an_audit_chain_is_cut_at_its_old_end_and_stays_whole() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let mut owner = app.test.owner().await;
    // Number 4 claims to be old, between others that are not.
    for (n, days) in [1500, 1200, 1150, 1000, 1300, 0].into_iter().enumerate() {
        run(
            &mut owner,
            format!(
                "INSERT INTO audit_log (id, partner_id, organization_id, at, actor, action, chain_id, seq, prev_hash, hash) \
                 VALUES (gen_random_uuid(), '{}', '{}', now() - interval '{days} days', 'x', 'n{n}', gen_random_uuid(), 0, '', '')",
                place.partner, place.organization
            ),
        )
        .await;
    }
    let verify = async || {
        let mut tx = app.state.db.tenant(&Scope::Partner(place.partner)).await.unwrap();
        audit::verify(&mut tx).await.unwrap()
    };
    assert_eq!(verify().await, None);
    for _ in 0..2 {
        sweep(&app).await;
        assert_eq!(verify().await, None);
        let left: Vec<(i64, String)> =
            sqlx::query_as("SELECT seq, action FROM audit_log ORDER BY seq")
                .fetch_all(&mut owner)
                .await
                .unwrap();
        let left: Vec<(i64, &str)> = left.iter().map(|(seq, what)| (*seq, what.as_str())).collect();
        assert_eq!(left, [(4, "n3"), (5, "n4"), (6, "n5"), (7, "audit.cut")]);
    }
    assert_eq!(count(&mut owner, "audit_cuts WHERE seq = 3 AND removed = 3").await, 1);
    // Who takes more than was cut is found out as before.
    run(&mut owner, "DELETE FROM audit_log WHERE seq = 4".to_owned()).await;
    assert_eq!(verify().await, Some((place.organization.0, 5)));
}

#[tokio::test]
async fn an_entry_that_a_relay_dates_long_ago_is_kept_as_long_as_others() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let at = |seconds| time::OffsetDateTime::from_unix_timestamp(seconds).ok();
    let scope = Scope::Organization(place.partner, place.organization);
    let target = AuditTarget::at(scope.place(), "x");
    let mut tx = app.state.db.tenant(&scope).await.unwrap();
    audit::record_at(&mut tx, &AuditActor::system(), "site.x", &target, "", at(0)).await.unwrap();
    tx.commit().await.unwrap();
    sweep(&app).await;
    assert_eq!(count(&mut app.test.owner().await, "audit_log WHERE action = 'site.x'").await, 1);
}

#[tokio::test]
async fn two_that_cut_at_once_count_an_entry_once() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    run(
        &mut app.test.owner().await,
        format!(
            "INSERT INTO audit_log (id, partner_id, organization_id, at, actor, action, chain_id, seq, prev_hash, hash) \
             VALUES (gen_random_uuid(), '{}', '{}', now() - interval '1500 days', 'x', 'x', gen_random_uuid(), 0, '', '')",
            place.partner, place.organization
        ),
    )
    .await;
    let mut first = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let mut second = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let cut = "SELECT * FROM audit_cut(1095, 1000)";
    assert_eq!(sqlx::query(cut).fetch_all(&mut *first).await.unwrap().len(), 1);
    let (doubled, committed) =
        tokio::join!(sqlx::query(cut).fetch_all(&mut *second), first.commit());
    committed.unwrap();
    assert_eq!(doubled.unwrap().len(), 0);
    second.commit().await.unwrap();
    assert_eq!(count(&mut app.test.owner().await, "audit_cuts WHERE removed = 1").await, 1);
}

#[tokio::test]
async fn the_service_cannot_take_younger_entries_or_move_the_place_of_a_cut() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let mut owner = app.test.owner().await;
    run(
        &mut owner,
        format!(
            "INSERT INTO audit_log (id, partner_id, organization_id, at, actor, action, chain_id, seq, prev_hash, hash) \
             VALUES (gen_random_uuid(), '{}', '{}', now() - interval '170 days', 'x', 'x', gen_random_uuid(), 0, '', '')",
            place.partner, place.organization
        ),
    )
    .await;
    let mut tx = app.state.db.tenant(&Scope::Platform).await.unwrap();
    let cut = sqlx::query("SELECT * FROM audit_cut(0, 1000)").fetch_all(&mut *tx).await.unwrap();
    assert!(cut.is_empty(), "half a year stays, whatever is asked");
    let refused = sqlx::query("UPDATE audit_cuts SET seq = 9").execute(&mut *tx).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}

#[tokio::test]
async fn only_the_partners_own_administrators_set_it_and_it_is_audited() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let path = format!("/partners/{}/retention", place.partner);
    let (partner, _) = app.key("admin", Scope::Partner(place.partner)).await;
    let (technician, _) = app.key("technician", Scope::Partner(place.partner)).await;
    let within = Scope::Organization(place.partner, place.organization);
    let (organization, _) = app.key("admin", within).await;

    let usual = app.by_key(&organization, "GET", &path, None).await;
    assert_eq!((usual.status, &usual.body), (StatusCode::OK, &changed(&json!({}))));
    let wanted = changed(&json!({"audit_days": 400}));
    for key in [&technician, &organization] {
        let refused = app.by_key(key, "PUT", &path, Some(&wanted)).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN);
    }
    let wrong = changed(&json!({"output_days": 4000}));
    let refused = app.by_key(&partner, "PUT", &path, Some(&wrong)).await;
    assert_eq!(refused.status, StatusCode::UNPROCESSABLE_ENTITY);
    let set = app.by_key(&partner, "PUT", &path, Some(&wanted)).await;
    assert_eq!((set.status, &set.body), (StatusCode::OK, &wanted));
    assert_eq!(app.by_key(&organization, "GET", &path, None).await.body, wanted);
    let audit = app.by_key(&partner, "GET", "/audit", None).await.body;
    assert_eq!(audit["items"][0]["action"], "partner.retention");
    assert_eq!(audit["items"][0]["detail"], "audit log 400 days (was 1095)");
}
