//! The command line.

use crate::{
    config::{Config, Sources},
    doctor,
    enroll::cloud,
    identity::names,
    run, standalone, telemetry,
};
use clap::{Args, Parser, Subcommand};
use std::{ffi::OsString, path::PathBuf, process::ExitCode};

/// The site relay of UnifyIT.
///
/// Settings come from built-in values, then the TOML file, then UNIFYIT_*
/// variables, then flags; the later wins. Every setting has a path such as
/// listen.mqtt: its variable is UNIFYIT_LISTEN_MQTT, its flag --set
/// listen.mqtt=0.0.0.0:8883. UNIFYIT_LOG filters the log (default: info),
/// UNIFYIT_LOG_FORMAT chooses json or text.
#[derive(Debug, Parser)]
#[command(name = "unifyit-relay", version)]
pub struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
struct Global {
    /// TOML file with settings [default: /etc/unifyit/relay.toml, if it is there]
    #[arg(long, global = true, env = "UNIFYIT_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of keys, store and cache [default: /var/lib/unifyit-relay]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    /// One setting, by its path; may be given many times
    #[arg(long, global = true, value_name = "PATH=VALUE", value_parser = pair)]
    set: Vec<(String, String)>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Join a site with an install token from the console
    Enroll {
        /// The install token
        #[arg(long, env = "UNIFYIT_TOKEN", hide_env_values = true)]
        token: String,
        /// PIN for the local UI, 6 to 12 digits, not all the same
        #[arg(long, env = "UNIFYIT_PIN", hide_env_values = true)]
        pin: Option<String>,
        /// Enrol although this relay is enrolled already
        #[arg(long)]
        force: bool,
    },
    /// Serve the site
    Run,
    /// Serve only the package cache, without a site: needs no enrolment
    Cache,
    /// Check what can be wrong, and say how to mend it
    Doctor {
        /// Print the findings as JSON
        #[arg(long)]
        json: bool,
    },
    /// Print all settings as they hold, as TOML
    Config,
}

/// Runs a command line and says how the process shall end.
#[expect(clippy::print_stderr, reason = "the command line's own output")]
pub fn main(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { 2 } else { 0 });
        }
    };
    // Whatever the relay writes is its own business.
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o077));
    telemetry::start_log();
    if rustls::crypto::aws_lc_rs::default_provider().install_default().is_err() {
        tracing::debug!("a TLS provider was installed before");
    }
    match execute(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn execute(cli: Cli) -> anyhow::Result<ExitCode> {
    let loaded = Config::load(&sources(cli.global));
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    match cli.command {
        Command::Doctor { json } => Ok(runtime.block_on(doctor::main(loaded, json))?),
        Command::Run => {
            runtime.block_on(run::run(loaded?, std::future::pending()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Cache => {
            runtime.block_on(standalone::run(loaded?, std::future::pending()))?;
            Ok(ExitCode::SUCCESS)
        }
        Command::Enroll { token, pin, force } => {
            let request = cloud::Request { token: &token, pin: pin.as_deref(), force };
            let config = loaded?;
            let record = runtime.block_on(cloud::enroll(&config, &request))?;
            let (relay, site) = (record.enrolment.relay, record.enrolment.site);
            say(&format!("Enrolled as relay {relay} of site {site}."));
            say(&after_enrolment(&config, pin.is_some()));
            Ok(ExitCode::SUCCESS)
        }
        Command::Config => {
            say(&toml::to_string_pretty(&loaded?)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What whoever enrols a relay needs next.
fn after_enrolment(config: &Config, has_pin: bool) -> String {
    let pages = names::reachable_at(&config.names, config.listen.ui);
    let pages = match pages.is_empty() {
        true => "https://, this computer's address, and the port that it logs at its start \
                 (ui=)"
            .to_owned(),
        false => {
            pages.iter().take(4).map(|at| format!("https://{at}")).collect::<Vec<_>>().join(" or ")
        }
    };
    let pin = match has_pin {
        true => "the PIN that was given here",
        false => "the site's PIN, which is set in the console (the site's page, Settings)",
    };
    format!(
        "Start it with: systemctl enable --now unifyit-relay, or unifyit-relay run.\n\
         Its local UI is then at {pages}. Staff sign in there with {pin}, also while the \
         internet is down. The browser asks once about the certificate: it is the site's own."
    )
}

/// Prints a line; a closed pipe is no reason to fail.
pub(crate) fn say(text: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stdout().lock(), "{text}");
}

fn sources(global: Global) -> Sources {
    let mut flags = global.set;
    if let Some(state) = global.state {
        flags.push(("state".to_owned(), state.to_string_lossy().into_owned()));
    }
    Sources { file: global.config, variables: std::env::vars().collect(), flags }
}

fn pair(text: &str) -> Result<(String, String), String> {
    text.split_once('=')
        .map(|(path, value)| (path.trim().to_owned(), value.to_owned()))
        .ok_or_else(|| "PATH=VALUE is expected, such as listen.mqtt=0.0.0.0:8883".to_owned())
}
