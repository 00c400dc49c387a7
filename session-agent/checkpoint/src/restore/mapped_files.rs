//! The files that mappings show: each must be here, by path, with the content that the session saw.
//!
//! Where one is not, its [`stand-in`](MappedFile::stand_in) is mapped instead, if it came along. Refuses: files
//! that differ or are missing without one. Those of the system refuse at once; the user's own may be about to change,
//! as databases do, so of them only the last layout counts.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};

use super::mappings::may_write;
use super::objects::memory_file;
use super::{Made, Restorer};
use crate::content::Content;
use crate::error::Error;
use crate::kinds::memory::in_root;
use crate::pages::{Backing, Layout, MappedFile, Mapping, ProcessLayout};

impl Restorer {
    /// Which of the layout's files are not here, by index.
    pub(super) fn absent_files(&mut self, layout: &Layout) -> Result<HashSet<u32>, Error> {
        let before: HashSet<&MappedFile> = self.layout.files.iter().collect();
        let mut absent = HashSet::new();
        let (mut refusals, mut wanting) = (Vec::new(), Vec::new());
        for (index, file) in layout.files.iter().enumerate() {
            // One that was here a moment ago is; what was not may have come meanwhile.
            let was_found = before.contains(file) && !self.absent.contains(file);
            let Some(reason) = (if was_found { None } else { self.why_absent(file) }) else { continue };
            absent.insert(index as u32);
            if file.stand_in.is_none() {
                let maps = |p: &&ProcessLayout| {
                    let is_it =
                        |m: &Mapping| matches!(m.backing, Backing::File { file, .. } if file == index as u32);
                    p.mappings.iter().any(is_it)
                };
                let (process, pid) = layout.processes.iter().find(maps).map_or_else(
                    || ("session".to_owned(), 0),
                    |p| (p.name.clone(), p.node.pid.unsigned_abs()),
                );
                let list = if self.may_want || self.may_change(file) { &mut wanting } else { &mut refusals };
                list.push(Refusal {
                    process,
                    pid,
                    what: format!("file {}", String::from_utf8_lossy(&file.path)),
                    reason: reason.to_owned(),
                    remedy: "Install the same version of the program on both machines.".to_owned(),
                });
            }
        }
        if !refusals.is_empty() {
            return Err(Error::Refused(refusals));
        }
        self.wanting = wanting;
        self.absent = absent.iter().map(|&index| layout.files[index as usize].clone()).collect();
        Ok(absent)
    }

    /// Whether the session may have changed, made or deleted the file since it was looked at there.
    fn may_change(&self, file: &MappedFile) -> bool {
        let path = in_root(&self.root, &file.path);
        let nearest = path.ancestors().find_map(|path| path.metadata().ok());
        nearest.is_some_and(|meta| meta.uid() == nix::unistd::geteuid().as_raw())
    }

    fn why_absent(&self, file: &MappedFile) -> Option<&'static str> {
        match File::open(in_root(&self.root, &file.path)).and_then(|f| Content::of(&f)) {
            Ok(content) if content == file.content => None,
            Ok(_) => Some("it is not the one that the session uses"),
            Err(e) if e.kind() == ErrorKind::NotFound => Some("it is missing"),
            Err(_) => Some("it can't be read"),
        }
    }

    /// Opens what the mappings need in the shared table. Nothing is written through what takes an absent
    /// file's place: only private mappings have stand-ins, and what is wanting never comes to run.
    pub(super) fn open_files(&mut self, layout: &Layout, absent: &HashSet<u32>) -> Result<(), Error> {
        let mut needed: Vec<(u32, bool)> = layout
            .processes
            .iter()
            .flat_map(|p| &p.mappings)
            .filter_map(|m| match m.backing {
                Backing::File { file, .. } => Some((file, may_write(m))),
                _ => None,
            })
            .collect();
        needed.sort_unstable();
        needed.dedup();
        let old = std::mem::take(&mut self.files);
        let positions: HashMap<&MappedFile, u32> = self.layout.files.iter().zip(0..).collect();
        let mut batch = Batch::new();
        let mut opened: Vec<((u32, bool), RetOf)> = Vec::new();
        for key in needed {
            let file = &layout.files[key.0 as usize];
            // Indexes are of this layout; a file known from the last one keeps its descriptor.
            let before = positions.get(file);
            let known = before.and_then(|&before| old.get(&(before, key.1)).copied());
            let stand_in = file.stand_in.and_then(|id| match self.objects.get(id.0 as usize) {
                Some(Made::File { number, .. }) if absent.contains(&key.0) => Some(*number),
                _ => None,
            });
            if let Some(number) = known.or(stand_in) {
                self.files.insert(key, number);
                continue;
            }
            let made = if absent.contains(&key.0) {
                memory_file(b"wanting", &mut batch)
            } else {
                let path = batch.c_string(&file.path);
                let mode = if key.1 { libc::O_RDWR } else { libc::O_RDONLY };
                batch.must(
                    "opening a mapped file",
                    libc::SYS_openat,
                    &[libc::AT_FDCWD.into(), path.into(), (mode | libc::O_CLOEXEC).into()],
                )
            };
            opened.push((key, made));
        }
        if !batch.is_empty() {
            let done = self.run_in_holder(&batch)?;
            for (key, ret) in opened {
                self.files.insert(key, done.ret(ret) as i32);
            }
        }
        Ok(())
    }
}
