//! Devices, install tokens, presence, facts and the audit trail.

use super::{
    StoreHandle,
    error::StoreError,
    identity::Candidates,
    rows,
    shared::Core,
    tables::{self, DeviceRecord, Facts, PresenceRecord, TokenRecord},
    txn::{Change, Txn},
};
use redb::ReadableTable;
use std::{collections::BTreeMap, sync::PoisonError};
use unifyit_protocol::{
    codec,
    config::SiteConfig,
    ids::{DeviceId, TokenId},
    lane::Lane,
    link::{Presence, SiteAudit, UpRecord},
};

/// Audit entries kept at the site for the local UI.
const AUDIT_KEPT: u64 = 1000;
/// Longest text of a device about itself that is kept.
const MAX_TEXT: usize = 256;

/// A computer that asks to join.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDevice {
    /// Id that it gets unless it is known already.
    pub proposed: DeviceId,
    /// Host name.
    pub hostname: String,
    /// Version of the agent.
    pub version: String,
    /// Stable machine identity; empty when there is none.
    pub machine: String,
    /// SHA-256 of its public key (SubjectPublicKeyInfo), which the request proves that
    /// it holds.
    pub key: [u8; 32],
    /// The device that it has proven to be, by a certificate that is good.
    pub proven: Option<DeviceId>,
    /// Unix milliseconds.
    pub at_ms: u64,
}

/// What the store says to a computer that asks to join. Durable when returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EnrollDecision {
    /// It joins under this id.
    Accepted {
        /// Its id: the proposed one, or that of the same machine before.
        device: DeviceId,
    },
    /// All uses of the token are spent.
    UsedUp,
    /// The token was revoked.
    Revoked,
}

/// A change of presence to be told to the cloud.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PresenceChange {
    /// The device.
    pub device: DeviceId,
    /// Whether it is connected.
    pub online: bool,
    /// Since when, Unix milliseconds.
    pub at_ms: u64,
    /// IP address on the LAN; empty keeps the last one.
    pub address: String,
}

/// Fills what readers share from the file.
pub(super) fn load_shared(core: &Core) -> Result<(), StoreError> {
    core.read(|tx| {
        let mut devices = core.devices.write().unwrap_or_else(PoisonError::into_inner);
        for row in tx.open_table(tables::DEVICES)?.range::<u128>(..)? {
            if let Some(record) = rows::read::<DeviceRecord>("devices", row?.1.value()) {
                devices.insert(record.device, record);
            }
        }
        let mut out = core.revoked_tokens.write().unwrap_or_else(PoisonError::into_inner);
        for row in tx.open_table(tables::TOKENS)?.range::<u128>(..)? {
            let (key, value) = row?;
            // A record that cannot be read is one that nobody may use.
            let record = rows::read::<TokenRecord>("tokens", value.value());
            if record.is_none_or(|r| r.revoked) {
                out.insert(TokenId(uuid::Uuid::from_u128(key.value())));
            }
        }
        if let Some(site) = tx.open_table(tables::META)?.get(tables::META_SITE)? {
            core.site.send_replace(rows::read("meta", site.value()).unwrap_or_default());
        }
        Ok(())
    })
}

impl StoreHandle {
    /// Counts one use of a token and enrols the device durably (G1). The same
    /// machine gets the id that it had only where that was allowed for the device:
    /// its name is no secret, and whoever holds a token could take another's place.
    ///
    /// # Errors
    /// [`StoreError`] when nothing was stored.
    pub async fn enroll_agent(
        &self,
        token: TokenId,
        uses: u32,
        device: NewDevice,
    ) -> Result<EnrollDecision, StoreError> {
        if self.token_revoked(token) {
            return Ok(EnrollDecision::Revoked);
        }
        self.write(move |txn| txn.enroll(token, uses, &device)).await
    }

    /// Appends to the audit trail, here and at the cloud.
    pub async fn audit(&self, entry: SiteAudit) {
        let action = entry.action.clone();
        if let Err(error) = self.write(move |txn| txn.audit_entry(entry)).await {
            tracing::error!(%error, action, "an audit entry could not be stored");
        }
    }

    /// The newest audit entries of the site, newest first.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn recent_audit(&self, limit: usize) -> Result<Vec<SiteAudit>, StoreError> {
        self.read(move |tx| {
            let table = tx.open_table(tables::AUDIT)?;
            let newest = table.range::<u64>(..)?.rev().take(limit);
            newest
                .filter_map(|row| match row {
                    Ok((_, value)) => rows::read("audit", value.value()).map(Ok),
                    Err(error) => Some(Err(error.into())),
                })
                .collect()
        })
        .await
    }

    /// Facts of all devices.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn all_facts(&self) -> Result<BTreeMap<DeviceId, Facts>, StoreError> {
        self.read(|tx| by_device("facts", &tx.open_table(tables::FACTS)?)).await
    }

    /// Presence of all devices as the cloud was last told.
    ///
    /// # Errors
    /// [`StoreError`] when the file cannot be read.
    pub async fn all_presence(&self) -> Result<BTreeMap<DeviceId, PresenceRecord>, StoreError> {
        self.read(|tx| by_device("presence", &tx.open_table(tables::PRESENCE)?)).await
    }
}

