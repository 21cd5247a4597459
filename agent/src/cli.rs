//! The command line: what can be asked of the agent, and its answers.

use crate::{
    VERSION,
    clock::now_ms,
    collect::inventory,
    config::{Overrides, Settings},
    doctor, enroll, lifecycle, package_cache,
    platform::{self, HelperOrder, PackageManagers},
    uninstall,
};
use clap::{Args, Parser, Subcommand};
use std::{
    ffi::OsString,
    io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::Duration,
};
use tracing_subscriber::{filter::Targets, layer::SubscriberExt, util::SubscriberInitExt};

/// The UnifyIT agent: reports how this computer fares to the site's relay and
/// runs what your organization signed.
///
/// Settings come from the configuration file, then UNIFYIT_* variables, then
/// flags; the later wins. Exit codes: 0 done, 1 failed or doctor found something,
/// 2 wrong usage.
#[derive(Debug, Parser)]
#[command(name = "unifyit-agent", version = VERSION)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// Configuration file [default: /etc/unifyit/agent.toml, if present]
    #[arg(long, global = true, env = "UNIFYIT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// State folder [default: /var/lib/unifyit-agent]
    #[arg(long, global = true, env = "UNIFYIT_STATE", value_name = "DIR")]
    state: Option<PathBuf>,
    /// What to log: error, warn, info, debug or trace; or by part, such as
    /// info,unifyit_agent::link=debug [default: info]
    #[arg(long, global = true, env = "UNIFYIT_LOG", value_name = "FILTER")]
    log: Option<String>,
    /// Log lines as text or json [default: text]
    #[arg(long, global = true, env = "UNIFYIT_LOG_FORMAT", value_name = "FORMAT")]
    log_format: Option<String>,
    /// host:port of the relay's MQTT, instead of the enrolled one; may be repeated
    #[arg(long, global = true, env = "UNIFYIT_MQTT", value_delimiter = ',', value_name = "ADDR")]
    mqtt: Vec<String>,
    /// host:port of the relay's HTTPS, instead of the enrolled one; may be repeated
    #[arg(long, global = true, env = "UNIFYIT_HTTPS", value_delimiter = ',', value_name = "ADDR")]
    https: Vec<String>,
    /// Folder that stands for / in other programs' settings [default: /]
    #[arg(long, global = true, env = "UNIFYIT_ROOT", hide = true, value_name = "DIR")]
    root: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a site with an install token from the console (Sites > Install)
    Enroll {
        /// The install token, UIT1.…
        #[arg(long, env = "UNIFYIT_TOKEN", hide_env_values = true)]
        token: String,
        /// Enrol anew although this computer is enrolled already
        #[arg(long)]
        force: bool,
    },
    /// Run the agent until it is told to stop (SIGTERM, SIGINT)
    Run,
    /// Check what can be wrong and say how to mend it; works beside a running agent
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Remove the agent from this computer: service, state, settings it made
    Uninstall {
        /// Really remove; without it, only what would go is said
        #[arg(long)]
        yes: bool,
    },
    /// Answer apt's question for a proxy; apt runs it by itself
    #[command(hide = true)]
    ProxyForApt {
        /// What the running agent wrote for this
        #[arg(long)]
        settings: PathBuf,
        /// What apt is about to fetch from
        url: String,
    },
    /// Parts of the agent that run as processes of their own
    #[command(hide = true, subcommand)]
    Internal(Internal),
}

#[derive(Debug, Subcommand)]
enum Internal {
    /// Print what changed in the inventory
    Inventory {
        #[arg(long)]
        folder: PathBuf,
        #[arg(long)]
        whole: bool,
        /// What stands for / where package managers are looked for
        #[arg(long, default_value = "/")]
        sources: PathBuf,
        /// Seconds that one source may take
        #[arg(long, default_value_t = 60)]
        limit_s: u64,
    },
    /// Take away settings that fail without a package cache that answers
    PausePackageCache,
    /// Keep a command: start it as told over standard input, and end it as a whole
    Keep,
    /// Prepare this process and become a program
    Exec {
        #[arg(long)]
        terminal: Option<PathBuf>,
        #[arg(long)]
        user: Option<String>,
        #[arg(long)]
        folder: Option<PathBuf>,
        #[arg(long, allow_hyphen_values = true)]
        name: Option<OsString>,
        #[arg(last = true)]
        program: Vec<OsString>,
    },
}

/// Does what the command line asks.
#[must_use]
pub fn main() -> ExitCode {
    exit(run(Cli::parse()))
}

fn exit(done: anyhow::Result<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        ExitCode::FAILURE
    })
}

/// Keeps a command, when that is what the command line asks in the words in which the
/// agent itself asks it.
#[must_use]
pub fn keep() -> Option<ExitCode> {
    let words: Vec<OsString> = std::env::args_os().skip(1).take(3).collect();
    (words == ["internal", "keep"]).then(|| exit(platform::keep().map(|()| ExitCode::SUCCESS)))
}

