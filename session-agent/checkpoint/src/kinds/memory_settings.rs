//! What a process asked for on its memory as a whole: locking of what comes (mlockall), registrations for
//! membarrier(2), protection keys it was given, guard pages inside mappings, merging of equal pages, and that
//! nothing writable may become executable (PR_SET_MDWE).

use roam_sys::batch::{Batch, Done, RetOf};
use roam_sys::pagemap::Pagemap;
use roam_sys::runs::Run;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::pages::ProcessLayout;

const KEYS: u32 = 16;
const MCL_FUTURE: i32 = 2;
const MCL_ONFAULT: i32 = 4;
const MADV_GUARD_INSTALL: i32 = 102;
const PR_SET_MDWE: i32 = 65;
const PR_GET_MDWE: i32 = 66;
const PR_SET_MEMORY_MERGE: i32 = 67;
const PR_GET_MEMORY_MERGE: i32 = 68;
const MEMBARRIER_CMD_GET_REGISTRATIONS: i32 = 1 << 9;
/// MEMBARRIER_CMD_REGISTER_*: global, private, private for code, private for rseq.
const MEMBARRIER_REGISTER: [i32; 4] = [1 << 2, 1 << 4, 1 << 6, 1 << 8];

/// The settings of one process's memory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemorySettings {
    /// mlockall's flags for what will be mapped; 0 for none.
    pub lock_future: i32,
    /// The registrations as membarrier(2) counts them; none where the kernel does not say (before Linux 6.3).
    pub membarrier: Option<i32>,
    /// The protection keys in use, one bit each.
    pub keys: u16,
    /// Guard pages: first address and one past the last.
    pub guards: Vec<(u64, u64)>,
    /// PR_SET_MEMORY_MERGE.
    pub merge: bool,
    /// PR_SET_MDWE.
    pub deny_write_execute: i32,
}

/// Questions to the process, for its main thread to answer.
pub struct Asked {
    membarrier: RetOf,
    keys: Vec<RetOf>,
    merge: RetOf,
    deny_write_execute: RetOf,
}

/// Adds the questions. They change the thread's rights by protection keys, so its extended state must be put
/// back afterwards.
pub fn ask(batch: &mut Batch) -> Asked {
    let membarrier = batch.may(
        "reading membarrier registrations",
        libc::SYS_membarrier,
        &[MEMBARRIER_CMD_GET_REGISTRATIONS.into(), 0.into(), 0.into()],
    );
    let mut get = |option: i32| {
        batch.may(
            "reading a memory setting",
            libc::SYS_prctl,
            &[option.into(), 0.into(), 0.into(), 0.into(), 0.into()],
        )
    };
    let (merge, deny_write_execute) = (get(PR_GET_MEMORY_MERGE), get(PR_GET_MDWE));
    let mut keys = Vec::new();
    if roam_sys::memory::has_protection_keys() {
        // A key that is given out now was not in use.
        for _ in 1..KEYS {
            keys.push(batch.may("asking for a protection key", libc::SYS_pkey_alloc, &[0.into(), 0.into()]));
        }
        for key in &keys {
            batch.may("giving a protection key back", libc::SYS_pkey_free, &[(*key).into()]);
        }
    }
    Asked { membarrier, keys, merge, deny_write_execute }
}

