//! Descriptors of this and of other processes: duplicate, compare, look at.

use std::cmp::Ordering;
use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

use nix::unistd::Pid;

pub(crate) fn check(ret: libc::c_long) -> io::Result<libc::c_long> {
    if ret < 0 { Err(io::Error::last_os_error()) } else { Ok(ret) }
}

fn owned(ret: libc::c_long) -> io::Result<OwnedFd> {
    let fd = check(ret)? as RawFd;
    // SAFETY: the kernel has just made this descriptor for us; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A descriptor that stands for the process.
///
/// # Errors
/// If there is no such process.
pub fn pidfd_open(pid: Pid) -> io::Result<OwnedFd> {
    // SAFETY: takes two integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, pid.as_raw(), 0) })
}

/// Whether this kernel makes handles of threads (PIDFD_THREAD, Linux 6.9).
#[must_use]
pub fn threads_have_handles() -> bool {
    const PIDFD_THREAD: i32 = libc::O_EXCL;
    // SAFETY: takes two integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_open, libc::getpid(), PIDFD_THREAD) }).is_ok()
}

/// A duplicate of another process's descriptor: the same open file (close-on-exec here).
///
/// # Errors
/// EBADF if the process does not have it, EPERM without ptrace rights.
pub fn pidfd_getfd(pidfd: BorrowedFd<'_>, number: i32) -> io::Result<OwnedFd> {
    // SAFETY: takes three integers.
    owned(unsafe { libc::syscall(libc::SYS_pidfd_getfd, pidfd.as_raw_fd(), number, 0) })
}

const KCMP_FILE: i32 = 0;
const KCMP_FILES: i32 = 2;
const KCMP_EPOLL_TFD: i32 = 7;

fn kcmp(a: i32, b: i32, what: i32, x: u64, y: u64) -> io::Result<Ordering> {
    // SAFETY: integers; for KCMP_EPOLL_TFD `y` is the address of a live structure (see the caller).
    let ret = check(unsafe { libc::syscall(libc::SYS_kcmp, a, b, what, x, y) })?;
    Ok(match ret {
        0 => Ordering::Equal,
        1 => Ordering::Less,
        _ => Ordering::Greater,
    })
}

/// Orders two open files of this process; `Equal` means that both are the same open file.
///
/// # Errors
/// If kcmp is missing.
pub fn compare_files(a: BorrowedFd<'_>, b: BorrowedFd<'_>) -> io::Result<Ordering> {
    let me = Pid::this().as_raw();
    kcmp(me, me, KCMP_FILE, a.as_raw_fd() as u64, b.as_raw_fd() as u64)
}

/// Orders the descriptor tables of two tasks; `Equal` means that they share one.
///
/// # Errors
/// If one has ended.
pub fn compare_tables(a: Pid, b: Pid) -> io::Result<Ordering> {
    kcmp(a.as_raw(), b.as_raw(), KCMP_FILES, 0, 0)
}

/// What two tasks may have in common beside descriptors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shared {
    /// Memory (CLONE_VM).
    Memory = 1,
    /// Working directory, root and umask (CLONE_FS).
    Folders = 3,
    /// What is undone of System V semaphore operations (CLONE_SYSVSEM); also neither has anything.
    Undo = 6,
}

/// Orders what two tasks have of a sort; `Equal` means that they share it.
///
/// # Errors
/// If one has ended.
pub fn compare_shared(a: Pid, b: Pid, what: Shared) -> io::Result<Ordering> {
    kcmp(a.as_raw(), b.as_raw(), what as i32, 0, 0)
}

/// Whether the entry of `epoll` that was added as `number` (the `index`th with that number) is
/// the open file `file`.
///
/// # Errors
/// If there is no such entry.
pub fn is_epoll_target(
    epoll: BorrowedFd<'_>,
    number: i32,
    index: u32,
    file: BorrowedFd<'_>,
) -> io::Result<bool> {
    #[repr(C)]
    struct Slot {
        efd: u32,
        tfd: u32,
        toff: u32,
    }
    let slot = Slot { efd: epoll.as_raw_fd() as u32, tfd: number as u32, toff: index };
    let me = Pid::this().as_raw();
    Ok(kcmp(me, me, KCMP_EPOLL_TFD, file.as_raw_fd() as u64, (&raw const slot) as u64)? == Ordering::Equal)
}

