//! What the cloud keeps of the memory that sign-ins take: each password is hashed in
//! some 20 MB, on purpose.

use crate::report::{Report, mb};
use anyhow::{Context, Result, ensure};
use futures::future::join_all;
use unifyit_tests::{api::Api, floods::resident, stack::Stack};

const SIGN_INS: usize = 20;
/// 80 MiB.
const GOAL: u64 = 80 << 20;

pub(crate) async fn measure(stack: &mut Stack, report: &mut Report) -> Result<()> {
    println!("{SIGN_INS} sign-ins, one after the other and at once");
    let (base, email) = (stack.cloud.url(), stack.saved.email.clone());
    let password = stack.saved.password.clone();
    let sign_in = || async { Api::new(&base)?.login(&email, &password).await.map(drop) };
    let pid = stack.cloud.process().context("the cloud does not run")?.pid();
    let mut after = Vec::new();
    for at_once in [1, SIGN_INS] {
        for _ in 0..SIGN_INS / at_once {
            for outcome in join_all((0..at_once).map(|_| sign_in())).await {
                outcome?;
            }
        }
        after.push(resident(Some(pid)));
    }
    let most = after.iter().copied().max().unwrap_or_default();
    ensure!(most > 0, "the cloud's memory could not be read");
    let shown: Vec<String> = after.into_iter().map(mb).collect();
    report.goal(
        "cloud's resident memory, 20 sign-ins",
        shown.join(", at once "),
        "≤ 80 MiB (83.89 MB)",
        most <= GOAL,
    );
    Ok(())
}
