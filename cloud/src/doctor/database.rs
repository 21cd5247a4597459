//! The database, and this machine's clock beside its own.

use crate::{
    config::Config,
    db::{Db, DbError, DbOptions, MigrateError},
    events::LocalBus,
};
use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};
use unifyit_protocol::doctor::Finding;

/// Clocks may differ by so many seconds.
const MOST_SKEW: f64 = 5.0;

pub(super) async fn examine(config: &Config) -> Vec<Finding> {
    const CHECK: &str = "database";
    const REMEDY: &str = "Check that PostgreSQL runs (systemctl status postgresql) and that host, port, user and password in database_url are right.";
    let options = DbOptions {
        url: config.database_url.clone(),
        connections: 1,
        patience: Duration::from_secs(5),
    };
    let db = match Db::new(&options, Arc::new(LocalBus::default())) {
        Ok(db) => db,
        Err(error) => {
            return vec![Finding::ill(
                CHECK,
                format!("database_url is not usable ({error})"),
                "Write postgres://USER:PASSWORD@HOST:PORT/DATABASE.",
            )];
        }
    };
    let theirs = match db.ping().await {
        Ok(theirs) => theirs,
        Err(error) => return vec![Finding::ill(CHECK, error.to_string(), REMEDY)],
    };
    let ours = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    vec![
        Finding::well(CHECK, "it answers"),
        clock(ours.as_secs_f64() - theirs),
        schema(db.check().await),
    ]
}

pub(super) fn clock(ahead_s: f64) -> Finding {
    const CHECK: &str = "clock";
    let word = if ahead_s > 0.0 { "ahead of" } else { "behind" };
    let apart = ahead_s.abs();
    if apart <= MOST_SKEW {
        return Finding::well(CHECK, "it agrees with the database's");
    }
    Finding::ill(
        CHECK,
        format!("this machine's clock is {apart:.0} s {word} the database's"),
        "Set both by NTP: timedatectl set-ntp true.",
    )
}

fn schema(checked: Result<(), MigrateError>) -> Finding {
    const CHECK: &str = "schema";
    match checked {
        Ok(()) => Finding::well(CHECK, "it is up to date, and row security binds the role"),
        Err(MigrateError::Db(error @ (DbError::Query(_) | DbError::Unavailable { .. }))) => {
            Finding::ill(
                CHECK,
                format!("it cannot be checked ({error})"),
                "See whether PostgreSQL is starting or stopping, then run unifyit-cloud migrate.",
            )
        }
        Err(error) => {
            Finding::ill(CHECK, error.to_string(), "Bring it up to date: unifyit-cloud migrate.")
        }
    }
}
