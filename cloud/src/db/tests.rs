//! Row security as the catalogue has it, and as a transaction feels it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "tests")]

use super::{Scope, check_role};
use crate::{
    audit::{self, AuditActor, AuditTarget},
    authz::Can,
    events::{Kind, NewEvent},
    testing,
};
use sqlx::{Connection, PgConnection};
use unifyit_protocol::ids::{OrganizationId, PartnerId};
use uuid::Uuid;

/// Tables that hold nothing of a tenant's.
const NOT_TENANT: [&str; 1] = ["_sqlx_migrations"];
/// A kind of event.
const CHANGED: Kind = Kind::new("site.changed", Can::VIEW);

async fn unprotected(owner: &mut PgConnection) -> Vec<String> {
    let tables: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c \
         WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') \
         AND NOT (c.relrowsecurity AND c.relforcerowsecurity \
             AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)) ORDER BY 1",
    )
    .fetch_all(owner)
    .await
    .unwrap();
    tables.into_iter().filter(|t| !NOT_TENANT.contains(&t.as_str())).collect()
}

#[tokio::test]
async fn every_tenant_table_has_forced_row_security_and_a_policy() {
    let test = testing::database().await;
    let mut owner = test.owner().await;
    assert_eq!(unprotected(&mut owner).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_catalogue_walk_finds_an_unprotected_table() {
    let test = testing::database().await;
    let mut owner = test.owner().await;
    for (statement, found) in [
        ("CREATE TABLE a_bare (partner_id uuid)", true),
        ("ALTER TABLE a_bare ENABLE ROW LEVEL SECURITY", true),
        ("ALTER TABLE a_bare FORCE ROW LEVEL SECURITY", true),
        ("CREATE POLICY p ON a_bare USING (partner_id = app_partner())", false),
        ("ALTER TABLE a_bare NO FORCE ROW LEVEL SECURITY", true),
    ] {
        sqlx::query(statement).execute(&mut owner).await.unwrap();
        assert_eq!(!unprotected(&mut owner).await.is_empty(), found, "after {statement}");
    }
}

#[tokio::test]
async fn the_application_role_owns_nothing_and_cannot_bypass() {
    let test = testing::database().await;
    let mut app = PgConnection::connect(&test.app_url).await.unwrap();
    check_role(&mut app).await.unwrap();
    let owned: i64 =
        sqlx::query_scalar("SELECT count(*) FROM pg_class WHERE relowner = 'unifyit_app'::regrole")
            .fetch_one(&mut app)
            .await
            .unwrap();
    assert_eq!(owned, 0);
}

#[tokio::test]
async fn a_superuser_login_is_refused() {
    let test = testing::database().await;
    let error = check_role(&mut test.owner().await).await.unwrap_err();
    assert!(error.to_string().contains("tenants would not be isolated"), "{error}");
}

#[tokio::test]
async fn functions_of_another_owner_look_past_temporary_tables() {
    let test = testing::database().await;
    let lax: Vec<String> = sqlx::query_scalar(
        "SELECT oid::regprocedure::text FROM pg_proc \
         WHERE prosecdef AND pronamespace = 'public'::regnamespace \
         AND NOT coalesce(proconfig @> ARRAY['search_path=pg_catalog, public, pg_temp'], false)",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap();
    assert_eq!(lax, Vec::<String>::new());
}

#[tokio::test]
async fn the_audit_chain_cannot_be_forged_by_a_temporary_table() {
    let test = testing::database().await;
    // What somebody needs who speaks as the service, and had the right once.
    let mut owner = test.owner().await;
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "GRANT TEMPORARY ON DATABASE {} TO unifyit_app",
        test.name()
    )))
    .execute(&mut owner)
    .await
    .unwrap();
    let mut app = PgConnection::connect(&test.app_url).await.unwrap();
    sqlx::raw_sql(
        "SET app.scope = 'platform'; \
         CREATE TEMP TABLE audit_heads (chain_id uuid PRIMARY KEY, seq bigint, hash bytea); \
         INSERT INTO audit_heads VALUES ('00000000-0000-0000-0000-000000000000', 900000, '\\xdeadbeef'); \
         GRANT ALL ON audit_heads TO PUBLIC; \
         INSERT INTO audit_log (id, actor, action, chain_id, seq, prev_hash, hash) \
         VALUES (gen_random_uuid(), 'x', 'x', gen_random_uuid(), 0, '', '')",
    )
    .execute(&mut app)
    .await
    .unwrap();
    let seq: i64 =
        sqlx::query_scalar("SELECT seq FROM audit_log").fetch_one(&mut app).await.unwrap();
    assert_eq!(seq, 1, "the row was chained behind the forged head");
}

