//! The judge of the fault tests: what was acknowledged against what happened.
//!
//! Those under test write one line for each thing that they do, each with its
//! number. Whoever gave the order notes what was acknowledged. The judge counts.

use anyhow::{Context, Result, ensure};
use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
};
use unifyit_tests::stack::Stack;

/// What the judge found.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Verdict {
    /// Acknowledged, and never happened.
    pub(crate) lost: Vec<u64>,
    /// Happened more than once.
    pub(crate) repeated: Vec<u64>,
    /// Acknowledged.
    pub(crate) acked: usize,
    /// Happened.
    pub(crate) happened: usize,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} acknowledged, {} happened, {} lost, {} more than once",
            self.acked,
            self.happened,
            self.lost.len(),
            self.repeated.len()
        )
    }
}

/// Holds the ledger against what was acknowledged.
pub(crate) fn judge(acked: &BTreeSet<u64>, ledger: impl IntoIterator<Item = u64>) -> Verdict {
    let mut counts: BTreeMap<u64, u32> = BTreeMap::new();
    for number in ledger {
        *counts.entry(number).or_default() += 1;
    }
    Verdict {
        lost: acked.iter().filter(|n| !counts.contains_key(n)).copied().collect(),
        repeated: counts.iter().filter(|(_, times)| **times > 1).map(|(n, _)| *n).collect(),
        acked: acked.len(),
        happened: counts.len(),
    }
}

/// A script that notes its number in the stack's ledger.
pub(crate) fn note(stack: &Stack, number: u64) -> String {
    format!("echo {number} >> {}", stack.folder().join("ledger").display())
}

/// A script that notes its number, and runs until it is let go.
pub(crate) fn waits(stack: &Stack, number: u64) -> String {
    let folder = stack.folder().display();
    format!(
        "echo {number} >> {folder}/ledger; while [ ! -e {folder}/go ]; do sleep 0.05; done; echo did {number}"
    )
}

/// Lets those scripts end.
pub(crate) fn lets_go(stack: &Stack) -> Result<()> {
    Ok(fs::write(stack.folder().join("go"), "")?)
}

/// Nothing of these is missing from the stack's ledger, and nothing stands in it twice.
pub(crate) fn assert_once(stack: &Stack, acked: impl IntoIterator<Item = u64>) -> Result<()> {
    let text = fs::read_to_string(stack.folder().join("ledger"))?;
    let lines = text.lines().map(|line| line.parse().with_context(|| line.to_owned()));
    let verdict = judge(&acked.into_iter().collect(), lines.collect::<Result<Vec<u64>>>()?);
    println!("{verdict}");
    ensure!(verdict.lost.is_empty() && verdict.repeated.is_empty(), "{verdict:?}");
    Ok(())
}

#[test]
fn the_judge_sees_a_loss_and_a_repetition() {
    let acked = BTreeSet::from([1, 2, 3]);
    let verdict = judge(&acked, [1, 3, 3, 9]);
    assert_eq!((verdict.lost, verdict.repeated), (vec![2], vec![3]));
}
