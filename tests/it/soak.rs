//! What the long fault tests have in common: each combination is tried in rounds, one
//! that falls does not end the others, and a table says how each one stood.
//!
//! `UNIFYIT_SOAK_ONLY` names a part of a combination's name: only those are tried.

use anyhow::{Context, Result, ensure};
use std::{
    collections::BTreeMap,
    fmt, fs,
    future::Future,
    path::PathBuf,
    time::{Duration, Instant},
};

/// What one round may take. Longer means that something hangs.
const ROUND: Duration = Duration::from_secs(600);

/// How each combination stood.
#[derive(Debug)]
pub(crate) struct Soak {
    only: Option<String>,
    order: Vec<String>,
    rows: BTreeMap<String, Row>,
    fallen: usize,
    logs: PathBuf,
    began: Instant,
}

#[derive(Debug, Default)]
struct Row {
    rounds: u32,
    took: Duration,
    fell: Vec<String>,
}

impl Soak {
    /// Nothing tried yet. `name` is that of the test.
    pub(crate) fn new(name: &str) -> Self {
        Self {
            only: std::env::var("UNIFYIT_SOAK_ONLY").ok(),
            order: Vec::new(),
            rows: BTreeMap::new(),
            fallen: 0,
            logs: std::env::temp_dir().join(format!("unifyit-{name}-{}", std::process::id())),
            began: Instant::now(),
        }
    }

    /// Rounds as the environment's variable says, five otherwise.
    pub(crate) fn rounds(variable: &str) -> u64 {
        std::env::var(variable).ok().and_then(|n| n.parse().ok()).unwrap_or(5)
    }

    /// Whether a combination is one that was asked for.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.as_deref().is_none_or(|part| name.contains(part))
    }

    /// Notes one round of a combination. Whether it stood; when it fell, `logs`
    /// are kept, and what it left is not to be trusted any more.
    pub(crate) async fn round(
        &mut self,
        name: &str,
        logs: PathBuf,
        round: impl Future<Output = Result<()>>,
    ) -> Result<bool> {
        let began = Instant::now();
        let outcome = tokio::time::timeout(ROUND, round)
            .await
            .unwrap_or_else(|_| Err(anyhow::anyhow!("it was not over after {ROUND:?}")));
        if !self.rows.contains_key(name) {
            self.order.push(name.to_owned());
        }
        let row = self.rows.entry(name.to_owned()).or_default();
        row.rounds += 1;
        row.took += began.elapsed();
        let verdict = outcome.as_ref().map_or("fell", |()| "stood");
        println!("{name}, round {}: {verdict} after {:.1?}", row.rounds, began.elapsed());
        let Err(error) = outcome else { return Ok(true) };
        row.fell.push(format!("{error:#}"));
        self.fallen += 1;
        fs::create_dir_all(&self.logs)?;
        let kept = self.logs.join(self.fallen.to_string());
        let done = std::process::Command::new("cp").arg("-a").args([&logs, &kept]).status()?;
        ensure!(done.success(), "the logs were not kept");
        println!("{error:#}\nits logs are in {}", kept.display());
        Ok(false)
    }

    /// Prints the table.
    ///
    /// # Errors
    /// When anything fell.
    pub(crate) fn end(self) -> Result<()> {
        if self.rows.is_empty() {
            println!("left out: UNIFYIT_SOAK_ONLY names none of these combinations");
        } else {
            println!("{self}");
        }
        let fell = self.rows.iter().find_map(|(name, row)| Some((name, row.fell.first()?)));
        match fell {
            None => Ok(()),
            Some((name, why)) => Err(anyhow::anyhow!("{why}"))
                .with_context(|| format!("{} rounds fell, one of {name}", self.fallen)),
        }
    }
}

impl fmt::Display for Soak {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\n| combination | rounds | a round | verdict |\n|---|---|---|---|")?;
        for name in &self.order {
            let row = &self.rows[name];
            let verdict = if row.fell.is_empty() { "stood".to_owned() } else { row.verdict() };
            let each = row.took.as_secs_f64() / f64::from(row.rounds);
            writeln!(f, "| {name} | {} | {each:.0} s | {verdict} |", row.rounds)?;
        }
        let minutes = self.began.elapsed().as_secs_f64() / 60.0;
        write!(f, "{minutes:.0} minutes, {} rounds fell", self.fallen)
    }
}

impl Row {
    fn verdict(&self) -> String {
        format!("**fell {} times**: {}", self.fell.len(), self.fell[0].replace('\n', " "))
    }
}
