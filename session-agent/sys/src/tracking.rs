//! How written pages are found out on this machine: asked of the kernel, never concluded from its version.

use crate::{pagemap, soft_dirty, uffd};

/// A way to find out which pages a running process writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// userfaultfd with asynchronous write protection, read by PAGEMAP_SCAN (Linux 6.7).
    Asynchronous,
    /// Soft-dirty bits, and a userfaultfd that marks areas.
    SoftDirty,
}

impl Method {
    /// What a userfaultfd is for in it.
    #[must_use]
    pub fn purpose(self) -> uffd::Purpose {
        match self {
            Self::Asynchronous => uffd::Purpose::NotingWrites,
            Self::SoftDirty => uffd::Purpose::MarkingAreas,
        }
    }
}

/// The best one that works here.
#[must_use]
pub fn method() -> Option<Method> {
    if pagemap::scan_supported() && uffd::async_write_protection_supported() {
        Some(Method::Asynchronous)
    } else if uffd::marks_supported() && soft_dirty::supported() {
        Some(Method::SoftDirty)
    } else {
        None
    }
}
