//! From a request to signed commands in the relays' downlinks: devices are cut into
//! [`Share`]s, each share becomes an [`Order`] when it is signed, orders are kept with
//! their task ([`store`]) and then sent.

use super::{
    action::ActionInput,
    store::{self, Reach, SigningKey, Target},
};
use crate::{
    context::AppState,
    db::{Place, TenantTx},
    http::Problem,
    link::downlink::{self, AppendError},
};
use std::collections::BTreeMap;
use unifyit_protocol::{
    codec,
    command::{Action, Command, MAX_NAMED_TARGETS, MAX_VALIDITY_MS, Targets},
    ids::{CommandId, DeviceId, OrganizationId, SiteId},
    link::{DeliverCommand, DownRecord},
};

/// Clocks of devices may be behind or ahead by this much, in milliseconds.
const CLOCK_SLACK_MS: u64 = 10 * 60 * 1000;

/// Devices of one site that one command is for, and what it is to do.
pub(super) struct Share {
    pub(super) at: Reach,
    pub(super) targets: Targets,
    pub(super) devices: Vec<DeviceId>,
    pub(super) action: Action,
}

impl Share {
    /// As many as it takes to name some devices of a site.
    pub(super) fn naming<'a>(
        at: Reach,
        devices: &'a [DeviceId],
        action: &'a Action,
    ) -> impl Iterator<Item = Self> + 'a {
        devices.chunks(MAX_NAMED_TARGETS).map(move |devices| Self {
            at,
            targets: Targets::Devices(devices.to_vec()),
            devices: devices.to_vec(),
            action: action.clone(),
        })
    }
}

/// Cuts targets into shares: one a site when the whole site is meant, else as many as it
/// takes to name the devices.
pub(super) fn shares(
    targets: &[Target],
    action: &Action,
    whole: impl Fn(SiteId, usize) -> bool,
) -> Vec<Share> {
    let mut sites: BTreeMap<SiteId, (Reach, Vec<DeviceId>)> = BTreeMap::new();
    for target in targets {
        let (_, devices) = sites.entry(target.at.site()).or_insert_with(|| (target.at, Vec::new()));
        devices.push(target.device());
    }
    let mut shares = Vec::new();
    for (site, (at, devices)) in sites {
        if whole(site, devices.len()) {
            shares.push(Share {
                at,
                targets: Targets::Site(site),
                devices,
                action: action.clone(),
            });
        } else {
            shares.extend(Share::naming(at, &devices, action));
        }
    }
    shares
}

/// A signed command on its way to a site.
pub(super) struct Order {
    at: Reach,
    kind: &'static str,
    deliver: DeliverCommand,
    /// The signed command, as it is kept.
    bytes: Vec<u8>,
}

impl Order {
    pub(super) fn command(&self) -> CommandId {
        self.deliver.command
    }
    pub(super) fn devices(&self) -> &[DeviceId] {
        &self.deliver.devices
    }
    pub(super) fn place(&self) -> Place {
        self.at.place()
    }
    pub(super) fn site(&self) -> SiteId {
        self.at.site()
    }
    /// The table's word for what it does.
    pub(super) fn kind(&self) -> &'static str {
        self.kind
    }
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
    pub(super) fn expires_ms(&self) -> u64 {
        self.deliver.expires_ms
    }
}

/// Signs one command a share with the organizations' authorities, with those counters
/// first that were taken already.
pub(super) async fn sign(
    state: &AppState,
    tx: &mut TenantTx,
    mut keys: BTreeMap<OrganizationId, SigningKey>,
    kind: &'static str,
    shares: Vec<Share>,
    expires_ms: u64,
) -> Result<Vec<Order>, Problem> {
    let now_ms = state.clock.now_ms();
    // A device whose clock is behind must not find the expiry too far away.
    let expires_ms = expires_ms.min(now_ms + MAX_VALIDITY_MS - CLOCK_SLACK_MS);
    let mut wanted: BTreeMap<OrganizationId, i64> = BTreeMap::new();
    for share in &shares {
        *wanted.entry(share.at.organization()).or_default() += 1;
    }
    for (organization, count) in wanted {
        if keys.contains_key(&organization) {
            continue;
        }
        keys.insert(organization, store::signing_key(tx, organization, count).await?);
    }
    let mut orders = Vec::with_capacity(shares.len());
    for Share { at, targets, devices, action } in shares {
        let Some(key) = keys.get_mut(&at.organization()) else { continue };
        let command = Command {
            id: CommandId::generate(),
            organization: at.organization(),
            targets,
            action,
            not_before_ms: now_ms.saturating_sub(CLOCK_SLACK_MS),
            expires_ms,
            counter: key.next_counter(),
            issued_ms: now_ms,
        };
        let signed = state.trust.sign_command(&key.sealed, &command)?;
        let bytes = codec::encode(&signed).map_err(|_| Problem::internal())?;
        let deliver = DeliverCommand {
            command: command.id,
            devices,
            expires_ms,
            signed,
            handed: Vec::new(),
            unheard: Vec::new(),
        };
        orders.push(Order { at, kind, deliver, bytes });
    }
    Ok(orders)
}

/// Queues orders for the sites' relays. Sites without one are returned.
pub(super) async fn send(
    tx: &mut TenantTx,
    mut orders: Vec<Order>,
) -> Result<Vec<SiteId>, Problem> {
    // In one order everywhere, so that two tasks wait for each other instead of
    // locking up.
    orders.sort_by_key(|order| order.at.relay());
    let mut without = Vec::new();
    for Order { at, deliver, .. } in orders {
        let Some(relay) = at.relay() else {
            without.push(at.site());
            continue;
        };
        match downlink::append(tx, relay, &DownRecord::Command(deliver)).await {
            Ok(_) => {}
            Err(AppendError::NoRelay) => without.push(at.site()),
            Err(AppendError::TooLarge(bytes)) => {
                return Err(Problem::invalid(format!(
                    "The script with its arguments and targets makes a message of {bytes} bytes, \
                     which is too long. Name fewer devices at once."
                )));
            }
            Err(error @ AppendError::Full(_)) => return Err(error.into()),
            Err(AppendError::Db(error)) => return Err(error.into()),
            Err(AppendError::Protocol(_)) => return Err(Problem::internal()),
        }
    }
    Ok(without)
}

/// What the audit log says of an action.
pub(super) fn described(action: &ActionInput) -> String {
    let ActionInput::Script(script) = action;
    let interpreter = serde_json::to_value(script.interpreter).ok();
    let interpreter = interpreter.as_ref().and_then(|i| i.as_str()).unwrap_or_default();
    let first = script.body.lines().find(|line| !line.trim().is_empty()).unwrap_or_default();
    let hash = blake3::hash(script.body.as_bytes()).to_hex();
    format!("{interpreter} script {}: {}", &hash[..16], crate::reports::line(first, 120))
}
