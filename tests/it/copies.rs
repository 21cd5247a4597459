//! Older copies of what lies on disks, and putting them back.

use anyhow::{Result, ensure};
use std::{fs, path::Path, process::Command, time::Duration};
use unifyit_tests::stack::Stack;

/// By when all is well again after something was put back.
pub(crate) const WELL: Duration = Duration::from_secs(75);

/// What an agent logs when it is let in.
pub(crate) const LET_IN: &str = "the relay is connected";

/// A copy of a folder as it lies on the disk.
pub(crate) fn copy(from: &Path, to: &Path) -> Result<()> {
    if to.exists() {
        fs::remove_dir_all(to)?;
    }
    let done = Command::new("cp").arg("-a").args([from, to]).status()?;
    ensure!(done.success(), "{} was not copied", from.display());
    Ok(())
}

/// Stops the relay, copies its disk, starts it again.
pub(crate) async fn copy_relay(stack: &mut Stack) -> Result<()> {
    stack.relay.stop();
    copy(stack.relay.folder(), &stack.folder().join("relay-copy"))?;
    stack.relay.start().await
}

/// Ends the relay and puts the copy in the place of its disk.
pub(crate) fn set_back_relay(stack: &mut Stack) -> Result<()> {
    stack.relay.kill9();
    copy(&stack.folder().join("relay-copy"), stack.relay.folder())
}

/// Stops the agent and copies its disk.
pub(crate) fn copy_agent(stack: &mut Stack) -> Result<()> {
    stack.agents[0].stop();
    copy(stack.agents[0].folder(), &stack.folder().join("agent-copy"))
}

/// Ends the agent and puts the copy in the place of its disk.
pub(crate) fn set_back_agent(stack: &mut Stack) -> Result<()> {
    stack.agents[0].kill9();
    copy(&stack.folder().join("agent-copy"), stack.agents[0].folder())
}

/// Stops the cloud, copies its database, starts it again.
pub(crate) async fn copy_database(stack: &mut Stack) -> Result<()> {
    stack.cloud.stop();
    stack.postgres.copy()?;
    stack.cloud.start().await
}

/// Ends the cloud and puts the copy in the place of its database.
pub(crate) fn set_back_database(stack: &mut Stack) -> Result<()> {
    stack.cloud.kill9();
    stack.postgres.restore()
}
