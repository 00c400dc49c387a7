//! Pods: the namespaces that a session lives in.
//!
//! [`create`] runs in `roam-init create`, a process of its own with one thread, and puts the pod
//! together; [`mounts`] is the pod's file tree; [`client`] speaks to the pod's roam-init;
//! [`handle`] is a pod as its keeper and the engine hold it; [`filters`] records the filters that its programs
//! install.

pub mod client;
pub mod create;
pub mod filters;
pub mod handle;
pub mod mounts;
