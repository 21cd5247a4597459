//! The daemon's life: start, work, drain.
//!
//! One thread runs everything but the database's writer. This module builds the
//! parts, connects them, waits for the signal and ends them in order: scripts are
//! ended and their outcomes made durable, then the spool is written down and what
//! can still be sent is sent, then the connection is closed.

mod parts;
mod tasks;

use crate::{
    clock::{self, now_ms},
    config::Settings,
    execute::{self, Context, Executor, RunningSet, Terminals},
    feature::{Asks, Feature, Work},
    features::FEATURES,
    guard::Guard,
    identity::{Identity, IdentityError, PrivateKey, recall},
    link::{
        live::LiveQueue,
        session::Link,
        spool::{Quotas, Spool},
    },
    platform::{self, Keepers, PackageManagers},
    store::{Store, StoreError},
};
use parts::Router;
use std::{sync::Arc, time::Duration};
use tokio::{
    sync::{Notify, mpsc, watch},
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Commands that wait for the executor.
const MAX_ORDERS: usize = 256;
/// Pause between attempts to read who this computer is.
const MACHINE_AGAIN: Duration = Duration::from_secs(10);
/// How long scripts are given to end when the agent is stopped.
const SCRIPTS_END: Duration = Duration::from_secs(10);
/// How long the agent waits for the relay to acknowledge the last reports.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// The one-threaded runtime of every command.
///
/// # Errors
/// When the system gives no event queue.
pub fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Only name look-ups use them, one at a time.
        .max_blocking_threads(2)
        .thread_stack_size(256 * 1024)
        .thread_keep_alive(Duration::from_secs(2))
        .build()?)
}

/// Runs the agent until it is told to stop.
///
/// # Errors
/// A sentence for whoever reads the journal.
pub fn run(settings: &Settings) -> anyhow::Result<()> {
    platform::share_heap();
    recall(&settings.state);
    let runtime = runtime()?;
    while let Some((identity, key)) = runtime.block_on(serve(settings))? {
        // What was remembered is the other computer's too, and goes by its name.
        let memory = settings.state.join(crate::store::FILE);
        match std::fs::rename(&memory, memory.with_extension("before")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error.into()),
            _ => identity.save(&settings.state, &key)?,
        }
        tracing::info!(device = %identity.device, "this computer has an identity of its own");
    }
    Ok(())
}

/// Runs until told to stop, or until this computer was given another identity.
async fn serve(settings: &Settings) -> anyhow::Result<Option<(Identity, PrivateKey)>> {
    let (identity, key) = loop {
        match Identity::load(&settings.state) {
            Err(error @ IdentityError::Machine(_)) => {
                tracing::error!("{error}");
                sleep(MACHINE_AGAIN).await;
            }
            other => break other?,
        }
    };
    let store = Store::open(&settings.state, Quotas::share(settings.spool_bytes), now_ms())?;
    clock::start(Spool::new(store.clone()).epoch(), tasks::load_shift(&store));
    let (counter, issued_ms) = execute::ledger::newest(&store)?;
    clock::later_issue(counter, issued_ms);
    let work = settings.state.join("work");
    let left = execute::recover(&store, &work, now_ms()).await?;
    let identity = Arc::new(identity);
    tracing::info!(
        version = crate::VERSION, device = %identity.device, indeterminate = left,
        "the agent starts"
    );

    let (draining, stop) = (CancellationToken::new(), CancellationToken::new());
    let context = Context {
        store: store.clone(),
        live: Arc::new(LiveQueue::default()),
        work,
        keepers: Arc::new(Keepers::of(platform::agent_program())),
        stop: draining.clone(),
        running: Arc::new(RunningSet::default()),
    };
    let terminals = Terminals::new(context.clone(), settings.max_terminals)
        .ending_all(settings.terminal_ends_all);
    let guard = Guard {
        device: identity.device,
        organization: identity.organization,
        site: identity.site,
        authority: identity.authority,
    };
    let (orders, order_inbox) = mpsc::channel(MAX_ORDERS);
    let executor = Executor::new(
        guard,
        context.clone(),
        terminals.clone(),
        settings.max_scripts,
        orders.clone(),
    );
    let config = tasks::load_config(&store);
    let (config_sender, config) = watch::channel(config);
    let (identity_sender, identity_now) = watch::channel(identity);
    let asks = Arc::<Asks>::default();
    let router = Arc::new(Router {
        orders,
        terminals,
        store: store.clone(),
        config: config_sender,
        renew: Notify::new(),
        own_identity: Notify::new(),
        asks: Arc::clone(&asks),
    });
    let spool = Spool::new(store.clone());
    let link = Link {
        identity: identity_now.clone(),
        key: Arc::new(key),
        addresses: settings.mqtt.clone(),
        spool: spool.clone(),
        live: Arc::clone(&context.live),
        inbox: Arc::clone(&router),
        running: Arc::clone(&context.running),
        stop: stop.clone(),
        asked_ms: Arc::default(),
    };
    let key = Arc::clone(&link.key);
    let (given, mut own_identity) = mpsc::channel(1);

    let executor = tokio::spawn(executor.run(order_inbox));
    let link = tokio::spawn(link.run());
    let work = Work {
        settings: settings.clone(),
        store: store.clone(),
        config: config.clone(),
        live: Arc::clone(&context.live),
        asks,
    };
    let mut background = vec![
        tokio::spawn(tasks::keep_config(store.clone(), config)),
        tokio::spawn(tasks::keep_shift(store.clone())),
        tokio::spawn(tasks::renewal(
            settings.clone(),
            identity_sender,
            identity_now,
            key,
            Arc::clone(&router),
            given,
        )),
        tokio::spawn(tasks::settle(spool.clone(), settings.state.clone())),
    ];
    background.extend(FEATURES.iter().map(|feature| tokio::spawn(follow(feature, work.clone()))));
    platform::notify("READY=1");
    let given = tokio::select! {
        signal = platform::terminate_signal() => {
            tracing::info!(signal = signal?, "the agent is being stopped");
            platform::notify("STOPPING=1");
            None
        }
        Some(given) = own_identity.recv() => Some(given),
    };
    for task in &background {
        task.abort();
    }
    if let Err(error) = PackageManagers::new(&settings.root).pause() {
        tracing::warn!(%error, "package managers still use the package cache");
    }
    draining.cancel();
    if timeout(SCRIPTS_END, executor).await.is_err() {
        tracing::warn!("scripts did not end in time; they will be reported as indeterminate");
    }
    settle_all(&spool).await;
    let drained = async {
        while !spool.is_drained() && context.live.is_up() {
            sleep(Duration::from_millis(20)).await;
        }
    };
    drop(timeout(LAST_WORDS, drained).await);
    stop.cancel();
    drop(timeout(LAST_WORDS, link).await);
    tracing::info!("the agent has stopped");
    Ok(given)
}

/// Runs a feature, which has no reason to end.
async fn follow(feature: &'static Feature, work: Work) {
    (feature.run)(work).await;
    tracing::error!(feature = feature.name, "a part of the agent has ended; restart the agent");
}

async fn settle_all(spool: &Spool) {
    match spool.settle(u64::MAX).await {
        Ok(()) | Err(StoreError::Closed) => {}
        Err(error) => tracing::error!(%error, "samples could not be written at the end"),
    }
}