/// Puts together what was asked and what the page maps tell. `locked` is how much of the memory that the
/// injection mapped became locked by itself, and `filled` whether it was filled as well.
///
/// # Errors
/// If the process is gone.
pub fn capture(
    host: i32,
    layout: &ProcessLayout,
    (locked, filled): (bool, bool),
    asked: &Asked,
    done: &Done,
) -> Result<MemorySettings, Error> {
    let io = |e| Error::system(format!("looking for the guard pages of process {}", layout.node.pid), e);
    let pagemap = Pagemap::open(host).map_err(io)?;
    let places: Vec<Run> = layout.mappings.iter().map(|m| Run { start: m.start, end: m.end }).collect();
    let guards = pagemap.guards(&places).map_err(io)?;
    let free = asked.keys.iter().map(|key| done.ret(*key)).filter(|key| (1..16).contains(key));
    let keys = if asked.keys.is_empty() { 0 } else { free.fold(0xfffe, |all, key| all & !(1 << key)) };
    Ok(MemorySettings {
        lock_future: match (locked, filled) {
            (false, _) => 0,
            (true, true) => MCL_FUTURE,
            (true, false) => MCL_FUTURE | MCL_ONFAULT,
        },
        membarrier: i32::try_from(done.ret(asked.membarrier)).ok().filter(|bits| *bits >= 0),
        keys,
        guards: guards.into_iter().map(|run| (run.start, run.end)).collect(),
        merge: done.ret(asked.merge) == 1,
        deny_write_execute: i32::try_from(done.ret(asked.deny_write_execute)).map_or(0, |v| v.max(0)),
    })
}

/// Whether the questions changed what the thread may do by its keys.
#[must_use]
pub fn disturbs(asked: &Asked) -> bool {
    !asked.keys.is_empty()
}

/// Adds the calls that make the keys the process's own, before mappings get theirs.
pub fn restore_keys(state: &MemorySettings, batch: &mut Batch) {
    if state.keys == 0 {
        return;
    }
    for _ in 1..KEYS {
        batch.may("asking for a protection key", libc::SYS_pkey_alloc, &[0.into(), 0.into()]);
    }
    for key in (1..KEYS).filter(|key| state.keys & (1 << key) == 0) {
        batch.may("giving a protection key back", libc::SYS_pkey_free, &[key.into()]);
    }
}

/// Adds the calls for guard pages, which locked memory no longer takes.
pub fn restore_guards(state: &MemorySettings, batch: &mut Batch) {
    for (start, end) in &state.guards {
        batch.must(
            "installing guard pages",
            libc::SYS_madvise,
            &[(*start).into(), (end - start).into(), MADV_GUARD_INSTALL.into()],
        );
    }
}

/// Adds the calls that hold for what is done from now on; they come last.
pub fn restore_last(state: &MemorySettings, batch: &mut Batch) {
    if state.lock_future != 0 {
        // This machine may allow less; the memory can be swapped out then.
        batch.may("locking what comes", libc::SYS_mlockall, &[state.lock_future.into()]);
    }
    for command in &MEMBARRIER_REGISTER {
        // Where the source could not say, the program gets all: being registered harms nobody.
        if state.membarrier.is_none_or(|bits| bits & command != 0) {
            batch.may(
                "registering for membarrier",
                libc::SYS_membarrier,
                &[(*command).into(), 0.into(), 0.into()],
            );
        }
    }
    let mut set = |option: i32, value: i32| {
        batch.may(
            "setting a memory setting",
            libc::SYS_prctl,
            &[option.into(), value.into(), 0.into(), 0.into(), 0.into()],
        );
    };
    if state.merge {
        set(PR_SET_MEMORY_MERGE, 1);
    }
    if state.deny_write_execute != 0 {
        set(PR_SET_MDWE, state.deny_write_execute);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_not_in_use_are_given_back() {
        let mut batch = Batch::new();
        restore_keys(&MemorySettings::default(), &mut batch);
        assert!(batch.is_empty());
        restore_keys(&MemorySettings { keys: 0b110, ..MemorySettings::default() }, &mut batch);
        assert_eq!(batch.len(), 15 + 13);
    }

    #[test]
    fn an_unknown_registration_is_made_to_be_sure() {
        let calls = |membarrier| {
            let mut batch = Batch::new();
            restore_last(&MemorySettings { membarrier, ..MemorySettings::default() }, &mut batch);
            batch.len()
        };
        assert_eq!((calls(None), calls(Some(0)), calls(Some(1 << 4))), (4, 0, 1));
    }
}
