//! The clipboard beside the person, on X11: a thread that waits for the X server.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use x11rb::connection::Connection;
use x11rb::protocol::xfixes::ConnectionExt as _;

use super::Bridge;
use crate::x11::X;

/// The person's clipboard.
pub(crate) struct Clipboard {
    x: Arc<X>,
    bridge: Arc<Mutex<Bridge>>,
}

impl Clipboard {
    /// Begins to watch; `copied` is called with each text that the person copies.
    pub fn watch(copied: impl Fn(String) + Send + 'static) -> Result<Self> {
        let x = Arc::new(X::from_environment()?);
        x.conn.xfixes_query_version(5, 0)?.reply()?;
        let bridge = Arc::new(Mutex::new(Bridge::new(&x.conn, x.root, &x.atoms)?));
        x.conn.flush()?;
        let clipboard = Self { x: x.clone(), bridge: bridge.clone() };
        std::thread::Builder::new().name("clipboard".to_owned()).spawn(move || {
            // Ends with the X server, and then so does the viewer.
            while let Ok(event) = x.conn.wait_for_event() {
                let mut bridge = bridge.lock().unwrap_or_else(PoisonError::into_inner);
                let Ok(text) = bridge.on_event(&x.conn, &x.atoms, &event) else { return };
                drop(bridge);
                if x.conn.flush().is_err() {
                    return;
                }
                if let Some(text) = text {
                    copied(text);
                }
            }
        })?;
        Ok(clipboard)
    }

    /// Puts the app's text into the person's clipboard.
    pub fn offer(&self, text: String) -> Result<()> {
        let mut bridge = self.bridge.lock().unwrap_or_else(PoisonError::into_inner);
        bridge.offer(&self.x.conn, &self.x.atoms, text)?;
        self.x.conn.flush()?;
        Ok(())
    }
}
