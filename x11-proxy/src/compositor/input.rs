//! The person's input, carried into the pod: keys and pointer by XTEST, everything else as a pager
//! asks a window manager (EWMH).
//!
//! Asking takes a moment: an input that needs a window to be focused or raised first waits until it
//! is, or until [`PATIENCE`] ends. What waits is bounded, since the reader stops when it is full.

use std::collections::VecDeque;
use std::time::Duration;

use anyhow::Result;
use roam_api::display::{KeyAction, Point, ToDisplay, WindowId};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    BUTTON_PRESS_EVENT, BUTTON_RELEASE_EVENT, ClientMessageEvent, ConfigureWindowAux, ConnectionExt as _,
    EventMask, KEY_PRESS_EVENT, KEY_RELEASE_EVENT, MOTION_NOTIFY_EVENT, StackMode, Window,
};
use x11rb::protocol::xtest::ConnectionExt as _;

use crate::features::keyboard::display::{Held, Keymap, Plan};
use crate::features::pointer::display::{Lateness, is_covered, on_screen, wheel_buttons};
use crate::geometry::Rect;
use crate::x11::X;

/// How long an input waits for the window manager.
const PATIENCE: Duration = Duration::from_millis(250);
/// Inputs that may wait; more are left in the stream.
const MOST_WAITING: usize = 256;
/// EWMH: the message comes from a pager, that is from the person.
const FROM_PAGER: u32 = 2;

/// What an input must know about the windows.
pub(crate) trait Windows {
    /// The window's place on the screen, without its border; none if it is gone.
    fn place(&self, window: WindowId) -> Option<Rect>;
    /// Managed windows from the bottom to the top; empty for a popup, which lies above them all.
    fn stack(&self, window: WindowId) -> Vec<(u32, Rect)>;
    fn active(&self) -> Option<Window>;
    fn screen(&self) -> Rect;
    /// Notes that a resize was asked for.
    fn resizing(&mut self, window: WindowId, size: roam_api::display::Size, serial: u32);
    /// The person's clipboard holds this text.
    fn clipboard(&mut self, text: String) -> Result<()>;
    /// An open menu or the like.
    fn has_popup(&self) -> bool;
}

/// What the next input waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Wait {
    /// The window manager to have answered a change of focus.
    Focus,
    /// The stacking to change.
    Raise,
}

pub(crate) struct Injector {
    waiting: VecDeque<ToDisplay>,
    wait: Option<(Wait, Duration)>,
    keymap: Option<Keymap>,
    held: Held,
    buttons: Vec<u8>,
    lateness: Lateness,
    /// Keys given a meaning so far: chooses among spare keys.
    turns: usize,
    view_only: bool,
}

impl Injector {
    /// Releases whatever a display that died here still held down.
    pub fn new(x: &X, view_only: bool) -> Result<Self> {
        let injector = Self {
            waiting: VecDeque::new(),
            wait: None,
            keymap: None,
            held: Held::default(),
            buttons: Vec::new(),
            lateness: Lateness::default(),
            turns: 0,
            view_only,
        };
        if !view_only {
            let keys = x.conn.query_keymap()?.reply()?.keys;
            for key in 0..=u8::MAX {
                if keys[usize::from(key / 8)] & (1 << (key % 8)) != 0 {
                    fake(x, KEY_RELEASE_EVENT, key, (0, 0))?;
                }
            }
            let mask = u16::from(x.conn.query_pointer(x.root)?.reply()?.mask);
            for button in 1..=5u8 {
                if mask & (1 << (7 + button)) != 0 {
                    fake(x, BUTTON_RELEASE_EVENT, button, (0, 0))?;
                }
            }
        }
        Ok(injector)
    }

    pub fn is_full(&self) -> bool {
        self.waiting.len() >= MOST_WAITING
    }

    /// When to look again though nothing happened.
    pub fn deadline(&self) -> Option<Duration> {
        self.wait.map(|(_, until)| until)
    }

    pub fn push(&mut self, input: ToDisplay) {
        if !self.view_only {
            self.waiting.push_back(input);
        }
    }

    pub fn keymap_changed(&mut self) {
        self.keymap = None;
    }

    /// The window manager has written who is active.
    pub fn focus_settled(&mut self) {
        self.settled(Wait::Focus);
    }

    /// The order of windows has changed.
    pub fn stack_changed(&mut self) {
        self.settled(Wait::Raise);
    }

    fn settled(&mut self, wait: Wait) {
        if self.wait.is_some_and(|(w, _)| w == wait) {
            self.wait = None;
        }
    }

