//! What devices say in words of features that the relay need not know.

use super::send;
use crate::store::tests::{Rig, START_MS};
use unifyit_protocol::{
    feature::{FeatureReport, MAX_BODY, SiteReport},
    lane::Lane,
    link::UpRecord,
    report::Report,
};

fn report(feature: &str, at_ms: u64, bytes: usize) -> FeatureReport {
    FeatureReport { feature: feature.into(), at_ms, body: vec![7; bytes] }
}

#[tokio::test]
async fn what_a_feature_says_goes_to_the_cloud_in_its_lane_and_not_from_the_future() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let now = rig.store.now_ms();
    for (lane, at_ms) in [(Lane::State, START_MS), (Lane::Urgent, now + 86_400_000)] {
        send(&rig.store, device, lane, (1, 0), &[Report::Feature(report("later", at_ms, 3))]).await;
        let told: Vec<_> = rig
            .waiting(lane)
            .await
            .into_iter()
            .filter_map(|record| match record {
                UpRecord::Feature(one) => Some(one),
                _ => None,
            })
            .collect();
        let report = report("later", at_ms.min(now), 3);
        assert_eq!(told, [SiteReport { device: Some(device), report }]);
    }
}

#[tokio::test]
async fn what_is_no_word_or_too_long_is_counted_as_lost() {
    let rig = Rig::new();
    let device = rig.enrol().await;
    let bad = [report("../etc", START_MS, 1), report("later", START_MS, MAX_BODY + 1)];
    let applied = send(&rig.store, device, Lane::State, (1, 0), &bad.map(Report::Feature)).await;
    assert_eq!(applied.bad, 2);
    let urgent = rig.waiting(Lane::Urgent).await;
    assert!(urgent.iter().any(|r| matches!(r, UpRecord::Gap(gap) if gap.gap.count == 2)));
    let state = rig.waiting(Lane::State).await;
    assert!(!state.iter().any(|r| matches!(r, UpRecord::Feature(_))));
}
