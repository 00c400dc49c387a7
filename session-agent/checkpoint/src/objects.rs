//! Shared memory objects: what several processes map, or hold open, as one.
//!
//! memfd, shared anonymous memory, POSIX and System V shared memory, unlinked files that are mapped:
//! each is one object, known by device and inode while it is captured, by [`ObjectId`] in the image.
//! Its bytes travel like pages of memory (`crate::pages::Space::Object`), never inside the image.

use std::collections::HashMap;
use std::os::fd::OwnedFd;

use serde::{Deserialize, Serialize};

/// An object of the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ObjectId(pub u32);

/// How the object is made anew.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum ObjectKind {
    /// A memfd, or anonymous shared memory, which is carried as one.
    Memfd {
        /// As given to memfd_create; shared anonymous memory has none.
        name: Vec<u8>,
        /// F_GET_SEALS.
        seals: u32,
        /// Permission bits, where a descriptor shows them. One seal (F_SEAL_EXEC) is about them.
        mode: Option<u32>,
    },
    /// An unlinked file of a file system of the pod; made anew without a name in the folder that it was
    /// in, or as a memfd where that can't be.
    Unlinked {
        /// Its last path.
        path: Vec<u8>,
        /// Permission bits, where a descriptor shows them.
        mode: Option<u32>,
    },
    /// A file of a folder that is the pod's own; it is made anew under its path.
    Private {
        /// Absolute path in the pod.
        path: Vec<u8>,
    },
    /// A System V shared memory segment.
    SysV {
        /// Its id, which processes keep using.
        shmid: i32,
        /// Its key.
        key: i32,
        /// Permission bits, and SHM_DEST if it goes with its last user.
        mode: u32,
    },
}

impl ObjectKind {
    /// Memory of this name of which no more is known.
    #[must_use]
    pub fn memory(name: &[u8]) -> Self {
        Self::Memfd { name: name.to_vec(), seals: 0, mode: None }
    }

    /// Whether what was made for the one serves for the other.
    #[must_use]
    pub fn is_made_like(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Memfd { name, .. }, Self::Memfd { name: other, .. }) => name == other,
            (Self::Unlinked { path, .. }, Self::Unlinked { path: other, .. }) => path == other,
            _ => self == other,
        }
    }
}

/// One object of the image.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Object {
    /// How it is made.
    pub kind: ObjectKind,
    /// Its size in bytes.
    pub size: u64,
}

/// The objects met during a capture.
#[derive(Debug, Default)]
pub struct Objects {
    by_inode: HashMap<(u64, u64), ObjectId>,
    list: Vec<(Object, Option<OwnedFd>)>,
}

impl Objects {
    /// The id of an object met before.
    #[must_use]
    pub fn find(&self, device: u64, inode: u64) -> Option<ObjectId> {
        self.by_inode.get(&(device, inode)).copied()
    }

    /// Whether this is a file of the pod's own folders, which comes along with its content.
    #[must_use]
    pub fn carries_file(&self, device: u64, inode: u64) -> bool {
        let object = self.find(device, inode).and_then(|id| self.list.get(id.0 as usize));
        object.is_some_and(|(object, _)| matches!(object.kind, ObjectKind::Private { .. }))
    }

    /// Whether the object can be read through a descriptor of its own.
    #[must_use]
    pub fn has_file(&self, id: ObjectId) -> bool {
        self.list.get(id.0 as usize).is_some_and(|(_, file)| file.is_some())
    }

    /// Registers an object, or finds it. `file` is a descriptor in this process through which its
    /// bytes can be read; without one they are read through a process that maps it.
    pub fn register(&mut self, device: u64, inode: u64, object: Object, file: Option<OwnedFd>) -> ObjectId {
        if let Some(id) = self.find(device, inode) {
            let known = &mut self.list[id.0 as usize];
            if known.1.is_none() && file.is_some() {
                *known = (object, file);
            }
            return id;
        }
        let id = ObjectId(self.list.len() as u32);
        self.by_inode.insert((device, inode), id);
        self.list.push((object, file));
        id
    }

    /// Registers an object, or tells what is now known of it.
    pub fn replace(&mut self, device: u64, inode: u64, object: Object) {
        let id = self.register(device, inode, object.clone(), None);
        self.list[id.0 as usize].0 = object;
    }

    /// A descriptor tells how large the object is now.
    pub fn resized(&mut self, id: ObjectId, size: u64) {
        self.list[id.0 as usize].0.size = size;
    }

    /// A mapping shows that the object is at least this large; the `first` look says what it is now, whatever
    /// was known before.
    pub fn measured(&mut self, id: ObjectId, size: u64, first: bool) {
        let (object, file) = &mut self.list[id.0 as usize];
        // With a descriptor at hand its true size is known.
        if file.is_none() {
            object.size = if first { size } else { object.size.max(size) };
        }
    }

    /// All objects, in the order of their ids.
    pub fn iter(&self) -> impl Iterator<Item = (ObjectId, &Object, Option<&OwnedFd>)> {
        self.list.iter().enumerate().map(|(i, (o, f))| (ObjectId(i as u32), o, f.as_ref()))
    }

    /// What goes into the image.
    #[must_use]
    pub fn image(&self) -> Vec<Object> {
        self.list.iter().map(|(o, _)| o.clone()).collect()
    }
}

/// The objects of a restore: where each one's descriptor lies in the stubs' shared table.
#[derive(Debug, Clone, Default)]
pub struct ObjectSlots(pub HashMap<ObjectId, i32>);
