//! Keys, re-enrolment and shared identities.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{Computer, EnrollDecision, NewDevice};
use crate::{
    broker::{Admission as _, Named},
    identity::ca::Proof,
    store::tests::{Rig, START_MS},
};
use unifyit_protocol::{
    ids::{DeviceId, TokenId},
    lane::Lane,
    link::UpRecord,
};
use uuid::Uuid;

fn new(machine: &str, key: u8) -> NewDevice {
    NewDevice {
        proposed: DeviceId::generate(),
        hostname: "h".into(),
        version: "1".into(),
        machine: machine.into(),
        key: [key; 32],
        proven: None,
        at_ms: START_MS,
    }
}

async fn join(rig: &Rig, new: NewDevice) -> DeviceId {
    join_with(rig, TokenId::generate(), new).await
}

async fn join_with(rig: &Rig, token: TokenId, new: NewDevice) -> DeviceId {
    match rig.store.enroll_agent(token, 1, new).await.unwrap() {
        EnrollDecision::Accepted { device } => device,
        other => panic!("{other:?}"),
    }
}

fn proof(key: u8, since_s: i64) -> Proof {
    Proof { key: [key; 32], since_s }
}

impl Rig {
    /// Waits until what was noted is durable.
    async fn noted(&self) {
        self.store.write(|_| Ok(())).await.unwrap();
    }

    async fn allow(&self, device: DeviceId) {
        let until = START_MS + 1000;
        self.store.write(move |txn| txn.allow_reenrolment(device, until)).await.unwrap();
    }
}

#[tokio::test]
async fn a_machine_gets_its_device_back_only_where_that_was_allowed_and_once() {
    let rig = Rig::new();
    let mine = join(&rig, new("m", 1)).await;
    assert!(rig.store.admit(mine, &proof(1, 10)));
    assert_ne!(join(&rig, new("m", 2)).await, mine, "whoever knows the machine's name");
    let audit = rig.store.recent_audit(5).await.unwrap();
    assert!(audit.iter().any(|e| e.action == "device.enrolled_beside"), "{audit:?}");
    rig.allow(mine).await;
    assert_eq!(join(&rig, new("m", 3)).await, mine);
    assert!(rig.store.admit(mine, &proof(1, 10)), "the answer with the new key's may be lost");
    assert_eq!(join(&rig, new("m", 4)).await, mine, "and then it asks again");
    assert!(rig.store.admit(mine, &proof(4, 20)));
    assert!(!rig.store.admit(mine, &proof(1, 10)), "the newer key replaced it");
    rig.noted().await;
    assert_ne!(join(&rig, new("m", 5)).await, mine, "the permission was used");
    rig.allow(mine).await;
    rig.pass_ms(1001);
    assert_ne!(join(&rig, new("m", 6)).await, mine, "the permission has ended");
    let proven = NewDevice { proven: Some(mine), ..new("m", 7) };
    assert_eq!(join(&rig, proven.clone()).await, mine, "it shows its certificate");
    rig.store.write(move |txn| txn.revoke_device(mine)).await.unwrap();
    let proven = NewDevice { key: [8; 32], ..proven };
    assert_ne!(join(&rig, proven).await, mine, "it was put out");
}

#[tokio::test]
async fn a_system_installed_anew_gets_its_device_back_by_its_host_name() {
    let rig = Rig::new();
    let mine = join(&rig, new("before", 1)).await;
    let beside = join(&rig, new("after", 2)).await;
    assert_ne!(beside, mine);
    rig.allow(mine).await;
    let other = NewDevice { hostname: "other".into(), ..new("other", 3) };
    assert_ne!(join(&rig, other).await, mine, "another computer");
    let again = |key| NewDevice { hostname: "H".into(), ..new("after", key) };
    let another = join(&rig, again(4)).await;
    assert_ne!(another, mine, "this machine is another device's");
    for device in [beside, another] {
        rig.store.write(move |txn| txn.revoke_device(device)).await.unwrap();
    }
    assert_eq!(join(&rig, again(5)).await, mine);
}

