//! Which part of a see-through popup is seen, where nothing is known of what lies below it: menus with
//! round corners and shadows that reach out of their window. Pure.
//!
//! Native windows are opaque, so a pixel is either seen or not: it is from half its opacity on. Inside the
//! popup's own window everything is, since there it was laid over what is below.

use roam_api::display::{MAX_SHAPE, Part, Shape, Size};

use crate::geometry::Rect;

const BGRX: usize = 4;
/// Half of all opacity.
const HALF: u8 = 128;

/// The seen part of one popup.
pub(crate) struct Outline {
    size: Size,
    seen: Vec<bool>,
    /// The viewer does not know it yet.
    stale: bool,
}

impl Outline {
    /// Of a popup of which no pixel is known.
    pub fn new(size: Size) -> Self {
        Self { size, seen: vec![true; size.pixels()], stale: true }
    }

    /// Takes over a captured rectangle, packed and premultiplied as it came. `backed` is the part of the
    /// popup below which something is known.
    pub fn take(&mut self, rect: Rect, pixels: &[u8], backed: Rect) {
        if rect.is_empty() {
            return;
        }
        let width = usize::from(self.size.width);
        let rows = pixels.chunks(rect.width as usize * BGRX);
        for (y, row) in (rect.y..rect.bottom()).zip(rows) {
            for (x, pixel) in (rect.x..).zip(row.as_chunks::<BGRX>().0) {
                let at = y as usize * width + x as usize;
                let Some(seen) = self.seen.get_mut(at) else { return };
                let now = pixel[3] >= HALF || backed.contains(x, y);
                self.stale |= *seen != now;
                *seen = now;
            }
        }
    }

    /// What the viewer must be told, if it changed.
    pub fn news(&mut self) -> Option<Shape> {
        if !std::mem::take(&mut self.stale) {
            return None;
        }
        let rects = self.rects();
        let whole = Rect::new(0, 0, self.size.width.into(), self.size.height.into());
        // Too ragged to be told is shown whole.
        if rects == [whole] || rects.len() > MAX_SHAPE {
            return Some(Shape::Whole);
        }
        let part = |rect: Rect| Part {
            x: rect.x as u16,
            y: rect.y as u16,
            size: Size::new(rect.width as u16, rect.height as u16),
        };
        Some(Shape::Parts(rects.into_iter().map(part).collect()))
    }

    /// Runs of each row; those that go on in the row below are one rectangle.
    fn rects(&self) -> Vec<Rect> {
        let mut done: Vec<Rect> = Vec::new();
        let mut open: Vec<Rect> = Vec::new();
        for (y, row) in (0..).zip(self.seen.chunks(usize::from(self.size.width).max(1))) {
            let mut runs: Vec<Rect> = Vec::new();
            for (x, _) in (0..).zip(row).filter(|(_, seen)| **seen) {
                match runs.last_mut() {
                    Some(run) if run.right() == x => run.width += 1,
                    _ => runs.push(Rect::new(x, y, 1, 1)),
                }
            }
            for run in &mut runs {
                if let Some(at) = open.iter().position(|above| (above.x, above.width) == (run.x, run.width)) {
                    let above = open.swap_remove(at);
                    *run = Rect { height: above.height + 1, ..above };
                }
            }
            done.append(&mut open);
            open = runs;
        }
        done.append(&mut open);
        done
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn take(outline: &mut Outline, opacities: &[u8], backed: Rect) {
        let pixels: Vec<u8> = opacities.iter().flat_map(|&alpha| [0, 0, 0, alpha]).collect();
        let (width, height) = (outline.size.width.into(), outline.size.height.into());
        outline.take(Rect::new(0, 0, width, height), &pixels, backed);
    }

    #[test]
    fn an_opaque_popup_is_told_once_as_all_of_it() {
        let mut outline = Outline::new(Size::new(3, 2));
        take(&mut outline, &[255; 6], Rect::default());
        assert_eq!(outline.news(), Some(Shape::Whole));
        take(&mut outline, &[255; 6], Rect::default());
        assert_eq!(outline.news(), None);
    }

    #[test]
    fn round_corners_are_cut_but_not_over_the_window() {
        let mut outline = Outline::new(Size::new(4, 3));
        let corners = [0, 255, 255, 20, 255, 255, 255, 255, 255, 255, 255, 255];
        take(&mut outline, &corners, Rect::new(0, 0, 1, 1));
        let part = |x, y, width, height| Part { x, y, size: Size::new(width, height) };
        assert_eq!(outline.news(), Some(Shape::Parts(vec![part(0, 0, 3, 1), part(0, 1, 4, 2)])));
        take(&mut outline, &[0; 12], Rect::default());
        assert_eq!(outline.news(), Some(Shape::Parts(vec![])), "nothing of it is seen");
    }

    proptest! {
        #[test]
        fn the_rectangles_cover_what_is_seen_and_nothing_else(
            opacities in proptest::collection::vec(proptest::sample::select(vec![0u8, 255]), 48)
        ) {
            let mut outline = Outline::new(Size::new(8, 6));
            take(&mut outline, &opacities, Rect::default());
            let rects = outline.rects();
            for (at, &opacity) in (0..).zip(&opacities) {
                let covering = rects.iter().filter(|rect| rect.contains(at % 8, at / 8)).count();
                prop_assert_eq!(covering, usize::from(opacity == 255));
            }
        }
    }
}
