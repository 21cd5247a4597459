//! The whole product on this machine: PostgreSQL, the cloud, one site with its
//! relay, and real agents, each a process of its own.
//!
//! A stack lives in a folder. The first start brings everything in through the
//! doors that users have (command line and REST) and notes each step in
//! `stack.json`; a later start goes on from there and keeps all data.

pub mod agent;
pub mod cloud;
pub mod ports;
pub mod postgres;
pub mod program;
pub mod relay;
pub mod wan;

use crate::{
    api::{Api, types::Device},
    wait,
};
use agent::Agent;
use anyhow::{Context, Result, bail};
use cloud::Cloud;
use ports::Ports;
use postgres::Postgres;
use relay::Relay;
use serde::{Deserialize, Serialize};
use std::{
    fs,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::{Path, PathBuf},
};
use wan::Wan;

/// E-mail address of the first administrator of every stack.
pub const EMAIL: &str = "admin@example.com";

/// What to start, and where.
#[derive(Debug, Clone)]
pub struct StackSpec {
    /// State of everything.
    pub folder: PathBuf,
    /// Ports for a first start; a later one keeps those it had.
    pub ports: Ports,
    /// Real agents.
    pub agents: usize,
    /// Port of a line between relays and cloud that can be cut; the same at every
    /// start, because relays remember it. Without it they meet directly.
    pub wan: Option<u16>,
    /// Whether install lines fetch the programs of this build. What each start
    /// costs is a hash of them all.
    pub hand_out: bool,
    /// Folder of another build, whose programs are started instead of this one's.
    pub build: Option<PathBuf>,
}

/// What must be known at the next start.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Saved {
    /// Ports.
    pub ports: Ports,
    /// Sign-in.
    pub email: String,
    /// Sign-in.
    pub password: String,
    /// PIN of the local UI.
    pub pin: String,
    /// The organization, once made.
    pub organization: Option<String>,
    /// The site, once made.
    pub site: Option<String>,
    /// Whether the relay has enrolled.
    pub relay_enrolled: bool,
    /// How many agents have enrolled.
    pub agents_enrolled: usize,
}

/// A running stack. Everything ends when it is dropped: in order where the data
/// is kept, at once where it is thrown away.
#[derive(Debug)]
pub struct Stack {
    // Dropped in this order: agents first, the database last.
    /// Real agents.
    pub agents: Vec<Agent>,
    /// The site's relay.
    pub relay: Relay,
    /// The cloud.
    pub cloud: Cloud,
    /// The line between relay and cloud, when it can be cut.
    pub wan: Option<Wan>,
    /// The database.
    pub postgres: Postgres,
    /// Signed in as the first administrator.
    pub api: Api,
    /// What is kept.
    pub saved: Saved,
    folder: PathBuf,
    temporary: Option<tempfile::TempDir>,
}

impl Stack {
    /// A stack for one test, in a folder that vanishes with it (unless
    /// `UNIFYIT_KEEP` is set, for looking at logs).
    ///
    /// # Errors
    /// When any part does not start.
    pub async fn for_test(agents: usize) -> Result<Self> {
        Self::in_temporary(agents, None, None).await
    }

    /// The same of another build, whose programs are in `build`.
    ///
    /// # Errors
    /// When any part does not start.
    pub async fn of_build(agents: usize, build: &Path) -> Result<Self> {
        Self::in_temporary(agents, None, Some(build.to_owned())).await
    }

    /// The same with a line between relay and cloud that can be cut and counts.
    ///
    /// # Errors
    /// When any part does not start.
    pub async fn for_test_over_wan(agents: usize) -> Result<Self> {
        Self::in_temporary(agents, Some(ports::free_port()?), None).await
    }

