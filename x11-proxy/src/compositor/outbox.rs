//! What was not yet taken by the stream to the viewer. Bounded by its users: state is told only
//! while there [is room](Outbox::has_room), newest first thing later, and frames are paced.

use std::io::{ErrorKind, Write};

use anyhow::Result;
use roam_api::codec::encode_frame;
use roam_api::display::ToViewer;

/// Above this many waiting bytes nothing new is told.
const FULL: usize = 256 << 10;

/// Bytes on their way.
#[derive(Default)]
pub(crate) struct Outbox {
    bytes: Vec<u8>,
    written: usize,
}

impl Outbox {
    pub fn push(&mut self, message: &ToViewer) -> Result<()> {
        self.bytes.extend_from_slice(&encode_frame(message)?);
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.bytes.len() == self.written
    }

    pub fn has_room(&self) -> bool {
        self.bytes.len() - self.written < FULL
    }

    /// Writes what the stream takes now.
    pub fn write_to(&mut self, stream: &mut impl Write) -> Result<()> {
        while !self.is_empty() {
            match stream.write(&self.bytes[self.written..]) {
                Ok(0) => return Err(std::io::Error::from(ErrorKind::WriteZero).into()),
                Ok(n) => self.written += n,
                Err(e) if e.kind() == ErrorKind::WouldBlock => break,
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(e.into()),
            }
        }
        if self.is_empty() {
            self.bytes.clear();
            self.bytes.shrink_to(FULL);
            self.written = 0;
        } else if self.written > FULL {
            self.bytes.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }
}
