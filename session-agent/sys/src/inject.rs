//! System calls made in another process: one at a time, or by the batch.
//!
//! A [`Site`] is a place in the process that holds a `syscall` instruction, for lone calls by
//! single-stepping (every process has one in its vdso). An [`Area`] is two pages or more mapped
//! into the process: the batch interpreter, and room for a batch with its data.
//!
//! Registers and signal mask are the caller's: signals must be blocked meanwhile, all but SIGTRAP, which the
//! kernel would otherwise force by resetting the process's handler. That suits stubs, which die with
//! their tracer; a thread of a running program is [`crate::borrowed::Borrowed`].

use std::io;

use crate::batch::{self, Batch, CallFailed, Done};
use crate::memory::{self, MemFile};
use crate::pass;
use crate::procfs::maps;
use crate::ptrace::{Stop, Tracee, to_64_bit_code};

const PAGE: u64 = 4096;
/// Where in the area's first page there is room for a [`crate::way_back::WayBack`].
const WAY_BACK: u64 = 2048;

/// Why an injection failed.
#[derive(Debug, thiserror::Error)]
pub enum InjectError {
    /// A call that had to succeed did not.
    #[error(transparent)]
    Call(#[from] CallFailed),
    /// ptrace or memory access failed, or the process ended.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The thread stopped for another reason than the end of the injected code.
    #[error("the thread stopped unexpectedly: {0:?}")]
    Odd(Stop),
}

/// The address of a `syscall` instruction in the traced process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Site(pub u64);

impl Site {
    /// The one in the process's vdso.
    ///
    /// # Errors
    /// If the process has no vdso, or its memory can't be read.
    pub fn in_vdso(pid: i32) -> io::Result<Self> {
        let areas = maps::read(pid)?;
        let vdso = areas
            .iter()
            .find(|a| a.name == b"[vdso]")
            .ok_or_else(|| io::Error::other(format!("process {pid} has no vdso")))?;
        Self::in_area(pid, vdso)
    }

    /// The first one in this area.
    ///
    /// # Errors
    /// If there is none, or its memory can't be read.
    pub fn in_area(pid: i32, area: &maps::Area) -> io::Result<Self> {
        let code = memory::read_vec(pid, area.start, area.len() as usize)?;
        let offset = code
            .windows(2)
            .position(|w| w == [0x0f, 0x05])
            .ok_or_else(|| io::Error::other("no syscall instruction in the vdso"))?;
        Ok(Self(area.start + offset as u64))
    }

    /// Makes a clone call in the stopped thread, which is followed ([`crate::ptrace::FOLLOW`]); returns
    /// its result and the new task, stopped before its first instruction, as this process sees it.
    ///
    /// # Errors
    /// A ptrace failure or an odd stop; the call's own failure is its negative result and no task.
    pub fn clone_call(self, thread: Tracee, args: [u64; 6]) -> Result<(i64, Option<Tracee>), InjectError> {
        self.start(thread, libc::SYS_clone3, args)?;
        let mut born = None;
        loop {
            match thread.wait()? {
                Stop::Signal(libc::SIGTRAP) => break,
                Stop::Event {
                    event: libc::PTRACE_EVENT_CLONE | libc::PTRACE_EVENT_FORK | libc::PTRACE_EVENT_VFORK,
                    ..
                } => {
                    born = Some(Tracee::auto_attached(thread.event_message()? as i32));
                    thread.step()?;
                }
                Stop::Event { .. } => thread.step()?,
                odd => return Err(InjectError::Odd(odd)),
            }
        }
        if let Some(born) = born {
            match born.wait()? {
                Stop::Event { event: libc::PTRACE_EVENT_STOP, .. } => {}
                odd => return Err(InjectError::Odd(odd)),
            }
        }
        Ok((thread.registers()?.rax as i64, born))
    }

