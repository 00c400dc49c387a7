//! The window manager's decisions: what happened goes in, what to do comes out. Pure: it knows no
//! X connection, so every rule is tested as a table.

use std::collections::BTreeMap;

use roam_api::display::{Size, SizeHints, WindowKind, WindowState};

use super::hints::constrain;
use super::place::{Request, place};
use crate::geometry::Rect;

/// A window's number in the X server.
pub(crate) type Window = u32;

/// What the app says about a window.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Properties {
    pub kind: WindowKind,
    pub transient_for: Option<Window>,
    pub hints: SizeHints,
    pub wants_position: bool,
    /// WM_HINTS input: the window manager may give it the keyboard.
    pub input: bool,
    /// WM_TAKE_FOCUS: it takes the keyboard itself.
    pub take_focus: bool,
    /// WM_DELETE_WINDOW: it closes itself when asked.
    pub delete_window: bool,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Input {
    /// A window asks to be shown (or is found shown at the start).
    Map {
        window: Window,
        rect: Rect,
        properties: Properties,
        state: WindowState,
    },
    /// A window's properties changed.
    Changed {
        window: Window,
        properties: Properties,
    },
    /// A window was hidden by its app or is gone.
    Gone(Window),
    /// A window asks for another place or size; what it did not name is none.
    Configure {
        window: Window,
        x: Option<i32>,
        y: Option<i32>,
        width: Option<i32>,
        height: Option<i32>,
        raise: bool,
    },
    /// The person resized the window at a screen.
    Resize {
        window: Window,
        size: Size,
    },
    /// The person, or the app, turns to a window; none: to something outside the session.
    Activate(Option<Window>),
    /// A window asks for, or a person wants, other states.
    State {
        window: Window,
        state: WindowState,
    },
    Close(Window),
    /// The pod's screen has another size.
    Screen(Rect),
}

/// What to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Effect {
    /// Move and resize.
    Configure(Window, Rect),
    /// Tell the window where it is, though nothing changed (ICCCM 4.1.5).
    Notify(Window, Rect),
    Show(Window),
    /// Take it out of the lists; it is no longer managed.
    Withdraw(Window),
    /// Put it right above this one, or at the bottom of the managed windows.
    StackAbove(Window, Option<Window>),
    /// Give the keyboard by SetInputFocus, by WM_TAKE_FOCUS, or by both.
    Focus {
        window: Window,
        set: bool,
        take: bool,
    },
    /// Nobody has the keyboard.
    Unfocus,
    WriteState(Window, WindowState),
    /// Write the lists of windows and the active one to the root window.
    WriteLists,
    AskToClose(Window),
    Kill(Window),
}

#[derive(Debug, Clone)]
struct Client {
    rect: Rect,
    /// Where it was before it was maximised or made fullscreen.
    normal: Rect,
    properties: Properties,
    state: WindowState,
}

/// Everything the window manager remembers.
#[derive(Debug)]
pub(crate) struct Model {
    screen: Rect,
    clients: BTreeMap<Window, Client>,
    /// In the order they were shown.
    order: Vec<Window>,
    /// From the bottom to the top.
    stack: Vec<Window>,
    active: Option<Window>,
}

impl Model {
    pub fn new(screen: Rect) -> Self {
        Self { screen, clients: BTreeMap::new(), order: Vec::new(), stack: Vec::new(), active: None }
    }

    pub fn order(&self) -> &[Window] {
        &self.order
    }

    pub fn stack(&self) -> &[Window] {
        &self.stack
    }

    pub fn active(&self) -> Option<Window> {
        self.active
    }

    pub fn manages(&self, window: Window) -> bool {
        self.clients.contains_key(&window)
    }

    pub fn state_of(&self, window: Window) -> Option<WindowState> {
        self.clients.get(&window).map(|client| client.state)
    }

