//! What tasks look like from outside.

use super::action::ActionBody;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use time::OffsetDateTime;
use unifyit_protocol::ids::{DeviceId, TaskId};
use utoipa::ToSchema;
use uuid::Uuid;

/// Whom a task is for. What is named more than once is meant once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TargetsInput {
    /// Devices by id.
    #[serde(default)]
    pub device_ids: Vec<Uuid>,
    /// Every device of these sites.
    #[serde(default)]
    pub site_ids: Vec<Uuid>,
    /// Every device of these organizations.
    #[serde(default)]
    pub organization_ids: Vec<Uuid>,
    /// Every device with this tag.
    #[serde(default)]
    pub tag: Option<String>,
    /// Every device that you see.
    #[serde(default)]
    pub all: bool,
}

impl TargetsInput {
    /// Whether nothing but devices is named.
    pub(super) fn are_devices(&self) -> bool {
        let Self { device_ids: _, site_ids, organization_ids, tag, all } = self;
        let tagged = tag.as_deref().is_some_and(|tag| !tag.is_empty());
        site_ids.is_empty() && organization_ids.is_empty() && !tagged && !all
    }
}

/// How a task fares on a device.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetStatus {
    /// Waiting at the cloud.
    Pending,
    /// On its way to the device.
    Sent,
    /// Started.
    Running,
    /// Ended with code 0.
    Succeeded,
    /// Ended with another code, or could not start.
    Failed,
    /// Killed at its limit in time.
    TimedOut,
    /// Stopped, or never started, because somebody asked.
    Cancelled,
    /// Not started in time.
    Expired,
    /// The agent would not run it.
    Refused,
    /// Started; how it ended is not known.
    Indeterminate,
}

/// How a task stands as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum TaskStatus {
    /// Some device is not done.
    Running,
    /// Every device is done.
    Done,
    /// It was cancelled and every device is done.
    Cancelled,
}

/// Devices of a task by state; every state is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskCounts {
    /// Waiting at the cloud.
    pub pending: i64,
    /// On its way to the device.
    pub sent: i64,
    /// Started.
    pub running: i64,
    /// Ended with code 0.
    pub succeeded: i64,
    /// Ended with another code, or could not start.
    pub failed: i64,
    /// Killed at its limit in time.
    pub timed_out: i64,
    /// Stopped, or never started, because somebody asked.
    pub cancelled: i64,
    /// Not started in time.
    pub expired: i64,
    /// The agent would not run it.
    pub refused: i64,
    /// Started; how it ended is not known.
    pub indeterminate: i64,
}

/// How far a task is, to choose by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum TaskState {
    /// Some device is not done.
    Running,
    /// Every device is done.
    Done,
    /// Stopped by a technician.
    Cancelled,
}

/// A task.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskBody {
    /// Identity.
    pub id: Uuid,
    /// What it was called; may be empty.
    pub name: String,
    /// How it stands.
    #[schema(value_type = TaskStatus)]
    pub status: String,
    /// What is done.
    pub action: ActionBody,
    /// When it was asked for.
    #[serde(with = "time::serde::rfc3339")]
    pub created_at: OffsetDateTime,
    /// By whom.
    pub created_by: String,
    /// Devices that have not started by then do not start.
    #[serde(with = "time::serde::rfc3339")]
    pub expires_at: OffsetDateTime,
    /// Devices by state; every state is named.
    #[schema(value_type = TaskCounts)]
    pub counts: BTreeMap<String, i64>,
    /// Devices in all.
    pub total: i64,
    /// Since when its output is no longer kept, when it was kept long enough.
    #[serde(default, with = "time::serde::rfc3339::option")]
    pub output_removed_at: Option<OffsetDateTime>,
}

impl TaskBody {
    /// As events tell of it: how it stands. What it does never changes, and is read
    /// by who may.
    #[must_use]
    pub fn standing(&self) -> serde_json::Value {
        let mut told = serde_json::to_value(self).unwrap_or_default();
        if let Some(fields) = told.as_object_mut() {
            fields.remove("action");
        }
        told
    }
}

/// A task with its first hundred devices.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct TaskDetail {
    /// The task.
    #[serde(flatten)]
    pub task: TaskBody,
    /// The devices, by name.
    pub targets: Vec<TargetBody>,
}

/// How a task fares on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema, sqlx::FromRow)]
pub struct TargetBody {
    /// The device.
    pub device_id: Uuid,
    /// Its name.
    pub device_name: String,
    /// How it fares there.
    #[schema(value_type = TargetStatus)]
    pub status: String,
    /// Exit code, of a process that ended by itself.
    pub exit_code: Option<i32>,
    /// Why, in one sentence.
    pub reason: Option<String>,
    /// Output as text, at most 64 KiB, and less where many devices are asked for.
    #[sqlx(skip)]
    pub output: String,
    /// Why a part of the output, or all of it, was lost on its way; null when none was.
    #[sqlx(skip)]
    pub output_lost: Option<String>,
    /// Bytes of output kept.
    pub output_len: i64,
    /// Bytes of output cut off at the limit.
    pub output_cut: i64,
    /// When it started on the device.
    #[serde(with = "time::serde::rfc3339::option")]
    pub started_at: Option<OffsetDateTime>,
    /// When it ended there.
    #[serde(with = "time::serde::rfc3339::option")]
    pub finished_at: Option<OffsetDateTime>,
}

/// Devices whose results are the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct GroupBody {
    /// Their state.
    #[schema(value_type = TargetStatus)]
    pub status: String,
    /// Their exit code.
    pub exit_code: Option<i32>,
    /// The beginning of what they wrote.
    pub output_sample: String,
    /// How many.
    pub count: i64,
    /// Twenty of them.
    pub device_ids: Vec<Uuid>,
}

/// Groups, largest first.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Groups {
    /// The groups.
    pub items: Vec<GroupBody>,
}

/// A task on a device's page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct DeviceTask {
    /// The task.
    #[serde(flatten)]
    pub task: TaskBody,
    /// How it fares on this device.
    pub target: TargetBody,
}

/// `task.target` on the events socket.
#[derive(Debug, Serialize, ToSchema)]
pub struct TargetEvent<'a> {
    /// The task.
    pub task_id: Uuid,
    /// The device.
    pub device_id: Uuid,
    /// How it fares there.
    #[schema(value_type = TargetStatus)]
    pub status: &'a str,
    /// Exit code, of a process that ended by itself.
    pub exit_code: Option<i32>,
    /// Why, in one sentence.
    pub reason: Option<&'a str>,
    /// Bytes of output stored so far: what was missed live can be read up to here.
    pub output_len: i64,
}

/// `task.output` on the events socket, for whoever watches the task.
#[derive(Debug, Serialize, ToSchema)]
pub struct OutputEvent {
    /// The task.
    #[schema(value_type = Uuid)]
    pub task_id: TaskId,
    /// The device.
    #[schema(value_type = Uuid)]
    pub device_id: DeviceId,
    /// Where the piece begins, in bytes.
    pub offset: u64,
    /// `stdout` or `stderr`.
    pub stream: &'static str,
    /// The piece in base64.
    pub data_b64: String,
}
