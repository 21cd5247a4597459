//! What a task may be, and which state follows which.

use super::{
    action::{ActionInput, InterpreterInput, ScriptInput},
    model::TargetsInput,
};
use unifyit_protocol::{command::MAX_SCRIPT, outcome::Status};

/// Longest time limit of a script, in seconds.
const MAX_TIMEOUT_S: u32 = 24 * 3600;
/// Most output kept of a script, in bytes.
pub(super) const MAX_OUTPUT: u32 = 16 * 1024 * 1024;
/// Longest wait for devices to come online, in seconds.
const MAX_EXPIRY_S: u64 = 31 * 24 * 3600;
/// Wait when nothing is asked for: a day.
pub(super) const DEFAULT_EXPIRY_S: u64 = 24 * 3600;
/// Most ids named in one request.
const MAX_IDS: usize = 20_000;

/// All states, in order of life.
pub(super) const STATES: [&str; 10] = [
    "pending",
    "sent",
    "running",
    "succeeded",
    "failed",
    "timed_out",
    "cancelled",
    "expired",
    "refused",
    "indeterminate",
];

/// The schema's word for a state.
pub(super) fn word(status: Status) -> &'static str {
    match status {
        Status::Pending => "pending",
        Status::Sent => "sent",
        Status::Running => "running",
        Status::Succeeded => "succeeded",
        Status::Failed => "failed",
        Status::TimedOut => "timed_out",
        Status::Cancelled => "cancelled",
        Status::Expired => "expired",
        Status::Refused => "refused",
        Status::Indeterminate => "indeterminate",
    }
}

/// How far a state is: one only ever gives way to a further one.
pub(super) fn rank(status: Status) -> i32 {
    match status {
        Status::Pending => 0,
        Status::Sent => 1,
        Status::Running => 2,
        _ => 3,
    }
}

/// Checks a task's input; the error is the sentence to show.
pub(super) fn check(
    name: &str,
    targets: &TargetsInput,
    action: &ActionInput,
    expires_in_s: Option<u64>,
) -> Result<(), String> {
    let ActionInput::Script(script) = action;
    if name.chars().count() > 200 || name.contains('\0') {
        return Err("The name is longer than 200 characters. Shorten it.".into());
    }
    check_targets(targets)?;
    check_script(script)?;
    match expires_in_s {
        Some(s) if !(10..=MAX_EXPIRY_S).contains(&s) => Err(
            "`expires_in_s` says how long devices that are offline are waited for: 10 seconds to 31 days.".into(),
        ),
        _ => Ok(()),
    }
}

fn check_targets(targets: &TargetsInput) -> Result<(), String> {
    let named = targets.device_ids.len() + targets.site_ids.len() + targets.organization_ids.len();
    let tag = targets.tag.as_deref().is_some_and(|tag| !tag.is_empty());
    if named == 0 && !tag && !targets.all {
        return Err(
            "No devices are named. Give device_ids, site_ids, organization_ids, a tag or all."
                .into(),
        );
    }
    if named > MAX_IDS {
        return Err("More than 20000 ids are named. Name sites or organizations instead.".into());
    }
    Ok(())
}

fn check_script(script: &ScriptInput) -> Result<(), String> {
    if script.body.trim().is_empty() {
        return Err("The script is empty.".into());
    }
    if script.body.len() > MAX_SCRIPT {
        return Err(format!(
            "The script is {} bytes long; at most 131072 (128 KiB) are accepted.",
            script.body.len()
        ));
    }
    let (ends, windows) = (script.body.matches('\n').count(), script.body.matches("\r\n").count());
    if windows > 0 && windows < ends && script.interpreter != InterpreterInput::Pwsh {
        return Err(
            "Some lines of the script end with CR LF and others with LF. Save it with one kind of \
             line ends: shells take a CR for part of the command."
                .into(),
        );
    }
    let strings = script.args.iter().chain(script.env.values()).chain(script.env.keys());
    let bytes: usize = strings.clone().map(String::len).sum();
    if script.args.len() > 256 || script.env.len() > 256 || bytes > 64 * 1024 {
        return Err(
            "At most 256 arguments and 256 variables of 64 KiB together are accepted.".into()
        );
    }
    let paths = script.user.iter().chain(&script.folder);
    if strings.chain(paths).chain([&script.body]).any(|text| text.contains('\0')) {
        return Err(
            "A NUL character is in the script, an argument or a variable. Remove it.".into()
        );
    }
    if script.env.keys().any(|name| name.is_empty() || name.contains('=')) {
        return Err("A variable's name is empty or holds an equals sign.".into());
    }
    if script.user.as_ref().is_some_and(|user| user.len() > 256)
        || script.folder.as_ref().is_some_and(|folder| folder.len() > 4096)
    {
        return Err("The user's name or the folder is too long.".into());
    }
    if script.timeout_s.is_some_and(|s| s > MAX_TIMEOUT_S) {
        return Err("`timeout_s` is more than 86400 seconds (24 hours).".into());
    }
    if script.output_limit.is_some_and(|bytes| bytes > MAX_OUTPUT) {
        return Err("`output_limit` is more than 16777216 bytes (16 MiB).".into());
    }
    Ok(())
}
