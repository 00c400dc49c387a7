//! The keyboard. The viewer says which key it was by its meaning on the person's own layout (a
//! keysym), and the display finds or makes a key of the pod's keyboard that means the same. So
//! every layout works, whatever the pod started with, and also from systems that are not X11.

#[cfg(unix)]
pub(crate) mod display;
pub(crate) mod viewer;

/// X11's shift keys.
pub(crate) const SHIFT_L: u32 = 0xffe1;
pub(crate) const SHIFT_R: u32 = 0xffe2;
