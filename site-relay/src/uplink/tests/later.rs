//! Lanes that one side has and the other does not.

use super::{Lanes, audit, cloud, start};
use crate::store::tests::Rig;
use serde::Serialize;
use unifyit_protocol::{
    cache::CacheReport,
    envelope::Envelope,
    lane::{Ack, Lane, Resume},
    link::{Frame, UpRecord},
};

/// An acknowledgement as a later version writes it.
#[derive(Serialize)]
struct Later {
    lane: &'static str,
    epoch: u64,
    through: u64,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lane_that_the_cloud_does_not_take_waits_also_where_the_disk_is_an_older_copy() {
    let mut cloud = cloud("/ip4/127.0.0.1/tcp/0").await;
    let rig = Rig::new();
    let waits = UpRecord::Cache(CacheReport::default());
    rig.store.write(move |txn| txn.append(Lane::State, &waits)).await.unwrap();
    let run = start(rig, &cloud);
    let ahead = Ack { lane: Lane::Urgent, epoch: u64::MAX / 4, through: 7 };
    let at = Resume { positions: vec![ahead] };
    let takes = (true, Some(vec![Lane::Urgent]));
    let (mut lanes, hello, _) = Lanes::accept_taking(&mut cloud, at, takes).await;
    assert_eq!(hello.lanes, Some(vec![Lane::Urgent]));
    // What is of no lane here ends no session.
    let later = Later { lane: "files", epoch: 1, through: 1 };
    lanes.send_bytes(Envelope::pack(4, &later).unwrap()).await;
    let mut seen = Vec::new();
    for marker in ["one", "two", "three"] {
        run.rig.store.audit(audit(marker)).await;
        loop {
            let Frame::Data(data) = lanes.next().await else { continue };
            seen.push(data.lane);
            let is_it = |body: &serde_bytes::ByteBuf| {
                body.windows(marker.len()).any(|part| part == marker.as_bytes())
            };
            if data.lane == Lane::Urgent && data.records.iter().any(is_it) {
                break;
            }
        }
    }
    assert!(seen.iter().all(|lane| *lane == Lane::Urgent), "{seen:?}");
}
