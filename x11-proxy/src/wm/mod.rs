//! roam-wm: the window manager inside the pod.
//!
//! An ordinary X11 client with one socket and no timers, carried along when the session moves. It
//! holds what must survive a move and a killed display: the window-manager selection, the redirect
//! of all windows into off-screen pictures, the keyboard focus, the save-set. Decisions are made in
//! [`model`]; this file only reads events and carries out effects. Windows are never given frames:
//! they are seen through viewers, which frame them natively. roam-display speaks to it as any pager
//! does, by EWMH messages. It refuses to start beside another window manager.

pub(crate) mod hints;
pub(crate) mod model;
mod place;

use anyhow::{Context as _, Result};
use roam_api::display::{Size, WindowState};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::composite::{self, ConnectionExt as _};
use x11rb::protocol::xproto::{
    AtomEnum, AutoRepeatMode, ChangeKeyboardControlAux, ChangeWindowAttributesAux, ClientMessageEvent,
    ConfigWindow, ConfigureNotifyEvent, ConfigureRequestEvent, ConfigureWindowAux, ConnectionExt as _,
    CreateWindowAux, EventMask, InputFocus, MapState, PropMode, StackMode, Window, WindowClass,
};
use x11rb::wrapper::ConnectionExt as _;

use crate::geometry::Rect;
use crate::x11::X;
use model::{Effect, Input, Model};

/// ICCCM WM_STATE.
const WITHDRAWN: u32 = 0;
const NORMAL: u32 = 1;
const ICONIC: u32 = 3;

/// Runs until the X server ends.
///
/// # Errors
/// If there is no X server, it lacks the Composite extension, or another window manager runs.
pub fn run() -> Result<()> {
    Manager::start()?.serve()
}

struct Manager {
    x: X,
    model: Model,
    /// A small window of our own: proof of who we are, and the keyboard's place while nobody has it.
    own: Window,
    /// The newest server time seen, for WM_TAKE_FOCUS.
    time: u32,
}

impl Manager {
    fn start() -> Result<Self> {
        let x = X::from_environment()?;
        let screen = &x.conn.setup().roots[x.screen];
        let area = Rect::new(0, 0, screen.width_in_pixels.into(), screen.height_in_pixels.into());
        let own = x.conn.generate_id()?;
        x.conn.create_window(
            0,
            own,
            x.root,
            -10,
            -10,
            1,
            1,
            0,
            WindowClass::INPUT_ONLY,
            0,
            &CreateWindowAux::new().override_redirect(1).event_mask(EventMask::PROPERTY_CHANGE),
        )?;
        x.conn.map_window(own)?;
        x.conn
            .change_window_attributes(
                x.root,
                &ChangeWindowAttributesAux::new().event_mask(
                    EventMask::SUBSTRUCTURE_REDIRECT
                        | EventMask::SUBSTRUCTURE_NOTIFY
                        | EventMask::STRUCTURE_NOTIFY
                        | EventMask::PROPERTY_CHANGE,
                ),
            )?
            .check()
            .context("Another window manager runs on this display. Stop it first.")?;
        x.conn.set_selection_owner(own, x.atoms.WM_S0, x11rb::CURRENT_TIME)?;
        x.conn.composite_query_version(0, 4)?.reply().context("The X server has no Composite extension.")?;
        x.conn
            .composite_redirect_subwindows(x.root, composite::Redirect::MANUAL)?
            .check()
            .context("Another program redirects the windows of this display. Stop it first.")?;
        // Keys are repeated at the person's keyboard; a repeat of our own would run away when the
        // network drops a release.
        x.conn.change_keyboard_control(
            &ChangeKeyboardControlAux::new().auto_repeat_mode(AutoRepeatMode::OFF),
        )?;
        let manager = Self { x, model: Model::new(area), own, time: x11rb::CURRENT_TIME };
        manager.set_root_cursor()?;
        manager.announce(area)?;
        Ok(manager)
    }