#[tokio::test]
async fn who_asks_again_because_the_answer_was_lost_gets_the_same() {
    let rig = Rig::new();
    let token = TokenId::generate();
    let first = join_with(&rig, token, new("m", 1)).await;
    assert_eq!(join_with(&rig, token, new("m", 1)).await, first, "the token has one use");
    assert!(rig.store.admit(first, &proof(1, 10)));
    let another = rig.store.enroll_agent(token, 1, new("m", 2)).await.unwrap();
    assert_eq!(another, EnrollDecision::UsedUp);
}

#[tokio::test]
async fn only_the_newest_key_is_admitted_once_it_was_used() {
    let rig = Rig::new();
    let device = join(&rig, new("m", 1)).await;
    assert!(rig.store.admit(device, &proof(1, 10)));
    rig.store.offered(device, [2; 32]).await.unwrap();
    assert!(rig.store.admit(device, &proof(1, 10)), "the answer with the newer may be lost");
    assert!(rig.store.admit(device, &proof(2, 10)));
    assert!(!rig.store.admit(device, &proof(1, 10)), "replaced");
    // What was noted before is durable when this is.
    rig.noted().await;
    let rig = rig.crash();
    assert!(rig.store.admit(device, &proof(2, 10)));
    assert!(rig.store.admit(device, &proof(2, 30)), "renewed");
    assert!(rig.store.admit(device, &proof(2, 10)), "and set back to the copy before");
    assert!(!rig.store.admit(device, &proof(1, 10)));
}

#[tokio::test]
async fn a_relay_from_an_older_copy_admits_what_was_certified_since() {
    let rig = Rig::new();
    let device = join(&rig, new("m", 1)).await;
    assert!(rig.store.admit(device, &proof(1, 10)));
    rig.noted().await;
    let copy = rig.backup();
    rig.store.offered(device, [2; 32]).await.unwrap();
    assert!(rig.store.admit(device, &proof(2, LATER_S)));
    let rig = rig.restore(copy);
    assert!(rig.store.admit(device, &proof(2, LATER_S)));
    assert!(!rig.store.admit(device, &proof(1, 10)));
}

#[tokio::test]
async fn what_is_noted_does_not_bring_back_who_was_put_out() {
    let rig = Rig::new();
    let device = join(&rig, new("m", 1)).await;
    rig.store.write(move |txn| txn.revoke_device(device)).await.unwrap();
    // It was read before, and is written after.
    rig.store.note(device, |record| panic!("{record:?}"), |_| panic!("nothing to store"));
    assert!(!rig.store.admit(device, &proof(1, 10)));
}

/// A second key's certificate, issued a day's backdating before it is used.
const LATER_S: i64 = 20 + (START_MS / 1000).cast_signed();

#[tokio::test]
async fn a_replaced_key_does_not_come_back_by_a_renewal() {
    let rig = Rig::new();
    let device = join(&rig, new("m", 1)).await;
    assert!(rig.store.admit(device, &proof(1, 10)));
    rig.noted().await;
    rig.allow(device).await;
    assert_eq!(join(&rig, new("m", 2)).await, device);
    // Certified in this order: the new key, then the old one once more.
    let backdated = LATER_S - 20 - 86_400;
    assert!(rig.store.admit(device, &proof(2, backdated - 60)));
    assert!(!rig.store.admit(device, &proof(1, backdated)));
    rig.noted().await;
    let rig = rig.crash();
    assert!(!rig.store.admit(device, &proof(1, backdated)));
}

const A: u128 = 1;
const B: u128 = 2;

/// Two computers that share an identity, each at an address.
struct Shared {
    rig: Rig,
    device: DeviceId,
}

impl Shared {
    async fn new(at: [&str; 2]) -> Self {
        let rig = Rig::new();
        let device = join(&rig, new("m", 1)).await;
        assert!(rig.store.admit(device, &proof(1, 10)));
        let shared = Self { rig, device };
        assert!(shared.may(B, None, at[1]));
        shared.meet((A, at[0]), (B, at[1])).await;
        shared
    }

    async fn meet(&self, first: (u128, &str), other: (u128, &str)) {
        let (first, other) = (computer(first.0, first.1), computer(other.0, other.1));
        let device = self.device;
        self.rig.store.write(move |txn| txn.share(device, first, other)).await.unwrap();
    }

    fn may(&self, name: u128, before: Option<u128>, address: &str) -> bool {
        let named =
            Named { instance: Some(Uuid::from_u128(name)), before: before.map(Uuid::from_u128) };
        self.rig.store.may_use(self.device, named, address.parse().unwrap())
    }