    /// Makes one system call in the stopped thread and leaves its registers changed.
    ///
    /// # Errors
    /// A ptrace failure or an odd stop; the call's own failure is its negative result.
    pub fn call(self, thread: Tracee, nr: i64, args: [u64; 6]) -> Result<i64, InjectError> {
        self.start(thread, nr, args)?;
        loop {
            match thread.wait()? {
                Stop::Signal(libc::SIGTRAP) => break,
                // A followed clone, or a group stop that was under way: go on to the end of the call.
                Stop::Event { .. } => thread.step()?,
                odd => return Err(InjectError::Odd(odd)),
            }
        }
        Ok(thread.registers()?.rax as i64)
    }

    fn start(self, thread: Tracee, nr: i64, mut args: [u64; 6]) -> Result<(), InjectError> {
        pass::show(nr, &mut args);
        let mut registers = thread.registers()?;
        to_64_bit_code(&mut registers);
        registers.rip = self.0;
        registers.rax = nr as u64;
        registers.orig_rax = u64::MAX;
        [registers.rdi, registers.rsi, registers.rdx, registers.r10, registers.r8, registers.r9] = args;
        thread.set_registers(&registers)?;
        thread.step()?;
        Ok(())
    }
}

/// Pages in the traced process that hold the interpreter and a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Area {
    base: u64,
    len: u64,
}

impl Area {
    /// Maps an area: at `at` (which must be free), or where the kernel likes.
    ///
    /// # Errors
    /// If the process can't map it.
    pub fn install(
        thread: Tracee,
        pid: i32,
        site: Site,
        at: Option<u64>,
        len: u64,
    ) -> Result<Self, InjectError> {
        Self::install_by(pid, at, len, End::Trap, |nr, args| site.call(thread, nr, args))
    }

    /// The same by any way to make a call in the process.
    pub(crate) fn install_by(
        pid: i32,
        at: Option<u64>,
        len: u64,
        end: End,
        call: impl Fn(i64, [u64; 6]) -> Result<i64, InjectError>,
    ) -> Result<Self, InjectError> {
        let len = len.next_multiple_of(PAGE).max(2 * PAGE);
        let fixed = if at.is_some() { libc::MAP_FIXED_NOREPLACE } else { 0 };
        let base = must(
            "mapping room for injected calls",
            call(
                libc::SYS_mmap,
                [
                    at.unwrap_or(0),
                    len,
                    (libc::PROT_READ | libc::PROT_WRITE) as u64,
                    (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | fixed) as u64,
                    u64::MAX,
                    0,
                ],
            )?,
        )? as u64;
        let mut code = batch::interpreter().to_vec();
        if end == End::Jump {
            let at = batch::end_offset() as usize;
            code[at..at + JUMP.len()].copy_from_slice(&JUMP);
        }
        memory::write(pid, base, &code)?;
        let rights = (libc::PROT_READ | libc::PROT_EXEC) as u64;
        let ret = call(libc::SYS_mprotect, [base, PAGE, rights, 0, 0, 0])?;
        if ret != -i64::from(libc::EACCES) {
            must("making injected code executable", ret)?;
            return Ok(Self { base, len });
        }
        // The program forbade that what is writable becomes executable (PR_SET_MDWE): a page that never is
        // writable, filled from outside.
        let flags = (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED) as u64;
        must(
            "mapping room for injected code",
            call(libc::SYS_mmap, [base, PAGE, rights, flags, u64::MAX, 0])?,
        )?;
        MemFile::open(pid)?.write(base, &code)?;
        Ok(Self { base, len })
    }

    /// The same area at another place, after its pages were moved or copied there.
    #[must_use]
    pub fn at(self, base: u64, len: u64) -> Self {
        Self { base, len }
    }

    /// First address and length.
    #[must_use]
    pub fn range(self) -> (u64, u64) {
        (self.base, self.len)
    }

    /// A `syscall` instruction inside the area, for lone calls.
    #[must_use]
    pub fn site(self) -> Site {
        Site(self.base + batch::lone_call_offset())
    }

    /// How large an encoded batch may be.
    #[must_use]
    pub fn room(self) -> u64 {
        self.len - PAGE
    }

