//! One file per kernel object: its state, how it is captured, how it is made anew, its tests.

pub mod descriptors;
