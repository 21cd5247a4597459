//! How much longer others wait while somebody floods, for each sort of sender, and
//! what that costs who is flooded. Each has a stack of its own.

use crate::report::{Report, mb, ms};
use anyhow::Result;
use unifyit_tests::{
    floods::{self, Figures, Length, p99},
    stack::Stack,
};

/// Each may be measured alone, as `flood-viewer`.
pub(crate) const SENDERS: [&str; 4] = ["device", "relay", "stranger", "viewer"];

pub(crate) async fn measure(who: &str, report: &mut Report) {
    println!("flood of a {who}");
    let outcome = Box::pin(flood(who)).await;
    let outcome = outcome.map(|figures| show(who, &figures, report));
    report.part(&format!("flood of a {who}"), outcome);
}

async fn flood(who: &str) -> Result<Figures> {
    let mut stack = Stack::for_test(usize::from(who != "device")).await?;
    match who {
        "device" => floods::device::flood(&mut stack, Length::LONG).await,
        "relay" => floods::relay::flood(&mut stack, Length::LONG).await,
        "stranger" => floods::stranger::flood(&mut stack, Length::LONG).await,
        _ => floods::viewer::flood(&mut stack, Length::LONG).await,
    }
}

fn show(who: &str, figures: &Figures, report: &mut Report) {
    let ratio = figures.ratio();
    report.goal(
        &format!("flood of a {who}, others' p99"),
        format!("{ratio:.1} × ({} to {})", ms(p99(&figures.quiet)), ms(p99(&figures.meanwhile))),
        "≤ 2 × of what it is without",
        ratio <= 2.0,
    );
    let memory = format!("{} to {}", mb(figures.before), mb(figures.during));
    report.note(&format!("flood of a {who}, memory"), memory, &figures.extent);
}
