//! A disk whose sync fails says nothing of what it kept.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use super::*;
use crate::{
    clock::now_ms,
    execute::RunningSet,
    guard::Memory,
    link::{
        live::LiveQueue,
        spool::{Quotas, Spool},
    },
    platform::Keepers,
    store::Store,
};
use std::path::Path;
use unifyit_protocol::{
    command::{Interpreter, Script, Targets},
    ids::{DeviceId, OrganizationId, SiteId},
    lan::Handed,
    signing::Signer25519,
};

/// An executor that goes step by step, and a script for it.
struct Bench {
    executor: Executor,
    inbox: mpsc::Receiver<Order>,
    store: Store,
    signed: Signed<Command>,
    id: CommandId,
}

async fn bench(state: &Path) -> Bench {
    let store = Store::open(state, Quotas::share(64 << 20), now_ms()).unwrap();
    let context = Context {
        store: store.clone(),
        live: Arc::new(LiveQueue::default()),
        work: state.join("work"),
        keepers: Arc::new(Keepers::of("/bin/false".into())),
        stop: CancellationToken::new(),
        running: Arc::new(RunningSet::default()),
    };
    Spool::new(store.clone()).welcome(&[]).unwrap();
    // What the welcome had to write is written.
    store.write(|_| Ok(())).await.unwrap();
    let authority = Signer25519::from_seed(&[1; 32]);
    let guard = Guard {
        device: DeviceId::generate(),
        organization: OrganizationId::generate(),
        site: SiteId::generate(),
        authority: authority.public(),
    };
    let script = Script {
        interpreter: Interpreter::Sh,
        body: "true".into(),
        args: Vec::new(),
        env: Vec::new(),
        user: None,
        folder: None,
        timeout_s: 0,
        output_limit: 1024,
    };
    let command = Command {
        id: CommandId::generate(),
        organization: guard.organization,
        targets: Targets::Site(guard.site),
        action: Action::Script(script),
        not_before_ms: 0,
        expires_ms: now_ms() + 3_600_000,
        counter: 1,
        issued_ms: now_ms(),
    };
    let signed = authority.sign(&command, None).unwrap();
    let terminals = Terminals::new(context.clone(), 1);
    let (orders, inbox) = mpsc::channel(8);
    let executor = Executor::new(guard, context, terminals, 1, orders);
    Bench { executor, inbox, store, signed, id: command.id }
}

impl Bench {
    async fn deliver(&mut self) {
        self.executor.delivered(Box::new(self.signed.clone())).await;
    }

    fn outcome(&self) -> Option<CommandEvent> {
        self.store.seen(self.id).unwrap().unwrap().outcome
    }
}

#[tokio::test]
async fn a_command_whose_intent_is_in_the_file_though_its_commit_failed_is_told_as_not_started() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.store.fails();
    bench.deliver().await;
    let Some(Order::Back(signed, waited)) = bench.inbox.recv().await else { panic!("it began") };
    bench.deliver().await;
    assert_eq!(bench.outcome(), None, "it is under way until this word was heard");
    bench.executor.back(&signed, waited).await;
    let outcome = bench.outcome().unwrap();
    assert_eq!(outcome.status, Status::Failed);
    assert!(outcome.reason.unwrap().contains("did not start"));
    bench.deliver().await;
    assert!(bench.executor.active.is_empty() && bench.inbox.try_recv().is_err(), "and not again");
}

#[tokio::test]
async fn it_is_told_with_its_next_delivery_where_the_disk_still_failed() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let (id, now) = (bench.id, now_ms());
    let entry = Entry { expires_ms: now + 3_600_000, accepted_ms: now, outcome: None };
    assert!(bench.store.write(move |txn| ledger::write(txn, id, &entry, now)).await.unwrap());
    bench.deliver().await;
    assert_eq!(bench.outcome().unwrap().status, Status::Failed);
}

#[tokio::test]
async fn a_command_whose_entry_is_damaged_is_told_as_lost_track_of() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    let key = bench.id.0.as_u128();
    let damage = bench.store.write(move |txn| {
        txn.tables.open_table(crate::store::LEDGER)?.insert(key, [0xff].as_slice())?;
        Ok(())
    });
    damage.await.unwrap();
    bench.deliver().await;
    assert_eq!(bench.outcome().unwrap().status, Status::Indeterminate);
}

#[tokio::test]
async fn what_was_judged_is_not_kept_in_mind_for_the_next_connection() {
    let dir = tempfile::tempdir().unwrap();
    let mut bench = bench(dir.path()).await;
    bench.store.handed(Handed { started: vec![bench.id], ..Handed::default() });
    bench.store.birth().came(bench.id);
    Spool::new(bench.store.clone()).welcome(&[]).unwrap();
    bench.deliver().await;
    let reason = bench.outcome().unwrap().reason.unwrap();
    assert!(reason.contains("handed to this computer before"), "{reason}");
    Spool::new(bench.store.clone()).welcome(&[]).unwrap();
    assert!(!bench.store.was_handed(bench.id, 0));
}
