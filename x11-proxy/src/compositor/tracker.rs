//! Follows every window of the pod by the X server's events, and marks what the viewer must be told.
//! Everything here can be read back from the server: a new display starts with the same state.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use anyhow::Result;
use roam_api::charge::MAX_TITLES;
use roam_api::display::{Drag, MAX_SIDE, Shape, Size, ToViewer, WindowId, WindowInfo, WindowKind};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::composite::ConnectionExt as _;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::xproto::{
    Atom, AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConfigureNotifyEvent, ConnectionExt as _,
    EventMask, MapState, Mapping, Pixmap, Window, WindowClass,
};

use super::input::Windows;
use super::outline::Outline;
use super::pacer::Pacer;
use super::tiles::{Shadow, lay_over};
use super::window::{self, PendingResize, RESIZE_PATIENCE, Tracked, describe};
use crate::features::clipboard::Bridge;
use crate::geometry::Rect;
use crate::wm::hints::constrain;
use crate::x11::X;

/// More windows than this are not shown: no app has them, a broken one might.
const MOST_WINDOWS: usize = 512;

pub(super) struct Tracker {
    windows: BTreeMap<Window, Tracked>,
    /// All children of the root window, from the bottom to the top.
    stack: Vec<Window>,
    active: Option<Window>,
    screen: Rect,
    gone: Vec<Window>,
    /// Windows in the order in which they get the next frame.
    turns: VecDeque<Window>,
    clipboard: Bridge,
    now: Duration,
}

/// What an event meant to others.
#[derive(Default)]
pub(super) struct Seen {
    pub cursor: bool,
    pub focus: bool,
    pub stack: bool,
    pub keymap: bool,
    pub messages: Vec<ToViewer>,
}

/// What is needed to capture a window.
pub(super) struct CaptureJob {
    pub pixmap: Pixmap,
    pub damage: u32,
    pub border: i32,
    pub size: Size,
    /// Nothing of it was captured in this size yet.
    pub whole: bool,
}

impl Tracker {
    pub fn new(x: &X, clipboard: Bridge) -> Result<Self> {
        let mask = EventMask::SUBSTRUCTURE_NOTIFY | EventMask::STRUCTURE_NOTIFY | EventMask::PROPERTY_CHANGE;
        x.conn.change_window_attributes(x.root, &ChangeWindowAttributesAux::new().event_mask(mask))?;
        let root = x.conn.get_geometry(x.root)?.reply()?;
        let mut tracker = Self {
            windows: BTreeMap::new(),
            stack: x.conn.query_tree(x.root)?.reply()?.children,
            active: read_active(x),
            screen: Rect::new(0, 0, root.width.into(), root.height.into()),
            gone: Vec::new(),
            turns: VecDeque::new(),
            clipboard,
            now: Duration::ZERO,
        };
        for window in tracker.stack.clone() {
            tracker.appear(x, window)?;
        }
        Ok(tracker)
    }

    pub fn screen_size(&self) -> Size {
        let side = |length: i32| length.clamp(1, i32::from(MAX_SIDE)) as u16;
        Size::new(side(self.screen.width), side(self.screen.height))
    }

    /// A view for the injector.
    pub fn with<'a>(&'a mut self, x: &'a X) -> TrackerWithX<'a> {
        TrackerWithX { tracker: self, x }
    }

