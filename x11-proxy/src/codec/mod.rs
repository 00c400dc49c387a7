//! Pixels to bytes and back, lossless: text and controls stay as sharp as they were drawn.
//!
//! Per row the cheaper of two differences is taken (to the pixel on the left, or to the one above),
//! the fourth byte is left out, and zstd does the rest. The decoder refuses whatever does not give
//! exactly the pixels that were announced.

use roam_api::display::{Bytes, Coding, MAX_PICTURE_SIDE, Picture, Size, Tile};

/// Bytes of a pixel as captured: blue, green, red, unused.
const BGRX: usize = 4;
/// Bytes of a pixel on the wire.
const BGR: usize = 3;
/// zstd's fastest ordinary level; higher ones cost more time than they save on a screen.
const LEVEL: i32 = 1;

const LEFT: u8 = 1;
const UP: u8 = 2;

/// Why a tile or picture could not be decoded.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DecodeError {
    #[error("pixels that do not decompress to the announced size")]
    WrongLength,
    #[error("a row filter that does not exist ({0})")]
    UnknownFilter(u8),
    #[error("a tile that does not fit into its window")]
    Outside,
}

/// Turns rectangles of a picture into tiles; keeps its working memory between calls.
pub(crate) struct Encoder {
    zstd: zstd::bulk::Compressor<'static>,
    rows: Vec<u8>,
    row: [Vec<u8>; 2],
}

impl Encoder {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Compressor::new(LEVEL)?, rows: Vec::new(), row: Default::default() })
    }

    /// Encodes a rectangle of a picture of `width` pixels a row.
    ///
    /// # Panics
    /// If the rectangle lies outside the picture.
    pub fn encode(
        &mut self,
        picture: &[u8],
        width: usize,
        (x, y): (u16, u16),
        size: Size,
    ) -> std::io::Result<Tile> {
        let line = |at: usize| {
            let start = ((usize::from(y) + at) * width + usize::from(x)) * BGRX;
            &picture[start..start + usize::from(size.width) * BGRX]
        };
        let first = line(0)[..BGR].to_vec();
        let solid = (0..usize::from(size.height))
            .all(|at| line(at).as_chunks::<BGRX>().0.iter().all(|pixel| pixel[..BGR] == first));
        if solid {
            return Ok(Tile { x, y, size, coding: Coding::Solid, data: Bytes(first) });
        }
        self.rows.clear();
        for at in 0..usize::from(size.height) {
            let current = line(at);
            difference_left(current, &mut self.row[0]);
            let mut filter = LEFT;
            if at > 0 {
                difference_up(current, line(at - 1), &mut self.row[1]);
                if cost(&self.row[1]) <= cost(&self.row[0]) {
                    filter = UP;
                }
            }
            self.rows.push(filter);
            self.rows.extend_from_slice(&self.row[usize::from(filter == UP)]);
        }
        let data = Bytes(self.zstd.compress(&self.rows)?);
        Ok(Tile { x, y, size, coding: Coding::Filtered, data })
    }
}

fn difference_left(row: &[u8], out: &mut Vec<u8>) {
    out.clear();
    out.extend_from_slice(&row[..BGR]);
    let pixels = row.as_chunks::<BGRX>().0;
    out.extend(pixels.windows(2).flat_map(|w| {
        [w[1][0].wrapping_sub(w[0][0]), w[1][1].wrapping_sub(w[0][1]), w[1][2].wrapping_sub(w[0][2])]
    }));
}

fn difference_up(row: &[u8], above: &[u8], out: &mut Vec<u8>) {
    out.clear();
    let (row, above) = (row.as_chunks::<BGRX>().0, above.as_chunks::<BGRX>().0);
    out.extend(
        row.iter()
            .zip(above)
            .flat_map(|(p, a)| [p[0].wrapping_sub(a[0]), p[1].wrapping_sub(a[1]), p[2].wrapping_sub(a[2])]),
    );
}

/// How hard a row of differences is to compress: the sum of their sizes.
fn cost(row: &[u8]) -> u32 {
    row.iter().map(|&byte| u32::from(byte.cast_signed().unsigned_abs())).sum()
}

/// Draws tiles onto a canvas; keeps its working memory between calls.
pub(crate) struct Decoder {
    zstd: zstd::bulk::Decompressor<'static>,
    rows: Vec<u8>,
}

impl Decoder {
    pub fn new() -> std::io::Result<Self> {
        Ok(Self { zstd: zstd::bulk::Decompressor::new()?, rows: Vec::new() })
    }

    /// Draws a tile onto a canvas of 0x00RRGGBB pixels.
    pub fn decode(&mut self, tile: &Tile, canvas: &mut [u32], size: Size) -> Result<(), DecodeError> {
        let (left, top) = (usize::from(tile.x), usize::from(tile.y));
        let (width, height) = (usize::from(tile.size.width), usize::from(tile.size.height));
        let stride = usize::from(size.width);
        if left + width > stride || top + height > usize::from(size.height) || canvas.len() != size.pixels() {
            return Err(DecodeError::Outside);
        }
        let target = |at: usize| (top + at) * stride + left..(top + at) * stride + left + width;
        if tile.coding == Coding::Solid {
            let &[b, g, r] = tile.data.0.as_slice() else { return Err(DecodeError::WrongLength) };
            for at in 0..height {
                canvas[target(at)].fill(u32::from_le_bytes([b, g, r, 0]));
            }
            return Ok(());
        }
        inflate(&mut self.zstd, &tile.data.0, height * (1 + width * BGR), &mut self.rows)?;
        let mut above = vec![[0u8; BGR]; width];
        for (at, row) in self.rows.chunks_exact(1 + width * BGR).enumerate() {
            let filter = row[0];
            let mut last = [0u8; BGR];
            let deltas = row[1..].as_chunks::<BGR>().0;
            if filter != LEFT && filter != UP {
                return Err(DecodeError::UnknownFilter(filter));
            }
            let pixels = canvas[target(at)].iter_mut();
            for ((pixel, delta), above) in pixels.zip(deltas).zip(&mut above) {
                let base = if filter == LEFT { last } else { *above };
                let value: [u8; BGR] = std::array::from_fn(|i| base[i].wrapping_add(delta[i]));
                *pixel = u32::from_le_bytes([value[0], value[1], value[2], 0]);
                (last, *above) = (value, value);
            }
        }
        Ok(())
    }

