//! Threads: registers, extended state, signal mask, and what libc registered with the kernel for each.

use roam_sys::batch::{Batch, Data, Done, RetOf};
use roam_sys::borrowed::Kept;
use roam_sys::procfs;
use roam_sys::ptrace::{self, Registers};
use serde::{Deserialize, Serialize};

use crate::error::Error;
use crate::freeze::{FrozenProcess, FrozenThread};
use crate::kinds::affinity;
use crate::kinds::capabilities::{self, Capabilities};
use crate::kinds::extended::Extended;
use crate::kinds::filters;
use crate::kinds::namespaces::Id;
use crate::kinds::signals::Pending;
use crate::kinds::syscalls::{self, Resume, Waits};

const PR_SET_NAME: i32 = 15;
const PR_SET_TIMERSLACK: i32 = 29;
const PR_GET_TIMERSLACK: i32 = 30;
const PR_GET_TID_ADDRESS: i32 = 40;
const PR_GET_TSC: i32 = 25;
const PR_SET_TSC: i32 = 26;
const PR_TSC_SIGSEGV: i32 = 2;
const PR_GET_SPECULATION_CTRL: i32 = 52;
const PR_SET_SPECULATION_CTRL: i32 = 53;
/// PR_SPEC_STORE_BYPASS and PR_SPEC_INDIRECT_BRANCH. Flushing the L1 cache is left out: with hyper-threading the
/// kernel ends who asks for that.
const SPECULATION: [i32; 2] = [0, 1];
/// PR_SPEC_PRCTL: a thread may choose.
const MAY_CHOOSE: i32 = 1;
/// PR_SPEC_DISABLE, PR_SPEC_FORCE_DISABLE, PR_SPEC_DISABLE_NOEXEC.
const SPECULATES_NOT: i32 = 4 | 8 | 16;
const IOPRIO_WHO_PROCESS: i32 = 1;

/// One thread.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThreadState {
    /// Its id in the pod.
    pub tid: i32,
    /// Its name.
    pub name: Vec<u8>,
    /// General registers, in the order of `struct user_regs_struct`, ready to be resumed.
    pub registers: Vec<u64>,
    /// FPU to AMX.
    pub extended: Extended,
    /// Blocked signals.
    pub mask: u64,
    /// Pending for this thread alone.
    pub pending: Vec<Pending>,
    /// Restartable sequences: pointer (0: none), size, signature.
    pub rseq: (u64, u32, u32),
    /// Robust futex list: head and length.
    pub robust: (u64, u64),
    /// Where the kernel clears the tid at the end.
    pub clear_child_tid: u64,
    /// Alternate signal stack: pointer, flags, size.
    pub altstack: (u64, u32, u64),
    /// A time-out that must stand below its stack before it resumes.
    pub timespec: Option<(u64, [i64; 2])>,
    /// Scheduling policy, static priority and nice value.
    pub scheduling: (i32, i32, i32),
    /// The CPUs that it chose to run on, one bit each; nothing if it never did.
    pub affinity: Vec<u64>,
    /// I/O priority as ioprio_get(2) gives it; 0 for none of its own.
    pub io_priority: i32,
    /// Timer slack in nanoseconds.
    pub slack: i64,
    /// PR_GET_TSC: whether it may read the time stamp counter.
    pub time_stamps: i32,
    /// PR_GET_SPECULATION_CTRL: how its processor may guess ahead, of [`SPECULATION`].
    pub speculation: [i32; 2],
    /// Its capabilities, which only those have that are in a user namespace below the pod's.
    pub capabilities: Option<Capabilities>,
    /// Number of its newest filter in the image; 0 if it installed none.
    pub filter: u32,
    /// System calls that the program takes for itself (PR_SET_SYSCALL_USER_DISPATCH).
    pub dispatch: Option<[u64; 4]>,
}

/// Questions that only the thread itself can answer.
pub struct Asked {
    slack: RetOf,
    secure_bits: RetOf,
    time_stamps: Data,
    speculation: [RetOf; 2],
    clear_child_tid: Data,
    altstack: Data,
    filter: filters::Asked,
}