    fn serve(mut self) -> Result<()> {
        let present = self.x.conn.query_tree(self.x.root)?.reply()?.children;
        for window in present {
            let Ok(attributes) = self.x.conn.get_window_attributes(window)?.reply() else { continue };
            if attributes.map_state == MapState::VIEWABLE && !attributes.override_redirect {
                self.manage(window)?;
            }
        }
        loop {
            self.x.conn.flush()?;
            let event = self.x.conn.wait_for_event()?;
            self.on_event(event)?;
        }
    }

    fn on_event(&mut self, event: Event) -> Result<()> {
        match event {
            Event::MapRequest(e) => self.manage(e.window)?,
            Event::ConfigureRequest(e) => self.on_configure_request(&e)?,
            Event::UnmapNotify(e) if e.event == self.x.root => self.step(Input::Gone(e.window))?,
            Event::DestroyNotify(e) => self.step(Input::Gone(e.window))?,
            Event::ReparentNotify(e) if e.parent != self.x.root => self.step(Input::Gone(e.window))?,
            Event::ConfigureNotify(e) if e.window == self.x.root => {
                let area = Rect::new(0, 0, e.width.into(), e.height.into());
                self.announce(area)?;
                self.step(Input::Screen(area))?;
            }
            Event::PropertyNotify(e) => {
                self.time = e.time;
                let decisive = [
                    u32::from(AtomEnum::WM_NORMAL_HINTS),
                    AtomEnum::WM_HINTS.into(),
                    AtomEnum::WM_TRANSIENT_FOR.into(),
                    self.x.atoms.WM_PROTOCOLS,
                    self.x.atoms._NET_WM_WINDOW_TYPE,
                ];
                if self.model.manages(e.window) && decisive.contains(&e.atom) {
                    let properties = self.x.properties(e.window);
                    self.step(Input::Changed { window: e.window, properties })?;
                }
            }
            Event::ClientMessage(e) => self.on_message(&e)?,
            // Errors name windows that are gone meanwhile; there is nothing to mend.
            _ => {}
        }
        Ok(())
    }

