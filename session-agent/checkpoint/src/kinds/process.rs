//! A process: what its threads share and no other kind owns. Program, limits, and the
//! settings of prctl(2).

use roam_sys::batch::{Batch, Data, Done, RetOf};
use roam_sys::procfs;
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::freeze::FrozenProcess;
use crate::kinds::aio::Ring;
use crate::kinds::extended;
use crate::kinds::folders::{Folders, StandIns};
use crate::kinds::local_descriptors::{self, Descriptor};
use crate::kinds::memory_settings::MemorySettings;
use crate::kinds::namespaces::Places;
use crate::kinds::signals::{self, Action, Pending};
use crate::kinds::threads::ThreadState;
use crate::kinds::timers::{self, Timers};
use crate::objects::{ObjectId, ObjectSlots};
use crate::pages::{Backing, ProcessLayout};

const LIMITS: usize = 16;
const PR_SET_PDEATHSIG: i32 = 1;
const PR_GET_PDEATHSIG: i32 = 2;
const PR_GET_DUMPABLE: i32 = 3;
const PR_SET_DUMPABLE: i32 = 4;
const PR_GET_KEEPCAPS: i32 = 7;
const PR_SET_KEEPCAPS: i32 = 8;
const PR_SET_MM: i32 = 35;
const PR_SET_MM_MAP: i32 = 14;
const PR_SET_CHILD_SUBREAPER: i32 = 36;
const PR_GET_CHILD_SUBREAPER: i32 = 37;
const PR_SET_THP_DISABLE: i32 = 41;
const PR_GET_THP_DISABLE: i32 = 42;

/// One living process.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProcessState {
    /// Its pid in the pod.
    pub pid: i32,
    /// Its threads, the leader first.
    pub threads: Vec<ThreadState>,
    /// The namespaces that it is in.
    pub namespaces: Places,
    /// What it does on signals.
    pub actions: Vec<Action>,
    /// Signals pending for the process as a whole.
    pub pending: Vec<Pending>,
    /// Its timers.
    pub timers: Timers,
    /// What it asked for on its memory as a whole.
    pub memory: MemorySettings,
    /// Its contexts of asynchronous I/O.
    pub rings: Vec<Ring>,
    /// Its local descriptor table.
    pub segments: Vec<Descriptor>,
    /// What it runs.
    pub program: Program,
    /// Its root and its working directory.
    pub folders: Folders,
    /// File mode creation mask.
    pub umask: u32,
    /// Soft and hard resource limits.
    pub limits: Vec<(u64, u64)>,
    /// prctl settings.
    pub settings: Settings,
    /// Its stop by job control, if it is stopped.
    pub stopped: Option<Stopped>,
    /// Sets of registers that it has asked for: a bit for each.
    pub permitted: u64,
    /// no_new_privs.
    pub no_new_privs: bool,
    /// oom_score_adj.
    pub oom_score_adj: i32,
    /// coredump_filter.
    pub core_filter: Option<u32>,
}

/// A stop by job control.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stopped {
    /// The signal that did it.
    pub signal: i32,
    /// Its parent has waited for it, and is not to be told again.
    pub told: bool,
}

/// What a process runs, for PR_SET_MM_MAP.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Program {
    /// What is executed.
    pub executable: Executable,
    /// start_code, end_code, start_data, end_data, start_brk, brk, start_stack, arg_start, arg_end,
    /// env_start, env_end.
    pub addresses: [u64; 11],
    /// The auxiliary vector.
    pub auxv: Vec<u8>,
    /// personality(2).
    pub personality: u32,
}

/// The file behind a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Executable {
    /// A file at this path in the pod.
    Path(Vec<u8>),
    /// A file without a name, which is mapped: a memfd, or one that was deleted.
    Object(ObjectId),
    /// Nothing of it is left; /proc/PID/exe can't be as it was.
    Gone,
}

/// prctl settings.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Settings {
    /// PR_SET_PDEATHSIG.
    pub parent_death_signal: i32,
    /// PR_SET_DUMPABLE.
    pub dumpable: i32,
    /// PR_SET_CHILD_SUBREAPER.
    pub child_subreaper: i32,
    /// PR_SET_THP_DISABLE.
    pub no_huge_pages: i32,
    /// PR_SET_KEEPCAPS.
    pub keep_capabilities: i32,
}

/// Questions to the process, for its main thread to answer.
pub struct Asked {
    actions: signals::Asked,
    timers: timers::Asked,
    brk: RetOf,
    parent_death_signal: Data,
    dumpable: RetOf,
    child_subreaper: Data,
    no_huge_pages: RetOf,
    keep_capabilities: RetOf,
    permitted: (Data, RetOf),
    segments: RetOf,
}

impl Asked {
    /// Whether it has a local descriptor table, which is another question.
    #[must_use]
    pub fn has_segments(&self, done: &Done) -> bool {
        done.ret(self.segments) > 0
    }
}

