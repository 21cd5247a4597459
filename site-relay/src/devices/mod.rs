//! Devices of the site: who is enrolled, who may come in, who shares an identity.

mod admission;
mod enrol;
mod record;
mod rows;
mod sharing;
#[cfg(test)]
mod tests;

pub use enrol::{EnrollDecision, NewDevice};
pub(crate) use record::TokenRecord;
pub use record::{Computer, DeviceRecord, Key, Sharing, Split};

/// Devices, as a part of the store.
pub(crate) struct Devices;
