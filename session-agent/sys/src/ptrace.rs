//! ptrace(2), one safe wrapper per request.
//!
//! A [`Tracee`] is a thread that this thread traces (by PTRACE_SEIZE). All calls but
//! [`Tracee::seize`] and [`Tracee::interrupt`] need it to be in a ptrace stop; the kernel answers
//! ESRCH otherwise. ptrace knows its tracer by thread: use a `Tracee` on the thread that seized it.

use std::io;
use std::mem::{MaybeUninit, size_of};

use libc::{c_long, c_uint, c_void, pid_t};

/// General registers of x86-64, as PTRACE_GETREGS gives them.
pub type Registers = libc::user_regs_struct;

const NT_X86_XSTATE: usize = 0x202;
/// The part of it that processors without XSAVE have (Intel's before 2008, or 2011).
const NT_PRFPREG: usize = 2;
/// Its length.
const FXSAVE_LEN: usize = 512;
const PTRACE_GETSIGMASK: c_uint = 0x420a;
const PTRACE_SETSIGMASK: c_uint = 0x420b;
const PTRACE_GET_RSEQ_CONFIGURATION: c_uint = 0x420f;
const PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG: c_uint = 0x4210;
const PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG: c_uint = 0x4211;

/// What PTRACE_GET_RSEQ_CONFIGURATION answers.
#[repr(C)]
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RseqConfiguration {
    /// Address of the thread's `struct rseq`; 0 if none is registered.
    pub pointer: u64,
    /// Registered size in bytes.
    pub size: u32,
    /// The signature before abort handlers.
    pub signature: u32,
    /// Flags of the registration.
    pub flags: u32,
    pad: u32,
}

/// What a wait for a traced thread found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Stopped before a signal's delivery.
    Signal(i32),
    /// A PTRACE_EVENT_* stop; for PTRACE_EVENT_STOP the signal tells a group stop (SIGSTOP…) from
    /// an interrupt or attach (SIGTRAP).
    Event {
        /// The event's number.
        event: i32,
        /// The signal reported with it.
        signal: i32,
    },
    /// A system call stop (PTRACE_O_TRACESYSGOOD).
    Syscall,
    /// It ended with this wait status.
    Ended(i32),
}

/// Options: children and threads are attached from their first instruction.
pub const FOLLOW: i32 = libc::PTRACE_O_TRACECLONE
    | libc::PTRACE_O_TRACEFORK
    | libc::PTRACE_O_TRACEVFORK
    | libc::PTRACE_O_TRACESYSGOOD;
/// Option: the tracee is killed when its tracer ends. For stubs only, never for a running session.
pub const EXITKILL: i32 = libc::PTRACE_O_EXITKILL;

/// A thread that the calling thread traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tracee {
    tid: pid_t,
}

