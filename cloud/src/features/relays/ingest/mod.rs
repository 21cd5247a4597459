//! Records about the relay itself, and what it holds against what the database knows.

mod compare;
mod lacks;
mod site;

pub(super) use compare::{holds, restored};
pub(super) use site::{audit, enrolled, status};
