//! What features bring together of what a relay holds and what the database knows.
//!
//! Either side may be an older copy of itself. Whatever only one knows is carried to the
//! other: a revocation holds wherever it was made, the later settings win, and who is
//! connected is the relay's word. Commands that a relay lost are sent again as they were
//! signed; the devices' ledgers see to it that nothing runs twice (G3). Doing it twice
//! changes nothing.
//!
//! Each feature that has something to compare lists its [`Part`]s in its `FEATURE`. They
//! are asked in the order of their [`Turn`], and hand each other what others need in the
//! [`Comparison`].

use super::Applied;
use crate::{db::TenantTx, link::RelayIdentity};
use std::collections::{BTreeSet, HashSet};
use unifyit_protocol::{compare::SiteHolds, ids::DeviceId, link::Presence};

/// When a part is asked: a later one builds on what earlier ones did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Turn {
    /// The site's own settings. Asked also where the relay's lists did not fit.
    Site,
    /// Which devices there are. Whatever follows is sent to those that the relay knows.
    Devices,
    /// What devices are to do.
    Work,
    /// What devices told once and the database lacks.
    Told,
    /// Who is connected. Work asks who was so before.
    Connections,
}

/// Brings one thing together: with what the relay says that it holds, or without where
/// it is told everything, as it may be of a version that does not say.
pub type Bring = for<'a> fn(
    &'a mut TenantTx,
    &'a RelayIdentity,
    Option<&'a SiteHolds>,
    &'a mut Comparison,
) -> Applied<'a>;

/// What a feature brings together.
#[derive(Debug, Clone, Copy)]
pub struct Part {
    /// When it is asked.
    pub turn: Turn,
    /// Does it.
    pub bring: Bring,
}

/// What parts hand to those after them, and what came of them.
#[derive(Debug, Default)]
pub struct Comparison {
    /// The site's name, as the entry in the audit log has it.
    pub site: Option<String>,
    /// Devices that the relay can reach: it has them, or is told of them again. None where
    /// that is not known, and all are taken for such.
    pub reachable: Option<HashSet<DeviceId>>,
    /// Where the database shows another presence than the relay, in the relay's words.
    pub presence: Vec<Presence>,
    /// Devices whose item of the list changed.
    pub changed: BTreeSet<DeviceId>,
    mended: Vec<(usize, &'static str)>,
}

impl Comparison {
    /// Notes how many of what were mended, for the audit log.
    pub fn mended(&mut self, count: usize, what: &'static str) {
        if count > 0 {
            self.mended.push((count, what));
        }
    }

    /// What was mended, in the order of the parts, if anything was.
    pub(super) fn sentence(&self) -> Option<String> {
        let told: Vec<String> = self.mended.iter().map(|(n, what)| format!("{n} {what}")).collect();
        (!told.is_empty()).then(|| told.join(", "))
    }
}
