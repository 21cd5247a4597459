//! Runs one script: as a file handed to its interpreter, below a keeper that ends
//! it as a whole, with a time limit.

use super::{
    Context,
    output::{Output, Rest},
};
use crate::{
    apart::within,
    clock::now_ms,
    platform::{self, Ending, KeepOrder, KeepWord, Kept, Program},
};
use std::{borrow::Cow, io, time::Duration};
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    time::{Instant, sleep_until, timeout},
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
/// How long ending what a script left may take; its keeper gives up earlier.
const LEFT_LIMIT: Duration = Duration::from_secs(8);
const UNKNOWN: &str = "looking for it did not come to an end";
/// How long word of an end that came before the time limit may take.
const LATE: Duration = Duration::from_millis(500);
const READ_BYTES: usize = 16 * 1024;

/// Why the agent ended a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    TimedOut,
    Cancelled,
    Stopping,
}

/// How a script came to its end.
#[derive(Debug, Default)]
struct End {
    /// Why the agent ended it, if it did.
    cause: Option<Cause>,
    ending: Option<Ending>,
    /// Names of processes that could not be ended.
    left: String,
    /// The keeper was ended, so how the script did is not known.
    lost: bool,
}

/// The process that will keep a script, with its order. It has that before the script's
/// intent is on disk, so that the script's process is ready when it may begin.
pub(super) async fn keeper(context: &Context, id: CommandId, script: &Script) -> io::Result<Kept> {
    let mut kept = context.keepers.take()?;
    // A keeper that is gone already shows by its last word.
    if let Err(error) = kept.prepare(&order(context, id, script)).await {
        tracing::warn!(command = %id, %error, "a keeper did not take its order");
    }
    Ok(kept)
}

/// Leaves a script that does not begin, so that nothing of it is in the way of its next
/// try.
pub(super) async fn leave(context: &Context, id: CommandId, kept: Kept) {
    if !kept.leave().await {
        let left = clear_up(context, id).await;
        if !left.is_empty() {
            tracing::warn!(command = %id, left, "what was made ready for a script is still there");
        }
    }
}

/// Runs a script to its end and returns its final event, and what of its output the
/// disk did not take by then.
pub(super) async fn run(
    context: &Context,
    id: CommandId,
    script: &Script,
    cancel: &CancellationToken,
    kept: io::Result<Kept>,
) -> (CommandEvent, Rest) {
    let mut output =
        Output::new(id, script.output_limit, context.live.clone(), context.store.clone());
    let result = match kept {
        Ok(kept) => execute(kept, id, script, context, cancel, &mut output).await,
        Err(error) => Err(format!("The script's keeper could not be started: {error}.")),
    };
    let rest = output.finish().await;
    let (status, exit_code, reason) = match result {
        Err(sentence) => (Status::Failed, None, Some(sentence)),
        Ok(end) => verdict(&end, script),
    };
    let (output_len, output_cut) = output.lengths();
    let at_ms = now_ms();
    (CommandEvent { command: id, status, at_ms, exit_code, reason, output_len, output_cut }, rest)
}

fn verdict(end: &End, script: &Script) -> (Status, Option<i32>, Option<String>) {
    let (status, code, reason) = match (end.cause, end.ending) {
        (Some(Cause::TimedOut), _) => {
            let limit = timeout_s(script);
            (Status::TimedOut, None, Some(format!("It was ended at its time limit of {limit} s.")))
        }
        (Some(Cause::Cancelled), _) => (Status::Cancelled, None, None),
        (Some(Cause::Stopping), _) => {
            let reason = "The agent was stopped before the script ended, and ended it.";
            (Status::Failed, None, Some(reason.into()))
        }
        (None, Some(Ending::Code(0))) => (Status::Succeeded, Some(0), None),
        (None, Some(Ending::Code(code))) => (Status::Failed, Some(code), None),
        (None, Some(Ending::Signal(number, name))) => {
            (Status::Failed, None, Some(format!("It was ended by signal {number} ({name}).")))
        }
        (None, None) => {
            let reason = "How it ended is unknown: the process that watched over it was ended. \
                What was left of it was ended too. It is not run again by itself.";
            (Status::Indeterminate, None, Some(reason.into()))
        }
    };
    if end.left.is_empty() {
        return (status, code, reason);
    }
    let left = format!("Not everything that it started could be ended: {}.", end.left);
    (status, code, Some(reason.map_or(left.clone(), |reason| format!("{reason} {left}"))))
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
        // The guard lets none pass.
        Interpreter::Later => (&[], &[], ""),
    }
}

/// The script as its interpreter reads it. Windows' line ends and byte order mark are
/// taken off where all lines have them: shells take them for part of the commands.
fn text(script: &Script) -> Cow<'_, str> {
    if script.interpreter == Interpreter::Pwsh {
        return Cow::Borrowed(&script.body);
    }
    let body = script.body.strip_prefix('\u{feff}').unwrap_or(&script.body);
    let all = body.matches('\n').count();
    if all > 0 && all == body.matches("\r\n").count() {
        Cow::Owned(body.replace("\r\n", "\n"))
    } else {
        Cow::Borrowed(body)
    }
}

