//! The link to the site relay: MQTT 3.1.1 over mutual TLS.
//!
//! [`session`] keeps one connection alive and decides when it is up, [`mqtt`]
//! wraps the client library, [`spool`] is what must arrive, [`live`] what only
//! matters while somebody looks. What comes down is handed to an [`Inbox`].

mod backoff;
pub mod live;
pub mod mqtt;
mod poller;
mod pump;
pub mod session;
pub mod spool;
#[cfg(test)]
mod testing;
mod vitals;

use unifyit_protocol::{
    command::Command, config::DeviceConfig, lan::Handed, live::LiveDown, signing::Signed,
};

/// Who takes what the relay sends. The calls must not block: they come from the
/// task that keeps the connection alive.
pub trait Inbox: Send + Sync + 'static {
    /// A command, not yet judged.
    fn command(&self, signed: Signed<Command>);
    /// Commands that were handed to this device before, ahead of their repetition.
    fn handed(&self, handed: Handed);
    /// Keystrokes and the like.
    fn live(&self, message: LiveDown);
    /// Settings that hold from now on.
    fn config(&self, config: DeviceConfig);
    /// The certificate is to be renewed.
    fn renew(&self);
    /// Another computer has the same identity: this one is to get its own.
    fn own_identity(&self);
    /// The relay's memory was lost: series and inventory must be told again.
    fn tell_all_again(&self);
    /// The whole inventory is wanted.
    fn tell_inventory(&self);
    /// The site's time, Unix milliseconds, in answer to a question that left at
    /// `asked_ms` of this computer's uptime.
    fn relay_time(&self, site_ms: u64, asked_ms: u64);
}
