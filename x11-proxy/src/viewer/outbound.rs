//! Input on its way to the display. Bounded: while the network stands still, only the newest pointer
//! place and window size are kept, and then presses are given up before releases are.

use std::collections::VecDeque;

use roam_api::display::{KeyAction, ToDisplay};

/// From here on nothing new is begun.
const FULL: usize = 256;
/// From here on nothing is kept at all.
const OVERFULL: usize = 4 * FULL;

/// The queue. Pure.
#[derive(Debug, Default)]
pub(crate) struct Outbound {
    queue: VecDeque<ToDisplay>,
}

impl Outbound {
    pub fn push(&mut self, message: ToDisplay) {
        if let Some(last) = self.queue.back_mut()
            && replaces(&message, last)
        {
            *last = message;
            return;
        }
        let most = if begins_something(&message) { FULL } else { OVERFULL };
        if self.queue.len() < most {
            self.queue.push_back(message);
        }
    }

    pub fn pop(&mut self) -> Option<ToDisplay> {
        self.queue.pop_front()
    }
}

fn replaces(new: &ToDisplay, old: &ToDisplay) -> bool {
    match (new, old) {
        (ToDisplay::Pointer { .. }, ToDisplay::Pointer { .. })
        | (ToDisplay::Focus(_), ToDisplay::Focus(_))
        | (ToDisplay::Ack(_), ToDisplay::Ack(_)) => true,
        (ToDisplay::Resize { window: a, .. }, ToDisplay::Resize { window: b, .. }) => a == b,
        _ => false,
    }
}

fn begins_something(message: &ToDisplay) -> bool {
    match message {
        ToDisplay::Key { action, .. } => *action != KeyAction::Release,
        ToDisplay::Button { pressed, .. } => *pressed,
        ToDisplay::Pointer { .. } | ToDisplay::Wheel { .. } | ToDisplay::Dismiss => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_api::display::{Point, WindowId};

    fn pointer(x: i32) -> ToDisplay {
        ToDisplay::Pointer { at_ms: 0, point: Point { window: WindowId(1), x, y: 0 } }
    }

    fn key(action: KeyAction) -> ToDisplay {
        ToDisplay::Key { at_ms: 0, keysym: 0x61, action }
    }

    #[test]
    fn only_the_newest_place_is_kept() {
        let mut outbound = Outbound::default();
        for x in 0..10 {
            outbound.push(pointer(x));
        }
        assert_eq!(outbound.pop(), Some(pointer(9)));
        assert_eq!(outbound.pop(), None);
    }

    #[test]
    fn a_release_outlives_a_full_queue() {
        let mut outbound = Outbound::default();
        for _ in 0..2 * FULL {
            outbound.push(key(KeyAction::Press));
        }
        outbound.push(key(KeyAction::Release));
        assert_eq!(outbound.queue.len(), FULL + 1);
        for _ in 0..10 * FULL {
            outbound.push(key(KeyAction::Release));
        }
        assert_eq!(outbound.queue.len(), OVERFULL);
    }
}
