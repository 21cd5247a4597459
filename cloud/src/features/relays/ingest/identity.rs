//! Computers that share one device's identity.

use super::presence::time_of;
use crate::{
    db::TenantTx,
    features::{devices, relays::line},
    link::{ApplyError, RelayIdentity},
};
use std::collections::BTreeSet;
use unifyit_protocol::{ids::DeviceId, link::SharedIdentity};

/// Which computers use an identity, whenever that changed.
pub(crate) async fn shared(
    tx: &mut TenantTx,
    relay: &RelayIdentity,
    told: SharedIdentity,
    changed: &mut BTreeSet<DeviceId>,
) -> Result<(), ApplyError> {
    changed.insert(told.device);
    devices::identity::apply(tx, relay, told, line, time_of).await
}
