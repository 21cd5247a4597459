//! Devices that are out.

use super::{Fanout, plan::Had};
use unifyit_protocol::ids::{CommandId, DeviceId};

/// Deliveries that end in one commit, or those of one device. Few in tests, so that they
/// meet the end.
const AT_ONCE: usize = if cfg!(test) { 1 } else { 2048 };

/// What is open for one of them.
struct Left {
    device: DeviceId,
    /// What it was sent and did not answer.
    sent: Vec<CommandId>,
    /// All of it.
    commands: Vec<CommandId>,
}

impl Fanout {
    /// Devices are out: nothing is handed to them, and they say nothing, any more. Many
    /// share a commit: whoever waits for a command waits for that.
    pub(super) async fn end(&mut self, devices: Vec<DeviceId>) {
        // What they were handed may run there; that it was is noted a moment later, or not
        // yet where the disk failed.
        devices.iter().for_each(|device| self.unnoted.forget(*device));
        let mut devices = devices.into_iter().peekable();
        while devices.peek().is_some() {
            let (mut some, mut open) = (Vec::new(), 0);
            while open < AT_ONCE
                && let Some(device) = devices.next()
            {
                let left = self.left(device);
                open += left.commands.len();
                some.push(left);
            }
            if !self.end_some(some).await {
                return;
            }
        }
    }

    /// Whether it could be noted.
    async fn end_some(&mut self, left: Vec<Left>) -> bool {
        let devices: Vec<DeviceId> = left.iter().map(|left| left.device).collect();
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
                return false;
            }
        }
        let finished = devices.iter().flat_map(|device| self.plan.revoked(*device)).collect();
        self.finish(finished).await;
        true
    }

    fn left(&self, device: DeviceId) -> Left {
        let unanswered = self.plan.open_for(device).into_iter().map(|(_, command)| command);
        let sent = unanswered
            .filter(|command| self.plan.had(device, *command) == Some(Had::Sent))
            .collect();
        Left { device, sent, commands: self.plan.held_for(device) }
    }
}