fn order(context: &Context, id: CommandId, script: &Script) -> KeepOrder {
    let (names, before, suffix) = interpreter(script.interpreter);
    let owned = |words: &[&str]| words.iter().map(|&w| w.to_owned()).collect();
    let program = Program::Script {
        interpreters: owned(names),
        before: owned(before),
        suffix: suffix.into(),
        body: text(script).into_owned(),
        work: context.work.clone(),
    };
    KeepOrder {
        command: id.to_string(),
        program,
        args: script.args.clone(),
        env: script.env.clone(),
        user: script.user.clone(),
        folder: script.folder.clone(),
        terminal: None,
    }
}

async fn execute(
    mut kept: Kept,
    id: CommandId,
    script: &Script,
    context: &Context,
    cancel: &CancellationToken,
    output: &mut Output,
) -> Result<End, String> {
    // A keeper that is gone, or that could not do what was ordered, shows by its last
    // word.
    if let Err(error) = kept.go().await {
        tracing::debug!(command = %id, %error, "a keeper did not wait");
    }
    let limit = Duration::from_secs(timeout_s(script).into());
    let mut end = attend(&mut kept, limit, context, cancel, output).await?;
    let cleared_up = kept.close().await;
    if end.lost || !cleared_up {
        end.left = clear_up(context, id).await;
    }
    Ok(end)
}

/// Does what a script's keeper did not come to: ends what is left of the script, and
/// removes its folder. Names what could not be ended.
async fn clear_up(context: &Context, id: CommandId) -> String {
    let (id, work) = (id.to_string(), context.work.clone());
    let cleared = within(LEFT_LIMIT, move || {
        let (_, left) = platform::end_left(&id);
        if let Err(error) = std::fs::remove_dir_all(work.join(&id))
            && error.kind() != io::ErrorKind::NotFound
        {
            tracing::warn!(command = id, %error, "a script's folder could not be removed");
        }
        left
    });
    cleared.await.unwrap_or_else(|_| UNKNOWN.into())
}

/// The next word that says more than that the script has begun.
async fn after_started(kept: &mut Kept) -> KeepWord {
    loop {
        match kept.word().await {
            KeepWord::Started => {}
            word => return word,
        }
    }
}

async fn attend(
    kept: &mut Kept,
    limit: Duration,
    context: &Context,
    cancel: &CancellationToken,
    output: &mut Output,
) -> Result<End, String> {
    let (mut stdout, mut stderr) = (kept.stdout.take(), kept.stderr.take());
    let (mut from_out, mut from_err) = (vec![0; READ_BYTES], vec![0; READ_BYTES]);
    let mut end = End::default();
    let deadline = Instant::now() + limit;
    let (mut over, mut kill_at, mut give_up_at, mut leave_at) = (false, None, None, None);
    while !over || stdout.is_some() || stderr.is_some() {
        let running = !over && end.cause.is_none() && end.ending.is_none();
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
            word = kept.word(), if !over => match word {
                KeepWord::Started => {}
                KeepWord::Failed(sentence) => return Err(sentence),
                KeepWord::Ended(ending) => {
                    end.ending = Some(ending);
                    if end.cause.is_some() {
                        // What it started has had its time to end, too.
                        kill_at = Some(Instant::now());
                    } else {
                        over = true;
                    }
                }
                KeepWord::Left(names) => (end.left, over) = (names, true),
                KeepWord::Lost => (end.lost, over) = (true, true),
            },
            () = until(output.flush_at()) => output.flush().await,
            () = sleep_until(deadline), if running => ask = Some(Cause::TimedOut),
            () = cancel.cancelled(), if running => ask = Some(Cause::Cancelled),
            () = context.stop.cancelled(), if running => ask = Some(Cause::Stopping),
            () = until(kill_at) => {
                kept.force().await;
                kill_at = None;
                give_up_at = Some(Instant::now() + LEFT_LIMIT);
            }
            () = until(give_up_at) => (end.left, over) = (UNKNOWN.into(), true),
            () = until(leave_at) => break,
        }
        let late = if ask == Some(Cause::TimedOut) {
            // An agent that was frozen finds the script's end and its limit at once.
            timeout(LATE, after_started(kept)).await.ok()
        } else {
            None
        };
        match late {
            Some(KeepWord::Ended(ending)) => (end.ending, over, ask) = (Some(ending), true, None),
            Some(KeepWord::Failed(sentence)) => return Err(sentence),
            Some(KeepWord::Left(names)) => (end.left, over, ask) = (names, true, None),
            Some(KeepWord::Lost) => (end.lost, over, ask) = (true, true, None),
            // The first is never among them.
            Some(KeepWord::Started) | None => {}
        }
        if ask.is_some() {
            end.cause = ask;
            kept.ask().await;
            kill_at = Some(Instant::now() + GRACE);
        }
        if over && leave_at.is_none() {
            (leave_at, give_up_at) = (Some(Instant::now() + DRAIN), None);
        }
    }
    Ok(end)
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
