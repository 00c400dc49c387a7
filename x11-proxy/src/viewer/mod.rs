//! roam-viewer: shows a session's windows as native ones, and sends the person's input.
//!
//! It keeps no state of the session: at every attach the display tells everything, and when the
//! stream ends the windows close. Drawing happens as soon as a frame is whole, and is acknowledged
//! after that. It never waits for the network: threads of its own read and write the stream.

mod canvas;
mod input;
mod native;
mod outbound;
mod place;
mod shown;
mod stream;

use std::collections::HashMap;
use std::sync::mpsc::Receiver;
use std::time::SystemTime;

use anyhow::{Context as _, Result};
use roam_api::display::{Drag, Picture, ToDisplay, ToViewer, WindowId, WindowInfo, WindowKind};
use softbuffer::Context;
use winit::application::ApplicationHandler;
use winit::dpi::PhysicalPosition;
use winit::event::{ElementState, WindowEvent};
use winit::event_loop::{ActiveEventLoop, ControlFlow, EventLoop, OwnedDisplayHandle};
use winit::window::{CustomCursor, Icon, ResizeDirection, WindowId as NativeId};

use crate::codec::Decoder;
#[cfg(unix)]
use crate::features::clipboard::viewer::Clipboard;
use crate::features::cursor;
use crate::geometry::Rect;
use input::Input;
use native::Native;
use shown::Shown;
use stream::{News, Sender};

/// How a viewer is started.
pub struct Options {
    /// The inherited descriptor of the stream; none: standard input and output.
    pub fd: Option<i32>,
    /// Added to every window's title: where the app runs.
    pub title: String,
    /// Send no input.
    pub view_only: bool,
    /// When the person asked for the windows on this screen: they take the keyboard when they come,
    /// unless the person used another window since. None: somebody else asked, and they don't.
    pub asked: Option<SystemTime>,
}

/// How a stream ended that nobody broke.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// One of the windows had the keyboard.
    pub had_keyboard: bool,
}

/// Runs until the stream ends.
///
/// # Errors
/// If there is no screen to show windows on, or the display breaks the protocol.
pub fn run(options: Options) -> Result<Ended> {
    let ends = stream::open(options.fd)?;
    let event_loop = event_loop()?;
    event_loop.set_control_flow(ControlFlow::Wait);
    let context = Context::new(event_loop.owned_display_handle())
        .map_err(|e| anyhow::anyhow!("This screen can't be drawn to: {e}"))?;
    let proxy = event_loop.create_proxy();
    let news = stream::read(ends.reader, move || {
        let _ = proxy.send_event(Wake::News);
    })?;
    let sender = Sender::start(ends.writer)?;
    sender.send(ToDisplay::Attach);
    let mut viewer = Viewer {
        #[cfg(unix)]
        clipboard: watch_clipboard(&event_loop, options.view_only),
        copied: None,
        copied_told: None,
        context,
        news,
        input: Input::new(sender, options.view_only),
        title: options.title,
        view_only: options.view_only,
        windows: HashMap::new(),
        natives: HashMap::new(),
        icons: HashMap::new(),
        native: Native::new(options.asked),
        decoder: Decoder::new()?,
        cursor: Cursor::Default,
        focus: None,
        focus_told: None,
        fault: None,
    };
    event_loop.run_app(&mut viewer)?;
    match viewer.fault {
        Some(fault) => anyhow::bail!("The display stream broke off: {fault}"),
        None => Ok(Ended { had_keyboard: viewer.focus.is_some() }),
    }
}

#[cfg(unix)]
fn event_loop() -> Result<EventLoop<Wake>> {
    use winit::platform::x11::EventLoopBuilderExtX11 as _;
    // Menus and tooltips must be put at exact places, which only X11 (or XWayland) allows.
    EventLoop::with_user_event().with_x11().build().context("There is no screen to show windows on.")
}

#[cfg(not(unix))]
fn event_loop() -> Result<EventLoop<Wake>> {
    EventLoop::with_user_event().build().context("There is no screen to show windows on.")
}

