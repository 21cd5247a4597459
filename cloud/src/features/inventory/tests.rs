//! What a device says of itself costs its site's other devices nothing.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::ingest;
use crate::{link::RelayIdentity, reports::Changed, testing::TestApp};
use unifyit_protocol::{
    inventory::{InventoryReport, Section},
    link::{DeviceInventory, UpRecord},
};

/// A plan for any list of keys compares each with each; what is prepared is planned so
/// from some use on, unless it is told otherwise.
#[tokio::test]
async fn long_lists_of_an_inventory_are_planned_for_what_they_hold() {
    let app = TestApp::new().await;
    let place = app.place("alpha").await;
    let relay = RelayIdentity {
        id: place.relay,
        partner: place.partner,
        organization: place.organization,
        site: place.site,
    };
    let reports = ingest::open();
    for round in 0..8 {
        // As the ingest opens it.
        let mut tx = app.state.db.tenant_by_keys(&relay.scope()).await.unwrap();
        for whole in [true, false] {
            let names = |from: usize| (from..from + 100).map(|n| format!("{round}-{n}"));
            let report = InventoryReport {
                section: Section::Packages,
                at_ms: 1,
                whole,
                set: names(0).map(|name| (name, [].into())).collect(),
                gone: if whole { Vec::new() } else { names(50).collect() },
                cut: 0,
            };
            let told = DeviceInventory { device: place.device, report };
            let records = vec![UpRecord::Inventory(told)];
            reports.takes.apply(&mut tx, &relay, records, &mut Changed::default()).await.unwrap();
        }
        let plans: Vec<(String, i64)> = sqlx::query_as(
            "SELECT statement, generic_plans FROM pg_prepared_statements \
             WHERE statement ~ '^DELETE FROM inventory_entries'",
        )
        .fetch_all(&mut *tx)
        .await
        .unwrap();
        assert_eq!(plans.len(), 2, "{plans:?}");
        assert!(plans.iter().all(|(_, generic)| *generic == 0), "{plans:?}");
        tx.commit().await.unwrap();
    }
    let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
    let kept = "SELECT count(*) FROM inventory_entries WHERE key LIKE '7-%'";
    let kept: i64 = sqlx::query_scalar(kept).fetch_one(&mut *tx).await.unwrap();
    assert_eq!(kept, 100);
}
