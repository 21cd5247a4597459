//! Certificates, re-enrolment and shared identities.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::store::{
    EnrollDecision, NewDevice,
    tests::{Rig, START_MS},
};

fn new(machine: &str, proven: Option<DeviceId>) -> NewDevice {
    NewDevice {
        proposed: DeviceId::generate(),
        hostname: "h".into(),
        version: "1".into(),
        machine: machine.into(),
        proven,
        at_ms: START_MS,
    }
}

async fn join(rig: &Rig, new: NewDevice) -> DeviceId {
    match rig.store.enroll_agent(TokenId::generate(), 1, new).await.unwrap() {
        EnrollDecision::Accepted { device } => device,
        other => panic!("{other:?}"),
    }
}

fn proof(n: u8, since_s: i64) -> Proof {
    Proof { sha256: [n; 32], since_s }
}

#[tokio::test]
async fn a_machine_gets_its_device_back_only_where_that_was_allowed_and_once() {
    let rig = Rig::new();
    let mine = join(&rig, new("m", None)).await;
    rig.store.certified(mine, proof(1, 10)).await.unwrap();
    assert_ne!(join(&rig, new("m", None)).await, mine, "whoever knows the machine's name");
    let audit = rig.store.recent_audit(5).await.unwrap();
    assert!(audit.iter().any(|e| e.action == "device.enrolled_beside"), "{audit:?}");
    let allow = |until_ms| move |txn: &mut Txn<'_>| txn.allow_reenrolment(mine, until_ms);
    rig.store.write(allow(START_MS + 1000)).await.unwrap();
    assert_eq!(join(&rig, new("m", None)).await, mine);
    assert_ne!(join(&rig, new("m", None)).await, mine, "the permission was used");
    rig.store.write(allow(START_MS + 1000)).await.unwrap();
    rig.pass_ms(1001);
    assert_ne!(join(&rig, new("m", None)).await, mine, "the permission has ended");
    assert_eq!(join(&rig, new("m", Some(mine))).await, mine, "it shows its certificate");
    rig.store.write(move |txn| txn.revoke_device(mine)).await.unwrap();
    assert_ne!(join(&rig, new("m", Some(mine))).await, mine, "it was put out");
}

#[tokio::test]
async fn only_the_newest_certificate_is_admitted_once_it_was_used() {
    let rig = Rig::new();
    let device = join(&rig, new("m", None)).await;
    rig.store.certified(device, proof(1, 10)).await.unwrap();
    rig.store.issued(device, [2; 32]).await.unwrap();
    assert!(rig.store.admit(device, &proof(1, 10)), "the answer with the newer may be lost");
    assert!(rig.store.admit(device, &proof(2, 10)));
    assert!(!rig.store.admit(device, &proof(1, 10)), "replaced");
    // What was noted before is durable when this is.
    rig.store.write(|_| Ok(())).await.unwrap();
    let rig = rig.crash();
    assert!(rig.store.admit(device, &proof(2, 10)));
    // Enrolled anew: what was before is out at once.
    rig.store.certified(device, proof(3, 30)).await.unwrap();
    assert!(!rig.store.admit(device, &proof(2, 10)));
    assert!(rig.store.admit(device, &proof(3, 30)));
}

#[tokio::test]
async fn a_relay_from_an_older_copy_admits_what_was_issued_since() {
    let rig = Rig::new();
    let device = join(&rig, new("m", None)).await;
    rig.store.certified(device, proof(1, 10)).await.unwrap();
    let copy = rig.backup();
    rig.store.issued(device, [2; 32]).await.unwrap();
    assert!(rig.store.admit(device, &proof(2, 20)));
    let rig = rig.restore(copy);
    assert!(rig.store.admit(device, &proof(2, 20)));
    assert!(!rig.store.admit(device, &proof(1, 10)));
}

#[tokio::test]
async fn of_two_computers_the_first_goes_on_and_the_other_gets_its_own_identity() {
    let rig = Rig::new();
    let device = join(&rig, new("m", None)).await;
    let computer = |n: u128, address: &str| Computer {
        instance: Uuid::from_u128(n),
        hostname: format!("pc-{n}"),
        address: address.into(),
        last_ms: START_MS,
    };
    let (a, b) = (computer(1, "10.0.0.1"), computer(2, "10.0.0.2"));
    let at = |text: &str| text.parse::<IpAddr>().unwrap();
    assert!(rig.store.may_use(device, Some(b.instance), at("10.0.0.2")));
    rig.store.write(move |txn| txn.share(device, a, b)).await.unwrap();
    let may = |n: u128, ip: &str| rig.store.may_use(device, Some(Uuid::from_u128(n)), at(ip));
    assert!(may(1, "10.0.0.1") && !may(2, "10.0.0.2"));
    assert!(may(11, "10.0.0.1"), "the first started anew");
    assert!(!may(12, "10.0.0.2"), "the other started anew");
    assert!(!may(12, "10.0.0.2"));
    let told = rig.waiting(Lane::Urgent).await;
    assert!(told.iter().any(|r| matches!(r, UpRecord::Shared(s) if s.computers.len() == 2)));
    let refused = rig.store.separate(device, Uuid::from_u128(12), new("m", None)).await;
    assert_eq!(refused.unwrap(), None, "nobody asked for it");
    let chosen = Uuid::from_u128(12);
    rig.store.write(move |txn| txn.separate_identity(device, chosen)).await.unwrap();
    assert!(may(12, "10.0.0.2"), "so that it can be told");
    let own = rig.store.separate(device, chosen, new("m", None)).await.unwrap().unwrap();
    assert_ne!(own, device);
    assert!(rig.store.device(device).unwrap().sharing.is_none());
    assert!(may(1, "10.0.0.9"), "it is one computer's again");
    let told = rig.waiting(Lane::Urgent).await;
    assert!(told.iter().any(|r| matches!(r, UpRecord::Shared(s) if s.computers.is_empty())));
    assert!(told.iter().any(|r| matches!(r, UpRecord::Enrolled(e) if e.device == own)));
}
