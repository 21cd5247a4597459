//! The command line: `serve`, `migrate`, `bootstrap`, `doctor`, `openapi`.

use crate::{
    app,
    config::{Config, ConfigError},
    db::{self, Db, DbOptions},
    doctor,
    events::LocalBus,
    features::users::bootstrap as first_user,
    http::docs,
};
use anyhow::Context;
use clap::{Parser, Subcommand};
use std::{
    io::{self, IsTerminal, Read, Write},
    net::SocketAddr,
    path::PathBuf,
    process::ExitCode,
    sync::Arc,
    time::Duration,
};
use tracing_subscriber::EnvFilter;
use zeroize::Zeroizing;

/// UnifyIT cloud: console, API and the relays' other end.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Settings: flags > UNIFYIT_* environment > TOML file. \
    Logging: UNIFYIT_LOG (filter), UNIFYIT_LOG_FORMAT=json|text."
)]
pub struct Cli {
    /// Settings file [default: /etc/unifyit/cloud.toml when it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Folder of the node's own state [default: /var/lib/unifyit-cloud]
    #[arg(long, global = true, value_name = "DIR")]
    state: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the cloud
    Serve {
        /// Address of the HTTP server; port 0 takes a free one
        #[arg(long)]
        listen: Option<SocketAddr>,
        /// Certificate chain in PEM, to speak TLS without a proxy; read again when it changes
        #[arg(long, value_name = "FILE", requires = "tls_key_file")]
        tls_certificate_file: Option<PathBuf>,
        /// Private key of that certificate, in PEM
        #[arg(long, value_name = "FILE", requires = "tls_certificate_file")]
        tls_key_file: Option<PathBuf>,
        /// Address at which plain HTTP is sent on to the public URL
        #[arg(long, value_name = "ADDRESS")]
        redirect_listen: Option<SocketAddr>,
        /// URL at which browsers reach the console
        #[arg(long)]
        public_url: Option<String>,
        /// Multiaddress to await relays on; may be repeated
        #[arg(long)]
        libp2p_listen: Vec<String>,
    },
    /// Bring the database's schema up to date (as its owner, `migrate_url`)
    Migrate,
    /// Create the first partner and administrator; refuses when somebody can sign in
    Bootstrap {
        /// E-mail address of the administrator
        #[arg(long)]
        email: String,
        /// Read the password from standard input; else one is made and printed once
        #[arg(long)]
        password_stdin: bool,
        /// Name of the first partner
        #[arg(long, default_value = "My company")]
        partner: String,
    },
    /// Check everything that can be wrong and say how to mend it
    Doctor {
        /// Answer in JSON, for programs
        #[arg(long)]
        json: bool,
    },
    /// Print the API document
    Openapi,
}

impl Command {
    /// Puts the flags of `serve` over the settings.
    fn over(self, config: &mut Config) {
        let Self::Serve {
            listen,
            tls_certificate_file,
            tls_key_file,
            redirect_listen,
            public_url,
            libp2p_listen,
        } = self
        else {
            return;
        };
        config.listen = listen.unwrap_or(config.listen);
        if let (Some(certificate), Some(key)) = (tls_certificate_file, tls_key_file) {
            (config.tls_certificate_file, config.tls_key_file) = (certificate, key);
        }
        if let Some(address) = redirect_listen {
            config.redirect_listen = address.to_string();
        }
        if let Some(url) = public_url {
            config.public_url = url;
        }
        if !libp2p_listen.is_empty() {
            config.libp2p_listen = libp2p_listen;
        }
    }
}

impl Cli {
    /// Does what the command says.
    pub async fn run(self) -> ExitCode {
        log();
        match self.execute().await {
            Ok(code) => code,
            Err(error) => {
                let _ = writeln!(io::stderr(), "unifyit-cloud: {error:#}");
                ExitCode::FAILURE
            }
        }
    }

    async fn execute(self) -> anyhow::Result<ExitCode> {
        let mut config = load(self.config.as_deref(), self.state)?;
        match self.command {
            serve @ Command::Serve { .. } => {
                serve.over(&mut config);
                app::serve(config).await?;
            }
            Command::Migrate => migrate(&config).await?,
            Command::Bootstrap { email, password_stdin, partner } => {
                bootstrap(&config, &email, password_stdin, &partner).await?;
            }
            Command::Doctor { json } => {
                let report = doctor::examine(&config).await;
                let text =
                    if json { serde_json::to_string_pretty(&report)? } else { report.text() };
                writeln!(io::stdout(), "{text}")?;
                return Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE });
            }
            Command::Openapi => writeln!(io::stdout(), "{}", docs::text(&app::openapi()))?,
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn load(file: Option<&std::path::Path>, state: Option<PathBuf>) -> Result<Config, ConfigError> {
    let environment = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
    let mut config = Config::load(file, environment)?;
    if let Some(state) = state {
        config.state = state;
    }
    Ok(config)
}

async fn migrate(config: &Config) -> anyhow::Result<()> {
    anyhow::ensure!(
        !config.migrate_url.is_empty(),
        "set migrate_url (or UNIFYIT_MIGRATE_URL) to the database URL of the owner role; database_url is only for the service"
    );
    db::migrate(&config.migrate_url, &config.database_url).await?;
    writeln!(io::stdout(), "The database is up to date.")?;
    Ok(())
}

async fn bootstrap(
    config: &Config,
    email: &str,
    password_stdin: bool,
    partner: &str,
) -> anyhow::Result<()> {
    let (password, made) = if password_stdin {
        let mut text = Zeroizing::new(String::new());
        io::stdin().take(8192).read_to_string(&mut text).context("standard input")?;
        (Zeroizing::new(text.trim_end_matches(['\r', '\n']).to_owned()), false)
    } else {
        (first_user::random_password()?, true)
    };
    let options = DbOptions {
        url: config.database_url.clone(),
        connections: 2,
        patience: Duration::from_secs(10),
    };
    let db = Db::new(&options, Arc::new(LocalBus::default()))?;
    db.check().await?;
    first_user::run(&db, email, password.clone(), partner).await?;
    let mut out = io::stdout().lock();
    writeln!(out, "Created the partner {partner:?} and the administrator {email}.")?;
    if made {
        writeln!(out, "Password, shown only now: {}", password.as_str())?;
    }
    Ok(())
}

fn log() {
    let filter = std::env::var("UNIFYIT_LOG").unwrap_or_else(|_| "info".into());
    let filter = EnvFilter::try_new(filter).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr);
    let json = std::env::var("UNIFYIT_LOG_FORMAT").is_ok_and(|format| format == "json");
    // A second initialisation happens only in tests and is no fault.
    let _ = if json {
        builder.json().try_init()
    } else {
        builder.with_ansi(io::stderr().is_terminal()).try_init()
    };
}
