//! Bytes a sample, on the WAN and at rest, beside other encodings of the very
//! same samples. The protocol's own example measures; here it is shown.

use crate::report::Report;
use anyhow::{Context, Result};
use unifyit_tests::process::{Spec, binary};

const EXAMPLE: &str = "examples/wire_bytes";

pub(crate) fn measure(report: &mut Report) -> Result<()> {
    println!("bytes a sample");
    let path = binary(EXAMPLE).context("make bench builds the protocol's examples")?;
    let text = Spec::new("wire_bytes", path, [""; 0], "/dev/null").run("")?;
    for line in text.lines() {
        println!("  {line}");
    }
    for line in text.lines().map(str::trim) {
        if line.starts_with("blocks of") && line.contains(" 1 min:") {
            let bytes = before(line, " B a sample").context("the example prints it")?;
            let met = bytes <= 1.5;
            report.goal("WAN, a sample, each minute sent", format!("{bytes} B"), "≤ 1.5 B", met);
        }
        let figure = before(line, " B a value").filter(|_| !line.contains("goal"));
        if let Some(bytes) = figure {
            let met = bytes <= 1.38;
            report.goal("at rest, a value of a rollup", format!("{bytes} B"), "≤ 1.38 B", met);
        }
    }
    Ok(())
}

/// The number that stands before some words.
fn before(line: &str, words: &str) -> Option<f64> {
    line.split(words).next()?.rsplit(' ').next()?.parse().ok().filter(|_| line.contains(words))
}