    /// One step.
    pub fn handle(&mut self, input: Input) -> Vec<Effect> {
        match input {
            Input::Map { window, rect, properties, state } => self.map(window, rect, properties, state),
            Input::Changed { window, properties } => {
                if let Some(client) = self.clients.get_mut(&window) {
                    client.properties = properties;
                }
                Vec::new()
            }
            Input::Gone(window) => self.gone(window),
            Input::Configure { window, x, y, width, height, raise } => {
                self.configure(window, (x, y, width, height), raise)
            }
            Input::Resize { window, size } => self.resize(window, size),
            Input::Activate(Some(window)) => self.activate(window),
            Input::Activate(None) => {
                self.active = None;
                vec![Effect::Unfocus, Effect::WriteLists]
            }
            Input::State { window, state } => self.set_state(window, state),
            Input::Close(window) => match self.clients.get(&window) {
                Some(client) if client.properties.delete_window => vec![Effect::AskToClose(window)],
                Some(_) => vec![Effect::Kill(window)],
                None => Vec::new(),
            },
            Input::Screen(screen) => self.set_screen(screen),
        }
    }

    fn map(&mut self, window: Window, rect: Rect, properties: Properties, state: WindowState) -> Vec<Effect> {
        if self.manages(window) {
            return vec![Effect::Show(window)];
        }
        let parent = self.parent_of(&properties);
        let others: Vec<Rect> = self.clients.values().map(|client| client.rect).collect();
        let normal = place(&Request {
            size: (rect.width.max(1), rect.height.max(1)),
            wish: properties.wants_position.then_some((rect.x, rect.y)),
            parent: parent.and_then(|p| self.clients.get(&p)).map(|p| p.rect),
            others: &others,
            screen: self.screen,
        });
        let rect = if state.maximized || state.fullscreen { self.screen } else { normal };
        let focusable = takes_keyboard(&properties);
        self.clients.insert(window, Client { rect, normal, properties, state });
        self.order.push(window);
        let mut effects = vec![Effect::Configure(window, rect), Effect::WriteState(window, state)];
        effects.extend(self.raise(window));
        effects.push(Effect::Show(window));
        if focusable {
            effects.extend(self.focus(window));
        }
        effects.push(Effect::WriteLists);
        effects
    }

    fn gone(&mut self, window: Window) -> Vec<Effect> {
        let Some(client) = self.clients.remove(&window) else { return Vec::new() };
        self.order.retain(|&w| w != window);
        self.stack.retain(|&w| w != window);
        let mut effects = vec![Effect::Withdraw(window)];
        if self.active == Some(window) {
            self.active = None;
            let next = self.parent_of(&client.properties).or_else(|| {
                self.stack.iter().rev().copied().find(|w| takes_keyboard(&self.clients[w].properties))
            });
            match next {
                Some(next) => effects.extend(self.focus(next)),
                None => effects.push(Effect::Unfocus),
            }
        }
        effects.push(Effect::WriteLists);
        effects
    }

    fn configure(
        &mut self,
        window: Window,
        (x, y, width, height): (Option<i32>, Option<i32>, Option<i32>, Option<i32>),
        raise: bool,
    ) -> Vec<Effect> {
        let screen = self.screen;
        let Some(client) = self.clients.get_mut(&window) else { return Vec::new() };
        let old = client.rect;
        let mut effects = Vec::new();
        if !(client.state.maximized || client.state.fullscreen) {
            let wanted = Rect::new(
                x.unwrap_or(old.x),
                y.unwrap_or(old.y),
                width.unwrap_or(old.width).clamp(1, 32_767),
                height.unwrap_or(old.height).clamp(1, 32_767),
            );
            client.rect = wanted.moved_into(screen);
            client.normal = client.rect;
        }
        if client.rect == old {
            effects.push(Effect::Notify(window, old));
        } else {
            effects.push(Effect::Configure(window, client.rect));
            // A plain move sends no event with root coordinates by itself.
            effects.push(Effect::Notify(window, client.rect));
        }
        if raise {
            effects.extend(self.raise(window));
            effects.push(Effect::WriteLists);
        }
        effects
    }

    fn resize(&mut self, window: Window, size: Size) -> Vec<Effect> {
        let screen = self.screen;
        let Some(client) = self.clients.get_mut(&window) else { return Vec::new() };
        let filling = client.state.maximized || client.state.fullscreen;
        let size = if filling { size } else { constrain(&client.properties.hints, size) };
        let wanted = Rect {
            width: i32::from(size.width).min(screen.width).max(1),
            height: i32::from(size.height).min(screen.height).max(1),
            ..client.rect
        };
        let old = client.rect;
        client.rect = wanted.moved_into(screen);
        if !filling {
            client.normal = client.rect;
        }
        if client.rect == old {
            return vec![Effect::Notify(window, old)];
        }
        vec![Effect::Configure(window, client.rect), Effect::Notify(window, client.rect)]
    }

