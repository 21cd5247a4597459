//! A hundred thousand attempts to get past the guard, and what must pass.

#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use proptest::prelude::*;
use std::{cell::RefCell, collections::BTreeMap};
use unifyit_protocol::{
    codec,
    command::{Interpreter, Script},
    grant::Grant,
    ids::GrantId,
    outcome::Status,
    signing::Signer25519,
};

pub(super) const NOW: u64 = 1_800_000_000_000;
const HOUR: u64 = 3_600_000;

#[derive(Default)]
pub(super) struct Remembered {
    pub(super) seen: RefCell<BTreeMap<CommandId, Seen>>,
    floor: Floor,
    since: Option<u64>,
    unborn: bool,
    born: u64,
    handed: Option<CommandId>,
}

impl Memory for Remembered {
    fn seen(&self, id: CommandId) -> Result<Option<Seen>, StoreError> {
        Ok(self.seen.borrow().get(&id).cloned())
    }

    fn floor(&self) -> Result<Floor, StoreError> {
        Ok(self.floor)
    }

    fn is_counted_since(&self, counter: u64, _issued_ms: u64) -> bool {
        self.since.is_some_and(|since| counter > since)
    }

    fn born_ms(&self) -> Option<u64> {
        (!self.unborn).then_some(self.born)
    }

    fn was_handed(&self, id: CommandId, _issued_ms: u64) -> bool {
        self.handed == Some(id)
    }
}

pub(super) struct World {
    pub(super) guard: Guard,
    pub(super) authority: Signer25519,
    relay: Signer25519,
    pub(super) stranger: Signer25519,
}

pub(super) fn world() -> World {
    let authority = Signer25519::from_seed(&[1; 32]);
    World {
        guard: Guard {
            device: DeviceId::generate(),
            organization: OrganizationId::generate(),
            site: SiteId::generate(),
            authority: authority.public(),
        },
        authority,
        relay: Signer25519::from_seed(&[2; 32]),
        stranger: Signer25519::from_seed(&[3; 32]),
    }
}

impl World {
    fn command(&self) -> Command {
        Command {
            id: CommandId::generate(),
            organization: self.guard.organization,
            targets: Targets::Devices(vec![self.guard.device]),
            action: Action::Script(Script {
                interpreter: Interpreter::Sh,
                body: "true".into(),
                args: vec![],
                env: vec![],
                timeout_s: 0,
                output_limit: 0,
                user: None,
                folder: None,
            }),
            not_before_ms: NOW - HOUR,
            expires_ms: NOW + HOUR,
            counter: 1,
            issued_ms: NOW - HOUR,
        }
    }

    fn grant(&self) -> Grant {
        Grant {
            id: GrantId::generate(),
            organization: self.guard.organization,
            relay_key: self.relay.public(),
            site: self.guard.site,
            scopes: vec![Scope::Execute],
            not_before_ms: NOW - HOUR,
            expires_ms: NOW + HOUR,
        }
    }

    pub(super) fn judge(&self, signed: &Signed<Command>, memory: &Remembered) -> Verdict {
        self.guard.judge(signed, NOW, memory, false).unwrap()
    }
}

#[test]
fn what_the_authority_signed_passes_once_and_is_known_afterwards() {
    let (world, memory) = (world(), Remembered::default());
    let command = world.command();
    let signed = world.authority.sign(&command, None).unwrap();
    assert_eq!(world.judge(&signed, &memory), Verdict::Pass(Box::new(command.clone())));
    memory.seen.borrow_mut().insert(command.id, Seen { outcome: None });
    assert_eq!(world.judge(&signed, &memory), Verdict::Known(command.id, Seen { outcome: None }));
}

#[test]
fn what_a_granted_relay_signed_passes_within_its_scope_only() {
    let (world, memory) = (world(), Remembered::default());
    let grant = world.authority.sign(&world.grant(), None).unwrap();
    let signed = world.relay.sign(&world.command(), Some(grant.clone())).unwrap();
    assert!(matches!(world.judge(&signed, &memory), Verdict::Pass(_)));
    let terminal = Action::Terminal(unifyit_protocol::command::Terminal {
        tunnel: TunnelId::generate(),
        cols: 80,
        rows: 24,
        user: None,
    });
    let command = Command { action: terminal, ..world.command() };
    let signed = world.relay.sign(&command, Some(grant)).unwrap();
    let Verdict::Refused(refusal) = world.judge(&signed, &memory) else { panic!("it passed") };
    assert!(refusal.tunnel.is_some(), "the viewer must be told");
}

#[test]
fn a_command_for_later_is_held_and_one_too_late_has_expired() {
    let (world, memory) = (world(), Remembered::default());
    let later = Command { not_before_ms: NOW + 5, ..world.command() };
    let signed = world.authority.sign(&later, None).unwrap();
    assert_eq!(world.judge(&signed, &memory), Verdict::Hold(Box::new(later), NOW + 5));
    let late = Command { expires_ms: NOW, ..world.command() };
    let signed = world.authority.sign(&late, None).unwrap();
    assert_eq!(world.judge(&signed, &memory), Verdict::Expired(Box::new(late)));
}

