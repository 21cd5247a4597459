//! Floods, each from one sort of sender: while it lasts, everybody else is served,
//! nobody of them is refused or disconnected, and it costs a bounded amount of memory.
//! How long the others wait is printed, and judged where the machine is quiet:
//! `make bench`.

use anyhow::Result;
use unifyit_tests::{
    floods::{self, Figures, Length},
    stack::Stack,
};

/// Memory that a flood may cost.
const MOST_BYTES: u64 = 300 << 20;

fn judge(who: &str, figures: &Figures) -> Result<()> {
    println!("flood of a {who}: {figures}");
    figures.check(MOST_BYTES)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_devices_flood_disconnects_nobody_else_and_is_bounded() -> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    judge("device", &floods::device::flood(&mut stack, Length::SHORT).await?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relays_flood_leaves_others_served_and_is_bounded() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    judge("relay", &floods::relay::flood(&mut stack, Length::SHORT).await?)?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_flood_leaves_others_served_and_is_bounded() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    judge("stranger", &floods::stranger::flood(&mut stack, Length::SHORT).await?)?;
    stack.check_alive()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_viewers_flood_leaves_others_served_and_is_bounded() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    judge("viewer", &floods::viewer::flood(&mut stack, Length::SHORT).await?)?;
    stack.check_alive()
}