    pub fn on_event(&mut self, x: &X, event: &Event) -> Result<Seen> {
        let mut seen = Seen::default();
        match event {
            Event::DamageNotify(e) => {
                if let Some(tracked) = self.windows.get_mut(&e.drawable) {
                    tracked.damaged = true;
                }
            }
            Event::CreateNotify(e) if e.parent == x.root => self.stack.push(e.window),
            Event::MapNotify(e) if e.event == x.root => self.appear(x, e.window)?,
            Event::UnmapNotify(e) => self.disappear(x, e.window)?,
            Event::DestroyNotify(e) => {
                self.stack.retain(|w| *w != e.window);
                self.disappear(x, e.window)?;
            }
            Event::ReparentNotify(e) if e.parent != x.root => {
                self.stack.retain(|w| *w != e.window);
                self.disappear(x, e.window)?;
            }
            Event::ReparentNotify(e) => {
                self.stack.retain(|w| *w != e.window);
                self.stack.push(e.window);
            }
            Event::ConfigureNotify(e) => seen.stack = self.on_configure(x, e)?,
            Event::CirculateNotify(_) => {
                self.stack = x.conn.query_tree(x.root)?.reply()?.children;
                seen.stack = true;
            }
            Event::PropertyNotify(e) if e.window == x.root && e.atom == x.atoms._NET_ACTIVE_WINDOW => {
                self.active = read_active(x);
                seen.focus = true;
            }
            Event::PropertyNotify(e) if self.windows.contains_key(&e.window) => {
                self.on_property(x, e.window, e.atom);
            }
            Event::XfixesCursorNotify(_) => seen.cursor = true,
            Event::MappingNotify(e) => seen.keymap = e.request == Mapping::KEYBOARD,
            Event::ClientMessage(e) => seen.messages.extend(self.on_message(x, e)),
            _ => {}
        }
        if let Some(text) = self.clipboard.on_event(&x.conn, &x.atoms, event)? {
            seen.messages.push(ToViewer::Clipboard(text));
        }
        Ok(seen)
    }

    /// A window is shown: follow it, unless it has no pixels.
    fn appear(&mut self, x: &X, window: Window) -> Result<()> {
        if self.windows.contains_key(&window) || self.windows.len() >= MOST_WINDOWS {
            return Ok(());
        }
        let attributes = x.conn.get_window_attributes(window)?;
        let geometry = x.conn.get_geometry(window)?;
        let (Ok(attributes), Ok(geometry)) = (attributes.reply(), geometry.reply()) else { return Ok(()) };
        let shown =
            attributes.map_state == MapState::VIEWABLE && attributes.class == WindowClass::INPUT_OUTPUT;
        if !shown || !matches!(geometry.depth, 24 | 32) {
            return Ok(());
        }
        let values = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
        x.conn.change_window_attributes(window, &values)?;
        let damage = x.conn.generate_id()?;
        x.conn.damage_create(damage, window, ReportLevel::NON_EMPTY)?;
        let border = i32::from(geometry.border_width);
        let rect = Rect::new(
            geometry.x.into(),
            geometry.y.into(),
            i32::from(geometry.width) + 2 * border,
            i32::from(geometry.height) + 2 * border,
        );
        self.windows.insert(
            window,
            Tracked {
                popup: attributes.override_redirect,
                rect,
                border,
                translucent: attributes.override_redirect && geometry.depth == 32,
                damage,
                pixmap: None,
                shadow: None,
                outline: None,
                damaged: true,
                stale: true,
                icon_stale: !attributes.override_redirect,
                told: None,
                last_frame: None,
                failures: 0,
                resize_serial: 0,
                resize: None,
            },
        );
        self.turns.push_back(window);
        self.gone.retain(|w| *w != window);
        Ok(())
    }

    fn disappear(&mut self, x: &X, window: Window) -> Result<()> {
        let Some(tracked) = self.windows.remove(&window) else { return Ok(()) };
        self.turns.retain(|w| *w != window);
        x.conn.damage_destroy(tracked.damage)?;
        if let Some(pixmap) = tracked.pixmap {
            x.conn.free_pixmap(pixmap)?;
        }
        if tracked.told.is_some() {
            self.gone.push(window);
        }
        Ok(())
    }