    async fn choose(&self, name: u128) {
        let (device, name) = (self.device, Uuid::from_u128(name));
        self.rig.store.write(move |txn| txn.separate_identity(device, name)).await.unwrap();
    }

    /// What the cloud was told.
    async fn told(&self) -> Vec<Vec<u128>> {
        self.rig.noted().await;
        let told = self.rig.waiting(Lane::Urgent).await;
        let names = |record: &UpRecord| match record {
            UpRecord::Shared(shared) => {
                Some(shared.computers.iter().map(|c| c.instance.as_u128()).collect())
            }
            _ => None,
        };
        told.iter().filter_map(names).collect()
    }
}

fn computer(n: u128, address: &str) -> Computer {
    Computer {
        instance: Uuid::from_u128(n),
        hostname: "pc".into(),
        address: address.into(),
        last_ms: START_MS,
        ..Computer::default()
    }
}

#[tokio::test]
async fn of_two_computers_the_first_goes_on_wherever_it_is() {
    // Behind one address, and each at its own.
    for at in [["10.0.0.1", "10.0.0.1"], ["10.0.0.1", "10.0.0.2"]] {
        let shared = Shared::new(at).await;
        assert!(shared.may(A, None, at[0]) && !shared.may(B, None, at[1]));
        assert!(shared.may(11, Some(A), "10.0.0.9"), "the first started anew, elsewhere");
        assert!(!shared.may(12, Some(B), at[1]), "the other started anew");
        assert!(!shared.may(13, Some(B), at[0]), "also at the first one's place");
        assert!(shared.may(14, Some(11), "10.0.0.9"), "it was welcomed as 11");
        assert!(shared.may(15, Some(11), "10.0.0.1"), "it was not welcomed as 14");
        assert!(!shared.may(99, None, "10.0.0.77"), "nobody knows this one");
        assert_eq!(shared.told().await.last().unwrap(), &[11, B, 99], "but it is shown");
        let rig = shared.rig.crash();
        let shared = Shared { rig, device: shared.device };
        assert!(shared.may(15, Some(11), "10.0.0.1") && !shared.may(13, Some(B), at[1]));
    }
}

#[tokio::test]
async fn turns_that_are_taken_again_tell_the_cloud_nothing() {
    let shared = Shared::new(["10.0.0.1", "10.0.0.2"]).await;
    let told = shared.told().await.len();
    for _ in 0..50 {
        shared.meet((A, "10.0.0.1"), (B, "10.0.0.2")).await;
        shared.meet((B, "10.0.0.2"), (A, "10.0.0.1")).await;
        assert!(shared.may(A, None, "10.0.0.1"));
    }
    assert_eq!(shared.told().await.len(), told);
    for name in 100..150 {
        assert!(!shared.may(name, None, "10.0.0.50"));
    }
    assert!(shared.told().await.len() < told + 5, "names without end");
    assert!(shared.may(A, None, "10.0.0.1"), "and the first stays it");
}

#[tokio::test]
async fn the_chosen_one_gets_an_identity_and_no_other_does() {
    let shared = Shared::new(["10.0.0.1", "10.0.0.2"]).await;
    let Shared { rig, device } = &shared;
    let separate =
        |name: u128, key: u8| rig.store.separate(*device, Uuid::from_u128(name), new("m", key));
    assert_eq!(separate(B, 2).await.unwrap(), None, "nobody asked for it");
    shared.choose(B).await;
    assert!(shared.may(11, Some(A), "10.0.0.7"), "the first, while the other is off");
    let record = rig.store.device(*device).unwrap();
    assert!(!record.sharing.as_ref().unwrap().replaces(Uuid::from_u128(11)));
    assert!(shared.may(12, Some(B), "10.0.0.2"), "so that it can be told");
    rig.noted().await;
    assert_eq!(separate(11, 2).await.unwrap(), None);
    let own = separate(12, 3).await.unwrap().unwrap();
    assert_ne!(own, *device);
    assert_eq!(separate(12, 4).await.unwrap(), Some(own), "the answer was lost");
    assert!(rig.store.device(*device).unwrap().sharing.is_some(), "until it is used");
    assert!(rig.store.admit(own, &proof(4, 20)));
    rig.noted().await;
    assert!(rig.store.device(*device).unwrap().sharing.is_none());
    assert!(shared.may(11, None, "10.0.0.9"), "it is one computer's again");
    assert_eq!(shared.told().await.last().unwrap(), &[] as &[u128]);
}

