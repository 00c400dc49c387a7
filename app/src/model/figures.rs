//! Numbers as people read them.

/// Bytes in powers of 1000, with three figures at most: `48 MB`, `1.2 GB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
    let mut value = count as f64;
    let mut unit = 0;
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    let digits = usize::from(unit >= 2 && value < 9.95);
    format!("{value:.digits$} {}", UNITS[unit])
}

/// A short time: `84 ms`, `1.2 s`, `3 min`.
#[must_use]
pub fn duration_ms(ms: f64) -> String {
    match ms {
        ms if ms < 1.0 => "1 ms".to_owned(),
        ms if ms < 999.5 => format!("{ms:.0} ms"),
        ms if ms < 9_950.0 => format!("{:.1} s", ms / 1000.0),
        ms if ms < 99_500.0 => format!("{:.0} s", ms / 1000.0),
        ms => format!("{:.0} min", ms / 60_000.0),
    }
}

/// What is left of a transfer in seconds, rounded so that it does not flicker; none while the rate
/// is not yet known.
#[must_use]
pub fn seconds_left(sent: u64, total: u64, elapsed_ms: u64) -> Option<u64> {
    if sent == 0 || total <= sent || elapsed_ms < 500 {
        return None;
    }
    let left = (total - sent) as f64 * (elapsed_ms as f64 / 1000.0) / sent as f64;
    Some(match left {
        left if left < 10.0 => left.ceil() as u64,
        left if left < 60.0 => (left / 5.0).ceil() as u64 * 5,
        left => (left / 60.0).ceil() as u64 * 60,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_few_figures() {
        for (count, text) in [
            (0, "0 B"),
            (999, "999 B"),
            (1_000, "1 kB"),
            (48_300_000, "48 MB"),
            (1_240_000_000, "1.2 GB"),
            (999_600_000, "1.0 GB"),
            (u64::MAX, "18446744 TB"),
        ] {
            assert_eq!(bytes(count), text);
        }
    }

    #[test]
    fn times_have_few_figures() {
        for (ms, text) in
            [(0.2, "1 ms"), (84.4, "84 ms"), (1_240.0, "1.2 s"), (31_000.0, "31 s"), (180_000.0, "3 min")]
        {
            assert_eq!(duration_ms(ms), text);
        }
    }

    #[test]
    fn time_left_needs_a_rate() {
        assert_eq!(seconds_left(0, 100, 9_000), None);
        assert_eq!(seconds_left(50, 100, 100), None);
        assert_eq!(seconds_left(100, 100, 9_000), None);
        assert_eq!(seconds_left(50, 100, 3_000), Some(3));
        assert_eq!(seconds_left(10, 100, 2_000), Some(20));
        assert_eq!(seconds_left(1, 1_000, 1_000), Some(1_020));
    }
}
