//! How long a site is cut off from a cloud that was killed: the network tells
//! nobody, so the relay has to notice. Measured from the moment at which the cloud
//! is there again, which is as soon as it starts.

use crate::report::{Report, ms, quantile};
use anyhow::Result;
use std::time::{Duration, Instant};
use unifyit_tests::{stack::Stack, wait::secs};

const KILLS: usize = 15;

pub(crate) async fn measure(stack: &mut Stack, report: &mut Report) -> Result<()> {
    println!("a killed cloud ({KILLS} kills)");
    let device = stack.first_device().await?;
    let (mut starts, mut times) = (Vec::new(), Vec::new());
    for _ in 0..KILLS {
        // The line is in use, as it is when somebody waits.
        let task =
            stack.api.run_script(&device, "for i in 1 2 3 4 5 6; do echo $i; sleep .2; done");
        let task = task.await?;
        tokio::time::sleep(Duration::from_millis(rand::random_range(300..900))).await;
        let killed = Instant::now();
        stack.cloud.kill9();
        stack.cloud.start().await?;
        starts.push(killed.elapsed());
        stack.relay_online().await?;
        let again = stack.api.run_script(&device, "true").await?;
        stack.api.finished(&again, secs(60)).await?;
        times.push(killed.elapsed());
        stack.api.finished(&task, secs(60)).await?;
    }
    report.note("killed cloud, started again after, p50", ms(quantile(&mut starts, 0.5)), "");
    let (p50, most) = (quantile(&mut times, 0.5), quantile(&mut times, 1.0));
    report.goal("killed cloud, until a command ends, p50", ms(p50), "≤ 3 s", p50 <= secs(3));
    report.note("killed cloud, until a command ends, longest", ms(most), "");
    Ok(())
}
