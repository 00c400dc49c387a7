//! Rectangles of the pod's screen. Pure.

/// A rectangle in pixels; empty if a side is not positive.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Rect {
    pub x: i32,
    pub y: i32,
    pub width: i32,
    pub height: i32,
}

impl Rect {
    pub const fn new(x: i32, y: i32, width: i32, height: i32) -> Self {
        Self { x, y, width, height }
    }

    pub const fn right(self) -> i32 {
        self.x + self.width
    }

    pub const fn bottom(self) -> i32 {
        self.y + self.height
    }

    pub const fn is_empty(self) -> bool {
        self.width <= 0 || self.height <= 0
    }

    pub fn area(self) -> i64 {
        if self.is_empty() { 0 } else { i64::from(self.width) * i64::from(self.height) }
    }

    pub const fn contains(self, x: i32, y: i32) -> bool {
        x >= self.x && y >= self.y && x < self.right() && y < self.bottom()
    }

    pub fn intersection(self, other: Self) -> Self {
        let (x, y) = (self.x.max(other.x), self.y.max(other.y));
        Self::new(x, y, self.right().min(other.right()) - x, self.bottom().min(other.bottom()) - y)
    }

    /// The smallest rectangle around both.
    pub fn union(self, other: Self) -> Self {
        if self.is_empty() {
            return other;
        }
        if other.is_empty() {
            return self;
        }
        let (x, y) = (self.x.min(other.x), self.y.min(other.y));
        Self::new(x, y, self.right().max(other.right()) - x, self.bottom().max(other.bottom()) - y)
    }

    /// The same rectangle moved so that it lies inside `outer`, its top left corner first.
    pub fn moved_into(self, outer: Self) -> Self {
        Self {
            x: self.x.min(outer.right() - self.width).max(outer.x),
            y: self.y.min(outer.bottom() - self.height).max(outer.y),
            ..self
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rectangles_meet_and_join() {
        let (a, b) = (Rect::new(0, 0, 10, 10), Rect::new(5, 5, 10, 10));
        assert_eq!(a.intersection(b), Rect::new(5, 5, 5, 5));
        assert_eq!(a.union(b), Rect::new(0, 0, 15, 15));
        assert!(a.intersection(Rect::new(10, 0, 5, 5)).is_empty());
        assert_eq!(a.union(Rect::default()), a);
    }

    #[test]
    fn a_window_is_moved_onto_the_screen() {
        let screen = Rect::new(0, 0, 100, 100);
        assert_eq!(Rect::new(90, -5, 20, 20).moved_into(screen), Rect::new(80, 0, 20, 20));
        assert_eq!(Rect::new(50, 50, 200, 20).moved_into(screen), Rect::new(0, 50, 200, 20));
    }
}
