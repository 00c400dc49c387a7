//! What sizes a window accepts (WM_NORMAL_HINTS), and the nearest size that it accepts. Pure.

use roam_api::display::{Size, SizeHints};

/// The size nearest to `wanted` that the hints allow. Hints that contradict each other are bent
/// rather than refused: a window is never made smaller than one pixel.
pub(crate) fn constrain(hints: &SizeHints, wanted: Size) -> Size {
    Size::new(
        side(wanted.width, hints.min.width, hints.max.width, hints.base.width, hints.increment.width),
        side(wanted.height, hints.min.height, hints.max.height, hints.base.height, hints.increment.height),
    )
}

fn side(wanted: u16, min: u16, max: u16, base: u16, step: u16) -> u16 {
    // ICCCM 4.1.2.3: a missing base is the minimum and the other way round.
    let (base, min) = match (base, min) {
        (0, min) => (min, min),
        (base, 0) => (base, base),
        both => both,
    };
    let mut size = wanted;
    if max > 0 {
        size = size.min(max);
    }
    size = size.max(min).max(1);
    if step > 1 && size > base {
        size = base + (size - base) / step * step;
        if size < min {
            size = size.saturating_add(step);
        }
    }
    size.max(1)
}

/// Reads the 18 words of a WM_NORMAL_HINTS property.
pub(crate) fn parse(words: &[u32]) -> SizeHints {
    const MIN: u32 = 1 << 4;
    const MAX: u32 = 1 << 5;
    const INCREMENT: u32 = 1 << 6;
    const BASE: u32 = 1 << 8;
    let flags = words.first().copied().unwrap_or(0);
    let pair = |flag: u32, at: usize| {
        let word = |i: usize| words.get(i).map_or(0, |&w| clamp(w));
        if flags & flag == 0 { Size::default() } else { Size::new(word(at), word(at + 1)) }
    };
    SizeHints { min: pair(MIN, 5), max: pair(MAX, 7), increment: pair(INCREMENT, 9), base: pair(BASE, 15) }
}

/// The position that the window asks for, as opposed to leaving it to the window manager.
pub(crate) fn wants_position(words: &[u32]) -> bool {
    const US_POSITION: u32 = 1;
    const P_POSITION: u32 = 1 << 2;
    words.first().is_some_and(|flags| flags & (US_POSITION | P_POSITION) != 0)
}

/// X sizes are signed; toolkits write very large numbers for "no limit".
fn clamp(word: u32) -> u16 {
    if word > i32::MAX as u32 { 0 } else { word.min(32_767) as u16 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TERMINAL: SizeHints = SizeHints {
        min: Size::new(10, 17),
        max: Size::new(0, 0),
        base: Size::new(4, 4),
        increment: Size::new(6, 13),
    };

    #[test]
    fn a_terminal_keeps_whole_cells() {
        assert_eq!(constrain(&TERMINAL, Size::new(500, 300)), Size::new(4 + 82 * 6, 4 + 22 * 13));
        assert_eq!(constrain(&TERMINAL, Size::new(1, 1)), Size::new(10, 17));
    }

    #[test]
    fn a_fixed_dialog_keeps_its_size() {
        let fixed = SizeHints { min: Size::new(80, 60), max: Size::new(80, 60), ..SizeHints::default() };
        assert_eq!(constrain(&fixed, Size::new(500, 10)), Size::new(80, 60));
    }

    #[test]
    fn a_property_is_read_and_a_short_one_is_no_hint() {
        let mut words = [0u32; 18];
        words[0] = (1 << 4) | (1 << 8);
        (words[5], words[6], words[15], words[16]) = (30, 20, 3, 2);
        let hints = parse(&words);
        assert_eq!((hints.min, hints.base), (Size::new(30, 20), Size::new(3, 2)));
        assert_eq!(parse(&words[..3]).min, Size::new(0, 0));
        assert_eq!(parse(&[]), SizeHints::default());
    }

    proptest! {
        #[test]
        fn any_hints_give_a_size(
            words in proptest::collection::vec(any::<u32>(), 0..20), width in 1u16.., height in 1u16..
        ) {
            let size = constrain(&parse(&words), Size::new(width, height));
            prop_assert!(size.width > 0 && size.height > 0);
        }
    }
}
