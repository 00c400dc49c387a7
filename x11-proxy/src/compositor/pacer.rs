//! When a frame may go. Pure.
//!
//! The first damage after rest goes at once: that is what a person feels as speed. After that the
//! viewer's acknowledgements set the pace, at most [`IN_FLIGHT`] frames are under way, and a window
//! gets no more than about 60 frames a second. Nothing is queued: when a frame may go, the newest
//! pixels are captured.

use std::time::Duration;

/// Frames sent and not yet acknowledged.
pub(crate) const IN_FLIGHT: usize = 2;
/// The least time between two frames of one window.
const INTERVAL: Duration = Duration::from_millis(15);

/// Counts what is under way. Times are since the display's start.
#[derive(Debug, Default)]
pub(crate) struct Pacer {
    sent: u64,
    acknowledged: u64,
}

impl Pacer {
    /// Whether the viewer has room for another frame.
    pub fn has_room(&self) -> bool {
        self.sent - self.acknowledged < IN_FLIGHT as u64
    }

    /// When a window that was last sent at `last` may be sent next.
    pub fn due(last: Option<Duration>) -> Duration {
        last.map_or(Duration::ZERO, |last| last + INTERVAL)
    }

    /// Numbers the frame that is sent now.
    pub fn next_frame(&mut self) -> u64 {
        self.sent += 1;
        self.sent
    }

    /// The viewer shows this frame, and so has every earlier one. Numbers that were never sent, or
    /// come twice, change nothing.
    pub fn acknowledge(&mut self, number: u64) {
        if number <= self.sent {
            self.acknowledged = self.acknowledged.max(number);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn two_frames_are_under_way_and_no_more() {
        let mut pacer = Pacer::default();
        let first = pacer.next_frame();
        assert!(pacer.has_room());
        pacer.next_frame();
        assert!(!pacer.has_room());
        pacer.acknowledge(first);
        assert!(pacer.has_room());
    }

    #[test]
    fn rest_is_ended_at_once_and_a_busy_window_waits() {
        assert_eq!(Pacer::due(None), Duration::ZERO);
        let last = Duration::from_secs(7);
        assert!(Pacer::due(Some(last)) > last);
        assert!(Pacer::due(Some(last)) < last + Duration::from_millis(17));
    }

    proptest! {
        #[test]
        fn no_acknowledgement_breaks_the_count(acks in proptest::collection::vec(any::<u64>(), 0..50)) {
            let mut pacer = Pacer::default();
            for ack in acks {
                pacer.acknowledge(ack);
                if pacer.has_room() {
                    pacer.next_frame();
                }
                prop_assert!(pacer.sent - pacer.acknowledged <= IN_FLIGHT as u64);
            }
        }
    }
}
