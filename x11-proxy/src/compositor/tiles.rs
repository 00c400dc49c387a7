//! Which parts of a window really changed. Pure.
//!
//! Damage says where an app drew, not whether anything looks different: many apps draw everything
//! anew for a blinking cursor. So what was captured is compared, in squares of a fixed grid, with
//! what the viewer was told before, and only squares that differ are sent, joined to rectangles.

use roam_api::display::Size;

use crate::geometry::Rect;

const BGRX: usize = 4;
/// A square's side. Smaller finds less to send, larger compresses better.
const SIDE: i32 = 32;

/// A window's pixels as the viewer was told them.
pub(crate) struct Shadow {
    pub size: Size,
    pub bytes: Vec<u8>,
    /// False until the first capture: nothing was told yet.
    known: bool,
}

impl Shadow {
    pub fn new(size: Size) -> Self {
        Self { size, bytes: vec![0; size.pixels() * BGRX], known: false }
    }

    pub fn area(&self) -> Rect {
        Rect::new(0, 0, self.size.width.into(), self.size.height.into())
    }

    fn pixel(&self, x: i32, y: i32) -> Option<[u8; BGRX]> {
        if !self.area().contains(x, y) {
            return None;
        }
        let start = (y as usize * usize::from(self.size.width) + x as usize) * BGRX;
        self.bytes[start..].first_chunk().copied()
    }

    /// Takes over a captured rectangle, and says which rectangles of it are new.
    ///
    /// `captured` holds the rectangle's rows, packed. A rectangle that reaches outside the window
    /// or whose bytes do not suffice gives nothing.
    pub fn take(&mut self, rect: Rect, captured: &[u8]) -> Vec<Rect> {
        let inside = rect.intersection(self.area()) == rect && !rect.is_empty();
        if !inside || captured.len() < rect.area() as usize * BGRX {
            return Vec::new();
        }
        let changed = if self.known { self.changed(rect, captured) } else { vec![rect] };
        for part in &changed {
            for y in part.y..part.bottom() {
                let (to, from) = (self.span(*part, y), packed(rect, *part, y));
                self.bytes[to].copy_from_slice(&captured[from]);
            }
        }
        self.known |= rect == self.area();
        changed
    }

    fn changed(&self, rect: Rect, captured: &[u8]) -> Vec<Rect> {
        let mut found: Vec<Rect> = Vec::new();
        let mut top = rect.y;
        while top < rect.bottom() {
            let height = (top.div_euclid(SIDE) * SIDE + SIDE).min(rect.bottom()) - top;
            let mut runs: Vec<Rect> = Vec::new();
            let mut left = rect.x;
            while left < rect.right() {
                let width = (left.div_euclid(SIDE) * SIDE + SIDE).min(rect.right()) - left;
                let square = Rect::new(left, top, width, height);
                if self.differs(rect, square, captured) {
                    match runs.last_mut() {
                        Some(run) if run.right() == left => run.width += width,
                        _ => runs.push(square),
                    }
                }
                left += width;
            }
            for run in runs {
                let above =
                    found.iter_mut().find(|f| f.bottom() == top && f.x == run.x && f.width == run.width);
                match above {
                    Some(above) => above.height += height,
                    None => found.push(run),
                }
            }
            top += height;
        }
        found
    }

    fn differs(&self, rect: Rect, square: Rect, captured: &[u8]) -> bool {
        (square.y..square.bottom())
            .any(|y| self.bytes[self.span(square, y)] != captured[packed(rect, square, y)])
    }

    /// The bytes of one row of a rectangle.
    fn span(&self, part: Rect, y: i32) -> std::ops::Range<usize> {
        let start = (y as usize * usize::from(self.size.width) + part.x as usize) * BGRX;
        start..start + part.width as usize * BGRX
    }
}

/// The bytes of one row of `part` in the packed rows of `rect`.
fn packed(rect: Rect, part: Rect, y: i32) -> std::ops::Range<usize> {
    let start = ((y - rect.y) as usize * rect.width as usize + (part.x - rect.x) as usize) * BGRX;
    start..start + part.width as usize * BGRX
}

