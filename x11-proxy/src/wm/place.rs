//! Where a new window goes on the pod's screen. Pure.
//!
//! The person never sees this screen, but apps do: menus open inside it, and the pointer can only
//! reach what lies on it. So windows are kept whole on the screen, with room around them for menus
//! and for drags that leave the window, and side by side as far as there is space.

use crate::geometry::Rect;

/// Space left free at the top and left, where drags may leave a window.
const MARGIN: i32 = 64;

/// What is known when a window is placed.
pub(crate) struct Request<'a> {
    pub size: (i32, i32),
    /// Asked for by the app.
    pub wish: Option<(i32, i32)>,
    /// The window that a dialog belongs to.
    pub parent: Option<Rect>,
    pub others: &'a [Rect],
    pub screen: Rect,
}

pub(crate) fn place(request: &Request<'_>) -> Rect {
    let (width, height) = request.size;
    let at = |x, y| Rect::new(x, y, width, height).moved_into(request.screen);
    if let Some(parent) = request.parent {
        return at(parent.x + (parent.width - width) / 2, parent.y + (parent.height - height) / 3);
    }
    if let Some((x, y)) = request.wish
        && (x, y) != (0, 0)
    {
        return at(x, y);
    }
    let (mut xs, mut ys) = (vec![MARGIN], vec![MARGIN]);
    for other in request.others {
        xs.push(other.right() + MARGIN / 2);
        ys.push(other.bottom() + MARGIN / 2);
    }
    let overlap = |r: &Rect| request.others.iter().map(|o| o.intersection(*r).area()).sum::<i64>();
    let spots = ys.iter().flat_map(|&y| xs.iter().map(move |&x| (x, y)));
    spots
        .map(|(x, y)| at(x, y))
        .min_by_key(|r| (overlap(r), i64::from(r.y) + i64::from(r.x)))
        .unwrap_or_else(|| at(MARGIN, MARGIN))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCREEN: Rect = Rect::new(0, 0, 1920, 1080);

    fn request(size: (i32, i32), others: &[Rect]) -> Request<'_> {
        Request { size, wish: None, parent: None, others, screen: SCREEN }
    }

    #[test]
    fn windows_lie_side_by_side() {
        let first = place(&request((600, 400), &[]));
        assert_eq!(first, Rect::new(64, 64, 600, 400));
        let second = place(&request((600, 400), &[first]));
        assert!(second.intersection(first).is_empty());
        let third = place(&request((600, 400), &[first, second]));
        assert!(third.intersection(first).is_empty() && third.intersection(second).is_empty());
    }

    #[test]
    fn a_dialog_lies_over_its_parent() {
        let parent = Rect::new(100, 100, 400, 300);
        let placed = place(&Request { parent: Some(parent), ..request((200, 150), &[parent]) });
        assert_eq!(placed, Rect::new(200, 150, 200, 150));
    }

    #[test]
    fn a_wish_is_kept_on_the_screen() {
        let placed = place(&Request { wish: Some((1900, 500)), ..request((200, 150), &[]) });
        assert_eq!(placed, Rect::new(1720, 500, 200, 150));
    }

    #[test]
    fn a_window_as_large_as_the_screen_starts_at_its_corner() {
        assert_eq!(place(&request((1920, 1080), &[])), SCREEN);
    }
}
