//! Starting programs as roam-init does: apps with nothing, the restore's stub with everything.

use std::ffi::{CStr, CString, OsStr};
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use nix::unistd::Pid;

use crate::{caps, confine};

/// A program of the session.
pub struct Program<'a> {
    /// Program and arguments.
    pub argv: &'a [Vec<u8>],
    /// The whole environment.
    pub env: &'a [(Vec<u8>, Vec<u8>)],
    /// Working directory.
    pub cwd: &'a [u8],
    /// File mode creation mask.
    pub umask: u32,
    /// Standard input, output and error.
    pub stdio: [OwnedFd; 3],
}

/// Starts a program in a session of its own, without any capability, with no_new_privs, no signal blocked
/// or ignored; the filter of [`confine`] is inherited. Returns its pid; the caller reaps it.
///
/// # Errors
/// Whatever kept the program from being execed: nothing is left then.
pub fn confined(program: Program<'_>) -> io::Result<Pid> {
    let name = program.argv.first().ok_or_else(|| io::Error::from_raw_os_error(libc::EINVAL))?;
    let [stdin, stdout, stderr] = program.stdio;
    let umask = program.umask;
    let mut command = Command::new(OsStr::from_bytes(name));
    command
        .args(program.argv[1..].iter().map(|arg| OsStr::from_bytes(arg)))
        .env_clear()
        .envs(program.env.iter().map(|(k, v)| (OsStr::from_bytes(k), OsStr::from_bytes(v))))
        .current_dir(OsStr::from_bytes(program.cwd))
        .stdin(Stdio::from(stdin))
        .stdout(Stdio::from(stdout))
        .stderr(Stdio::from(stderr));
    // SAFETY: the closure makes system calls only; it neither allocates nor takes locks.
    unsafe {
        command.pre_exec(move || {
            libc::umask(umask as libc::mode_t);
            reset_signals();
            if libc::setsid() < 0 {
                return Err(io::Error::last_os_error());
            }
            caps::drop_all()?;
            confine::forbid_privileges()
        });
    }
    let child = command.spawn()?;
    Ok(Pid::from_raw(child.id() as i32))
}

/// No signal blocked, every one at its default.
fn reset_signals() {
    for signal in 1..=64 {
        // SAFETY: setting a signal to its default touches no memory of ours; the two that can't be
        // changed and the C library's own answer EINVAL.
        unsafe { libc::signal(signal, libc::SIG_DFL) };
    }
    let _ = nix::sys::signal::sigprocmask(
        nix::sys::signal::SigmaskHow::SIG_SETMASK,
        Some(&nix::sys::signal::SigSet::empty()),
        None,
    );
}

/// Starts the executable in this descriptor with the caller's capabilities (by its ambient set) and no
/// descriptor open. Returns its pid once it is execed; the caller reaps it.
///
/// # Errors
/// The kernel's; EBUSY if this process has more than one thread.
pub fn privileged(executable: BorrowedFd<'_>) -> io::Result<Pid> {
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::Error::from_raw_os_error(libc::EBUSY));
    }
    // Closed by a successful exec; otherwise the error's number comes through.
    let (mut outcome, mut report) = io::pipe()?;
    // SAFETY: this process has one thread, so the child may do anything until it execs.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => {
            reset_signals();
            let fd = executable.as_raw_fd();
            // SAFETY: numbers only. Everything is marked close-on-exec, standard descriptors included.
            unsafe { libc::syscall(libc::SYS_close_range, 0, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
            let error = execute(fd, &[c"roam-stub".to_owned()], &[]);
            let _ = report.write_all(&error.raw_os_error().unwrap_or(libc::EIO).to_le_bytes());
            // SAFETY: _exit never returns and runs no handlers.
            unsafe { libc::_exit(127) }
        }
        pid => {
            drop(report);
            let mut number = [0; 4];
            match outcome.read_exact(&mut number) {
                Ok(()) => Err(io::Error::from_raw_os_error(i32::from_le_bytes(number))),
                Err(_) => Ok(Pid::from_raw(pid)),
            }
        }
    }
}

/// Replaces this process by the executable in this descriptor. Returns only on failure.
///
/// # Errors
/// Always, if it returns.
pub fn exec_descriptor(executable: BorrowedFd<'_>, argv: &[CString], env: &[CString]) -> io::Error {
    execute(executable.as_raw_fd(), argv, env)
}

fn execute(fd: i32, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| {
        list.iter().map(|s| s.as_ptr()).chain([std::ptr::null()]).collect::<Vec<*const libc::c_char>>()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    let empty: &CStr = c"";
    // SAFETY: the path and both null-terminated lists of strings outlive the call.
    unsafe {
        libc::syscall(
            libc::SYS_execveat,
            fd,
            empty.as_ptr(),
            argv.as_ptr(),
            env.as_ptr(),
            libc::AT_EMPTY_PATH,
        );
    }
    io::Error::last_os_error()
}

/// An executable in memory, for [`privileged`].
///
/// # Errors
/// The kernel's.
pub fn memory_file(name: &CStr, content: &[u8]) -> io::Result<OwnedFd> {
    // SAFETY: the name is a terminated string that outlives the call.
    let fd = unsafe { libc::memfd_create(name.as_ptr(), libc::MFD_CLOEXEC) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, owned by nobody else.
    let file = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut rest = content;
    while !rest.is_empty() {
        rest = &rest[nix::unistd::write(&file, rest)?..];
    }
    Ok(file)
}

/// A descriptor of a process, safe against reuse of its pid.
///
/// # Errors
/// The kernel's; ESRCH if there is no such process.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: two numbers go in, a new descriptor or an error comes out.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: made just now, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Clears close-on-exec, so that the next exec inherits the descriptor.
///
/// # Errors
/// The kernel's.
pub fn let_inherit(fd: BorrowedFd<'_>) -> io::Result<()> {
    nix::fcntl::fcntl(fd, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::empty()))?;
    Ok(())
}

/// Marks every descriptor above standard error close-on-exec, so that nothing leaks into a program.
///
/// # Errors
/// The kernel's.
pub fn seal_descriptors() -> io::Result<()> {
    // SAFETY: numbers only; no descriptor is closed by this.
    let result = unsafe { libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Sends a signal through a pidfd.
///
/// # Errors
/// The kernel's; ESRCH if the process has ended.
pub fn pidfd_signal(pidfd: BorrowedFd<'_>, signal: i32) -> io::Result<()> {
    let info: *const libc::siginfo_t = std::ptr::null();
    // SAFETY: a null siginfo asks for the one that kill(2) would send.
    let result = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, pidfd.as_raw_fd(), signal, info, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}