    /// True if the order of windows changed.
    fn on_configure(&mut self, x: &X, e: &ConfigureNotifyEvent) -> Result<bool> {
        if e.window == x.root {
            self.screen = Rect::new(0, 0, e.width.into(), e.height.into());
            return Ok(false);
        }
        // Events that a window manager sends by itself carry no stacking; the server's own come to
        // the root window.
        if e.event != x.root {
            return Ok(false);
        }
        let before = self.stack.iter().position(|w| *w == e.window);
        self.stack.retain(|w| *w != e.window);
        let below = self.stack.iter().position(|w| *w == e.above_sibling).map_or(0, |at| at + 1);
        self.stack.insert(below, e.window);
        if let Some(tracked) = self.windows.get_mut(&e.window) {
            let border = i32::from(e.border_width);
            let rect = Rect::new(
                e.x.into(),
                e.y.into(),
                i32::from(e.width) + 2 * border,
                i32::from(e.height) + 2 * border,
            );
            if (rect.width, rect.height) != (tracked.rect.width, tracked.rect.height) {
                tracked.shadow = None;
                tracked.damaged = true;
                if let Some(pixmap) = tracked.pixmap.take() {
                    x.conn.free_pixmap(pixmap)?;
                }
            }
            tracked.stale |= rect != tracked.rect;
            (tracked.rect, tracked.border) = (rect, border);
        }
        Ok(before != Some(below))
    }

    fn on_property(&mut self, x: &X, window: Window, atom: Atom) {
        let a = &x.atoms;
        let told = [
            AtomEnum::WM_NAME.into(),
            AtomEnum::WM_HINTS.into(),
            AtomEnum::WM_NORMAL_HINTS.into(),
            AtomEnum::WM_TRANSIENT_FOR.into(),
            AtomEnum::WM_CLASS.into(),
            a._NET_WM_NAME,
            a._NET_WM_STATE,
            a._NET_WM_WINDOW_TYPE,
            a._MOTIF_WM_HINTS,
            a.WM_PROTOCOLS,
        ];
        if let Some(tracked) = self.windows.get_mut(&window) {
            tracked.stale |= told.contains(&atom);
            if atom == a._NET_WM_ICON {
                (tracked.stale, tracked.icon_stale) = (true, true);
            }
        }
    }

    /// What apps ask of a window manager, where the person's own must do it.
    fn on_message(&self, x: &X, e: &ClientMessageEvent) -> Option<ToViewer> {
        const FROM_APP: u32 = 1;
        let data = e.data.as_data32();
        if e.format != 32 || !self.windows.contains_key(&e.window) {
            return None;
        }
        let window = WindowId(e.window);
        if e.type_ == x.atoms._NET_ACTIVE_WINDOW && data[0] <= FROM_APP {
            return Some(ToViewer::Activate(window));
        }
        if e.type_ == x.atoms._NET_WM_MOVERESIZE {
            let drag = match data[2] {
                0 => Drag::Edge(-1, -1),
                1 => Drag::Edge(0, -1),
                2 => Drag::Edge(1, -1),
                3 => Drag::Edge(1, 0),
                4 => Drag::Edge(1, 1),
                5 => Drag::Edge(0, 1),
                6 => Drag::Edge(-1, 1),
                7 => Drag::Edge(-1, 0),
                8 => Drag::Move,
                _ => return None,
            };
            return Some(ToViewer::Drag { window, drag });
        }
        None
    }

    pub fn settle_resizes(&mut self, now: Duration) {
        self.now = now;
        for tracked in self.windows.values_mut() {
            tracked.settle_resize(now);
        }
    }

    pub fn resize_deadline(&self) -> Option<Duration> {
        self.windows.values().filter_map(|t| t.resize.map(|r| r.until)).min()
    }

    /// The titles of the windows that the viewer was told of, popups left out, oldest first.
    pub fn titles(&self) -> Vec<String> {
        let told = self.windows.values().filter_map(|t| t.told.as_ref());
        let titles = told.filter(|info| !info.popup && !info.title.trim().is_empty());
        titles.map(|info| info.title.clone()).take(MAX_TITLES).collect()
    }

    pub fn take_gone(&mut self) -> Vec<Window> {
        std::mem::take(&mut self.gone)
    }

