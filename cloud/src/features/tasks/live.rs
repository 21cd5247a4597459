//! Output on its way to who watches, before its durable copy is stored.

use super::{OUTPUT, model::OutputEvent};
use crate::{
    db::{Db, DbError},
    events::{Audience, NewEvent, Watches},
    link::RelayIdentity,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use std::sync::Arc;
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use unifyit_protocol::{
    ids::{CommandId, DeviceId, TaskId},
    live::MAX_LIVE,
    outcome::{OutputChunk, Stream},
};
use uuid::Uuid;

/// Commands looked up at a time.
const LOOKING_UP: usize = 8;

#[derive(Clone)]
pub(super) struct LiveOutput {
    db: Db,
    watches: Watches,
    looking_up: Arc<Semaphore>,
}

impl LiveOutput {
    pub(super) fn new(db: Db, watches: Watches) -> Self {
        Self { db, watches, looking_up: Arc::new(Semaphore::new(LOOKING_UP)) }
    }

    /// Passes a piece on, if somebody watches its task.
    pub(super) fn pass(&self, relay: &RelayIdentity, device: DeviceId, chunk: OutputChunk) {
        // While nobody watches any task, nobody needs to know whose it is.
        if chunk.data.len() > MAX_LIVE || !self.watches.any_task() {
            return;
        }
        let outputs = self.watches.outputs();
        if let Some(task) = outputs.task(relay.site, chunk.command, device) {
            return self.publish(relay, device, task, &chunk);
        }
        let Ok(permit) = self.looking_up.clone().try_acquire_owned() else { return };
        let (this, relay) = (self.clone(), *relay);
        tokio::spawn(async move {
            match this.look_up(&relay, chunk.command, device).await {
                Ok(Some(task)) => {
                    this.watches.outputs().learn(relay.site, chunk.command, device, task);
                    this.publish(&relay, device, task, &chunk);
                }
                Ok(None) => {}
                Err(error) => tracing::debug!(%error, "A command could not be looked up."),
            }
            drop(permit);
        });
    }

    async fn look_up(
        &self,
        relay: &RelayIdentity,
        command: CommandId,
        device: DeviceId,
    ) -> Result<Option<TaskId>, DbError> {
        let mut tx = self.db.tenant_by_keys(&relay.scope()).await?;
        // Under the relay's own site, and only for a device that the command is for:
        // a relay cannot show output as that of another customer's computer.
        let task: Option<Uuid> = sqlx::query_scalar(
            "SELECT task_id FROM task_targets WHERE command_id = $1 AND device_id = $2",
        )
        .bind(command.0)
        .bind(device.0)
        .fetch_optional(&mut *tx)
        .await?;
        tx.commit().await?;
        Ok(task.map(TaskId))
    }

    fn publish(&self, relay: &RelayIdentity, device: DeviceId, task: TaskId, chunk: &OutputChunk) {
        if !self.watches.task(task) {
            return;
        }
        let data = OutputEvent {
            task_id: task,
            device_id: device,
            offset: chunk.offset,
            stream: match chunk.stream {
                Stream::Stdout => "stdout",
                Stream::Stderr => "stderr",
            },
            data_b64: STANDARD.encode(&chunk.data),
        };
        let event = NewEvent::watched(OUTPUT, relay.place(), Audience::Task(task), data);
        self.db.bus().publish(Arc::new(event.numbered(None, OffsetDateTime::now_utc())));
    }
}
