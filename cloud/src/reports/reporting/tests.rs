//! What is dropped of a batch, and what is forgotten after one that failed.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    reports::Applied,
    testing::{Place, TestApp},
};
use unifyit_protocol::{compare::SiteHolds, lane::Lane, link::DeviceGap, report::Gap};

#[test]
fn of_several_comparisons_the_last_stays_with_the_inventories_that_only_others_name() {
    let [a, b] = [(); 2].map(|()| DeviceId::generate());
    let holds = |at_ms, asks, told: [u32; 2]| {
        let mut holds = SiteHolds { at_ms, asks, ..SiteHolds::default() };
        for (device, seconds) in [a, b].into_iter().zip(told) {
            holds.devices.push(device);
            holds.note_inventory(seconds);
        }
        UpRecord::Holds(Box::new(holds))
    };
    let mut records = vec![
        holds(1, false, [10, 20]),
        gap(a),
        holds(2, true, [5, 0]),
        holds(3, false, [0, 30]),
        gap(b),
    ];
    said_last(&mut records);
    let left = [gap(a), holds(2, true, [5, 0]), holds(3, false, [10, 30]), gap(b)];
    assert_eq!(records, left);
}

fn gap(device: DeviceId) -> UpRecord {
    let reason = "Lost.".to_owned();
    let gap = Gap { lane: Lane::State, count: 1, from_ms: 1, to_ms: 2, reason };
    UpRecord::Gap(DeviceGap { device: Some(device), gap })
}

/// Fails as it is told to.
struct Fails(fn() -> ApplyError);

impl Reports for Fails {
    fn takes(&self, _: &UpRecord) -> bool {
        true
    }

    fn apply<'a>(
        &'a self,
        _: &'a mut TenantTx,
        _: &'a RelayIdentity,
        _: Vec<UpRecord>,
        _: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(async { Err((self.0)()) })
    }
}

/// Whether a place's device is still remembered, where the database has it no more.
async fn remembers(app: &TestApp, own: &Own, place: &Place) -> bool {
    let relay = identity(place);
    let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
    let named = BTreeSet::from([place.device]);
    assert_eq!(own.check(&mut tx, &relay, &named).await.unwrap().len(), 1);
    // One that was forgotten got a row.
    let rows: i64 = sqlx::query_scalar("SELECT count(*) FROM devices WHERE id = $1")
        .bind(place.device.0)
        .fetch_one(&mut *tx)
        .await
        .unwrap();
    rows == 0
}

fn identity(place: &Place) -> RelayIdentity {
    let Place { partner, organization, site, relay, .. } = *place;
    RelayIdentity { id: relay, partner, organization, site }
}

#[tokio::test]
async fn only_a_missing_row_makes_devices_forgotten_and_only_of_its_site() {
    let app = TestApp::new().await;
    let (place, other) = (app.place("Acme").await, app.place("Bolt").await);
    let missing: fn() -> ApplyError = || sqlx::Error::RowNotFound.into();
    let malformed: fn() -> ApplyError = || ApplyError::Malformed("odd".into());
    let broken: fn() -> ApplyError = || sqlx::Error::WorkerCrashed.into();
    let (mut owner, mut kept) = (app.test.owner().await, Vec::new());
    for fails in [malformed, broken, missing] {
        let reporting = Reporting { own: Own::default(), features: vec![Box::new(Fails(fails))] };
        for place in [&place, &other] {
            let relay = identity(place);
            let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
            reporting.own.check(&mut tx, &relay, &BTreeSet::from([place.device])).await.unwrap();
            tx.commit().await.unwrap();
        }
        kept.push((reporting, fails));
    }
    sqlx::query("DELETE FROM devices").execute(&mut owner).await.unwrap();
    for (reporting, fails) in kept {
        let relay = identity(&place);
        let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
        let failed = reporting.apply(&mut tx, &relay, vec![gap(place.device)]).await.unwrap_err();
        drop(tx);
        let is_missing =
            matches!(fails(), ApplyError::Db(DbError::Query(sqlx::Error::RowNotFound)));
        assert_eq!(remembers(&app, &reporting.own, &place).await, !is_missing, "{failed}");
        assert!(remembers(&app, &reporting.own, &other).await, "another site's: {failed}");
    }
}