/// fstat(2).
///
/// # Errors
/// As the call.
pub fn stat(fd: BorrowedFd<'_>) -> io::Result<libc::stat> {
    // SAFETY: all-zero is a valid `stat`, and the kernel fills it.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        check(libc::fstat(fd.as_raw_fd(), &raw mut stat).into())?;
        Ok(stat)
    }
}

/// fstatat(2), without following a last symbolic link.
///
/// # Errors
/// As the call.
pub fn stat_at(dir: BorrowedFd<'_>, path: &CStr) -> io::Result<libc::stat> {
    // SAFETY: as in `stat`; the path is a terminated string.
    unsafe {
        let mut stat: libc::stat = std::mem::zeroed();
        let ret = libc::fstatat(dir.as_raw_fd(), path.as_ptr(), &raw mut stat, libc::AT_SYMLINK_NOFOLLOW);
        check(ret.into())?;
        Ok(stat)
    }
}

/// openat(2), close-on-exec.
///
/// # Errors
/// As the call.
pub fn open_at(dir: BorrowedFd<'_>, path: &CStr, flags: i32) -> io::Result<OwnedFd> {
    // SAFETY: the path is a terminated string.
    owned(unsafe { libc::openat(dir.as_raw_fd(), path.as_ptr(), flags | libc::O_CLOEXEC) }.into())
}

/// Opens the file behind a descriptor once more: an open file of its own.
///
/// # Errors
/// As open(2).
pub fn reopen(fd: BorrowedFd<'_>, flags: i32) -> io::Result<OwnedFd> {
    let path = std::ffi::CString::new(format!("/proc/self/fd/{}", fd.as_raw_fd())).expect("no zero in it");
    // SAFETY: the path is a terminated string.
    owned(unsafe { libc::open(path.as_ptr(), flags | libc::O_CLOEXEC) }.into())
}

/// Reads a small file of /proc below `dir` into `text`, which is cleared first.
///
/// # Errors
/// As open and read.
pub fn read_at(dir: BorrowedFd<'_>, path: &CStr, text: &mut Vec<u8>) -> io::Result<()> {
    let file = open_at(dir, path, libc::O_RDONLY)?;
    text.clear();
    loop {
        let old = text.len();
        text.resize(old + 1024, 0);
        let n = read(file.as_fd(), &mut text[old..]).inspect_err(|_| text.truncate(old))?;
        text.truncate(old + n);
        // The kernel ends short what fits one page; a full buffer may have more behind it.
        if n == 0 || text.len() < 1024 {
            return Ok(());
        }
    }
}

/// read(2).
///
/// # Errors
/// As the call.
pub fn read(fd: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the buffer is ours and as long as said.
    let n = unsafe { libc::read(fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len()) };
    Ok(check(n as libc::c_long)? as usize)
}

/// write(2).
///
/// # Errors
/// As the call.
pub fn write(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the bytes are ours and as many as said.
    let n = unsafe { libc::write(fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len()) };
    Ok(check(n as libc::c_long)? as usize)
}

/// The descriptor numbers of a process, from its open `/proc/PID/fd`.
///
/// # Errors
/// If the process has ended or may not be read.
pub fn list(dir: BorrowedFd<'_>) -> io::Result<Vec<i32>> {
    let mut numbers = Vec::new();
    let mut buffer = [0u8; 8192];
    loop {
        // SAFETY: the buffer is ours and as long as said.
        let n = check(unsafe {
            libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
        })? as usize;
        if n == 0 {
            return Ok(numbers);
        }
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        let mut at = 0;
        while at + 19 < n {
            let length = usize::from(u16::from_le_bytes([buffer[at + 16], buffer[at + 17]]));
            let name = &buffer[at + 19..(at + length).min(n)];
            let name = &name[..name.iter().position(|&b| b == 0).unwrap_or(name.len())];
            numbers.extend(std::str::from_utf8(name).ok().and_then(|s| s.parse::<i32>().ok()));
            at += length.max(19);
        }
    }
}

