//! Somebody who takes what the relay sends, for tests.

use super::Inbox;
use std::sync::atomic::{AtomicUsize, Ordering};
use unifyit_protocol::{
    command::Command, config::DeviceConfig, lan::Handed, live::LiveDown, signing::Signed,
};

/// Counts how often all is to be told again, and takes no notice of anything else.
#[derive(Default)]
pub(super) struct Counting(pub(super) AtomicUsize);

impl Inbox for Counting {
    fn command(&self, _: Signed<Command>) {}
    fn handed(&self, _: Handed) {}
    fn live(&self, _: LiveDown) {}
    fn config(&self, _: DeviceConfig) {}
    fn renew(&self) {}
    fn own_identity(&self) {}
    fn tell_all_again(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn tell_inventory(&self) {}
    fn relay_time(&self, _: u64, _: u64) {}
}
