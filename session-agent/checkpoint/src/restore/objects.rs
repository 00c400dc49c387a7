//! The shared objects that mappings stand on, made once in the table that all stubs share.

use std::fs::File;

use roam_sys::batch::{Batch, RetOf};

use super::mappings::may_write;
use super::{Made, Restorer};
use crate::error::Error;
use crate::kinds::private_files;
use crate::kinds::sysv;
use crate::objects::{Object, ObjectKind};
use crate::pages::{Backing, Layout};

impl Restorer {
    pub(super) fn make_objects(&mut self, objects: &[Object]) -> Result<(), Error> {
        let io = |e| Error::system("making shared memory", e);
        for (index, object) in objects.iter().enumerate() {
            match self.objects.get(index) {
                Some(Made::File { number, reader, .. })
                    if self.layout.objects.get(index).is_some_and(|o| !o.kind.is_made_like(&object.kind)) =>
                {
                    // What seemed to have no name has one, or the other way round.
                    let mut batch = Batch::new();
                    for number in [Some(*number), *reader].into_iter().flatten() {
                        batch.must("closing shared memory", libc::SYS_close, &[number.into()]);
                    }
                    self.run_in_holder(&batch)?;
                    self.objects[index] = self.make_object(object)?;
                }
                Some(Made::File { file, .. }) => {
                    if file.metadata().map_err(io)?.len() != object.size {
                        file.set_len(object.size).map_err(io)?;
                    }
                }
                Some(Made::Segment { .. }) => {}
                None => {
                    let made = self.make_object(object)?;
                    self.objects.push(made);
                }
            }
        }
        Ok(())
    }

    fn make_object(&mut self, object: &Object) -> Result<Made, Error> {
        let mut batch = Batch::new();
        let made = match &object.kind {
            ObjectKind::Memfd { name, .. } => memory_file(name, &mut batch),
            ObjectKind::Unlinked { path, .. } => {
                let nameless = private_files::open_nameless(path, &mut batch)?;
                let number = self.run_in_holder(&batch)?.ret(nameless);
                if number >= 0 {
                    return self.made(number as i32, object.size);
                }
                batch = Batch::new();
                memory_file(path.rsplit(|b| *b == b'/').next().unwrap_or(b"unlinked"), &mut batch)
            }
            ObjectKind::Private { path } => private_files::open(path, &self.private_folders, &mut batch)?,
            ObjectKind::SysV { shmid, key, mode } => {
                let made = sysv::restore(*shmid, *key, *mode, object.size, &mut batch);
                let done = self.run_in_holder(&batch)?;
                let address = made.check(&done, *shmid)?;
                return Ok(Made::Segment { shmid: *shmid, address });
            }
        };
        let number = self.run_in_holder(&batch)?.ret(made) as i32;
        self.made(number, object.size)
    }

    fn made(&self, number: i32, size: u64) -> Result<Made, Error> {
        let file = File::from(self.fetch(number)?);
        file.set_len(size).map_err(|e| Error::system("making shared memory", e))?;
        Ok(Made::File { number, reader: None, file })
    }

    /// Opens the objects once more, for reading only, that some process maps and may never write.
    pub(super) fn open_readers(&mut self, layout: &Layout) -> Result<(), Error> {
        let mappings = layout.processes.iter().flat_map(|p| &p.mappings);
        let read_only = mappings.filter(|m| m.shared && !may_write(m));
        let ids: Vec<usize> = read_only
            .filter_map(|m| match m.backing {
                Backing::Object { object, .. } => Some(object.0 as usize),
                _ => None,
            })
            .collect();
        for id in ids {
            let Made::File { number, reader: None, .. } = self.objects[id] else { continue };
            let mut batch = Batch::new();
            let path = batch.c_string(format!("/proc/self/fd/{number}").as_bytes());
            let opened = batch.must(
                "opening shared memory for reading",
                libc::SYS_openat,
                &[libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()],
            );
            let opened = self.run_in_holder(&batch)?.ret(opened) as i32;
            if let Made::File { reader, .. } = &mut self.objects[id] {
                *reader = Some(opened);
            }
        }
        Ok(())
    }
}

pub(super) fn memory_file(name: &[u8], batch: &mut Batch) -> RetOf {
    const MFD_ALLOW_SEALING: u32 = 2;
    let name = batch.c_string(&name[..name.len().min(200)]);
    batch.must(
        "making shared memory",
        libc::SYS_memfd_create,
        &[name.into(), (libc::MFD_CLOEXEC | MFD_ALLOW_SEALING).into()],
    )
}
