//! Deleting what is older than its partner keeps it.

use crate::{jobs::Job, keeping};
use std::time::Duration;

pub(super) const JOBS: &[Job] = &[Job {
    name: "retention",
    period: Duration::from_secs(3600),
    run: |state| Box::pin(async move { keeping::sweep(state.features, &state.old).await }),
    nudged: None,
}];
