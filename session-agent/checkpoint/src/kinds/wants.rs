//! What a target must have of its own, as far as can be told while the session runs: asked for before anything is
//! frozen, so that what is missing is refused at once. All of it is looked at again when the session stands still.
//!
//! A file that has just changed is left to that second look: the target may see an older state, or the program may
//! delete it the next moment. Of what is written only the place is asked for, and of large files the size.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::File;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use roam_api::error::Refusal;
use serde::{Deserialize, Serialize};

use super::folders;
use super::regular::{self, Expected};
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
}

/// All that a session wants, each path once.
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
        if self.bytes + length <= MOST && self.seen.insert(want.path.clone()) {
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
        }?;
        let Self { process, pid, what, .. } = self.clone();
        Some(Refusal { process, pid, what, reason, remedy })
    }

    fn by_size(&self, root: &Path, content: Content) -> Option<(String, String)> {
        let relative = self.path.strip_prefix(b"/").unwrap_or(&self.path);
        let there: io::Result<u64> =
            File::open(root.join(OsStr::from_bytes(relative))).and_then(|f| Ok(f.metadata()?.len()));
        (there.ok()? != content.size).then(|| regular::another(&self.path))
    }

    /// Where it lies, as a path.
    #[must_use]
    pub fn path(&self) -> PathBuf {
        PathBuf::from(OsStr::from_bytes(&self.path))
    }
}
