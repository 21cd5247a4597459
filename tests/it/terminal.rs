//! A real shell in a real terminal.

use anyhow::Result;
use serde_json::json;
use std::{path::PathBuf, time::Duration};
use unifyit_tests::{
    api::{Api, live::Terminal},
    stack::Stack,
    wait::{self, secs},
};

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

/// By when what came from a right is over, once the right is.
const OVER: Duration = secs(5);

/// Opens a terminal and returns it with its shell's folder in `/proc`.
async fn shell(api: &Api, device: &str) -> Result<(Terminal, PathBuf)> {
    let mut terminal = Terminal::open(api, device, 80, 24).await?;
    let file = tempfile::NamedTempFile::new()?;
    let said = format!("echo $$ > {} && echo pid=$((40+2))\r", file.path().display());
    terminal.send(said.as_bytes()).await?;
    terminal.expect("pid=42", secs(15)).await?;
    let pid: u32 = std::fs::read_to_string(file.path())?.trim().parse()?;
    Ok((terminal, PathBuf::from(format!("/proc/{pid}"))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shell_ends_on_the_device_when_the_right_to_it_ends() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let url = stack.cloud.url();
    let mut person = Api::new(&url)?;
    person.login(&stack.saved.email, &stack.saved.password).await?;
    let (mut by_session, session_shell) = shell(&person, &device).await?;
    let key = stack.api.create_key("terminal").await?;
    let (mut by_key, key_shell) = shell(&Api::with_key(&url, &key.key)?, &device).await?;
    let (mut stays, staying_shell) = shell(&stack.api, &device).await?;

    person.call(reqwest::Method::POST, "/auth/logout", Some(&json!({}))).await?;
    let why = by_session.closed(OVER).await?;
    assert!(why.contains("signed out"), "{why}");
    stack.api.delete(&format!("/api-keys/{}", key.id)).await?;
    let why = by_key.closed(OVER).await?;
    assert!(why.contains("no longer valid"), "{why}");
    for shell in [&session_shell, &key_shell] {
        wait::until("the shell to end on the device", OVER, || async {
            Ok((!shell.exists()).then_some(()))
        })
        .await?;
    }
    assert!(staying_shell.exists());
    stays.send(b"echo sum=$((40+3))\r").await?;
    stays.expect("sum=43", secs(15)).await?;
    Ok(())
}
