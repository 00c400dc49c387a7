//! The checkpoint image: all kernel state of a session but its memory.
//!
//! Every part is the state struct of one kind and refers to others by id only. Pages travel beside the
//! image ([`crate::pages`]).

use serde::{Deserialize, Serialize};

use crate::kinds::descriptors::Descriptors;
use crate::kinds::filters::Filter;
use crate::kinds::ipc::Ipc;
use crate::kinds::process::ProcessState;
use crate::pages::Layout;

/// A frozen session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Image {
    /// Processes, mappings, mapped files and shared objects.
    pub layout: Layout,
    /// The state of each living process, by pid; zombies have none.
    pub processes: Vec<ProcessState>,
    /// What they hold open.
    pub descriptors: Descriptors,
    /// Filters of system calls that its programs installed, each after those below it.
    pub filters: Vec<Filter>,
    /// System V semaphores and message queues.
    pub ipc: Ipc,
    /// The pod's clocks at the freeze.
    pub clocks: Clocks,
}

/// Clocks in nanoseconds, as a process of the pod reads them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Clocks {
    /// CLOCK_MONOTONIC.
    pub monotonic: i64,
    /// CLOCK_BOOTTIME.
    pub boottime: i64,
    /// CLOCK_REALTIME.
    pub realtime: i64,
}