    /// The pixels of an icon or cursor: red, green, blue, opacity.
    pub fn picture(&mut self, picture: &Picture) -> Result<Vec<u8>, DecodeError> {
        if picture.size.width > MAX_PICTURE_SIDE || picture.size.height > MAX_PICTURE_SIDE {
            return Err(DecodeError::Outside);
        }
        let mut rgba = Vec::new();
        inflate(&mut self.zstd, &picture.rgba.0, picture.size.pixels() * 4, &mut rgba)?;
        Ok(rgba)
    }
}

fn inflate(
    zstd: &mut zstd::bulk::Decompressor<'static>,
    data: &[u8],
    len: usize,
    out: &mut Vec<u8>,
) -> Result<(), DecodeError> {
    out.resize(len, 0);
    match zstd.decompress_to_buffer(data, out.as_mut_slice()) {
        Ok(got) if got == len => Ok(()),
        _ => Err(DecodeError::WrongLength),
    }
}

/// A picture from premultiplied 0xAARRGGBB words, as X11 icons and cursors are.
pub(crate) fn picture(size: Size, argb: &[u32], premultiplied: bool) -> std::io::Result<Picture> {
    let rgba: Vec<u8> = argb
        .iter()
        .take(size.pixels())
        .flat_map(|&word| {
            let [b, g, r, a] = word.to_le_bytes();
            let plain = |c: u8| match a {
                0 => 0,
                255 => c,
                a if premultiplied => (u32::from(c) * 255 / u32::from(a)).min(255) as u8,
                _ => c,
            };
            [plain(r), plain(g), plain(b), a]
        })
        .collect();
    Ok(Picture { size, rgba: Bytes(zstd::bulk::compress(&rgba, LEVEL)?) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn round_trip(picture: &[u8], width: u16, height: u16) -> Vec<u32> {
        let size = Size::new(width, height);
        let tile = Encoder::new().unwrap().encode(picture, width.into(), (0, 0), size).unwrap();
        let mut canvas = vec![0; size.pixels()];
        Decoder::new().unwrap().decode(&tile, &mut canvas, size).unwrap();
        canvas
    }

    #[test]
    fn one_colour_is_three_bytes() {
        let size = Size::new(8, 8);
        let tile = Encoder::new().unwrap().encode(&[9; 256], 8, (0, 0), size).unwrap();
        assert_eq!((tile.coding, tile.data.0.len()), (Coding::Solid, 3));
        assert!(round_trip(&[9; 256], 8, 8).iter().all(|&p| p == 0x0009_0909));
    }

    #[test]
    fn a_part_of_a_picture_lands_in_its_place() {
        let picture: Vec<u8> = (0..16 * 16 * 4).map(|i| (i * 7 % 251) as u8).collect();
        let tile = Encoder::new().unwrap().encode(&picture, 16, (4, 5), Size::new(6, 7)).unwrap();
        let mut canvas = vec![0; 256];
        Decoder::new().unwrap().decode(&tile, &mut canvas, Size::new(16, 16)).unwrap();
        let at = |x: usize, y: usize| {
            let p = &picture[(y * 16 + x) * 4..];
            u32::from_le_bytes([p[0], p[1], p[2], 0])
        };
        assert_eq!((canvas[5 * 16 + 4], canvas[11 * 16 + 9]), (at(4, 5), at(9, 11)));
        assert_eq!((canvas[4 * 16 + 4], canvas[5 * 16 + 10]), (0, 0));
    }

    proptest! {
        #[test]
        fn every_picture_comes_back(
            (width, height, bytes) in (1u16..20, 1u16..20).prop_flat_map(|(w, h)| {
                let len = usize::from(w) * usize::from(h) * 4;
                (Just(w), Just(h), proptest::collection::vec(any::<u8>(), len))
            })
        ) {
            let canvas = round_trip(&bytes, width, height);
            for (pixel, bytes) in canvas.iter().zip(bytes.chunks(4)) {
                prop_assert_eq!(*pixel, u32::from_le_bytes([bytes[0], bytes[1], bytes[2], 0]));
            }
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(
            data in proptest::collection::vec(any::<u8>(), 0..200),
            x in any::<u16>(), width in any::<u16>(), height in 0u16..50, compressed in any::<bool>()
        ) {
            let data = if compressed { zstd::bulk::compress(&data, 1).unwrap() } else { data };
            let tile = Tile {
                x: x % 40, y: 0, size: Size::new(width % 40, height), coding: Coding::Filtered, data: Bytes(data.clone())
            };
            let mut decoder = Decoder::new().unwrap();
            let mut canvas = vec![0; 32 * 32];
            let _ = decoder.decode(&tile, &mut canvas, Size::new(32, 32));
            let _ = decoder.picture(&Picture { size: Size::new(width % 300, height), rgba: Bytes(data) });
        }
    }
}
