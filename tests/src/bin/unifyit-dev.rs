//! `make run` and `make demo`: the whole product on this machine, until Ctrl-C.

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use serde::Serialize;
use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tokio::signal::unix::{SignalKind, signal};
use unifyit_tests::{
    process::{Process, Spec, binary},
    stack::{Stack, StackSpec, ports::Ports, write_private},
    wait,
};

/// The whole product on this machine.
#[derive(Debug, Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Starts PostgreSQL, cloud, relay and a real agent, and keeps them running.
    Run {
        /// Folder of all state and of run.json.
        #[arg(long, default_value = ".dev")]
        state: PathBuf,
        /// Simulated devices beside the real agent.
        #[arg(long, default_value_t = 0)]
        devices: usize,
        /// First of eight consecutive ports, instead of the usual ones.
        #[arg(long)]
        port_base: Option<u16>,
        /// Port of a line between relays and cloud that can be cut: SIGUSR1 to
        /// this process cuts it, SIGUSR2 mends it. The same at every start.
        #[arg(long)]
        wan: Option<u16>,
        /// Fills the list up to so many devices with copies of the simulated ones
        /// that stand in the database alone: they are listed, found and sorted, and
        /// report nothing.
        #[arg(long, default_value_t = 0, requires = "devices")]
        listed: usize,
    },
}

/// `run.json`.
#[derive(Debug, Serialize)]
struct RunFile {
    console: String,
    email: String,
    password: String,
    relay_ui: String,
    relay_ui_pin: String,
    organization_id: String,
    site_id: String,
    relay_peer_id: String,
    pid: u32,
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "for the person who started it")]
async fn main() -> ExitCode {
    let Command::Run { state, devices, port_base, wan, listed } = Args::parse().command;
    let spec = StackSpec {
        folder: state,
        ports: port_base.map_or_else(Ports::default, Ports::from_base),
        agents: 1,
        wan,
        hand_out: true,
        build: None,
    };
    match run(spec, devices, listed).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(mut spec: StackSpec, devices: usize, listed: usize) -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut cut = signal(SignalKind::user_defined1())?;
    let mut mend = signal(SignalKind::user_defined2())?;

    fs::create_dir_all(&spec.folder)?;
    let state = spec.folder.canonicalize()?;
    spec.folder.clone_from(&state);
    let one = Running::claim(&state)?;
    let run_file = state.join("run.json");
    let work = async {
        let mut stack = Box::pin(Stack::start(&spec)).await?;
        let run = describe(&stack).await?;
        write_private(&run_file, &format!("{}\n", serde_json::to_string_pretty(&run)?))?;
        let mut fleet = match devices {
            0 => None,
            _ => Some(simulate(&stack, &state, devices).await?),
        };
        if listed > 0 {
            fill(&stack, devices, listed).await?;
        }
        greet(&run, devices, &state);
        loop {
            let open = tokio::select! {
                () = tokio::time::sleep(Duration::from_secs(1)) => None,
                _ = cut.recv() => Some(false),
                _ = mend.recv() => Some(true),
            };
            if let (Some(open), Some(wan)) = (open, &stack.wan) {
                wan.set_open(open);
            }
            stack.check_alive()?;
            if let Some(fleet) = &mut fleet {
                fleet.check_alive()?;
            }
        }
        // The type of a loop that only errors leave.
        #[expect(unreachable_code, reason = "names the type")]
        Ok::<(), anyhow::Error>(())
    };
    let outcome = tokio::select! {
        outcome = work => outcome,
        _ = interrupt.recv() => Ok(()),
        _ = terminate.recv() => Ok(()),
        _ = hangup.recv() => Ok(()),
    };
    // The select above has dropped the stack, which ends every process in order.
    drop(one);
    outcome
}

/// Keeps a second run out of the same folder.
struct Running {
    _lock: nix::fcntl::Flock<fs::File>,
}

