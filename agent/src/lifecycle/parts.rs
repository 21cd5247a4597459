//! Hands what the relay sends to the part that is responsible. None of the calls
//! blocks: they come from the task that keeps the connection alive.

use crate::{
    clock,
    execute::{Order, Terminals},
    feature::Asks,
    link::Inbox,
    store::Store,
};
use std::sync::{Arc, atomic::Ordering};
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
    pub(super) asks: Arc<Asks>,
}

impl Inbox for Router {
    fn command(&self, signed: Signed<Command>) {
        self.terminals.expect(&signed);
        let id = signed.peek().ok().map(|claim| claim.id);
        if let Some(id) = id {
            self.store.birth().came(id);
        }
        let order = Order::Deliver(Box::new(signed));
        if let Err(TrySendError::Full(order) | TrySendError::Closed(order)) =
            self.orders.try_send(order)
        {
            if let Order::Deliver(signed) = order {
                self.terminals.give_up(&signed);
            }
            if let Some(id) = id {
                self.store.birth().judged(id);
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
        self.asks.all_again();
    }

    fn tell_inventory(&self) {
        self.asks.whole_inventory.store(true, Ordering::Release);
        self.asks.inventory.notify_one();
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use crate::{
        execute::{Context, RunningSet},
        guard::Memory,
        link::{
            live::LiveQueue,
            spool::{Quotas, Spool},
        },
        platform::Keepers,
    };
    use tokio_util::sync::CancellationToken;
    use unifyit_protocol::{
        command::{Action, Targets},
        ids::{CommandId, OrganizationId, SiteId},
        signing::Signer25519,
    };

    fn command() -> (CommandId, Signed<Command>) {
        let (id, site) = (CommandId::generate(), SiteId::generate());
        let command = Command {
            id,
            organization: OrganizationId::generate(),
            targets: Targets::Site(site),
            action: Action::Cancel { command: CommandId::generate() },
            not_before_ms: 0,
            expires_ms: 1,
            counter: 1,
            issued_ms: 1,
        };
        (id, Signer25519::from_seed(&[1; 32]).sign(&command, None).unwrap())
    }

    #[test]
    fn what_was_named_as_handed_counts_for_what_waits_when_the_connection_ends() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), Quotas::share(1 << 20), 1).unwrap();
        let context = Context {
            store: store.clone(),
            live: Arc::new(LiveQueue::default()),
            work: dir.path().join("work"),
            keepers: Arc::new(Keepers::of("/bin/false".into())),
            stop: CancellationToken::new(),
            running: Arc::new(RunningSet::default()),
        };
        // There is room for one.
        let (orders, mut inbox) = mpsc::channel(1);
        let router = Router {
            orders,
            terminals: Terminals::new(context, 1),
            store: store.clone(),
            config: watch::channel(DeviceConfig::default()).0,
            renew: Notify::new(),
            own_identity: Notify::new(),
            asks: Arc::default(),
        };
        let ((waits, first), (other, second)) = (command(), command());
        router.handed(Handed { started: vec![waits, other], ..Handed::default() });
        router.command(first);
        router.command(second);
        Spool::new(store.clone()).welcome(&[]).unwrap();
        assert!(inbox.try_recv().is_ok());
        assert!(store.was_handed(waits, 0));
        assert!(!store.was_handed(other, 0), "the relay names it again when it delivers it");
    }
}
