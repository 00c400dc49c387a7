//! The person's keys, pointer and wheel on their way to the app.

use std::collections::HashMap;
use std::time::Instant;

use roam_api::display::{KeyAction, Point, ToDisplay, WindowId};
use winit::event::{ElementState, KeyEvent, MouseButton, MouseScrollDelta, WindowEvent};
use winit::keyboard::{Key, ModifiersState, NamedKey, PhysicalKey};

use super::shown::Shown;
use super::stream::Sender;
use crate::features::keyboard::viewer::{Pressed, keysyms};
use crate::features::pointer::viewer::Wheel;

/// What the person holds down, and the way to the display.
pub(crate) struct Input {
    sender: Sender,
    view_only: bool,
    start: Instant,
    modifiers: ModifiersState,
    /// Keys held down, and what they meant when they were pressed.
    held: HashMap<PhysicalKey, u32>,
    /// Buttons held down, and where they were pressed.
    buttons: Vec<(u8, WindowId)>,
    wheel: Wheel,
    last: Point,
}

impl Input {
    pub fn new(sender: Sender, view_only: bool) -> Self {
        Self {
            sender,
            view_only,
            start: Instant::now(),
            modifiers: ModifiersState::empty(),
            held: HashMap::new(),
            buttons: Vec::new(),
            wheel: Wheel::default(),
            last: Point { window: WindowId(0), x: 0, y: 0 },
        }
    }

    pub fn send(&self, message: ToDisplay) {
        if !self.view_only {
            self.sender.send(message);
        }
    }

    pub fn acknowledge(&self, frame: u64) {
        self.sender.send(ToDisplay::Ack(frame));
    }

    fn at_ms(&self) -> u64 {
        self.start.elapsed().as_millis() as u64
    }

    pub fn on_event(&mut self, shown: &mut Shown, event: &WindowEvent) {
        let window = shown.id();
        match event {
            WindowEvent::ModifiersChanged(modifiers) => self.modifiers = modifiers.state(),
            // Keys that were already down when the window got the keyboard were meant for others; but
            // Ctrl and its like change what is done here.
            WindowEvent::KeyboardInput { event, is_synthetic, .. }
                if !is_synthetic || event.state == ElementState::Released || is_modifier(event) =>
            {
                self.on_key(event);
            }
            WindowEvent::CursorMoved { position, .. } => {
                shown.pointer = (position.x.floor() as i32, position.y.floor() as i32);
                let point = point(shown);
                if point != self.last {
                    self.last = point;
                    self.send(ToDisplay::Pointer { at_ms: self.at_ms(), point });
                }
            }
            WindowEvent::MouseInput { state, button, .. } => {
                let Some(button) = number(*button) else { return };
                let pressed = *state == ElementState::Pressed;
                self.buttons.retain(|(b, _)| *b != button);
                if pressed {
                    self.buttons.push((button, window));
                }
                let at_ms = self.at_ms();
                self.last = point(shown);
                self.send(ToDisplay::Button { at_ms, point: self.last, button, pressed });
            }
            WindowEvent::MouseWheel { delta, .. } => {
                // winit counts up and left as positive; so does nobody else here.
                let notches = match delta {
                    MouseScrollDelta::LineDelta(x, y) => self.wheel.turn(-f64::from(*x), -f64::from(*y)),
                    MouseScrollDelta::PixelDelta(d) => self.wheel.turn_pixels(-d.x, -d.y),
                };
                if let Some((right, down)) = notches {
                    let (at_ms, point) = (self.at_ms(), point(shown));
                    self.send(ToDisplay::Wheel { at_ms, point, right, down });
                }
            }
            _ => {}
        }
    }

    fn on_key(&mut self, event: &KeyEvent) {
        if event.state == ElementState::Released {
            if let Some(keysym) = self.held.remove(&event.physical_key) {
                self.key(keysym, KeyAction::Release);
            }
            return;
        }
        if event.repeat
            && let Some(&keysym) = self.held.get(&event.physical_key)
        {
            self.key(keysym, KeyAction::Repeat);
            return;
        }
        let command = self.modifiers.control_key() || self.modifiers.alt_key() || self.modifiers.super_key();
        let meant = keysyms(&Pressed {
            logical: &event.logical_key,
            physical: event.physical_key,
            location: event.location,
            text: event.text.as_deref(),
            command,
        });
        if let [keysym] = meant[..] {
            if let Some(before) = self.held.insert(event.physical_key, keysym)
                && before != keysym
            {
                self.key(before, KeyAction::Release);
            }
            self.key(keysym, KeyAction::Press);
        } else {
            // A text made of several characters has no key that could be held.
            for keysym in meant {
                self.key(keysym, KeyAction::Press);
                self.key(keysym, KeyAction::Release);
            }
        }
    }

    fn key(&self, keysym: u32, action: KeyAction) {
        self.send(ToDisplay::Key { at_ms: self.at_ms(), keysym, action });
    }

    /// The keyboard went elsewhere: nothing is held any more.
    pub fn release_all(&mut self) {
        for (_, keysym) in std::mem::take(&mut self.held) {
            self.key(keysym, KeyAction::Release);
        }
        self.modifiers = ModifiersState::empty();
    }

    /// Somebody else took the pointer over, and will see the release.
    pub fn release_buttons(&mut self) {
        for (button, _) in std::mem::take(&mut self.buttons) {
            let at_ms = self.at_ms();
            self.send(ToDisplay::Button { at_ms, point: self.last, button, pressed: false });
        }
    }
}

fn is_modifier(event: &KeyEvent) -> bool {
    use NamedKey::{Alt, Control, Hyper, Meta, Shift, Super};
    matches!(event.logical_key, Key::Named(Alt | Control | Hyper | Meta | Shift | Super))
}

fn point(shown: &Shown) -> Point {
    Point { window: shown.id(), x: shown.pointer.0, y: shown.pointer.1 }
}

/// X11's numbers of buttons.
fn number(button: MouseButton) -> Option<u8> {
    match button {
        MouseButton::Left => Some(1),
        MouseButton::Middle => Some(2),
        MouseButton::Right => Some(3),
        MouseButton::Back => Some(8),
        MouseButton::Forward => Some(9),
        MouseButton::Other(_) => None,
    }
}
