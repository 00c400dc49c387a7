//! Two real X servers: one as in a pod, with roam-wm, and one as a person's screen. Nothing here
//! waits by the clock: [`Desk::until`] looks again whenever the X server reports a change, and gives
//! up after [`LIMIT`].

use std::io::{BufRead as _, BufReader};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use roam_api::charge::Charge;
use tempfile::TempDir;
use x11rb::connection::Connection as _;
use x11rb::protocol::composite::ConnectionExt as _;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::xfixes::ConnectionExt as _;
use x11rb::protocol::xproto::*;
use x11rb::protocol::xtest::ConnectionExt as _;
use x11rb::rust_connection::{DefaultStream, RustConnection};

pub const LIMIT: Duration = Duration::from_secs(30);
const COOKIE: [u8; 16] = *b"roam-test-cookie";

/// A process that is ended with the test.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    pub fn start(command: &mut Command) -> Self {
        let child = command.spawn().unwrap_or_else(|e| {
            panic!(
                "{:?} can't be started ({e}); apt-get install xvfb openbox xterm galculator",
                command.get_program()
            )
        });
        Self(child)
    }

    /// Waits for the end; true if it ended well.
    pub fn ended_well(&mut self) -> bool {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                return status.success();
            }
            assert!(Instant::now() < end, "process {} has not ended", self.0.id());
            std::thread::yield_now();
        }
    }
}

/// An X server, and a connection of our own to it.
pub struct Desk {
    _server: Process,
    number: u32,
    authority: PathBuf,
    pub conn: RustConnection,
    pub root: Window,
}