fn request(request: c_uint, tid: pid_t, addr: usize, data: usize) -> io::Result<c_long> {
    // SAFETY: only called with requests whose address and data are plain values, or pointers to live
    // memory of the size that the request writes; see each caller.
    let ret = unsafe { libc::ptrace(request, tid, addr as *mut c_void, data as *mut c_void) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

/// Waits until something is told of any task that this thread traces or is the parent of, and leaves it to be taken.
///
/// # Errors
/// ECHILD if there is none.
pub fn await_any() -> io::Result<()> {
    let flags = libc::WEXITED | libc::WSTOPPED | libc::WNOWAIT | libc::__WALL | libc::__WNOTHREAD;
    // SAFETY: all zero is a valid siginfo_t, which the kernel overwrites.
    let mut info: libc::siginfo_t = unsafe { std::mem::zeroed() };
    loop {
        // SAFETY: info is a valid place for the result.
        if unsafe { libc::waitid(libc::P_ALL, 0, &raw mut info, flags) } == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

impl Tracee {
    /// PTRACE_SEIZE: begins to trace the thread, without stopping it.
    ///
    /// # Errors
    /// ESRCH if it is gone, EPERM if it is traced already or may not be.
    pub fn seize(tid: pid_t, options: i32) -> io::Result<Self> {
        request(libc::PTRACE_SEIZE, tid, 0, options as usize)?;
        Ok(Self { tid })
    }

    /// A thread that ptrace attached by itself, as the child of a followed clone.
    #[must_use]
    pub fn auto_attached(tid: pid_t) -> Self {
        Self { tid }
    }

    /// The thread's id as this process sees it.
    #[must_use]
    pub fn tid(self) -> pid_t {
        self.tid
    }

    /// PTRACE_INTERRUPT: asks it to stop; wait for the stop.
    ///
    /// # Errors
    /// ESRCH if it is gone.
    pub fn interrupt(self) -> io::Result<()> {
        request(libc::PTRACE_INTERRUPT, self.tid, 0, 0).map(drop)
    }

    /// waitpid(2) with `__WALL` for this thread.
    ///
    /// # Errors
    /// ECHILD if it is not traced by this thread.
    pub fn wait(self) -> io::Result<Stop> {
        self.wait_with(0).map(|stop| stop.expect("a blocking wait has a result"))
    }

    /// The same without blocking; none if it has not stopped.
    ///
    /// # Errors
    /// ECHILD if it is not traced by this thread.
    pub fn try_wait(self) -> io::Result<Option<Stop>> {
        self.wait_with(libc::WNOHANG)
    }

    fn wait_with(self, flags: i32) -> io::Result<Option<Stop>> {
        let mut status = 0;
        loop {
            // SAFETY: status is a valid place for the result.
            let got = unsafe { libc::waitpid(self.tid, &raw mut status, libc::__WALL | flags) };
            match got {
                0 => return Ok(None),
                -1 => {
                    let error = io::Error::last_os_error();
                    if error.kind() != io::ErrorKind::Interrupted {
                        return Err(error);
                    }
                }
                _ => break,
            }
        }
        if !libc::WIFSTOPPED(status) {
            return Ok(Some(Stop::Ended(status)));
        }
        let signal = libc::WSTOPSIG(status);
        let event = status >> 16;
        Ok(Some(if event != 0 {
            Stop::Event { event, signal }
        } else if signal == libc::SIGTRAP | 0x80 {
            Stop::Syscall
        } else {
            Stop::Signal(signal)
        }))
    }

    /// PTRACE_CONT, delivering `signal` (0: none).
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn resume(self, signal: i32) -> io::Result<()> {
        request(libc::PTRACE_CONT, self.tid, 0, signal as usize).map(drop)
    }

    /// Lets it go on from a stop that came before that of an [`interrupt`](Self::interrupt), delivering
    /// `signal` (0: none). Any stop takes a pending interrupt with it (`ptrace_stop` in the kernel's
    /// signal.c; ptrace(2) is silent), so it is interrupted again.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn resume_interrupted(self, signal: i32) -> io::Result<()> {
        self.resume(signal)?;
        self.interrupt()
    }

    /// PTRACE_SYSCALL: runs until the next entry to or exit from a system call.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn resume_to_syscall(self) -> io::Result<()> {
        request(libc::PTRACE_SYSCALL, self.tid, 0, 0).map(drop)
    }

    /// PTRACE_SINGLESTEP: one instruction.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn step(self) -> io::Result<()> {
        request(libc::PTRACE_SINGLESTEP, self.tid, 0, 0).map(drop)
    }

    /// PTRACE_DETACH, delivering `signal` (0: none): it runs on, or stays in its group stop.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn detach(self, signal: i32) -> io::Result<()> {
        request(libc::PTRACE_DETACH, self.tid, 0, signal as usize).map(drop)
    }

    /// PTRACE_GETEVENTMSG: the new thread's id after a clone event.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn event_message(self) -> io::Result<u64> {
        let mut message: libc::c_ulong = 0;
        request(libc::PTRACE_GETEVENTMSG, self.tid, 0, &raw mut message as usize)?;
        Ok(message)
    }

    /// PTRACE_GETREGS.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn registers(self) -> io::Result<Registers> {
        let mut registers = MaybeUninit::<Registers>::zeroed();
        request(libc::PTRACE_GETREGS, self.tid, 0, registers.as_mut_ptr() as usize)?;
        // SAFETY: the kernel filled the whole structure; all bit patterns are valid anyway.
        Ok(unsafe { registers.assume_init() })
    }

    /// PTRACE_SETREGS.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped, EIO for values the kernel does not accept.
    pub fn set_registers(self, registers: &Registers) -> io::Result<()> {
        request(libc::PTRACE_SETREGS, self.tid, 0, std::ptr::from_ref(registers) as usize).map(drop)
    }

    /// The extended state (FPU to AMX) in the standard XSAVE form, as long as this CPU has it; 512 bytes where
    /// it has no XSAVE.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn extended_state(self) -> io::Result<Vec<u8>> {
        // Intel's largest today is 11 KiB with AMX; the kernel cuts to what it has.
        let mut bytes = vec![0u8; 64 << 10];
        let mut vector = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
        match request(libc::PTRACE_GETREGSET, self.tid, NT_X86_XSTATE, &raw mut vector as usize) {
            Err(e) if e.raw_os_error() == Some(libc::ENODEV) => {
                request(libc::PTRACE_GETREGSET, self.tid, NT_PRFPREG, &raw mut vector as usize)?
            }
            other => other?,
        };
        bytes.truncate(vector.iov_len);
        Ok(bytes)
    }

    /// Sets the extended state, which must be exactly as long as this CPU's.
    ///
    /// # Errors
    /// EFAULT or EINVAL for another length or features this CPU lacks.
    pub fn set_extended_state(self, bytes: &[u8]) -> io::Result<()> {
        let vector = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let set = if bytes.len() == FXSAVE_LEN { NT_PRFPREG } else { NT_X86_XSTATE };
        request(libc::PTRACE_SETREGSET, self.tid, set, &raw const vector as usize).map(drop)
    }

    /// tgkill(2): sends the thread of this process a signal.
    ///
    /// # Errors
    /// ESRCH if it is gone.
    pub fn queue_signal(self, pid: pid_t, signal: i32) -> io::Result<()> {
        // SAFETY: three numbers.
        let ret = unsafe { libc::syscall(libc::SYS_tgkill, pid, self.tid, signal) };
        if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// The mask of blocked signals (bit 0 is signal 1).
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn signal_mask(self) -> io::Result<u64> {
        let mut mask = 0u64;
        request(PTRACE_GETSIGMASK, self.tid, size_of::<u64>(), &raw mut mask as usize)?;
        Ok(mask)
    }

    /// Sets the mask of blocked signals.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn set_signal_mask(self, mask: u64) -> io::Result<()> {
        request(PTRACE_SETSIGMASK, self.tid, size_of::<u64>(), &raw const mask as usize).map(drop)
    }

    /// Pending signals (PTRACE_PEEKSIGINFO), each as the kernel's 128-byte siginfo: of the thread,
    /// or those shared by its process.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn pending_signals(self, of_process: bool) -> io::Result<Vec<[u8; 128]>> {
        let mut all = Vec::new();
        loop {
            let mut part = [[0u8; 128]; 16];
            let args = libc::ptrace_peeksiginfo_args {
                off: all.len() as u64,
                flags: u32::from(of_process),
                nr: part.len() as i32,
            };
            let got = request(
                libc::PTRACE_PEEKSIGINFO,
                self.tid,
                &raw const args as usize,
                part.as_mut_ptr() as usize,
            )? as usize;
            all.extend_from_slice(&part[..got]);
            if got < part.len() {
                return Ok(all);
            }
        }
    }

    /// The thread's restartable-sequence registration (Linux 5.13).
    ///
    /// # Errors
    /// EIO where the kernel has none.
    pub fn rseq(self) -> io::Result<RseqConfiguration> {
        let mut configuration = RseqConfiguration::default();
        request(
            PTRACE_GET_RSEQ_CONFIGURATION,
            self.tid,
            size_of::<RseqConfiguration>(),
            &raw mut configuration as usize,
        )?;
        Ok(configuration)
    }

    /// The system calls that the program takes for itself (PR_SET_SYSCALL_USER_DISPATCH): mode, address of the
    /// selector, begin and length of the code that is exempt. None if there are none (before Linux 6.4:
    /// not known).
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn syscall_dispatch(self) -> io::Result<Option<[u64; 4]>> {
        let mut raw = [0u64; 4];
        let request_code = PTRACE_GET_SYSCALL_USER_DISPATCH_CONFIG;
        match request(request_code, self.tid, size_of_val(&raw), raw.as_mut_ptr() as usize) {
            Ok(_) => Ok((raw[0] != 0).then_some(raw)),
            Err(error) if error.raw_os_error() == Some(libc::EIO) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Sets them; none ends them.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped, EIO where the kernel can't.
    pub fn set_syscall_dispatch(self, dispatch: Option<[u64; 4]>) -> io::Result<()> {
        let raw = dispatch.unwrap_or_default();
        let request_code = PTRACE_SET_SYSCALL_USER_DISPATCH_CONFIG;
        request(request_code, self.tid, size_of_val(&raw), raw.as_ptr() as usize).map(drop)
    }

    /// PTRACE_SETOPTIONS.
    ///
    /// # Errors
    /// ESRCH if it is gone or not stopped.
    pub fn set_options(self, options: i32) -> io::Result<()> {
        request(libc::PTRACE_SETOPTIONS, self.tid, 0, options as usize).map(drop)
    }
}

/// The thread's robust futex list: head and length (get_robust_list(2)).
///
/// # Errors
/// ESRCH if it is gone, EPERM if it may not be inspected.
pub fn robust_list(tid: pid_t) -> io::Result<(u64, u64)> {
    let mut head = 0usize;
    let mut len = 0usize;
    // SAFETY: both are valid places for the two results.
    let ret = unsafe { libc::syscall(libc::SYS_get_robust_list, tid, &raw mut head, &raw mut len) };
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok((head as u64, len as u64)) }
}

