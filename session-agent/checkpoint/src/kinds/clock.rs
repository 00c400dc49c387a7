//! The pod's clocks, read from outside.

use std::io;

use nix::time::{ClockId, clock_gettime};

use crate::pod::Pod;

/// The moment that a process of the pod would read, in nanoseconds.
///
/// # Errors
/// If a clock or an offset can't be read.
pub fn now(clock: i32, pod: &dyn Pod) -> io::Result<i64> {
    let time = clock_gettime(ClockId::from_raw(clock))?;
    let here = nanoseconds(time.tv_sec(), time.tv_nsec());
    let name = match clock {
        libc::CLOCK_MONOTONIC => "monotonic",
        libc::CLOCK_BOOTTIME => "boottime",
        _ => return Ok(here),
    };
    let offset = |who: &str| -> io::Result<i64> {
        Ok(offset(&std::fs::read_to_string(format!("/proc/{who}/timens_offsets"))?, name))
    };
    Ok(here.saturating_sub(offset("self")?).saturating_add(offset(&pod.init().to_string())?))
}

fn nanoseconds(seconds: i64, nanoseconds: i64) -> i64 {
    seconds.saturating_mul(1_000_000_000).saturating_add(nanoseconds)
}

/// The offset of a clock in the text of `/proc/PID/timens_offsets`: `monotonic  -3  250`.
fn offset(text: &str, clock: &str) -> i64 {
    let line = text.lines().find_map(|l| l.strip_prefix(clock));
    let mut numbers = line.unwrap_or("").split_whitespace().map(|w| w.parse().unwrap_or(0));
    nanoseconds(numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_found_by_name() {
        let text = "monotonic         -3         250\nboottime           7           0\n";
        assert_eq!((offset(text, "monotonic"), offset(text, "boottime")), (-2_999_999_750, 7_000_000_000));
        assert_eq!(offset("", "monotonic"), 0);
    }
}
