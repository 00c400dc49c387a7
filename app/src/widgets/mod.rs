//! The pieces that screens are made of. Each takes its colours from [`crate::theme`], can be reached
//! with the keyboard and has a name for screen readers.

pub mod button;
pub mod icon;
pub mod progress;
pub mod surface;
pub mod tile;
