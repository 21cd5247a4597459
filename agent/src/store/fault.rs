//! Faults that a test wants of the next commit.

use super::{Store, StoreError};
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

const NONE: u8 = 0;
const KEPT: u8 = 1;
const LOST: u8 = 2;

#[derive(Default)]
pub(super) struct Fault(AtomicU8);

impl Fault {
    /// Fails in place of the commit.
    pub(super) fn before(&self) -> Result<(), StoreError> {
        self.fail(LOST)
    }

    /// Fails when the commit is in the file.
    pub(super) fn after(&self) -> Result<(), StoreError> {
        self.fail(KEPT)
    }

    fn fail(&self, here: u8) -> Result<(), StoreError> {
        match self.0.compare_exchange(here, NONE, Relaxed, Relaxed) {
            Ok(_) => Err(StoreError::Failed("a test".into())),
            Err(_) => Ok(()),
        }
    }
}

impl Store {
    /// The next commit fails, as by its sync: all of it is in the file.
    pub(crate) fn fails(&self) {
        self.shared.fault.0.store(KEPT, Relaxed);
    }

    /// The next commit fails, and nothing of it is in the file.
    pub(crate) fn loses(&self) {
        self.shared.fault.0.store(LOST, Relaxed);
    }
}
