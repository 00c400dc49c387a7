//! Timers: timerfd_create(2).
//!
//! The time of the next tick is carried as a moment of the pod's own clock, which goes on as if nothing
//! had happened; only relative timers of the wall clock are carried by what is left, because the wall
//! clocks of two machines may differ.

use std::os::fd::AsFd;

use roam_sys::descriptor;
use serde::{Deserialize, Serialize};

use super::build::Build;
use super::clock;
use super::gather::{Capture, Known};
use super::open_file::{FileId, Look, OpenFileKind, Stop};
use crate::error::Error;

/// A timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// CLOCK_*.
    pub clock: i32,
    /// TFD_TIMER_* as last set.
    pub flags: i32,
    /// Ticks that nobody has read.
    pub ticks: u64,
    /// Nanoseconds between ticks; 0 for once.
    pub interval: i64,
    /// When it ticks next.
    pub next: Next,
}

/// When a timer ticks next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Next {
    /// It is not running.
    Never,
    /// At this moment of its clock, in nanoseconds.
    At(i64),
    /// After this many nanoseconds.
    In(i64),
}

const ABSOLUTE: i32 = libc::TFD_TIMER_ABSTIME;
const CANCEL_ON_SET: i32 = libc::TFD_TIMER_CANCEL_ON_SET;
/// _IOW('T', 0, u64)
const TFD_IOC_SET_TICKS: u32 = 0x4008_5400;

impl OpenFileKind for State {
    fn matches(look: &Look) -> bool {
        look.info.rest.starts_with("clockid:")
    }

    fn check(look: &Look, _known: &Known<'_>) -> Result<(), Stop> {
        clock_of(look).map(drop)
    }

    fn capture(look: &Look, at: &mut Capture<'_>) -> Result<Self, Stop> {
        let clock = clock_of(look)?;
        // Asking brings the number of ticks up to date, so fdinfo is read again afterwards.
        let failed = |e| Error::system("reading a timer", e);
        let [left, interval] = descriptor::timerfd_time(look.file.as_fd()).map_err(failed)?;
        let info = at.known.own_info(look.file.as_fd()).map_err(failed)?;
        let ticks = info.decimal("ticks").unwrap_or(0).unsigned_abs();
        let flags = info.value("settime flags").and_then(|v| i32::from_str_radix(v, 8).ok()).unwrap_or(0);
        let nanoseconds = |(s, ns): (i64, i64)| s.saturating_mul(1_000_000_000).saturating_add(ns);
        let left = nanoseconds(left);
        let next = match left {
            0 => Next::Never,
            _ if clock == libc::CLOCK_REALTIME && flags & ABSOLUTE == 0 => Next::In(left),
            _ => Next::At(clock::now(clock, at.known.pod).map_err(failed)?.saturating_add(left)),
        };
        Ok(Self { clock, flags, ticks, interval: nanoseconds(interval), next })
    }

    fn make(&self, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
        if self.interval < 0 || !CLOCKS.contains(&self.clock) {
            return Err(Error::Image("a timer is damaged".into()));
        }
        let slot = at.slot(id);
        let batch = at.batch(64)?;
        let args = [self.clock.into(), libc::TFD_NONBLOCK.into()];
        let fd = batch.must("timerfd_create", libc::SYS_timerfd_create, &args);
        let (flags, next) = match self.next {
            Next::Never => (0, 0),
            Next::At(moment) => (ABSOLUTE | (self.flags & CANCEL_ON_SET), moment.max(1)),
            Next::In(left) => (0, left.max(1)),
        };
        let mut times = Vec::with_capacity(32);
        for part in [self.interval, next].map(|t| [t / 1_000_000_000, t % 1_000_000_000]).concat() {
            times.extend(part.to_ne_bytes());
        }
        let times = batch.data(&times);
        let args = [fd.into(), flags.into(), times.into(), 0u32.into()];
        batch.must("timerfd_settime", libc::SYS_timerfd_settime, &args);
        if self.ticks > 0 {
            let ticks = batch.data(&self.ticks.to_ne_bytes());
            let args = [fd.into(), TFD_IOC_SET_TICKS.into(), ticks.into()];
            batch.must("setting a timer's ticks", libc::SYS_ioctl, &args);
        }
        at.place(fd, slot);
        Ok(())
    }