    /// The next window that the viewer must be told of, parents first. Without a description if it
    /// has not changed after all.
    pub fn next_stale(&mut self, x: &X) -> Option<(Window, Option<WindowInfo>)> {
        let screen = self.screen;
        let mut window = *self.windows.iter().find(|(_, t)| t.stale && t.is_visible(screen))?.0;
        // Parents that were not told yet come before; at most once around, should they form a ring.
        for _ in 0..self.windows.len() {
            let parent = x.transient_for(window).and_then(|p| self.windows.get_key_value(&p));
            match parent {
                Some((&parent, t)) if t.told.is_none() && t.stale && t.is_visible(screen) => window = parent,
                _ => break,
            }
        }
        let tracked = &self.windows[&window];
        let info = describe(x, window, tracked, &self.windows, self.active);
        let tracked = self.windows.get_mut(&window)?;
        tracked.stale = false;
        if tracked.resize.is_some() && tracked.told.is_some() {
            // Told when the app has followed, so that the viewer is not pulled back meanwhile.
            let kept = tracked.told.as_ref().map_or(info.size, |told| told.size);
            let info = WindowInfo { size: kept, ..info };
            return Some((window, Some(info)));
        }
        if tracked.told.as_ref() == Some(&info) {
            return Some((window, None));
        }
        tracked.told = Some(info.clone());
        Some((window, Some(info)))
    }

    pub fn take_icon_stale(&mut self, window: Window) -> bool {
        self.windows.get_mut(&window).is_some_and(|t| std::mem::take(&mut t.icon_stale))
    }

    /// When the next frame of any window may be sent.
    pub fn next_frame_due(&self) -> Option<Duration> {
        let waiting = self.windows.values().filter(|t| t.damaged && t.told.is_some());
        waiting.map(|t| Pacer::due(t.last_frame)).min()
    }

    /// A window with new pixels whose time has come; they take turns.
    pub fn next_damaged(&mut self, now: Duration) -> Option<Window> {
        let windows = &self.windows;
        let at = self.turns.iter().position(|w| {
            windows.get(w).is_some_and(|t| t.damaged && t.told.is_some() && Pacer::due(t.last_frame) <= now)
        })?;
        let window = self.turns.remove(at)?;
        self.turns.push_back(window);
        Some(window)
    }

    /// Gets a window ready to be captured. Its mark is taken away: damage from now on marks it anew.
    pub fn begin_capture(&mut self, x: &X, window: Window) -> Result<Option<CaptureJob>> {
        let Some(tracked) = self.windows.get_mut(&window) else { return Ok(None) };
        tracked.damaged = false;
        let pixmap = match tracked.pixmap {
            Some(pixmap) => pixmap,
            None => {
                let pixmap = x.conn.generate_id()?;
                x.conn.composite_name_window_pixmap(window, pixmap)?;
                tracked.pixmap = Some(pixmap);
                pixmap
            }
        };
        let size = tracked.size();
        let whole = tracked.shadow.is_none();
        if whole {
            tracked.shadow = Some(Shadow::new(size));
            tracked.outline = tracked.translucent.then(|| Outline::new(size));
        }
        let (damage, border) = (tracked.damage, tracked.border);
        Ok(Some(CaptureJob { pixmap, damage, border, size, whole }))
    }

    /// Takes over captured pixels; says what differs from what the viewer has.
    pub fn shadow_take(&mut self, window: Window, rect: Rect, pixels: &mut [u8]) -> Vec<Rect> {
        // Only translucent windows have one; for all others this is over here.
        if let Some(mut outline) = self.windows.get_mut(&window).and_then(|t| t.outline.take()) {
            let backdrop = self.backdrop(window);
            let backed = backdrop.map_or(Rect::default(), |(shadow, (left, top))| Rect {
                x: -left,
                y: -top,
                ..shadow.area()
            });
            outline.take(rect, pixels, backed);
            lay_over(pixels, rect, backdrop);
            if let Some(tracked) = self.windows.get_mut(&window) {
                tracked.outline = Some(outline);
            }
        }
        let shadow = self.windows.get_mut(&window).and_then(|t| t.shadow.as_mut());
        shadow.map(|shadow| shadow.take(rect, pixels)).unwrap_or_default()
    }

