//! A real agent as a process.

use crate::process::{Outcome, Process, Spec, binary, private_file, private_folder};
use anyhow::Result;
use nix::sys::signal::Signal;
use std::{
    path::{Path, PathBuf},
    time::Duration,
};

/// An agent on this machine.
#[derive(Debug)]
pub struct Agent {
    folder: PathBuf,
    log: PathBuf,
    process: Option<Process>,
}

impl Agent {
    /// Prepares its folder; starts nothing.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn configure(folder: &Path, logs: &Path) -> Result<Self> {
        private_folder(folder)?;
        // The computer's own package managers are not the test's to set up.
        let root = folder.join("root");
        private_folder(&root)?;
        let settings = format!("root = {:?}\n", root.display().to_string());
        private_file(&folder.join("agent.toml"), &settings)?;
        let name = folder.file_name().and_then(|n| n.to_str()).unwrap_or("agent");
        let log = logs.join(format!("{name}.log"));
        Ok(Self { folder: folder.to_owned(), log, process: None })
    }

    /// A command of the binary, with this agent's configuration and state.
    ///
    /// # Errors
    /// When it is not built.
    pub fn command(&self, args: &[&str]) -> Result<Spec> {
        let mut all = vec![
            "--config".into(),
            self.folder.join("agent.toml").into_os_string(),
            "--state".into(),
            self.folder.clone().into_os_string(),
        ];
        all.extend(args.iter().map(Into::into));
        Ok(Spec::new("unifyit-agent", binary("unifyit-agent")?, all, &self.log))
    }

    /// Tries to enrol.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn try_enroll(&self, token: &str) -> Result<Outcome> {
        self.command(&["enroll", "--token", token])?.outcome("")
    }

    /// Enrols.
    ///
    /// # Errors
    /// When refused, with its words.
    pub fn enroll(&self, token: &str) -> Result<()> {
        self.command(&["enroll", "--token", token])?.run("").map(|_| ())
    }

    /// Starts it. Whether it is online, the cloud knows.
    ///
    /// # Errors
    /// When it is not built.
    pub fn start(&mut self) -> Result<()> {
        let mut spec = self.command(&["run"])?;
        spec.on_parent_death = "TERM";
        self.process = Some(spec.start()?);
        Ok(())
    }

    /// Stops it in an orderly way.
    pub fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.stop(Signal::SIGTERM, Duration::from_secs(15));
        }
    }

    /// `kill -9`.
    pub fn kill9(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill9();
        }
    }

    /// The process.
    pub fn process(&mut self) -> Option<&mut Process> {
        self.process.as_mut()
    }
}
