//! What the window toolkit has no word for, said to the person's X server directly: which window a
//! dialog belongs to, that it blocks it, and the keyboard where no window manager hands it out.

#[cfg(not(unix))]
use winit::window::Window;

#[cfg(unix)]
pub(crate) use x11::Native;

#[cfg(unix)]
mod x11 {
    use winit::raw_window_handle::{HasWindowHandle as _, RawWindowHandle};
    use winit::window::Window;
    use x11rb::connection::Connection;
    use x11rb::protocol::xproto::{AtomEnum, ConnectionExt as _, InputFocus, PropMode};
    use x11rb::wrapper::ConnectionExt as _;

    use crate::x11::X;

    /// The window's number in the X server.
    fn number_of(window: &Window) -> Option<u32> {
        match window.window_handle().ok()?.as_raw() {
            RawWindowHandle::Xlib(handle) => u32::try_from(handle.window).ok(),
            RawWindowHandle::Xcb(handle) => Some(handle.window.get()),
            _ => None,
        }
    }

    /// A connection of our own beside the toolkit's. Without one, nothing here does anything.
    pub(crate) struct Native {
        x: Option<X>,
    }

    impl Native {
        pub fn new() -> Self {
            Self { x: X::from_environment().ok() }
        }

        /// Whether somebody else places windows and hands out the keyboard.
        pub fn has_window_manager(&self) -> bool {
            self.x.as_ref().is_some_and(|x| !x.words(x.root, x.atoms._NET_SUPPORTING_WM_CHECK).is_empty())
        }

        /// Says before it is shown what the window belongs to, and whether it blocks that.
        pub fn belongs_to(&self, window: &Window, parent: Option<&Window>, modal: bool) {
            let (Some(x), Some(number)) = (&self.x, number_of(window)) else { return };
            let replace = PropMode::REPLACE;
            if let Some(parent) = parent.and_then(number_of) {
                let (property, kind) = (AtomEnum::WM_TRANSIENT_FOR, AtomEnum::WINDOW);
                let _ = x.conn.change_property32(replace, number, property, kind, &[parent]);
            }
            if modal {
                let (property, state) = (x.atoms._NET_WM_STATE, x.atoms._NET_WM_STATE_MODAL);
                let _ = x.conn.change_property32(replace, number, property, AtomEnum::ATOM, &[state]);
            }
            // Waits for the answer, so that it is there when the toolkit shows the window.
            let _ = x.conn.get_input_focus().map(|cookie| cookie.reply());
        }

        /// Gives the keyboard to a window, where no window manager does.
        pub fn focus(&self, window: &Window) {
            let (Some(x), Some(number)) = (&self.x, number_of(window)) else { return };
            let _ = x.conn.set_input_focus(InputFocus::PARENT, number, x11rb::CURRENT_TIME);
            let _ = x.conn.flush();
        }
    }
}

/// Systems without X11 do these things by themselves.
#[cfg(not(unix))]
pub(crate) struct Native;

#[cfg(not(unix))]
impl Native {
    pub fn new() -> Self {
        Self
    }

    pub fn has_window_manager(&self) -> bool {
        true
    }

    pub fn belongs_to(&self, _window: &Window, _parent: Option<&Window>, _modal: bool) {}

    pub fn focus(&self, _window: &Window) {}
}