/// The entries of a folder behind this position, each with the position behind it (`d_off`), until `each` says false.
/// The folder is opened anew for that; 0 is its beginning.
///
/// # Errors
/// If it can't be read.
pub fn folder_entries(
    folder: BorrowedFd<'_>,
    position: i64,
    each: &mut dyn FnMut(&[u8], i64) -> bool,
) -> io::Result<()> {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY;
    // What others own may not be read without telling when.
    let own = reopen(folder, flags | libc::O_NOATIME).or_else(|_| reopen(folder, flags))?;
    // SAFETY: integers.
    check(unsafe { libc::lseek(own.as_raw_fd(), position, libc::SEEK_SET) })?;
    let mut buffer = [0u8; 32 << 10];
    loop {
        // SAFETY: the buffer is ours and as long as said.
        let n = check(unsafe {
            libc::syscall(libc::SYS_getdents64, own.as_raw_fd(), buffer.as_mut_ptr(), buffer.len())
        })? as usize;
        if n == 0 {
            return Ok(());
        }
        // struct linux_dirent64: inode 8, offset 8, length 2, type 1, name.
        let mut at = 0;
        while at + 19 < n {
            let behind = buffer[at + 8..at + 16].try_into().map_or(0, i64::from_ne_bytes);
            let length = usize::from(u16::from_ne_bytes([buffer[at + 16], buffer[at + 17]]));
            let name = &buffer[at + 19..(at + length.max(19)).min(n)];
            if !each(&name[..name.iter().position(|&b| b == 0).unwrap_or(name.len())], behind) {
                return Ok(());
            }
            at += length.max(19);
        }
    }
}

/// Where the link `/proc/self/fd/N` of this descriptor leads: a path, or a name like `pipe:[7]`.
///
/// # Errors
/// If /proc can't be read.
pub fn link(fd: BorrowedFd<'_>) -> io::Result<Vec<u8>> {
    use std::os::unix::ffi::OsStringExt;
    Ok(std::fs::read_link(format!("/proc/self/fd/{}", fd.as_raw_fd()))?.into_os_string().into_vec())
}

/// The magic number of the file system that a file lies on.
///
/// # Errors
/// As fstatfs(2).
pub fn file_system(fd: BorrowedFd<'_>) -> io::Result<i64> {
    Ok(statfs(fd)?.f_type)
}

fn statfs(fd: BorrowedFd<'_>) -> io::Result<libc::statfs> {
    // SAFETY: all-zero is a valid `statfs`, and the kernel fills it.
    unsafe {
        let mut stat: libc::statfs = std::mem::zeroed();
        check(libc::fstatfs(fd.as_raw_fd(), &raw mut stat).into())?;
        Ok(stat)
    }
}

/// fcntl(2) with an integer argument: F_GETFL, F_GETPIPE_SZ, F_SETPIPE_SZ, F_GET_SEALS, F_GETSIG…
///
/// # Errors
/// As the call. Commands that take a pointer are refused with EINVAL.
pub fn fcntl(fd: BorrowedFd<'_>, command: i32, argument: i32) -> io::Result<i32> {
    const PLAIN: [i32; 12] = [
        libc::F_GETFD,
        libc::F_GETFL,
        libc::F_SETFL,
        libc::F_GETPIPE_SZ,
        libc::F_SETPIPE_SZ,
        libc::F_GET_SEALS,
        libc::F_ADD_SEALS,
        libc::F_GETOWN,
        libc::F_SETOWN,
        F_GETSIG,
        libc::F_SETLEASE,
        libc::F_GETLEASE,
    ];
    if !PLAIN.contains(&command) {
        return Err(io::Error::from_raw_os_error(libc::EINVAL));
    }
    // SAFETY: the commands of the list take an integer or nothing.
    Ok(check(unsafe { libc::fcntl(fd.as_raw_fd(), command, argument) }.into())? as i32)
}

