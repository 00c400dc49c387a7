//! What roam-display and a viewer say to each other: windows, tiles, input.
//!
//! ```text
//! viewer                                   roam-display
//!   | Attach ------------------------------->  |
//!   | <----------- Screen, Window …, Synced    |   the whole state, told anew at every attach
//!   | <--------------- Frame (last: true) …    |   at most two unacknowledged
//!   | Ack ---------------------------------->  |
//!   | Key, Pointer, Resize, Close … -------->  |
//!   | <------- Window, Gone, Icon, Cursor …    |   after every change, newest state only
//! ```
//! Either side may vanish at any time: the other ends, and the app notices nothing. A message that
//! breaks a limit of this file is refused by [`ToViewer::check`] or [`ToDisplay::check`], and ends
//! this display only.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The longest side of a window or picture, in pixels.
pub const MAX_SIDE: u16 = 16_384;
/// The longest side of an icon or a cursor image, in pixels.
pub const MAX_PICTURE_SIDE: u16 = 256;
/// The longest title or class name, in bytes.
pub const MAX_TITLE: usize = 4096;
/// The longest clipboard text, in bytes.
pub const MAX_CLIPBOARD: usize = 2 << 20;
/// The most tiles in one message.
pub const MAX_TILES: usize = 4096;
/// The most pixels that the tiles of one message may cover together.
pub const MAX_TILE_PIXELS: usize = 1 << 20;

/// What roam-viewer exits with if its stream ended while one of its windows had the keyboard.
pub const ENDED_WITH_KEYBOARD: u8 = 10;

/// The most parts that a popup's shape may have.
pub const MAX_SHAPE: usize = 1024;

/// A window of the app, by its number in the pod's X server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WindowId(pub u32);

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Width.
    pub width: u16,
    /// Height.
    pub height: u16,
}

impl Size {
    /// A size.
    #[must_use]
    pub const fn new(width: u16, height: u16) -> Self {
        Self { width, height }
    }

    /// Number of pixels.
    #[must_use]
    pub const fn pixels(self) -> usize {
        self.width as usize * self.height as usize
    }

    const fn valid(self, most: u16) -> bool {
        self.width > 0 && self.height > 0 && self.width <= most && self.height <= most
    }
}

/// What a window is, which decides how it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WindowKind {
    /// An ordinary top-level window.
    Normal,
    /// A dialog.
    Dialog,
    /// A tool palette or torn-off menu.
    Utility,
    /// A picture shown while the app starts.
    Splash,
    /// A menu, combo box list or other popup that takes clicks.
    Menu,
    /// A tooltip or other popup that only informs.
    Tooltip,
}

/// What sizes the app accepts for a window. Zero stands for "no wish".
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SizeHints {
    /// Smallest size.
    pub min: Size,
    /// Largest size.
    pub max: Size,
    /// Size that increments are counted from.
    pub base: Size,
    /// Increments, as of a terminal's character cell.
    pub increment: Size,
}

/// States of a window that both sides may change.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowState {
    /// Fills the screen but for panels.
    pub maximized: bool,
    /// Fills the screen.
    pub fullscreen: bool,
    /// Put away by the app or the person.
    pub minimized: bool,
    /// Blocks its parent.
    pub modal: bool,
    /// Wants to be seen above others.
    pub above: bool,
    /// Asks for the person's attention.
    pub urgent: bool,
}

/// Everything about a window but its pixels and icon.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WindowInfo {
    /// Which.
    pub window: WindowId,
    /// Left edge in the pod's screen.
    pub x: i32,
    /// Top edge in the pod's screen.
    pub y: i32,
    /// Size with the X border, as captured.
    pub size: Size,
    /// The serial of the newest [`ToDisplay::Resize`] that this size answers.
    pub resize_serial: u32,
    /// What it is.
    pub kind: WindowKind,
    /// Placed by the app itself, without the window manager: menus and tooltips.
    pub popup: bool,
    /// The window that it belongs to; popups are placed relative to it.
    pub parent: Option<WindowId>,
    /// Title, as the app set it.
    pub title: String,
    /// The app's class name (WM_CLASS).
    pub class: String,
    /// Sizes accepted.
    pub hints: SizeHints,
    /// States.
    pub state: WindowState,
    /// False if the app draws its own frame.
    pub decorated: bool,
    /// False for windows that never take the keyboard.
    pub focusable: bool,
}

/// A rectangle of new pixels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tile {
    /// Left edge in the window.
    pub x: u16,
    /// Top edge in the window.
    pub y: u16,
    /// Its size.
    pub size: Size,
    /// How `data` is coded.
    pub coding: Coding,
    /// The coded pixels.
    pub data: Bytes,
}

/// How pixels become bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Coding {
    /// Lossless: per row one filter byte and three bytes a pixel (blue, green, red), each the
    /// difference that the filter names; the whole compressed with zstd.
    Filtered,
    /// All pixels of one colour: three bytes, blue, green, red.
    Solid,
}