#[tokio::test]
async fn migrating_takes_the_right_to_temporary_tables() {
    let test = testing::database().await;
    super::migrate(&test.owner_url, &test.app_url).await.unwrap();
    let mut app = PgConnection::connect(&test.app_url).await.unwrap();
    let refused = sqlx::query("CREATE TEMP TABLE t (n int)").execute(&mut app).await.unwrap_err();
    assert!(refused.to_string().contains("permission denied"), "{refused}");
}

async fn two_partners(test: &testing::TestDb) -> [(PartnerId, OrganizationId); 2] {
    let mut made = Vec::new();
    for name in ["North", "South"] {
        let (partner, organization) = (PartnerId::generate(), OrganizationId::generate());
        let mut tx = test.db.tenant(&Scope::Platform).await.unwrap();
        sqlx::query("INSERT INTO partners (id, name) VALUES ($1, $2)")
            .bind(partner.0)
            .bind(name)
            .execute(&mut *tx)
            .await
            .unwrap();
        sqlx::query("INSERT INTO organizations (id, partner_id, name) VALUES ($1, $2, $3)")
            .bind(organization.0)
            .bind(partner.0)
            .bind(name)
            .execute(&mut *tx)
            .await
            .unwrap();
        tx.commit().await.unwrap();
        made.push((partner, organization));
    }
    made.try_into().unwrap()
}

