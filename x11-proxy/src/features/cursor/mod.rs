//! The mouse cursor: its picture is read in the pod (XFixes) and shown by the viewer's own system.

#[cfg(unix)]
pub(crate) mod display;
pub(crate) mod viewer;