#[cfg(unix)]
fn watch_clipboard(event_loop: &EventLoop<Wake>, view_only: bool) -> Option<Clipboard> {
    if view_only {
        return None;
    }
    let proxy = event_loop.create_proxy();
    // Without a clipboard everything else still works.
    Clipboard::watch(move |text| {
        let _ = proxy.send_event(Wake::Copied(text));
    })
    .ok()
}

/// What other threads wake the event loop with.
enum Wake {
    News,
    Copied(String),
}

/// The cursor over the app's windows.
enum Cursor {
    Default,
    Hidden,
    Image(CustomCursor),
}

struct Viewer {
    #[cfg(unix)]
    clipboard: Option<Clipboard>,
    /// The newest text that the person copied, and the one that the display knows.
    copied: Option<String>,
    copied_told: Option<String>,
    context: Context<OwnedDisplayHandle>,
    news: Receiver<News>,
    input: Input,
    title: String,
    view_only: bool,
    windows: HashMap<WindowId, Shown>,
    natives: HashMap<NativeId, WindowId>,
    /// Icons that came before their window was made.
    icons: HashMap<WindowId, Icon>,
    native: Native,
    decoder: Decoder,
    cursor: Cursor,
    focus: Option<WindowId>,
    focus_told: Option<WindowId>,
    fault: Option<String>,
}

impl ApplicationHandler<Wake> for Viewer {
    fn resumed(&mut self, _: &ActiveEventLoop) {}

    fn user_event(&mut self, event_loop: &ActiveEventLoop, wake: Wake) {
        match wake {
            Wake::News => {
                while let Ok(news) = self.news.try_recv() {
                    let end = match news {
                        News::Message(message) => self.on_message(event_loop, *message).err().map(Some),
                        News::Ended(fault) => Some(fault.map(|fault| anyhow::anyhow!(fault))),
                    };
                    if let Some(fault) = end {
                        self.fault = fault.map(|fault| format!("{fault:#}"));
                        event_loop.exit();
                        return;
                    }
                }
            }
            Wake::Copied(text) => {
                self.copied = Some(text);
                self.tell_copied();
            }
        }
    }

    fn window_event(&mut self, event_loop: &ActiveEventLoop, native: NativeId, event: WindowEvent) {
        let Some(&window) = self.natives.get(&native) else { return };
        if is_use(&event) {
            self.used(window);
        }
        let Some(shown) = self.windows.get_mut(&window) else { return };
        match event {
            WindowEvent::CloseRequested => self.input.send(ToDisplay::Close(window)),
            WindowEvent::RedrawRequested => shown.present(None),
            WindowEvent::Resized(size) => {
                for message in shown.resized(size) {
                    self.input.send(message);
                }
                shown.present(None);
                self.place_popups(window);
            }
            WindowEvent::Moved(_) => self.place_popups(window),
            WindowEvent::Focused(true) => {
                self.focus = Some(window);
                shown.noticed();
                // At once, so that the click that comes with it finds the window focused.
                self.tell_focus();
            }
            WindowEvent::Focused(false) => {
                if self.focus == Some(window) {
                    self.focus = None;
                }
            }
            WindowEvent::MouseInput { state: ElementState::Pressed, .. }
                if !shown.info.popup && !self.native.has_window_manager() =>
            {
                self.native.focus(&shown.window);
                self.input.on_event(shown, &event);
            }
            event => self.input.on_event(shown, &event),
        }
        let _ = event_loop;
    }

    fn about_to_wait(&mut self, _: &ActiveEventLoop) {
        // Only where the keyboard ended up counts: from one window to the next it passes nobody.
        self.tell_focus();
    }
}

/// The person does something on purpose, as the pointer's passing is not.
fn is_use(event: &WindowEvent) -> bool {
    match event {
        WindowEvent::KeyboardInput { event, is_synthetic, .. } => {
            !is_synthetic && event.state == ElementState::Pressed
        }
        WindowEvent::MouseInput { state, .. } => *state == ElementState::Pressed,
        _ => false,
    }
}

impl Viewer {
    /// The person uses a window; a menu is used for the window that has the keyboard.
    fn used(&mut self, window: WindowId) {
        let window = self.focus.unwrap_or(window);
        if let Some(shown) = self.windows.get(&window) {
            self.native.used(&shown.window);
        }
    }

