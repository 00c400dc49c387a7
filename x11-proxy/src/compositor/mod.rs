//! roam-display: captures the app's windows for one viewer, and carries the viewer's input to them.
//!
//! It is started anew for every viewer, outside the pod, with two sockets: one to the viewer, one to
//! the pod's X server. It may die at any moment: whatever it knows it has read from the X server,
//! and the next one reads it again. What it tells is always the newest state; nothing queues up
//! behind a slow viewer, because windows are only marked as changed until there is room to tell.
//!
//! ```text
//!   X events ---> marks (stale, damaged) ---> told while there is room ---> outbox ---> viewer
//!   viewer  ----> Injector --------> XTEST, and requests to roam-wm
//! ```
//! It refuses input if started view-only, and ends on the first message that breaks a limit.

mod capture;
mod input;
mod outbox;
mod outline;
mod pacer;
mod tiles;
mod tracker;
mod window;

use std::io::{ErrorKind, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roam_api::display::{Size, ToDisplay, ToViewer, WindowId};
use x11rb::connection::Connection;
use x11rb::protocol::damage::ConnectionExt as _;
use x11rb::protocol::xfixes::{ConnectionExt as _, Region};

use crate::codec::Encoder;
use crate::features::{clipboard::Bridge, cursor, icon};
use crate::geometry::Rect;
use crate::wire::Incoming;
use crate::x11::X;
use capture::Capture;
use input::Injector;
use outbox::Outbox;
use pacer::Pacer;
use tracker::Tracker;

/// Pixels of one tile at most, so that a viewer can begin to decode early.
const TILE_PIXELS: i32 = 1 << 17;
/// Pixels of one message at most.
const MESSAGE_PIXELS: usize = 1 << 18;
/// More rectangles of damage than this are captured as one.
const MOST_RECTS: usize = 8;

/// How a display is started.
pub struct Options {
    /// The stream to the viewer.
    pub stream: OwnedFd,
    /// A socket connected to the pod's X server.
    pub x: OwnedFd,
    /// Its MIT-MAGIC-COOKIE-1.
    pub cookie: Vec<u8>,
    /// Take no input.
    pub view_only: bool,
    /// Told the titles of the app's windows when they change, oldest window first.
    pub titles: TellTitles,
}

/// Who is told the titles of the app's windows.
pub type TellTitles = Box<dyn FnMut(&[String]) -> Result<()>>;

/// Runs until the viewer or the X server goes.
///
/// # Errors
/// If the X server lacks what is needed or goes, or the viewer breaks the protocol.
pub fn run(options: Options) -> Result<()> {
    let x = X::from_socket(options.x, options.cookie)?;
    let stream = UnixStream::from(options.stream);
    stream.set_nonblocking(true)?;
    let mut display = Display::new(x, stream, options.view_only, options.titles)?;
    let ended = display.serve();
    // Whatever the viewer held down is let go; if the X server is gone there is nothing to let go.
    if display.input.release_all(&display.x).is_ok() {
        let _ = display.x.conn.flush();
    }
    ended
}

struct Display {
    x: X,
    stream: UnixStream,
    incoming: Incoming,
    outbox: Outbox,
    tracker: Tracker,
    input: Injector,
    capture: Capture,
    encoder: Encoder,
    pacer: Pacer,
    region: Region,
    start: Instant,
    cursor_stale: bool,
    synced: bool,
    view_only: bool,
    titles: Vec<String>,
    tell_titles: TellTitles,
}

impl Display {
    fn new(x: X, stream: UnixStream, view_only: bool, tell_titles: TellTitles) -> Result<Self> {
        x.conn.xfixes_query_version(5, 0)?.reply().context("The X server has no XFixes extension.")?;
        x.conn.damage_query_version(1, 1)?.reply().context("The X server has no DAMAGE extension.")?;
        let capture = Capture::new(&x)?;
        let region = x.conn.generate_id()?;
        x.conn.xfixes_create_region(region, &[])?;
        cursor::display::watch(&x)?;
        let clipboard = Bridge::new(&x.conn, x.root, &x.atoms)?;
        let tracker = Tracker::new(&x, clipboard)?;
        let input = Injector::new(&x, view_only)?;
        let mut outbox = Outbox::default();
        outbox.push(&ToViewer::Screen(tracker.screen_size()))?;
        Ok(Self {
            x,
            stream,
            incoming: Incoming::default(),
            outbox,
            tracker,
            input,
            capture,
            encoder: Encoder::new()?,
            pacer: Pacer::default(),
            region,
            start: Instant::now(),
            cursor_stale: true,
            synced: false,
            view_only,
            titles: Vec::new(),
            tell_titles,
        })
    }

    fn serve(&mut self) -> Result<()> {
        loop {
            if !self.read_viewer()? {
                return Ok(());
            }
            self.read_x()?;
            let now = self.start.elapsed();
            self.input.run(&self.x, &mut self.tracker.with(&self.x), now)?;
            self.tell(now)?;
            if let Err(error) = self.outbox.write_to(&mut self.stream) {
                // A viewer that left without a word is no fault.
                return if is_hangup(&error) { Ok(()) } else { Err(error) };
            }
            self.x.conn.flush()?;
            // Waiting for a reply may have brought events along.
            if self.read_x()? {
                continue;
            }
            self.sleep()?;
        }
    }

    /// Waits for the viewer, the X server, or the next deadline.
    fn sleep(&self) -> Result<()> {
        let mut wanted = PollFlags::empty();
        if !self.input.is_full() {
            wanted |= PollFlags::POLLIN;
        }
        if !self.outbox.is_empty() {
            wanted |= PollFlags::POLLOUT;
        }
        let x_socket = self.x.conn.stream().as_fd();
        let mut fds = [PollFd::new(self.stream.as_fd(), wanted), PollFd::new(x_socket, PollFlags::POLLIN)];
        let timeout = match self.deadline() {
            None => PollTimeout::NONE,
            Some(at) => {
                let left = at.saturating_sub(self.start.elapsed());
                let ms = left.as_micros().div_ceil(1000);
                PollTimeout::try_from(ms).unwrap_or(PollTimeout::MAX)
            }
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let frame = if self.pacer.has_room() { self.tracker.next_frame_due() } else { None };
        [frame, self.tracker.resize_deadline(), self.input.deadline()].into_iter().flatten().min()
    }

    /// Reads what the viewer says; false if it left.
    fn read_viewer(&mut self) -> Result<bool> {
        let mut buffer = [0u8; 16 << 10];
        while !self.input.is_full() {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Ok(false),
                Ok(n) => self.incoming.push(&buffer[..n]),
                Err(e) if e.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(e) if e.kind() == ErrorKind::Interrupted => continue,
                Err(e) if is_hangup_kind(e.kind()) => return Ok(false),
                Err(e) => return Err(e.into()),
            }
            while let Some(message) = self.incoming.next::<ToDisplay>()? {
                message.check()?;
                match message {
                    ToDisplay::Ack(number) => self.pacer.acknowledge(number),
                    other => self.input.push(other),
                }
            }
        }
        Ok(true)
    }

    /// Handles what the X server has reported; true if there was anything.
    fn read_x(&mut self) -> Result<bool> {
        let mut any = false;
        while let Some(event) = self.x.conn.poll_for_event()? {
            any = true;
            let seen = self.tracker.on_event(&self.x, &event)?;
            self.cursor_stale |= seen.cursor;
            if seen.focus {
                self.input.focus_settled();
            }
            if seen.stack {
                self.input.stack_changed();
            }
            if seen.keymap {
                self.input.keymap_changed();
            }
            for message in seen.messages {
                // Rare and small; but an app that floods must not fill the memory.
                let spare = matches!(message, ToViewer::Clipboard(_)) && self.view_only;
                if self.outbox.has_room() && !spare {
                    self.outbox.push(&message)?;
                }
            }
        }
        Ok(any)
    }

    /// Tells the viewer what changed, while there is room.
    fn tell(&mut self, now: Duration) -> Result<()> {
        self.tracker.settle_resizes(now);
        let mut retitled = false;
        for gone in self.tracker.take_gone() {
            self.outbox.push(&ToViewer::Gone(WindowId(gone)))?;
            retitled = true;
        }
        while self.outbox.has_room() {
            let Some((window, info)) = self.tracker.next_stale(&self.x) else { break };
            if let Some(info) = info {
                self.outbox.push(&ToViewer::Window(info))?;
                retitled = true;
            }
            if self.tracker.take_icon_stale(window)
                && let Some(icon) = icon::read(&self.x, window)?
            {
                self.outbox.push(&ToViewer::Icon { window: WindowId(window), icon })?;
            }
        }
        if retitled {
            let titles = self.tracker.titles();
            if titles != self.titles {
                (self.tell_titles)(&titles)?;
                self.titles = titles;
            }
        }
        if self.cursor_stale && self.outbox.has_room() {
            self.cursor_stale = false;
            self.outbox.push(&ToViewer::Cursor(cursor::display::read(&self.x)?))?;
        }
        if !self.synced {
            self.synced = true;
            self.outbox.push(&ToViewer::Synced)?;
        }
        while self.pacer.has_room() && self.outbox.has_room() {
            let Some(window) = self.tracker.next_damaged(now) else { break };
            self.send_frame(window, now)?;
        }
        Ok(())
    }

    /// Captures what changed of a window, and sends what differs from what the viewer has.
    fn send_frame(&mut self, window: u32, now: Duration) -> Result<()> {
        let Some(job) = self.tracker.begin_capture(&self.x, window)? else { return Ok(()) };
        let area = Rect::new(0, 0, job.size.width.into(), job.size.height.into());
        let rects = if job.whole {
            self.x.conn.damage_subtract(job.damage, x11rb::NONE, x11rb::NONE)?;
            vec![area]
        } else {
            self.damaged_rects(job.damage, job.border, area)?
        };
        let mut changed = Vec::new();
        let mut failed = false;
        for rect in rects {
            let Some(pixels) = self.capture.grab(&self.x, job.pixmap, rect)? else {
                failed = true;
                break;
            };
            changed.extend(self.tracker.shadow_take(window, rect, pixels));
        }
        if failed {
            self.tracker.lost_picture(window, now);
            return Ok(());
        }
        if let Some(shape) = self.tracker.new_shape(window) {
            self.outbox.push(&ToViewer::Shape { window: WindowId(window), shape })?;
        }
        if !changed.is_empty() {
            self.send_tiles(window, job.size, tiles::cut(changed, TILE_PIXELS))?;
            self.tracker.sent(window, now);
        }
        Ok(())
    }

    /// Takes the damage that the server has collected, as rectangles of the captured picture.
    fn damaged_rects(&self, damage: u32, border: i32, area: Rect) -> Result<Vec<Rect>> {
        self.x.conn.damage_subtract(damage, x11rb::NONE, self.region)?;
        let Ok(region) = self.x.conn.xfixes_fetch_region(self.region)?.reply() else {
            return Ok(vec![area]);
        };
        let to_rect = |r: &x11rb::protocol::xproto::Rectangle| {
            let (left, top) = (i32::from(r.x) + border, i32::from(r.y) + border);
            Rect::new(left, top, r.width.into(), r.height.into()).intersection(area)
        };
        let parts = if region.rectangles.len() > MOST_RECTS {
            vec![to_rect(&region.extents)]
        } else {
            region.rectangles.iter().map(to_rect).collect()
        };
        Ok(parts.into_iter().filter(|r| !r.is_empty()).collect())
    }

    fn send_tiles(&mut self, window: u32, size: Size, rects: Vec<Rect>) -> Result<()> {
        let number = self.pacer.next_frame();
        let frame = |tiles, last| ToViewer::Frame { number, window: WindowId(window), size, tiles, last };
        let Some(picture) = self.tracker.shadow_bytes(window) else { return Ok(()) };
        let (mut tiles, mut pixels) = (Vec::new(), 0);
        for rect in rects {
            let part = Size::new(rect.width as u16, rect.height as u16);
            if pixels + part.pixels() > MESSAGE_PIXELS || tiles.len() >= roam_api::display::MAX_TILES {
                self.outbox.push(&frame(std::mem::take(&mut tiles), false))?;
                pixels = 0;
            }
            pixels += part.pixels();
            let place = (rect.x as u16, rect.y as u16);
            tiles.push(self.encoder.encode(picture, size.width.into(), place, part)?);
        }
        self.outbox.push(&frame(tiles, true))
    }
}

fn is_hangup(error: &anyhow::Error) -> bool {
    error.downcast_ref::<std::io::Error>().is_some_and(|e| is_hangup_kind(e.kind()))
}

fn is_hangup_kind(kind: ErrorKind) -> bool {
    matches!(kind, ErrorKind::BrokenPipe | ErrorKind::ConnectionReset | ErrorKind::WriteZero)
}
