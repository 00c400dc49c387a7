//! Another process's memory: process_vm_readv(2), process_vm_writev(2), /proc/PID/mem.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use libc::pid_t;

/// Reads memory of another process; all of it or an error.
///
/// # Errors
/// EFAULT if a part is not mapped readable, ESRCH, EPERM.
pub fn read(pid: pid_t, address: u64, into: &mut [u8]) -> io::Result<()> {
    let mut done = 0;
    while done < into.len() {
        let local = libc::iovec { iov_base: into[done..].as_mut_ptr().cast(), iov_len: into.len() - done };
        let remote =
            libc::iovec { iov_base: (address as usize + done) as *mut _, iov_len: into.len() - done };
        // SAFETY: `local` is the rest of `into`; `remote` names the other process's memory, which the
        // kernel checks.
        let got = unsafe { libc::process_vm_readv(pid, &raw const local, 1, &raw const remote, 1, 0) };
        match got {
            -1 => return Err(io::Error::last_os_error()),
            0 => return Err(io::Error::from_raw_os_error(libc::EFAULT)),
            n => done += n as usize,
        }
    }
    Ok(())
}

/// Reads `len` bytes as a vector.
///
/// # Errors
/// As [`read`].
pub fn read_vec(pid: pid_t, address: u64, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0u8; len];
    read(pid, address, &mut bytes)?;
    Ok(bytes)
}

/// Reads a 64-bit word.
///
/// # Errors
/// As [`read`].
pub fn read_u64(pid: pid_t, address: u64) -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    read(pid, address, &mut bytes)?;
    Ok(u64::from_le_bytes(bytes))
}

/// Writes memory of another process; all of it or an error. The pages must be writable.
///
/// # Errors
/// EFAULT if a part is not mapped writable, ESRCH, EPERM.
pub fn write(pid: pid_t, address: u64, bytes: &[u8]) -> io::Result<()> {
    let mut done = 0;
    while done < bytes.len() {
        let rest = &bytes[done..];
        let local = libc::iovec { iov_base: rest.as_ptr().cast_mut().cast(), iov_len: rest.len() };
        let remote = libc::iovec { iov_base: (address as usize + done) as *mut _, iov_len: rest.len() };
        // SAFETY: `local` is only read from; `remote` is checked by the kernel.
        let got = unsafe { libc::process_vm_writev(pid, &raw const local, 1, &raw const remote, 1, 0) };
        match got {
            -1 => return Err(io::Error::last_os_error()),
            0 => return Err(io::Error::from_raw_os_error(libc::EFAULT)),
            n => done += n as usize,
        }
    }
    Ok(())
}

/// Whether this CPU and kernel have protection keys, asked once.
pub fn has_protection_keys() -> bool {
    static HAS: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *HAS.get_or_init(|| {
        // SAFETY: plain values; a key that nothing uses is given back at once.
        let key = unsafe { libc::syscall(libc::SYS_pkey_alloc, 0, 0) };
        // SAFETY: the key is ours.
        key >= 0 && unsafe { libc::syscall(libc::SYS_pkey_free, key) } == 0
    })
}

/// /proc/PID/mem: reaches pages whatever their protection, if the caller traces the process.
#[derive(Debug)]
pub struct MemFile(File);

impl MemFile {
    /// Opens it for reading and writing.
    ///
    /// # Errors
    /// EACCES without ptrace access, ENOENT if the process is gone.
    pub fn open(pid: pid_t) -> io::Result<Self> {
        File::options().read(true).write(true).open(format!("/proc/{pid}/mem")).map(Self)
    }

    /// Writes through any protection.
    ///
    /// # Errors
    /// EIO where nothing is mapped.
    pub fn write(&self, address: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, address)
    }

    /// Reads through any protection.
    ///
    /// # Errors
    /// EIO where nothing is mapped.
    pub fn read(&self, address: u64, into: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(into, address)
    }
}
