//! The test bench: an executor over a state folder, and eyes on what it reports.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use unifyit_agent::{
    clock::now_ms,
    execute::{Context, Executor, Order, RunningSet, Terminals, recover},
    guard::Guard,
    link::{
        live::LiveQueue,
        spool::{Continuity, Quotas, Spool},
    },
    platform::Keepers,
    store::Store,
};
use unifyit_protocol::{
    codec,
    command::{Action, Command, Interpreter, Script, Targets},
    envelope::Decoded,
    ids::{CommandId, DeviceId, OrganizationId, SiteId},
    lan::ReportAck,
    live::LiveUp,
    outcome::{CommandEvent, OutputChunk},
    report::{Gap, Report, ReportBatch},
    signing::Signer25519,
};

pub(crate) struct Bench {
    pub(crate) context: Context,
    pub(crate) terminals: Terminals,
    pub(crate) guard: Guard,
    authority: Signer25519,
    orders: mpsc::Sender<Order>,
    pub(crate) executor: JoinHandle<()>,
    spool: Spool,
    pub(crate) events: Vec<CommandEvent>,
    pub(crate) chunks: Vec<OutputChunk>,
    pub(crate) gaps: Vec<Gap>,
    /// Where the relay stands.
    pub(crate) positions: Vec<ReportAck>,
}

pub(crate) fn helper() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_unifyit-agent"))
}

/// A device that the same seed makes again after a restart.
pub(crate) fn guard() -> (Guard, Signer25519) {
    let authority = Signer25519::from_seed(&[1; 32]);
    let id = uuid::Uuid::from_u128;
    let guard = Guard {
        device: DeviceId(id(1)),
        organization: OrganizationId(id(2)),
        site: SiteId(id(3)),
        authority: authority.public(),
    };
    (guard, authority)
}

impl Bench {
    /// Starts over a state folder, as the daemon does.
    pub(crate) async fn start(state: &Path, max_scripts: usize) -> Self {
        Self::meet(state, max_scripts, Vec::new()).await
    }

    /// As [`Self::start`]; terminals end with all that was detached, if wanted.
    pub(crate) async fn start_with(state: &Path, max_scripts: usize, end_all: bool) -> Self {
        Self::begin(state, max_scripts, end_all, Vec::new()).await
    }

    /// As [`Self::start`], for a relay that stands somewhere already.
    pub(crate) async fn meet(state: &Path, max_scripts: usize, positions: Vec<ReportAck>) -> Self {
        Self::begin(state, max_scripts, false, positions).await
    }

    async fn begin(
        state: &Path,
        max_scripts: usize,
        end_all: bool,
        positions: Vec<ReportAck>,
    ) -> Self {
        let deadline = Instant::now() + Duration::from_secs(10);
        let store = loop {
            match Store::open(state, Quotas::share(64 << 20), now_ms()) {
                Ok(store) => break store,
                Err(error) => assert!(Instant::now() < deadline, "{error}"),
            }
            tokio::task::yield_now().await;
        };
        let work = state.join("work");
        recover(&store, &work, now_ms()).await.unwrap();
        let live = Arc::new(LiveQueue::default());
        live.set_up(true);
        let context = Context {
            store: store.clone(),
            live,
            work,
            keepers: Arc::new(Keepers::of(helper())),
            stop: CancellationToken::new(),
            running: Arc::new(RunningSet::default()),
        };
        let terminals = Terminals::new(context.clone(), 2).ending_all(end_all);
        let (guard, authority) = guard();
        let (orders, inbox) = mpsc::channel(64);
        let executor =
            Executor::new(guard, context.clone(), terminals.clone(), max_scripts, orders.clone());
        let executor = tokio::spawn(executor.run(inbox));
        let spool = Spool::new(store);
        if let Continuity::BrokenAbove(above) = spool.welcome(&positions).unwrap() {
            spool.start_over(above).await.unwrap();
            spool.welcome(&positions).unwrap();
        }
        let (events, chunks, gaps) = (Vec::new(), Vec::new(), Vec::new());
        Self {
            context,
            terminals,
            guard,
            authority,
            orders,
            executor,
            spool,
            events,
            chunks,
            gaps,
            positions,
        }
    }

    pub(crate) fn command(&self, action: Action) -> Command {
        Command {
            id: CommandId::generate(),
            organization: self.guard.organization,
            targets: Targets::Site(self.guard.site),
            action,
            not_before_ms: 0,
            expires_ms: now_ms() + 3_600_000,
            counter: 1,
            issued_ms: now_ms(),
        }
    }

