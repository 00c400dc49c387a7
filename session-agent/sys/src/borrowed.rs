//! A thread of a running program that is borrowed for injections, and given back as it was.
//!
//! Whoever borrows may be killed at any moment: the thread then goes on by its [`WayBack`]. What can
//! remain is a mapping of a few pages ([`Borrowed::install`]), and one SIGURG, SIGWINCH or SIGCHLD that
//! nobody sent. Where no file of the process has room for the way back (none known), injections work all
//! the same, but the death of the tracer in the middle of one is the program's.

use std::io;

use crate::batch::{Batch, Done};
use crate::inject::{Area, InjectError, Site, must, rest};
use crate::pass;
use crate::ptrace::{Registers, Stop, Tracee, to_64_bit_code};
use crate::way_back::{self, WayBack};

/// All signals but SIGTRAP, which the kernel would otherwise force by resetting the process's handler.
const QUIET: u64 = !bit(libc::SIGTRAP);
/// Programs ignore these unless they ask for them: one tells the tracer that a batch has ended.
const MARKS: [i32; 3] = [libc::SIGURG, libc::SIGWINCH, libc::SIGCHLD];

const fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// A borrowed thread.
#[derive(Debug)]
pub struct Borrowed {
    thread: Tracee,
    pid: i32,
    kept: Kept,
    way: Way,
}

/// What a borrowed thread had of its own.
#[derive(Debug, Clone, Copy)]
pub struct Kept {
    /// General registers.
    pub registers: Registers,
    /// Blocked signals.
    pub mask: u64,
    /// The system calls it takes for itself, injected ones too, so that there are none while it is borrowed
    /// ([`Tracee::syscall_dispatch`]).
    pub dispatch: Option<[u64; 4]>,
}

#[derive(Debug)]
enum Way {
    /// Signal at a batch's end, and the way back.
    Back(i32, WayBack),
    /// None: calls are made in the vdso, and batches end in a breakpoint.
    None(Site),
}

impl Borrowed {
    /// Remembers registers and mask, and blocks signals. `pid` is the thread's process.
    ///
    /// # Errors
    /// ESRCH if the thread is gone or not stopped.
    pub fn take(thread: Tracee, pid: i32) -> io::Result<Self> {
        let at = way_back::padding(pid, way_back::length())?;
        Self::with_way_at(thread, pid, at)
    }

    /// The same for a second thread of a process, with the way back in an area of the first.
    ///
    /// # Errors
    /// ESRCH if the thread is gone or not stopped.
    pub fn take_beside(thread: Tracee, pid: i32, area: Area) -> io::Result<Self> {
        Self::with_way_at(thread, pid, Some(area.room_for_way_back()))
    }

    fn with_way_at(thread: Tracee, pid: i32, at: Option<u64>) -> io::Result<Self> {
        let registers = thread.registers()?;
        let mask = thread.signal_mask()?;
        let dispatch = thread.syscall_dispatch()?;
        if dispatch.is_some() {
            thread.set_syscall_dispatch(None)?;
        }
        let pending: u64 =
            thread.pending_signals(false)?.iter().map(|info| bit(i32::from(info[0]))).fold(0, |a, b| a | b);
        let mark = MARKS.into_iter().find(|mark| pending & bit(*mark) == 0);
        let way = match (at, mark) {
            (Some(at), Some(mark)) => {
                let back = WayBack::lay(pid, at, &registers, mask, QUIET & !bit(mark))?;
                let mut away = Registers { rip: back.now(), orig_rax: u64::MAX, ..registers };
                to_64_bit_code(&mut away);
                thread.set_registers(&away)?;
                Way::Back(mark, back)
            }
            _ => Way::None(Site::in_vdso(pid)?),
        };
        thread.set_signal_mask(QUIET)?;
        Ok(Self { thread, pid, kept: Kept { registers, mask, dispatch }, way })
    }

