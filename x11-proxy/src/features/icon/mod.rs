//! Window icons (_NET_WM_ICON): the best of the pictures that an app offers.

use anyhow::Result;
use roam_api::display::{MAX_PICTURE_SIDE, Picture, Size};
use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, Window};

use crate::codec;
use crate::x11::X;

/// The side that panels and title bars use at most.
const WANTED: u16 = 64;
/// Read at most this much of the property, in words: enough for a 256x256 picture and smaller ones.
const MOST_WORDS: u32 = 1 << 17;

/// The window's icon, if it has one.
pub(crate) fn read(x: &X, window: Window) -> Result<Option<Picture>> {
    let property = x.atoms._NET_WM_ICON;
    let reply = x.conn.get_property(false, window, property, AtomEnum::CARDINAL, 0, MOST_WORDS)?;
    let Ok(reply) = reply.reply() else { return Ok(None) };
    let words: Vec<u32> = reply.value32().map(Iterator::collect).unwrap_or_default();
    match best(&words) {
        Some((size, pixels)) => Ok(Some(codec::picture(size, pixels, false)?)),
        None => Ok(None),
    }
}

/// The picture nearest to the wanted size, rather a larger one than a smaller.
fn best(mut words: &[u32]) -> Option<(Size, &[u32])> {
    let mut found: Option<(Size, &[u32])> = None;
    while let [width, height, rest @ ..] = words {
        let (width, height) = (u16::try_from(*width).ok()?, u16::try_from(*height).ok()?);
        let size = Size::new(width, height);
        let Some((pixels, next)) = rest.split_at_checked(size.pixels()) else { break };
        words = next;
        if width == 0 || height == 0 || width > MAX_PICTURE_SIDE || height > MAX_PICTURE_SIDE {
            continue;
        }
        let badness = |size: Size| (size.width < WANTED, size.width.abs_diff(WANTED));
        if found.is_none_or(|(other, _)| badness(size) < badness(other)) {
            found = Some((size, pixels));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn icon(side: u32) -> Vec<u32> {
        let mut words = vec![side, side];
        words.resize(2 + (side * side) as usize, side);
        words
    }

    #[test]
    fn the_nearest_larger_picture_is_taken() {
        let words = [icon(16), icon(128), icon(32)].concat();
        assert_eq!(best(&words).unwrap().0, Size::new(128, 128));
        assert_eq!(best(&[icon(16), icon(32)].concat()).unwrap().0, Size::new(32, 32));
        assert_eq!(best(&[1, 2]), None);
    }

    proptest! {
        #[test]
        fn garbage_is_no_icon(words in proptest::collection::vec(0u32..9, 0..60), wild in any::<u32>()) {
            let _ = best(&words);
            let _ = best(&[&[wild, wild], words.as_slice()].concat());
        }
    }
}