    fn tell_focus(&mut self) {
        if self.focus == self.focus_told {
            return;
        }
        self.focus_told = self.focus;
        if self.focus.is_none() {
            self.input.release_all();
            if self.windows.values().any(|s| s.info.popup && s.info.kind == WindowKind::Menu) {
                self.input.send(ToDisplay::Dismiss);
            }
        }
        self.input.send(ToDisplay::Focus(self.focus));
        self.tell_copied();
    }

    fn on_message(&mut self, event_loop: &ActiveEventLoop, message: ToViewer) -> Result<()> {
        match message {
            ToViewer::Window(info) => self.on_window(event_loop, info)?,
            ToViewer::Icon { window, icon } => self.on_icon(window, &icon)?,
            ToViewer::Gone(window) => self.on_gone(window),
            ToViewer::Frame { number, window, size, tiles, last } => {
                if let Some(shown) = self.windows.get_mut(&window) {
                    shown.frame(size, &tiles, last, &mut self.decoder)?;
                    if last {
                        self.show_what_is_ready();
                    }
                }
                if last {
                    self.input.acknowledge(number);
                }
            }
            ToViewer::Cursor(cursor) => {
                self.cursor = match cursor {
                    None => Cursor::Hidden,
                    Some(cursor) => cursor::viewer::native(&cursor, &mut self.decoder, event_loop)?
                        .map_or(Cursor::Default, Cursor::Image),
                };
                for shown in self.windows.values() {
                    self.dress(shown);
                }
            }
            ToViewer::Clipboard(text) => self.on_copied_by_app(text),
            ToViewer::Activate(window) => {
                if let Some(shown) = self.windows.get(&window) {
                    shown.window.focus_window();
                }
            }
            ToViewer::Drag { window, drag } => {
                if let Some(shown) = self.windows.get(&window)
                    && !self.view_only
                {
                    // The window manager takes the pointer over, and the release with it.
                    self.input.release_buttons();
                    let _ = match drag {
                        Drag::Move => shown.window.drag_window(),
                        Drag::Edge(right, down) => match direction(right, down) {
                            Some(direction) => shown.window.drag_resize_window(direction),
                            None => Ok(()),
                        },
                    };
                }
            }
            ToViewer::Shape { window, shape } => {
                if let Some(shown) = self.windows.get(&window) {
                    self.native.shape(&shown.window, &shape);
                }
            }
            ToViewer::Screen(_) | ToViewer::Synced => {}
        }
        Ok(())
    }

    fn on_window(&mut self, event_loop: &ActiveEventLoop, info: WindowInfo) -> Result<()> {
        let id = info.window;
        if let Some(shown) = self.windows.get_mut(&id) {
            let moved = (shown.info.x, shown.info.y) != (info.x, info.y);
            let popup = info.popup;
            shown.update(info, &self.title);
            if moved && popup {
                self.place_popup(id);
            }
            return Ok(());
        }
        let alone = !self.native.has_window_manager();
        let position = (alone && !info.popup).then(|| PhysicalPosition::new(info.x, info.y));
        let shown = Shown::new(event_loop, &self.context, info, &self.title, position)?;
        let parent = shown.info.parent.and_then(|p| self.windows.get(&p));
        self.native.belongs_to(&shown.window, parent.map(|p| &*p.window), shown.info.state.modal);
        self.dress(&shown);
        if let Some(icon) = self.icons.remove(&id) {
            shown.window.set_window_icon(Some(icon));
        }
        self.natives.insert(shown.window.id(), id);
        self.windows.insert(id, shown);
        Ok(())
    }

    fn on_icon(&mut self, window: WindowId, icon: &Picture) -> Result<()> {
        let rgba = self.decoder.picture(icon)?;
        let icon = Icon::from_rgba(rgba, icon.size.width.into(), icon.size.height.into())?;
        match self.windows.get(&window) {
            Some(shown) => shown.window.set_window_icon(Some(icon)),
            None => {
                self.icons.insert(window, icon);
                // Bounded: icons of windows that never came are forgotten.
                if self.icons.len() > 64 {
                    self.icons.clear();
                }
            }
        }
        Ok(())
    }

