//! What a keeper and a roam-display that it started say to each other, over the display's standard input.
//!
//! The keeper sends one [`Charge`] with two descriptors: the stream to the viewer, then a socket connected
//! to the pod's X server. The display answers with [`Told`] as often as there is something to tell. It
//! ends when the keeper does, which it sees by the end of this socket.

use serde::{Deserialize, Serialize};

use crate::display::MAX_TITLE;

/// The most titles that are told.
pub const MAX_TITLES: usize = 32;

/// What a display must know.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// The MIT-MAGIC-COOKIE-1 of the pod's X server.
    pub cookie: Vec<u8>,
    /// Take no input from the viewer.
    pub view_only: bool,
}

/// What a display tells its keeper.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Told {
    /// The titles of the session's windows, oldest window first.
    Titles(Vec<String>),
}

impl Told {
    /// Whether it keeps within its limits. The titles are the app's own words.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        let Self::Titles(titles) = self;
        titles.len() <= MAX_TITLES && titles.iter().all(|title| title.len() <= MAX_TITLE)
    }
}
