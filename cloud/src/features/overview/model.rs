//! What the overview looks like from outside.

use crate::{
    events::TimelineItem,
    standing::{Attention, DeviceCounts, SiteCounts},
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// How everything in the scope stands.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub(super) struct Overview {
    /// Devices by state.
    pub devices: DeviceCounts,
    /// Sites by state.
    pub sites: SiteCounts,
    /// What needs somebody, worst first.
    pub attention: Vec<Attention>,
    /// What happened last.
    pub recent: Vec<TimelineItem>,
    /// Tasks that are not done.
    pub tasks_running: i64,
}