/// A small picture with transparency: icon or cursor.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Its size.
    pub size: Size,
    /// Four bytes a pixel: red, green, blue, opacity; not premultiplied; compressed with zstd.
    pub rgba: Bytes,
}

/// Which edge a window is being dragged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Drag {
    /// The whole window is moved.
    Move,
    /// An edge or corner is dragged: -1, 0 or 1 to the right, and the same downwards.
    Edge(i8, i8),
}

/// What roam-display tells a viewer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToViewer {
    /// First: the size of the pod's screen.
    Screen(Size),
    /// A window appeared or changed; it is told whole.
    Window(WindowInfo),
    /// A window's icon.
    Icon {
        /// Whose.
        window: WindowId,
        /// The picture.
        icon: Picture,
    },
    /// A window is no longer shown.
    Gone(WindowId),
    /// Everything that was there at the attach has been told.
    Synced,
    /// New pixels. Tiles of one frame may take several messages.
    Frame {
        /// Number of the frame; rises by one for each.
        number: u64,
        /// Whose.
        window: WindowId,
        /// The window's size that these pixels belong to.
        size: Size,
        /// The rectangles.
        tiles: Vec<Tile>,
        /// The last message of this frame: show it and acknowledge.
        last: bool,
    },
    /// The mouse cursor over the app's windows; none: hidden.
    Cursor(Option<Cursor>),
    /// The app copied this text.
    Clipboard(String),
    /// The app asks for this window to be brought to the front.
    Activate(WindowId),
    /// The app asks that the person's drag moves or resizes the window.
    Drag {
        /// Which.
        window: WindowId,
        /// What the drag does.
        drag: Drag,
    },
    /// Which parts of a popup are seen. Until the first: all of it.
    Shape {
        /// Whose.
        window: WindowId,
        /// Which.
        shape: Shape,
    },
}

/// Which parts of a window are seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Shape {
    /// All of it.
    Whole,
    /// These rectangles, at most [`MAX_SHAPE`].
    Parts(Vec<Part>),
}

/// A rectangle of a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Part {
    /// Left edge in the window.
    pub x: u16,
    /// Top edge in the window.
    pub y: u16,
    /// Its size.
    pub size: Size,
}

/// A cursor image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cursor {
    /// The picture.
    pub picture: Picture,
    /// The hot spot from the left.
    pub hot_x: u16,
    /// The hot spot from the top.
    pub hot_y: u16,
}

/// What happened to a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyAction {
    /// Pressed.
    Press,
    /// Still pressed, and repeated by the person's keyboard. The pod's keyboard never repeats by
    /// itself, so that a slow network can't make keys run away.
    Repeat,
    /// Released.
    Release,
}

/// A point in a window, and when the person was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Point {
    /// The window.
    pub window: WindowId,
    /// From its left edge; may lie outside during a drag.
    pub x: i32,
    /// From its top edge.
    pub y: i32,
}

/// What a viewer tells roam-display. `at_ms` is the viewer's own clock, from which the display tells
/// how late an input is: one that is seconds late is dropped instead of hitting what is there now.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToDisplay {
    /// First: a viewer is here.
    Attach,
    /// The frame with this number is shown.
    Ack(u64),
    /// A key, named by what it means on the person's own keyboard layout.
    Key {
        /// The viewer's clock.
        at_ms: u64,
        /// X11 keysym.
        keysym: u32,
        /// What happened.
        action: KeyAction,
    },
    /// The pointer moved.
    Pointer {
        /// The viewer's clock.
        at_ms: u64,
        /// Where it is.
        point: Point,
    },
    /// A mouse button.
    Button {
        /// The viewer's clock.
        at_ms: u64,
        /// Where.
        point: Point,
        /// X11 button number, 1 to 3, 8 or 9.
        button: u8,
        /// Pressed or released.
        pressed: bool,
    },
    /// The wheel turned.
    Wheel {
        /// The viewer's clock.
        at_ms: u64,
        /// Where.
        point: Point,
        /// Notches to the right.
        right: i8,
        /// Notches down.
        down: i8,
    },
    /// The person turned to this window, or to none of the session.
    Focus(Option<WindowId>),
    /// The person clicked elsewhere: open menus should close.
    Dismiss,
    /// The person resized a window.
    Resize {
        /// Which.
        window: WindowId,
        /// To this size.
        size: Size,
        /// Rises with each request of this viewer.
        serial: u32,
    },
    /// The person maximised a window, made it fullscreen, or undid that.
    State {
        /// Which.
        window: WindowId,
        /// Fills the screen but for panels.
        maximized: bool,
        /// Fills the screen.
        fullscreen: bool,
    },
    /// The person asked a window to close.
    Close(WindowId),
    /// The text in the person's clipboard.
    Clipboard(String),
}

