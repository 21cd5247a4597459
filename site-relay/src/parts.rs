//! The table of contents of the store: the features that keep something in it, a line
//! each. What a line adds is said by [`Part`].
//!
//! The order holds at a commit's end, where each part writes what the commit gathered:
//! what is told of commands goes out before what is told of presence.

crate::store::part::parts! {
    /// Who is enrolled, with which keys and tokens.
    devices: crate::devices::Devices,
    /// What devices said of themselves.
    facts: crate::facts::OfDevices,
    /// The site's settings.
    settings: crate::settings::Settings,
    /// Commands for devices, and how they fare.
    inbox: crate::inbox::Inbox,
    /// Who is there, as the cloud was told.
    presence: crate::presence::Told,
    /// How far each device's reports are stored.
    ingest: crate::ingest::cursors::Cursors,
    /// Samples, and which minutes are not summed up yet.
    samples: crate::samples::Samples,
    /// Where the cloud's lane stands, and what in it is for a later version.
    downlink: crate::downlink::place::Place,
    /// What the cloud is told of all that is held here.
    compare: crate::compare::Comparison,
    /// The newest entries of the audit trail.
    trail: crate::trail::Trail,
}
