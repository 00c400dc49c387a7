//! Tells the desktop when the person last used Roam's window (EWMH's _NET_WM_USER_TIME), so that a window
//! that comes while they type here does not take the keyboard. The toolkit does not say it.
//!
//! On X11 only; elsewhere desktops know by themselves, and nothing here does anything.

use eframe::egui;

/// The person does something on purpose, as the pointer's passing is not.
#[must_use]
pub fn is_use(event: &egui::Event) -> bool {
    use egui::Event::{Key, PointerButton};
    matches!(event, Key { pressed: true, .. } | PointerButton { pressed: true, .. })
}

#[cfg(target_os = "linux")]
pub use x11::UserTime;

#[cfg(target_os = "linux")]
mod x11 {
    use eframe::Frame;
    use winit::raw_window_handle::{HasWindowHandle as _, RawWindowHandle};
    use x11rb::connection::Connection as _;
    use x11rb::errors::ReplyError;
    use x11rb::protocol::Event;
    use x11rb::protocol::xproto::{
        AtomEnum, ConnectionExt as _, CreateWindowAux, EventMask, PropMode, WindowClass,
    };
    use x11rb::rust_connection::RustConnection;
    use x11rb::wrapper::ConnectionExt as _;

    /// A connection of our own beside the toolkit's.
    pub struct UserTime {
        x: RustConnection,
        /// A window of our own, never shown, on which the server's time is read.
        clock: u32,
        property: u32,
    }

    impl UserTime {
        /// None where there is no X server: nobody has to be told then.
        #[must_use]
        pub fn new() -> Option<Self> {
            Self::connect().ok()
        }

        fn connect() -> Result<Self, Box<dyn std::error::Error>> {
            let (x, screen) = x11rb::connect(None)?;
            let root = x.setup().roots.get(screen).ok_or("no screen")?.root;
            let clock = x.generate_id()?;
            let wanted = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
            x.create_window(0, clock, root, -1, -1, 1, 1, 0, WindowClass::INPUT_ONLY, 0, &wanted)?.check()?;
            let property = x.intern_atom(false, b"_NET_WM_USER_TIME")?.reply()?.atom;
            Ok(Self { x, clock, property })
        }

        /// The person uses the window now.
        pub fn used(&self, frame: &Frame) {
            let window = match frame.window_handle().map(|handle| handle.as_raw()) {
                Ok(RawWindowHandle::Xlib(handle)) => u32::try_from(handle.window).ok(),
                Ok(RawWindowHandle::Xcb(handle)) => Some(handle.window.get()),
                _ => None,
            };
            if let Some(window) = window {
                // A server that has gone takes the window with it.
                let _ = self.stamp(window);
            }
        }

        fn stamp(&self, window: u32) -> Result<(), ReplyError> {
            let time = self.now()?.max(1);
            let (replace, kind) = (PropMode::REPLACE, AtomEnum::CARDINAL);
            self.x.change_property32(replace, window, self.property, kind, &[time])?;
            self.x.flush()?;
            Ok(())
        }

        /// The server's time: that of a change which changes nothing.
        fn now(&self) -> Result<u32, ReplyError> {
            let (append, kind) = (PropMode::APPEND, AtomEnum::CARDINAL);
            self.x.change_property32(append, self.clock, self.property, kind, &[])?;
            self.x.flush()?;
            loop {
                if let Event::PropertyNotify(event) = self.x.wait_for_event()?
                    && event.window == self.clock
                {
                    return Ok(event.time);
                }
            }
        }
    }
}

/// Systems without X11.
#[cfg(not(target_os = "linux"))]
pub struct UserTime;

#[cfg(not(target_os = "linux"))]
impl UserTime {
    /// Nobody has to be told.
    #[must_use]
    pub fn new() -> Option<Self> {
        None
    }

    /// Nobody has to be told.
    pub fn used(&self, _frame: &eframe::Frame) {}
}
