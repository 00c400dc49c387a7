//! What a kernel can be built without, or a container can forbid, and without which nothing can be carried. Each is
//! really tried, on this process.

use std::fs::File;
use std::os::fd::AsFd;
use std::path::Path;

use crate::descriptor::compare_files;
use crate::memory;
use crate::namespaces::socket_diag;
use crate::unix_diag;

const PR_SET_MM: libc::c_int = 35;
const PR_SET_MM_MAP_SIZE: libc::c_int = 15;

type Probe = fn() -> bool;

/// What is lacking here: what it is, and the option it comes with.
#[must_use]
pub fn lacking() -> Vec<&'static str> {
    let tried: [(&str, Probe); 6] = [
        ("kcmp (CONFIG_KCMP)", kcmp),
        ("process_vm_readv (CONFIG_CROSS_MEMORY_ATTACH)", reading_memory),
        ("PR_SET_MM_MAP (CONFIG_CHECKPOINT_RESTORE)", memory_settings),
        ("/proc/PID/timers (CONFIG_POSIX_TIMERS)", || Path::new("/proc/self/timers").exists()),
        ("filters that notify (CONFIG_SECCOMP_FILTER)", notifying_filters),
        ("lists of sockets (CONFIG_UNIX_DIAG)", sockets),
    ];
    tried.into_iter().filter(|(_, works)| !works()).map(|(name, _)| name).collect()
}

fn kcmp() -> bool {
    File::open("/dev/null").is_ok_and(|file| compare_files(file.as_fd(), file.as_fd()).is_ok())
}

fn reading_memory() -> bool {
    let (value, mut read) = (0x526f_616d_u64, [0; 8]);
    memory::read(std::process::id().cast_signed(), (&raw const value) as u64, &mut read).is_ok()
        && u64::from_le_bytes(read) == value
}

fn memory_settings() -> bool {
    let mut size = 0u32;
    // SAFETY: the kernel writes four bytes into `size` and changes nothing.
    unsafe { libc::prctl(PR_SET_MM, PR_SET_MM_MAP_SIZE, &raw mut size, 0, 0) == 0 }
}

fn notifying_filters() -> bool {
    let action = libc::SECCOMP_RET_USER_NOTIF;
    // SAFETY: the kernel reads four bytes of `action` and changes nothing.
    unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_GET_ACTION_AVAIL, 0, &raw const action) == 0 }
}

fn sockets() -> bool {
    socket_diag().is_ok_and(|netlink| unix_diag::dump(netlink.as_fd()).is_ok())
}

#[cfg(test)]
mod tests {
    #[test]
    fn nothing_is_lacking_where_the_engine_s_tests_run() {
        assert_eq!(super::lacking(), [""; 0]);
    }
}
