//! Runs one script: as a file handed to its interpreter, in a process group of
//! its own, with a time limit, and ended as a whole.

use super::{Context, output::Output};
use crate::{
    clock::now_ms,
    platform::{self, Account, Blow, Ending},
};
use std::{
    ffi::OsString,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::{Child, Command},
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;
use unifyit_protocol::{
    command::{Interpreter, Script},
    ids::CommandId,
    outcome::{CommandEvent, Status, Stream},
};

const DEFAULT_TIMEOUT_S: u32 = 3600;
const MAX_TIMEOUT_S: u32 = 7 * 24 * 3600;
/// From the request to end to the end by force.
const GRACE: Duration = Duration::from_secs(5);
/// How long output is still read after the script itself ended. Processes that
/// it left behind may hold the pipes for ever.
const DRAIN: Duration = Duration::from_secs(1);
const READ_BYTES: usize = 16 * 1024;

/// Why the agent ended a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    TimedOut,
    Cancelled,
    Stopping,
}

/// Runs a script to its end and returns its final event. Its output is in the
/// spool by then.
pub(super) async fn run(
    context: &Context,
    id: CommandId,
    script: &Script,
    cancel: &CancellationToken,
) -> CommandEvent {
    let mut output =
        Output::new(id, script.output_limit, context.live.clone(), context.store.clone());
    let result = match prepare(context, id, script) {
        Ok((folder, mut command)) => {
            let ended = execute(&mut command, id, script, context, cancel, &mut output).await;
            if let Err(error) = fs::remove_dir_all(&folder) {
                tracing::debug!(%error, "a script's folder could not be removed");
            }
            ended
        }
        Err(sentence) => Err(sentence),
    };
    output.finish().await;
    let (status, exit_code, reason) = match result {
        Err(sentence) => (Status::Failed, None, Some(sentence)),
        Ok((exit, cause)) => verdict(exit, cause, script),
    };
    let (output_len, output_cut) = output.lengths();
    CommandEvent { command: id, status, at_ms: now_ms(), exit_code, reason, output_len, output_cut }
}

fn verdict(
    exit: Option<ExitStatus>,
    cause: Option<Cause>,
    script: &Script,
) -> (Status, Option<i32>, Option<String>) {
    match cause {
        Some(Cause::TimedOut) => {
            let limit = timeout_s(script);
            (Status::TimedOut, None, Some(format!("It was ended at its time limit of {limit} s.")))
        }
        Some(Cause::Cancelled) => (Status::Cancelled, None, None),
        Some(Cause::Stopping) => {
            let reason = "The agent was stopped before the script ended, and ended it.";
            (Status::Failed, None, Some(reason.into()))
        }
        None => match exit.map(platform::ending) {
            Some(Ending::Code(0)) => (Status::Succeeded, Some(0), None),
            Some(Ending::Code(code)) => (Status::Failed, Some(code), None),
            Some(Ending::Signal(number, name)) => {
                (Status::Failed, None, Some(format!("It was ended by signal {number} ({name}).")))
            }
            None => (Status::Failed, None, Some("How it ended is unknown.".into())),
        },
    }
}

fn timeout_s(script: &Script) -> u32 {
    if script.timeout_s == 0 { DEFAULT_TIMEOUT_S } else { script.timeout_s.min(MAX_TIMEOUT_S) }
}

/// Program names to look for, arguments before the script, and the file's suffix.
fn interpreter(
    kind: Interpreter,
) -> (&'static [&'static str], &'static [&'static str], &'static str) {
    match kind {
        Interpreter::Bash => (&["bash"], &[], "sh"),
        Interpreter::Sh => (&["sh"], &[], "sh"),
        // Unbuffered, or output would appear only at the end.
        Interpreter::Python => (&["python3", "python"], &["-u"], "py"),
        Interpreter::Pwsh => {
            (&["pwsh"], &["-NoLogo", "-NoProfile", "-NonInteractive", "-File"], "ps1")
        }
    }
}

fn find(names: &[&str]) -> Option<PathBuf> {
    names.iter().find_map(|name| {
        platform::search_path().split(':').map(|f| Path::new(f).join(name)).find(|p| p.is_file())
    })
}

/// Writes the script into a private folder and makes the command that runs it.
fn prepare(
    context: &Context,
    id: CommandId,
    script: &Script,
) -> Result<(PathBuf, Command), String> {
    let (names, before, suffix) = interpreter(script.interpreter);
    let program = find(names).ok_or_else(|| {
        format!("This computer has no {}; install it or use another interpreter.", names[0])
    })?;
    let own = platform::agent_account();
    let account = match &script.user {
        Some(name) => platform::account(name)
            .ok_or_else(|| format!("This computer has no user named {name}."))?,
        None => own.clone(),
    };
    let switch = account.uid != own.uid;
    if switch && !platform::is_administrator() {
        return Err(format!(
            "The agent does not run as root, so it cannot run scripts as {}.",
            account.name
        ));
    }
    let failed = |e: io::Error| format!("The script's private folder could not be made: {e}.");
    let folder = private_folder(context, id, switch.then_some(&account)).map_err(failed)?;
    let (file, home) = (folder.join(format!("script.{suffix}")), folder.join("work"));
    let fill = || -> io::Result<()> {
        fs::create_dir(&home)?;
        let mut handle = fs::File::create_new(&file)?;
        handle.write_all(script.body.as_bytes())?;
        if switch {
            platform::give_to(&home, &account)?;
            platform::give_to(&file, &account)?;
        }
        Ok(())
    };
    let folder_in = script.folder.as_ref().map_or(home.clone(), PathBuf::from);
    if let Err(error) = fill() {
        drop(fs::remove_dir_all(&folder));
        return Err(failed(error));
    }
    if !switch && !folder_in.is_dir() {
        drop(fs::remove_dir_all(&folder));
        return Err(format!("The folder {} does not exist.", folder_in.display()));
    }
    let arguments: Vec<OsString> = before
        .iter()
        .map(OsString::from)
        .chain([file.into_os_string()])
        .chain(script.args.iter().map(OsString::from))
        .collect();
    let mut command = if switch {
        let mut command = platform::helper_command(&context.helper, false);
        command.arg("--user").arg(&account.name).arg("--folder").arg(&folder_in).arg("--");
        command.arg(program);
        command
    } else {
        let mut command = platform::group_command(program.as_os_str());
        command.current_dir(&folder_in);
        command
    };
    command.args(arguments);
    environment(&mut command, &account, id);
    command.envs(script.env.iter().map(|(k, v)| (k, v)));
    // Last, so that no variable of the script can hide its processes.
    command.env(platform::MARK, id.to_string());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    Ok((folder, command))
}