impl Desk {
    pub fn start(folder: &Path, name: &str) -> Self {
        let authority = folder.join(format!("{name}.auth"));
        let mut entry = vec![0xff, 0xff, 0, 0, 0, 0];
        for field in [b"MIT-MAGIC-COOKIE-1".as_slice(), &COOKIE] {
            entry.extend((field.len() as u16).to_be_bytes());
            entry.extend(field);
        }
        std::fs::write(&authority, entry).unwrap();
        // A number of our own: clients try the abstract socket of that name first, and another
        // mount namespace of this machine may hold the low ones.
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = 1000 + std::process::id() % 5000 * 10 + NEXT.fetch_add(1, Ordering::Relaxed);
        let mut server = Process::start(
            Command::new("Xvfb")
                .arg(format!(":{number}"))
                .args(["-displayfd", "1", "-auth"])
                .arg(&authority)
                .args(["-nolisten", "tcp", "-nolisten", "local", "-screen", "0", "1280x1024x24"])
                .stdout(Stdio::piped())
                .stderr(Stdio::null()),
        );
        let mut line = String::new();
        BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), number.to_string(), "Xvfb did not start");
        let (stream, _) = DefaultStream::from_unix_stream(socket(number)).unwrap();
        let name = b"MIT-MAGIC-COOKIE-1".to_vec();
        let conn =
            RustConnection::connect_to_stream_with_auth_info(stream, 0, name, COOKIE.to_vec()).unwrap();
        let root = conn.setup().roots[0].root;
        let events = EventMask::SUBSTRUCTURE_NOTIFY | EventMask::PROPERTY_CHANGE;
        conn.change_window_attributes(root, &ChangeWindowAttributesAux::new().event_mask(events)).unwrap();
        conn.damage_query_version(1, 1).unwrap().reply().unwrap();
        conn.xfixes_query_version(5, 0).unwrap().reply().unwrap();
        conn.composite_query_version(0, 4).unwrap().reply().unwrap();
        let damage = conn.generate_id().unwrap();
        conn.damage_create(damage, root, ReportLevel::RAW_RECTANGLES).unwrap();
        Self { _server: server, number, authority, conn, root }
    }

    /// A program on this display.
    pub fn run(&self, command: &mut Command) -> Process {
        Process::start(
            command
                .env("DISPLAY", format!(":{}", self.number))
                .env("XAUTHORITY", &self.authority)
                .env("NO_AT_BRIDGE", "1")
                .stderr(Stdio::null()),
        )
    }

    pub fn socket(&self) -> OwnedFd {
        socket(self.number).into()
    }

    /// Looks until there is something to see. Every event of the X server is a reason to look again,
    /// and so is a tenth of a second, for changes that no event tells (a property of a window).
    pub fn until<T>(&self, what: &str, mut look: impl FnMut(&Self) -> Option<T>) -> T {
        let end = Instant::now() + LIMIT;
        loop {
            while self.conn.poll_for_event().unwrap().is_some() {}
            if let Some(found) = look(self) {
                return found;
            }
            assert!(Instant::now() < end, "not seen: {what}");
            self.conn.flush().unwrap();
            let mut fds = [PollFd::new(self.conn.stream().as_fd(), PollFlags::POLLIN)];
            poll(&mut fds, PollTimeout::from(100u8)).unwrap();
        }
    }

    pub fn atom(&self, name: &str) -> Atom {
        self.conn.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom
    }

    /// The viewable window with this title, at any depth; popups share their app's title.
    pub fn find(&self, title: &str) -> Option<Window> {
        let is_popup = |w| {
            let attributes = self.conn.get_window_attributes(w).unwrap().reply();
            attributes.is_ok_and(|a| a.override_redirect)
        };
        let mut windows = self.tree().into_iter().filter(|&w| !is_popup(w));
        windows.find(|&w| self.title(w).is_some_and(|t| t.contains(title)))
    }

    fn tree(&self) -> Vec<Window> {
        let mut all = vec![self.root];
        let mut at = 0;
        while at < all.len() {
            if let Ok(tree) = self.conn.query_tree(all[at]).unwrap().reply() {
                all.extend(tree.children);
            }
            at += 1;
        }
        all.retain(|&w| self.is_viewable(w));
        all
    }

    pub fn is_viewable(&self, window: Window) -> bool {
        let attributes = self.conn.get_window_attributes(window).unwrap().reply();
        attributes.is_ok_and(|a| a.map_state == MapState::VIEWABLE && a.class == WindowClass::INPUT_OUTPUT)
    }

    pub fn title(&self, window: Window) -> Option<String> {
        [self.atom("_NET_WM_NAME"), AtomEnum::WM_NAME.into()].into_iter().find_map(|property| {
            let reply = self.conn.get_property(false, window, property, AtomEnum::ANY, 0, 256).unwrap();
            let value = reply.reply().ok()?.value;
            (!value.is_empty()).then(|| String::from_utf8_lossy(&value).into_owned())
        })
    }

    /// Popups that lie on the screen: shown without a window manager.
    pub fn popups(&self) -> Vec<Window> {
        let children = self.conn.query_tree(self.root).unwrap().reply().unwrap().children;
        let shown = children.into_iter().filter(|&w| {
            let attributes = self.conn.get_window_attributes(w).unwrap().reply();
            let (_, _, width, height) = self.place(w);
            attributes.is_ok_and(|a| a.override_redirect)
                && self.is_viewable(w)
                && (width, height) > (10, 10)
                && self.place(w).0 >= 0
        });
        shown.collect()
    }

    /// Place on the screen, and size.
    pub fn place(&self, window: Window) -> (i32, i32, u16, u16) {
        let size = self.conn.get_geometry(window).unwrap().reply();
        let at = self.conn.translate_coordinates(window, self.root, 0, 0).unwrap().reply();
        match (at, size) {
            (Ok(at), Ok(size)) => (at.dst_x.into(), at.dst_y.into(), size.width, size.height),
            _ => (0, 0, 0, 0),
        }
    }

    /// A window's pixels without the unused byte.
    pub fn pixels(&self, window: Window, redirected: bool) -> Option<Vec<u8>> {
        let (_, _, width, height) = self.place(window);
        let drawable = if redirected {
            let pixmap = self.conn.generate_id().unwrap();
            self.conn.composite_name_window_pixmap(window, pixmap).unwrap();
            pixmap
        } else {
            window
        };
        let image = self.conn.get_image(ImageFormat::Z_PIXMAP, drawable, 0, 0, width, height, u32::MAX);
        let image = image.unwrap().reply();
        if redirected {
            self.conn.free_pixmap(drawable).unwrap();
        }
        Some(image.ok()?.data.chunks(4).flat_map(|p| [p[0], p[1], p[2]]).collect())
    }

    /// Waits until the window with this title is whole: not of one colour.
    pub fn painted(&self, title: &str) -> Window {
        self.until(&format!("a painted window {title}"), |desk| {
            let window = desk.find(title)?;
            let pixels = desk.pixels(window, false)?;
            pixels.chunks(3).any(|p| p != &pixels[..3]).then_some(window)
        })
    }

    fn fake(&self, kind: u8, detail: u8, x: i32, y: i32) {
        self.conn.xtest_fake_input(kind, detail, 0, self.root, x as i16, y as i16, 0).unwrap();
    }

    /// The cursor that is shown, with its size and hot spot.
    pub fn cursor(&self) -> (u16, u16, u16, u16, Vec<u32>) {
        let c = self.conn.xfixes_get_cursor_image().unwrap().reply().unwrap();
        (c.width, c.height, c.xhot, c.yhot, c.cursor_image)
    }

    /// Moves the pointer into the window and clicks.
    pub fn click(&self, window: Window, x: i32, y: i32) {
        let (left, top, ..) = self.place(window);
        self.fake(MOTION_NOTIFY_EVENT, 0, left + x, top + y);
        self.fake(BUTTON_PRESS_EVENT, 1, 0, 0);
        self.fake(BUTTON_RELEASE_EVENT, 1, 0, 0);
        self.conn.flush().unwrap();
    }

    /// Whether what is typed goes to this window: it has the focus, or something in it, or whatever is below the pointer.
    pub fn has_keyboard(&self, window: Window) -> bool {
        let mut at = self.conn.get_input_focus().unwrap().reply().unwrap().focus;
        if at == u32::from(InputFocus::POINTER_ROOT) {
            return true;
        }
        while at != window {
            match self.conn.query_tree(at).unwrap().reply() {
                Ok(tree) if tree.parent != 0 => at = tree.parent,
                _ => return false,
            }
        }
        true
    }

    /// Types on the keyboard of this display, as a person would.
    pub fn type_text(&self, text: &str) {
        let setup = self.conn.setup();
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let map = self.conn.get_keyboard_mapping(first, last - first + 1).unwrap().reply().unwrap();
        let rows: Vec<&[u32]> = map.keysyms.chunks(map.keysyms_per_keycode.into()).collect();
        let key_of = |keysym: u32, level: usize| {
            rows.iter().position(|row| row.get(level) == Some(&keysym)).map(|at| first + at as u8)
        };
        let shift = key_of(0xffe1, 0).unwrap();
        for character in text.chars() {
            let keysym = match character {
                '\n' => 0xff0d,
                '\u{1b}' => 0xff1b,
                plain => u32::from(plain),
            };
            let (key, shifted) = match (key_of(keysym, 0), key_of(keysym, 1)) {
                (Some(key), _) => (key, false),
                (None, Some(key)) => (key, true),
                (None, None) => panic!("no key for {character}"),
            };
            if shifted {
                self.fake(KEY_PRESS_EVENT, shift, 0, 0);
            }
            self.fake(KEY_PRESS_EVENT, key, 0, 0);
            self.fake(KEY_RELEASE_EVENT, key, 0, 0);
            if shifted {
                self.fake(KEY_RELEASE_EVENT, shift, 0, 0);
            }
        }
        self.conn.flush().unwrap();
    }

    /// Asks the window manager, as a pager does.
    pub fn ask(&self, window: Window, message: &str, data: [u32; 5]) {
        let event = ClientMessageEvent::new(32, window, self.atom(message), data);
        let mask = EventMask::SUBSTRUCTURE_REDIRECT | EventMask::SUBSTRUCTURE_NOTIFY;
        self.conn.send_event(false, self.root, mask, event).unwrap();
        self.conn.flush().unwrap();
    }

    pub fn resize(&self, window: Window, width: u32, height: u32) {
        let values = ConfigureWindowAux::new().width(width).height(height);
        self.conn.configure_window(window, &values).unwrap();
        self.conn.flush().unwrap();
    }

    /// Waits until a window manager works: one that has only just announced itself may lose the first
    /// request, so a window of our own is shown until it is seen.
    pub fn managed(&self) {
        let check = self.atom("_NET_SUPPORTING_WM_CHECK");
        self.until("a window manager", |desk| {
            let reply = desk.conn.get_property(false, desk.root, check, AtomEnum::ANY, 0, 1).unwrap();
            (reply.reply().unwrap().value_len > 0).then_some(())
        });
        let probe = self.conn.generate_id().unwrap();
        let class = WindowClass::INPUT_OUTPUT;
        self.conn
            .create_window(0, probe, self.root, 0, 0, 50, 50, 0, class, 0, &CreateWindowAux::new())
            .unwrap();
        self.until("a managed window", |desk| {
            desk.conn.map_window(probe).unwrap();
            desk.is_viewable(probe).then_some(())
        });
        self.conn.destroy_window(probe).unwrap();
        self.conn.flush().unwrap();
    }
}

