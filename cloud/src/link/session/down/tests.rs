//! When a session looks at its downlink.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::testing::{Place, TestApp};

#[tokio::test]
async fn a_look_that_lasts_is_waited_for_and_not_asked_about() {
    let app = TestApp::new().await;
    let Place { partner, organization, site, relay, .. } = app.place("Acme").await;
    let relay = RelayIdentity { id: relay, partner, organization, site };
    let (mut down, _) = Downlink::load(app.state.db.clone(), relay).await.unwrap();
    down.open_sender(&Resume::default()).unwrap();
    assert!(down.trim_at().is_some());
    // It is time for a look already.
    down.touch_at = Instant::now();
    let look = down.next_sync().unwrap();
    down.touch_at = Instant::now();
    down.want();
    assert_eq!(down.trim_at(), None, "a session would wake for nothing, again and again");
    down.synced(look.await.unwrap()).unwrap();
    assert!(down.trim_at().is_some_and(|at| at <= Instant::now()), "what was due is due again");
}
