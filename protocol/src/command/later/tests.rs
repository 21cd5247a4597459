//! Commands that a later version signed.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::*;
use crate::{
    codec,
    command::{Command, Interpreter},
    ids::{OrganizationId, TunnelId},
};
use serde::Serialize;

#[derive(Serialize)]
enum LaterAction {
    Patch { packages: Vec<String>, at: u64 },
    Script(LaterScript),
}

#[derive(Serialize)]
struct LaterScript {
    interpreter: &'static str,
    body: &'static str,
}

#[derive(Serialize)]
enum LaterTargets {
    Group { tag: String },
    Site(SiteId),
}

#[derive(Serialize)]
struct LaterCommand {
    id: CommandId,
    organization: OrganizationId,
    targets: LaterTargets,
    action: LaterAction,
    not_before_ms: u64,
    expires_ms: u64,
    counter: u64,
}

fn read(targets: LaterTargets, action: LaterAction) -> (CommandId, Command) {
    let id = CommandId::generate();
    let organization = OrganizationId::generate();
    let (not_before_ms, expires_ms, counter) = (1, 2, 3);
    let later =
        LaterCommand { id, organization, targets, action, not_before_ms, expires_ms, counter };
    (id, codec::decode(&codec::encode(&later).unwrap()).unwrap())
}

#[test]
fn who_and_until_when_is_read_of_an_action_that_is_not_known() {
    let site = SiteId::generate();
    let patch = LaterAction::Patch { packages: vec!["openssl".into()], at: 7 };
    let (id, command) = read(LaterTargets::Site(site), patch);
    assert_eq!((command.id, command.expires_ms, command.counter), (id, 2, 3));
    assert_eq!(command.targets, Targets::Site(site));
    assert_eq!(command.action, Action::Later("Patch".into()));
    assert_eq!(command.needs_later_version(), Some("Patch"));
}

#[test]
fn a_later_kind_of_targets_means_nobody_here() {
    let script = LaterAction::Script(LaterScript { interpreter: "sh", body: "exit" });
    let (_, command) = read(LaterTargets::Group { tag: "servers".into() }, script);
    assert!(!command.targets.include(DeviceId::generate(), SiteId::generate()));
    assert_eq!(command.needs_later_version(), Some("Group"));
}

#[test]
fn a_script_for_a_later_interpreter_is_read_as_such() {
    let script = LaterAction::Script(LaterScript { interpreter: "cmd", body: "exit" });
    let (_, command) = read(LaterTargets::Site(SiteId::generate()), script);
    let Action::Script(script) = &command.action else { panic!("{command:?}") };
    assert_eq!(script.interpreter, Interpreter::Later);
    assert_eq!(command.needs_later_version(), Some("interpreter"));
}

#[test]
fn what_is_known_is_read_as_it_was_written_and_nothing_malformed_passes_for_later() {
    let (command, tunnel) = (CommandId::generate(), TunnelId::generate());
    for action in [
        Action::Cancel { command },
        Action::Terminal(Terminal { tunnel, cols: 80, rows: 24, user: None }),
    ] {
        assert_eq!(codec::decode::<Action>(&codec::encode(&action).unwrap()).unwrap(), action);
    }
    #[derive(Serialize)]
    enum Wrong {
        Cancel { task: u64 },
    }
    let wrong = codec::encode(&Wrong::Cancel { task: 1 }).unwrap();
    assert!(codec::decode::<Action>(&wrong).is_err());
}

#[test]
fn of_a_name_only_what_can_be_shown_is_kept() {
    assert_eq!(known_as("Pa\u{7}t ch_<b>2"), "Patch_b2");
    assert_eq!(known_as(&"x".repeat(500)).len(), MAX_NAME);
}