    /// A window asks to be shown, or was there before us.
    fn manage(&mut self, window: Window) -> Result<()> {
        let (geometry, properties) = (self.x.conn.get_geometry(window)?.reply(), self.x.properties(window));
        let Ok(geometry) = geometry else { return Ok(()) };
        if !self.model.manages(window) {
            self.x.conn.change_window_attributes(
                window,
                &ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE),
            )?;
        }
        let rect =
            Rect::new(geometry.x.into(), geometry.y.into(), geometry.width.into(), geometry.height.into());
        let state = WindowState { minimized: false, ..self.x.state(window) };
        self.step(Input::Map { window, rect, properties, state })
    }

    fn on_configure_request(&mut self, e: &ConfigureRequestEvent) -> Result<()> {
        if !self.model.manages(e.window) {
            // Not shown yet, or none of ours: as it asks, so that its size is known when it is mapped.
            self.x.conn.configure_window(e.window, &ConfigureWindowAux::from_configure_request(e))?;
            return Ok(());
        }
        let asked = |bit: ConfigWindow, value: i32| (e.value_mask.contains(bit)).then_some(value);
        self.step(Input::Configure {
            window: e.window,
            x: asked(ConfigWindow::X, e.x.into()),
            y: asked(ConfigWindow::Y, e.y.into()),
            width: asked(ConfigWindow::WIDTH, e.width.into()),
            height: asked(ConfigWindow::HEIGHT, e.height.into()),
            raise: e.value_mask.contains(ConfigWindow::STACK_MODE) && e.stack_mode == StackMode::ABOVE,
        })
    }

    fn on_message(&mut self, e: &ClientMessageEvent) -> Result<()> {
        if e.format != 32 {
            return Ok(());
        }
        let (data, a) = (e.data.as_data32(), &self.x.atoms);
        if e.type_ == a._NET_ACTIVE_WINDOW {
            // Roam's display says "nobody" with the root window.
            let window = (e.window != self.x.root).then_some(e.window);
            self.step(Input::Activate(window))
        } else if e.type_ == a._NET_CLOSE_WINDOW {
            self.step(Input::Close(e.window))
        } else if e.type_ == a._NET_MOVERESIZE_WINDOW {
            let side = |word: u32| u16::try_from(word.clamp(1, 32_767)).unwrap_or(1);
            self.step(Input::Resize { window: e.window, size: Size::new(side(data[3]), side(data[4])) })
        } else if e.type_ == a._NET_WM_STATE {
            let Some(state) = self.model.state_of(e.window) else { return Ok(()) };
            let state = self.changed_state(state, data);
            self.step(Input::State { window: e.window, state })
        } else if e.type_ == a.WM_CHANGE_STATE && data[0] == ICONIC {
            let Some(state) = self.model.state_of(e.window) else { return Ok(()) };
            self.step(Input::State { window: e.window, state: WindowState { minimized: true, ..state } })
        } else if e.type_ == a._NET_REQUEST_FRAME_EXTENTS {
            self.cardinals(e.window, a._NET_FRAME_EXTENTS, &[0; 4])
        } else {
            Ok(())
        }
    }

    /// _NET_WM_STATE: remove, add or toggle up to two states.
    fn changed_state(&self, mut state: WindowState, data: [u32; 5]) -> WindowState {
        let a = &self.x.atoms;
        let change = |flag: &mut bool| {
            *flag = match data[0] {
                0 => false,
                1 => true,
                _ => !*flag,
            }
        };
        // Both maximised states come together in one message; apart they are not told apart here.
        let maximise = [a._NET_WM_STATE_MAXIMIZED_HORZ, a._NET_WM_STATE_MAXIMIZED_VERT];
        if data[1..3].iter().any(|atom| maximise.contains(atom)) {
            change(&mut state.maximized);
        }
        for atom in &data[1..3] {
            if *atom == a._NET_WM_STATE_FULLSCREEN {
                change(&mut state.fullscreen);
            } else if *atom == a._NET_WM_STATE_MODAL {
                change(&mut state.modal);
            } else if *atom == a._NET_WM_STATE_ABOVE {
                change(&mut state.above);
            } else if *atom == a._NET_WM_STATE_DEMANDS_ATTENTION {
                change(&mut state.urgent);
            } else if *atom == a._NET_WM_STATE_HIDDEN {
                change(&mut state.minimized);
            }
        }
        state
    }

    fn step(&mut self, input: Input) -> Result<()> {
        for effect in self.model.handle(input) {
            self.carry_out(effect)?;
        }
        Ok(())
    }

    fn carry_out(&self, effect: Effect) -> Result<()> {
        let (conn, a) = (&self.x.conn, &self.x.atoms);
        match effect {
            Effect::Configure(window, r) => {
                let values = ConfigureWindowAux::new().x(r.x).y(r.y).border_width(0);
                conn.configure_window(window, &values.width(r.width as u32).height(r.height as u32))?;
            }
            Effect::Notify(window, r) => self.notify(window, r)?,
            Effect::Show(window) => {
                self.cardinals(window, a._NET_FRAME_EXTENTS, &[0; 4])?;
                self.atoms(
                    window,
                    a._NET_WM_ALLOWED_ACTIONS,
                    &[
                        a._NET_WM_ACTION_CLOSE,
                        a._NET_WM_ACTION_FULLSCREEN,
                        a._NET_WM_ACTION_MAXIMIZE_HORZ,
                        a._NET_WM_ACTION_MAXIMIZE_VERT,
                        a._NET_WM_ACTION_MINIMIZE,
                        a._NET_WM_ACTION_MOVE,
                        a._NET_WM_ACTION_RESIZE,
                    ],
                )?;
                conn.change_property32(PropMode::REPLACE, window, a.WM_STATE, a.WM_STATE, &[NORMAL, 0])?;
                conn.map_window(window)?;
            }
            Effect::Withdraw(window) => {
                let withdrawn = [WITHDRAWN, 0];
                conn.change_property32(PropMode::REPLACE, window, a.WM_STATE, a.WM_STATE, &withdrawn)?;
                conn.delete_property(window, a._NET_WM_STATE)?;
            }
            Effect::StackAbove(window, Some(below)) => {
                let values = ConfigureWindowAux::new().sibling(below).stack_mode(StackMode::ABOVE);
                conn.configure_window(window, &values)?;
            }
            Effect::StackAbove(window, None) => {
                conn.configure_window(window, &ConfigureWindowAux::new().stack_mode(StackMode::BELOW))?;
            }
            Effect::Focus { window, set, take } => {
                if set {
                    conn.set_input_focus(InputFocus::PARENT, window, x11rb::CURRENT_TIME)?;
                }
                if take {
                    self.protocol(window, a.WM_TAKE_FOCUS)?;
                }
            }
            Effect::Unfocus => {
                conn.set_input_focus(InputFocus::PARENT, self.own, x11rb::CURRENT_TIME)?;
            }
            Effect::WriteState(window, state) => self.write_state(window, state)?,
            Effect::WriteLists => {
                let window = u32::from(AtomEnum::WINDOW);
                let replace = PropMode::REPLACE;
                let (order, stack) = (self.model.order(), self.model.stack());
                conn.change_property32(replace, self.x.root, a._NET_CLIENT_LIST, window, order)?;
                conn.change_property32(replace, self.x.root, a._NET_CLIENT_LIST_STACKING, window, stack)?;
                let active = [self.model.active().unwrap_or(0)];
                conn.change_property32(replace, self.x.root, a._NET_ACTIVE_WINDOW, window, &active)?;
            }
            Effect::AskToClose(window) => self.protocol(window, a.WM_DELETE_WINDOW)?,
            Effect::Kill(window) => {
                conn.kill_client(window)?;
            }
        }
        Ok(())
    }

    fn write_state(&self, window: Window, state: WindowState) -> Result<()> {
        let a = &self.x.atoms;
        let named = [
            (state.maximized, a._NET_WM_STATE_MAXIMIZED_HORZ),
            (state.maximized, a._NET_WM_STATE_MAXIMIZED_VERT),
            (state.fullscreen, a._NET_WM_STATE_FULLSCREEN),
            (state.minimized, a._NET_WM_STATE_HIDDEN),
            (state.modal, a._NET_WM_STATE_MODAL),
            (state.above, a._NET_WM_STATE_ABOVE),
            (state.urgent, a._NET_WM_STATE_DEMANDS_ATTENTION),
        ];
        let states: Vec<u32> = named.iter().filter(|(on, _)| *on).map(|&(_, atom)| atom).collect();
        self.atoms(window, a._NET_WM_STATE, &states)
    }

    fn notify(&self, window: Window, r: Rect) -> Result<()> {
        let event = ConfigureNotifyEvent {
            response_type: x11rb::protocol::xproto::CONFIGURE_NOTIFY_EVENT,
            sequence: 0,
            event: window,
            window,
            above_sibling: 0,
            x: r.x as i16,
            y: r.y as i16,
            width: r.width as u16,
            height: r.height as u16,
            border_width: 0,
            override_redirect: false,
        };
        self.x.conn.send_event(false, window, EventMask::STRUCTURE_NOTIFY, event)?;
        Ok(())
    }

    fn protocol(&self, window: Window, protocol: u32) -> Result<()> {
        let data = [protocol, self.time, 0, 0, 0];
        let message = ClientMessageEvent::new(32, window, self.x.atoms.WM_PROTOCOLS, data);
        self.x.conn.send_event(false, window, EventMask::NO_EVENT, message)?;
        Ok(())
    }

    /// Says who we are and what we understand.
    fn announce(&self, area: Rect) -> Result<()> {
        let (a, root) = (&self.x.atoms, self.x.root);
        let supported = [
            a._NET_ACTIVE_WINDOW,
            a._NET_CLIENT_LIST,
            a._NET_CLIENT_LIST_STACKING,
            a._NET_CLOSE_WINDOW,
            a._NET_CURRENT_DESKTOP,
            a._NET_DESKTOP_GEOMETRY,
            a._NET_DESKTOP_VIEWPORT,
            a._NET_FRAME_EXTENTS,
            a._NET_MOVERESIZE_WINDOW,
            a._NET_NUMBER_OF_DESKTOPS,
            a._NET_REQUEST_FRAME_EXTENTS,
            a._NET_SUPPORTED,
            a._NET_SUPPORTING_WM_CHECK,
            a._NET_WM_ALLOWED_ACTIONS,
            a._NET_WM_ICON,
            a._NET_WM_MOVERESIZE,
            a._NET_WM_NAME,
            a._NET_WM_STATE,
            a._NET_WM_STATE_ABOVE,
            a._NET_WM_STATE_DEMANDS_ATTENTION,
            a._NET_WM_STATE_FULLSCREEN,
            a._NET_WM_STATE_HIDDEN,
            a._NET_WM_STATE_MAXIMIZED_HORZ,
            a._NET_WM_STATE_MAXIMIZED_VERT,
            a._NET_WM_STATE_MODAL,
            a._NET_WM_WINDOW_TYPE,
            a._NET_WM_WINDOW_TYPE_DIALOG,
            a._NET_WM_WINDOW_TYPE_NORMAL,
            a._NET_WORKAREA,
        ];
        self.atoms(root, a._NET_SUPPORTED, &supported)?;
        for window in [root, self.own] {
            let (check, kind) = (a._NET_SUPPORTING_WM_CHECK, u32::from(AtomEnum::WINDOW));
            self.x.conn.change_property32(PropMode::REPLACE, window, check, kind, &[self.own])?;
        }
        let name = b"Roam";
        self.x.conn.change_property8(PropMode::REPLACE, self.own, a._NET_WM_NAME, a.UTF8_STRING, name)?;
        let (width, height) = (area.width as u32, area.height as u32);
        self.cardinals(root, a._NET_NUMBER_OF_DESKTOPS, &[1])?;
        self.cardinals(root, a._NET_CURRENT_DESKTOP, &[0])?;
        self.cardinals(root, a._NET_DESKTOP_VIEWPORT, &[0, 0])?;
        self.cardinals(root, a._NET_DESKTOP_GEOMETRY, &[width, height])?;
        self.cardinals(root, a._NET_WORKAREA, &[0, 0, width, height])
    }

    /// An arrow for windows that name no cursor; the server's own default is a large X.
    fn set_root_cursor(&self) -> Result<()> {
        const LEFT_ARROW: u16 = 68;
        let (font, cursor) = (self.x.conn.generate_id()?, self.x.conn.generate_id()?);
        self.x.conn.open_font(font, b"cursor")?;
        let white = u16::MAX;
        self.x.conn.create_glyph_cursor(
            cursor,
            font,
            font,
            LEFT_ARROW,
            LEFT_ARROW + 1,
            0,
            0,
            0,
            white,
            white,
            white,
        )?;
        let values = ChangeWindowAttributesAux::new().cursor(cursor);
        self.x.conn.change_window_attributes(self.x.root, &values)?;
        self.x.conn.close_font(font)?;
        Ok(())
    }

    fn cardinals(&self, window: Window, property: u32, values: &[u32]) -> Result<()> {
        self.x.conn.change_property32(PropMode::REPLACE, window, property, AtomEnum::CARDINAL, values)?;
        Ok(())
    }

    fn atoms(&self, window: Window, property: u32, values: &[u32]) -> Result<()> {
        self.x.conn.change_property32(PropMode::REPLACE, window, property, AtomEnum::ATOM, values)?;
        Ok(())
    }
}