    async fn in_temporary(agents: usize, wan: Option<u16>, build: Option<PathBuf>) -> Result<Self> {
        let temporary = tempfile::Builder::new().prefix("unifyit-").tempdir()?;
        // The database's user must be able to pass.
        fs::set_permissions(temporary.path(), fs::Permissions::from_mode(0o755))?;
        let folder = temporary.path().to_owned();
        let keep = std::env::var_os("UNIFYIT_KEEP").is_some();
        let temporary = if keep { drop_guard(temporary) } else { Some(temporary) };
        let ports = Ports::free()?;
        let spec = StackSpec { folder, ports, agents, wan, hand_out: false, build };
        let mut stack = Self::start(&spec).await?;
        stack.temporary = temporary;
        Ok(stack)
    }

    /// Starts a stack, from nothing or from what its folder holds.
    ///
    /// # Errors
    /// When any part does not start; the text ends with the log of that part.
    pub async fn start(spec: &StackSpec) -> Result<Self> {
        let folder = std::path::absolute(&spec.folder)?;
        let logs = folder.join("logs");
        fs::create_dir_all(&logs)?;
        let mut saved = Saved::load(&folder, spec.ports)?;
        saved.ports.check()?;

        let postgres = Postgres::start(&folder.join("postgres")).await?;
        let wan = match spec.wan {
            Some(port) => Some(Wan::start(port, saved.ports.libp2p).await?),
            None => None,
        };
        let mut cloud =
            Cloud::configure(&folder.join("cloud"), &logs, saved.ports, spec.wan, &postgres)?;
        cloud.build_of(spec.build.as_deref());
        if spec.hand_out {
            cloud.hand_out()?;
        }
        cloud.migrate()?;
        if saved.organization.is_none() {
            let outcome = cloud.bootstrap(&saved.email, &saved.password, "Example IT Services")?;
            // A start that was interrupted in the middle has bootstrapped already;
            // then signing in works and tells.
            if !outcome.status.success() {
                eprint_note(&outcome.text);
            }
        }
        cloud.start().await?;
        let mut api = Api::new(&cloud.url())?;
        api.login(&saved.email, &saved.password).await?;
        saved.hierarchy(&api, &folder).await?;

        let mut relay = Relay::configure(&folder.join("relay"), &logs, saved.ports)?;
        relay.build_of(spec.build.as_deref());
        let site = saved.site()?;
        if !saved.relay_enrolled {
            let token = api.install_token(&site, "relay", 1).await?;
            relay.enroll(&token.token, &saved.pin)?;
            saved.relay_enrolled = true;
            saved.store(&folder)?;
        }
        relay.start().await?;

        let mut agents = Vec::new();
        for number in 1..=spec.agents {
            let mut agent = Agent::configure(&folder.join(format!("agent{number}")), &logs)?;
            agent.build_of(spec.build.as_deref());
            agents.push(agent);
        }
        let mut stack =
            Self { agents, relay, cloud, wan, postgres, api, saved, folder, temporary: None };
        stack.relay_online().await?;
        stack.enroll_agents().await?;
        for agent in &mut stack.agents {
            agent.start()?;
        }
        Ok(stack)
    }

    async fn enroll_agents(&mut self) -> Result<()> {
        let enrolled = self.saved.agents_enrolled;
        let site = self.saved.site()?;
        for agent in self.agents.iter().skip(enrolled) {
            let token = self.api.install_token(&site, "agent", 1).await?;
            agent.enroll(&token.token)?;
            self.saved.agents_enrolled += 1;
            self.saved.store(&self.folder)?;
        }
        Ok(())
    }

