//! Typed identifiers: one type for each entity, so that a site can never be
//! passed where a device is meant.
//!
//! All are UUIDs (version 7 where we make them, so that they sort by creation).
//! JSON and text carry the hyphenated form, CBOR the 16 bytes.

use serde::{Deserialize, Serialize};
use std::{fmt, str::FromStr};
use uuid::Uuid;

macro_rules! typed_ids {
    ($($(#[$doc:meta])* $name:ident)+) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Makes an id that sorts after those made before it.
            #[must_use]
            pub fn generate() -> Self {
                Self(Uuid::now_v7())
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.hyphenated().fmt(f)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "({})"), self.0.hyphenated())
            }
        }

        impl FromStr for $name {
            type Err = uuid::Error;
            fn from_str(text: &str) -> Result<Self, Self::Err> {
                Uuid::parse_str(text).map(Self)
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }
    )+};
}

typed_ids! {
    /// A managed service provider: the tenant that pays.
    PartnerId
    /// A customer of a partner.
    OrganizationId
    /// A place of an organization, with at most one active relay.
    SiteId
    /// A site relay's enrolment.
    RelayId
    /// A managed computer.
    DeviceId
    /// A person who signs in.
    UserId
    /// An install token.
    TokenId
    /// What a technician asked for, over any number of devices.
    TaskId
    /// One signed command. Identifies its execution on each device (G3).
    CommandId
    /// A live tunnel: one terminal, one file transfer.
    TunnelId
    /// A grant of the organization's authority to a relay.
    GrantId
}
