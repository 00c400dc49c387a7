//! Where an input goes on the pod's screen, and whether it would hit the window that was meant. Pure.

use crate::geometry::Rect;

/// A place in a window as a place on the screen; the screen ends drags that leave it.
pub(crate) fn on_screen(window: Rect, x: i32, y: i32, screen: Rect) -> (i16, i16) {
    let place = |origin: i32, offset: i32, end: i32| {
        origin.saturating_add(offset).clamp(0, (end - 1).clamp(0, i32::from(i16::MAX))) as i16
    };
    (place(window.x, x, screen.right()), place(window.y, y, screen.bottom()))
}

/// Whether another window lies over this place of the window. `stack` goes from the bottom to the
/// top; popups are left out of it, since they lie above on purpose.
pub(crate) fn is_covered(stack: &[(u32, Rect)], window: u32, x: i32, y: i32) -> bool {
    let above = stack.iter().rev().take_while(|(w, _)| *w != window);
    above.into_iter().any(|(_, rect)| rect.contains(x, y))
}

/// X11 button numbers of wheel notches: up and down, left and right.
pub(crate) fn wheel_buttons(right: i8, down: i8) -> impl Iterator<Item = u8> {
    /// More at once than a hand can turn is a fault.
    const MOST: usize = 20;
    let vertical = if down < 0 { 4 } else { 5 };
    let horizontal = if right < 0 { 6 } else { 7 };
    let times = |notches: i8| usize::from(notches.unsigned_abs()).min(MOST);
    std::iter::repeat_n(vertical, times(down)).chain(std::iter::repeat_n(horizontal, times(right)))
}

/// Tells how late inputs are, by two clocks that need not agree: the smallest difference ever seen is
/// taken as the undelayed one.
#[derive(Debug, Default)]
pub(crate) struct Lateness {
    smallest: Option<i128>,
}

impl Lateness {
    /// An input older than this is dropped: the person has given up on it.
    const MOST_MS: i128 = 5_000;

    /// Whether an input made at `at_ms` of the viewer's clock is too late now.
    pub fn too_late(&mut self, at_ms: u64, now_ms: u64) -> bool {
        let difference = i128::from(now_ms) - i128::from(at_ms);
        let smallest = self.smallest.map_or(difference, |s| s.min(difference));
        self.smallest = Some(smallest);
        difference - smallest > Self::MOST_MS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Rect = Rect::new(0, 0, 1920, 1080);

    #[test]
    fn places_are_kept_on_the_screen() {
        let window = Rect::new(64, 64, 300, 200);
        assert_eq!(on_screen(window, 10, 20, SCREEN), (74, 84));
        assert_eq!(on_screen(window, -100, 5000, SCREEN), (0, 1079));
        assert_eq!(on_screen(window, i32::MIN, i32::MAX, SCREEN), (0, 1079));
    }

    #[test]
    fn only_windows_above_cover() {
        let stack = [(1, Rect::new(0, 0, 100, 100)), (2, Rect::new(50, 50, 100, 100))];
        assert!(is_covered(&stack, 1, 60, 60));
        assert!(!is_covered(&stack, 1, 10, 10));
        assert!(!is_covered(&stack, 2, 60, 60));
    }

    #[test]
    fn notches_are_buttons() {
        assert_eq!(wheel_buttons(0, -2).collect::<Vec<_>>(), [4, 4]);
        assert_eq!(wheel_buttons(1, 1).collect::<Vec<_>>(), [5, 7]);
        assert_eq!(wheel_buttons(0, i8::MIN).count(), 20);
    }

    #[test]
    fn an_input_that_waited_for_seconds_is_dropped() {
        let mut lateness = Lateness::default();
        assert!(!lateness.too_late(1_000, 900_000));
        assert!(!lateness.too_late(2_000, 902_000));
        assert!(lateness.too_late(3_000, 908_000));
        assert!(!lateness.too_late(9_000, 908_500));
        assert!(!lateness.too_late(u64::MAX, 0));
    }
}
