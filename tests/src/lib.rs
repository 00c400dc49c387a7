//! What the tests stand on: the [`lab`] of machines on one machine, and the [`harness`] that waits,
//! limits, cleans up and counts.

pub mod harness;
pub mod lab;
