//! Commands that a later version signed.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::{
    tests::{NOW, Remembered, world},
    *,
};
use serde::{Deserialize, Serialize};
use unifyit_protocol::{
    codec,
    signing::{Purpose, Signable, Signer25519},
};

#[derive(Serialize, Deserialize)]
enum LaterAction {
    Patch { packages: Vec<String> },
}

#[derive(Serialize, Deserialize)]
struct LaterCommand {
    id: CommandId,
    organization: OrganizationId,
    targets: Targets,
    action: LaterAction,
    not_before_ms: u64,
    expires_ms: u64,
    counter: u64,
}

impl Signable for LaterCommand {
    const PURPOSE: Purpose = Purpose::Command;
}

#[test]
fn what_only_a_later_version_knows_is_refused_by_its_name_and_only_when_it_is_genuine() {
    let (world, memory) = (world(), Remembered::default());
    let command = LaterCommand {
        id: CommandId::generate(),
        organization: world.guard.organization,
        targets: Targets::Devices(vec![world.guard.device]),
        action: LaterAction::Patch { packages: vec!["openssl".into()] },
        not_before_ms: NOW - 1,
        expires_ms: NOW + 1,
        counter: 1,
    };
    let judged = |signer: &Signer25519| {
        let signed = codec::encode(&signer.sign(&command, None).unwrap()).unwrap();
        world.judge(&codec::decode(&signed).unwrap(), &memory)
    };
    let Verdict::TooOld(genuine, reason) = judged(&world.authority) else { panic!() };
    assert_eq!(genuine.id, command.id, "whoever waits for it is told");
    assert!(reason.contains("\"Patch\""), "{reason}");
    let Verdict::Refused(forged) = judged(&world.stranger) else { panic!() };
    assert!(matches!(forged.reason, Reason::Unsigned(_)));
    // What became of it before is said first, whichever version did it.
    memory.seen.borrow_mut().insert(command.id, Seen { outcome: None });
    let known = Verdict::Known(command.id, Seen { outcome: None });
    assert_eq!(judged(&world.authority), known);
}
