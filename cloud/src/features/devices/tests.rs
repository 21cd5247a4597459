//! How lists of computers are asked of the database; what they answer is tested through
//! the whole service (`app/tests/lists.rs`).

#![allow(clippy::unwrap_used, reason = "tests")]

use super::{DeviceQuery, store};
use crate::{db::Scope, testing::TestApp};
use std::collections::BTreeSet;
use unifyit_protocol::ids::DeviceId;

/// A plan for any values expects a page of a tenth of what matches, and every tag to be
/// as frequent as the others: it reads all computers to find a few.
#[tokio::test]
async fn lists_and_facets_are_planned_for_what_is_asked_however_often_it_is_asked() {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    for n in 0..12 {
        app.device(&place, DeviceId::generate(), &format!("pc-{}", n % 2)).await;
    }
    let mut owner = app.test.owner().await;
    sqlx::query("UPDATE devices SET tags = ARRAY['lab'], online = false WHERE hostname = 'pc-1'")
        .execute(&mut owner)
        .await
        .unwrap();
    let db = &app.state.db;
    let mut tx = db.tenant(&Scope::Platform).await.unwrap();
    let query = |tag: &str, q: &str| DeviceQuery {
        tag: Some(tag.to_owned()),
        q: Some(q.to_owned()),
        ..DeviceQuery::default()
    };
    for (tag, q) in [("lab", ""), ("", "pc-1")].into_iter().cycle().take(16) {
        let checked = query(tag, q).check().unwrap();
        store::list(&mut tx, &checked).await.unwrap();
        store::facets(&mut tx, &checked).await.unwrap();
    }
    let by_load = DeviceQuery { sort: Some("cpu_pct".to_owned()), ..query("", "pc-1") };
    let by_state = DeviceQuery { sort: Some("-state".to_owned()), ..DeviceQuery::default() };
    for query in [by_load, by_state] {
        let page = store::list(&mut tx, &query.check().unwrap()).await.unwrap();
        assert_eq!(page.items.len(), usize::try_from(page.total).unwrap());
    }
    let asked: BTreeSet<String> = std::mem::take(&mut tx.composed).into_iter().collect();
    let of_lists = "(devices|device_lines|device_loads|device_lines_with\\(.*\\)) d";
    let kept: Vec<(String, i64)> = sqlx::query_as(
        "SELECT statement, generic_plans FROM pg_prepared_statements \
         WHERE statement ~ $1 AND cardinality(parameter_types) > 0",
    )
    .bind(of_lists)
    .fetch_all(&mut *tx)
    .await
    .unwrap();
    // The page itself is fixed text; all else is planned each time it is asked.
    assert!(kept.iter().all(|(_, generic)| *generic == 0), "{kept:?}");
    assert!(!kept.iter().any(|(sql, _)| asked.contains(sql)), "{kept:?}");
    let mode = "SELECT current_setting('plan_cache_mode')";
    let mode: String = sqlx::query_scalar(mode).fetch_one(&mut *tx).await.unwrap();
    assert_eq!(mode, "force_custom_plan");
    let times = |words: &str| asked.iter().filter(|sql| sql.contains(words)).count();
    assert_eq!(times("d.cpu_pct AS sort_key"), 0, "few are looked up by themselves: {asked:?}");
    assert_eq!(times("FROM device_loads d WHERE d.id = ANY"), 1, "and so: {asked:?}");
    assert_eq!(times("COLLATE \"C\" AS sort_key"), 1, "an end is looked for once: {asked:?}");
    assert_eq!(times("ORDER BY d.id"), 2, "two states of three have computers: {asked:?}");
    // What no index answers reads the small tables, not the computers.
    let wide = |sql: &&String| sql.contains("FROM devices d WHERE");
    let walked = |sql: &String| sql.contains("ORDER BY d.name_key");
    assert!(asked.iter().filter(wide).all(walked), "{asked:?}");
    // What else is asked on the connection keeps its plans.
    tx.commit().await.unwrap();
    let question = || sqlx::query_as::<_, (String,)>("SELECT current_setting('plan_cache_mode')");
    for _ in 0..8 {
        assert_eq!(db.lookup(question).await.unwrap(), Some(("force_generic_plan".to_owned(),)));
    }
    let mut tx = db.tenant(&Scope::Platform).await.unwrap();
    assert_eq!(question().fetch_one(&mut *tx).await.unwrap().0, "auto");
}
