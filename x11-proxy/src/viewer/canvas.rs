//! A window's pixels as the viewer has them, and how they are laid into a native window that may have
//! another size for a moment. Pure.

use roam_api::display::{Size, Tile};

use crate::codec::{DecodeError, Decoder};
use crate::geometry::Rect;

/// The pixels of one window, 0x00RRGGBB.
#[derive(Default)]
pub(crate) struct Canvas {
    size: Size,
    pixels: Vec<u32>,
}

impl Canvas {
    pub fn is_empty(&self) -> bool {
        self.pixels.is_empty()
    }

    /// Draws tiles of a frame; gives the rectangle around them. A frame of another size begins with
    /// what the old one had in common.
    pub fn draw(&mut self, size: Size, tiles: &[Tile], decoder: &mut Decoder) -> Result<Rect, DecodeError> {
        if self.size != size {
            let mut pixels = vec![0; size.pixels()];
            lay(self, &mut pixels, usize::from(size.width));
            (self.size, self.pixels) = (size, pixels);
        }
        let mut around = Rect::default();
        for tile in tiles {
            decoder.decode(tile, &mut self.pixels, size)?;
            let (width, height) = (tile.size.width.into(), tile.size.height.into());
            around = around.union(Rect::new(tile.x.into(), tile.y.into(), width, height));
        }
        Ok(around)
    }

    /// Lays all pixels into a native picture of this width. Where the native window is larger, the
    /// last column and row go on, so that no black border is seen while an app follows a resize.
    pub fn copy_all(&self, target: &mut [u32], width: usize) {
        if !self.is_empty() {
            lay(self, target, width);
        }
    }

    /// Lays only one rectangle, which lies inside the canvas.
    pub fn copy(&self, rect: Rect, target: &mut [u32], width: usize) {
        let stride = usize::from(self.size.width);
        let area = Rect::new(0, 0, self.size.width.into(), self.size.height.into());
        let visible = Rect::new(0, 0, width as i32, (target.len() / width.max(1)) as i32);
        let rect = rect.intersection(area).intersection(visible);
        if rect.is_empty() {
            return;
        }
        let (left, len) = (rect.x as usize, rect.width as usize);
        for y in rect.y as usize..rect.bottom() as usize {
            let from = &self.pixels[y * stride + left..][..len];
            target[y * width + left..][..len].copy_from_slice(from);
        }
    }
}

fn lay(canvas: &Canvas, target: &mut [u32], width: usize) {
    let (stride, height) = (usize::from(canvas.size.width), usize::from(canvas.size.height));
    if stride == 0 || height == 0 || width == 0 {
        return;
    }
    let common = stride.min(width);
    for (y, row) in target.chunks_mut(width).enumerate() {
        let from = &canvas.pixels[y.min(height - 1) * stride..][..stride];
        let (inside, beyond) = row.split_at_mut(common.min(row.len()));
        inside.copy_from_slice(&from[..inside.len()]);
        beyond.fill(from[stride - 1]);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use roam_api::display::{Bytes, Coding};

    fn solid(x: u16, y: u16, size: Size, grey: u8) -> Tile {
        Tile { x, y, size, coding: Coding::Solid, data: Bytes(vec![grey; 3]) }
    }

    fn canvas(size: Size, grey: u8) -> Canvas {
        let mut canvas = Canvas::default();
        canvas.draw(size, &[solid(0, 0, size, grey)], &mut Decoder::new().unwrap()).unwrap();
        canvas
    }

    #[test]
    fn a_larger_native_window_has_no_black_border() {
        let mut target = vec![0; 6 * 5];
        canvas(Size::new(4, 3), 9).copy_all(&mut target, 6);
        assert!(target.iter().all(|&p| p == 0x0009_0909));
    }

    #[test]
    fn a_new_size_keeps_what_there_was() {
        let mut canvas = canvas(Size::new(4, 4), 9);
        let tile = solid(3, 3, Size::new(2, 2), 5);
        let around = canvas.draw(Size::new(5, 5), &[tile], &mut Decoder::new().unwrap()).unwrap();
        assert_eq!(around, Rect::new(3, 3, 2, 2));
        assert_eq!((canvas.pixels[0], canvas.pixels[24]), (0x0009_0909, 0x0005_0505));
    }

    proptest! {
        #[test]
        fn any_native_size_is_filled(w in 1u16..30, h in 1u16..30, width in 1usize..40, height in 1usize..40) {
            let canvas = canvas(Size::new(w, h), 3);
            let mut target = vec![0; width * height];
            canvas.copy(Rect::new(-5, -5, 100, 100), &mut target, width);
            canvas.copy_all(&mut target, width);
            prop_assert!(target.iter().all(|&p| p == 0x0003_0303));
        }
    }
}
