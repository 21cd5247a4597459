//! `GET /api/cache`: what the package cache saved, by day and repository, and
//! what it is to have ready.

use crate::{
    cache::{Cache, Saving},
    ui::{Ui, sessions::problem},
};
use axum::{
    Json,
    extract::State,
    response::{IntoResponse, Response},
};
use http::StatusCode;
use serde::Serialize;
use std::{collections::BTreeMap, sync::Arc};

/// Failures shown; the rest is in the count.
const MAX_FAILURES: usize = 20;

#[derive(Default, Serialize)]
struct Account {
    /// Oldest first.
    days: Vec<Row>,
    /// Over all days kept, most served first.
    repositories: Vec<Row>,
    ahead: Ahead,
}

#[derive(Serialize)]
struct Row {
    /// A day, or a repository.
    name: String,
    served: u64,
    fetched: u64,
    hits: u64,
    misses: u64,
}

/// Files to be fetched ahead.
#[derive(Default, Serialize)]
struct Ahead {
    files: usize,
    ready: usize,
    bytes_left: u64,
    /// Whether it is an hour for it.
    off_hours: bool,
    failures: Vec<Failure>,
}

#[derive(Serialize)]
struct Failure {
    url: String,
    times: u32,
    reason: String,
}

/// Answers with the account; an empty one when the cache does not run.
pub(crate) async fn handle(State(ui): State<Arc<Ui>>) -> Response {
    let Some(cache) = ui.parts.cache.clone() else {
        return Json(Account::default()).into_response();
    };
    match tokio::task::spawn_blocking(move || account(&cache)).await {
        Ok(Ok(account)) => Json(account).into_response(),
        _ => {
            problem(StatusCode::SERVICE_UNAVAILABLE, "The package cache's account cannot be read.")
        }
    }
}

fn account(cache: &Cache) -> Result<Account, crate::cache::index::IndexError> {
    let (mut days, mut repositories) = (BTreeMap::new(), BTreeMap::new());
    for (day, repository, saving) in cache.saved()? {
        days.entry(day).or_insert_with(Saving::default).add(&saving);
        repositories.entry(repository).or_insert_with(Saving::default).add(&saving);
    }
    let mut repositories = rows(repositories);
    repositories.sort_by_key(|row| std::cmp::Reverse(row.served));
    let list = cache.ahead()?;
    let failures = list.iter().filter(|file| file.failures > 0).take(MAX_FAILURES);
    Ok(Account {
        days: rows(days),
        repositories,
        ahead: Ahead {
            files: list.len(),
            ready: list.iter().filter(|file| file.done).count(),
            bytes_left: list.iter().filter(|file| !file.done).map(|file| file.size).sum(),
            off_hours: cache.is_off_hours(),
            failures: failures
                .map(|file| Failure {
                    url: file.url.clone(),
                    times: file.failures,
                    reason: file.failure.clone(),
                })
                .collect(),
        },
    })
}

fn rows(sums: BTreeMap<String, Saving>) -> Vec<Row> {
    let row = |(name, sum): (String, Saving)| Row {
        name,
        served: sum.served,
        fetched: sum.fetched,
        hits: sum.hits,
        misses: sum.misses,
    };
    sums.into_iter().map(row).collect()
}