impl Running {
    fn claim(state: &Path) -> Result<Self> {
        let file = fs::File::create(state.join("lock"))?;
        nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock)
            .map(|lock| Self { _lock: lock })
            .map_err(|_| {
                anyhow::anyhow!(
                    "{} is in use by another run. Stop that one first, or choose another \
                     folder: make run STATE=.dev2 PORTS=20000.",
                    state.display()
                )
            })
    }
}

async fn describe(stack: &Stack) -> Result<RunFile> {
    let saved = &stack.saved;
    let site_id = stack.site()?;
    let relay = stack.api.site(&site_id).await?.relay.context("the site has no relay")?;
    Ok(RunFile {
        console: stack.cloud.url(),
        email: saved.email.clone(),
        password: saved.password.clone(),
        relay_ui: stack.relay.ui_url(),
        relay_ui_pin: saved.pin.clone(),
        organization_id: saved.organization.clone().context("the stack has no organization")?,
        site_id,
        relay_peer_id: relay.peer_id,
        pid: std::process::id(),
    })
}

async fn simulate(stack: &Stack, state: &Path, devices: usize) -> Result<Process> {
    let uses = u32::try_from(devices).unwrap_or(u32::MAX);
    let token = stack.api.install_token(&stack.site()?, "agent", uses).await?;
    let file = state.join("simulated.json");
    let args = ["--devices", &devices.to_string(), "--file", &file.to_string_lossy()];
    let log = state.join("logs").join("simulated.log");
    let mut spec = Spec::new("unifyit-sim", binary("unifyit-sim")?, args, log)
        .env("UNIFYIT_TOKEN", token.token);
    spec.on_parent_death = "TERM";
    spec.start()
}

/// Copies what the simulated devices have reported, until so many are listed.
async fn fill(stack: &Stack, devices: usize, listed: usize) -> Result<()> {
    let known = "SELECT count(*) FROM device_lines JOIN device_loads USING (id) \
         WHERE os_name <> '' AND metrics_at > '-infinity'";
    wait::until("the simulated devices to be known", wait::secs(180), || async {
        let count: usize = stack.postgres.sql(known)?.trim().parse()?;
        Ok((count > devices).then_some(()))
    })
    .await?;
    stack.postgres.sql(&format!(
        "INSERT INTO devices (id, partner_id, organization_id, site_id, online, online_since, \
         last_seen, metrics_at, cpu_pct, memory_pct, disk_pct, enrolled_at, os_name, os_family, \
         hostname, arch, agent_version, address) \
         SELECT gen_random_uuid(), d.partner_id, d.organization_id, d.site_id, random() < 0.9, \
         online_since, last_seen, l.metrics_at, 100 * random(), 100 * random(), 100 * random(), \
         enrolled_at, d.os_name, d.os_family, \
         left(hostname, -4) || lpad((1000 + row_number() OVER ())::text, 5, '0'), arch, \
         agent_version, address \
         FROM devices d JOIN device_loads l ON l.id = d.id CROSS JOIN generate_series(1, {listed}) AS copy \
         ORDER BY copy LIMIT {listed} - (SELECT count(*) FROM devices); \
         ANALYZE devices; ANALYZE device_lines; ANALYZE device_loads;"
    ))?;
    Ok(())
}

fn greet(run: &RunFile, devices: usize, state: &Path) {
    println!();
    println!("  UnifyIT is running.");
    println!();
    println!("  Console    {}", run.console);
    println!("  E-mail     {}", run.email);
    println!("  Password   {}", run.password);
    println!("  Local UI   {}  (PIN {})", run.relay_ui, run.relay_ui_pin);
    if devices > 0 {
        println!("  Devices    this computer and {devices} simulated ones");
    } else {
        println!("  Devices    this computer");
    }
    println!("  State      {}  (logs in {})", state.display(), state.join("logs").display());
    println!();
    println!("  Ctrl-C stops everything; the next start keeps all data.");
    println!();
}
