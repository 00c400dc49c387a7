//! The descriptor tables of the session: which process has which open file under which number.
//!
//! Open files are shared by duplicates and across fork, so they are found first (by kcmp among
//! those that look alike), captured once each by their kind, and then referred to by id.

use std::os::fd::OwnedFd;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::objects::{ObjectSlots, Objects};
use crate::pod::{Externals, Pod};
use crate::stubs::Stubs;

/// A process whose descriptors are captured.
pub struct Holder {
    /// As the keeper sees it.
    pub host: Pid,
    /// As the pod sees it.
    pub pid: i32,
    /// Its name, for refusals.
    pub name: String,
    /// For pidfd_getfd.
    pub pidfd: OwnedFd,
}

/// All descriptor tables and open files of the session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Descriptors {}

/// Says what of these processes' descriptors can't be carried. They run meanwhile.
///
/// # Errors
/// If /proc can't be read.
pub fn check(_holders: &[Holder], _pod: &dyn Pod, _externals: &dyn Externals) -> Result<Vec<Refusal>, Error> {
    Ok(Vec::new())
}

/// Captures everything that the processes hold open. They are frozen.
///
/// # Errors
/// [`Error::Refused`] for what can't be carried, or a failed call.
pub fn capture(
    _holders: &[Holder],
    _pod: &dyn Pod,
    _externals: &dyn Externals,
    _objects: &mut Objects,
) -> Result<Descriptors, Error> {
    Ok(Descriptors::default())
}

/// Makes all open files anew in the stubs' shared table, gives each process its own table with the
/// right numbers, and connects what belongs together.
///
/// # Errors
/// A failed call, or an image that contradicts itself.
pub fn restore(
    _image: &Descriptors,
    _stubs: &mut dyn Stubs,
    _slots: &ObjectSlots,
    _pod: &dyn Pod,
    _externals: &mut dyn Externals,
) -> Result<(), Error> {
    Ok(())
}