/// A message that decodes but breaks a limit.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a display message with {0}")]
pub struct BadMessage(pub &'static str);

fn require(holds: bool, what: &'static str) -> Result<(), BadMessage> {
    if holds { Ok(()) } else { Err(BadMessage(what)) }
}

impl Picture {
    fn check(&self) -> Result<(), BadMessage> {
        require(self.size.valid(MAX_PICTURE_SIDE), "a picture of impossible size")
    }
}

impl ToViewer {
    /// Whether the message keeps every limit of this file.
    ///
    /// # Errors
    /// [`BadMessage`] names what is wrong; the stream should be closed.
    pub fn check(&self) -> Result<(), BadMessage> {
        match self {
            Self::Screen(size) => require(size.valid(MAX_SIDE), "a screen of impossible size"),
            Self::Window(info) => {
                require(info.size.valid(MAX_SIDE), "a window of impossible size")?;
                let near = -65_536..65_536;
                require(near.contains(&info.x) && near.contains(&info.y), "a window far off the screen")?;
                require(info.title.len() <= MAX_TITLE && info.class.len() <= MAX_TITLE, "too long a title")
            }
            Self::Icon { icon, .. } => icon.check(),
            Self::Frame { size, tiles, .. } => {
                require(size.valid(MAX_SIDE), "a frame of impossible size")?;
                require(tiles.len() <= MAX_TILES, "too many tiles")?;
                require(
                    tiles.iter().map(|t| t.size.pixels()).sum::<usize>() <= MAX_TILE_PIXELS,
                    "too many pixels",
                )?;
                for tile in tiles {
                    let right = u32::from(tile.x) + u32::from(tile.size.width);
                    let bottom = u32::from(tile.y) + u32::from(tile.size.height);
                    require(
                        tile.size.valid(MAX_SIDE)
                            && right <= u32::from(size.width)
                            && bottom <= u32::from(size.height),
                        "a tile outside its window",
                    )?;
                }
                Ok(())
            }
            Self::Cursor(Some(cursor)) => {
                cursor.picture.check()?;
                require(
                    cursor.hot_x < cursor.picture.size.width && cursor.hot_y < cursor.picture.size.height,
                    "a cursor whose hot spot lies outside",
                )
            }
            Self::Clipboard(text) => require(text.len() <= MAX_CLIPBOARD, "too long a clipboard"),
            Self::Shape { shape: Shape::Parts(parts), .. } => {
                let inside =
                    |part: &Part| part.x <= MAX_SIDE && part.y <= MAX_SIDE && part.size.valid(MAX_SIDE);
                require(parts.len() <= MAX_SHAPE && parts.iter().all(inside), "an impossible shape")
            }
            Self::Drag { drag: Drag::Edge(right, down), .. } => {
                require((-1..=1).contains(right) && (-1..=1).contains(down), "an impossible edge")
            }
            Self::Gone(_)
            | Self::Synced
            | Self::Cursor(None)
            | Self::Activate(_)
            | Self::Drag { .. }
            | Self::Shape { shape: Shape::Whole, .. } => Ok(()),
        }
    }
}

impl ToDisplay {
    /// Whether the message keeps every limit of this file.
    ///
    /// # Errors
    /// [`BadMessage`] names what is wrong; the stream should be closed.
    pub fn check(&self) -> Result<(), BadMessage> {
        match self {
            Self::Resize { size, .. } => require(size.valid(MAX_SIDE), "a window of impossible size"),
            Self::Clipboard(text) => require(text.len() <= MAX_CLIPBOARD, "too long a clipboard"),
            Self::Button { button, .. } => {
                require(matches!(button, 1..=3 | 8 | 9), "a button that no mouse has")
            }
            _ => Ok(()),
        }
    }
}

/// Bytes that are encoded as one block. A plain `Vec<u8>` goes through serde byte by byte, which is
/// too slow for pixels.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Bytes(pub Vec<u8>);

impl fmt::Debug for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} bytes", self.0.len())
    }
}

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E: de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Visitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::{HEADER_LEN, decode_body, encode_frame};
    use proptest::prelude::*;

    fn frame(tile: Tile) -> ToViewer {
        ToViewer::Frame {
            number: 1,
            window: WindowId(7),
            size: Size::new(100, 50),
            tiles: vec![tile],
            last: true,
        }
    }

    fn tile(x: u16, width: u16) -> Tile {
        Tile { x, y: 0, size: Size::new(width, 50), coding: Coding::Solid, data: Bytes(vec![1, 2, 3]) }
    }

    #[test]
    fn a_frame_comes_back() {
        let message = frame(tile(50, 50));
        let bytes = encode_frame(&message).unwrap();
        assert_eq!(decode_body::<ToViewer>(&bytes[HEADER_LEN..]).unwrap(), message);
        assert_eq!(message.check(), Ok(()));
    }

    #[test]
    fn a_tile_outside_its_window_is_refused() {
        assert!(frame(tile(51, 50)).check().is_err());
        assert!(frame(tile(0, 0)).check().is_err());
        assert!(frame(tile(u16::MAX, u16::MAX)).check().is_err());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(message) = decode_body::<ToViewer>(&bytes) {
                let _ = message.check();
            }
            if let Ok(message) = decode_body::<ToDisplay>(&bytes) {
                let _ = message.check();
            }
        }
    }
}