/// A folder that only the script's user can enter. The agent's own lies in the
/// state folder; another user could not pass through that one.
fn private_folder(
    context: &Context,
    id: CommandId,
    other: Option<&Account>,
) -> io::Result<PathBuf> {
    let Some(account) = other else {
        let folder = context.work.join(id.to_string());
        platform::create_private_dir(&folder)?;
        return Ok(folder);
    };
    let unique = uuid::Uuid::new_v4().simple();
    let folder = std::env::temp_dir().join(format!("unifyit-{id}-{unique}"));
    // The name cannot be foreseen; should it exist all the same, creation of the
    // files in it fails.
    platform::create_private_dir(&folder)?;
    platform::give_to(&folder, account)?;
    Ok(folder)
}

/// The minimal environment of everything that the agent starts.
pub(super) fn environment(command: &mut Command, account: &Account, id: CommandId) {
    // A service has no language. Text is UTF-8 then and all else as in C, which is
    // what C.UTF-8 says too, but in a dozen files that every program would open.
    let language = std::env::var("LANG").map_or(("LC_CTYPE", "C.UTF-8".into()), |l| ("LANG", l));
    command
        .env_clear()
        .env("PATH", platform::search_path())
        .env("HOME", &account.home)
        .env("USER", &account.name)
        .env("LOGNAME", &account.name)
        .env("SHELL", &account.shell)
        .env(language.0, language.1)
        .env(platform::MARK, id.to_string());
}

async fn execute(
    command: &mut Command,
    id: CommandId,
    script: &Script,
    context: &Context,
    cancel: &CancellationToken,
    output: &mut Output,
) -> Result<(Option<ExitStatus>, Option<Cause>), String> {
    let mut child =
        command.spawn().map_err(|e| format!("The interpreter could not be started: {e}."))?;
    let leader = child.id().unwrap_or(0);
    let limit = Duration::from_secs(timeout_s(script).into());
    let (exit, cause) = attend(&mut child, limit, context, cancel, output, |blow| {
        platform::signal_group(leader, blow);
        platform::kill_marked(&id.to_string(), blow);
    })
    .await;
    if cause.is_some() {
        platform::signal_group(leader, Blow::Kill);
        platform::end_marked(&id.to_string());
    }
    Ok((exit, cause))
}

async fn attend(
    child: &mut Child,
    limit: Duration,
    context: &Context,
    cancel: &CancellationToken,
    output: &mut Output,
    end: impl Fn(Blow),
) -> (Option<ExitStatus>, Option<Cause>) {
    let (mut stdout, mut stderr) = (child.stdout.take(), child.stderr.take());
    let (mut from_out, mut from_err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let (mut exit, mut cause) = (None, None);
    let deadline = Instant::now() + limit;
    let (mut kill_at, mut leave_at) = (None, None);
    while exit.is_none() || stdout.is_some() || stderr.is_some() {
        let running = cause.is_none() && exit.is_none();
        let mut ask = None;
        tokio::select! {
            read = read_some(&mut stdout, &mut from_out), if stdout.is_some() => match read {
                0 => stdout = None,
                n => output.take(Stream::Stdout, &from_out[..n]).await,
            },
            read = read_some(&mut stderr, &mut from_err), if stderr.is_some() => match read {
                0 => stderr = None,
                n => output.take(Stream::Stderr, &from_err[..n]).await,
            },
            ended = child.wait(), if exit.is_none() => {
                exit = Some(ended.ok());
                leave_at = Some(Instant::now() + DRAIN);
            }
            () = until(output.flush_at()) => output.flush().await,
            () = sleep_until(deadline), if running => ask = Some(Cause::TimedOut),
            () = cancel.cancelled(), if running => ask = Some(Cause::Cancelled),
            () = context.stop.cancelled(), if running => ask = Some(Cause::Stopping),
            () = until(kill_at) => {
                end(Blow::Kill);
                kill_at = None;
                leave_at = Some(Instant::now() + DRAIN);
            }
            () = until(leave_at) => break,
        }
        if ask.is_some() {
            cause = ask;
            end(Blow::Ask);
            kill_at = Some(Instant::now() + GRACE);
        }
    }
    (exit.flatten(), cause)
}

async fn read_some<R: AsyncRead + Unpin>(from: &mut Option<R>, buffer: &mut [u8]) -> usize {
    match from {
        // A pipe that fails is a pipe that ended.
        Some(pipe) => pipe.read(buffer).await.unwrap_or(0),
        None => 0,
    }
}

async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