    fn activate(&mut self, window: Window) -> Vec<Effect> {
        if !self.manages(window) {
            return Vec::new();
        }
        let window = self.modal_over(window);
        let mut effects = self.raise(window);
        if let Some(client) = self.clients.get_mut(&window)
            && client.state.minimized
        {
            client.state.minimized = false;
            effects.push(Effect::WriteState(window, client.state));
        }
        if takes_keyboard(&self.clients[&window].properties) {
            effects.extend(self.focus(window));
        }
        effects.push(Effect::WriteLists);
        effects
    }

    fn set_state(&mut self, window: Window, state: WindowState) -> Vec<Effect> {
        let screen = self.screen;
        let Some(client) = self.clients.get_mut(&window) else { return Vec::new() };
        if client.state == state {
            return Vec::new();
        }
        let fills = |s: WindowState| s.maximized || s.fullscreen;
        let (before, after) = (fills(client.state), fills(state));
        client.state = state;
        let mut effects = vec![Effect::WriteState(window, state)];
        if before != after {
            client.rect = if after { screen } else { client.normal };
            effects.push(Effect::Configure(window, client.rect));
            effects.push(Effect::Notify(window, client.rect));
        }
        effects
    }

    fn set_screen(&mut self, screen: Rect) -> Vec<Effect> {
        self.screen = screen;
        let mut effects = vec![Effect::WriteLists];
        for (&window, client) in &mut self.clients {
            let moved = client.rect.moved_into(screen);
            if moved != client.rect {
                client.rect = moved;
                effects.push(Effect::Configure(window, moved));
                effects.push(Effect::Notify(window, moved));
            }
        }
        effects
    }

    /// Puts a window on top, and its dialogs above it.
    fn raise(&mut self, window: Window) -> Vec<Effect> {
        let mut family = vec![window];
        let mut at = 0;
        while at < family.len() {
            let owner = family[at];
            let dialogs = self.stack.iter().copied().filter(|w| {
                !family.contains(w)
                    && self.clients.get(w).and_then(|c| c.properties.transient_for) == Some(owner)
            });
            let dialogs: Vec<Window> = dialogs.collect();
            family.extend(dialogs);
            at += 1;
        }
        if self.stack.ends_with(&family) {
            return Vec::new();
        }
        self.stack.retain(|w| !family.contains(w));
        let mut below = self.stack.last().copied();
        let mut effects = Vec::new();
        for &member in &family {
            effects.push(Effect::StackAbove(member, below));
            below = Some(member);
        }
        self.stack.extend(family);
        effects
    }

    fn focus(&mut self, window: Window) -> Vec<Effect> {
        let window = self.modal_over(window);
        let Some(client) = self.clients.get(&window) else { return Vec::new() };
        self.active = Some(window);
        vec![Effect::Focus { window, set: client.properties.input, take: client.properties.take_focus }]
    }

    /// The modal dialog that blocks this window, or the window itself.
    fn modal_over(&self, window: Window) -> Window {
        let blocked = |owner: Window| {
            self.stack.iter().rev().copied().find(|w| {
                let client = &self.clients[w];
                *w != owner && client.state.modal && client.properties.transient_for == Some(owner)
            })
        };
        let mut top = window;
        // At most once around, should windows be transient for each other.
        for _ in 0..self.stack.len() {
            match blocked(top) {
                Some(dialog) => top = dialog,
                None => break,
            }
        }
        top
    }

    /// The managed window that a dialog belongs to; a dialog that names none belongs to the active one.
    fn parent_of(&self, properties: &Properties) -> Option<Window> {
        match properties.transient_for {
            Some(parent) if self.manages(parent) => Some(parent),
            _ if properties.kind == WindowKind::Dialog => self.active,
            _ => None,
        }
    }
}

fn takes_keyboard(properties: &Properties) -> bool {
    (properties.input || properties.take_focus) && properties.kind != WindowKind::Splash
}

#[cfg(test)]
#[path = "model_tests.rs"]
mod tests;