#[tokio::test]
async fn a_computer_that_is_gone_is_waited_for_no_longer() {
    let shared = Shared::new(["10.0.0.1", "10.0.0.2"]).await;
    let device = shared.device;
    let gone = Uuid::from_u128(A);
    shared.rig.store.write(move |txn| txn.forget_computer(device, gone)).await.unwrap();
    assert!(shared.may(B, None, "10.0.0.2"), "the other has it alone");
    assert_eq!(shared.told().await.last().unwrap(), &[] as &[u128]);
}

#[tokio::test]
async fn who_enrols_anew_with_permission_has_the_device_alone() {
    let shared = Shared::new(["10.0.0.1", "10.0.0.2"]).await;
    let Shared { rig, device } = &shared;
    rig.allow(*device).await;
    assert_eq!(join(rig, new("m", 5)).await, *device);
    assert!(rig.store.device(*device).unwrap().sharing.is_some(), "until it is used");
    assert!(rig.store.admit(*device, &proof(5, 20)));
    assert!(shared.may(77, None, "10.0.0.8"));
    assert!(!rig.store.admit(*device, &proof(1, 10)), "both had this one");
    assert_eq!(shared.told().await.last().unwrap(), &[] as &[u128]);
}

#[tokio::test]
async fn which_of_several_goes_on_is_not_guessed() {
    let shared = Shared::new(["10.0.0.1", "10.0.0.2"]).await;
    shared.meet((A, "10.0.0.1"), (3, "10.0.0.3")).await;
    let told = shared.told().await;
    assert_eq!(told.last().unwrap(), &[A, B, 3]);
    shared.choose(A).await;
    assert_eq!(shared.told().await.len(), told.len(), "nothing is changed");
    assert!(shared.may(A, None, "10.0.0.1") && !shared.may(B, None, "10.0.0.2"));
    let device = shared.device;
    let gone = Uuid::from_u128(3);
    shared.rig.store.write(move |txn| txn.forget_computer(device, gone)).await.unwrap();
    shared.choose(A).await;
    assert_eq!(shared.told().await.last().unwrap(), &[B, A], "the one that is left goes on");
}

#[tokio::test]
async fn the_chosen_one_is_a_guest_and_no_other_is() {
    let shared = Shared::new(["10.0.0.1", "10.0.0.2"]).await;
    let is_guest = |name: u128| {
        let named = Named { instance: Some(Uuid::from_u128(name)), before: None };
        shared.rig.store.is_guest(shared.device, named)
    };
    assert!(!is_guest(A) && !is_guest(B));
    shared.choose(B).await;
    assert!(shared.may(12, Some(B), "10.0.0.2"));
    assert!(!is_guest(A) && is_guest(12));
}

#[tokio::test]
async fn a_replaced_key_is_written_down_once_an_hour_at_its_device() {
    let rig = Rig::new();
    let device = join(&rig, new("m", 1)).await;
    assert!(rig.store.admit(device, &proof(1, 10)));
    rig.store.offered(device, [2; 32]).await.unwrap();
    assert!(rig.store.admit(device, &proof(2, 10)));
    let address = "10.0.0.9".parse().unwrap();
    let refusals = async || {
        rig.noted().await;
        let all = rig.store.recent_audit(50).await.unwrap();
        all.into_iter().filter(|e| e.action == "device.key_refused").collect::<Vec<_>>()
    };
    for _ in 0..5 {
        assert!(!rig.store.admit(device, &proof(1, 10)));
        rig.store.refused(device, &proof(1, 10), address);
    }
    let told = refusals().await;
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].actor, device.to_string());
    assert!(told[0].detail.contains("10.0.0.9"), "{}", told[0].detail);
    rig.pass_ms(super::admission::SAY_AGAIN_MS);
    rig.store.refused(device, &proof(1, 10), address);
    rig.store.refused(DeviceId::generate(), &proof(1, 10), address);
    assert_eq!(refusals().await.len(), 2, "of strangers nothing");
}
