//! Measures every few seconds, and hands the samples to the spool.

use super::{metrics::Sampler, reader::Reader};
use crate::{
    clock::{self, frame_ms},
    feature::{Feature, Work},
    link::spool::Spool,
    platform::Alarm,
};
use std::time::{Duration, Instant};
use unifyit_protocol::report::Report;

/// Measurements, as a feature of the agent.
pub const FEATURE: Feature = Feature { name: "metrics", run: |work| Box::pin(run(work)) };

/// Measures at the pace that the cloud wishes.
async fn run(work: Work) {
    let Work { store, mut config, asks, .. } = work;
    let (spool, mut again) = (Spool::new(store), asks.again());
    let (mut reader, mut sampler) = (Reader::default(), Sampler::default());
    loop {
        let every = Duration::from_secs(config.borrow_and_update().collect_every_s.into());
        let mut alarm = Alarm::every(every);
        loop {
            tokio::select! {
                () = alarm.ring() => {
                    let Some(reading) = reader.read().await else { continue };
                    let at_ms = frame_ms();
                    let sampled = sampler.sample(reading, Instant::now(), at_ms);
                    if let Some(table) = sampled.table {
                        spool.push_metric(at_ms, &Report::Series(table));
                    }
                    spool.push_metric(at_ms, &Report::Sample(sampled.sample));
                    clock::look();
                }
                asked = again.changed() => match asked {
                    Ok(()) => sampler.tell_table(),
                    Err(_) => return,
                },
                changed = config.changed() => match changed {
                    Ok(()) => break,
                    Err(_) => return,
                },
            }
        }
    }
}
