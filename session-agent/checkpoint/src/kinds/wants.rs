//! What a target must have of its own, as far as can be told while the session runs: asked for before anything is
//! frozen, so that what is missing is refused at once. All of it is looked at again when the session stands still.
//!
//! A file that has just changed is left to that second look: the target may see an older state, or the program may
//! delete it the next moment. Of what is written only the place is asked for, and of large files the size.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use roam_api::error::Refusal;
use serde::{Deserialize, Serialize};

use super::folders;
use super::paths;
use super::regular::{self, Expected};
use super::udp_queue;
use crate::content::Content;

/// Something of the target's own that a process needs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Want {
    /// The process's name.
    pub process: String,
    /// Its pid in the pod.
    pub pid: u32,
    /// What it is to the process: a descriptor, its current directory.
    pub what: String,
    /// Where it lies in the pod.
    pub path: Vec<u8>,
    /// What must be there.
    pub is: Is,
}

/// What must be at a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Is {
    /// A folder that can be entered.
    Folder,
    /// A folder that somebody has open.
    OpenFolder,
    /// A file.
    File(Expected),
    /// Room in the queue of a UDP socket, in bytes of memory; it has no path.
    Room(u32),
}

/// All that a session wants, each path once, and room for each socket.
#[derive(Debug, Default)]
pub struct Wants {
    list: Vec<Want>,
    seen: HashSet<Vec<u8>>,
    bytes: usize,
}

/// The longest list, in bytes of its words and paths: it travels in one message. What is beyond is looked at when the
/// session stands still.
const MOST: usize = 1 << 20;
/// Larger files, in bytes, are judged by their size: they would keep the source waiting.
const LARGE: u64 = 64 << 20;

impl Wants {
    /// Adds one, unless its path is known or there are too many.
    pub fn add(&mut self, want: Want) {
        let length = want.process.len() + want.what.len() + want.path.len() + 128;
        let is_new = |seen: &mut HashSet<_>| want.is_room() || seen.insert(want.path.clone());
        if self.bytes + length <= MOST && is_new(&mut self.seen) {
            self.bytes += length;
            self.list.push(want);
        }
    }

    /// The list.
    #[must_use]
    pub fn list(self) -> Vec<Want> {
        self.list
    }
}

impl Want {
    /// Why this machine does not have it, if it has not. `root` is its file tree, or a pod's.
    #[must_use]
    pub fn missing(&self, root: &Path) -> Option<Refusal> {
        let (reason, remedy) = match self.is {
            Is::Folder => folders::lacks(root, &self.path),
            Is::OpenFolder => super::directory::lacks(root, &self.path),
            Is::File(Expected::Same(content)) if content.size > LARGE => {
                self.by_size(root, content).or_else(|| regular::lacks(root, &self.path, &Expected::Anything))
            }
            Is::File(expected) => regular::lacks(root, &self.path, &expected),
            Is::Room(taken) => udp_queue::lacks_room(taken),
        }?;
        let Self { process, pid, what, .. } = self.clone();
        Some(Refusal { process, pid, what, reason, remedy })
    }

    fn by_size(&self, root: &Path, content: Content) -> Option<(String, String)> {
        let there = paths::open_in(root, &self.path, libc::O_PATH).and_then(|file| file.metadata()).ok()?;
        (!there.is_file() || there.len() != content.size).then(|| regular::another(&self.path))
    }

    /// How many bytes must be read to know whether it is there, at most.
    #[must_use]
    pub fn cost(&self) -> u64 {
        match self.is {
            Is::File(Expected::Same(content)) if content.size <= LARGE => content.size,
            _ => 0,
        }
    }

    /// The same, but nothing is read of it.
    #[must_use]
    pub fn by_place(self) -> Self {
        let is = match self.is {
            Is::File(Expected::Same(_)) => Is::File(Expected::There),
            other => other,
        };
        Self { is, ..self }
    }

    /// Whether it is about room, and not about the target's files.
    #[must_use]
    pub fn is_room(&self) -> bool {
        matches!(self.is, Is::Room(_))
    }

    /// Whether its path is one that a program can have: from the root on, and nowhere back.
    #[must_use]
    pub fn is_plain(&self) -> bool {
        let path = self.path();
        let mut parts = path.components();
        parts.next() == Some(Component::RootDir) && parts.all(|part| matches!(part, Component::Normal(_)))
    }

    /// Where it lies, as a path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn want(path: &str, is: Is) -> Want {
        Want { process: "p".into(), pid: 2, what: "descriptor 3".into(), path: path.into(), is }
    }

    #[test]
    fn only_paths_that_go_straight_down_are_looked_at() {
        let plain = |path| want(path, Is::Folder).is_plain();
        assert!(plain("/") && plain("/srv/a b/c"));
        assert!(!plain("") && !plain("srv") && !plain("/srv/../dev/zero") && !plain("./x"));
    }

    #[test]
    fn room_is_asked_for_each_socket_and_files_once() {
        let mut wants = Wants::default();
        for want in [want("", Is::Room(1)), want("", Is::Room(u32::MAX)), want("/a", Is::Folder)] {
            wants.add(want.clone());
            wants.add(want);
        }
        let list = wants.list();
        assert_eq!(list.len(), 5);
        let missing: Vec<_> = list.iter().filter_map(|want| want.missing(Path::new("/"))).collect();
        assert_eq!(missing[0].what, "descriptor 3");
        assert!(missing[0].remedy.contains("rmem_max"), "{missing:?}");
    }

    #[test]
    fn what_is_no_file_is_not_read() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for size in [10, LARGE + 1] {
            let same = Is::File(Expected::Same(Content { size, hash: [0; 32] }));
            assert!(want("/fifo", same).missing(dir.path()).is_some(), "{size}");
        }
        std::fs::write(dir.path().join("file"), "x").unwrap();
        let there = want("/file", Is::File(Expected::Same(Content { size: 1, hash: [0; 32] })));
        assert_eq!(there.cost(), 1);
        assert!(there.missing(dir.path()).is_some());
        assert_eq!(there.by_place().missing(dir.path()), None);
    }
}