async fn organizations(test: &testing::TestDb, scope: Option<Scope>) -> Vec<Uuid> {
    let mut tx = match scope {
        Some(scope) => test.db.tenant(&scope).await.unwrap(),
        None => test.db.unscoped().await.unwrap(),
    };
    sqlx::query_scalar("SELECT id FROM organizations ORDER BY id")
        .fetch_all(&mut *tx)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_scope_sees_its_own_rows_and_no_scope_sees_none() {
    let test = testing::database().await;
    let [(north, a), (south, b)] = two_partners(&test).await;
    assert_eq!(organizations(&test, Some(Scope::Platform)).await, [a.0, b.0]);
    assert_eq!(organizations(&test, Some(Scope::Partner(north))).await, [a.0]);
    assert_eq!(organizations(&test, Some(Scope::Organization(south, b))).await, [b.0]);
    assert!(organizations(&test, Some(Scope::Organization(north, b))).await.is_empty());
    assert!(organizations(&test, None).await.is_empty());
}

#[tokio::test]
async fn a_row_outside_the_scope_cannot_be_written() {
    let test = testing::database().await;
    let [(north, _), (south, _)] = two_partners(&test).await;
    let mut tx = test.db.tenant(&Scope::Partner(north)).await.unwrap();
    let refused =
        sqlx::query("INSERT INTO organizations (id, partner_id, name) VALUES ($1, $2, 'x')")
            .bind(Uuid::now_v7())
            .bind(south.0)
            .execute(&mut *tx)
            .await
            .unwrap_err();
    assert!(refused.to_string().contains("row-level security"), "{refused}");
}

#[tokio::test]
async fn a_row_cannot_name_ancestors_that_are_not_its_own() {
    let test = testing::database().await;
    let [(north, a), (south, b)] = two_partners(&test).await;
    let site = Uuid::now_v7();
    let mut tx = test.db.tenant(&Scope::Platform).await.unwrap();
    let insert =
        "INSERT INTO sites (id, partner_id, organization_id, name) VALUES ($1, $2, $3, 'x')";
    sqlx::query(insert).bind(site).bind(north.0).bind(a.0).execute(&mut *tx).await.unwrap();
    tx.commit().await.unwrap();
    // South sees only its own rows, and may write rows that say that they are its own.
    let mut tx = test.db.tenant(&Scope::Partner(south)).await.unwrap();
    let refused =
        sqlx::query(insert).bind(Uuid::now_v7()).bind(south.0).bind(a.0).execute(&mut *tx).await;
    assert!(refused.unwrap_err().to_string().contains("foreign key"));
    for (organization, why) in [(a, "another's site"), (b, "a site of another organization")] {
        let mut tx = test.db.tenant(&Scope::Partner(south)).await.unwrap();
        let refused = sqlx::query(
            "INSERT INTO devices (id, partner_id, organization_id, site_id) VALUES ($1, $2, $3, $4)",
        )
        .bind(Uuid::now_v7())
        .bind(south.0)
        .bind(organization.0)
        .bind(site)
        .execute(&mut *tx)
        .await;
        assert!(refused.unwrap_err().to_string().contains("foreign key"), "{why}");
    }
}

#[tokio::test]
async fn every_row_that_names_a_site_names_the_sites_own_ancestors() {
    let test = testing::database().await;
    // Written in bulk under a relay's own site; or meant to outlive its places.
    const BY_POLICY: [&str; 8] = [
        "metric_recent",
        "metric_blocks",
        "events",
        "audit_log",
        "device_tallies",
        "device_tags",
        "device_lines",
        "device_loads",
    ];
    let free: Vec<String> = sqlx::query_scalar(
        "SELECT c.relname::text FROM pg_class c WHERE c.relnamespace = 'public'::regnamespace AND c.relkind = 'r' \
         AND EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'site_id') \
         AND NOT EXISTS (SELECT FROM pg_constraint k WHERE k.conrelid = c.oid AND k.contype = 'f' \
             AND k.confrelid = 'sites'::regclass AND cardinality(k.conkey) = 3) ORDER BY 1",
    )
    .fetch_all(&mut test.owner().await)
    .await
    .unwrap();
    let free: Vec<&str> = free.iter().map(String::as_str).collect();
    let forgotten: Vec<&&str> = free.iter().filter(|t| !BY_POLICY.contains(t)).collect();
    assert!(forgotten.is_empty(), "add a key as in 0017_true_ancestors.sql for {forgotten:?}");
}

#[tokio::test]
async fn a_pooled_connection_forgets_the_scope_of_its_last_transaction() {
    let test = testing::database().await;
    let [(north, _), _] = two_partners(&test).await;
    for _ in 0..8 {
        assert_eq!(organizations(&test, Some(Scope::Partner(north))).await.len(), 1);
        assert!(organizations(&test, None).await.is_empty());
    }
}

#[tokio::test]
async fn connections_that_were_lost_while_idle_cost_nobody_a_request() {
    let test = testing::database().await;
    let all: Vec<_> = futures::future::join_all((0..4).map(|_| test.db.unscoped())).await;
    drop(all.into_iter().map(Result::unwrap).collect::<Vec<_>>());
    let mut owner = test.owner().await;
    let ended: Vec<bool> = sqlx::query_scalar(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
         WHERE datname = current_database() AND usename = 'unifyit_app'",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(ended.len() >= 4, "the pool held {} connections", ended.len());
    test.db.tenant(&Scope::Platform).await.unwrap();
    let question = || sqlx::query_as::<_, (bool,)>("SELECT current_user = 'unifyit_app'");
    assert_eq!(test.db.lookup(question).await.unwrap(), Some((true,)));
}

#[tokio::test]
async fn what_was_committed_is_told_although_nobody_waits_any_more() {
    let test = testing::database().await;
    let mut bus = test.db.bus().subscribe();
    let mut tx = test.db.tenant(&Scope::Platform).await.unwrap();
    let data = serde_json::json!({});
    tx.emit(NewEvent::kept(CHANGED, Scope::Platform.place(), data));
    let mut commit = Box::pin(tx.commit());
    // A client that leaves in the middle of the request.
    assert!(futures::poll!(&mut commit).is_pending());
    drop(commit);
    let told = bus.recv().await.unwrap();
    assert!(told.text.contains(CHANGED.as_str()), "{}", told.text);
}

#[tokio::test]
async fn an_audit_row_holds_its_chain_only_for_the_commit() {
    let test = testing::database().await;
    let target = AuditTarget::at(Scope::Platform.place(), "x");
    let actor = AuditActor::system();
    let mut slow = test.db.tenant(&Scope::Platform).await.unwrap();
    audit::record(&mut slow, &actor, "one", &target, "").await.unwrap();
    // The first is not at its end yet, and the second does not wait for it.
    let mut quick = test.db.tenant(&Scope::Platform).await.unwrap();
    audit::record(&mut quick, &actor, "two", &target, "").await.unwrap();
    quick.commit().await.unwrap();
    slow.commit().await.unwrap();
    let mut tx = test.db.tenant(&Scope::Platform).await.unwrap();
    let order: Vec<String> = sqlx::query_scalar("SELECT action FROM audit_log ORDER BY seq")
        .fetch_all(&mut *tx)
        .await
        .unwrap();
    assert_eq!(order, ["two", "one"]);
    assert_eq!(audit::verify(&mut tx).await.unwrap(), None);
}

#[tokio::test]
async fn an_event_is_dated_by_its_writing_and_not_by_the_beginning_of_its_transaction() {
    let test = testing::database().await;
    let mut tx = test.db.tenant(&Scope::Platform).await.unwrap();
    // Since it began, something was asked: some time has passed.
    let began: time::OffsetDateTime =
        sqlx::query_scalar("SELECT now()").fetch_one(&mut *tx).await.unwrap();
    tx.emit(NewEvent::kept(CHANGED, Scope::Platform.place(), serde_json::json!({})));
    tx.commit().await.unwrap();
    let at: time::OffsetDateTime = sqlx::query_scalar("SELECT at FROM events")
        .fetch_one(&mut test.owner().await)
        .await
        .unwrap();
    assert!(at > began, "{at}, {began}");
}
