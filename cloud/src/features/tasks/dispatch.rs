//! From a request to signed commands in the relays' downlinks.

use super::{
    action::ActionInput,
    store::{self, SigningKey, Target},
};
use crate::{
    context::AppState,
    db::TenantTx,
    http::Problem,
    link::downlink::{self, AppendError},
};
use std::collections::BTreeMap;
use unifyit_protocol::{
    codec,
    command::{Action, Command, MAX_NAMED_TARGETS, MAX_VALIDITY_MS, Targets},
    ids::{CommandId, DeviceId, OrganizationId, RelayId, SiteId},
    link::{DeliverCommand, DownRecord},
};

/// Clocks of devices may be behind or ahead by this much, in milliseconds.
const CLOCK_SLACK_MS: u64 = 10 * 60 * 1000;

/// A command to be signed: one site's share of a task.
pub(super) struct Share {
    pub(super) command: CommandId,
    pub(super) organization: OrganizationId,
    pub(super) site: SiteId,
    pub(super) targets: Targets,
    pub(super) devices: Vec<DeviceId>,
}

/// Cuts the targets into shares: one a site when the whole site is meant, else
/// as many as it takes to name the devices.
pub(super) fn shares(targets: &[Target], whole: impl Fn(SiteId, usize) -> bool) -> Vec<Share> {
    let mut sites: BTreeMap<SiteId, (OrganizationId, Vec<DeviceId>)> = BTreeMap::new();
    for target in targets {
        sites
            .entry(target.site())
            .or_insert_with(|| (target.organization(), Vec::new()))
            .1
            .push(target.device());
    }
    let mut shares = Vec::new();
    for (site, (organization, devices)) in sites {
        if whole(site, devices.len()) {
            let (command, targets) = (CommandId::generate(), Targets::Site(site));
            shares.push(Share { command, organization, site, targets, devices });
            continue;
        }
        for devices in devices.chunks(MAX_NAMED_TARGETS) {
            let command = CommandId::generate();
            let (targets, devices) = (Targets::Devices(devices.to_vec()), devices.to_vec());
            shares.push(Share { command, organization, site, targets, devices });
        }
    }
    shares
}

/// A signed command with its share.
pub(super) struct SignedShare {
    pub(super) share: Share,
    pub(super) record: DownRecord,
    pub(super) bytes: Vec<u8>,
    pub(super) expires_ms: u64,
}

/// Signs one command a share with the organizations' authorities, with those counters
/// first that were taken already.
pub(super) async fn sign(
    state: &AppState,
    tx: &mut TenantTx,
    mut keys: BTreeMap<OrganizationId, SigningKey>,
    shares: Vec<Share>,
    action: impl Fn(&Share) -> Action,
    expires_ms: u64,
) -> Result<Vec<SignedShare>, Problem> {
    let now_ms = state.clock.now_ms();
    // A device whose clock is behind must not find the expiry too far away.
    let expires_ms = expires_ms.min(now_ms + MAX_VALIDITY_MS - CLOCK_SLACK_MS);
    let mut wanted: BTreeMap<OrganizationId, i64> = BTreeMap::new();
    for share in &shares {
        *wanted.entry(share.organization).or_default() += 1;
    }
    for (organization, count) in wanted {
        if keys.contains_key(&organization) {
            continue;
        }
        keys.insert(organization, store::signing_key(tx, organization, count).await?);
    }
    let mut signed = Vec::with_capacity(shares.len());
    for share in shares {
        let Some(key) = keys.get_mut(&share.organization) else { continue };
        let command = Command {
            id: share.command,
            organization: share.organization,
            targets: share.targets.clone(),
            action: action(&share),
            not_before_ms: now_ms.saturating_sub(CLOCK_SLACK_MS),
            expires_ms,
            counter: key.next_counter(),
            issued_ms: now_ms,
        };
        let command = state.trust.sign_command(&key.sealed, &command)?;
        let bytes = codec::encode(&command).map_err(|_| Problem::internal())?;
        let record = DownRecord::Command(DeliverCommand {
            command: share.command,
            devices: share.devices.clone(),
            expires_ms,
            signed: command,
            handed: Vec::new(),
            unheard: Vec::new(),
        });
        signed.push(SignedShare { share, record, bytes, expires_ms });
    }
    Ok(signed)
}

/// Queues signed commands for the sites' relays. Sites without one are returned.
pub(super) async fn send(
    tx: &mut TenantTx,
    signed: &[SignedShare],
    relays: &BTreeMap<SiteId, RelayId>,
) -> Result<Vec<SiteId>, Problem> {
    let mut without = Vec::new();
    let mut to: Vec<(RelayId, &SignedShare)> = Vec::with_capacity(signed.len());
    for share in signed {
        match relays.get(&share.share.site) {
            Some(relay) => to.push((*relay, share)),
            None => without.push(share.share.site),
        }
    }
    // In one order everywhere, so that two tasks wait for each other instead of
    // locking up.
    to.sort_by_key(|(relay, _)| *relay);
    for (relay, share) in to {
        match downlink::append(tx, relay, &share.record).await {
            Ok(_) => {}
            Err(AppendError::NoRelay) => without.push(share.share.site),
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
