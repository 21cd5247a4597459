//! What a task does: as it is asked for, signed, kept and told. Whoever asks gives
//! the values of the environment; they go into the signed command and nowhere
//! else. Scripts are read by who may run them.

use super::RUN_TASKS;
use crate::authz::Actor;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use unifyit_protocol::command::{Action, Interpreter, Script};
use utoipa::ToSchema;

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", from = "Tagged")]
pub enum ActionInput {
    /// Run a script.
    Script(ScriptInput),
}

/// [`ActionInput`] as it is read. What serde derives for a tagged enum takes
/// arrays too, and this does not.
#[derive(Deserialize)]
struct Tagged {
    kind: Word,
    #[serde(flatten)]
    script: ScriptInput,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Word {
    Script,
}

impl From<Tagged> for ActionInput {
    fn from(Tagged { kind: Word::Script, script }: Tagged) -> Self {
        Self::Script(script)
    }
}

/// A script and how to run it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScriptInput {
    /// Which program reads it.
    pub interpreter: InterpreterInput,
    /// The script, at most 128 KiB.
    #[schema(min_length = 1, max_length = 131_072)]
    pub body: String,
    /// Arguments after the script.
    #[serde(default)]
    pub args: Vec<String>,
    /// Environment variables. Their values are told to nobody again.
    #[serde(default)]
    pub env: BTreeMap<String, String>,
    /// Seconds until it is killed; an hour when absent, a day at most.
    #[serde(default)]
    #[schema(maximum = 86_400)]
    pub timeout_s: Option<u32>,
    /// Bytes of output kept; 1 MiB when absent, 16 MiB at most.
    #[serde(default)]
    #[schema(maximum = 16_777_216)]
    pub output_limit: Option<u32>,
    /// Run as this user instead of the agent's own.
    #[serde(default)]
    pub user: Option<String>,
    /// Working folder instead of a private temporary one.
    #[serde(default)]
    pub folder: Option<String>,
}

/// Programs that can read a script.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum InterpreterInput {
    /// GNU Bash.
    Bash,
    /// POSIX shell.
    Sh,
    /// Python 3.
    Python,
    /// PowerShell 7.
    Pwsh,
}

impl ActionInput {
    /// The action as it is signed.
    #[must_use]
    pub fn signed_form(&self) -> Action {
        let Self::Script(script) = self;
        Action::Script(Script {
            interpreter: match script.interpreter {
                InterpreterInput::Bash => Interpreter::Bash,
                InterpreterInput::Sh => Interpreter::Sh,
                InterpreterInput::Python => Interpreter::Python,
                InterpreterInput::Pwsh => Interpreter::Pwsh,
            },
            body: script.body.clone(),
            args: script.args.clone(),
            env: script.env.iter().map(|(k, v)| (k.clone(), v.clone())).collect(),
            timeout_s: script.timeout_s.unwrap_or_default(),
            output_limit: script.output_limit.unwrap_or_default(),
            user: script.user.clone().filter(|u| !u.is_empty()),
            folder: script.folder.clone().filter(|f| !f.is_empty()),
        })
    }
}

/// What is done, as it is kept and told: without any value of the environment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum ActionBody {
    /// Run a script.
    Script(ScriptBody),
}

/// A script as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ScriptBody {
    /// Which program reads it.
    pub interpreter: InterpreterInput,
    /// The script, for who may run scripts.
    #[serde(default)]
    pub body: Option<String>,
    /// Arguments after the script, for who may run scripts.
    #[serde(default)]
    pub args: Option<Vec<String>>,
    /// Names of environment variables, for who may run scripts.
    #[serde(default)]
    pub env_names: Option<Vec<String>>,
    /// Seconds until it is killed.
    #[serde(default)]
    pub timeout_s: Option<u32>,
    /// Bytes of output kept.
    #[serde(default)]
    pub output_limit: Option<u32>,
    /// Run as this user.
    #[serde(default)]
    pub user: Option<String>,
    /// Working folder.
    #[serde(default)]
    pub folder: Option<String>,
}

/// How much of a task somebody sees. Scripts, their arguments and what they find
/// in their environment are often secrets or lead to them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sight {
    /// All that is kept.
    Whole,
    /// How it fares, not what it runs.
    Outline,
}

impl Sight {
    /// Of an actor: who may run scripts may read them.
    #[must_use]
    pub fn of(actor: &Actor) -> Self {
        if actor.may(RUN_TASKS) { Self::Whole } else { Self::Outline }
    }
}

impl ActionBody {
    /// Reads what was kept. What this build does not know is told as a script of
    /// which nothing is known: one odd row must not hide a list.
    #[must_use]
    pub fn kept(action: serde_json::Value) -> Self {
        serde_json::from_value(action).unwrap_or_else(|error| {
            tracing::warn!(%error, "an action of a task cannot be read");
            Self::Script(ScriptBody {
                interpreter: InterpreterInput::Sh,
                body: None,
                args: None,
                env_names: None,
                timeout_s: None,
                output_limit: None,
                user: None,
                folder: None,
            })
        })
    }

    /// As much as `sight` allows.
    #[must_use]
    pub fn seen(self, sight: Sight) -> Self {
        match (self, sight) {
            (whole, Sight::Whole) => whole,
            (Self::Script(script), Sight::Outline) => {
                Self::Script(ScriptBody { body: None, args: None, env_names: None, ..script })
            }
        }
    }
}

impl From<&ActionInput> for ActionBody {
    fn from(ActionInput::Script(script): &ActionInput) -> Self {
        Self::Script(ScriptBody {
            interpreter: script.interpreter,
            body: Some(script.body.clone()),
            args: Some(script.args.clone()),
            env_names: Some(script.env.keys().cloned().collect()),
            timeout_s: script.timeout_s,
            output_limit: script.output_limit,
            user: script.user.clone(),
            folder: script.folder.clone(),
        })
    }
}
