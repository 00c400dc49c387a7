//! System calls that the freeze interrupted, and what remains of their time.
//!
//! A thread that is stopped inside a system call has its number in `orig_rax` and, in `rax`, one of the
//! kernel's private restart codes. Where the call can simply be made again (-512…-514) the
//! registers travel as they are and the target's own kernel restarts it, or runs a pending handler
//! first, by its own rules. Two cases need more:
//!
//! - -516 (ERESTART_RESTARTBLOCK): poll, nanosleep, relative futex waits. What remains of the time-out is
//!   kept by the source's kernel out of reach. The time already waited is known from the
//!   scheduler ([`observe`]), so the call is made again with the rest.
//! - A few calls give up with EINTR for a mere stop (signal(7)): epoll_wait, semop, sigtimedwait, io_getevents, and
//!   what waits at a socket with SO_RCVTIMEO or SO_SNDTIMEO. They are made again too, also when the session only
//!   thaws. A socket's time-out begins anew, since it is not the call's.

use std::collections::{BTreeMap, HashMap};

use roam_sys::procfs;
use roam_sys::ptrace::Registers;

const ERESTARTNOHAND: i64 = -514;
const ERESTART_RESTARTBLOCK: i64 = -516;
const EINTR: i64 = -(libc::EINTR as i64);

/// What the scheduler said of each thread before the freeze.
#[derive(Debug, Default)]
pub struct Waits {
    /// By host tid: nanoseconds since it last ran, and its voluntary switches then.
    threads: HashMap<i32, (i64, u64)>,
}

/// Looks at all threads while they still run: since when does each sleep?
///
/// The scheduler has a clock for each CPU, and they drift apart; a thread's time is compared with this
/// thread's, bound to the CPU on which the other last ran.
#[must_use]
pub fn observe(processes: &[i32]) -> Waits {
    let mut seen: BTreeMap<usize, Vec<(i32, i64, u64)>> = BTreeMap::new();
    for pid in processes {
        for tid in procfs::threads(*pid).unwrap_or_default() {
            let path = format!("/proc/{pid}/task/{tid}");
            let Ok(stat) = procfs::read(&format!("{path}/stat")) else { continue };
            let Some(cpu) = procfs::stat::last_cpu(&stat) else { continue };
            if let Some((ran, switches)) = sched(&format!("{path}/sched")) {
                seen.entry(cpu).or_default().push((tid, ran, switches));
            }
        }
    }
    let mut waits = Waits::default();
    for (cpu, threads) in seen {
        let Ok(before) = roam_sys::sched::bind(cpu) else { continue };
        // Giving way once makes the scheduler note this thread's time.
        std::thread::yield_now();
        let now = sched("/proc/thread-self/sched");
        roam_sys::sched::unbind(&before);
        let Some((now, _)) = now else { continue };
        for (tid, ran, switches) in threads {
            waits.threads.insert(tid, ((now - ran).max(0), switches));
        }
    }
    waits
}

/// `se.exec_start` in nanoseconds and `nr_voluntary_switches`.
fn sched(path: &str) -> Option<(i64, u64)> {
    parse_sched(&String::from_utf8_lossy(&procfs::read(path).ok()?))
}

fn parse_sched(text: &str) -> Option<(i64, u64)> {
    let value = |name: &str| {
        let line = text.lines().find(|l| l.starts_with(name))?;
        Some(line.split_once(':')?.1.trim())
    };
    let (ms, fraction) = value("se.exec_start")?.split_once('.')?;
    let start = ms.parse::<i64>().ok()? * 1_000_000 + fraction.parse::<i64>().ok()?;
    Some((start, value("nr_voluntary_switches")?.parse().ok()?))
}

impl Waits {
    /// True if nothing is known of any thread.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.threads.is_empty()
    }

    /// How long the now frozen thread had been waiting, in nanoseconds: none if it ran in between,
    /// so that its wait had only just begun.
    #[must_use]
    pub fn waited(&self, tid: i32, voluntary_switches_now: u64) -> Option<i64> {
        let (ns, switches) = self.threads.get(&tid)?;
        // Going from its sleep into the freeze costs one switch.
        (voluntary_switches_now <= switches + 1).then_some(*ns)
    }
}

/// What the thread needs before it can run at the target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// Its registers as they are.
    AsIs,
    /// The registers changed.
    Changed,
    /// The registers changed, and this `struct timespec` stands below its stack, where a register points.
    WithTimespec {
        /// Where to write.
        address: u64,
        /// Seconds and nanoseconds.
        timespec: [i64; 2],
    },
}