    /// Waits until the cloud has the relay's connection.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn relay_online(&mut self) -> Result<()> {
        let site = self.saved.site()?;
        let outcome = wait::until("the relay to reach the cloud", wait::secs(60), || async {
            let site = self.api.site(&site).await?;
            Ok(site.relay.filter(|relay| relay.online).map(|_| ()))
        })
        .await;
        if outcome.is_err()
            && let Some(process) = self.relay.process()
        {
            process.check_alive()?;
            bail!(
                "the relay does not reach the cloud; its log ends with:\n{}",
                process.log_tail(2000)
            );
        }
        outcome
    }

    /// Waits until so many devices of the site are online, and returns them.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn devices_online(&self, at_least: usize) -> Result<Vec<Device>> {
        let site = self.saved.site()?;
        let query = format!("site_id={site}&state=online&limit=500");
        let what = format!("{at_least} devices to be online");
        wait::until(&what, wait::secs(90), || async {
            let devices = self.api.devices(&query).await?.items;
            if devices.len() >= at_least {
                return Ok(Some(devices));
            }
            bail!("{} are online", devices.len())
        })
        .await
    }

    /// The id of the first device that is online, once there is one.
    ///
    /// # Errors
    /// When that does not happen in time.
    pub async fn first_device(&self) -> Result<String> {
        let devices = self.devices_online(1).await?;
        devices.first().map(|d| d.id.clone()).context("no device")
    }

    /// Folder of everything.
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The site's id.
    ///
    /// # Errors
    /// Before it is made.
    pub fn site(&self) -> Result<String> {
        self.saved.site()
    }

    /// Stops all in order: agents, relay, cloud, database.
    pub fn stop(&mut self) {
        for agent in &mut self.agents {
            agent.stop();
        }
        self.relay.stop();
        self.cloud.stop();
        self.postgres.stop();
    }

    /// Fails when any process has ended by itself.
    ///
    /// # Errors
    /// With the end of its log.
    pub fn check_alive(&mut self) -> Result<()> {
        let mut processes = vec![self.cloud.process(), self.relay.process()];
        processes.extend(self.agents.iter_mut().map(|agent| agent.process()));
        for process in processes.into_iter().flatten() {
            process.check_alive()?;
        }
        Ok(())
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // What a test leaves behind is thrown away, so its processes may be killed.
        if self.temporary.is_none() {
            self.stop();
        }
    }
}

impl Saved {
    fn load(folder: &Path, ports: Ports) -> Result<Self> {
        let path = folder.join("stack.json");
        if path.exists() {
            let text = fs::read_to_string(&path)?;
            return serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged", path.display()));
        }
        let saved = Self {
            ports,
            email: EMAIL.to_owned(),
            password: format!("local-{}", &postgres::secret()[..20]),
            pin: format!("{:06}", rand::random_range(100_000..1_000_000)),
            organization: None,
            site: None,
            relay_enrolled: false,
            agents_enrolled: 0,
        };
        saved.store(folder)?;
        Ok(saved)
    }

    fn store(&self, folder: &Path) -> Result<()> {
        let path = folder.join("stack.json");
        let fresh = folder.join("stack.json.fresh");
        write_private(&fresh, &serde_json::to_string_pretty(self)?)?;
        Ok(fs::rename(fresh, path)?)
    }

    async fn hierarchy(&mut self, api: &Api, folder: &Path) -> Result<()> {
        if self.organization.is_none() {
            self.organization = Some(api.create_organization("Example GmbH").await?);
            self.store(folder)?;
        }
        let organization = self.organization.clone().context("made above")?;
        if self.site.is_none() {
            self.site = Some(api.create_site(&organization, "Head office").await?);
            self.store(folder)?;
        }
        Ok(())
    }

    fn site(&self) -> Result<String> {
        self.site.clone().context("the stack has no site yet")
    }
}

#[expect(clippy::print_stderr, reason = "for the person who started it")]
fn eprint_note(text: &str) {
    eprintln!("{}", text.trim());
}

fn drop_guard(folder: tempfile::TempDir) -> Option<tempfile::TempDir> {
    eprint_note(&format!("keeping {}", folder.keep().display()));
    None
}

/// Writes a file that only we may read.
///
/// # Errors
/// When it cannot be written.
pub fn write_private(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file =
        fs::OpenOptions::new().create(true).write(true).truncate(true).mode(0o600).open(path)?;
    file.set_permissions(fs::Permissions::from_mode(0o600))?;
    file.write_all(text.as_bytes())?;
    Ok(file.sync_all()?)
}