#[test]
fn a_finished_command_is_answered_with_its_outcome_even_after_its_expiry() {
    let (world, memory) = (world(), Remembered::default());
    let command = Command { expires_ms: NOW - 1, ..world.command() };
    let outcome = CommandEvent {
        command: command.id,
        status: Status::Succeeded,
        at_ms: NOW - 2,
        exit_code: Some(0),
        reason: None,
        output_len: 0,
        output_cut: 0,
    };
    let seen = Seen { outcome: Some(outcome) };
    memory.seen.borrow_mut().insert(command.id, seen.clone());
    let signed = world.authority.sign(&command, None).unwrap();
    assert_eq!(world.judge(&signed, &memory), Verdict::Known(command.id, seen));
}

#[test]
fn a_forgotten_command_cannot_return_when_the_clock_goes_back() {
    let world = world();
    let floor = Floor { expiry_ms: NOW + HOUR, counter: 7 };
    let memory = Remembered { floor, ..Remembered::default() };
    let signed = world.authority.sign(&Command { counter: 7, ..world.command() }, None).unwrap();
    let verdict = world.judge(&signed, &memory);
    assert!(matches!(verdict, Verdict::Forgotten(_, Forgotten::Old)), "{verdict:?}");
}

#[test]
fn what_the_authority_counts_later_passes_a_memory_that_was_years_ahead() {
    let world = world();
    let command = Command { counter: 8, ..world.command() };
    let own = world.authority.sign(&command, None).unwrap();
    let floor = Floor { expiry_ms: NOW + 90_000 * HOUR, counter: 7 };
    let memory = Remembered { floor, ..Remembered::default() };
    assert_eq!(world.judge(&own, &memory), Verdict::Pass(Box::new(command.clone())));
    let memory = Remembered { born: NOW + 90_000 * HOUR, since: Some(7), ..Remembered::default() };
    assert_eq!(world.judge(&own, &memory), Verdict::Pass(Box::new(command.clone())));
    let memory = Remembered { since: Some(8), ..memory };
    let verdict = world.judge(&own, &memory);
    assert!(matches!(verdict, Verdict::Forgotten(_, Forgotten::Unremembered)), "{verdict:?}");
}

#[test]
fn what_was_signed_before_the_memory_began_is_not_run() {
    let world = world();
    let command = world.command();
    let forgets = |memory: &Remembered, command: &Command| {
        let verdict = world.judge(&world.authority.sign(command, None).unwrap(), memory);
        matches!(verdict, Verdict::Forgotten(_, Forgotten::Unremembered))
    };
    let memory = Remembered { born: command.issued_ms, ..Remembered::default() };
    assert!(forgets(&memory, &command));
    assert!(forgets(&memory, &Command { expires_ms: NOW - 1, ..command.clone() }), "not expired");
    let later = Command { issued_ms: command.issued_ms + 1, ..command.clone() };
    assert!(!forgets(&memory, &later));
    let always = Remembered::default();
    assert!(!forgets(&always, &command), "a memory that was always there lacks nothing");
    // A signer of an earlier version tells nothing but its id, which has a date.
    let undated = Command { issued_ms: 0, id: CommandId::generate(), ..command };
    let made = undated.issued();
    assert!(made > 0);
    assert!(forgets(&Remembered { born: made, ..Remembered::default() }, &undated));
    assert!(!forgets(&Remembered { born: made - 1, ..Remembered::default() }, &undated));
}

#[test]
fn what_was_handed_over_before_and_is_not_remembered_is_not_run() {
    let (world, command) = (world(), world().command());
    let command = Command {
        organization: world.guard.organization,
        targets: Targets::Site(world.guard.site),
        ..command
    };
    let memory = Remembered { handed: Some(command.id), ..Remembered::default() };
    let signed = world.authority.sign(&command, None).unwrap();
    let verdict = world.judge(&signed, &memory);
    assert!(matches!(verdict, Verdict::Forgotten(_, Forgotten::Handed)), "{verdict:?}");
    let kept = world.guard.judge(&signed, NOW, &memory, true).unwrap();
    assert_eq!(kept, Verdict::Pass(Box::new(command.clone())), "it has been here since");
    let seen = Seen { outcome: None };
    memory.seen.borrow_mut().insert(command.id, seen.clone());
    assert_eq!(world.judge(&signed, &memory), Verdict::Known(command.id, seen));
}

#[test]
fn nothing_passes_while_the_memory_does_not_know_its_age() {
    let (world, memory) = (world(), Remembered { unborn: true, ..Remembered::default() });
    let signed = world.authority.sign(&world.command(), None).unwrap();
    assert!(matches!(world.judge(&signed, &memory), Verdict::NotYet(_)));
}

