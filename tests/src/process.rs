//! Child processes that never outlive their parent.
//!
//! Every child runs in a process group of its own (so that Ctrl-C in a terminal
//! reaches only us and the order of shutdown is ours), writes its output to a
//! log file, and is started through `setpriv --pdeathsig`, so that the kernel
//! ends it even when we are killed. The signal fires when the *thread* that
//! started the child ends: start children from the main thread, a test's thread
//! or a runtime's worker, never from a short-lived one.

use anyhow::{Context, Result, bail};
use nix::{
    sys::signal::{Signal, kill, killpg},
    unistd::Pid,
};
use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{Read, Seek, SeekFrom},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

/// What to start.
#[derive(Debug, Clone)]
pub struct Spec {
    /// For messages and the log file's name.
    pub name: String,
    /// Program.
    pub program: PathBuf,
    /// Arguments.
    pub args: Vec<OsString>,
    /// Environment in addition to ours.
    pub env: Vec<(String, String)>,
    /// Where output goes; appended to.
    pub log: PathBuf,
    /// Options for `setpriv`, such as another user.
    pub privileges: Vec<String>,
    /// Sent by the kernel when we die, without the `SIG`.
    pub on_parent_death: &'static str,
    /// Working folder.
    pub folder: Option<PathBuf>,
}

impl Spec {
    /// A program with arguments, its output going to `log`.
    pub fn new<A: Into<OsString>>(
        name: &str,
        program: impl Into<PathBuf>,
        args: impl IntoIterator<Item = A>,
        log: impl Into<PathBuf>,
    ) -> Self {
        Self {
            name: name.into(),
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            log: log.into(),
            privileges: Vec::new(),
            on_parent_death: "KILL",
            folder: None,
        }
    }

    /// Adds to the environment.
    #[must_use]
    pub fn env(mut self, key: &str, value: impl Into<String>) -> Self {
        self.env.push((key.into(), value.into()));
        self
    }

    fn command(&self) -> Command {
        let mut command = Command::new("setpriv");
        command
            .args(&self.privileges)
            .args(["--pdeathsig", self.on_parent_death, "--"])
            .arg(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .process_group(0)
            .stdin(Stdio::null());
        if let Some(folder) = &self.folder {
            command.current_dir(folder);
        }
        command
    }

    /// Starts it.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(&self) -> Result<Process> {
        if let Some(folder) = self.log.parent() {
            fs::create_dir_all(folder)?;
        }
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(&self.log)
            .with_context(|| format!("cannot open the log {}", self.log.display()))?;
        let log_from = log.metadata()?.len();
        let child =
            self.command().stdout(log.try_clone()?).stderr(log).spawn().with_context(|| {
                format!("cannot start {} (setpriv is of util-linux)", self.name)
            })?;
        Ok(Process { child, spec: self.clone(), log_from, ended: None })
    }

    /// Runs it to its end with `input`, and returns its output when it succeeds.
    ///
    /// # Errors
    /// When it cannot be started or fails; the text ends with what it printed.
    pub fn run(&self, input: &str) -> Result<String> {
        let outcome = self.outcome(input)?;
        if !outcome.status.success() {
            bail!("{} ended with {}: {}", self.name, outcome.status, outcome.text.trim());
        }
        Ok(outcome.text)
    }

    /// Runs it to its end with `input`, whatever that end is.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn outcome(&self, input: &str) -> Result<Outcome> {
        use std::io::Write;
        let mut child = self
            .command()
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start {}", self.name))?;
        if let Some(mut stdin) = child.stdin.take() {
            // A program that reads no input may be gone already.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        let text = format!(
            "{}{}",
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
        let stdout = String::from_utf8_lossy(&output.stdout).into_owned();
        Ok(Outcome { status: output.status, stdout, text })
    }
}

/// How a program ended that was run to its end.
#[derive(Debug)]
pub struct Outcome {
    /// Its exit status.
    pub status: ExitStatus,
    /// What it printed to standard output.
    pub stdout: String,
    /// Both streams.
    pub text: String,
}

/// The proportional set size of a process, bytes.
fn pss(pid: i32) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let line = text.lines().find(|line| line.starts_with("Pss:")).unwrap_or_default();
    let kib: u64 = line.split_whitespace().nth(1).context("no Pss line")?.parse()?;
    Ok(kib * 1024)
}

/// A running child. Dropping it kills it and whatever it started.
#[derive(Debug)]
pub struct Process {
    child: Child,
    spec: Spec,
    log_from: u64,
    ended: Option<ExitStatus>,
}

