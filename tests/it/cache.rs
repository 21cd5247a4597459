//! The package cache as a process: kill -9, republished names, flipped bits,
//! upstreams and clients at their worst, a full disk. Never a wrong byte.
//!
//! `UNIFYIT_CACHE_ROUNDS` sets the number of rounds (50 otherwise),
//! `UNIFYIT_CACHE_SEED` repeats a run.

use anyhow::{Result, ensure};
use unifyit_tests::cache::{
    proxy::Kind,
    rounds::{self, Tally},
};

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

async fn survive(kind: Kind, rounds: u64) -> Result<Tally> {
    let seed = number("UNIFYIT_CACHE_SEED").unwrap_or_else(rand::random);
    println!("{}: {rounds} rounds, UNIFYIT_CACHE_SEED={seed}", kind.name());
    let folder = tempfile::tempdir()?;
    let tally = rounds::run(kind, folder.path(), rounds, seed).await?;
    println!("{}: {tally}", kind.name());
    println!("{}: {:?}", kind.name(), tally.rounds);
    for line in tally.wrong.iter().chain(&tally.lost).chain(&tally.crashes).take(40) {
        println!("{}: {line}", kind.name());
    }
    Ok(tally)
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_of_the_package_cache_serves_no_wrong_byte() -> Result<()> {
    let tally = survive(Kind::Unifyit, number("UNIFYIT_CACHE_ROUNDS").unwrap_or(50)).await?;
    ensure!(tally.wrong.is_empty(), "wrong bytes were served: {:?}", tally.wrong);
    ensure!(tally.lost.is_empty(), "files did not come back: {:?}", tally.lost);
    ensure!(tally.crashes.is_empty(), "the cache ended by itself: {:?}", tally.crashes);
    ensure!(tally.right > 0, "nothing was served at all");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn soak_of_apt_cacher_ng_shows_what_it_does_with_the_same_faults() -> Result<()> {
    let Some(rounds) = number("UNIFYIT_CACHE_ROUNDS") else {
        println!("Left out: set UNIFYIT_CACHE_ROUNDS, as `make soak` does.");
        return Ok(());
    };
    if let Err(missing) = Kind::AptCacherNg.program() {
        println!("Left out: {missing}.");
        return Ok(());
    }
    // A comparison, no demand: only the figures matter.
    survive(Kind::AptCacherNg, rounds.min(200)).await?;
    Ok(())
}
