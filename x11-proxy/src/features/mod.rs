//! What a screen can do besides pixels. One folder per feature, with the half that runs beside the
//! app (`display.rs`) and the half that runs beside the person (`viewer.rs`) next to each other.

#[cfg(unix)]
pub(crate) mod clipboard;
pub(crate) mod cursor;
#[cfg(unix)]
pub(crate) mod icon;
pub(crate) mod keyboard;
pub(crate) mod pointer;
