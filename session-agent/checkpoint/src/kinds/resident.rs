//! Which pages of shared memory are there at all, where only a mapping shows it.
//!
//! Reading the others makes the kernel give memory for each: toolkits make segments of a gigabyte of which they use a
//! tenth. mincore(2) tells what is in memory, whoever put it there, but not what is swapped out; so it is believed
//! only where smaps, looked at afterwards, says that nothing of the area is. Nobody can bring a page back in
//! between: all who have it stand still.

use std::collections::HashMap;

use roam_sys::procfs::smaps;
use roam_sys::runs::{self, Run, push};

use super::memory::{ObjectViews, View};
use crate::capture::ask_alone;
use crate::error::Error;
use crate::freeze::{Frozen, FrozenProcess};
use crate::objects::Objects;
use crate::pages::PAGE;

/// What is smaller is read whole.
const LEAST: u64 = 1 << 20;
/// Looked at in one call, in bytes; a byte of answer for each page.
const STEP: u64 = 256 << 20;

/// What is there of the objects that only mappings show, by the process and address of a view. What is not in it is to
/// be read whole.
pub type There = HashMap<(i32, u64), Vec<Run>>;

/// Looks at all objects of a session that stands still.
///
/// # Errors
/// If a process can't be asked.
pub fn all(frozen: &Frozen, objects: &Objects, views: &ObjectViews) -> Result<There, Error> {
    let mut all = There::new();
    for (id, _, _) in objects.iter().filter(|(_, _, file)| file.is_none()) {
        let mut known = Vec::new();
        for view in views.get(&id).into_iter().flatten().filter(|view| view.shared) {
            let new = !runs::difference(&[view.part()], &known).is_empty();
            let process = frozen.living().find(|process| new && process.host == view.host);
            if let Some(process) = process
                && let Some(there) = resident(process, view)?
            {
                all.insert((view.host, view.address), there);
                known = runs::union(&known, &[view.part()]);
            }
        }
    }
    Ok(all)
}

/// The parts of the object that a view shows and that are there; none if that is not known.
fn resident(process: &FrozenProcess, view: &View) -> Result<Option<Vec<Run>>, Error> {
    if view.len < LEAST {
        return Ok(None);
    }
    let mut there = Vec::new();
    for start in (0..view.len).step_by(STEP as usize) {
        let len = (view.len - start).min(STEP);
        let (asked, done) = ask_alone(process, |batch| {
            let answer = batch.room((len / PAGE) as usize);
            let args = [(view.address + start).into(), len.into(), answer.into()];
            (answer, batch.may("looking for shared memory that is there", libc::SYS_mincore, &args))
        })?;
        let (answer, ret) = asked;
        if done.ret(ret) < 0 {
            return Ok(None);
        }
        for (page, state) in (0..).zip(done.bytes(answer)) {
            if state & 1 != 0 {
                let at = view.offset + start + page * PAGE;
                push(&mut there, Run { start: at, end: at + PAGE });
            }
        }
    }
    let swapped = smaps::swapped(process.host, view.address);
    Ok(swapped.is_ok_and(|bytes| bytes == 0).then_some(there))
}
