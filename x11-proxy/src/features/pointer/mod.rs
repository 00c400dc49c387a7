//! Pointer and wheel: a place in a viewer's window becomes a place on the pod's screen.

#[cfg(unix)]
pub(crate) mod display;
pub(crate) mod viewer;