const WORDS: usize = size_of::<Registers>() / size_of::<u64>();

/// The registers as 64-bit words in the kernel's order, for an image.
#[must_use]
pub fn registers_to_words(registers: &Registers) -> [u64; WORDS] {
    // SAFETY: the structure is exactly WORDS plain 64-bit numbers.
    unsafe { std::mem::transmute_copy(registers) }
}

/// Has a thread that is in 32-bit code of a 64-bit program (Wine's are) go on in 64-bit code, in which injected
/// code is written.
pub fn to_64_bit_code(registers: &mut Registers) {
    const USER_CS: u64 = 0x33;
    if is_other_code(registers) {
        registers.cs = USER_CS;
    }
}

/// Whether a thread is in code of fewer than 64 bits.
#[must_use]
pub fn is_other_code(registers: &Registers) -> bool {
    // Linux' selector, arch/x86/include/asm/segment.h; and the bit of a local descriptor's.
    const USER32_CS: u64 = 0x23;
    const LOCAL: u64 = 4;
    registers.cs == USER32_CS || registers.cs & LOCAL != 0
}

/// The way back; none if there are too few or too many words.
#[must_use]
pub fn registers_from_words(words: &[u64]) -> Option<Registers> {
    let words: [u64; WORDS] = words.try_into().ok()?;
    // SAFETY: as above; every bit pattern is valid, and the kernel checks what it is given.
    Some(unsafe { std::mem::transmute_copy(&words) })
}
