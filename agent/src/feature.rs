//! What the agent does by itself, beside what the relay asks of it.
//!
//! Each part that does so describes itself in one [`Feature`]; [`crate::features`] is the
//! table of contents, by which the daemon's life runs them all. What a feature has to
//! say in words that only it knows goes as a
//! [`FeatureReport`](unifyit_protocol::feature::FeatureReport).

use crate::{
    clock::now_ms,
    config::Settings,
    link::{live::LiveQueue, spool},
    store::{Store, StoreError},
};
use std::{
    pin::Pin,
    sync::{Arc, atomic::AtomicBool},
};
use tokio::sync::{Notify, watch};
use unifyit_protocol::{config::DeviceConfig, feature::FeatureReport, lane::Lane, report::Report};

/// Work that goes on until the daemon drains.
pub type Run = fn(Work) -> Pin<Box<dyn Future<Output = ()> + Send>>;

/// A part of the agent that does something by itself.
#[derive(Debug)]
pub struct Feature {
    /// In the journal.
    pub name: &'static str,
    /// Does it. It ends only when the daemon does.
    pub run: Run,
}

/// What a feature has at hand.
#[derive(Debug, Clone)]
pub struct Work {
    /// How the agent is set up on this computer.
    pub settings: Settings,
    /// What is kept over restarts, and the spool in it.
    pub store: Store,
    /// What the cloud wishes, as it changes.
    pub config: watch::Receiver<DeviceConfig>,
    /// Whether the relay is there.
    pub live: Arc<LiveQueue>,
    /// What the relay asks for.
    pub asks: Arc<Asks>,
}

impl Work {
    /// Tells the cloud something in the feature's own words: durable when it returns.
    /// State says how something is, where the last word holds; everything else is
    /// urgent.
    ///
    /// # Errors
    /// [`StoreError`] when the disk fails.
    pub async fn tell(&self, lane: Lane, feature: &str, body: Vec<u8>) -> Result<(), StoreError> {
        let at_ms = now_ms();
        let report = FeatureReport { feature: feature.to_owned(), at_ms, body };
        report.check()?;
        let report = Report::Feature(report);
        self.store.write(move |txn| spool::append(txn, lane, at_ms, &report)).await
    }
}

/// What the relay asks for.
#[derive(Debug, Default)]
pub struct Asks {
    /// How often it wanted to be told everything again: it knows less than it did.
    again: watch::Sender<u64>,
    /// The inventory is to be looked at now.
    pub inventory: Notify,
    /// The next inventory is to be whole; should it not come to that, the relay asks
    /// again.
    pub whole_inventory: AtomicBool,
}

impl Asks {
    /// The relay wants to be told everything again.
    pub fn all_again(&self) {
        self.again.send_modify(|times| *times += 1);
    }

    /// Changes whenever it wants that.
    pub fn again(&self) -> watch::Receiver<u64> {
        let mut again = self.again.subscribe();
        if *again.borrow() > 0 {
            // Whoever begins to listen later is asked too.
            again.mark_changed();
        }
        again
    }
}
