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

/// Reads the cookie of an X server as it is passed in the environment.
#[must_use]
pub fn cookie_from_hex(hex: &str) -> Option<Vec<u8>> {
    let hex = hex.trim();
    if hex.is_empty() || !hex.len().is_multiple_of(2) || !hex.is_ascii() {
        return None;
    }
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cookie_is_pairs_of_digits() {
        assert_eq!(cookie_from_hex("00ff7A"), Some(vec![0, 255, 0x7a]));
        for bad in ["", "0", "0g", "é0"] {
            assert_eq!(cookie_from_hex(bad), None);
        }
    }
}