/// Adds the questions to a batch.
///
/// # Errors
/// If the process is gone.
pub fn ask(process: &FrozenProcess, batch: &mut Batch) -> Result<Asked, Error> {
    let listed = procfs::read(&format!("/proc/{}/timers", process.host))
        .map_err(|e| Error::system(format!("reading the timers of {}", process.name), e))?;
    let pod_tid = |tid: i32| process.threads.iter().find(|t| t.tracee.tid() == tid).map(|t| t.tid);
    let actions = signals::ask(batch);
    let timers = timers::ask(batch, &listed, pod_tid);
    let brk = batch.may("reading the end of the heap", libc::SYS_brk, &[0.into()]);
    let get = |batch: &mut Batch, option: i32| {
        let room = batch.room(4);
        batch.must(
            "reading a process setting",
            libc::SYS_prctl,
            &[option.into(), room.into(), 0.into(), 0.into(), 0.into()],
        );
        room
    };
    let plain = |batch: &mut Batch, option: i32| {
        batch.must(
            "reading a process setting",
            libc::SYS_prctl,
            &[option.into(), 0.into(), 0.into(), 0.into(), 0.into()],
        )
    };
    Ok(Asked {
        actions,
        timers,
        brk,
        parent_death_signal: get(batch, PR_GET_PDEATHSIG),
        dumpable: plain(batch, PR_GET_DUMPABLE),
        child_subreaper: get(batch, PR_GET_CHILD_SUBREAPER),
        no_huge_pages: plain(batch, PR_GET_THP_DISABLE),
        keep_capabilities: plain(batch, PR_GET_KEEPCAPS),
        permitted: extended::ask(batch),
        segments: local_descriptors::is_there(batch),
    })
}

/// Puts together what was asked and what can be read from outside.
///
/// # Errors
/// If the process is gone.
pub fn capture(
    process: &FrozenProcess,
    threads: Vec<ThreadState>,
    layout: &ProcessLayout,
    memory: MemorySettings,
    (folders, namespaces): (Folders, Places),
    asked: &Asked,
    done: &Done,
) -> Result<ProcessState, Error> {
    let host = process.host;
    let io = |what: &str, e: std::io::Error| {
        Error::system(format!("reading the {what} of {} ({})", process.name, process.node.pid), e)
    };
    let read = |what: &str| procfs::read(&format!("/proc/{host}/{what}")).map_err(|e| io(what, e));
    let link = |what: &str| {
        use std::os::unix::ffi::OsStringExt;
        std::fs::read_link(format!("/proc/{host}/{what}"))
            .map(|p| p.into_os_string().into_vec())
            .map_err(|e| io(what, e))
    };
    let mm = &process.stat.mm;
    let executable = link("exe")?;
    let personality = String::from_utf8_lossy(&read("personality")?).trim().to_owned();
    let oom = String::from_utf8_lossy(&read("oom_score_adj")?).trim().parse().unwrap_or(0);
    Ok(ProcessState {
        pid: process.node.pid,
        namespaces,
        actions: signals::answers(&asked.actions, done),
        pending: crate::kinds::threads::pending(&process.threads[0], true)
            .map_err(|e| io("pending signals", e))?,
        timers: timers::answers(&asked.timers, done),
        memory,
        rings: Vec::new(),
        segments: Vec::new(),
        program: Program {
            executable: find_executable(executable, mm.start_code, layout),
            addresses: [
                mm.start_code,
                mm.end_code,
                mm.start_data,
                mm.end_data,
                mm.start_brk,
                done.ret(asked.brk) as u64,
                mm.start_stack,
                mm.arg_start,
                mm.arg_end,
                mm.env_start,
                mm.env_end,
            ],
            auxv: read("auxv")?,
            personality: u32::from_str_radix(&personality, 16).unwrap_or(0),
        },
        folders,
        umask: process.status.umask,
        limits: limits(host).map_err(|e| io("limits", e))?,
        settings: Settings {
            parent_death_signal: done.u32(asked.parent_death_signal) as i32,
            dumpable: process.dumpable.unwrap_or(done.ret(asked.dumpable) as i32),
            child_subreaper: done.u32(asked.child_subreaper) as i32,
            no_huge_pages: done.ret(asked.no_huge_pages) as i32,
            keep_capabilities: done.ret(asked.keep_capabilities) as i32,
        },
        stopped: process
            .threads
            .iter()
            .find_map(|t| t.stopped_by)
            .map(|signal| Stopped { signal, told: true }),
        permitted: extended::answer(asked.permitted, done),
        no_new_privs: process.status.no_new_privs,
        oom_score_adj: oom,
        core_filter: read("coredump_filter")
            .ok()
            .and_then(|text| u32::from_str_radix(String::from_utf8_lossy(&text).trim(), 16).ok()),
        threads,
    })
}

fn find_executable(path: Vec<u8>, code: u64, layout: &ProcessLayout) -> Executable {
    if !path.ends_with(b" (deleted)") {
        return Executable::Path(path);
    }
    match layout.mappings.iter().find(|m| m.start <= code && code < m.end).map(|m| &m.backing) {
        Some(Backing::Object { object, .. }) => Executable::Object(*object),
        _ => Executable::Gone,
    }
}