    /// Makes one system call. `taken_back_by` undoes it if this process dies before it made the next: a call
    /// that gets the result as its first argument and this one's other arguments.
    ///
    /// # Errors
    /// A ptrace failure or an odd stop; the call's own failure is its negative result.
    pub fn call(&self, nr: i64, args: [u64; 6], taken_back_by: Option<i64>) -> Result<i64, InjectError> {
        let back = match &self.way {
            Way::Back(_, back) => back,
            Way::None(site) => return site.call(self.thread, nr, args),
        };
        // First away from a call whose undoing is written over.
        let mut args = args;
        pass::show(nr, &mut args);
        let mut registers = self.thread.registers()?;
        registers.rip = back.now();
        registers.orig_rax = u64::MAX;
        self.thread.set_registers(&registers)?;
        back.take_back_by(taken_back_by)?;
        registers.rip = back.call();
        registers.rax = nr as u64;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = args;
        self.thread.set_registers(&registers)?;
        for _entry_and_exit in 0..2 {
            self.thread.resume_to_syscall()?;
            loop {
                match self.thread.wait()? {
                    Stop::Syscall => break,
                    // A group stop that was under way.
                    Stop::Event { .. } => self.thread.resume_to_syscall()?,
                    odd => return Err(InjectError::Odd(odd)),
                }
            }
        }
        Ok(self.thread.registers()?.rax as i64)
    }

    /// Has the process take a SIGSTOP that is pending, which would end every injection. It is stopped by job control
    /// then: that does not hinder injections, and the kernel stops it again when its tracer dies.
    ///
    /// # Errors
    /// A ptrace failure or an odd stop.
    pub fn take_stop(&self) -> Result<(), InjectError> {
        let stop = |info: &[u8; 128]| i32::from(info[0]) == libc::SIGSTOP;
        if !self.thread.pending_signals(true)?.iter().any(stop) {
            return Ok(());
        }
        self.thread.resume(0)?;
        let mut taken = false;
        loop {
            match self.thread.wait()? {
                Stop::Signal(libc::SIGSTOP) => {
                    taken = true;
                    self.thread.resume(libc::SIGSTOP)?;
                }
                Stop::Event { .. } if taken => return Ok(()),
                Stop::Event { .. } => self.thread.resume(0)?,
                odd => return Err(InjectError::Odd(odd)),
            }
        }
    }

    /// Maps an area for batches.
    ///
    /// # Errors
    /// If the process can't map it.
    pub fn install(&self, len: u64) -> Result<Area, InjectError> {
        let ends = if matches!(self.way, Way::Back(..)) {
            crate::inject::End::Jump
        } else {
            crate::inject::End::Trap
        };
        Area::install_by(self.pid, None, len, ends, |nr, args| {
            self.call(nr, args, (nr == libc::SYS_mmap).then_some(libc::SYS_munmap))
        })
    }

    /// Unmaps it.
    ///
    /// # Errors
    /// A failure of the injection.
    pub fn remove(&self, area: Area) -> Result<(), InjectError> {
        let (base, len) = area.range();
        must("unmapping injected code", self.call(libc::SYS_munmap, [base, len, 0, 0, 0, 0], None)?)?;
        Ok(())
    }

    /// Runs a batch in an area of its process.
    ///
    /// # Errors
    /// A call that had to succeed and did not, or a failure of the injection itself.
    pub fn run(&self, area: Area, batch: &Batch) -> Result<Done, InjectError> {
        let Way::Back(mark, back) = &self.way else { return area.run(self.thread, self.pid, batch) };
        let done = area.run_until(self.thread, self.pid, batch, back.end(), || {
            self.thread.queue_signal(self.pid, *mark)?;
            self.thread.resume(0)?;
            loop {
                match self.thread.wait()? {
                    Stop::Signal(signal) if signal == *mark => break Ok(()),
                    Stop::Event { .. } => self.thread.resume(0)?,
                    odd => break Err(InjectError::Odd(odd)),
                }
            }
        });
        self.thread.set_signal_mask(QUIET)?;
        done
    }

    /// Puts everything back. The thread stands in a stop of its own then, not before the delivery of a signal
    /// of the injection.
    ///
    /// # Errors
    /// ESRCH if the thread is gone.
    pub fn give_back(self) -> io::Result<()> {
        let back = match self.way {
            Way::Back(_, back) => {
                self.thread.set_registers(&Registers {
                    rip: back.finish(),
                    orig_rax: u64::MAX,
                    ..self.kept.registers
                })?;
                Some(back)
            }
            Way::None(_) => None,
        };
        self.thread.set_signal_mask(self.kept.mask)?;
        self.thread.set_registers(&self.kept.registers)?;
        if self.kept.dispatch.is_some() {
            self.thread.set_syscall_dispatch(self.kept.dispatch)?;
        }
        rest(self.thread)?;
        back.map_or(Ok(()), WayBack::lift)
    }

    /// What it had when it was taken.
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.kept
    }
}