fn socket(number: u32) -> UnixStream {
    UnixStream::connect(format!("/tmp/.X11-unix/X{number}")).unwrap()
}

/// A pod's display and a person's.
pub struct Pair {
    pub app: Desk,
    pub user: Desk,
    _managers: Vec<Process>,
    pub folder: TempDir,
}

/// One viewer and its display.
pub struct Attached {
    pub viewer: Process,
    pub display: Process,
    /// The display's standard input, as its keeper holds it.
    _keeper: UnixStream,
}

impl Pair {
    pub fn start(window_manager: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (app, user) = (Desk::start(folder.path(), "app"), Desk::start(folder.path(), "user"));
        let mut managers = vec![app.run(&mut Command::new(env!("CARGO_BIN_EXE_roam-wm")))];
        app.managed();
        if window_manager {
            managers.push(user.run(Command::new("openbox").env("HOME", folder.path()).stdout(Stdio::null())));
            user.managed();
        }
        Self { app, user, _managers: managers, folder }
    }

    /// roam-display alone, speaking on this stream; and the socket by which it is told to, as a keeper's.
    pub fn display(&self, stream: OwnedFd) -> (Process, UnixStream) {
        let (keeper, standard_input) = UnixStream::pair().unwrap();
        let process = Process::start(
            Command::new(env!("CARGO_BIN_EXE_roam-display"))
                .stdin(Stdio::from(OwnedFd::from(standard_input))),
        );
        let charge = Charge { cookie: COOKIE.to_vec(), view_only: false };
        let frame = roam_api::codec::encode_frame(&charge).unwrap();
        let x = self.app.socket();
        let sent = roam_sys::fdpass::send(keeper.as_fd(), &frame, &[stream.as_fd(), x.as_fd()]);
        assert_eq!(sent.unwrap(), frame.len());
        (process, keeper)
    }

    pub fn attach(&self) -> Attached {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let (display, keeper) = self.display(ours.into());
        let asked = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
        let viewer = self.user.run(
            Command::new(env!("CARGO_BIN_EXE_roam-viewer"))
                .args(["--fd", "0", "--title", "pad@desk", "--asked"])
                .arg(asked.as_millis().to_string())
                .stdin(Stdio::from(OwnedFd::from(theirs))),
        );
        Attached { viewer, display, _keeper: keeper }
    }
}
