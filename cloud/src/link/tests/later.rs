//! What a relay of a later version says, or of a feature that this cloud does not have.

use super::Ledger;
use crate::link::testing::World;
use std::sync::Arc;
use unifyit_protocol::{
    feature::{FeatureReport, SiteReport},
    lane::Lane,
    link::{SiteAudit, UpRecord},
};

fn note(text: &str) -> Vec<u8> {
    let (action, actor) = ("note".into(), "test".into());
    let record = UpRecord::Audit(SiteAudit { at_ms: 1, action, actor, detail: text.into() });
    record.encode().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_no_feature_takes_is_skipped_and_is_no_fault_of_the_relay() {
    let records = Arc::new(Ledger::default());
    let world = World::new(|_, _, _| Arc::new(records)).await;
    let (relay, _) = world.enrolled(&world.place).await;
    let mut lane = relay.lane(1).await;
    let report = FeatureReport { feature: "later".into(), at_ms: 1, body: vec![1] };
    let later = UpRecord::Feature(SiteReport { device: None, report }).encode().unwrap();
    let ack = lane.push_raw(Lane::Urgent, vec![note("a"), later, note("b")]).await;
    assert_eq!(ack.through, 3);
    let notes = "SELECT string_agg(address, ',' ORDER BY id) FROM presence_log WHERE address <> ''";
    assert_eq!(world.scalar::<String>(notes).await, "a,b");
    assert_eq!(world.scalar::<i64>("SELECT count(*) FROM gaps").await, 0);
}