    /// Carries out what can be carried out now.
    pub fn run(&mut self, x: &X, windows: &mut impl Windows, now: Duration) -> Result<()> {
        loop {
            let mut patient = true;
            if let Some((_, until)) = self.wait {
                if now < until {
                    return Ok(());
                }
                self.wait = None;
                patient = false;
            }
            let Some(input) = self.waiting.pop_front() else { return Ok(()) };
            if patient && let Some(wait) = self.prepare(x, windows, &input)? {
                self.wait = Some((wait, now + PATIENCE));
                self.waiting.push_front(input);
                return Ok(());
            }
            self.inject(x, windows, input, now)?;
        }
    }

    /// Asks for what the input needs to hit the window that was meant.
    fn prepare(&self, x: &X, windows: &impl Windows, input: &ToDisplay) -> Result<Option<Wait>> {
        let point = match input {
            ToDisplay::Pointer { point, .. }
            | ToDisplay::Button { point, pressed: true, .. }
            | ToDisplay::Wheel { point, .. } => point,
            _ => return Ok(None),
        };
        let Some(place) = windows.place(point.window) else { return Ok(None) };
        let (left, top) = on_screen(place, point.x, point.y, windows.screen());
        let inside = place.contains(left.into(), top.into());
        let stack = windows.stack(point.window);
        // During a drag the window that was pressed keeps the pointer by itself.
        if !self.buttons.is_empty() || !inside || !is_covered(&stack, point.window.0, left.into(), top.into())
        {
            return Ok(None);
        }
        let raise = ConfigureWindowAux::new().stack_mode(StackMode::ABOVE);
        x.conn.configure_window(point.window.0, &raise)?;
        Ok(Some(Wait::Raise))
    }

    fn inject(&mut self, x: &X, windows: &mut impl Windows, input: ToDisplay, now: Duration) -> Result<()> {
        let now_ms = now.as_millis() as u64;
        match input {
            ToDisplay::Key { at_ms, keysym, action } => {
                let late = self.lateness.too_late(at_ms, now_ms);
                self.key(x, keysym, action, late)
            }
            ToDisplay::Pointer { at_ms, point } => {
                if self.lateness.too_late(at_ms, now_ms) {
                    return Ok(());
                }
                self.move_to(x, windows, point).map(|_| ())
            }
            ToDisplay::Button { at_ms, point, button, pressed } => {
                let late = self.lateness.too_late(at_ms, now_ms);
                self.button(x, windows, point, button, pressed, late)
            }
            ToDisplay::Wheel { at_ms, point, right, down } => {
                if self.lateness.too_late(at_ms, now_ms) || !self.move_to(x, windows, point)? {
                    return Ok(());
                }
                for button in wheel_buttons(right, down) {
                    fake(x, BUTTON_PRESS_EVENT, button, (0, 0))?;
                    fake(x, BUTTON_RELEASE_EVENT, button, (0, 0))?;
                }
                Ok(())
            }
            ToDisplay::Focus(window) => self.focus(x, windows, window, now),
            ToDisplay::Dismiss => {
                if windows.has_popup() && self.buttons.is_empty() {
                    // A click where no window is: whoever has grabbed the pointer takes it for a
                    // click elsewhere, which is what it was.
                    let screen = windows.screen();
                    let corner = ((screen.width - 1) as i16, (screen.height - 1) as i16);
                    fake(x, MOTION_NOTIFY_EVENT, 0, corner)?;
                    fake(x, BUTTON_PRESS_EVENT, 1, corner)?;
                    fake(x, BUTTON_RELEASE_EVENT, 1, corner)?;
                }
                Ok(())
            }
            ToDisplay::Resize { window, size, serial } => {
                windows.resizing(window, size, serial);
                // Bits 10 and 11: width and height are given; gravity 0 is the window's own.
                let flags = (1 << 10) | (1 << 11) | (FROM_PAGER << 12);
                let data = [flags, 0, 0, size.width.into(), size.height.into()];
                to_manager(x, window.0, x.atoms._NET_MOVERESIZE_WINDOW, data)
            }
            ToDisplay::State { window, maximized, fullscreen } => {
                let a = &x.atoms;
                let max = [a._NET_WM_STATE_MAXIMIZED_VERT, a._NET_WM_STATE_MAXIMIZED_HORZ];
                for (on, states) in [(maximized, max), (fullscreen, [a._NET_WM_STATE_FULLSCREEN, 0])] {
                    let data = [u32::from(on), states[0], states[1], FROM_PAGER, 0];
                    to_manager(x, window.0, a._NET_WM_STATE, data)?;
                }
                Ok(())
            }
            ToDisplay::Close(window) => {
                to_manager(x, window.0, x.atoms._NET_CLOSE_WINDOW, [0, FROM_PAGER, 0, 0, 0])
            }
            ToDisplay::Clipboard(text) => windows.clipboard(text),
            ToDisplay::Attach | ToDisplay::Ack(_) => Ok(()),
        }
    }

