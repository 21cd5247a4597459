//! A real shell in a real terminal.

use anyhow::Result;
use unifyit_tests::{api::live::Terminal, stack::Stack, wait::secs};

#[tokio::test(flavor = "multi_thread")]
async fn a_terminal_runs_a_shell_follows_the_window_and_says_when_it_ends() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let mut terminal = Terminal::open(&stack.api, &device, 80, 24).await?;
    // The sum tells the answer apart from the echo of what was typed.
    terminal.send(b"echo sum=$((40+2))\r").await?;
    terminal.expect("sum=42", secs(15)).await?;
    terminal.send(b"stty size\r").await?;
    terminal.expect("24 80", secs(15)).await?;
    terminal.resize(100, 40).await?;
    terminal.send(b"stty size\r").await?;
    terminal.expect("40 100", secs(15)).await?;
    terminal.send(b"exit\r").await?;
    let reason = terminal.closed(secs(15)).await?;
    assert!(!reason.is_empty(), "the end has a reason");
    Ok(())
}
