//! roam-init: pid 1 of a pod.
//!
//! It reaps, starts what the keeper asks for, keeps descriptors for the next keeper, and lives on when
//! keepers die. One thread, one blocking poll; [`children`] is the bookkeeping, [`serve`] the
//! loop. It is never checkpointed: at the target of a move the pod has its own.

pub mod children;
pub mod serve;

pub use serve::run;