/// Whether the call gave up with EINTR for a mere stop. No signal of the program's own has been delivered then: its
/// handler would have other registers. What is listed has done nothing that making it again would repeat.
fn is_spurious(registers: &Registers) -> bool {
    registers.rax as i64 == EINTR
        && matches!(
            registers.orig_rax as i64,
            libc::SYS_epoll_wait
                | libc::SYS_epoll_pwait
                | libc::SYS_epoll_pwait2
                | libc::SYS_semop
                | libc::SYS_semtimedop
                | libc::SYS_rt_sigtimedwait
                | libc::SYS_io_getevents
                // Of sockets with SO_RCVTIMEO or SO_SNDTIMEO.
                | libc::SYS_read
                | libc::SYS_readv
                | libc::SYS_write
                | libc::SYS_writev
                | libc::SYS_recvfrom
                | libc::SYS_recvmsg
                | libc::SYS_recvmmsg
                | libc::SYS_sendto
                | libc::SYS_sendmsg
                | libc::SYS_sendmmsg
                | libc::SYS_accept
                | libc::SYS_accept4
                | libc::SYS_connect
        )
}

/// True if the call should be made again although it ended with EINTR.
#[must_use]
pub fn undo_spurious_eintr(registers: &mut Registers) -> bool {
    let spurious = is_spurious(registers);
    if spurious {
        registers.rax = ERESTARTNOHAND as u64;
    }
    spurious
}

/// Whether the kernel would not go on with the call as if nothing had been, or would do so in a way in which the next
/// freeze could no longer tell which call it was.
#[must_use]
pub fn needs_help(registers: &Registers) -> bool {
    registers.rax as i64 == ERESTART_RESTARTBLOCK || is_spurious(registers)
}

/// Whether this thread's wait has a time-out whose rest must be worked out.
#[must_use]
pub fn has_relative_timeout(registers: &Registers) -> bool {
    match registers.rax as i64 {
        ERESTART_RESTARTBLOCK => true,
        EINTR => matches!(
            registers.orig_rax as i64,
            libc::SYS_epoll_wait
                | libc::SYS_epoll_pwait
                | libc::SYS_epoll_pwait2
                | libc::SYS_semtimedop
                | libc::SYS_rt_sigtimedwait
                | libc::SYS_io_getevents
        ),
        _ => false,
    }
}

/// Prepares the registers of a frozen thread for another kernel. `waited` is in nanoseconds; `read` gives
/// the time-out that the call was made with.
pub fn prepare(registers: &mut Registers, waited: i64, read: impl FnOnce(u64) -> Option<[i64; 2]>) -> Resume {
    let nr = registers.orig_rax as i64;
    let code = registers.rax as i64;
    if nr < 0 {
        return Resume::AsIs;
    }
    let spurious = undo_spurious_eintr(registers);
    if code != ERESTART_RESTARTBLOCK && !spurious {
        return Resume::AsIs;
    }
    registers.rax = ERESTARTNOHAND as u64;
    // Below the red zone; nothing lives there while the thread is inside a system call.
    let place = (registers.rsp - 128 - 32) & !15;
    let timespec = |pointer: &mut u64| -> Resume {
        if *pointer == 0 {
            return Resume::Changed;
        }
        let Some(asked) = read(*pointer) else { return Resume::Changed };
        *pointer = place;
        Resume::WithTimespec { address: place, timespec: rest(asked, waited) }
    };
    match nr {
        libc::SYS_poll => {
            registers.rdx = rest_ms(registers.rdx as u32 as i32, waited) as u64;
            Resume::Changed
        }
        libc::SYS_epoll_wait | libc::SYS_epoll_pwait => {
            registers.r10 = rest_ms(registers.r10 as u32 as i32, waited) as u64;
            Resume::Changed
        }
        libc::SYS_nanosleep => timespec(&mut registers.rdi),
        libc::SYS_clock_nanosleep => timespec(&mut registers.rdx),
        libc::SYS_epoll_pwait2 | libc::SYS_semtimedop => timespec(&mut registers.r10),
        libc::SYS_io_getevents => timespec(&mut registers.r8),
        libc::SYS_rt_sigtimedwait => timespec(&mut registers.rdx),
        libc::SYS_futex => {
            const WAIT: u64 = 0;
            const COMMANDS: u64 = 0x7f;
            // Every other futex wait has an absolute time-out, which needs no change.
            if registers.rsi & COMMANDS == WAIT { timespec(&mut registers.r10) } else { Resume::Changed }
        }
        // restart_syscall of an earlier stop: what it restarts is unknown, so end it as a signal would.
        libc::SYS_restart_syscall => {
            registers.rax = EINTR as u64;
            Resume::Changed
        }
        _ => Resume::Changed,
    }
}

