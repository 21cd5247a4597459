//! What may be set, over all features.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Asked, Keeps, Kept, settings, sweep};
use crate::{app::FEATURES, db::DbError, feature::Feature, jobs::Old, testing};
use prometheus::Registry;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicBool, Ordering};

fn read(change: &Value) -> Result<Kept, String> {
    let mut asked = json!(Kept::usual(&settings(FEATURES)));
    for (field, days) in change.as_object().unwrap() {
        asked[field] = days.clone();
    }
    let asked: Asked = serde_json::from_value(asked).unwrap();
    Kept::read(&settings(FEATURES), &asked).map_err(|why| why.to_string())
}

#[test]
fn what_is_built_in_is_within_the_bounds_and_longer_steps_last_longer() {
    let usual = read(&json!({})).unwrap();
    for (wrong, says) in [
        (json!({"tasks_days": 6}), "Tasks are kept for 7 to 3660 days."),
        (json!({"output_days": 401}), "not longer than its task"),
        (json!({"audit_days": 179}), "180 to 3660"),
        (json!({"metrics_minute_days": 401}), "2 to 400"),
        (json!({"metrics_minute_days": 366}), "Quarters of an hour are kept at least as long"),
        (json!({"metrics_hour_days": 364}), "Quarters of an hour are kept at least as long"),
        (json!({"metrics_hour_days": 3661}), "Quarters of an hour are kept at least as long"),
        (json!({"of_tomorrow_days": 7}), "no field `of_tomorrow_days`"),
    ] {
        let said = read(&wrong).unwrap_err();
        assert!(said.contains(says), "{wrong}: {said}");
    }
    let told = read(&json!({"audit_days": 400})).unwrap().told_against(&usual);
    assert_eq!(told, "audit log 400 days (was 1095)");
}

#[test]
fn each_setting_is_named_once() {
    let of = |text: &str| {
        let asked: Asked = serde_json::from_str(text).unwrap();
        Kept::read(&settings(FEATURES), &asked).unwrap_err().to_string()
    };
    let usual = json!(Kept::usual(&settings(FEATURES))).to_string();
    assert!(
        of(&usual.replacen('{', "{\"tasks_days\": 9,", 1)).contains("`tasks_days` stands twice")
    );
    assert!(of("{\"tasks_days\": 9}").contains("is missing"));
    serde_json::from_str::<Asked>("[1, 2, 3, 4, 5, 6]").unwrap_err();
}

#[tokio::test]
async fn a_feature_that_cannot_be_cut_holds_up_no_other() {
    static CUT: AtomicBool = AtomicBool::new(false);
    const FAILS: Keeps = Keeps {
        sweep: Some(|_, _| Box::pin(async { Err(DbError::Query(sqlx::Error::RowNotFound)) })),
        ..Keeps::NOTHING
    };
    const CUTS: Keeps = Keeps {
        sweep: Some(|_, _| {
            Box::pin(async {
                CUT.store(true, Ordering::Relaxed);
                Ok(())
            })
        }),
        ..Keeps::NOTHING
    };
    let test = testing::database().await;
    let old = Old::new(test.db.clone(), &Registry::new()).unwrap();
    let features = [FAILS, CUTS].map(|keeps| Feature { keeps, ..Feature::named("x") });
    sweep(&features, &old).await.unwrap_err();
    assert!(CUT.load(Ordering::Relaxed), "the one behind it was not cut");
}
