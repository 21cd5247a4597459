//! Hands what the relay sends to the part that is responsible. None of the calls
//! blocks: they come from the task that keeps the connection alive.

use crate::{
    clock,
    execute::{Order, Terminals},
    link::Inbox,
    store::Store,
};
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::{
    Notify,
    mpsc::{self, error::TrySendError},
    watch,
};
use unifyit_protocol::{
    clock::sentence, command::Command, config::DeviceConfig, lan::Handed, live::LiveDown,
    signing::Signed,
};

pub(super) struct Router {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) terminals: Terminals,
    pub(super) store: Store,
    pub(super) config: watch::Sender<DeviceConfig>,
    pub(super) renew: Notify,
    pub(super) own_identity: Notify,
    pub(super) tell_table: Notify,
    pub(super) tell_inventory: Notify,
    /// The next inventory is to be whole; should it not come to that, the relay asks
    /// again.
    pub(super) whole_inventory: AtomicBool,
}

impl Inbox for Router {
    fn command(&self, signed: Signed<Command>) {
        self.terminals.expect(&signed);
        let order = Order::Deliver(Box::new(signed));
        if let Err(TrySendError::Full(order) | TrySendError::Closed(order)) =
            self.orders.try_send(order)
        {
            if let Order::Deliver(signed) = order {
                self.terminals.give_up(&signed);
            }
            tracing::warn!("too many commands at once; the relay delivers this one again");
        }
    }

    fn handed(&self, handed: Handed) {
        self.store.handed(handed);
    }

    fn live(&self, message: LiveDown) {
        self.terminals.take(message);
    }

    fn config(&self, config: DeviceConfig) {
        let bounded = DeviceConfig {
            collect_every_s: config.collect_every_s.clamp(1, 3600),
            inventory_every_s: config.inventory_every_s.clamp(60, 86_400),
            ..config
        };
        self.config.send_if_modified(|present| {
            let changed = *present != bounded;
            *present = bounded;
            changed
        });
    }

    fn renew(&self) {
        self.renew.notify_one();
    }

    fn own_identity(&self) {
        self.own_identity.notify_one();
    }

    fn tell_all_again(&self) {
        self.tell_table.notify_one();
        self.tell_inventory.notify_one();
    }

    fn tell_inventory(&self) {
        self.whole_inventory.store(true, Ordering::Release);
        self.tell_inventory.notify_one();
    }

    fn relay_time(&self, site_ms: u64, asked_ms: u64) {
        let moved = clock::learn(site_ms, asked_ms);
        if moved
            && let Some(ahead_ms) = clock::ahead_ms()
            && let Some(sentence) = sentence("This computer's", ahead_ms)
        {
            tracing::warn!("{sentence} The agent goes by the site's time. Set the clock.");
        }
    }
}
