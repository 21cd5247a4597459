//! One enrolled relay does its worst on its link; another one is served as before.

use super::Ledger;
use crate::link::{
    now_ms,
    testing::{FakeLane, FakeRelay, Place, World, make_site},
};
use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};
use tokio::time::timeout;
use unifyit_protocol::{
    clock::ClockAsk,
    ids::{CommandId, DeviceId, SiteId},
    lane::{Lane, Resume},
    link::{Ephemeral, Frame, SiteAudit, UpRecord},
    outcome::{OutputChunk, Stream},
};

/// How long the flood lasts.
const FLOOD: Duration = Duration::from_secs(3);
/// Memory that it may cost, the senders' own buffers in this process included.
const MOST_BYTES: u64 = 200 << 20;

fn note(action: &str) -> UpRecord {
    let (actor, detail) = ("test".into(), "x".into());
    UpRecord::Audit(SiteAudit { at_ms: 1, action: action.into(), actor, detail })
}

/// What costs the cloud most beside what it costs to send: questions whose answers
/// nobody reads, live output, records that cannot be applied or read, repeats.
fn worst(lane: &FakeLane, turn: u64) -> Frame {
    let ask = ClockAsk { asked_ms: turn, now_ms: now_ms() };
    let command = CommandId::generate();
    let chunk = OutputChunk { command, offset: 0, stream: Stream::Stdout, data: vec![0; 32_768] };
    match turn % 16 {
        0 => Frame::Ephemeral(vec![Ephemeral::Output(DeviceId::generate(), chunk); 8]),
        1 => lane.data(Lane::Urgent, turn / 16, vec![note("bad").encode().unwrap()]),
        2 => lane.data(Lane::Metrics, turn / 16, vec![vec![0xFF; 64 * 1024]]),
        3 => lane.data(Lane::State, 0, vec![note("again").encode().unwrap(); 64]),
        _ => Frame::ClockAsk(ask),
    }
}

/// Floods until told to stop and comes back whenever it is not listened to.
async fn flood(relay: FakeRelay, over: Arc<AtomicBool>, sent: Arc<AtomicU64>) {
    let mut epoch = now_ms();
    while !over.load(Ordering::Relaxed) {
        epoch += 1;
        let Some(mut lane) = relay.try_lane(epoch, Resume::default()).await else { return };
        for turn in 0.. {
            let frame = worst(&lane, turn);
            let taken = timeout(Duration::from_millis(300), lane.try_send(frame)).await;
            if taken != Ok(Some(())) || over.load(Ordering::Relaxed) {
                break;
            }
            sent.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// How long records of the honest relay take to be durable. Always the same lane:
/// whoever is disconnected fails the test.
async fn served(lane: &mut FakeLane, until: Instant) -> Vec<Duration> {
    let mut took = Vec::new();
    while Instant::now() < until {
        let began = Instant::now();
        lane.push(Lane::Urgent, vec![note("note")]).await;
        took.push(began.elapsed());
    }
    took.sort_unstable();
    took
}

fn resident() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse::<u64>().unwrap() * 1024
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_relays_flood_costs_the_cloud_little_and_nobody_else_is_disconnected() {
    let records = Arc::new(Ledger::default());
    let world = World::new(|_, _, _| Arc::new(records)).await;
    let second = Place { site: SiteId::generate(), ..world.place };
    make_site(&world.db, &second).await;
    let (honest, _) = world.enrolled(&world.place).await;
    let (hostile, _) = world.enrolled(&second).await;
    let mut lane = honest.lane(1).await;
    let quiet = served(&mut lane, Instant::now() + FLOOD / 3).await;
    let before = resident();

    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flooding = tokio::spawn(flood(hostile, over.clone(), sent.clone()));
    let meanwhile = served(&mut lane, Instant::now() + FLOOD).await;
    let during = resident();
    over.store(true, Ordering::Relaxed);
    flooding.await.unwrap();

    let p99 = |took: &[Duration]| took[(took.len() - 1) * 99 / 100];
    println!(
        "flood of a relay ({} frames): others' p99 {:?} before, {:?} meanwhile ({} and {} \
         records); cloud {} MiB before, {} MiB meanwhile",
        sent.load(Ordering::Relaxed),
        p99(&quiet),
        p99(&meanwhile),
        quiet.len(),
        meanwhile.len(),
        before >> 20,
        during >> 20,
    );
    assert!(sent.load(Ordering::Relaxed) > 0, "there was a flood");
    assert!(during < before + MOST_BYTES, "it cost {} MiB", (during - before) >> 20);
    assert!(!served(&mut lane, Instant::now() + FLOOD / 6).await.is_empty());
    assert!(!honest.closed.is_cancelled(), "the other relay keeps its connection");
}