/// One attack of each kind, by number; each differs from the ones before it.
fn attack(world: &World, memory: &Remembered, n: usize) -> Signed<Command> {
    let mut command = world.command();
    let round = n as u64 / 16;
    match n % 16 {
        0 => command.organization = OrganizationId::generate(),
        1 => command.targets = Targets::Devices(vec![DeviceId::generate()]),
        2 => command.targets = Targets::Site(SiteId::generate()),
        3 => command.targets = Targets::Devices(vec![]),
        4 => command.expires_ms = NOW - round,
        5 => command.expires_ms = NOW + MAX_VALIDITY_MS + 1 + round,
        6 => return world.stranger.sign(&command, None).unwrap(),
        7 => {
            // A grant for another relay's key.
            let grant = world.authority.sign(&world.grant(), None).unwrap();
            return world.stranger.sign(&command, Some(grant)).unwrap();
        }
        8 => {
            // A grant that the relay gave itself.
            let grant = world.relay.sign(&world.grant(), None).unwrap();
            return world.relay.sign(&command, Some(grant)).unwrap();
        }
        9 => {
            let grant = Grant { expires_ms: NOW - round, ..world.grant() };
            let grant = world.authority.sign(&grant, None).unwrap();
            return world.relay.sign(&command, Some(grant)).unwrap();
        }
        10 => {
            let grant = Grant { site: SiteId::generate(), ..world.grant() };
            let grant = world.authority.sign(&grant, None).unwrap();
            return world.relay.sign(&command, Some(grant)).unwrap();
        }
        11 => {
            let grant = Grant { scopes: vec![Scope::Terminal, Scope::Unknown], ..world.grant() };
            let grant = world.authority.sign(&grant, None).unwrap();
            return world.relay.sign(&command, Some(grant)).unwrap();
        }
        12 => {
            // A replay of something that ran.
            memory.seen.borrow_mut().insert(command.id, Seen { outcome: None });
        }
        13 => {
            // A genuine signature under other bytes.
            let mut signed = world.authority.sign(&command, None).unwrap();
            command.counter += 1 + round;
            signed.payload = codec::encode(&command).unwrap();
            return signed;
        }
        14 => {
            let mut signed = world.authority.sign(&command, None).unwrap();
            signed.signatures.clear();
            return signed;
        }
        _ => {
            // One flipped bit, anywhere in the bytes or the signature.
            let mut signed = world.authority.sign(&command, None).unwrap();
            let bits = signed.payload.len() * 8;
            let bit = (n * 7919) % (bits + 512);
            if bit < bits {
                signed.payload[bit / 8] ^= 1 << (bit % 8);
            } else {
                signed.signatures[0].signature[(bit - bits) / 8] ^= 1 << (bit % 8);
            }
            return signed;
        }
    }
    world.authority.sign(&command, None).unwrap()
}

#[test]
fn of_a_hundred_thousand_illegitimate_commands_none_passes() {
    let (world, memory) = (world(), Remembered::default());
    for n in 0..100_000 {
        let signed = attack(&world, &memory, n);
        let verdict = world.judge(&signed, &memory);
        assert!(
            !matches!(verdict, Verdict::Pass(_) | Verdict::Hold(..)),
            "attack {n} of kind {} passed: {verdict:?}",
            n % 16
        );
        memory.seen.borrow_mut().clear();
    }
}

proptest! {
    #[test]
    fn changed_bytes_never_pass(
        at in any::<prop::sample::Index>(),
        flip in 1u8..,
        truncate in any::<bool>(),
    ) {
        let (world, memory) = (world(), Remembered::default());
        let mut signed = world.authority.sign(&world.command(), None).unwrap();
        let at = at.index(signed.payload.len());
        if truncate {
            signed.payload.truncate(at);
        } else {
            signed.payload[at] ^= flip;
        }
        prop_assert!(matches!(world.judge(&signed, &memory), Verdict::Refused(_)));
    }

    #[test]
    fn arbitrary_bytes_never_pass_and_never_panic(payload in prop::collection::vec(any::<u8>(), 0..300)) {
        let (world, memory) = (world(), Remembered::default());
        let mut signed = world.authority.sign(&world.command(), None).unwrap();
        signed.payload = payload;
        prop_assert!(matches!(world.judge(&signed, &memory), Verdict::Refused(_)));
    }
}

#[test]
fn malformed_scripts_are_refused_before_they_reach_the_system() {
    let (world, memory) = (world(), Remembered::default());
    let spoil: [fn(&mut Script); 5] = [
        |s| s.body = "x".repeat(MAX_SCRIPT + 1),
        |s| s.args = vec!["a\0b".into()],
        |s| s.env = vec![("A=B".into(), "c".into())],
        |s| s.args = vec!["x".repeat(MAX_ARGUMENTS)],
        |s| s.user = Some("root\0".into()),
    ];
    for (n, spoil) in spoil.into_iter().enumerate() {
        let mut command = world.command();
        if let Action::Script(script) = &mut command.action {
            spoil(script);
        }
        let signed = world.authority.sign(&command, None).unwrap();
        let verdict = world.judge(&signed, &memory);
        let invalid =
            matches!(&verdict, Verdict::Refused(Refusal { reason: Reason::Invalid(_), .. }));
        assert!(invalid, "{n}: {verdict:?}");
    }
}
