//! Reads the pixels of off-screen windows: through memory shared by a passed descriptor (MIT-SHM
//! 1.2), which works from outside the pod, or through the socket where the server has none.

use std::fs::File;
use std::os::unix::fs::FileExt as _;

use anyhow::{Result, bail};
use nix::sys::memfd::{MFdFlags, memfd_create};
use x11rb::connection::Connection;
use x11rb::protocol::shm::ConnectionExt as _;
use x11rb::protocol::xproto::{ConnectionExt as _, ImageFormat, ImageOrder, Pixmap};

use crate::geometry::Rect;
use crate::x11::X;

const BGRX: usize = 4;

/// The way pixels come, and the memory they come through.
pub(crate) struct Capture {
    shared: Option<Segment>,
    use_shared: bool,
    pixels: Vec<u8>,
}

struct Segment {
    id: u32,
    file: File,
    capacity: usize,
}

impl Capture {
    pub fn new(x: &X) -> Result<Self> {
        if x.conn.setup().image_byte_order != ImageOrder::LSB_FIRST {
            bail!("The X server gives pixels in big-endian order, which Roam does not read.");
        }
        let version = x.conn.shm_query_version()?.reply();
        let use_shared = version.is_ok_and(|v| (v.major_version, v.minor_version) >= (1, 2));
        Ok(Self { shared: None, use_shared, pixels: Vec::new() })
    }

    /// The rectangle's rows, packed, four bytes a pixel; none if the picture is gone meanwhile.
    pub fn grab(&mut self, x: &X, pixmap: Pixmap, rect: Rect) -> Result<Option<&mut [u8]>> {
        let len = rect.area() as usize * BGRX;
        let place = (rect.x as i16, rect.y as i16, rect.width as u16, rect.height as u16);
        if let Some(segment) = self.segment(x, len)? {
            let (left, top, width, height) = place;
            let reply = x.conn.shm_get_image(
                pixmap,
                left,
                top,
                width,
                height,
                u32::MAX,
                ImageFormat::Z_PIXMAP.into(),
                segment.id,
                0,
            )?;
            if reply.reply().is_err() {
                return Ok(None);
            }
            self.pixels.resize(len, 0);
            if let Some(segment) = &self.shared {
                segment.file.read_exact_at(&mut self.pixels, 0)?;
            }
            return Ok(Some(&mut self.pixels));
        }
        let (left, top, width, height) = place;
        let image = x.conn.get_image(ImageFormat::Z_PIXMAP, pixmap, left, top, width, height, u32::MAX)?;
        match image.reply() {
            Ok(image) if image.data.len() == len => {
                self.pixels = image.data;
                Ok(Some(&mut self.pixels))
            }
            _ => Ok(None),
        }
    }

    /// A segment of at least this length; none if the server can't share memory.
    fn segment(&mut self, x: &X, len: usize) -> Result<Option<&Segment>> {
        if self.use_shared && self.shared.as_ref().is_none_or(|s| s.capacity < len) {
            if let Some(old) = self.shared.take() {
                x.conn.shm_detach(old.id)?;
            }
            // Never shrunk while the server has it mapped, or the server would be killed by SIGBUS.
            let capacity = len.next_power_of_two().max(1 << 20);
            let file = File::from(memfd_create("roam-capture", MFdFlags::MFD_CLOEXEC)?);
            file.set_len(capacity as u64)?;
            let id = x.conn.generate_id()?;
            match x.conn.shm_attach_fd(id, file.try_clone()?, false)?.check() {
                Ok(()) => self.shared = Some(Segment { id, file, capacity }),
                Err(_) => self.use_shared = false,
            }
        }
        Ok(self.shared.as_ref())
    }
}