    pub(crate) async fn deliver(&self, command: &Command) {
        let signed = self.authority.sign(command, None).unwrap();
        self.terminals.expect(&signed);
        self.orders.send(Order::Deliver(Box::new(signed))).await.unwrap();
    }

    pub(crate) async fn run(&self, script: Script) -> CommandId {
        let command = self.command(Action::Script(script));
        self.deliver(&command).await;
        command.id
    }

    /// Takes what the spool sends, as the relay would.
    pub(crate) fn take(&mut self) {
        while let Some(bytes) = self.spool.next_batch(None, Instant::now()).unwrap() {
            let batch: ReportBatch = codec::decode(&bytes).unwrap();
            let through = batch.reports.last().unwrap().seq;
            for report in batch.reports {
                match Report::decode(&report.body).unwrap() {
                    Decoded::Known(Report::Command(event)) => self.events.push(event),
                    Decoded::Known(Report::Output(chunk)) => self.chunks.push(chunk),
                    Decoded::Known(Report::Gap(gap)) => self.gaps.push(gap),
                    other => panic!("an unexpected report: {other:?}"),
                }
            }
            let ack = ReportAck { lane: batch.lane, epoch: batch.epoch, through };
            self.positions.retain(|p| p.lane != ack.lane);
            self.positions.push(ack);
            self.spool.acked(&ack, Instant::now());
        }
    }

    pub(crate) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            self.take();
            if holds(self) {
                return;
            }
            assert!(Instant::now() < deadline, "{what} did not happen: {:?}", self.events);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    pub(crate) async fn wait_for(what: &str, holds: impl Fn() -> bool) {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !holds() {
            assert!(Instant::now() < deadline, "{what} did not happen");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Waits for the final event of a command.
    pub(crate) async fn outcome(&mut self, id: CommandId) -> CommandEvent {
        let is_it = move |e: &&CommandEvent| e.command == id && e.status.is_final();
        self.until("the outcome", |b| b.events.iter().any(|e| is_it(&e))).await;
        self.events.iter().find(is_it).unwrap().clone()
    }

    pub(crate) async fn started(&mut self, id: CommandId) {
        self.until("the start", |b| b.events.iter().any(|e| e.command == id)).await;
    }

    /// The durable output of a command; checks that the offsets join.
    pub(crate) fn output(&self, id: CommandId) -> Vec<u8> {
        let mut bytes = Vec::new();
        for chunk in self.chunks.iter().filter(|c| c.command == id) {
            assert_eq!(chunk.offset, bytes.len() as u64, "the pieces do not join");
            bytes.extend_from_slice(&chunk.data);
        }
        bytes
    }

    pub(crate) fn text(&self, id: CommandId) -> String {
        String::from_utf8_lossy(&self.output(id)).into_owned()
    }

    /// The next live frame.
    pub(crate) async fn live(&self) -> LiveUp {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            if let Some(bytes) = self.context.live.take_next() {
                let Decoded::Known(frame) = LiveUp::decode(&bytes).unwrap() else { continue };
                return frame;
            }
            assert!(Instant::now() < deadline, "no live frame came");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    pub(crate) fn reports_of(&self, id: CommandId) -> usize {
        self.events.iter().filter(|e| e.command == id).count()
    }

    /// Goes down as kill -9 would: nothing is concluded.
    pub(crate) async fn crash(self) {
        self.executor.abort();
        let file = self.context.work.with_file_name("agent.redb");
        let Self { context, terminals, orders, executor, spool, .. } = self;
        drop((executor.await, context, terminals, orders, spool));
        // The writer closes the file on its own thread; until then it is not the test's.
        let deadline = Instant::now() + Duration::from_secs(30);
        while let Err(error) = redb::Database::open(&file) {
            assert!(Instant::now() < deadline, "{error}");
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

pub(crate) fn sh(body: &str) -> Script {
    Script {
        interpreter: Interpreter::Sh,
        body: body.into(),
        args: vec![],
        env: vec![],
        timeout_s: 0,
        output_limit: 0,
        user: None,
        folder: None,
    }
}

/// Whether a process with this word in its command line runs.
pub(crate) fn runs(word: &str) -> bool {
    std::fs::read_dir("/proc").unwrap().flatten().any(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let state = std::fs::read_to_string(entry.path().join("stat")).unwrap_or_default();
        line.windows(word.len()).any(|w| w == word.as_bytes()) && !state.contains(") Z ")
    })
}

pub(crate) async fn gone(word: &str) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while runs(word) {
        assert!(Instant::now() < deadline, "{word} still runs");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// A number of seconds that no other process sleeps for.
pub(crate) fn unique_sleep() -> String {
    let (_, low) = uuid::Uuid::new_v4().as_u64_pair();
    format!("6{:08}", low % 100_000_000)
}
