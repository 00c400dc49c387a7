//! One native window that shows a window of the app.

use std::num::NonZeroU32;
use std::sync::Arc;

use anyhow::Result;
use roam_api::display::{Size, Tile, ToDisplay, WindowId, WindowInfo, WindowKind};
use softbuffer::{Context, Surface};
use winit::dpi::{PhysicalPosition, PhysicalSize};
use winit::event_loop::{ActiveEventLoop, OwnedDisplayHandle};
use winit::window::{Fullscreen, Window, WindowAttributes, WindowLevel};

use super::canvas::Canvas;
use crate::codec::Decoder;
use crate::geometry::Rect;

/// A native window and what it shows.
pub(crate) struct Shown {
    pub window: Arc<Window>,
    surface: Surface<OwnedDisplayHandle, Arc<Window>>,
    canvas: Canvas,
    pub info: WindowInfo,
    /// The native window's inside.
    native: Size,
    /// The size that the surface has.
    surface_size: Size,
    /// The number of the newest resize that this viewer asked for.
    serial: u32,
    /// What was told or applied last: maximised and fullscreen.
    filling: (bool, bool),
    /// Shown once there are pixels, so that nobody sees an empty window.
    pub visible: bool,
    /// It came without the keyboard, and the person has not turned to it yet.
    waits: bool,
    /// Where the pointer was last, in this window.
    pub pointer: (i32, i32),
    /// The part of a frame that came with its earlier messages.
    pending: Rect,
}

/// The last thing that a window title says: where the app runs.
pub(crate) fn title(info: &WindowInfo, suffix: &str) -> String {
    match (info.title.is_empty(), suffix.is_empty()) {
        (_, true) => info.title.clone(),
        (true, false) => suffix.to_owned(),
        (false, false) => format!("{} — {suffix}", info.title),
    }
}

impl Shown {
    pub fn new(
        event_loop: &ActiveEventLoop,
        context: &Context<OwnedDisplayHandle>,
        info: WindowInfo,
        suffix: &str,
        position: Option<PhysicalPosition<i32>>,
    ) -> Result<Self> {
        let mut attributes = Window::default_attributes()
            .with_title(title(&info, suffix))
            .with_inner_size(physical(info.size))
            .with_decorations(info.decorated)
            .with_active(!info.popup)
            .with_visible(false);
        attributes.min_inner_size = wish(info.hints.min).map(Into::into);
        attributes.max_inner_size = wish(info.hints.max).map(Into::into);
        attributes.resize_increments = wish(info.hints.increment).map(Into::into);
        attributes.position = position.map(Into::into);
        attributes.maximized = info.state.maximized;
        if info.state.fullscreen {
            attributes.fullscreen = Some(Fullscreen::Borderless(None));
        }
        if info.state.above {
            attributes.window_level = WindowLevel::AlwaysOnTop;
        }
        let window = Arc::new(event_loop.create_window(for_platform(attributes, &info))?);
        let surface = Surface::new(context, window.clone())
            .map_err(|e| anyhow::anyhow!("The window can't be drawn to: {e}"))?;
        Ok(Self {
            native: info.size,
            surface_size: Size::default(),
            serial: 0,
            filling: (info.state.maximized, info.state.fullscreen),
            visible: false,
            waits: false,
            pointer: (0, 0),
            pending: Rect::default(),
            canvas: Canvas::default(),
            window,
            surface,
            info,
        })
    }

    pub fn id(&self) -> WindowId {
        self.info.window
    }

    /// The app's window changed: the native one follows.
    pub fn update(&mut self, info: WindowInfo, suffix: &str) {
        let old = std::mem::replace(&mut self.info, info);
        let info = &self.info;
        if old.title != info.title {
            self.window.set_title(&title(info, suffix));
        }
        if old.hints != info.hints {
            self.window.set_min_inner_size(wish(info.hints.min));
            self.window.set_max_inner_size(wish(info.hints.max));
            self.window.set_resize_increments(wish(info.hints.increment));
        }
        if old.decorated != info.decorated {
            self.window.set_decorations(info.decorated);
        }
        if old.state.above != info.state.above {
            let level = if info.state.above { WindowLevel::AlwaysOnTop } else { WindowLevel::Normal };
            self.window.set_window_level(level);
        }
        if old.state.urgent != info.state.urgent {
            let urgent = info.state.urgent.then_some(winit::window::UserAttentionType::Informational);
            self.window.request_user_attention(urgent);
        }
        if old.state.minimized != info.state.minimized {
            self.window.set_minimized(info.state.minimized);
        }
        let filling = (info.state.maximized, info.state.fullscreen);
        if filling != self.filling {
            if filling.0 != self.filling.0 {
                self.window.set_maximized(filling.0);
            }
            if filling.1 != self.filling.1 {
                self.window.set_fullscreen(filling.1.then_some(Fullscreen::Borderless(None)));
            }
            self.filling = filling;
        }
        // The app's own wish counts if it knows what was asked of it last.
        if info.size != self.native && info.resize_serial == self.serial && filling == (false, false) {
            let _ = self.window.request_inner_size(physical(info.size));
        }
    }

    /// The native window has this size now; gives what the app must be told.
    pub fn resized(&mut self, size: PhysicalSize<u32>) -> Vec<ToDisplay> {
        let side = |length: u32| length.clamp(1, u32::from(roam_api::display::MAX_SIDE)) as u16;
        let native = Size::new(side(size.width), side(size.height));
        let mut messages = Vec::new();
        if self.info.popup {
            self.native = native;
            return messages;
        }
        let filling = (self.window.is_maximized(), self.window.fullscreen().is_some());
        if filling != self.filling {
            self.filling = filling;
            let (maximized, fullscreen) = filling;
            messages.push(ToDisplay::State { window: self.id(), maximized, fullscreen });
        }
        let changed = native != self.native;
        self.native = native;
        if changed && native != self.info.size {
            self.serial += 1;
            messages.push(ToDisplay::Resize { window: self.id(), size: native, serial: self.serial });
        }
        messages
    }

