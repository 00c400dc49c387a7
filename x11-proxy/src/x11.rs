//! What roam-wm and roam-display share of X11: connecting, atoms, and reading a window's properties.
//! Answers are bounded in length, and a property of the wrong type counts as absent.

use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;

use anyhow::{Context as _, Result};
use roam_api::display::{MAX_TITLE, WindowKind, WindowState};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{Atom, AtomEnum, ConnectionExt as _, GetPropertyReply, Window};
use x11rb::rust_connection::{DefaultStream, RustConnection};

use crate::wm::hints;
use crate::wm::model::Properties;

x11rb::atom_manager! {
    /// Every atom that Roam uses.
    pub(crate) Atoms: AtomsCookie {
        CLIPBOARD, INCR, TARGETS, TIMESTAMP, UTF8_STRING, ROAM_CLIPBOARD, WM_S0, MANAGER,
        TEXT_PLAIN_UTF8: b"text/plain;charset=utf-8",
        WM_PROTOCOLS, WM_DELETE_WINDOW, WM_TAKE_FOCUS, WM_STATE, WM_CHANGE_STATE,
        _MOTIF_WM_HINTS,
        _NET_ACTIVE_WINDOW, _NET_CLIENT_LIST, _NET_CLIENT_LIST_STACKING, _NET_CLOSE_WINDOW,
        _NET_CURRENT_DESKTOP, _NET_DESKTOP_GEOMETRY, _NET_DESKTOP_VIEWPORT, _NET_FRAME_EXTENTS,
        _NET_MOVERESIZE_WINDOW, _NET_NUMBER_OF_DESKTOPS, _NET_REQUEST_FRAME_EXTENTS,
        _NET_SUPPORTED, _NET_SUPPORTING_WM_CHECK, _NET_WM_ALLOWED_ACTIONS, _NET_WM_ICON,
        _NET_WM_MOVERESIZE, _NET_WM_NAME, _NET_WM_STATE, _NET_WORKAREA,
        _NET_WM_ACTION_CLOSE, _NET_WM_ACTION_FULLSCREEN, _NET_WM_ACTION_MAXIMIZE_HORZ,
        _NET_WM_ACTION_MAXIMIZE_VERT, _NET_WM_ACTION_MINIMIZE, _NET_WM_ACTION_MOVE,
        _NET_WM_ACTION_RESIZE,
        _NET_WM_STATE_ABOVE, _NET_WM_STATE_DEMANDS_ATTENTION, _NET_WM_STATE_FOCUSED,
        _NET_WM_STATE_FULLSCREEN, _NET_WM_STATE_HIDDEN, _NET_WM_STATE_MAXIMIZED_HORZ,
        _NET_WM_STATE_MAXIMIZED_VERT, _NET_WM_STATE_MODAL,
        _NET_WM_USER_TIME, _NET_WM_USER_TIME_WINDOW,
        _NET_WM_WINDOW_TYPE, _NET_WM_WINDOW_TYPE_COMBO, _NET_WM_WINDOW_TYPE_DIALOG,
        _NET_WM_WINDOW_TYPE_DND, _NET_WM_WINDOW_TYPE_DROPDOWN_MENU, _NET_WM_WINDOW_TYPE_MENU,
        _NET_WM_WINDOW_TYPE_NORMAL, _NET_WM_WINDOW_TYPE_NOTIFICATION,
        _NET_WM_WINDOW_TYPE_POPUP_MENU, _NET_WM_WINDOW_TYPE_SPLASH, _NET_WM_WINDOW_TYPE_TOOLBAR,
        _NET_WM_WINDOW_TYPE_TOOLTIP, _NET_WM_WINDOW_TYPE_UTILITY,
    }
}

/// A connection to the pod's X server, with what is asked of it all the time.
pub(crate) struct X {
    pub conn: RustConnection,
    pub root: Window,
    pub screen: usize,
    pub atoms: Atoms,
}

impl X {
    /// Connects as any client does, by DISPLAY and XAUTHORITY.
    pub fn from_environment() -> Result<Self> {
        let (conn, screen) = RustConnection::connect(None).context(
            "The X server named by DISPLAY can't be reached; is it running, and is XAUTHORITY right?",
        )?;
        Self::new(conn, screen)
    }

    /// Speaks X on a socket that is already connected.
    pub fn from_socket(socket: OwnedFd, cookie: Vec<u8>) -> Result<Self> {
        let (stream, _) = DefaultStream::from_unix_stream(UnixStream::from(socket))?;
        let conn = RustConnection::connect_to_stream_with_auth_info(
            stream,
            0,
            b"MIT-MAGIC-COOKIE-1".to_vec(),
            cookie,
        )
        .context("The X server refused the connection; is the cookie its own?")?;
        Self::new(conn, 0)
    }

    fn new(conn: RustConnection, screen: usize) -> Result<Self> {
        let atoms = Atoms::new(&conn)?.reply()?;
        let root = conn.setup().roots.get(screen).context("The X server has no screen.")?.root;
        Ok(Self { conn, root, screen, atoms })
    }

    /// A property of 32-bit words; absent, wrong or too long: what there is of it.
    pub fn words(&self, window: Window, property: Atom) -> Vec<u32> {
        self.property(window, property, 1024)
            .and_then(|reply| reply.value32().map(Iterator::collect))
            .unwrap_or_default()
    }