#[expect(clippy::print_stderr, reason = "this is the answer to the person at the terminal")]
fn complain(sentence: &str) {
    eprintln!("unifyit-agent: {sentence}");
}

#[expect(clippy::print_stdout, reason = "this is the answer to the person at the terminal")]
fn say(sentence: &str) {
    println!("{sentence}");
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Global { config, state, log, log_format, mqtt, https, root } = cli.global;
    // The helpers run in environments that are not the agent's own.
    match cli.command {
        Command::Internal(internal) => {
            // The others' errors are answers to whoever started them.
            if let Internal::Inventory { .. } = internal {
                let filter = log.as_deref().unwrap_or("warn");
                start_logging(filter, log_format.as_deref() == Some("json"))?;
            }
            return run_internal(internal, root.as_deref().unwrap_or(Path::new("/")));
        }
        Command::ProxyForApt { settings, url } => {
            say(&package_cache::answer(&settings, &url));
            return Ok(ExitCode::SUCCESS);
        }
        _ => {}
    }
    let overrides = Overrides { config, state, log, log_format, mqtt, https, root };
    let settings = Settings::load(overrides)?;
    start_logging(&settings.log, settings.log_json)?;
    match cli.command {
        Command::Enroll { token, force } => {
            let work = enroll::enroll(&settings.state, &token, force, now_ms());
            let enrolled = lifecycle::runtime()?.block_on(work)?;
            say(&format!(
                "This computer is enrolled as device {}. Start the agent: systemctl enable --now \
                 unifyit-agent, or unifyit-agent run.",
                enrolled.identity.device
            ));
            if settings.package_cache {
                say("While it runs, apt, dnf and zypper fetch through the site's package cache. \
                     Proxies that people set up stay as they are; package_cache = false in \
                     /etc/unifyit/agent.toml leaves package managers alone.");
            }
            say(
                "unifyit-agent uninstall --yes takes back all that the agent changed; the program \
                 itself stays.",
            );
            Ok(ExitCode::SUCCESS)
        }
        Command::Run => {
            lifecycle::run(&settings)?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Doctor { json } => {
            let report = lifecycle::runtime()?.block_on(doctor::examine(&settings));
            say(&if json { serde_json::to_string_pretty(&report)? } else { report.text() });
            Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
        Command::Uninstall { yes: false } => {
            say(&uninstall::plan(&settings));
            Ok(ExitCode::FAILURE)
        }
        Command::Uninstall { yes: true } => {
            for path in uninstall::uninstall(&settings)? {
                say(&format!("removed {}", path.display()));
            }
            say(
                "This computer is no longer managed. Revoke the device in the console, and remove \
                 the program itself: it is where you started it from.",
            );
            Ok(ExitCode::SUCCESS)
        }
        // Done above.
        Command::Internal(_) | Command::ProxyForApt { .. } => Ok(ExitCode::SUCCESS),
    }
}

fn run_internal(internal: Internal, root: &Path) -> anyhow::Result<ExitCode> {
    match internal {
        Internal::PausePackageCache => {
            drop(PackageManagers::new(root).pause()?);
            Ok(ExitCode::SUCCESS)
        }
        Internal::Inventory { folder, whole, sources: root, limit_s } => {
            platform::prepare_for_sources();
            let limit = Duration::from_secs(limit_s);
            let out = io::BufWriter::new(io::stdout().lock());
            inventory::tell_changes(&inventory::Order { folder, root, whole, limit }, out)?;
            Ok(ExitCode::SUCCESS)
        }
        Internal::Keep => {
            platform::keep()?;
            Ok(ExitCode::SUCCESS)
        }
        Internal::Exec { terminal, user, folder, name, program } => {
            let order = HelperOrder { terminal, user, folder, name, program };
            match platform::become_program(&order)? {}
        }
    }
}

fn start_logging(filter: &str, json: bool) -> anyhow::Result<()> {
    let filter: Targets = filter
        .parse()
        .map_err(|e| anyhow::anyhow!("The log filter {filter} is not right: {e}."))?;
    let registry = tracing_subscriber::registry().with(filter);
    // Standard output is for answers; the journal takes both.
    let layer = tracing_subscriber::fmt::layer().with_writer(io::stderr);
    if json {
        registry.with(layer.json()).try_init()?;
    } else {
        registry.with(layer.with_ansi(false)).try_init()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn global_flags_may_stand_before_and_after_the_command() {
        for words in [["a", "--state", "/s", "run"], ["a", "run", "--state", "/s"]] {
            let cli = Cli::try_parse_from(words).unwrap();
            assert_eq!(cli.global.state.unwrap(), PathBuf::from("/s"));
        }
    }
}
