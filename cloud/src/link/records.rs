//! What the link asks of the features: the meaning of records.

use super::{ApplyError, RelayIdentity};
use crate::db::TenantTx;
use futures::future::{BoxFuture, ready};
use unifyit_protocol::{
    enroll::EnrollRelay,
    ids::DeviceId,
    link::{Ephemeral, UpRecord},
    telemetry::newest::Load,
};

/// Something happened to a relay itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RelayChange {
    /// It joined its site, or joined it anew.
    Enrolled,
    /// Its session began.
    Online,
    /// Its session ended.
    Offline,
    /// Its clock was set, or went wrong.
    Clock,
    /// It, or the database, was restored from an older copy: what the relay was
    /// told may be forgotten there, and what is queued goes out anew.
    Restored,
}

/// Gives records their effect. Implemented above the spine and handed in by
/// `app.rs`.
pub trait Records: Send + Sync + 'static {
    /// Whether anybody makes something of a record. What nobody takes is of a later
    /// version: it is skipped and counted, like a kind that is not known.
    fn takes(&self, _record: &UpRecord) -> bool {
        true
    }

    /// Applies records, in order, in the given transaction, which is under the
    /// relay's site. The link commits it together with the lanes' positions; an
    /// error rolls all of it back.
    ///
    /// # Errors
    /// [`ApplyError::Malformed`] for a record that can never be applied: it is
    /// quarantined. [`ApplyError::Db`] for the rest: it comes again.
    fn apply<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        records: Vec<UpRecord>,
    ) -> BoxFuture<'a, Result<(), ApplyError>>;

    /// Takes what a relay says of itself when it joins its site, in the transaction that
    /// lets it in, before it is told of as [`RelayChange::Enrolled`].
    ///
    /// # Errors
    /// [`ApplyError`]; it is not let in.
    fn joins<'a>(
        &'a self,
        _tx: &'a mut TenantTx,
        _relay: &'a RelayIdentity,
        _says: &'a EnrollRelay,
    ) -> BoxFuture<'a, Result<(), ApplyError>> {
        Box::pin(ready(Ok(())))
    }

    /// Follows a change of the relay itself, in the transaction that writes it.
    ///
    /// # Errors
    /// [`ApplyError`]; the change is rolled back.
    fn relay_changed<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        change: RelayChange,
    ) -> BoxFuture<'a, Result<(), ApplyError>>;

    /// Takes the newest loads of devices, in a transaction under the relay's site.
    /// They are told again if it fails.
    ///
    /// # Errors
    /// [`ApplyError`]; nothing of it is stored.
    fn newest<'a>(
        &'a self,
        tx: &'a mut TenantTx,
        relay: &'a RelayIdentity,
        loads: Vec<(DeviceId, Load)>,
    ) -> BoxFuture<'a, Result<(), ApplyError>>;

    /// Passes on what matters only while somebody looks. Must not wait.
    fn live(&self, relay: &RelayIdentity, items: Vec<Ephemeral>);
}