/// Adds the questions to a batch that this thread runs.
pub fn ask(batch: &mut Batch) -> Asked {
    let clear_child_tid = batch.room(8);
    batch.may(
        "reading where its id is cleared",
        libc::SYS_prctl,
        &[PR_GET_TID_ADDRESS.into(), clear_child_tid.into(), 0.into(), 0.into(), 0.into()],
    );
    let slack = batch.may("reading the timer slack", libc::SYS_prctl, &[PR_GET_TIMERSLACK.into()]);
    let secure_bits = capabilities::ask(batch);
    let time_stamps = batch.room(4);
    batch.may(
        "reading whether the time stamp counter may be read",
        libc::SYS_prctl,
        &[PR_GET_TSC.into(), time_stamps.into(), 0.into(), 0.into(), 0.into()],
    );
    let speculation = SPECULATION.map(|which| {
        let args = [PR_GET_SPECULATION_CTRL.into(), which.into(), 0.into(), 0.into(), 0.into()];
        batch.may("reading how it may speculate", libc::SYS_prctl, &args)
    });
    let altstack = batch.room(24);
    batch.must("reading the signal stack", libc::SYS_sigaltstack, &[0.into(), altstack.into()]);
    let filter = filters::ask(batch);
    Asked { slack, secure_bits, time_stamps, speculation, clear_child_tid, altstack, filter }
}

/// Puts together what was asked and what can be read from outside.
///
/// # Errors
/// If the thread is gone.
pub fn capture(
    process: &FrozenProcess,
    thread: &FrozenThread,
    kept: &Kept,
    waits: &Waits,
    user: Id,
    answers: (&Asked, &Done),
) -> Result<ThreadState, Error> {
    let tid = thread.tracee.tid();
    let io = |what: &str, e: std::io::Error| Error::system(format!("reading the {what} of thread {tid}"), e);
    let mut registers = kept.registers;
    let mut waited = 0;
    if syscalls::has_relative_timeout(&registers) {
        let now = procfs::status::read_thread(process.host, tid).map_err(|e| io("status", e))?;
        waited = waits.waited(tid, now.voluntary_switches).unwrap_or(0);
    }
    let resume = syscalls::prepare(&mut registers, waited, |at| read_timespec(process.host, at));
    let rseq = thread.tracee.rseq().unwrap_or_default();
    leave_critical_section(process.host, rseq.pointer, &mut registers);
    let (asked, done) = answers;
    let altstack = done.bytes(asked.altstack);
    let word = |at: usize| u64::from_le_bytes(altstack[at..at + 8].try_into().expect("eight bytes"));
    let name = procfs::read(&format!("/proc/{}/task/{tid}/comm", process.host)).map_err(|e| io("name", e))?;
    Ok(ThreadState {
        tid: thread.tid,
        name: name.strip_suffix(b"\n").unwrap_or(&name).to_vec(),
        registers: ptrace::registers_to_words(&registers).to_vec(),
        extended: Extended::here(thread.tracee.extended_state().map_err(|e| io("extended state", e))?),
        mask: kept.mask,
        pending: pending(thread, false).map_err(|e| io("pending signals", e))?,
        rseq: (rseq.pointer, rseq.size, rseq.signature),
        robust: ptrace::robust_list(tid).map_err(|e| io("robust list", e))?,
        clear_child_tid: done.u64(asked.clear_child_tid),
        altstack: (word(0), word(8) as u32, word(16)),
        timespec: match resume {
            Resume::WithTimespec { address, timespec } => Some((address, timespec)),
            Resume::AsIs | Resume::Changed => None,
        },
        scheduling: roam_sys::sched::get(tid).map_err(|e| io("scheduling", e))?,
        affinity: roam_sys::sched::affinity(tid).map_err(|e| io("CPUs", e))?,
        io_priority: roam_sys::sched::io_priority(tid).unwrap_or(0),
        slack: done.ret(asked.slack),
        capabilities: match user {
            0 => None,
            _ => Some(capabilities::of(process.host, tid, done.ret(asked.secure_bits))?),
        },
        time_stamps: done.u32(asked.time_stamps) as i32,
        speculation: asked.speculation.map(|ret| done.ret(ret) as i32),
        filter: filters::answer(&asked.filter, done).unwrap_or(0),
        dispatch: kept.dispatch,
    })
}

/// A thread inside a restartable sequence is sent to its abort handler, as the kernel does with one that
/// was preempted: the target's kernel no longer knows of the sequence.
fn leave_critical_section(host: i32, rseq: u64, registers: &mut Registers) {
    const RSEQ_CS: u64 = 8;
    if rseq == 0 {
        return;
    }
    let Ok(descriptor @ 1..) = roam_sys::memory::read_u64(host, rseq + RSEQ_CS) else { return };
    let word = |at: u64| roam_sys::memory::read_u64(host, descriptor + at).unwrap_or(0);
    // struct rseq_cs: version and flags, start, length, abort handler.
    let (start, len, abort) = (word(8), word(16), word(24));
    if registers.rip.wrapping_sub(start) < len {
        registers.rip = abort;
    }
}

