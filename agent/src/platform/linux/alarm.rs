//! A pace that costs one wake-up each time.
//!
//! The runtime keeps its timers in a wheel of 64 ms, 4 s and 262 s, and wakes the
//! thread whenever one moves to a finer ring: up to twice before it is due. What
//! happens all day long at a fixed pace has a timer of the kernel's instead.

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
    timerfd_settime,
};
use std::{io, os::fd::OwnedFd, time::Duration};
use tokio::{
    io::{Interest, unix::AsyncFd},
    time::{Interval, MissedTickBehavior, interval},
};

/// Rings at once, and then at its pace. What is missed while nobody listens is one
/// ring.
#[derive(Debug)]
pub struct Alarm(Kind);

#[derive(Debug)]
enum Kind {
    Kernel(AsyncFd<OwnedFd>),
    /// Where the kernel has no such timers.
    Wheel(Interval),
}

impl Alarm {
    /// An alarm that rings as often; in the runtime.
    #[must_use]
    pub fn every(pace: Duration) -> Self {
        Self(kernel(pace).map_or_else(
            |error| {
                tracing::debug!(%error, "the kernel gives no timer");
                let mut wheel = interval(pace);
                wheel.set_missed_tick_behavior(MissedTickBehavior::Delay);
                Kind::Wheel(wheel)
            },
            Kind::Kernel,
        ))
    }

    /// Waits for the next ring. Cancel-safe.
    pub async fn ring(&mut self) {
        match &mut self.0 {
            Kind::Kernel(timer) => {
                while let Ok(mut ready) = timer.readable().await {
                    let rung = ready
                        .try_io(|timer| Ok(rustix::io::read(timer.get_ref(), &mut [0_u8; 8])?));
                    if rung.is_ok() {
                        return;
                    }
                }
                // The runtime ends.
                std::future::pending::<()>().await;
            }
            Kind::Wheel(wheel) => {
                wheel.tick().await;
            }
        }
    }
}

fn kernel(pace: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let flags = TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC;
    let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
    let pace = Timespec {
        tv_sec: i64::try_from(pace.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: pace.subsec_nanos().into(),
    };
    // Zero would mean never.
    let at_once = Timespec { tv_sec: 0, tv_nsec: 1 };
    let times = Itimerspec { it_interval: pace, it_value: at_once };
    timerfd_settime(&timer, TimerfdTimerFlags::empty(), &times)?;
    #[expect(unsafe_code, reason = "the runtime takes foreign descriptors in no other way")]
    // SAFETY: it is owned, so it stays open and the same as long as it is registered.
    let timer = unsafe { AsyncFd::register_with_interest(timer, Interest::READABLE) }?;
    Ok(timer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_rings_at_once_and_goes_on_and_never_before_its_time() {
        let mut alarm = Alarm::every(Duration::from_millis(2));
        assert!(matches!(alarm.0, Kind::Kernel(_)));
        for _ in 0..3 {
            alarm.ring().await;
        }
        let mut again = Alarm::every(Duration::from_secs(3600));
        again.ring().await;
        let next = tokio::time::timeout(Duration::from_millis(1), again.ring());
        assert!(next.await.is_err(), "it rang long before its time");
    }
}
