//! Work that technicians ask for: one signed command a site, any number of
//! devices, followed to its end on each.
//!
//! ```text
//! POST /tasks ─► targets (row security) ─► one command a relay, signed ─► downlink
//! relay: Progress, Output ─► ingest ─► task_targets, task_output
//! ticker ─► counts, end of the task ─► task.changed (at most 5 a second)
//! relay: live output ─► live ─► sockets that watch the task
//! ```
//!
//! A target's state only ever moves forward: `pending → sent → running →` a
//! final one, whatever order records come in.

mod action;
mod api;
mod compare;
mod dispatch;
mod ingest;
pub mod jobs;
mod kept;
mod live;
mod model;
mod progress;
mod reports;
mod rules;
mod standing;
mod stop;
mod store;
mod ticker;
mod timeline;

pub use action::{ActionBody, ActionInput, InterpreterInput, ScriptBody, ScriptInput, Sight};
pub use model::{
    DeviceTask, GroupBody, Groups, OutputEvent, TargetBody, TargetEvent, TargetStatus,
    TargetsInput, TaskBody, TaskCounts, TaskDetail, TaskStatus,
};
pub(crate) use store::{keep_command, signing_key};

use crate::{
    authz::{Can, Role, Scopes},
    events::{Kind, TimelineKind},
    feature::Feature,
    timeline::Source,
};

/// Run and cancel tasks.
pub const RUN_TASKS: Can = Can::new("run_tasks", Role::Technician, Scopes::All);
/// A task changed.
pub const CHANGED: Kind = Kind::new("task.changed", Can::VIEW);
/// A task's state on one device changed.
pub const TARGET: Kind = Kind::new("task.target", Can::VIEW);
/// Output of a watched task.
pub const OUTPUT: Kind = Kind::new("task.output", Can::VIEW);
/// A task was started.
pub const HAPPENED: TimelineKind = TimelineKind::new("task", Can::VIEW);

/// What it tells of itself.
pub const FEATURE: Feature = Feature {
    routes: api::routes,
    rights: &[RUN_TASKS],
    jobs: jobs::JOBS,
    told: |components| components.schema_from::<TargetEvent<'_>>().schema_from::<OutputEvent>(),
    kinds: &[CHANGED, TARGET, OUTPUT],
    reports: Some(reports::open),
    compares: &[compare::PART],
    standing: Some(standing::add),
    timeline: Some(Source {
        kind: HAPPENED,
        read: timeline::of_device,
        recent: Some(timeline::recent),
    }),
    keeps: kept::KEEPS,
    #[cfg(test)]
    probes: probes::PROBES,
    ..Feature::named("tasks")
};

#[cfg(test)]
mod create_tests;
#[cfg(test)]
mod end_tests;
#[cfg(test)]
mod probes;
#[cfg(test)]
mod tests;