    fn property(&self, window: Window, property: Atom, words: u32) -> Option<GetPropertyReply> {
        self.conn.get_property(false, window, property, AtomEnum::ANY, 0, words).ok()?.reply().ok()
    }

    /// A text property: UTF-8 where it says so, else Latin-1; at most [`MAX_TITLE`] bytes.
    pub fn text(&self, window: Window, property: Atom) -> Option<String> {
        let reply = self.property(window, property, MAX_TITLE as u32 / 8)?;
        if reply.format != 8 || reply.value.is_empty() {
            return None;
        }
        Some(if reply.type_ == Atom::from(AtomEnum::STRING) {
            reply.value.iter().map(|&byte| char::from(byte)).collect()
        } else {
            String::from_utf8_lossy(&reply.value).into_owned()
        })
    }

    /// The window's title, the modern property first.
    pub fn title(&self, window: Window) -> String {
        self.text(window, self.atoms._NET_WM_NAME)
            .or_else(|| self.text(window, AtomEnum::WM_NAME.into()))
            .unwrap_or_default()
            .replace(char::is_control, " ")
    }

    /// The window that this one is transient for.
    pub fn transient_for(&self, window: Window) -> Option<Window> {
        let owner = self.words(window, AtomEnum::WM_TRANSIENT_FOR.into()).first().copied()?;
        (owner != 0 && owner != window && owner != self.root).then_some(owner)
    }

    /// The first window type that is known; else what a window without one is.
    pub fn kind(&self, window: Window, popup: bool) -> WindowKind {
        let a = &self.atoms;
        let known = |kind: Atom| {
            if kind == a._NET_WM_WINDOW_TYPE_TOOLTIP
                || kind == a._NET_WM_WINDOW_TYPE_NOTIFICATION
                || kind == a._NET_WM_WINDOW_TYPE_DND
            {
                Some(WindowKind::Tooltip)
            } else if kind == a._NET_WM_WINDOW_TYPE_POPUP_MENU
                || kind == a._NET_WM_WINDOW_TYPE_DROPDOWN_MENU
                || kind == a._NET_WM_WINDOW_TYPE_COMBO
            {
                Some(WindowKind::Menu)
            } else if kind == a._NET_WM_WINDOW_TYPE_DIALOG {
                Some(WindowKind::Dialog)
            } else if kind == a._NET_WM_WINDOW_TYPE_UTILITY
                || kind == a._NET_WM_WINDOW_TYPE_TOOLBAR
                || kind == a._NET_WM_WINDOW_TYPE_MENU
            {
                Some(WindowKind::Utility)
            } else if kind == a._NET_WM_WINDOW_TYPE_SPLASH {
                Some(WindowKind::Splash)
            } else if kind == a._NET_WM_WINDOW_TYPE_NORMAL && !popup {
                Some(WindowKind::Normal)
            } else {
                None
            }
        };
        let stated = self.words(window, a._NET_WM_WINDOW_TYPE).into_iter().find_map(known);
        stated.unwrap_or_else(|| match (popup, self.transient_for(window)) {
            (true, _) => WindowKind::Menu,
            (false, Some(_)) => WindowKind::Dialog,
            (false, None) => WindowKind::Normal,
        })
    }

    /// The states written on the window.
    pub fn state(&self, window: Window) -> WindowState {
        let a = &self.atoms;
        let states = self.words(window, a._NET_WM_STATE);
        let has = |state: Atom| states.contains(&state);
        WindowState {
            maximized: has(a._NET_WM_STATE_MAXIMIZED_HORZ) && has(a._NET_WM_STATE_MAXIMIZED_VERT),
            fullscreen: has(a._NET_WM_STATE_FULLSCREEN),
            minimized: has(a._NET_WM_STATE_HIDDEN),
            modal: has(a._NET_WM_STATE_MODAL),
            above: has(a._NET_WM_STATE_ABOVE),
            urgent: has(a._NET_WM_STATE_DEMANDS_ATTENTION) || self.wm_hints(window).1,
        }
    }

    /// From WM_HINTS: whether it takes the keyboard, and whether it is urgent.
    fn wm_hints(&self, window: Window) -> (bool, bool) {
        const INPUT: u32 = 1;
        const URGENT: u32 = 1 << 8;
        let words = self.words(window, AtomEnum::WM_HINTS.into());
        let flags = words.first().copied().unwrap_or(0);
        // A window that says nothing gets the keyboard: many old programs rely on it.
        let input = flags & INPUT == 0 || words.get(1).is_none_or(|&input| input != 0);
        (input, flags & URGENT != 0)
    }

    /// All that the window manager decides by.
    pub fn properties(&self, window: Window) -> Properties {
        let protocols = self.words(window, self.atoms.WM_PROTOCOLS);
        let normal = self.words(window, AtomEnum::WM_NORMAL_HINTS.into());
        Properties {
            kind: self.kind(window, false),
            transient_for: self.transient_for(window),
            hints: hints::parse(&normal),
            wants_position: hints::wants_position(&normal),
            input: self.wm_hints(window).0,
            take_focus: protocols.contains(&self.atoms.WM_TAKE_FOCUS),
            delete_window: protocols.contains(&self.atoms.WM_DELETE_WINDOW),
        }
    }
}