/// fcntl's command for the signal of asynchronous input.
pub const F_GETSIG: i32 = 11;
/// Sets it.
pub const F_SETSIG: i32 = 10;
/// fcntl's command for the owner of asynchronous input, with its type.
pub const F_GETOWN_EX: i32 = 16;
/// Sets it.
pub const F_SETOWN_EX: i32 = 15;

/// Who gets the signals of an open file: type (thread, process, group) and id; id 0 is nobody.
///
/// # Errors
/// As fcntl(2).
pub fn signal_owner(fd: BorrowedFd<'_>) -> io::Result<(i32, i32)> {
    let mut owner = [0i32; 2];
    // SAFETY: F_GETOWN_EX fills a structure of two integers.
    check(unsafe { libc::fcntl(fd.as_raw_fd(), F_GETOWN_EX, owner.as_mut_ptr()) }.into())?;
    Ok((owner[0], owner[1]))
}

/// How many bytes can be read.
///
/// # Errors
/// As ioctl(2).
pub fn readable(fd: BorrowedFd<'_>) -> io::Result<usize> {
    let mut n: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::FIONREAD, &raw mut n) }.into())?;
    Ok(n as usize)
}

/// Copies what is in one pipe into another without consuming it; returns how much.
///
/// # Errors
/// EAGAIN if there is nothing or no room.
pub fn tee(from: BorrowedFd<'_>, to: BorrowedFd<'_>, most: usize) -> io::Result<usize> {
    // SAFETY: takes integers.
    let n = unsafe { libc::tee(from.as_raw_fd(), to.as_raw_fd(), most, libc::SPLICE_F_NONBLOCK) };
    Ok(check(n as libc::c_long)? as usize)
}

/// What is left of a timerfd's time, and its interval, in seconds and nanoseconds.
///
/// # Errors
/// As timerfd_gettime(2).
pub fn timerfd_time(fd: BorrowedFd<'_>) -> io::Result<[(i64, i64); 2]> {
    // SAFETY: all-zero is valid, and the kernel fills it.
    let spec = unsafe {
        let mut spec: libc::itimerspec = std::mem::zeroed();
        check(libc::timerfd_gettime(fd.as_raw_fd(), &raw mut spec).into())?;
        spec
    };
    Ok([(spec.it_value.tv_sec, spec.it_value.tv_nsec), (spec.it_interval.tv_sec, spec.it_interval.tv_nsec)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_one_open_file_and_reopened_ones_are_not() {
        let (a, _w) = nix::unistd::pipe().unwrap();
        let me = pidfd_open(Pid::this()).unwrap();
        let same = pidfd_getfd(me.as_fd(), a.as_raw_fd()).unwrap();
        let other = reopen(a.as_fd(), libc::O_RDONLY | libc::O_NONBLOCK).unwrap();
        assert_eq!(compare_files(a.as_fd(), same.as_fd()).unwrap(), Ordering::Equal);
        assert_ne!(compare_files(a.as_fd(), other.as_fd()).unwrap(), Ordering::Equal);
    }

    #[test]
    fn every_descriptor_is_listed() {
        let (a, w) = nix::unistd::pipe().unwrap();
        let dir = std::fs::File::open("/proc/self/fd").unwrap();
        let numbers = list(dir.as_fd()).unwrap();
        assert!(numbers.contains(&a.as_raw_fd()) && numbers.contains(&w.as_raw_fd()));
    }

    #[test]
    fn tee_leaves_what_it_copies() {
        let (r, w) = nix::unistd::pipe().unwrap();
        let (copy, into) = nix::unistd::pipe().unwrap();
        write(w.as_fd(), b"hello").unwrap();
        assert_eq!(tee(r.as_fd(), into.as_fd(), 100).unwrap(), 5);
        assert_eq!((readable(r.as_fd()).unwrap(), readable(copy.as_fd()).unwrap()), (5, 5));
    }
}
