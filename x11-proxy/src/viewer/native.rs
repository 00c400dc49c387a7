//! What the window toolkit has no word for, said to the person's X server directly: which window a
//! dialog belongs to, that it blocks it, which part of a menu is seen, who gets the keyboard when a window comes, and the keyboard
//! where no window manager hands it out.
//!
//! A window that comes takes the keyboard if the person asked for it on this screen and has not typed or
//! clicked in the window in front since: EWMH's rule of user times (_NET_WM_USER_TIME). It is kept here
//! too, because not every window manager compares the times; all know that 0 means "not now".

#[cfg(not(unix))]
use winit::window::Window;

#[cfg(unix)]
pub(crate) use x11::Native;

#[cfg(unix)]
mod x11 {
    use std::time::SystemTime;

    use roam_api::display::{Part, Shape};
    use winit::raw_window_handle::{HasWindowHandle as _, RawWindowHandle};
    use winit::window::Window;
    use x11rb::connection::Connection;
    use x11rb::protocol::Event;
    use x11rb::protocol::shape::{ConnectionExt as _, SK, SO};
    use x11rb::protocol::xproto::{
        AtomEnum, ClipOrdering, ConnectionExt as _, CreateWindowAux, EventMask, InputFocus, PropMode,
        Rectangle, Window as Number, WindowClass,
    };
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
        /// A window of our own, never shown, on which the server's time is read.
        clock: Number,
        /// When the person last did something for this session, in the server's milliseconds; 0: never here.
        used: u32,
    }

    impl Native {
        /// `asked`: when the person asked here for the session's windows; none: somebody else did.
        pub fn new(asked: Option<SystemTime>) -> Self {
            let mut native = Self { x: X::from_environment().ok(), clock: x11rb::NONE, used: 0 };
            native.clock = native.make_clock().unwrap_or(x11rb::NONE);
            if let (Some(asked), Some(now)) = (asked, native.now()) {
                let ago = asked.elapsed().unwrap_or_default();
                native.used = now.wrapping_sub(ago.as_millis() as u32).max(1);
            }
            native
        }

        fn make_clock(&self) -> Option<Number> {
            let x = self.x.as_ref()?;
            let window = x.conn.generate_id().ok()?;
            let wanted = CreateWindowAux::new().event_mask(EventMask::PROPERTY_CHANGE);
            let only = WindowClass::INPUT_ONLY;
            x.conn.create_window(0, window, x.root, -1, -1, 1, 1, 0, only, 0, &wanted).ok()?.check().ok()?;
            Some(window)
        }

        /// The server's time: that of a change which changes nothing.
        fn now(&self) -> Option<u32> {
            let x = self.x.as_ref().filter(|_| self.clock != x11rb::NONE)?;
            let (append, property) = (PropMode::APPEND, x.atoms._NET_WM_USER_TIME);
            x.conn.change_property32(append, self.clock, property, AtomEnum::CARDINAL, &[]).ok()?;
            x.conn.flush().ok()?;
            loop {
                if let Event::PropertyNotify(event) = x.conn.wait_for_event().ok()?
                    && event.window == self.clock
                {
                    return Some(event.time.max(1));
                }
            }
        }

        /// The person typed or clicked in this window.
        pub fn used(&mut self, window: &Window) {
            let Some(now) = self.now() else { return };
            self.used = now;
            self.stamp(window, now);
        }

        /// Says before a window is shown whether it may take the keyboard; true if it may.
        pub fn comes(&self, window: &Window) -> bool {
            let time = if self.is_wanted() { self.used } else { 0 };
            self.stamp(window, time);
            time != 0
        }

        fn stamp(&self, window: &Window, time: u32) {
            let (Some(x), Some(number)) = (&self.x, number_of(window)) else { return };
            let (replace, property) = (PropMode::REPLACE, x.atoms._NET_WM_USER_TIME);
            let _ = x.conn.change_property32(replace, number, property, AtomEnum::CARDINAL, &[time]);
            // Waits for the answer, so that it is there when the toolkit shows the window.
            let _ = x.conn.get_input_focus().map(|cookie| cookie.reply());
        }

        /// The person wants to go on with this session: asked for it here, and did nothing in the window
        /// in front since.
        fn is_wanted(&self) -> bool {
            let Some(x) = &self.x else { return false };
            let first = |window: Number, property: u32| x.words(window, property).first().copied();
            let front = first(x.root, x.atoms._NET_ACTIVE_WINDOW).filter(|&front| front != 0);
            let used_last = front.and_then(|front| {
                let teller = first(front, x.atoms._NET_WM_USER_TIME_WINDOW).unwrap_or(front);
                first(teller, x.atoms._NET_WM_USER_TIME)
            });
            self.used != 0 && used_last.is_none_or(|last| !is_later(last, self.used))
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

        /// Cuts a window to the parts of it that are seen. A server that can't shows all of it.
        pub fn shape(&self, window: &Window, shape: &Shape) {
            let (Some(x), Some(number)) = (&self.x, number_of(window)) else { return };
            let (set, bounding) = (SO::SET, SK::BOUNDING);
            let _ = match shape {
                Shape::Whole => x.conn.shape_mask(set, bounding, number, 0, 0, x11rb::NONE).map(drop),
                Shape::Parts(parts) => {
                    let rect = |part: &Part| Rectangle {
                        x: part.x as i16,
                        y: part.y as i16,
                        width: part.size.width,
                        height: part.size.height,
                    };
                    let rects: Vec<Rectangle> = parts.iter().map(rect).collect();
                    let order = ClipOrdering::UNSORTED;
                    x.conn.shape_rectangles(set, bounding, order, number, 0, 0, &rects).map(drop)
                }
            };
            let _ = x.conn.flush();
        }

        /// Gives the keyboard to a window, where no window manager does.
        pub fn focus(&self, window: &Window) {
            let (Some(x), Some(number)) = (&self.x, number_of(window)) else { return };
            let _ = x.conn.set_input_focus(InputFocus::PARENT, number, x11rb::CURRENT_TIME);
            let _ = x.conn.flush();
        }
    }

    /// The server's time begins anew every 49 days: of two times, the later one is less than half of that ahead.
    fn is_later(time: u32, than: u32) -> bool {
        time != than && time.wrapping_sub(than) < 1 << 31
    }

    #[cfg(test)]
    mod tests {
        use super::is_later;

        #[test]
        fn times_are_compared_across_their_wrap() {
            assert!(is_later(5, 4) && !is_later(4, 5) && !is_later(4, 4));
            assert!(is_later(3, u32::MAX - 3) && !is_later(u32::MAX - 3, 3));
        }
    }
}

/// Systems without X11 do these things by themselves.
#[cfg(not(unix))]
pub(crate) struct Native {
    asked: bool,
}

#[cfg(not(unix))]
impl Native {
    pub fn new(asked: Option<std::time::SystemTime>) -> Self {
        Self { asked: asked.is_some() }
    }

    pub fn used(&mut self, _window: &Window) {
        self.asked = true;
    }

    pub fn comes(&self, _window: &Window) -> bool {
        self.asked
    }

    pub fn has_window_manager(&self) -> bool {
        true
    }

    pub fn belongs_to(&self, _window: &Window, _parent: Option<&Window>, _modal: bool) {}

    pub fn shape(&self, _window: &Window, _shape: &roam_api::display::Shape) {}

    pub fn focus(&self, _window: &Window) {}
}
