//! Rights of what lives longer than a request.
//!
//! A terminal or an event socket is opened with a session or a key, at a role
//! and a scope. One question every [`EVERY`] asks the database about all of
//! them at once; whatever has ended, or allows something else than at the
//! opening, is told so and closes. So a sign-out, a revoked key, a disabled
//! person, a changed membership, a deleted organization, and the ends of a
//! session's time all take effect within a few seconds, without any of them
//! knowing what is open.
//!
//! A database that is away says nothing about rights. What only shows goes on;
//! what acts (a shell) is closed when its right could not be confirmed for
//! [`UNCONFIRMED`].

use crate::{
    authz::{Actor, ActorKind, Role},
    db::{Db, DbError, Scope},
};
use prometheus::IntGauge;
use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};
use tokio::{
    sync::{Notify, watch},
    time::{Instant, MissedTickBehavior},
};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

/// How often all are asked for.
const EVERY: Duration = Duration::from_secs(2);
/// How long what acts may go on while nobody can tell whether it still may.
const UNCONFIRMED: Duration = Duration::from_secs(60);

const SIGNED_OUT: &str = "You are signed out.";
const KEY_ENDED: &str = "The API key is no longer valid.";
const CHANGED: &str = "Your rights have changed. Connect again.";
const UNKNOWN: &str = "Whether you still may could not be checked. Connect again.";

/// What a long-lived thing does with its right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Use {
    /// It shows.
    Shows,
    /// It acts.
    Acts,
}

/// All that is open. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Rights(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    open: Mutex<Open>,
    look: Notify,
    /// Hours after which an unused session ends.
    idle_hours: u32,
    gauge: IntGauge,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    /// One for each open connection, which are bounded.
    held: HashMap<u64, Held>,
}

#[derive(Debug)]
struct Held {
    by: Uuid,
    session: bool,
    role: Role,
    scope: Scope,
    what: Use,
    used: Arc<AtomicBool>,
    confirmed: Instant,
    ended: watch::Sender<Option<&'static str>>,
}

/// A right in use. Dropped with what uses it.
#[derive(Debug)]
pub struct Right {
    rights: Rights,
    id: u64,
    used: Arc<AtomicBool>,
    ended: watch::Receiver<Option<&'static str>>,
}

impl Right {
    /// Waits for its end; returns why, in a sentence.
    pub async fn ended(&mut self) -> &'static str {
        match self.ended.wait_for(Option::is_some).await {
            Ok(why) => (*why).unwrap_or(UNKNOWN),
            Err(_) => UNKNOWN,
        }
    }

    /// Notes that a person does something with it: a session that is used this
    /// way is not idle.
    pub fn used(&self) {
        self.used.store(true, Ordering::Relaxed);
    }
}

impl Drop for Right {
    fn drop(&mut self) {
        self.rights.open().held.remove(&self.id);
        self.rights.0.gauge.dec();
    }
}

#[derive(sqlx::FromRow)]
struct Row {
    id: Uuid,
    role: String,
    // Read one by one: a row that is no scope ends what was opened by it, and nothing else.
    scope: String,
    partner_id: Option<Uuid>,
    organization_id: Option<Uuid>,
    site_id: Option<Uuid>,
}

impl Rights {
    /// Nothing is open yet. `gauge` shows how much is.
    #[must_use]
    pub fn new(idle_hours: u32, gauge: IntGauge) -> Self {
        let (open, look) = (Mutex::default(), Notify::new());
        Self(Arc::new(Inner { open, look, idle_hours, gauge }))
    }

    /// Holds an actor's right for as long as what is returned lives.
    #[must_use]
    pub fn hold(&self, actor: &Actor, what: Use) -> Right {
        let (by, session) = match actor.kind {
            ActorKind::User { session } => (session, true),
            ActorKind::ApiKey { .. } => (actor.id, false),
        };
        let (ended, told) = watch::channel(None);
        let used = Arc::new(AtomicBool::new(false));
        let held = Held {
            by,
            session,
            role: actor.role,
            scope: actor.scope,
            what,
            used: used.clone(),
            confirmed: Instant::now(),
            ended,
        };
        let mut open = self.open();
        open.next += 1;
        let id = open.next;
        open.held.insert(id, held);
        drop(open);
        self.0.gauge.inc();
        Right { rights: self.clone(), id, used, ended: told }
    }

    /// Asks at once instead of at the next turn: something has just ended.
    pub fn look(&self) {
        self.0.look.notify_one();
    }

    /// Asks again and again until cancelled.
    pub async fn run(self, db: Db, stop: CancellationToken) {
        let mut turns = tokio::time::interval(EVERY);
        turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = turns.tick() => {}
                () = self.0.look.notified() => {}
            }
            if let Err(error) = self.check(&db).await {
                tracing::warn!(%error, "the rights of what is open could not be checked");
            }
        }
    }

    /// Asks once for all that is open, and ends what may no longer be.
    ///
    /// # Errors
    /// [`DbError`] when it cannot be told.
    pub async fn check(&self, db: &Db) -> Result<(), DbError> {
        let (mut sessions, mut keys, mut used) = (HashSet::new(), HashSet::new(), HashSet::new());
        // What is opened meanwhile was authenticated after this.
        let mut asked = Vec::new();
        for (id, held) in &self.open().held {
            asked.push(*id);
            let set = if held.session { &mut sessions } else { &mut keys };
            set.insert(held.by);
            if held.session && held.used.swap(false, Ordering::Relaxed) {
                used.insert(held.by);
            }
        }
        if asked.is_empty() {
            return Ok(());
        }
        let list = |set: HashSet<Uuid>| set.into_iter().collect::<Vec<_>>();
        let (sessions, keys, used) = (list(sessions), list(keys), list(used));
        let hours = i32::try_from(self.0.idle_hours).unwrap_or(i32::MAX);
        let answer: Result<Vec<Row>, DbError> = db
            .lookup_all(|| {
                sqlx::query_as("SELECT * FROM rights_now($1, $2, $3, make_interval(hours => $4))")
                    .bind(sessions.clone())
                    .bind(keys.clone())
                    .bind(used.clone())
                    .bind(hours)
            })
            .await;
        let now = Instant::now();
        let mut open = self.open();
        let rows = match answer {
            Ok(rows) => rows,
            Err(error) => {
                for held in open.held.values_mut() {
                    if held.what == Use::Acts && now - held.confirmed > UNCONFIRMED {
                        held.end(UNKNOWN);
                    }
                }
                return Err(error);
            }
        };
        let allowed: HashMap<Uuid, Row> = rows.into_iter().map(|row| (row.id, row)).collect();
        for id in asked {
            let Some(held) = open.held.get_mut(&id) else { continue };
            match allowed.get(&held.by) {
                None if held.session => held.end(SIGNED_OUT),
                None => held.end(KEY_ENDED),
                Some(row) if held.differs(row) => held.end(CHANGED),
                Some(_) => held.confirmed = now,
            }
        }
        Ok(())
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Open> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Held {
    fn differs(&self, row: &Row) -> bool {
        let Row { scope, partner_id, organization_id, site_id, .. } = row;
        let scope = Scope::from_columns(scope, *partner_id, *organization_id, *site_id);
        self.role != Role::parse(&row.role) || scope != Ok(self.scope)
    }

    fn end(&self, why: &'static str) {
        self.ended.send_if_modified(|told| {
            let first = told.is_none();
            *told = told.or(Some(why));
            first
        });
    }
}