fn limits(host: i32) -> std::io::Result<Vec<(u64, u64)>> {
    (0..LIMITS as u32).map(|which| roam_sys::limits::get(host, which)).collect()
}

/// Adds the calls that the new process's main thread makes once its memory is in place. Everything
/// that needs a privilege is in here; the threads drop theirs afterwards.
pub fn restore(state: &ProcessState, stand_ins: &StandIns, batch: &mut Batch) {
    state.folders.enter_current(stand_ins, batch);
    batch.must("setting the umask", libc::SYS_umask, &[state.umask.into()]);
    if state.program.personality != 0 {
        batch.may("setting the personality", libc::SYS_personality, &[state.program.personality.into()]);
    }
    signals::restore_actions(&state.actions, batch);
}

/// Adds the call that opens the executable, for [`restore_program`]. `slots` are the objects in the
/// descriptor table that all processes share until they get their own.
pub fn open_executable(program: &Program, slots: &ObjectSlots, batch: &mut Batch) -> Option<RetOf> {
    let path = match &program.executable {
        Executable::Path(path) => path.clone(),
        Executable::Object(id) => format!("/proc/self/fd/{}", slots.0.get(id)?).into_bytes(),
        Executable::Gone => return None,
    };
    let path = batch.c_string(&path);
    Some(batch.may(
        "opening the executable",
        libc::SYS_openat,
        &[libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()],
    ))
}

/// Adds the call that tells the kernel where the program's parts are. `executable` is a descriptor.
pub fn restore_program(program: &Program, executable: Option<i32>, batch: &mut Batch) {
    let auxv = batch.data(&program.auxv);
    let map = |batch: &mut Batch, executable: i32| {
        let mut raw = Vec::with_capacity(104);
        for address in program.addresses {
            raw.extend_from_slice(&address.to_le_bytes());
        }
        raw.extend_from_slice(&0u64.to_le_bytes());
        raw.extend_from_slice(&(program.auxv.len() as u32).to_le_bytes());
        raw.extend_from_slice(&executable.to_le_bytes());
        let map = batch.data(&raw);
        batch.pointer(map, 88, auxv);
        map
    };
    let call = |map: Data| [PR_SET_MM.into(), PR_SET_MM_MAP.into(), map.into(), 104.into(), 0.into()];
    let plain = map(batch, -1);
    batch.must("telling where the program's parts are", libc::SYS_prctl, &call(plain));
    if let Some(executable) = executable {
        let with = map(batch, executable);
        // Without it /proc/PID/exe names the stub; the program runs all the same.
        batch.may("telling the executable", libc::SYS_prctl, &call(with));
        batch.may("closing the executable", libc::SYS_close, &[executable.into()]);
    }
}

/// Adds what must come last: limits, timers that run. `host` is its number as the keeper sees it.
pub fn restore_last(state: &ProcessState, host: i32, batch: &mut Batch) {
    for (which, limit) in (0u32..).zip(&state.limits).take(LIMITS) {
        let here = roam_sys::limits::get(host, which).map_or(u64::MAX, |(_, hard)| hard);
        let raw = batch.data(&fitting(*limit, here).map(u64::to_le_bytes).concat());
        batch.may(
            "setting a resource limit",
            libc::SYS_prlimit64,
            &[0.into(), which.into(), raw.into(), 0.into()],
        );
    }
    let set = |batch: &mut Batch, option: i32, value: i32| {
        if value != 0 {
            batch.may(
                "setting a process setting",
                libc::SYS_prctl,
                &[option.into(), value.into(), 0.into(), 0.into(), 0.into()],
            );
        }
    };
    set(batch, PR_SET_CHILD_SUBREAPER, state.settings.child_subreaper);
    set(batch, PR_SET_THP_DISABLE, state.settings.no_huge_pages);
    set(batch, PR_SET_KEEPCAPS, state.settings.keep_capabilities);
    set(batch, PR_SET_PDEATHSIG, state.settings.parent_death_signal);
    timers::restore_interval(&state.timers, batch);
    // 2, for programs nobody may read, is the kernel's to set.
    if state.settings.dumpable != 1 {
        batch.may(
            "setting a process setting",
            libc::SYS_prctl,
            &[PR_SET_DUMPABLE.into(), 0.into(), 0.into(), 0.into(), 0.into()],
        );
    }
}

/// A soft and a hard limit where no hard one above `here` can be set: the program keeps what it can of both.
fn fitting((soft, hard): (u64, u64), here: u64) -> [u64; 2] {
    let hard = hard.min(here);
    [soft.min(hard), hard]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_soft_limit_holds_where_the_hard_one_is_lower() {
        assert_eq!(fitting((20, u64::MAX), 1000), [20, 1000]);
        assert_eq!(fitting((2000, u64::MAX), 1000), [1000, 1000]);
        assert_eq!(fitting((20, 30), u64::MAX), [20, 30]);
    }
}