fn rest(asked: [i64; 2], waited: i64) -> [i64; 2] {
    let total = asked[0].saturating_mul(1_000_000_000).saturating_add(asked[1]);
    let left = total.saturating_sub(waited).max(0);
    [left / 1_000_000_000, left % 1_000_000_000]
}

fn rest_ms(asked: i32, waited: i64) -> i32 {
    if asked < 0 {
        return asked;
    }
    // Rounded up: never earlier than asked.
    let left = (i64::from(asked) * 1_000_000 - waited).max(0);
    i32::try_from((left + 999_999) / 1_000_000).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registers(nr: i64, code: i64) -> Registers {
        let mut r = roam_sys::ptrace::registers_from_words(&[0; 27]).unwrap();
        r.orig_rax = nr as u64;
        r.rax = code as u64;
        r.rsp = 0x7000_0000;
        r
    }

    #[test]
    fn plain_restarts_are_left_to_the_kernel() {
        let mut r = registers(libc::SYS_read, -512);
        assert_eq!(prepare(&mut r, 5, |_| None), Resume::AsIs);
        assert_eq!(r.rax as i64, -512);
    }

    #[test]
    fn a_poll_waits_for_the_rest_only() {
        let mut r = registers(libc::SYS_poll, ERESTART_RESTARTBLOCK);
        r.rdx = 3000;
        assert_eq!(prepare(&mut r, 1_000_000_000, |_| None), Resume::Changed);
        assert_eq!((r.rdx, r.rax as i64), (2000, ERESTARTNOHAND));
    }

    #[test]
    fn an_endless_epoll_stays_endless() {
        let mut r = registers(libc::SYS_epoll_wait, EINTR);
        r.r10 = u64::from(u32::MAX);
        prepare(&mut r, 1, |_| None);
        assert_eq!(r.r10 as i32, -1);
        assert_eq!(r.rax as i64, ERESTARTNOHAND);
    }

    #[test]
    fn what_a_mere_stop_ends_is_made_anew() {
        for nr in
            [libc::SYS_semop, libc::SYS_epoll_wait, libc::SYS_recvfrom, libc::SYS_accept4, libc::SYS_read]
        {
            let mut r = registers(nr, EINTR);
            assert!(needs_help(&r) && undo_spurious_eintr(&mut r) && r.rax as i64 == ERESTARTNOHAND);
        }
        // Done, or never to be repeated.
        for (nr, code) in [(libc::SYS_semop, 1), (libc::SYS_close, EINTR), (libc::SYS_pause, EINTR)] {
            let mut r = registers(nr, code);
            assert!(!needs_help(&r) && !undo_spurious_eintr(&mut r) && r.rax as i64 == code);
        }
    }

    #[test]
    fn a_socket_s_time_out_needs_no_place() {
        let mut r = registers(libc::SYS_recvfrom, EINTR);
        assert!(!has_relative_timeout(&r));
        assert_eq!(prepare(&mut r, 5, |_| None), Resume::Changed);
        assert_eq!(r.rax as i64, ERESTARTNOHAND);
    }

    #[test]
    fn a_sleep_gets_a_new_timespec_below_the_stack() {
        let mut r = registers(libc::SYS_nanosleep, ERESTART_RESTARTBLOCK);
        r.rdi = 0x1234;
        let resume = prepare(&mut r, 2_500_000_000, |_| Some([4, 0]));
        let Resume::WithTimespec { address, timespec } = resume else { panic!("{resume:?}") };
        assert_eq!(timespec, [1, 500_000_000]);
        assert!(address < r.rsp - 128 && r.rdi == address);
    }

    #[test]
    fn an_overdue_wait_ends_at_once() {
        assert_eq!(rest([1, 0], 5_000_000_000), [0, 0]);
        assert_eq!(rest_ms(10, 11_000_000), 0);
    }

    #[test]
    fn the_scheduler_file_parses() {
        let text = "sh (1, #threads: 1)\n---\nse.exec_start          :      12345.000678\nnr_switches  :  9\n\
                    nr_voluntary_switches :   7\n";
        assert_eq!(parse_sched(text), Some((12_345_000_678, 7)));
        assert_eq!(parse_sched("x"), None);
    }
}
