//! Files in the session's own folders that it holds a lease for writing on: whoever opens one for reading breaks the
//! lease, and waits for the session, which stands still. So the engine reads those through the session's descriptors.
//! One that is open for writing only can't be read so: the session goes on where it is.
//!
//! /proc/locks would tell at once whether there is any, but it waits for all processors, some 10 ms.

use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use roam_sys::descriptor::pidfd_getfd;
use roam_sys::procfs;
use roam_sys::procfs::fdinfo::{FdInfo, LockKind};

use super::descriptors::Holder;
use crate::error::Error;

/// Files with such leases.
#[derive(Default)]
pub struct Leased(Vec<Holding>);

struct Holding {
    inode: (u64, u64),
    file: File,
    reads: bool,
}

impl Leased {
    /// Those of these processes below these folders of the pod.
    ///
    /// # Errors
    /// If /proc can't be read.
    pub fn of(holders: &[Holder], folders: &[PathBuf]) -> Result<Self, Error> {
        let failed = |e| Error::system("looking for leases", e);
        let mut found = Vec::new();
        for holder in holders {
            let process = format!("/proc/{}", holder.host);
            for entry in std::fs::read_dir(format!("{process}/fd")).map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let link = std::fs::read_link(entry.path()).map_err(failed)?;
                if !folders.iter().any(|folder| link.starts_with(folder)) {
                    continue;
                }
                let name = entry.file_name();
                let Some(number) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
                let text = procfs::read(&format!("{process}/fdinfo/{number}")).map_err(failed)?;
                let Some(info) = FdInfo::parse(&String::from_utf8_lossy(&text)) else { continue };
                if !info.locks.iter().any(|lock| lock.kind == LockKind::Lease && lock.write) {
                    continue;
                }
                let file = File::from(pidfd_getfd(holder.pidfd.as_fd(), number).map_err(failed)?);
                let meta = file.metadata().map_err(failed)?;
                let reads = info.flags & libc::O_ACCMODE != libc::O_WRONLY;
                found.push(Holding { inode: (meta.dev(), meta.ino()), file, reads });
            }
        }
        Ok(Self(found))
    }

    /// The file as the session has it open, if it has such a lease.
    ///
    /// # Errors
    /// If it can't be read through that.
    pub fn file(&self, device: u64, inode: u64) -> io::Result<Option<File>> {
        match self.0.iter().find(|found| found.inode == (device, inode)) {
            None => Ok(None),
            Some(found) if found.reads => found.file.try_clone().map(Some),
            Some(_) => Err(io::Error::other(
                "a program has a lease for writing on one that it has open for writing only",
            )),
        }
    }
}
