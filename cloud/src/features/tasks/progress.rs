//! What a batch of events comes to on each device, without I/O.

use super::rules::rank;
use std::collections::BTreeMap;
use unifyit_protocol::{
    ids::{CommandId, DeviceId},
    link::Progress,
    outcome::{CommandEvent, Status},
};

/// The furthest state of a command on a device, with what is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) last: CommandEvent,
    pub(super) started_ms: Option<u64>,
}

/// Folds events into one step a command and device: the furthest state wins, of
/// two finals the first. An expiry is a relay's guess where the device says more,
/// before it or after.
pub(super) fn fold(list: Vec<Progress>) -> BTreeMap<(CommandId, DeviceId), Step> {
    let mut steps: BTreeMap<(CommandId, DeviceId), Step> = BTreeMap::new();
    for Progress { device, event } in list {
        let started = (event.status == Status::Running).then_some(event.at_ms);
        match steps.entry((event.command, device)) {
            std::collections::btree_map::Entry::Vacant(entry) => {
                entry.insert(Step { last: event, started_ms: started });
            }
            std::collections::btree_map::Entry::Occupied(mut entry) => {
                let step = entry.get_mut();
                step.started_ms = step.started_ms.or(started);
                let guessed = step.last.status == Status::Expired && rank(event.status) > 1;
                let guesses =
                    step.last.status == Status::Running && event.status == Status::Expired;
                if guessed || (!guesses && rank(event.status) > rank(step.last.status)) {
                    step.last = event;
                }
            }
        }
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(command: CommandId, status: Status, at_ms: u64) -> CommandEvent {
        CommandEvent {
            command,
            status,
            at_ms,
            exit_code: None,
            reason: None,
            output_len: 0,
            output_cut: 0,
        }
    }

    #[test]
    fn the_furthest_state_wins_and_the_first_final_stays() {
        let (command, device) = (CommandId::generate(), DeviceId::generate());
        let list =
            [(Status::Running, 5), (Status::Sent, 1), (Status::Failed, 9), (Status::Succeeded, 10)];
        let list = list.map(|(status, at)| Progress { device, event: event(command, status, at) });
        let steps = fold(list.to_vec());
        let step = &steps[&(command, device)];
        assert_eq!((step.last.status, step.last.at_ms), (Status::Failed, 9));
        assert_eq!(step.started_ms, Some(5));
        let list =
            [(Status::Sent, 1), (Status::Expired, 9), (Status::Running, 3), (Status::Succeeded, 5)];
        let list = list.map(|(status, at)| Progress { device, event: event(command, status, at) });
        let step = &fold(list.to_vec())[&(command, device)];
        assert_eq!(step.last.status, Status::Succeeded, "the outcome corrects the expiry");
        let list = [(Status::Running, 3), (Status::Expired, 9)];
        let list = list.map(|(status, at)| Progress { device, event: event(command, status, at) });
        let step = &fold(list.to_vec())[&(command, device)];
        assert_eq!(step.last.status, Status::Running, "the relay forgot that it had handed it on");
    }
}
