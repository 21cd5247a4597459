//! `make bench`: the product's figures beside their goals, measured on real
//! processes over loopback; Mosquitto stands beside us in the same run.
//!
//! `unifyit-bench [WORD…]` measures only those parts whose name contains a word.

#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a report for people")]

mod acks;
mod backlog;
mod cache;
mod cache_load;
mod fanout;
mod floods;
mod idle;
mod latency;
mod lists;
mod mosquitto;
mod report;
mod rest;
mod signins;
mod silence;
mod wire;

use anyhow::Result;
use report::Report;
use unifyit_tests::stack::Stack;

#[tokio::main]
async fn main() -> Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word));
    let mut report = Report::default();
    println!("{}", report::machine());

    if wanted("idle") || wanted("latency") {
        let mut stack = Box::pin(Stack::for_test(1)).await?;
        let device = stack.first_device().await?;
        if wanted("idle") {
            let outcome = idle::agent(&mut stack, &mut report).await;
            report.part("agent at rest", outcome);
        }
        if wanted("latency") {
            report.sync(stack.folder());
            let outcome = latency::commands(&stack, &device, &mut report).await;
            report.part("command round trip", outcome);
            let outcome = latency::keystrokes(&stack, &device, &mut report).await;
            report.part("keystroke echo", outcome);
        }
    }
    // Each with a stack of its own: what one leaves behind is not the next one's.
    if wanted("fleet") {
        let mut stack = Box::pin(Stack::for_test(0)).await?;
        let outcome = fanout::measure(&mut stack, &mut report).await;
        report.part("fan-out", outcome);
    }
    if wanted("acks") {
        let stack = Box::pin(Stack::for_test(0)).await?;
        let outcome = acks::measure(&stack, &mut report).await;
        report.part("durable acks", outcome);
    }
    if wanted("backlog") {
        let mut stack = Box::pin(Stack::for_test(0)).await?;
        let outcome = backlog::measure(&mut stack, &mut report).await;
        report.part("backlog", outcome);
    }
    if wanted("silence") {
        let mut stack = Box::pin(Stack::for_test(1)).await?;
        let outcome = silence::measure(&mut stack, &mut report).await;
        report.part("killed cloud", outcome);
    }
    if wanted("cache") {
        let outcome = Box::pin(cache::measure(&mut report)).await;
        report.part("package cache", outcome);
    }
    let mut blocks = None;
    if wanted("wire") {
        let outcome = wire::measure(&mut report).map(|each| blocks = Some(each));
        report.part("bytes a sample", outcome);
    }
    if wanted("rest") {
        let stack = Box::pin(Stack::for_test_over_wan(0)).await?;
        let outcome = rest::measure(&stack, blocks, &mut report).await;
        report.part("a site at rest", outcome);
    }
    if wanted("lists") {
        let stack = Box::pin(Stack::for_test(0)).await?;
        let outcome = lists::measure(&stack, &mut report).await;
        report.part("lists", outcome);
    }
    if wanted("signins") {
        let mut stack = Box::pin(Stack::for_test(0)).await?;
        let outcome = signins::measure(&mut stack, &mut report).await;
        report.part("sign-ins", outcome);
    }
    let floods = floods::SENDERS.into_iter();
    for who in floods.filter(|who| wanted("floods") || wanted(&format!("flood-{who}"))) {
        floods::measure(who, &mut report).await;
    }
    report.print();
    Ok(())
}
