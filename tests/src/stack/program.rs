//! What cloud, relay and agent have in common: a folder with configuration and
//! state, a log, and a process while one runs.

use crate::{
    process::{Process, Spec, binary},
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

/// How long a program may take to end in an orderly way.
const PATIENCE: Duration = Duration::from_secs(25);

/// The library of Debian's package `faketime`, which stands between a program and
/// the time of day, where distributions put it.
fn faketime() -> Option<PathBuf> {
    let debian = format!("/usr/lib/{}-linux-gnu/faketime", std::env::consts::ARCH);
    let folders = [debian.as_str(), "/usr/lib64/faketime", "/usr/lib/faketime"];
    folders
        .map(|folder| Path::new(folder).join("libfaketime.so.1"))
        .into_iter()
        .find(|f| f.exists())
}

/// Whether clocks of programs can be set off on this machine.
#[must_use]
pub fn can_set_clocks() -> bool {
    faketime().is_some()
}

/// One of our programs, running or not.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    /// The configuration's name within the folder.
    config: &'static str,
    folder: PathBuf,
    log: PathBuf,
    process: Option<Process>,
    /// Where its binary is, when that is not this build's.
    binaries: Option<PathBuf>,
}

impl Program {
    /// `name` is the binary's; its log is called as `log`.
    pub(super) fn new(
        name: &'static str,
        config: &'static str,
        folder: &Path,
        logs: &Path,
        log: &str,
    ) -> Self {
        let log = logs.join(format!("{log}.log"));
        Self { name, config, folder: folder.to_owned(), log, process: None, binaries: None }
    }

    /// A command of the binary, with this configuration and state.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, args: &[&str]) -> Result<Spec> {
        let mut all = vec![
            "--config".into(),
            self.folder.join(self.config).into_os_string(),
            "--state".into(),
            self.folder.clone().into_os_string(),
        ];
        all.extend(args.iter().map(Into::into));
        let program = match &self.binaries {
            Some(folder) => folder.join(self.name),
            None => binary(self.name)?,
        };
        Ok(Spec::new(self.name, program, all, &self.log))
    }

    /// From now on it is of the build in a folder; of this one without.
    pub fn build_of(&mut self, folder: Option<&Path>) {
        self.binaries = folder.map(Path::to_owned);
    }

    /// Starts the command that runs until stopped, without waiting.
    pub(super) fn spawn(&mut self, verb: &str) -> Result<()> {
        let mut spec = self.command(&[verb])?;
        if self.clock().exists() {
            let library = faketime().context("the package faketime is not installed")?;
            // Only the time of day: spans of time go on as they do.
            spec = spec
                .env("LD_PRELOAD", library.display().to_string())
                .env("FAKETIME_TIMESTAMP_FILE", self.clock().display().to_string())
                .env("FAKETIME_NO_CACHE", "1")
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        spec.on_parent_death = "TERM";
        self.process = Some(spec.start()?);
        Ok(())
    }

    /// Waits until `url` answers with success, as long as the process lives.
    pub(super) async fn wait_http(&mut self, url: &str) -> Result<()> {
        crate::install_crypto();
        let process = self.process.as_mut();
        let process = process.with_context(|| format!("{} was not started", self.name))?;
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
        let log = || format!("its log ends with:\n{}", process.log_tail(2000));
        outcome.map(|_| ()).with_context(log)
    }

    /// Sets its clock off by so much (`+20m`, `-400d`), at once when it runs with a
    /// clock that was set before; `+0` is right. See [`can_set_clocks`].
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn set_clock(&self, off: &str) -> Result<()> {
        let fresh = self.folder.join("clock.fresh");
        fs::write(&fresh, off)?;
        Ok(fs::rename(fresh, self.clock())?)
    }

    fn clock(&self) -> PathBuf {
        self.folder.join("clock")
    }

    /// Stops it in an orderly way.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::SIGTERM, PATIENCE);
        }
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// The folder of its configuration and state.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
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
