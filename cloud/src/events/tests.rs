//! Resuming and watching.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{Bus, Event, LocalBus, Replay, Watches};
use crate::db::Place;
use std::sync::Arc;
use time::OffsetDateTime;
use unifyit_protocol::ids::{DeviceId, RelayId};

fn event(id: Option<i64>) -> Arc<Event> {
    let at = OffsetDateTime::UNIX_EPOCH;
    Arc::new(Event::new(id, "x", Place::default(), at, &serde_json::Value::Null))
}

#[test]
fn resuming_returns_what_was_published_after_in_order_of_publishing() {
    let bus = LocalBus::default();
    for id in [1, 3, 2, 4] {
        bus.publish(event(Some(id)));
    }
    let (Replay::Complete(missed), mut live) = bus.resume(3) else { panic!("3 is remembered") };
    assert_eq!(missed.iter().map(|e| e.id).collect::<Vec<_>>(), [Some(2), Some(4)]);
    bus.publish(event(Some(5)));
    assert_eq!(live.try_recv().unwrap().id, Some(5));
}

#[test]
fn an_id_that_is_not_remembered_is_told_apart_from_nothing_missed() {
    let bus = LocalBus::default();
    bus.publish(event(Some(9)));
    assert!(matches!(bus.resume(9).0, Replay::Complete(missed) if missed.is_empty()));
    assert!(matches!(bus.resume(8).0, Replay::Unknown));
}

#[test]
fn a_device_is_watched_until_its_last_watcher_leaves() {
    let watches = Watches::default();
    let (relay, device) = (RelayId::generate(), DeviceId::generate());
    let first = watches.register(vec![(relay, device)], vec![]);
    let second = watches.register(vec![(relay, device)], vec![]);
    drop(first);
    assert_eq!(watches.devices().borrow().get(&relay), Some(&vec![device]));
    drop(second);
    assert!(watches.devices().borrow().is_empty());
}
