//! What a relay still gathers of a device, for whoever asks for it.
//!
//! Relays send minutes in blocks of up to an hour. Newest loads tell up to when a
//! device has measured; where a range reaches beyond what is stored, its relay is
//! told that somebody looks, sends what it has, and the answer waits for that a
//! moment. Whoever asks again finds it stored. Nobody waits for a relay that is not
//! asked for the device, nor soon again for a device that was waited for in vain.

use super::{read::Asked, store};
use crate::{
    authz::Can,
    context::{AppState, Ctx},
    db::{DbError, TenantTx},
    features::devices::store::DeviceRef,
    http::Problem,
};
use std::time::Duration;
use tokio::time::{Instant, sleep};
use unifyit_protocol::ids::{DeviceId, RelayId};

/// How long an answer waits.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether it came: first and longest.
const LOOK: (Duration, Duration) = (Duration::from_millis(30), Duration::from_millis(200));
/// After its end, in milliseconds, a minute has settled at the relay and may be on
/// its way.
const SETTLED_MS: u64 = 7_000;
/// What is older than this, in minutes, the relay has sent or lost.
const OLDEST: u64 = 25 * 60;

/// What is missing, and who may have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Missing {
    relay: RelayId,
    until: u64,
}

/// Finds out whether the relay has more of what is asked for.
pub(super) async fn missing(
    tx: &mut TenantTx,
    device: &DeviceRef,
    asked: &Asked,
    state: &AppState,
) -> Result<Option<Missing>, DbError> {
    let Some(stand) = store::stand(tx, device).await? else { return Ok(None) };
    let relay = RelayId(stand.relay);
    let told_ms = stand.told_at.map(|at| at.unix_timestamp_nanos() / 1_000_000);
    let told_ms = told_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or_default();
    let stored = stand.stored.map(i64::unsigned_abs);
    let until = last_missing(told_ms, stored, asked.range.end(), state.clock.now_ms());
    let vain = || state.watches.vain().again(DeviceId(device.id), stored, Instant::now().into());
    Ok(until.filter(|_| state.link.online(relay) && !vain()).map(|until| Missing { relay, until }))
}

/// The last whole minute up to `end` that was measured, is not stored, and must be
/// at the relay.
fn last_missing(told_ms: u64, stored: Option<u64>, end: u64, now_ms: u64) -> Option<u64> {
    let over = (now_ms.saturating_sub(SETTLED_MS) / 60_000).checked_sub(1)?;
    // A block tells the end of its last minute: a moment on the edge is the minute before.
    let told = told_ms.checked_sub(1)? / 60_000;
    let last = told.min(over).min(end.checked_sub(1)?);
    let lacks = stored.is_none_or(|stored| stored < last);
    (lacks && last + OLDEST > over).then_some(last)
}

/// Has the relay send it and waits until it is stored, but not long.
pub(super) async fn wait(ctx: &Ctx, device: &DeviceRef, missing: Missing) -> Result<(), Problem> {
    let deadline = Instant::now() + PATIENCE;
    let (watches, id) = (&ctx.state.watches, DeviceId(device.id));
    let _looking = watches.register(vec![(missing.relay, id)], Vec::new());
    if !watches.asked(missing.relay, id) {
        tracing::debug!(device = %id, "More devices of the relay are watched than it is asked for.");
        return Ok(());
    }
    let mut pause = LOOK.0;
    while Instant::now() + pause < deadline {
        sleep(pause).await;
        pause = (pause * 3 / 2).min(LOOK.1);
        let mut tx = ctx.begin(Can::VIEW).await?;
        let stand = store::stand(&mut tx, device).await?;
        let stored = stand.and_then(|stand| stand.stored).map(i64::unsigned_abs);
        if stored.is_some_and(|stored| stored >= missing.until) {
            return Ok(());
        }
    }
    watches.vain().note(id, missing.until, Instant::now().into());
    tracing::debug!(device = %id, "A relay did not send what it gathers in time.");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_minutes_that_must_be_at_the_relay_are_waited_for() {
        let minute = |n: u64| n * 60_000;
        let now = minute(1000) + 30_000;
        // Told a moment ago: minute 999 is over and settled.
        assert_eq!(last_missing(now - 5_000, Some(940), 1001, now), Some(999));
        assert_eq!(last_missing(now - 5_000, Some(999), 1001, now), None, "it is stored");
        assert_eq!(last_missing(now - 5_000, Some(940), 941, now), None, "it is not asked for");
        assert_eq!(last_missing(now - 5_000, Some(940), 950, now), Some(949));
        let soon = minute(1000) + 2_000;
        assert_eq!(last_missing(soon, Some(998), 1001, soon), None, "it has not settled");
        // A computer that went at minute 970 has nothing behind it.
        assert_eq!(last_missing(minute(970) + 5_000, Some(940), 1001, now), Some(970));
        assert_eq!(last_missing(minute(970) + 5_000, Some(970), 1001, now), None);
        // Its last block, through minute 970, tells that minute's end.
        assert_eq!(last_missing(minute(971), Some(970), 1001, now), None);
        assert_eq!(last_missing(minute(971) + 1, Some(970), 1001, now), Some(971));
        assert_eq!(last_missing(now, None, 1001, now), Some(999), "nothing was stored yet");
        assert_eq!(last_missing(0, None, 1001, now), None, "nothing was ever told");
        let later = minute(1000 + 2 * OLDEST);
        assert_eq!(last_missing(minute(970), Some(940), 1 << 40, later), None, "it is lost");
    }
}