    /// Runs a batch in the stopped thread and leaves its registers changed.
    ///
    /// # Errors
    /// A call that had to succeed and did not, or a failure of the injection itself.
    ///
    /// # Panics
    /// If the batch is larger than [`Area::room`]; ask before.
    pub fn run(self, thread: Tracee, pid: i32, batch: &Batch) -> Result<Done, InjectError> {
        self.run_until(thread, pid, batch, 0, || {
            thread.resume(0)?;
            loop {
                match thread.wait()? {
                    Stop::Signal(libc::SIGTRAP) => return Ok(()),
                    Stop::Event { .. } => thread.resume(0)?,
                    odd => return Err(InjectError::Odd(odd)),
                }
            }
        })
    }

    /// Has the stopped thread load these sets of registers (a bit for each) by XRSTOR from an area in the standard form,
    /// and leaves its general registers changed. So the kernel makes room for a large one, which a tracer
    /// can't have it do.
    ///
    /// # Errors
    /// [`InjectError::Odd`] if the process may not use such a set, or the processor has none.
    ///
    /// # Panics
    /// If the area is larger than [`Area::room`].
    pub fn load_registers(self, thread: Tracee, pid: i32, area: &[u8], sets: u64) -> Result<(), InjectError> {
        assert!(area.len() as u64 <= self.room(), "the registers are larger than their room");
        let data = self.base + PAGE;
        memory::write(pid, data, area)?;
        let mut registers = thread.registers()?;
        to_64_bit_code(&mut registers);
        registers.rip = self.base + batch::load_offset();
        registers.r12 = data;
        (registers.rax, registers.rdx) = (sets & 0xffff_ffff, sets >> 32);
        registers.orig_rax = u64::MAX;
        thread.set_registers(&registers)?;
        thread.resume(0)?;
        loop {
            match thread.wait()? {
                Stop::Signal(libc::SIGTRAP) => return Ok(()),
                Stop::Event { .. } => thread.resume(0)?,
                odd => return Err(InjectError::Odd(odd)),
            }
        }
    }

    /// [`Area::run`] with an end of another kind: the interpreter goes to `end`, and `ended` returns once the
    /// thread has stopped there.
    pub(crate) fn run_until(
        self,
        thread: Tracee,
        pid: i32,
        batch: &Batch,
        end: u64,
        ended: impl FnOnce() -> Result<(), InjectError>,
    ) -> Result<Done, InjectError> {
        assert!(batch.encoded_len() as u64 <= self.room(), "the batch is larger than its room");
        let data = self.base + PAGE;
        let mut bytes = batch.encode(data);
        memory::write(pid, data, &bytes)?;
        let mut registers = thread.registers()?;
        to_64_bit_code(&mut registers);
        registers.rip = self.base;
        registers.r12 = data;
        registers.r13 = batch.len() as u64;
        registers.r15 = end;
        registers.orig_rax = u64::MAX;
        thread.set_registers(&registers)?;
        ended()?;
        memory::read(pid, data, &mut bytes)?;
        Ok(batch.decode(&bytes)?)
    }

    /// The place in it for the way back of a borrowed thread.
    pub(crate) fn room_for_way_back(self) -> u64 {
        self.base + WAY_BACK
    }

    /// Unmaps the area by a lone call made elsewhere.
    ///
    /// # Errors
    /// A failure of the injection.
    pub fn remove(self, thread: Tracee, site: Site) -> Result<(), InjectError> {
        must(
            "unmapping injected code",
            site.call(thread, libc::SYS_munmap, [self.base, self.len, 0, 0, 0, 0])?,
        )?;
        Ok(())
    }
}

/// Turns a lone call's result into an error that names it.
///
/// # Errors
/// If `ret` is a negative errno.
pub fn must(what: &'static str, ret: i64) -> Result<i64, CallFailed> {
    if (-4095..0).contains(&ret) {
        return Err(CallFailed { what, index: 0, errno: -ret as i32 });
    }
    Ok(ret)
}

/// What a batch does at its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// A breakpoint, which kills without a tracer.
    Trap,
    /// It goes to the address in r15.
    Jump,
}

/// `jmp r15`.
const JUMP: [u8; 3] = [0x41, 0xff, 0xe7];

