//! The cloud as a process: its configuration, its one-time steps, its life.

use super::{ports::Ports, postgres::Postgres};
use crate::{
    process::{Outcome, Process, Spec, binary},
    wait,
};
use anyhow::{Context, Result};
use nix::sys::signal::Signal;
use serde_json::Value;
use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

/// A cloud on this machine.
#[derive(Debug)]
pub struct Cloud {
    folder: PathBuf,
    log: PathBuf,
    port: u16,
    process: Option<Process>,
}

impl Cloud {
    /// Writes its configuration; starts nothing. Relays are told to come to
    /// `front` where that is another port than its own.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn configure(
        folder: &Path,
        logs: &Path,
        ports: Ports,
        front: Option<u16>,
        pg: &Postgres,
    ) -> Result<Self> {
        fs::create_dir_all(folder)?;
        let Ports { http, libp2p, .. } = ports;
        let at = |port: u16| {
            let quic = format!("/ip4/127.0.0.1/udp/{port}/quic-v1");
            vec![quic, format!("/ip4/127.0.0.1/tcp/{port}")]
        };
        let config = toml::toml! {
            // Tests and load generators are one very busy client.
            logins_per_minute = 10000
            requests_per_second = 10000
        };
        let mut config = config;
        let mut set = |key: &str, value: toml::Value| {
            config.insert(key.to_owned(), value);
        };
        set("database_url", pg.app_url().into());
        set("migrate_url", pg.owner_url().into());
        set("listen", format!("127.0.0.1:{http}").into());
        set("public_url", format!("http://127.0.0.1:{http}").into());
        set("libp2p_listen", at(libp2p).into());
        set("announce", at(front.unwrap_or(libp2p)).into());
        super::write_private(&folder.join("cloud.toml"), &toml::to_string(&config)?)?;
        let log = logs.join("cloud.log");
        Ok(Self { folder: folder.to_owned(), log, port: http, process: None })
    }

    /// Where it answers.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A command of the binary, with this cloud's configuration and state.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, args: &[&str]) -> Result<Spec> {
        let mut all = vec![
            "--config".into(),
            self.folder.join("cloud.toml").into_os_string(),
            "--state".into(),
            self.folder.clone().into_os_string(),
        ];
        all.extend(args.iter().map(Into::into));
        Ok(Spec::new("unifyit-cloud", binary("unifyit-cloud")?, all, &self.log))
    }

    /// Brings the schema up to date.
    ///
    /// # Errors
    /// When it fails, with its words.
    pub fn migrate(&self) -> Result<()> {
        self.command(&["migrate"])?.run("").map(|_| ())
    }

    /// Makes the first administrator.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn bootstrap(&self, email: &str, password: &str, partner: &str) -> Result<Outcome> {
        let args = ["bootstrap", "--email", email, "--password-stdin", "--partner", partner];
        self.command(&args)?.outcome(&format!("{password}\n"))
    }

    /// Starts it without waiting.
    ///
    /// # Errors
    /// When it is not built.
    pub fn spawn(&mut self) -> Result<()> {
        let mut spec = self.command(&["serve"])?;
        spec.on_parent_death = "TERM";
        self.process = Some(spec.start()?);
        Ok(())
    }

    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.ready().await
    }

    /// Waits until it is ready.
    ///
    /// # Errors
    /// When it ends or is not ready in time.
    pub async fn ready(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.url());
        let process = self.process.as_mut().context("the cloud was not started")?;
        wait_http(process, &url).await
    }

    /// Stops it in an orderly way.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::SIGTERM, Duration::from_secs(20));
        }
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// What it wrote about where it listens and who it is.
    ///
    /// # Errors
    /// When the file is not there.
    pub fn runtime(&self) -> Result<Value> {
        Ok(serde_json::from_slice(&fs::read(self.folder.join("runtime.json"))?)?)
    }

    /// The process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}

/// Waits until `url` answers with success, as long as the process lives.
pub(super) async fn wait_http(process: &mut Process, url: &str) -> Result<()> {
    crate::install_crypto();
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(2)).build()?;
    let what = format!("{} to be ready at {url}", process.name());
    let outcome = wait::until(&what, wait::secs(60), || {
        let gone = process.ended().is_some();
        let request = http.get(url).send();
        async move {
            if gone {
                return Ok(Some(false));
            }
            let answer = request.await?;
            anyhow::ensure!(answer.status().is_success(), "it answers {}", answer.status());
            Ok(Some(true))
        }
    })
    .await;
    process.check_alive()?;
    outcome.map(|_| ()).with_context(|| format!("its log ends with:\n{}", process.log_tail(2000)))
}
