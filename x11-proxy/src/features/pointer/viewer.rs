//! Wheel turns as a toolkit reports them become whole notches. Pure.

/// Pixels that count as one notch, for touchpads and mice that report pixels.
const NOTCH: f64 = 40.0;

/// Adds up parts of notches.
#[derive(Debug, Default)]
pub(crate) struct Wheel {
    right: f64,
    down: f64,
}

impl Wheel {
    /// The wheel turned by so many notches (right, down); gives the whole notches that are full.
    pub fn turn(&mut self, right: f64, down: f64) -> Option<(i8, i8)> {
        self.right += right;
        self.down += down;
        let whole = |sum: &mut f64| {
            // Rust's cast saturates, and makes nothing of a NaN.
            let notches = *sum as i8;
            *sum -= f64::from(notches);
            if !sum.is_finite() || sum.abs() >= 1.0 {
                *sum = 0.0;
            }
            notches
        };
        let notches = (whole(&mut self.right), whole(&mut self.down));
        (notches != (0, 0)).then_some(notches)
    }

    /// The same in pixels.
    pub fn turn_pixels(&mut self, right: f64, down: f64) -> Option<(i8, i8)> {
        self.turn(right / NOTCH, down / NOTCH)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_add_up_to_notches() {
        let mut wheel = Wheel::default();
        assert_eq!(wheel.turn(0.0, 1.0), Some((0, 1)));
        assert_eq!(wheel.turn_pixels(0.0, -30.0), None);
        assert_eq!(wheel.turn_pixels(0.0, -30.0), Some((0, -1)));
        assert_eq!(wheel.turn(f64::NAN, 0.0), None);
        assert_eq!(wheel.turn(1e9, 0.0), Some((127, 0)));
        assert_eq!(wheel.turn(0.4, 0.0), None);
    }
}
