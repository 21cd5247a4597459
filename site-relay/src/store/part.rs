//! What a feature of the relay adds to the store: its tables, and its memory.
//!
//! A feature that keeps something declares its tables with `tables!`, says in a
//! [`Part`] what it remembers of them, and stands as one line in [`crate::parts`],
//! the table of contents, which puts all parts together. Its operations are methods of
//! [`Txn`] in its own folder. All of it is composed when the program is built: a table
//! is reached through a field and opened once a commit, and nothing is looked up or
//! boxed on the way.
//!
//! The store calls the parts in the order of the list, and always within one
//! transaction: what a part writes is durable with all else of that commit, or not at
//! all.

use super::{Quotas, error::StoreError, txn::Txn};
use redb::{ReadTransaction, WriteTransaction};
use unifyit_protocol::{feature::FeatureReport, ids::DeviceId};

/// Tables of one part, open in a commit as far as it used them.
pub(crate) trait OpenTables: Default {
    /// Creates each, so that readers find them.
    fn create(tx: &WriteTransaction) -> Result<(), StoreError>;
    /// Whether any was opened.
    fn any(&self) -> bool;
}

impl OpenTables for () {
    fn create(_: &WriteTransaction) -> Result<(), StoreError> {
        Ok(())
    }
    fn any(&self) -> bool {
        false
    }
}

/// A number of a part's memory that is measured with each look at the space.
pub(crate) struct Gauge<M> {
    /// Name of the metric, without the prefix of all.
    pub(crate) name: &'static str,
    /// What it tells.
    pub(crate) help: &'static str,
    /// Reads it.
    pub(crate) read: fn(&M) -> usize,
}

/// A look at the space that the store takes.
pub(crate) struct Look {
    /// What may be taken.
    pub(crate) quotas: Quotas,
    /// Whether the disk or the file is short of room.
    pub(crate) crowded: bool,
}

/// What a feature adds to the store.
pub(crate) trait Part {
    /// Its tables, as `tables!` made them.
    type Tables<'t>: OpenTables;
    /// What the writer remembers of them between commits. After a commit that failed it
    /// is read from the file again.
    type Memory: Default + 'static;
    /// What a commit gathers, to be written at its end or told when it is durable.
    type Gathered: Default;
    /// What anybody may look up without the file.
    type Shared: Default;

    /// What of the memory is measured.
    const GAUGES: &'static [Gauge<Self::Memory>] = &[];

    /// Reads the memory from the file.
    fn load(_tx: &ReadTransaction) -> Result<Self::Memory, StoreError> {
        Ok(Self::Memory::default())
    }

    /// Takes over what no commit can undo from the memory of before.
    fn carry(_memory: &mut Self::Memory, _before: Self::Memory) {}

    /// Fills what is looked up from the file.
    fn fill(_tx: &ReadTransaction, _shared: &Self::Shared) -> Result<(), StoreError> {
        Ok(())
    }

    /// Removes damaged rows at the start. Whose each was is added to `lost`.
    fn heal(_txn: &mut Txn<'_>, _lost: &mut Vec<Option<DeviceId>>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Hears what a device says in a feature's own words, which the cloud is told too. Each
    /// part hears all features; what it cannot read it leaves.
    fn hear(
        _txn: &mut Txn<'_>,
        _device: DeviceId,
        _report: &FeatureReport,
    ) -> Result<(), StoreError> {
        Ok(())
    }

    /// Writes what the commit gathered, when all jobs of it were done. What it adds to what
    /// another part gathers must come before that part's turn: `parts.rs` has the order.
    fn finish(_txn: &mut Txn<'_>) -> Result<(), StoreError> {
        Ok(())
    }

    /// Tells what the commit gathered: it is durable.
    fn publish(_gathered: Self::Gathered, _shared: &Self::Shared) {}

    /// Forgets what is old, a bounded amount. Whether that made room, or may yet make
    /// some: then nothing else need go.
    fn forget(_txn: &mut Txn<'_>, _look: &Look) -> Result<bool, StoreError> {
        Ok(false)
    }
}

/// Declares tables, and how a commit reaches them. `part` is the part's field in
/// [`crate::parts`]. The names in the file and the types are what files hold: neither
/// changes.
macro_rules! tables {
    ($part:ident: $(
        $(#[$doc:meta])*
        $vis:vis $name:ident: $key:ty => $value:ty, $table:ident = $text:literal;
    )+) => {
        $($(#[$doc])* $vis const $table: redb::TableDefinition<'static, $key, $value> =
            redb::TableDefinition::new($text);)+

        /// The tables, open as far as the commit used them.
        #[derive(Default)]
        pub(crate) struct Tables<'t> { $($name: Option<redb::Table<'t, $key, $value>>,)+ }

        impl $crate::store::part::OpenTables for Tables<'_> {
            fn create(tx: &redb::WriteTransaction) -> Result<(), $crate::store::StoreError> {
                $(drop(tx.open_table($table)?);)+
                Ok(())
            }

            fn any(&self) -> bool {
                false $(|| self.$name.is_some())+
            }
        }

        impl<'t> $crate::store::txn::Txn<'t> {
            $($vis fn $name(
                &mut self,
            ) -> Result<&mut redb::Table<'t, $key, $value>, $crate::store::StoreError> {
                let (tx, open) = self.open();
                match &mut open.$part.$name {
                    Some(table) => Ok(table),
                    slot => Ok(slot.insert(tx.open_table($table)?)),
                }
            })+
        }
    };
}
pub(crate) use tables;