impl Process {
    /// Process id.
    #[must_use]
    pub fn pid(&self) -> i32 {
        self.child.id().cast_signed()
    }

    /// Name, as in its [`Spec`].
    #[must_use]
    pub fn name(&self) -> &str {
        &self.spec.name
    }

    /// How it ended, when it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if self.ended.is_none() {
            self.ended = self.child.try_wait().ok().flatten();
        }
        self.ended
    }

    /// Memory that it and what it started account for, bytes: proportional set sizes.
    ///
    /// # Errors
    /// When it has ended.
    pub fn memory(&self) -> Result<u64> {
        let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid()));
        let children = children.unwrap_or_default();
        let started = children.split_whitespace().filter_map(|pid| pid.parse().ok());
        // One that it started may end at any moment.
        Ok(pss(self.pid())? + started.filter_map(|pid| pss(pid).ok()).sum::<u64>())
    }

    /// What this start of it has written to its log, at most the last `limit` bytes.
    #[must_use]
    pub fn log_tail(&self, limit: u64) -> String {
        tail(&self.spec.log, self.log_from, limit).unwrap_or_default()
    }

    /// Fails with the end of the log when the process is gone.
    ///
    /// # Errors
    /// When it has ended.
    pub fn check_alive(&mut self) -> Result<()> {
        match self.ended() {
            None => Ok(()),
            Some(status) => bail!(
                "{} ended with {status}; its log {} ends with:\n{}",
                self.spec.name,
                self.spec.log.display(),
                self.log_tail(2000)
            ),
        }
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        if self.ended.is_none() {
            // It may have ended on its own: then there is nobody to tell.
            let _ = kill(Pid::from_raw(self.pid()), signal);
        }
    }

    /// `kill -9`, as a power cut would, and reaps. What it started stays.
    pub fn kill9(&mut self) {
        self.signal(Signal::SIGKILL);
        self.ended = self.child.wait().ok();
    }

    /// Asks it to end (`signal`), waits up to `limit`, then kills it with all
    /// it started. Returns whether it ended by itself.
    pub fn stop(&mut self, signal: Signal, limit: Duration) -> bool {
        if self.ended().is_some() {
            return true;
        }
        self.signal(signal);
        let deadline = Instant::now() + limit;
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        self.kill_tree();
        false
    }

    fn kill_tree(&mut self) {
        if self.ended().is_some() {
            return;
        }
        let offspring = descendants(self.pid());
        let _ = killpg(Pid::from_raw(self.pid()), Signal::SIGKILL);
        self.kill9();
        for pid in offspring {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill_tree();
    }
}

/// All processes that descend from `root`, children before grandchildren.
#[must_use]
pub fn descendants(root: i32) -> Vec<i32> {
    let mut parents = Vec::new();
    if let Ok(entries) = fs::read_dir("/proc") {
        for entry in entries.flatten() {
            let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()) else {
                continue;
            };
            if let Some(parent) = parent_of(pid) {
                parents.push((pid, parent));
            }
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(parents.iter().filter(|(_, p)| *p == parent).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may contain any character.
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn tail(path: &Path, from: u64, limit: u64) -> Result<String> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(from.max(length.saturating_sub(limit))))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Finds a binary of this repository: `UNIFYIT_BIN_DIR`, beside the running
/// executable (also one folder up, for test executables), or in the target
/// folder.
///
/// # Errors
/// When it has not been built.
pub fn binary(name: &str) -> Result<PathBuf> {
    let mut folders = Vec::new();
    if let Some(folder) = std::env::var_os("UNIFYIT_BIN_DIR") {
        folders.push(PathBuf::from(folder));
    }
    let own = std::env::current_exe()?;
    folders.extend(own.ancestors().skip(1).take(2).map(Path::to_path_buf));
    if let Some(target) = std::env::var_os("CARGO_TARGET_DIR") {
        folders.push(PathBuf::from(target).join("debug"));
    }
    folders
        .iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
        .with_context(|| format!("{name} is not built: run cargo build --workspace --bins"))
}

/// Makes a folder that only its owner may enter, as the units' state folders are.
///
/// # Errors
/// When the folder cannot be made.
pub fn private_folder(folder: &std::path::Path) -> std::io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

/// Writes a file that only its owner may read: settings hold passwords.
///
/// # Errors
/// When the file cannot be written.
pub fn private_file(path: &std::path::Path, content: &str) -> std::io::Result<()> {
    use std::{io::Write, os::unix::fs::OpenOptionsExt};
    let mut options = std::fs::OpenOptions::new();
    options
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?
        .write_all(content.as_bytes())
}
