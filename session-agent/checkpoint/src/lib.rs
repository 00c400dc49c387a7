//! Checkpoint and restore of a pod from outside, by ptrace and /proc, without privileges.
//!
//! Everything here runs on **one thread** of the keeper (ptrace knows its tracer by thread) and blocks;
//! nothing here does network or keeps state between calls but what its types hold.
//!
//! The way out: [`check`] (nothing is frozen) → [`freeze()`] → [`Frozen::capture`] →
//! `Frozen::send_pages` → `Frozen::thaw` or `Frozen::kill`. While it still runs:
//! `Tracker` sends memory ahead.
//! The way back: `Restorer::begin` in a prepared pod → `Restorer::layout` and
//! `PageSink` as often as wanted → `Restorer::build` → `Prepared::activate`.

mod capture;
pub mod content;
pub mod error;
mod freeze;
pub mod image;
pub mod kinds;
pub mod objects;
pub mod pages;
pub mod pod;
mod restore;
mod stopping;
pub mod stubs;
mod track;

pub use capture::{Outlook, check, clocks};
pub use error::Error;
pub use freeze::{Frozen, FrozenProcess, FrozenThread, PATIENCE, freeze};
pub use image::{Clocks, Image};
pub use kinds::locks::Place as LockPlace;
pub use kinds::wants::Want;
pub use pages::{PageSink, PageStats};
pub use pod::{ExternalName, Externals, Pod};
pub use restore::{Prepared, Restorer};
pub use track::{Tracker, supported as tracking_supported};