/// Puts the parts together. `own` are the store's own tables.
macro_rules! parts {
    ($($(#[$doc:meta])* $name:ident: $part:ty,)+) => {
        use $crate::{
            store::{
                StoreError,
                part::{Look, OpenTables as _, Part},
                tables as own,
                txn::Txn,
            },
            telemetry::Telemetry,
        };
        use prometheus::IntGauge;
        use redb::{ReadTransaction, WriteTransaction};
        use unifyit_protocol::{feature::FeatureReport, ids::DeviceId};

        /// The tables that a commit has open.
        #[derive(Default)]
        pub(crate) struct Tables<'t> {
            /// The store's own.
            pub(crate) own: own::Tables<'t>,
            $($(#[$doc])* pub(crate) $name: <$part as Part>::Tables<'t>,)+
        }

        impl Tables<'_> {
            /// Creates every table, so that readers find them.
            pub(crate) fn create(tx: &WriteTransaction) -> Result<(), StoreError> {
                own::Tables::create(tx)?;
                $(<$part as Part>::Tables::create(tx)?;)+
                Ok(())
            }

            /// Whether any was opened.
            pub(crate) fn any(&self) -> bool {
                self.own.any() $(|| self.$name.any())+
            }
        }

        /// What the writer remembers for the parts.
        #[derive(Default)]
        pub(crate) struct Memory { $($(#[$doc])* pub(crate) $name: <$part as Part>::Memory,)+ }

        impl Memory {
            /// Reads it from the file.
            pub(crate) fn load(tx: &ReadTransaction) -> Result<Self, StoreError> {
                Ok(Self { $($name: <$part as Part>::load(tx)?,)+ })
            }

            /// Takes over what no commit can undo.
            pub(crate) fn carry(&mut self, before: Self) {
                $(<$part as Part>::carry(&mut self.$name, before.$name);)+
            }

            /// The gauges' numbers, in their order.
            pub(crate) fn measured(&self) -> Vec<usize> {
                let mut all = Vec::new();
                $(all.extend(<$part as Part>::GAUGES.iter().map(|g| (g.read)(&self.$name)));)+
                all
            }
        }

        /// The gauges of all parts.
        pub(crate) fn gauges(telemetry: &Telemetry) -> Vec<IntGauge> {
            let mut all = Vec::new();
            $(all.extend(<$part as Part>::GAUGES.iter().map(|g| telemetry.gauge(g.name, g.help)));)+
            all
        }

        /// What a commit gathers for the parts.
        #[derive(Default)]
        pub(crate) struct Gathered {
            $($(#[$doc])* pub(crate) $name: <$part as Part>::Gathered,)+
        }

        /// What anybody may look up of the parts.
        #[derive(Default)]
        pub(crate) struct Shared { $($(#[$doc])* pub(crate) $name: <$part as Part>::Shared,)+ }

        impl Shared {
            /// Fills it from the file.
            pub(crate) fn fill(&self, tx: &ReadTransaction) -> Result<(), StoreError> {
                $(<$part as Part>::fill(tx, &self.$name)?;)+
                Ok(())
            }

            /// A commit is durable.
            pub(crate) fn publish(&self, gathered: Gathered) {
                $(<$part as Part>::publish(gathered.$name, &self.$name);)+
            }
        }

        /// Removes damaged rows. Returns whose they were.
        pub(crate) fn heal(txn: &mut Txn<'_>) -> Result<Vec<Option<DeviceId>>, StoreError> {
            let mut lost = Vec::new();
            $(<$part as Part>::heal(txn, &mut lost)?;)+
            Ok(lost)
        }

        /// A device says something in a feature's own words.
        pub(crate) fn hear(
            txn: &mut Txn<'_>,
            device: DeviceId,
            report: &FeatureReport,
        ) -> Result<(), StoreError> {
            $(<$part as Part>::hear(txn, device, report)?;)+
            Ok(())
        }

        /// All jobs of a commit were done.
        pub(crate) fn finish(txn: &mut Txn<'_>) -> Result<(), StoreError> {
            $(<$part as Part>::finish(txn)?;)+
            Ok(())
        }

        /// Forgets what is old. Whether that made room, or may yet make some.
        pub(crate) fn forget(txn: &mut Txn<'_>, look: &Look) -> Result<bool, StoreError> {
            let mut made = false;
            $(made |= <$part as Part>::forget(txn, look)?;)+
            Ok(made)
        }
    };
}
pub(crate) use parts;
