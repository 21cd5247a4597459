//! Bytes a sample, on the WAN and at rest, beside other encodings of the very
//! same samples. The protocol's own example measures; here it is shown.

use crate::report::Report;
use anyhow::{Context, Result};
use unifyit_tests::process::{Spec, binary};

const EXAMPLE: &str = "examples/wire_bytes";

/// Returns the kilobytes of blocks of a device and day, at the default length.
pub(crate) fn measure(report: &mut Report) -> Result<f64> {
    println!("bytes a sample");
    let path = binary(EXAMPLE).context("make bench builds the protocol's examples")?;
    let text = Spec::new("wire_bytes", path, [""; 0], "/dev/null").run("")?;
    for line in text.lines() {
        println!("  {line}");
    }
    let lines = || text.lines().map(str::trim);
    let blocks_of = |minutes: &str| {
        let line = lines().find(|l| l.starts_with("blocks of") && l.contains(minutes));
        line.with_context(|| format!("the example measures blocks of{minutes}"))
    };
    let (whole, single) = (blocks_of(" 60 min:")?, blocks_of(" 1 min:")?);
    let a_day = |line| before(line, " kB a device a day").context("the example prints it");
    let (blocks, old) = (a_day(whole)?, a_day(single)?);
    let newest = lines().find(|line| line.starts_with("newest loads"));
    let newest = a_day(newest.context("the example measures newest loads")?)?;
    let bytes = before(whole, " B a sample").context("the example prints it")?;
    report.goal("WAN, a sample", format!("{bytes} B"), "≤ 1.5 B", bytes <= 1.5);
    let all = blocks + newest;
    report.goal(
        "WAN, measurements of a device a day",
        format!("{all:.1} kB"),
        "≤ 100 kB: blocks of an hour, and newest loads each minute",
        all <= 100.0,
    );
    report.note("  of which newest loads", format!("{newest:.1} kB"), "");
    report.note("  as blocks of a minute", format!("{old:.1} kB"), "what a watched device takes");
    let figure = |line: &&str| before(line, " B a value").filter(|_| !line.contains("goal"));
    let bytes = lines().find_map(|line| figure(&line)).context("the example prints it")?;
    report.goal("at rest, a value of a rollup", format!("{bytes} B"), "≤ 1.38 B", bytes <= 1.38);
    Ok(blocks)
}

/// The number that stands before some words.
fn before(line: &str, words: &str) -> Option<f64> {
    line.split(words).next()?.rsplit(' ').next()?.parse().ok().filter(|_| line.contains(words))
}
