//! Output on its way to who watches, before its durable copy is stored.

use super::model::OutputEvent;
use crate::{
    db::{Db, DbError},
    events::{Audience, Kind, NewEvent, Watches},
    link::RelayIdentity,
};
use base64::{Engine, engine::general_purpose::STANDARD};
use lru::LruCache;
use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
};
use time::OffsetDateTime;
use tokio::sync::Semaphore;
use unifyit_protocol::{
    ids::{CommandId, DeviceId, SiteId, TaskId},
    live::MAX_LIVE,
    outcome::{OutputChunk, Stream},
};
use uuid::Uuid;

/// Devices of commands remembered with their tasks.
const REMEMBERED: usize = 100_000;
/// Commands looked up at a time.
const LOOKING_UP: usize = 8;

/// Of whom a site may tell live output: a command's own devices.
type Known = LruCache<(SiteId, CommandId, DeviceId), TaskId>;

#[derive(Clone)]
pub(super) struct LiveOutput {
    db: Db,
    watches: Watches,
    tasks: Arc<Mutex<Known>>,
    looking_up: Arc<Semaphore>,
}

impl LiveOutput {
    pub(super) fn new(db: Db, watches: Watches) -> Self {
        let size = NonZeroUsize::new(REMEMBERED).unwrap_or(NonZeroUsize::MIN);
        Self {
            db,
            watches,
            tasks: Arc::new(Mutex::new(LruCache::new(size))),
            looking_up: Arc::new(Semaphore::new(LOOKING_UP)),
        }
    }

    /// A command at a site is a task's share for a device.
    pub(super) fn learn(&self, site: SiteId, command: CommandId, device: DeviceId, task: TaskId) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        tasks.put((site, command, device), task);
    }

    /// The database is another: tasks that are remembered may be gone from it.
    pub(super) fn forget(&self, site: SiteId) {
        let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
        let gone: Vec<_> =
            tasks.iter().filter(|((of, _, _), _)| *of == site).map(|(key, _)| *key).collect();
        for key in gone {
            tasks.pop(&key);
        }
    }

    /// Passes a piece on, if somebody watches its task.
    pub(super) fn pass(&self, relay: &RelayIdentity, device: DeviceId, chunk: OutputChunk) {
        // While nobody watches any task, nobody needs to know whose it is.
        if chunk.data.len() > MAX_LIVE || !self.watches.any_task() {
            return;
        }
        let known = {
            let mut tasks = self.tasks.lock().unwrap_or_else(PoisonError::into_inner);
            tasks.get(&(relay.site, chunk.command, device)).copied()
        };
        if let Some(task) = known {
            return self.publish(relay, device, task, &chunk);
        }
        let Ok(permit) = self.looking_up.clone().try_acquire_owned() else { return };
        let (this, relay) = (self.clone(), *relay);
        tokio::spawn(async move {
            match this.look_up(&relay, chunk.command, device).await {
                Ok(Some(task)) => {
                    this.learn(relay.site, chunk.command, device, task);
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
        let mut tx = self.db.tenant(&relay.scope()).await?;
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
        let event = NewEvent::watched(Kind::TaskOutput, relay.place(), Audience::Task(task), data);
        self.db.bus().publish(Arc::new(event.numbered(None, OffsetDateTime::now_utc())));
    }
}