    /// New pixels; once the frame is whole they are shown.
    pub fn frame(&mut self, size: Size, tiles: &[Tile], last: bool, decoder: &mut Decoder) -> Result<()> {
        let around = self.canvas.draw(size, tiles, decoder)?;
        self.pending = self.pending.union(around);
        if !last {
            return Ok(());
        }
        let changed = std::mem::take(&mut self.pending);
        if self.visible {
            self.present(Some(changed));
        }
        Ok(())
    }

    /// There is something to show.
    pub fn is_ready(&self) -> bool {
        !self.canvas.is_empty()
    }

    /// Shows it. One that does not take the keyboard asks for attention until it is turned to.
    pub fn show(&mut self, takes_keyboard: bool) {
        self.visible = true;
        if !takes_keyboard && self.info.kind == WindowKind::Normal {
            self.waits = true;
            self.window.request_user_attention(Some(winit::window::UserAttentionType::Informational));
        }
        self.window.set_visible(true);
        self.present(None);
    }

    /// The person turned to it.
    pub fn noticed(&mut self) {
        if std::mem::take(&mut self.waits) && !self.info.state.urgent {
            self.window.request_user_attention(None);
        }
    }

    /// Draws; none: everything. A window that can't be drawn to is about to go.
    pub fn present(&mut self, changed: Option<Rect>) {
        if self.canvas.is_empty() {
            return;
        }
        let size = self.native;
        let (Some(width), Some(height)) =
            (NonZeroU32::new(size.width.into()), NonZeroU32::new(size.height.into()))
        else {
            return;
        };
        let mut changed = changed;
        if self.surface_size != size {
            if self.surface.resize(width, height).is_err() {
                return;
            }
            (self.surface_size, changed) = (size, None);
        }
        let Ok(mut buffer) = self.surface.buffer_mut() else { return };
        let stride = usize::from(size.width);
        let _ = match changed {
            // A larger native window repeats the edge, which may have changed too.
            Some(rect) if buffer.age() == 1 && self.info.size == size => {
                self.canvas.copy(rect, &mut buffer, stride);
                let side = |length: i32| NonZeroU32::new(length.max(1) as u32).unwrap_or(NonZeroU32::MIN);
                let clipped = rect.intersection(Rect::new(0, 0, size.width.into(), size.height.into()));
                if clipped.is_empty() {
                    return;
                }
                buffer.present_with_damage(&[softbuffer::Rect {
                    x: clipped.x as u32,
                    y: clipped.y as u32,
                    width: side(clipped.width),
                    height: side(clipped.height),
                }])
            }
            _ => {
                self.canvas.copy_all(&mut buffer, stride);
                buffer.present()
            }
        };
    }
}

fn physical(size: Size) -> PhysicalSize<u32> {
    PhysicalSize::new(size.width.into(), size.height.into())
}

/// Zero stands for "no wish".
fn wish(size: Size) -> Option<PhysicalSize<u32>> {
    (size.width > 0 && size.height > 0).then(|| physical(size))
}

#[cfg(unix)]
fn for_platform(attributes: WindowAttributes, info: &WindowInfo) -> WindowAttributes {
    use winit::platform::x11::{WindowAttributesExtX11 as _, WindowType};
    let kind = match info.kind {
        WindowKind::Normal => WindowType::Normal,
        WindowKind::Dialog => WindowType::Dialog,
        WindowKind::Utility => WindowType::Utility,
        WindowKind::Splash => WindowType::Splash,
        WindowKind::Menu => WindowType::PopupMenu,
        WindowKind::Tooltip => WindowType::Tooltip,
    };
    let mut attributes = attributes
        .with_name(info.class.clone(), info.class.to_lowercase())
        .with_x11_window_type(vec![kind])
        .with_override_redirect(info.popup);
    if let Some(base) = wish(info.hints.base) {
        attributes = attributes.with_base_size(base);
    }
    attributes
}

#[cfg(windows)]
fn for_platform(attributes: WindowAttributes, info: &WindowInfo) -> WindowAttributes {
    use winit::platform::windows::WindowAttributesExtWindows as _;
    let attributes = attributes.with_skip_taskbar(info.popup || info.kind == WindowKind::Utility);
    if info.popup { attributes.with_window_level(WindowLevel::AlwaysOnTop) } else { attributes }
}

#[cfg(not(any(unix, windows)))]
fn for_platform(attributes: WindowAttributes, _info: &WindowInfo) -> WindowAttributes {
    attributes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_title_says_where_the_app_runs() {
        let mut info = WindowInfo {
            window: WindowId(1),
            x: 0,
            y: 0,
            size: Size::new(1, 1),
            resize_serial: 0,
            kind: WindowKind::Normal,
            popup: false,
            parent: None,
            title: "notes".to_owned(),
            class: String::new(),
            hints: roam_api::display::SizeHints::default(),
            state: roam_api::display::WindowState::default(),
            decorated: true,
            focusable: true,
        };
        assert_eq!(title(&info, "pad@desk"), "notes — pad@desk");
        assert_eq!(title(&info, ""), "notes");
        info.title.clear();
        assert_eq!(title(&info, "pad@desk"), "pad@desk");
    }
}