    fn on_gone(&mut self, window: WindowId) {
        if let Some(shown) = self.windows.remove(&window) {
            self.natives.remove(&shown.window.id());
        }
        if self.focus == Some(window) {
            self.focus = None;
        }
        self.icons.remove(&window);
    }

    /// Gives a window the cursor of the moment.
    fn dress(&self, shown: &Shown) {
        match &self.cursor {
            Cursor::Default => {
                shown.window.set_cursor_visible(true);
                shown.window.set_cursor(winit::window::Cursor::default());
            }
            Cursor::Hidden => shown.window.set_cursor_visible(false),
            Cursor::Image(image) => {
                shown.window.set_cursor_visible(true);
                shown.window.set_cursor(image.clone());
            }
        }
    }

    /// Shows windows that have pixels. A popup waits for its parent, whose place decides its own.
    fn show_what_is_ready(&mut self) {
        loop {
            let ready = self.windows.values().find(|shown| {
                let parent = shown.info.parent.and_then(|p| self.windows.get(&p));
                !shown.visible && shown.is_ready() && (!shown.info.popup || parent.is_none_or(|p| p.visible))
            });
            let Some(id) = ready.map(Shown::id) else { return };
            self.place_popup(id);
            if let Some(shown) = self.windows.get_mut(&id) {
                if shown.info.popup {
                    shown.show(true);
                    continue;
                }
                let wanted = self.native.comes(&shown.window);
                shown.show(wanted);
                if wanted && !self.native.has_window_manager() {
                    self.native.focus(&shown.window);
                }
            }
        }
    }

    /// Puts a popup where it belongs on this screen.
    fn place_popup(&mut self, id: WindowId) {
        let Some(shown) = self.windows.get(&id).filter(|shown| shown.info.popup) else { return };
        let info = &shown.info;
        let rect = Rect::new(info.x, info.y, info.size.width.into(), info.size.height.into());
        let parent = info.parent.and_then(|p| self.windows.get(&p));
        let here = match parent {
            Some(parent) => {
                let Ok(at) = parent.window.inner_position() else { return };
                let monitor = parent.window.current_monitor().map(|m| {
                    let (position, size) = (m.position(), m.size());
                    Rect::new(position.x, position.y, size.width as i32, size.height as i32)
                });
                place::popup((parent.info.x, parent.info.y), (at.x, at.y), rect, monitor)
            }
            None => (rect.x, rect.y),
        };
        shown.window.set_outer_position(PhysicalPosition::new(here.0, here.1));
    }

    /// A window moved: its popups follow.
    fn place_popups(&mut self, parent: WindowId) {
        let children: Vec<WindowId> = self
            .windows
            .values()
            .filter(|s| s.info.popup && s.info.parent == Some(parent))
            .map(Shown::id)
            .collect();
        for child in children {
            self.place_popup(child);
        }
    }

    fn on_copied_by_app(&mut self, text: String) {
        if self.view_only {
            return;
        }
        #[cfg(unix)]
        if let Some(clipboard) = &self.clipboard {
            let _ = clipboard.offer(text.clone());
        }
        self.copied_told = Some(text.clone());
        self.copied = Some(text);
    }

    /// The person's clipboard is told only to an app that the person is using.
    fn tell_copied(&mut self) {
        if self.focus.is_none() || self.copied == self.copied_told {
            return;
        }
        self.copied_told = self.copied.clone();
        if let Some(text) = self.copied.clone() {
            self.input.send(ToDisplay::Clipboard(text));
        }
    }
}

fn direction(right: i8, down: i8) -> Option<ResizeDirection> {
    Some(match (right, down) {
        (-1, -1) => ResizeDirection::NorthWest,
        (0, -1) => ResizeDirection::North,
        (1, -1) => ResizeDirection::NorthEast,
        (1, 0) => ResizeDirection::East,
        (1, 1) => ResizeDirection::SouthEast,
        (0, 1) => ResizeDirection::South,
        (-1, 1) => ResizeDirection::SouthWest,
        (-1, 0) => ResizeDirection::West,
        _ => return None,
    })
}
