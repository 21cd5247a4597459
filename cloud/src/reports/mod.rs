//! What relays report, and which feature makes what of it.
//!
//! [`Reporting`] is the features' end of the link. It checks that a relay speaks only of
//! devices of its own site, takes in one order the rows that the console's requests lock
//! too, and hands each kind of record to the feature that says that it takes it, a batch
//! at a time. What it hands on is still a device's word: features make texts fit to store
//! and to show ([`line`]), and times possible ([`time_of`]).
//!
//! What a relay says that it holds is no one feature's: it is taken here, and all that
//! have something to compare are asked ([`Part`]).

mod compare;
mod comparing;
mod own;
mod reporting;
mod rows;
mod text;

pub use compare::{Bring, Comparison, Part, Turn};
pub use reporting::Reporting;
pub use rows::Rows;
pub(crate) use text::{line, time_of};

use comparing::Comparing;

use crate::{
    db::{Db, TenantTx},
    events::Watches,
    link::{ApplyError, RelayChange, RelayIdentity},
};
use futures::future::{BoxFuture, ready};
use std::collections::BTreeSet;
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    enroll::EnrollRelay,
    ids::{DeviceId, SiteId},
    link::{Ephemeral, UpRecord},
    telemetry::newest::Load,
};

/// What a step of a batch comes to.
pub type Applied<'a> = BoxFuture<'a, Result<(), ApplyError>>;

/// What a batch changed that lists show, to be told once at its end.
#[derive(Debug, Default)]
pub struct Changed {
    /// Devices whose item of the list changed.
    pub devices: BTreeSet<DeviceId>,
    /// Devices connected or went.
    pub connections: bool,
    /// How the site or its relay fares.
    pub site: bool,
}

/// What a feature makes of what relays report.
pub trait Reports: Send + Sync {
    /// Whether a record is this feature's. Of each kind it is one feature's.
    fn takes(&self, record: &UpRecord) -> bool;

    /// Adds the rows above devices that it will change for a record.
    fn rows(&self, _record: &UpRecord, _rows: &mut Rows) {}

    /// Whether what came before a record in its lane must stand in the tables before it.
    fn stands_alone(&self, _record: &UpRecord) -> bool {
        false
    }

    /// Applies its records of a batch, in order, under the relay's site.
    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
        changed: &'a mut Changed,
    ) -> Applied<'a>;

    /// Takes the newest loads of devices.
    fn newest<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _loads: &'a [(DeviceId, Load)],
        _changed: &'a mut Changed,
    ) -> Applied<'a> {
        Box::pin(ready(Ok(())))
    }

    /// Tells whoever looks what a batch changed, at its end.
    fn tell<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _changed: &'a Changed,
    ) -> Applied<'a> {
        Box::pin(ready(Ok(())))
    }

    /// Takes what a relay says of itself when it joins its site.
    fn joins<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _says: &'a EnrollRelay,
    ) -> Applied<'a> {
        Box::pin(ready(Ok(())))
    }

    /// Follows a change of the relay itself.
    fn relay_changed<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _change: RelayChange,
    ) -> Applied<'a> {
        Box::pin(ready(Ok(())))
    }

    /// Passes on what matters only while somebody looks, or gives it back when it is
    /// another feature's. Must not wait.
    fn live(&self, _relay: &RelayIdentity, item: Ephemeral) -> Option<Ephemeral> {
        Some(item)
    }

    /// The database may be an older copy: what is remembered of a site may not be true.
    fn forget(&self, _site: SiteId) {}
}

/// Work that goes on beside the reports until it is asked to stop.
pub type Beside = Box<dyn FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send>;

/// A feature's end of the reports.
pub struct Reporter {
    pub(crate) takes: Box<dyn Reports>,
    beside: Option<Beside>,
}

impl std::fmt::Debug for Reporter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reporter").finish_non_exhaustive()
    }
}

impl Reporter {
    /// One that needs nothing beside it.
    #[must_use]
    pub fn new(takes: impl Reports + 'static) -> Self {
        Self { takes: Box::new(takes), beside: None }
    }

    /// With work beside it.
    #[must_use]
    pub fn beside(
        self,
        work: impl FnOnce(CancellationToken) -> BoxFuture<'static, ()> + Send + 'static,
    ) -> Self {
        Self { beside: Some(Box::new(work)), ..self }
    }
}

/// Makes a feature's end of the reports.
pub type Open = fn(&Db, &Watches) -> Reporter;

#[cfg(test)]
mod tests;
