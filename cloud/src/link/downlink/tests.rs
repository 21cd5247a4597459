//! Which entries take the place of which.
#![allow(clippy::unwrap_used, reason = "tests")]

use super::about;
use std::collections::BTreeSet;
use unifyit_protocol::{
    compare::{KnownCommand, SiteKnown, TellAgain},
    ids::{CommandId, DeviceId},
    link::DownRecord,
};

fn had(commands: &[CommandId], devices: &[DeviceId]) -> DownRecord {
    let each = |command: &CommandId| {
        let (command, started) = (*command, false);
        devices.iter().map(move |device| KnownCommand { command, device: *device, started })
    };
    let had = commands.iter().flat_map(each).collect();
    DownRecord::Known(SiteKnown { had, ..SiteKnown::default() })
}

/// By what an entry is replaced.
fn place(record: &DownRecord) -> (&'static str, Option<uuid::Uuid>) {
    let about = about(record);
    (about.kind, about.key)
}

#[test]
fn batches_of_who_had_what_take_no_others_place() {
    let devices = [(); 4].map(|()| DeviceId::generate());
    let commands = [(); 6].map(|()| CommandId::generate());
    // Full batches of a site: each command with each device.
    let batches = [
        had(&commands[..2], &devices[..2]),
        had(&commands[2..4], &devices[..2]),
        had(&commands[4..], &devices),
        DownRecord::Known(SiteKnown { answered: true, ..SiteKnown::default() }),
    ];
    let places: BTreeSet<_> = batches.iter().map(place).collect();
    assert_eq!(places.len(), batches.len());
    let turned = had(&[commands[1], commands[0]], &[devices[1], devices[0]]);
    assert_eq!(place(&turned), place(&batches[0]), "the same ones do, in whatever order");
}

#[test]
fn a_question_takes_the_place_of_no_other_computers() {
    let [a, b] = [(); 2].map(|()| DeviceId::generate());
    let columns = |device| {
        let (series, tables) = (vec![device, device], vec![1, 2]);
        DownRecord::TellAgain(TellAgain { series, tables, ..TellAgain::default() })
    };
    assert_ne!(place(&columns(a)), place(&columns(b)), "they lack the same columns");
    let (inventory, series) = (vec![a, b], vec![a, b]);
    let whole = DownRecord::TellAgain(TellAgain { inventory, ..TellAgain::default() });
    let all = DownRecord::TellAgain(TellAgain { series, ..TellAgain::default() });
    assert_ne!(place(&whole), place(&all));
}