/// Lays the see-through pixels of a popup (round corners, shadows) over what lies below them, since
/// native windows are opaque. `pixels` are the packed rows of `rect` in the popup, premultiplied;
/// the backdrop comes with the popup's place in it. White is below where nothing is known.
pub(crate) fn lay_over(pixels: &mut [u8], rect: Rect, backdrop: Option<(&Shadow, (i32, i32))>) {
    if rect.is_empty() {
        return;
    }
    let rows = pixels.chunks_mut(rect.width as usize * BGRX);
    for (y, row) in (rect.y..).zip(rows) {
        for (x, pixel) in (rect.x..).zip(row.as_chunks_mut::<BGRX>().0) {
            let gap = u16::from(255 - pixel[3]);
            if gap == 0 {
                continue;
            }
            let below = backdrop.and_then(|(shadow, (left, top))| shadow.pixel(left + x, top + y));
            let below = below.unwrap_or([u8::MAX; BGRX]);
            for (channel, below) in pixel.iter_mut().zip(below) {
                *channel = channel.saturating_add((u16::from(below) * gap / 255) as u8);
            }
        }
    }
}

/// Cuts rectangles so that none covers more than `most` pixels.
pub(crate) fn cut(rects: Vec<Rect>, most: i32) -> Vec<Rect> {
    let mut pieces = Vec::new();
    for rect in rects {
        let rows = (most / rect.width.max(1)).max(1);
        let mut y = rect.y;
        while y < rect.bottom() {
            let height = rows.min(rect.bottom() - y);
            pieces.push(Rect { y, height, ..rect });
            y += height;
        }
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn all(shadow: &Shadow, value: u8) -> Vec<u8> {
        vec![value; shadow.bytes.len()]
    }

    #[test]
    fn the_first_capture_is_sent_whole_and_the_same_again_not_at_all() {
        let mut shadow = Shadow::new(Size::new(100, 70));
        let black = all(&shadow, 0);
        assert_eq!(shadow.take(shadow.area(), &black), vec![Rect::new(0, 0, 100, 70)]);
        assert_eq!(shadow.take(shadow.area(), &black), vec![]);
    }

    #[test]
    fn one_pixel_is_one_square_and_neighbours_join() {
        let mut shadow = Shadow::new(Size::new(128, 96));
        let mut picture = all(&shadow, 0);
        shadow.take(shadow.area(), &picture);
        picture[(40 * 128 + 70) * 4] = 1;
        assert_eq!(shadow.take(shadow.area(), &picture), vec![Rect::new(64, 32, 32, 32)]);
        for y in 0..96 {
            picture[(y * 128 + 33) * 4] = 1;
            picture[(y * 128 + 64) * 4] = 1;
        }
        assert_eq!(shadow.take(shadow.area(), &picture), vec![Rect::new(32, 0, 64, 96)]);
    }

    #[test]
    fn what_reaches_outside_is_left_alone() {
        let mut shadow = Shadow::new(Size::new(10, 10));
        assert_eq!(shadow.take(Rect::new(5, 5, 10, 10), &[0; 400]), vec![]);
        assert_eq!(shadow.take(Rect::new(0, 0, 10, 10), &[0; 399]), vec![]);
    }

    #[test]
    fn see_through_pixels_show_what_is_below() {
        let mut below = Shadow::new(Size::new(2, 1));
        below.take(below.area(), &[10, 20, 30, 0, 40, 50, 60, 0]);
        let mut pixels = [1, 2, 3, 255, 0, 0, 0, 0, 0, 0, 0, 0];
        lay_over(&mut pixels, Rect::new(0, 0, 3, 1), Some((&below, (0, 0))));
        assert_eq!(pixels, [1, 2, 3, 255, 40, 50, 60, 0, 255, 255, 255, 255]);
    }

    #[test]
    fn large_rectangles_are_cut_by_rows() {
        let pieces = cut(vec![Rect::new(3, 5, 100, 25)], 1000);
        assert_eq!(pieces.len(), 3);
        assert_eq!(pieces[2], Rect::new(3, 25, 100, 5));
    }

    proptest! {
        #[test]
        fn the_shadow_follows_every_capture(
            rects in proptest::collection::vec((0i32..90, 0i32..90, 1i32..90, 1i32..90, any::<u8>()), 1..12)
        ) {
            let mut shadow = Shadow::new(Size::new(90, 90));
            let mut truth = all(&shadow, 7);
            shadow.take(shadow.area(), &truth);
            for (x, y, width, height, value) in rects {
                let rect = Rect::new(x, y, width, height).intersection(shadow.area());
                for row in rect.y..rect.bottom() {
                    let span = shadow.span(rect, row);
                    truth[span].fill(value);
                }
                let captured = vec![value; rect.area() as usize * 4];
                for part in shadow.take(rect, &captured) {
                    prop_assert_eq!(part.intersection(rect), part);
                }
                prop_assert_eq!(&shadow.bytes, &truth);
            }
        }
    }
}
