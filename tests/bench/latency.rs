//! How long a technician waits: for the first byte of a script's output, and for
//! the echo of a key.

use crate::report::{Report, ms, quantile};
use anyhow::Result;
use std::time::{Duration, Instant};
use unifyit_tests::{
    api::live::{Events, Terminal},
    stack::Stack,
    wait::secs,
};

/// Commands one after the other, and how often that is done. Whoever changes what they
/// watch faster than this is looked up at a pace, and is shown output as it is stored.
const IN_A_ROW: usize = 4;
const ROWS: usize = 50;
const KEYS: usize = 1000;
/// Between two rows. A machine that has rested begins slowly: its processors sleep, and
/// what nobody used for a while is in no cache.
const PAUSE: Duration = Duration::from_millis(1200);

pub(crate) async fn commands(stack: &Stack, device: &str, report: &mut Report) -> Result<()> {
    println!("command round trip ({} scripts)", IN_A_ROW * ROWS);
    let mut events = Events::open(&stack.api).await?;
    let (mut times, mut rested, mut answers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROWS {
        for place in 0..IN_A_ROW {
            let began = Instant::now();
            let task = stack.api.run_script(device, "echo x").await?;
            answers.push(began.elapsed());
            events.watch(&[], &[&task]).await?;
            events
                .find("output", secs(20), |event| {
                    // Output that came before the watch shows in the target's length.
                    let output = event.kind == "task.output"
                        || (event.kind == "task.target"
                            && event.data["output_len"].as_u64().unwrap_or(0) > 0);
                    (output && event.data["task_id"] == task.as_str()).then_some(())
                })
                .await?;
            let took = if place == 0 { &mut rested } else { &mut times };
            took.push(began.elapsed());
            stack.api.finished(&task, secs(20)).await?;
        }
        tokio::time::sleep(PAUSE).await;
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let met = p50 <= Duration::from_millis(5);
    report.goal("command to first output byte, p50", ms(p50), "≤ 5 ms (MeshCentral 5.3)", met);
    report.note("command to first output byte, p99", ms(p99), "");
    let after = quantile(&mut rested, 0.5);
    report.note("the same after a rest of 1.2 s, p50", ms(after), "");
    let answered = quantile(&mut answers, 0.5);
    report.note(
        "command to the API's answer, p50",
        ms(answered),
        "a part of the first output byte's",
    );
    Ok(())
}

pub(crate) async fn keystrokes(stack: &Stack, device: &str, report: &mut Report) -> Result<()> {
    println!("keystroke echo ({KEYS} keys)");
    let mut terminal = Terminal::open(&stack.api, device, 80, 24).await?;
    // The kernel's line discipline echoes; no shell redraws its line.
    terminal.send(b"stty -icanon; echo ready$((1+1)); cat > /dev/null\r").await?;
    terminal.expect("ready2", secs(15)).await?;
    let mut times = Vec::with_capacity(KEYS);
    for number in 0..KEYS {
        let key = b'a' + u8::try_from(number % 26)?;
        let began = Instant::now();
        terminal.send(&[key]).await?;
        terminal.expect(char::from(key).encode_utf8(&mut [0; 4]), secs(10)).await?;
        times.push(began.elapsed());
    }
    let (p50, p99) = (quantile(&mut times, 0.5), quantile(&mut times, 0.99));
    let goal = Duration::from_micros(1100);
    report.goal("keystroke echo, p50", ms(p50), "≤ 1.1 ms (MeshCentral 1.10)", p50 <= goal);
    let goal = Duration::from_millis(4);
    report.goal("keystroke echo, p99", ms(p99), "≤ 4 ms (MeshCentral 3.9)", p99 <= goal);
    Ok(())
}
