//! One folder a domain; [`crate::app`] registers them. A feature reaches an
//! earlier one by a named function, never by its SQL.

pub mod api_keys;
pub mod audit;
pub mod devices;
pub mod inventory;
pub mod overview;
pub mod sites;
pub mod tenants;
pub mod users;

use crate::{
    db::{Db, TenantTx},
    events::Watches,
    link::{ApplyError, Records, RelayChange, RelayIdentity},
};
use futures::future::BoxFuture;
use std::sync::Arc;
use unifyit_protocol::link::{Ephemeral, UpRecord};

/// What relays' records mean to the features.
pub fn records(_db: &Db, _watches: &Watches) -> Arc<dyn Records> {
    Arc::new(Unheard)
}

struct Unheard;

impl Records for Unheard {
    fn apply<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _records: Vec<UpRecord>,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn relay_changed<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _change: RelayChange,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(std::future::ready(Ok(())))
    }
    fn live(&self, _relay: &RelayIdentity, _items: Vec<Ephemeral>) {}
}