    fn connect(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }

    fn finish(&self, _id: FileId, _at: &mut Build<'_>) -> Result<(), Error> {
        Ok(())
    }
}

const CLOCKS: [i32; 3] = [libc::CLOCK_REALTIME, libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME];

fn clock_of(look: &Look) -> Result<i32, Stop> {
    let clock = look.info.decimal("clockid").unwrap_or(-1) as i32;
    if CLOCKS.contains(&clock) {
        return Ok(clock);
    }
    Err(Stop::cannot(
        format!("its clock ({clock}) would wake this machine from sleep"),
        "Stop the alarm in the program, then try again.",
    ))
}

#[cfg(test)]
mod tests {
    use super::super::descriptors::Descriptors;
    use super::super::open_file::Kind;
    use super::super::testing::Session;
    use super::*;
    use nix::sys::time::TimeSpec;
    use nix::sys::timerfd::{ClockId, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
    use std::time::Duration;

    fn states(image: &Descriptors) -> Vec<State> {
        let state = |kind: &Kind| match kind {
            Kind::TimerFd(state) => state.clone(),
            _ => panic!("no timer"),
        };
        image.files.iter().map(|f| state(&f.kind)).collect()
    }

    fn second(n: u64) -> TimeSpec {
        Duration::from_secs(n).into()
    }

    #[test]
    fn timers_go_on() {
        let timer = |clock| TimerFd::new(clock, TimerFlags::empty()).unwrap();
        let set = |timer: &TimerFd, time, flags| timer.set(time, flags).unwrap();
        let idle = timer(ClockId::CLOCK_MONOTONIC);
        let once = timer(ClockId::CLOCK_MONOTONIC);
        set(&once, Expiration::OneShot(second(50)), TimerSetTimeFlags::empty());
        let often = timer(ClockId::CLOCK_BOOTTIME);
        set(&often, Expiration::IntervalDelayed(second(70), second(9)), TimerSetTimeFlags::empty());
        let wall = timer(ClockId::CLOCK_REALTIME);
        set(&wall, Expiration::OneShot(second(9_000_000_000)), TimerSetTimeFlags::TFD_TIMER_ABSTIME);
        let mut session = Session::of(&[idle.as_fd(), once.as_fd(), often.as_fd(), wall.as_fd()]);
        let before = states(session.image());
        session.restore().unwrap();
        let after = states(&session.capture_target());
        assert_eq!(after[0], before[0]);
        for (before, after) in before.iter().zip(&after).skip(1) {
            let (Next::At(before_at), Next::At(after_at)) = (before.next, after.next) else {
                panic!("{before:?} {after:?}");
            };
            assert!((before_at - after_at).abs() < 5_000_000, "{before:?} {after:?}");
            assert_eq!((before.interval, before.clock), (after.interval, after.clock));
        }
    }

    #[test]
    fn ticks_are_kept() {
        let timer = TimerFd::new(ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK).unwrap();
        timer.set(Expiration::OneShot(Duration::from_nanos(1).into()), TimerSetTimeFlags::empty()).unwrap();
        let mut poll = [nix::poll::PollFd::new(timer.as_fd(), nix::poll::PollFlags::POLLIN)];
        assert_eq!(nix::poll::poll(&mut poll, 5000u16).unwrap(), 1);
        let mut session = Session::of(&[timer.as_fd()]);
        session.round_trip();
        assert_eq!(session.read(0, 8), 1u64.to_ne_bytes());
    }
}
