//! Where a popup goes on the person's screen. Pure.

use crate::geometry::Rect;

/// A popup keeps its place relative to its parent, and is moved as little as needed to lie on the
/// monitor: a menu that can't be reached is worse than one that is a little off.
pub(crate) fn popup(
    parent_in_pod: (i32, i32),
    parent_here: (i32, i32),
    popup: Rect,
    monitor: Option<Rect>,
) -> (i32, i32) {
    let here = Rect {
        x: parent_here.0.saturating_add(popup.x - parent_in_pod.0),
        y: parent_here.1.saturating_add(popup.y - parent_in_pod.1),
        ..popup
    };
    let placed = monitor.map_or(here, |monitor| here.moved_into(monitor));
    (placed.x, placed.y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_menu_keeps_its_place_at_its_parent() {
        let menu = Rect::new(70, 90, 100, 200);
        let monitor = Some(Rect::new(0, 0, 1000, 800));
        assert_eq!(popup((64, 64), (400, 300), menu, monitor), (406, 326));
    }

    #[test]
    fn a_menu_stays_on_the_monitor() {
        let menu = Rect::new(70, 90, 100, 200);
        let monitor = Some(Rect::new(1000, 0, 1000, 800));
        assert_eq!(popup((64, 64), (1950, 700), menu, monitor), (1900, 600));
        assert_eq!(popup((64, 64), (1950, 700), menu, None), (1956, 726));
    }
}
