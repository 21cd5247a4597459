//! Scripts, from the API call to the outcome.

use anyhow::Result;
use base64::{Engine, engine::general_purpose::STANDARD};
use nix::{sys::signal::kill, unistd::Pid};
use serde_json::json;
use std::{fs, time::Instant};
use unifyit_tests::{
    api::{
        Api,
        live::{Event, Events},
    },
    stack::Stack,
    wait::{self, secs},
};

#[tokio::test(flavor = "multi_thread")]
async fn output_arrives_piece_by_piece_and_the_exit_code_is_kept() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let key = stack.api.create_key("scripts").await?;
    let by_key = Api::with_key(&stack.cloud.url(), &key.key)?;

    for (round, api) in [&stack.api, &by_key].into_iter().enumerate() {
        let mut events = Events::open(api).await?;
        // It begins once somebody hears of it: live output is not told again.
        let go = stack.folder().join(format!("go-{round}"));
        let script = format!(
            "until [ -e {} ]; do echo waiting; sleep 0.3; done; \
             for i in 1 2 3; do echo line$i; sleep 1; done; exit 3",
            go.display()
        );
        let task = api.run_script(&device, &script).await?;
        events.watch(&[], &[&task]).await?;
        let heard = |event: &Event| (event.kind == "task.output").then_some(());
        events.find("the script to be heard", secs(30), heard).await?;
        fs::write(&go, "")?;
        let mut pieces: Vec<(Instant, String)> = Vec::new();
        events
            .find("the three lines", secs(30), |event| {
                if event.kind == "task.output" && event.data["task_id"] == task.as_str() {
                    let bytes = STANDARD.decode(event.data["data_b64"].as_str()?).ok()?;
                    let text = String::from_utf8_lossy(&bytes).replace("waiting\n", "");
                    if !text.is_empty() {
                        pieces.push((Instant::now(), text));
                    }
                }
                let seen: String = pieces.iter().map(|(_, text)| text.as_str()).collect();
                seen.contains("line3").then_some(())
            })
            .await?;
        let first = pieces.first().unwrap();
        let last = pieces.last().unwrap();
        assert!(!first.1.contains("line3"), "the first piece came before the end: {pieces:?}");
        let spread = last.0 - first.0;
        assert!(spread.as_secs_f32() > 0.8, "pieces came as they were printed: {spread:?}");

        let done = api.finished(&task, secs(30)).await?;
        let target = &done.targets[0];
        assert_eq!((target.status.as_str(), target.exit_code), ("failed", Some(3)));
        assert_eq!(target.output.replace("waiting\n", ""), "line1\nline2\nline3\n");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_script_is_gone_with_all_it_started() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let pids = stack.folder().join("pids");
    let shown = pids.display();
    let script = format!("sleep 600 & echo $! > {shown}.new; mv {shown}.new {shown}; sleep 600");
    let task = stack.api.run_script(&device, &script).await?;
    let pid: i32 = wait::until("the script to start", secs(30), || async {
        Ok(std::fs::read_to_string(&pids)?.trim().parse().ok())
    })
    .await?;
    let alive = || kill(Pid::from_raw(pid), None).is_ok();
    assert!(alive());

    stack.api.cancel(&task).await?;
    let done = stack.api.finished(&task, secs(30)).await?;
    assert_eq!(done.targets[0].status, "cancelled", "{done:?}");
    wait::until_true("the child of the script to be gone", secs(10), || !alive()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_megabytes_of_output_are_cut_visibly_and_harm_nobody() -> Result<()> {
    let mut stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let printed = 100_000_000_u64;
    let flood = format!("head -c {printed} /dev/zero | tr '\\0' x");
    let task = stack.api.run_script(&device, &flood).await?;
    let done = stack.api.finished(&task, secs(180)).await?;
    let target = &done.targets[0];
    assert_eq!(target.status, "succeeded", "{:?}", target.reason);
    assert!(target.output_len <= 2 << 20, "{} bytes were kept", target.output_len);
    // The visible notice about the cut is a line of the kept output.
    let told = target.output_len + target.output_cut;
    assert!((printed..printed + 200).contains(&told), "the cut says how much: {told}");
    // The outcome comes ahead of what waits in the lane of output.
    let path = format!("/tasks/{task}/targets/{device}/output");
    let output = wait::until("what was kept to be read", secs(30), || async {
        let output = stack.api.bytes(&path).await?;
        Ok((output.len() as u64 >= target.output_len).then_some(output))
    })
    .await?;
    assert!(output.iter().take_while(|b| **b == b'x').count() > 500_000);

    let began = Instant::now();
    let after = stack.api.run_script(&device, "echo still here").await?;
    let after = stack.api.finished(&after, secs(20)).await?;
    assert_eq!(after.targets[0].output, "still here\n", "after {:?}", began.elapsed());
    for process in [stack.agents[0].process(), stack.relay.process()].into_iter().flatten() {
        let rss = resident_kb(process.pid())?;
        assert!(rss < 250_000, "{} holds {rss} kB", process.name());
    }
    stack.check_alive()
}

fn resident_kb(pid: i32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    Ok(line.split_whitespace().nth(1).unwrap_or("0").parse()?)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_script_beyond_its_time_is_killed_and_said_to_be() -> Result<()> {
    let stack = Stack::for_test(1).await?;
    let device = stack.first_device().await?;
    let action =
        json!({"kind": "script", "interpreter": "sh", "body": "sleep 600", "timeout_s": 1});
    let task = stack.api.submit(json!({"device_ids": [device]}), action).await?;
    let done = stack.api.finished(&task, secs(30)).await?;
    assert_eq!(done.targets[0].status, "timed_out");
    Ok(())
}
