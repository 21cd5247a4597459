//! Devices that are out.

use super::{Fanout, plan::Had};
use unifyit_protocol::ids::{CommandId, DeviceId};

/// What is open for one of them.
struct Left {
    device: DeviceId,
    /// What it was sent and did not answer.
    sent: Vec<CommandId>,
    /// All of it.
    commands: Vec<CommandId>,
}

impl Fanout {
    /// Devices are out: nothing is handed to them, and they say nothing, any more. One
    /// commit for all of them: whoever waits for a command waits for that.
    pub(super) async fn end(&mut self, devices: Vec<DeviceId>) {
        // What they were handed may run there; that it was is noted a moment later, or not
        // yet where the disk failed.
        devices.iter().for_each(|device| self.unnoted.forget(*device));
        let left: Vec<Left> = devices.iter().map(|device| self.left(*device)).collect();
        if left.iter().any(|left| !left.commands.is_empty()) {
            let ended = self.store.write(move |txn| {
                for Left { device, sent, commands } in &left {
                    sent.iter().try_for_each(|command| txn.mark_sent(*command, &[*device]))?;
                    txn.end_revoked(*device, commands)?;
                }
                Ok(())
            });
            if let Err(error) = ended.await {
                // What the plan knows is needed when the inbox is read again.
                tracing::warn!(devices = devices.len(), %error, "that devices are out could not be noted");
                return;
            }
        }
        let finished = devices.iter().flat_map(|device| self.plan.revoked(*device)).collect();
        self.finish(finished).await;
    }

    fn left(&self, device: DeviceId) -> Left {
        let unanswered = self.plan.open_for(device).into_iter().map(|(_, command)| command);
        let sent = unanswered
            .filter(|command| self.plan.had(device, *command) == Some(Had::Sent))
            .collect();
        Left { device, sent, commands: self.plan.held_for(device) }
    }
}
