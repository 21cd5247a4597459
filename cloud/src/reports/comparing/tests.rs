//! Parts are asked in the order of their turns, and one entry says what they mended.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::TestApp;

/// A part that notes itself, and whether it heard what the relay holds.
macro_rules! part {
    ($turn:expr, $said:literal, $everything:literal) => {
        Part {
            turn: $turn,
            bring: |_, _, holds, all| {
                all.mended(1, if holds.is_some() { $said } else { $everything });
                Box::pin(ready(Ok(())))
            },
        }
    };
}

/// Listed against the order of their turns.
const LAST_FIRST: &[Feature] = &[
    Feature {
        compares: &[
            part!(Turn::Connections, "connections", "all connections"),
            part!(Turn::Devices, "devices", "all devices"),
        ],
        ..Feature::named("two parts")
    },
    Feature::named("none"),
    Feature {
        compares: &[part!(Turn::Told, "told", "all told")],
        ..Feature::named("what was told")
    },
    Feature {
        compares: &[part!(Turn::Work, "work", "all work")],
        ..Feature::named("what is to be done")
    },
    Feature {
        compares: &[
            part!(Turn::Site, "settings", "all settings"),
            Part {
                turn: Turn::Site,
                bring: |_, _, _, all| {
                    all.mended(0, "of nothing");
                    all.site = Some("Aarhus".into());
                    Box::pin(ready(Ok(())))
                },
            },
        ],
        ..Feature::named("the site")
    },
];

/// The entries that a comparison of these features leaves, and whether its site is told of.
async fn noted(features: &[Feature], holds: Option<SiteHolds>) -> (Vec<String>, bool) {
    let app = TestApp::new().await;
    let place = app.place("Acme").await;
    let relay = RelayIdentity {
        id: place.relay,
        partner: place.partner,
        organization: place.organization,
        site: place.site,
    };
    let comparing = Comparing::of(features);
    let mut changed = Changed::default();
    let mut tx = app.state.db.tenant(&relay.scope()).await.unwrap();
    match holds {
        Some(holds) => {
            let record = UpRecord::Holds(Box::new(holds));
            comparing.apply(&mut tx, &relay, vec![record], &mut changed).await.unwrap();
        }
        None => {
            comparing.relay_changed(&mut tx, &relay, RelayChange::Restored).await.unwrap();
        }
    }
    tx.commit().await.unwrap();
    let entries = "SELECT action || ', ' || target || ', ' || detail FROM audit_log \
                   WHERE action LIKE 'relay.%' ORDER BY id";
    let mut owner = app.test.owner().await;
    (sqlx::query_scalar(entries).fetch_all(&mut owner).await.unwrap(), changed.site)
}

#[tokio::test]
async fn parts_are_asked_in_their_turns_whatever_the_order_of_features() {
    let (entries, told) = noted(LAST_FIRST, Some(SiteHolds::default())).await;
    let all = "relay.compared, relay of Aarhus, \
               1 settings, 1 devices, 1 work, 1 told, 1 connections";
    assert_eq!((entries, told), (vec![all.to_owned()], true));
}

#[tokio::test]
async fn lists_that_did_not_fit_are_not_compared() {
    let cut = SiteHolds { cut: true, ..SiteHolds::default() };
    let (entries, told) = noted(LAST_FIRST, Some(cut)).await;
    let settings = "relay.compared, relay of Aarhus, 1 settings";
    assert_eq!((entries, told), (vec![settings.to_owned()], true));
}

#[tokio::test]
async fn a_relay_that_cannot_say_what_it_holds_is_told_everything() {
    let (entries, _) = noted(LAST_FIRST, None).await;
    let all = "relay.restored, relay of Aarhus, Restored from an older copy: settings, \
               1 all settings, 1 all devices, 1 all work, 1 all told, 1 all connections";
    assert_eq!(entries, [all]);
}

#[tokio::test]
async fn where_nothing_was_mended_nothing_is_noted() {
    let (entries, told) = noted(&[], Some(SiteHolds::default())).await;
    assert_eq!((entries, told), (vec![], false));
}
