//! The detachable screen: the window manager in the pod, the display that captures and injects, and
//! the viewer that shows.
//!
//! | module | what |
//! |---|---|
//! | [`wm`] | roam-wm; its decisions are pure |
//! | [`compositor`] | roam-display: damage, capture, tiles, pacing |
//! | [`viewer`] | roam-viewer: native windows |
//! | `features` | keyboard, pointer, cursor, clipboard, icon: both halves side by side |
//! | `codec` | pixels to bytes and back |
//! | `wire` | frames of the stream between display and viewer |

#[cfg(unix)]
pub mod compositor;
pub mod viewer;
#[cfg(unix)]
pub mod wm;

mod codec;
mod features;
mod geometry;
mod wire;
#[cfg(unix)]
mod x11;
