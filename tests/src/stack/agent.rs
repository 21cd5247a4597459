//! A real agent as a process.

use super::program::Program;
use crate::process::{Outcome, private_file, private_folder};
use anyhow::Result;
use std::{
    ops::{Deref, DerefMut},
    path::Path,
};

/// An agent on this machine.
#[derive(Debug)]
pub struct Agent {
    program: Program,
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
        let program = Program::new("unifyit-agent", "agent.toml", folder, logs, name);
        Ok(Self { program })
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
        self.program.spawn("run")
    }
}

impl Deref for Agent {
    type Target = Program;
    fn deref(&self) -> &Program {
        &self.program
    }
}

impl DerefMut for Agent {
    fn deref_mut(&mut self) -> &mut Program {
        &mut self.program
    }
}