    fn focus(
        &mut self,
        x: &X,
        windows: &impl Windows,
        window: Option<WindowId>,
        now: Duration,
    ) -> Result<()> {
        if window.is_none() {
            self.release_all(x)?;
        }
        if windows.active() == window.map(|w| w.0) {
            return Ok(());
        }
        // The root window stands for "none".
        let target = window.map_or(x.root, |w| w.0);
        to_manager(x, target, x.atoms._NET_ACTIVE_WINDOW, [FROM_PAGER, 0, 0, 0, 0])?;
        self.wait = Some((Wait::Focus, now + PATIENCE));
        Ok(())
    }

    fn key(&mut self, x: &X, keysym: u32, action: KeyAction, late: bool) -> Result<()> {
        match action {
            KeyAction::Release => {
                if let Some(key) = self.held.release(keysym) {
                    fake(x, KEY_RELEASE_EVENT, key, (0, 0))?;
                }
                Ok(())
            }
            _ if late => Ok(()),
            KeyAction::Press | KeyAction::Repeat => {
                let key = match self.held.get(keysym) {
                    Some(key) => {
                        fake(x, KEY_RELEASE_EVENT, key, (0, 0))?;
                        Some(key)
                    }
                    None => self.key_for(x, keysym)?,
                };
                if let Some(key) = key {
                    fake(x, KEY_PRESS_EVENT, key, (0, 0))?;
                    self.held.press(keysym, key);
                }
                Ok(())
            }
        }
    }

    fn key_for(&mut self, x: &X, keysym: u32) -> Result<Option<u8>> {
        let keymap = match &mut self.keymap {
            Some(keymap) => keymap,
            none => none.insert(read_keymap(x)?),
        };
        match keymap.plan(keysym, self.held.shift(), &self.held, self.turns) {
            Some(Plan::Press(key)) => Ok(Some(key)),
            Some(Plan::Remap(key)) => {
                let levels = Keymap::spare(keysym);
                x.conn.change_keyboard_mapping(1, key, levels.len() as u8, &levels)?;
                keymap.set(key, keysym);
                self.turns += 1;
                Ok(Some(key))
            }
            None => Ok(None),
        }
    }

    fn button(
        &mut self,
        x: &X,
        windows: &impl Windows,
        point: Point,
        button: u8,
        pressed: bool,
        late: bool,
    ) -> Result<()> {
        if pressed {
            if late || !self.move_to(x, windows, point)? {
                return Ok(());
            }
            if !self.buttons.contains(&button) {
                self.buttons.push(button);
            }
            return fake(x, BUTTON_PRESS_EVENT, button, (0, 0));
        }
        self.move_to(x, windows, point)?;
        if let Some(at) = self.buttons.iter().position(|&b| b == button) {
            self.buttons.remove(at);
            fake(x, BUTTON_RELEASE_EVENT, button, (0, 0))?;
        }
        Ok(())
    }

    /// False if the window is gone.
    fn move_to(&self, x: &X, windows: &impl Windows, point: Point) -> Result<bool> {
        let Some(place) = windows.place(point.window) else { return Ok(false) };
        fake(x, MOTION_NOTIFY_EVENT, 0, on_screen(place, point.x, point.y, windows.screen()))?;
        Ok(true)
    }

    /// Lets go of everything that this viewer holds.
    pub fn release_all(&mut self, x: &X) -> Result<()> {
        for key in self.held.take_all() {
            fake(x, KEY_RELEASE_EVENT, key, (0, 0))?;
        }
        for button in std::mem::take(&mut self.buttons) {
            fake(x, BUTTON_RELEASE_EVENT, button, (0, 0))?;
        }
        Ok(())
    }
}

fn read_keymap(x: &X) -> Result<Keymap> {
    let setup = x.conn.setup();
    let (first, last) = (setup.min_keycode, setup.max_keycode);
    let reply = x.conn.get_keyboard_mapping(first, last - first + 1)?.reply()?;
    Ok(Keymap::new(first, reply.keysyms_per_keycode, reply.keysyms))
}

fn fake(x: &X, event: u8, detail: u8, (left, top): (i16, i16)) -> Result<()> {
    x.conn.xtest_fake_input(event, detail, x11rb::CURRENT_TIME, x.root, left, top, 0)?;
    Ok(())
}

fn to_manager(x: &X, window: Window, message: u32, data: [u32; 5]) -> Result<()> {
    let event = ClientMessageEvent::new(32, window, message, data);
    let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
    x.conn.send_event(false, x.root, mask, event)?;
    Ok(())
}
