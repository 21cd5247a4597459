//! Install tokens: what lets in, what keeps out, and in which words.

use anyhow::{Context, Result};
use serde_json::{Value, json};
use unifyit_tests::{
    api::Refused,
    process::Outcome,
    sim::Enroller,
    stack::{Stack, agent::Agent, ports::Ports, relay::Relay},
    wait::{self, secs},
};

fn assert_says(outcome: &Outcome, words: &str) {
    assert!(!outcome.status.success(), "it was let in: {}", outcome.text);
    assert!(outcome.text.contains(words), "{words:?} is not said in: {}", outcome.text);
}

fn newcomer(stack: &Stack, name: &str) -> Result<Agent> {
    Agent::configure(&stack.folder().join(name), &stack.folder().join("logs"))
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_are_refused_with_a_sentence_that_says_why() -> Result<()> {
    let stack = Stack::for_test(0).await?;
    let site = stack.site()?;

    let once = stack.api.install_token(&site, "agent", 1).await?.token;
    newcomer(&stack, "first")?.enroll(&once)?;
    assert_says(&newcomer(&stack, "second")?.try_enroll(&once)?, "has been used up");

    let whole = stack.api.install_token(&site, "agent", 5).await?;
    let tampered = flip_in_the_middle(&whole.token);
    assert_says(&newcomer(&stack, "third")?.try_enroll(&tampered)?, "changed or cut off");
    let cut = &whole.token[..whole.token.len() - 9];
    assert_says(&newcomer(&stack, "third")?.try_enroll(cut)?, "changed or cut off");

    stack.api.delete(&format!("/install-tokens/{}", whole.id)).await?;
    wait::until("the relay to know of the revocation", secs(20), || async {
        let outcome = newcomer(&stack, "fourth")?.try_enroll(&whole.token)?;
        Ok(outcome.text.contains("was revoked").then_some(()))
    })
    .await?;

    let path = format!("/sites/{site}/install-tokens");
    let body = json!({"kind": "agent", "expires_in_s": 60, "uses": 1});
    let short: Value = stack.api.post(&path, &body).await?;
    assert!(short["token"].is_string());
    Ok(())
}

/// Changes one character of the signed part.
fn flip_in_the_middle(token: &str) -> String {
    let mut bytes = token.as_bytes().to_vec();
    let at = bytes.len() / 2;
    bytes[at] = if bytes[at] == b'A' { b'B' } else { b'A' };
    String::from_utf8(bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_of_the_other_kind_and_of_another_site_are_refused() -> Result<()> {
    let stack = Stack::for_test(0).await?;
    let here = stack.site()?;
    let organization = stack.saved.organization.clone().context("made by the stack")?;
    let logs = stack.folder().join("logs");

    let agent_token = stack.api.install_token(&here, "agent", 5).await?.token;
    let there = stack.api.create_site(&organization, "Branch").await?;
    let relay_token = stack.api.install_token(&there, "relay", 1).await?.token;
    assert_says(&newcomer(&stack, "kind")?.try_enroll(&relay_token)?, "other kind");

    let early = stack.api.install_token(&there, "agent", 1).await.unwrap_err();
    let refused = early.downcast_ref::<Refused>().context("a refusal")?;
    assert_eq!(refused.status.as_u16(), 409, "{refused}");
    assert!(refused.detail().contains("relay"), "{refused}");

    let mut branch = Relay::configure(&stack.folder().join("branch"), &logs, Ports::free()?)?;
    assert_says(&branch.try_enroll(&agent_token, "123456")?, "other kind");
    branch.enroll(&relay_token, "123456")?;
    let again = Relay::configure(&stack.folder().join("again"), &logs, Ports::free()?)?;
    assert_says(&again.try_enroll(&relay_token, "123456")?, "has been used up");
    branch.start().await?;

    let branch_token = wait::until("the branch's relay to be reachable", secs(30), || async {
        stack.api.install_token(&there, "agent", 5).await.map(Some)
    })
    .await?;
    // Pinned to the branch's relay, but holding the head office's token.
    let astray = Enroller::new(&branch_token.token)?.presenting(&agent_token);
    let error = astray.enroll("astray", 1).await.unwrap_err();
    assert!(error.to_string().contains("belongs to another site"), "{error}");
    Enroller::new(&branch_token.token)?.enroll("at-home", 2).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_token_is_refused_also_while_the_wan_is_down() -> Result<()> {
    let mut stack = Stack::for_test(0).await?;
    let path = format!("/sites/{}/install-tokens", stack.site()?);
    let body = json!({"kind": "agent", "expires_in_s": 60, "uses": 9});
    let short: Value = stack.api.post(&path, &body).await?;
    let token = short["token"].as_str().context("a token")?.to_owned();
    stack.cloud.stop();
    // The relay honours its site's tokens by itself (G9).
    Enroller::new(&token)?.enroll("offline", 7).await?;
    wait::until("the token to expire", secs(90), || async {
        match Enroller::new(&token)?.enroll("late", 8).await {
            Ok(_) => Ok(None),
            Err(error) => Ok(error.to_string().contains("has expired").then_some(())),
        }
    })
    .await
}
