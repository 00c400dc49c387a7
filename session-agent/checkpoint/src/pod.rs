//! What the engine needs to know of a pod, and what the keeper lends it.

use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

use crate::kinds::filters::Book;

/// A pod, as its keeper presents it to the engine.
pub trait Pod {
    /// roam-init's pid, as the keeper sees it.
    fn init(&self) -> Pid;

    /// The pod's file tree seen from outside: `/proc/INIT/root`.
    fn root(&self) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root", self.init()))
    }

    /// Has roam-init fork a child that execs the stub (`roam_sys::stub::elf_image`) with roam-init's
    /// capabilities, standard descriptors closed, and returns its pid as the keeper sees it.
    /// The stub waits in `pause` until it is traced.
    ///
    /// # Errors
    /// Whatever kept roam-init from doing so.
    fn spawn_stub(&self) -> io::Result<Pid>;

    /// A NETLINK_SOCK_DIAG socket that was made inside the pod's network namespace.
    fn socket_diag(&self) -> BorrowedFd<'_>;

    /// The filters that programs of the pod installed; none where they can't be recorded.
    fn filters(&self) -> Option<&Arc<Book>> {
        None
    }

    /// Processes of the pod that belong to Roam and are not carried (roam-init's own helpers),
    /// as the keeper sees them. roam-init itself need not be listed.
    fn not_carried(&self) -> Vec<Pid> {
        Vec::new()
    }
}

/// A name for a descriptor whose other side the keeper holds and makes anew: `stdout`, `stdin`…
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ExternalName(pub String);

/// Descriptors of the session that lead to the keeper: pipes for standard output and the like.
pub trait Externals {
    /// Which external this open file is, judged by a duplicate of it.
    fn identify(&self, file: BorrowedFd<'_>) -> Option<ExternalName>;

    /// At the target: the pod's side of that external, made anew by the keeper.
    ///
    /// # Errors
    /// If this keeper has no such external.
    fn provide(&mut self, name: &ExternalName) -> io::Result<OwnedFd>;
}