fn by_device<T: serde::de::DeserializeOwned>(
    name: &'static str,
    table: &impl ReadableTable<u128, &'static [u8]>,
) -> Result<BTreeMap<DeviceId, T>, StoreError> {
    let mut all = BTreeMap::new();
    for row in table.range::<u128>(..)? {
        let (key, value) = row?;
        if let Some(row) = rows::read(name, value.value()) {
            all.insert(tables::device_of(key.value()), row);
        }
    }
    Ok(all)
}

impl Txn<'_> {
    fn enroll(
        &mut self,
        token: TokenId,
        uses: u32,
        new: &NewDevice,
    ) -> Result<EnrollDecision, StoreError> {
        let mut record = self.token(token)?;
        if record.revoked {
            return Ok(EnrollDecision::Revoked);
        }
        let Candidates { of_key, allowed, known } = self.candidates(new)?;
        if let Some(same) = of_key {
            // The answer to this very request was lost: nothing is spent twice.
            return Ok(EnrollDecision::Accepted { device: same.device });
        }
        if record.used >= uses {
            return Ok(EnrollDecision::UsedUp);
        }
        record.used += 1;
        self.put_token(token, record)?;
        let proven = match new.proven {
            // Both computers of a shared identity could prove it.
            Some(device) => self.device(device)?.filter(|d| !d.revoked && d.sharing.is_none()),
            None => None,
        };
        let allowed = proven.or(allowed);
        let device = allowed.as_ref().map_or(new.proposed, |d| d.device);
        if allowed.is_none()
            && let Some(known) = known
        {
            let detail = format!(
                "{} enrolled with the machine identity of {}, whose re-enrolment was not allowed; it got an identity of its own.",
                clipped(&new.hostname),
                known.hostname
            );
            self.audit_entry(SiteAudit {
                at_ms: new.at_ms,
                action: "device.enrolled_beside".into(),
                actor: device.to_string(),
                detail,
            })?;
            if known.machine.is_empty() {
                // Only the row that this one takes over tells whose machine it is.
                self.put_device(DeviceRecord { machine: new.machine.clone(), ..known })?;
            }
        }
        if !new.machine.is_empty() {
            let key = tables::device_key(device);
            self.machines()?.insert(new.machine.as_str(), key)?;
        }
        self.join(new, device, Some(token), None)?;
        Ok(EnrollDecision::Accepted { device })
    }

    /// Appends to the audit trail.
    pub(crate) fn audit_entry(&mut self, entry: SiteAudit) -> Result<(), StoreError> {
        self.mem.audit += 1;
        let number = self.mem.audit;
        let bytes = codec::encode(&entry)?;
        self.audit()?.insert(number, bytes.as_slice())?;
        if let Some(oldest) = number.checked_sub(AUDIT_KEPT) {
            self.audit()?.remove(oldest)?;
        }
        self.append(Lane::Urgent, &UpRecord::Audit(entry))
    }

    /// A device introduced itself.
    pub(crate) fn hello(
        &mut self,
        device: DeviceId,
        hostname: &str,
        version: &str,
    ) -> Result<(), StoreError> {
        let Some(mut record) = self.device(device)? else { return Ok(()) };
        let (hostname, version) = (clipped(hostname), clipped(version));
        if record.hostname != hostname || record.version != version {
            (record.hostname, record.version) = (hostname, version);
            self.put_device(record)?;
        }
        Ok(())
    }

    /// Tells the cloud who came and went. What it was told already is not told
    /// again.
    pub(crate) fn present(&mut self, change: &PresenceChange) -> Result<(), StoreError> {
        let Some(record) = self.device(change.device)? else { return Ok(()) };
        let told = self.told(change.device)?;
        let address = match change.address.as_str() {
            "" => told.address.clone(),
            new => new.to_owned(),
        };
        let same = (told.online, &told.address, &told.version)
            == (change.online, &address, &record.version);
        if same && told.since_ms != 0 {
            return Ok(());
        }
        let now = PresenceRecord {
            online: change.online,
            since_ms: change.at_ms,
            address: address.clone(),
            version: record.version.clone(),
        };
        self.put_told(change.device, &now)?;
        self.report_presence(Presence {
            device: change.device,
            online: change.online,
            at_ms: change.at_ms,
            agent_version: record.version,
            address,
        });
        Ok(())
    }

    /// Takes new settings, unless they are older than those that hold.
    pub(crate) fn take_site_config(&mut self, config: SiteConfig) -> Result<bool, StoreError> {
        let present: SiteConfig = self.get_meta(tables::META_SITE)?.unwrap_or_default();
        if config.revision < present.revision {
            return Ok(false);
        }
        self.put_meta(tables::META_SITE, &config)?;
        self.changes.push(Change::Site(config));
        Ok(true)
    }

    /// Keeps a device out from now on.
    pub(crate) fn revoke_device(&mut self, device: DeviceId) -> Result<(), StoreError> {
        let known = self.device(device)?;
        let known = known.unwrap_or_else(|| DeviceRecord::new(device, self.now_ms));
        self.put_device(DeviceRecord { revoked: true, ..known })
    }

    /// Honours a token no longer.
    pub(crate) fn revoke_token(&mut self, token: TokenId) -> Result<(), StoreError> {
        let record = self.token(token)?;
        self.put_token(token, TokenRecord { revoked: true, ..record })?;
        self.changes.push(Change::TokenRevoked(token));
        Ok(())
    }
}

/// A device's word about itself, cut to what is kept.
fn clipped(text: &str) -> String {
    rows::clipped(text, MAX_TEXT)
}