/// Moves a stopped thread into a stop of its own: if the tracer dies, it goes on as it stands instead of
/// getting the signal before whose delivery it was stopped.
///
/// # Errors
/// ESRCH if the thread is gone.
pub fn rest(thread: Tracee) -> io::Result<()> {
    // The interrupt is taken before the next instruction, and before any other signal.
    thread.interrupt()?;
    thread.resume(0)?;
    match thread.wait()? {
        Stop::Ended(_) => Err(io::Error::from_raw_os_error(libc::ESRCH)),
        Stop::Signal(_) | Stop::Event { .. } | Stop::Syscall => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::borrowed::Borrowed;
    use crate::ptrace::{EXITKILL, FOLLOW};
    use std::process::{Command, Stdio};

    /// A sleeping program, traced, with an area.
    fn with_victim(test: impl FnOnce(Tracee, i32, Site, Area)) {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().unwrap();
        let pid = child.id() as i32;
        let thread = Tracee::seize(pid, FOLLOW | EXITKILL).unwrap();
        thread.interrupt().unwrap();
        thread.wait().unwrap();
        let site = Site::in_vdso(pid).unwrap();
        let borrowed = Borrowed::take(thread, pid).unwrap();
        let area = Area::install(thread, pid, site, None, 1 << 16).unwrap();
        test(thread, pid, site, area);
        area.remove(thread, site).unwrap();
        borrowed.give_back().unwrap();
        thread.detach(0).unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn calls_run_in_the_other_process() {
        with_victim(|thread, pid, site, area| {
            assert_eq!(site.call(thread, libc::SYS_getpid, [0; 6]).unwrap(), i64::from(pid));
            assert_eq!(area.site().call(thread, libc::SYS_getpid, [0; 6]).unwrap(), i64::from(pid));
        });
    }

    #[test]
    fn a_batch_passes_results_on() {
        with_victim(|thread, pid, _, area| {
            let mut b = Batch::new();
            let ends = b.room(8);
            b.must("pipe2", libc::SYS_pipe2, &[ends.into(), 0.into()]);
            let text = b.data(b"through the pipe");
            let back = b.room(16);
            b.must("write", libc::SYS_write, &[batch::Arg::Load32(ends.skip(4)), text.into(), 16.into()]);
            let read = b.must("read", libc::SYS_read, &[batch::Arg::Load32(ends), back.into(), 16.into()]);
            let copy = b.must("dup", libc::SYS_dup, &[batch::Arg::Load32(ends)]);
            b.must("close", libc::SYS_close, &[copy.into()]);
            let done = area.run(thread, pid, &b).unwrap();
            assert_eq!(done.ret(read), 16);
            assert_eq!(done.bytes(back), b"through the pipe");
        });
    }

    #[test]
    fn a_batch_stops_at_the_first_failure() {
        with_victim(|thread, pid, _, area| {
            let mut b = Batch::new();
            b.may("close", libc::SYS_close, &[9999.into()]);
            b.must("closing a second time", libc::SYS_close, &[9999.into()]);
            b.must("never", libc::SYS_exit_group, &[0.into()]);
            let Err(InjectError::Call(failed)) = area.run(thread, pid, &b) else { panic!("must fail") };
            assert_eq!((failed.what, failed.index, failed.errno), ("closing a second time", 1, libc::EBADF));
        });
    }
    /// AVX's registers stand for those that no processor here may have.
    #[test]
    fn a_thread_loads_registers_itself() {
        const AVX: u32 = 2;
        const IN_USE: usize = 512;
        let components = crate::xstate::components();
        let Some(avx) = components.iter().find(|c| c.index == AVX) else { return };
        let place = avx.offset as usize..(avx.offset + avx.size) as usize;
        with_victim(|thread, pid, _, area| {
            let mut wanted = thread.extended_state().unwrap();
            wanted[place.clone()].fill(0x5a);
            wanted[IN_USE] |= 1 << AVX;
            area.load_registers(thread, pid, &wanted, 1 << AVX).unwrap();
            assert_eq!(thread.extended_state().unwrap()[place.clone()], wanted[place.clone()]);
        });
    }
}
