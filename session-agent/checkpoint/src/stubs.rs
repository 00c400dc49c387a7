//! The stubs of a restore, as the kinds see them: processes that run batches.

use std::os::fd::BorrowedFd;

use roam_sys::batch::{Batch, Done};

use crate::error::Error;
use crate::kinds::namespaces::Id;

/// The processes of a pod under restore. Until a kind of descriptors splits them, all of them share
/// one descriptor table, so that what one makes the others have.
pub trait Stubs {
    /// The pod pid of the stub that belongs to no process of the session. It is there from first to
    /// last and is not part of what is restored.
    fn holder(&self) -> i32;

    /// Runs a batch in the main thread of the stub with this pod pid.
    ///
    /// # Errors
    /// A call that had to succeed and did not, or a stub that died.
    fn run(&mut self, pid: i32, batch: &Batch) -> Result<Done, Error>;

    /// The stub with which others can enter a namespace that a program had made.
    ///
    /// # Errors
    /// If there is none.
    fn sentry(&self, namespace: Id) -> Result<i32, Error> {
        Err(Error::Image(format!("there is no namespace {namespace}")))
    }

    /// The network that a process in a pid namespace of its own is in: it can't go to another and come back. None
    /// for those that can.
    fn network_of(&self, _pid: i32) -> Option<Id> {
        None
    }

    /// Has such processes enter the networks that they are to be in.
    ///
    /// # Errors
    /// If one can't.
    fn enter_networks(&mut self) -> Result<(), Error> {
        Ok(())
    }

    /// What something with this number in the pod is called where a process is; none if it can't be seen there.
    fn number(&self, _viewer: i32, pod: i32) -> Option<i32> {
        Some(pod)
    }

    /// Brings a descriptor of the keeper into the shared table; returns its number there (close-on-exec).
    ///
    /// # Errors
    /// If the table is full, or a stub died.
    fn import(&mut self, fd: BorrowedFd<'_>) -> Result<i32, Error>;
}
