//! What goes to the fan-out before its commit is known to hold, and under which names the
//! store keeps single values.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::{Effects, StoreError, Txn};
use crate::{fanout, inbox::NewCommand, store::tests::Rig};
use redb::{AccessGuard, ReadTransaction, ReadableTable as _, TableDefinition};
use std::collections::BTreeSet;
use unifyit_protocol::{
    compare::KnownCommand,
    config::SiteConfig,
    ids::{CommandId, DeviceId},
};

fn command() -> NewCommand {
    NewCommand {
        command: CommandId::generate(),
        payload: vec![1].into(),
        expires_ms: 1_000_000,
        devices: vec![DeviceId::generate()],
        handed: Vec::new(),
        unheard: Vec::new(),
    }
}

#[tokio::test]
async fn commands_alone_that_nobody_had_are_handed_on_ahead() {
    let (fanout, _inbox) = fanout::channel();
    let device = DeviceId::generate();
    let known = KnownCommand { command: CommandId::generate(), device, started: true };
    let had = NewCommand { handed: vec![device], ..command() };
    let waits = [
        Effects { revoked: vec![device], ..Effects::default() },
        Effects { separated: vec![device], ..Effects::default() },
        Effects { inventory: vec![device], ..Effects::default() },
        Effects { config: true, ..Effects::default() },
        Effects { answered: true, ..Effects::default() },
        Effects { had: vec![known], ..Effects::default() },
        Effects { commands: vec![had], ..Effects::default() },
    ];
    for mut effects in waits {
        effects.commands.push(command());
        let all = effects.commands.len();
        assert!(effects.hand_ahead(&fanout).is_empty(), "{effects:?}");
        assert_eq!(effects.commands.len(), all, "the commit hands them on");
    }
    let mut plain = Effects { commands: vec![command(), command()], ..Effects::default() };
    let ids: Vec<_> = plain.commands.iter().map(|c| c.command).collect();
    assert_eq!(plain.hand_ahead(&fanout), ids);
    assert!(plain.commands.is_empty(), "they are not handed on twice");
}

#[tokio::test]
async fn commands_that_find_no_room_wait_for_their_commit() {
    let (fanout, inbox) = fanout::channel();
    let mut effects = Effects { commands: vec![command()], ..Effects::default() };
    while !effects.hand_ahead(&fanout).is_empty() {
        effects.commands.push(command());
    }
    assert_eq!(effects.commands.len(), 1);
    drop(inbox);
}

/// The store keeps single values of several parts in one table: none may take another's
/// name, and an upgrade finds them under the names of before.
#[tokio::test]
async fn single_values_of_the_store_keep_their_names() {
    let rig = Rig::new();
    let settings = SiteConfig { revision: 4, ..SiteConfig::default() };
    let all = |txn: &mut Txn<'_>| {
        txn.take_site_config(settings)?;
        txn.set_down((3, 9))
    };
    rig.store.write(all).await.unwrap();
    let names = |tx: &ReadTransaction| {
        let meta = tx.open_table(TableDefinition::<&str, &[u8]>::new("meta")).unwrap();
        let name = |row: Result<(AccessGuard<'_, &str>, _), _>| row.unwrap().0.value().to_owned();
        Ok::<BTreeSet<String>, StoreError>(meta.iter().unwrap().map(name).collect())
    };
    let found = rig.store.read(names).await.unwrap();
    assert_eq!(found, ["down", "layout", "site", "written"].map(str::to_owned).into());
}