    /// The picture of the window that a popup lies over, and the popup's place in it.
    fn backdrop(&self, window: Window) -> Option<(&Shadow, (i32, i32))> {
        let popup = self.windows.get(&window)?;
        let parent = self.windows.get(&popup.told.as_ref()?.parent?.0)?;
        let place = (popup.rect.x - parent.rect.x, popup.rect.y - parent.rect.y);
        Some((parent.shadow.as_ref()?, place))
    }

    /// Which part of a window is seen, if that changed.
    pub fn new_shape(&mut self, window: Window) -> Option<Shape> {
        self.windows.get_mut(&window)?.outline.as_mut()?.news()
    }

    pub fn shadow_bytes(&self, window: Window) -> Option<&[u8]> {
        self.windows.get(&window)?.shadow.as_ref().map(|shadow| shadow.bytes.as_slice())
    }

    /// The captured picture does not exist, or not any more. Mostly an event about that is on its
    /// way; but if the window manager only comes later no event tells, so it is tried again, ever
    /// more rarely, and at last given up until the window changes.
    pub fn lost_picture(&mut self, window: Window, now: Duration) {
        if let Some(tracked) = self.windows.get_mut(&window) {
            tracked.pixmap = None;
            tracked.shadow = None;
            if let Some(wait) = window::retry(tracked.failures) {
                tracked.failures += 1;
                tracked.damaged = true;
                tracked.last_frame = Some(now + wait);
            }
        }
    }

    pub fn sent(&mut self, window: Window, now: Duration) {
        if let Some(tracked) = self.windows.get_mut(&window) {
            tracked.last_frame = Some(now);
            tracked.failures = 0;
        }
    }
}

/// The tracker as the injector sees it.
pub(super) struct TrackerWithX<'a> {
    tracker: &'a mut Tracker,
    x: &'a X,
}

impl Windows for TrackerWithX<'_> {
    fn place(&self, window: WindowId) -> Option<Rect> {
        self.tracker.windows.get(&window.0).map(|t| t.rect)
    }

    fn stack(&self, window: WindowId) -> Vec<(u32, Rect)> {
        let windows = &self.tracker.windows;
        if windows.get(&window.0).is_none_or(|t| t.popup) {
            return Vec::new();
        }
        let managed = self.tracker.stack.iter().filter_map(|w| windows.get(w).map(|t| (*w, t)));
        managed.filter(|(_, t)| !t.popup).map(|(w, t)| (w, t.rect)).collect()
    }

    fn active(&self) -> Option<Window> {
        self.tracker.active
    }

    fn screen(&self) -> Rect {
        self.tracker.screen
    }

    fn resizing(&mut self, window: WindowId, size: Size, serial: u32) {
        let now = self.tracker.now;
        let screen = self.tracker.screen_size();
        if let Some(tracked) = self.tracker.windows.get_mut(&window.0) {
            let filling = tracked.told.as_ref().is_some_and(|t| t.state.maximized || t.state.fullscreen);
            let hints = tracked.told.as_ref().map(|t| t.hints).unwrap_or_default();
            let size = Size::new(size.width.min(screen.width), size.height.min(screen.height));
            let size = if filling { size } else { constrain(&hints, size) };
            tracked.resize = Some(PendingResize { serial, size, until: now + RESIZE_PATIENCE });
        }
    }

    fn clipboard(&mut self, text: String) -> Result<()> {
        self.tracker.clipboard.offer(&self.x.conn, &self.x.atoms, text)
    }

    fn has_popup(&self) -> bool {
        let windows = self.tracker.windows.values();
        windows.filter_map(|t| t.told.as_ref()).any(|t| t.popup && t.kind != WindowKind::Tooltip)
    }
}

fn read_active(x: &X) -> Option<Window> {
    x.words(x.root, x.atoms._NET_ACTIVE_WINDOW).first().copied().filter(|w| *w != 0)
}