/// The time-out a call was made with.
#[must_use]
pub fn read_timespec(pid: i32, at: u64) -> Option<[i64; 2]> {
    let mut bytes = [0u8; 16];
    roam_sys::memory::read(pid, at, &mut bytes).ok()?;
    let half = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    Some([half(0), half(8)])
}

/// Pending signals of the thread, or those shared by its process.
///
/// # Errors
/// If the thread is gone.
pub fn pending(thread: &FrozenThread, of_process: bool) -> std::io::Result<Vec<Pending>> {
    Ok(thread.tracee.pending_signals(of_process)?.into_iter().map(|s| Pending(s.to_vec())).collect())
}

/// What to ask for where a thread chose that its processor must not guess ahead. An error is no choice.
fn speculates_not(state: i32) -> Option<i32> {
    (state > 0 && state & MAY_CHOOSE != 0).then_some(state & SPECULATES_NOT).filter(|wanted| *wanted != 0)
}

/// Adds the calls that the new thread runs itself.
pub fn restore(state: &ThreadState, batch: &mut Batch) -> Option<RetOf> {
    let mut name = state.name.clone();
    name.truncate(15);
    let name = batch.c_string(&name);
    batch.must("naming a thread", libc::SYS_prctl, &[PR_SET_NAME.into(), name.into()]);
    if state.robust.0 != 0 {
        batch.must(
            "registering the robust list",
            libc::SYS_set_robust_list,
            &[state.robust.0.into(), state.robust.1.into()],
        );
    }
    batch.must(
        "registering where the id is cleared",
        libc::SYS_set_tid_address,
        &[state.clear_child_tid.into()],
    );
    let (sp, flags, size) = state.altstack;
    const SS_DISABLE: u32 = 2;
    const SS_ONSTACK: u32 = 1;
    if flags & SS_DISABLE == 0 {
        let mut stack = [0u8; 24];
        stack[..8].copy_from_slice(&sp.to_le_bytes());
        // "On the stack now" is the kernel's to say, from the stack pointer.
        stack[8..12].copy_from_slice(&(flags & !SS_ONSTACK).to_le_bytes());
        stack[16..].copy_from_slice(&size.to_le_bytes());
        let stack = batch.data(&stack);
        batch.must("setting the signal stack", libc::SYS_sigaltstack, &[stack.into(), 0.into()]);
    }
    let (policy, priority, nice) = state.scheduling;
    if policy != libc::SCHED_OTHER {
        let param = batch.data(&priority.to_le_bytes());
        // Real-time classes need a right that this machine may not grant; the program runs without.
        batch.may(
            "setting the scheduling class",
            libc::SYS_sched_setscheduler,
            &[0.into(), policy.into(), param.into()],
        );
    }
    affinity::restore(&state.affinity, batch);
    if state.slack > 0 {
        batch.may(
            "setting the timer slack",
            libc::SYS_prctl,
            &[PR_SET_TIMERSLACK.into(), state.slack.into()],
        );
    }
    if state.io_priority != 0 {
        batch.may(
            "setting the I/O priority",
            libc::SYS_ioprio_set,
            &[IOPRIO_WHO_PROCESS.into(), 0.into(), state.io_priority.into()],
        );
    }
    if state.time_stamps == PR_TSC_SIGSEGV {
        batch.must(
            "forbidding the time stamp counter",
            libc::SYS_prctl,
            &[PR_SET_TSC.into(), state.time_stamps.into(), 0.into(), 0.into(), 0.into()],
        );
    }
    for (which, state) in SPECULATION.into_iter().zip(state.speculation) {
        if let Some(wanted) = speculates_not(state) {
            // What this processor or kernel does not know it need not be told.
            let args = [PR_SET_SPECULATION_CTRL.into(), which.into(), wanted.into(), 0.into(), 0.into()];
            batch.may("setting how it may speculate", libc::SYS_prctl, &args);
        }
    }
    if nice != 0 {
        batch.may("setting the nice value", libc::SYS_setpriority, &[0.into(), 0.into(), nice.into()]);
    }
    let (pointer, size, signature) = state.rseq;
    // Last: from here on the kernel writes there whenever the thread is scheduled.
    (pointer != 0).then(|| {
        batch.must(
            "registering restartable sequences",
            libc::SYS_rseq,
            &[pointer.into(), size.into(), 0.into(), signature.into()],
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_choice_not_to_speculate_is_made_again() {
        let cases =
            [(3, None), (5, Some(4)), (9, Some(8)), (17, Some(16)), (0, None), (4, None), (-22, None)];
        for (state, wanted) in cases {
            assert_eq!(speculates_not(state), wanted, "{state}");
        }
    }
}
