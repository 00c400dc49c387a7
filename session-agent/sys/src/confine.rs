//! What every program of a session is held to: no new privileges, and no system call whose effects
//! could not be carried to another machine.

use std::io;

/// The upper half of the first argument by which the engine's own userfaultfd calls pass ("Roam").
pub const USERFAULTFD_MARK: u32 = 0x526f_616d;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;
/// The lower half of the second argument.
const OFFSET_SECOND_LOW: u32 = 24;
/// The upper half of the first argument, on a little-endian machine.
const OFFSET_FIRST_HIGH: u32 = 20;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Calls that answer ENOSYS, as on a kernel built without them; programs have a fallback for that.
const ABSENT: [libc::c_long; 10] = [
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_perf_event_open,
    libc::SYS_bpf,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_memfd_secret,
    libc::SYS_fanotify_init,
];

/// The filter as the kernel takes it.
#[must_use]
pub fn filter() -> Vec<libc::sock_filter> {
    let op = |code, jt, jf, k| libc::sock_filter { code, jt, jf, k };
    let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
    let mut program = vec![
        // Programs of other architectures (32-bit, x32) could not be carried: nothing works in them.
        op(LOAD, 0, 0, OFFSET_ARCH),
        op(EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        op(RETURN, 0, 0, absent),
        op(LOAD, 0, 0, OFFSET_NUMBER),
        op(AT_LEAST, 0, 1, 0x4000_0000),
        op(RETURN, 0, 0, absent),
    ];
    for call in ABSENT {
        program.push(op(EQUAL, 0, 1, call as u32));
        program.push(op(RETURN, 0, 0, absent));
    }
    program.extend([
        // Directory notification can't be read back; a kernel may be built without it.
        op(EQUAL, 0, 4, libc::SYS_fcntl as u32),
        op(LOAD, 0, 0, OFFSET_SECOND_LOW),
        op(EQUAL, 0, 1, libc::F_NOTIFY as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(EQUAL, 0, 3, libc::SYS_userfaultfd as u32),
        op(LOAD, 0, 0, OFFSET_FIRST_HIGH),
        op(EQUAL, 1, 0, USERFAULTFD_MARK),
        op(RETURN, 0, 0, absent),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    program
}

/// Sets no_new_privs and installs the filter in this thread. Async-signal-safe.
///
/// # Errors
/// The kernel's.
pub fn confine(filter: &[libc::sock_filter]) -> io::Result<()> {
    // SAFETY: this prctl takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads the program and its instructions during the call; both outlive it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the filter says: the instructions it uses, evaluated here.
    fn verdict(number: libc::c_long, arch: u32, first: u64) -> u32 {
        let program = filter();
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            match step.code {
                LOAD => {
                    accumulator = match step.k {
                        OFFSET_NUMBER => number as u32,
                        OFFSET_ARCH => arch,
                        OFFSET_FIRST_HIGH => (first >> 32) as u32,
                        OFFSET_SECOND_LOW => libc::F_NOTIFY as u32,
                        other => panic!("offset {other}"),
                    }
                }
                EQUAL => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
                AT_LEAST => at += usize::from(if accumulator >= step.k { step.jt } else { step.jf }),
                RETURN => return step.k,
                other => panic!("code {other}"),
            }
        }
    }

    #[test]
    fn only_what_can_not_be_carried_is_absent() {
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        for call in ABSENT {
            assert_eq!(verdict(call, AUDIT_ARCH_X86_64, 0), absent);
        }
        for call in [libc::SYS_read, libc::SYS_clone3, libc::SYS_execve, libc::SYS_seccomp] {
            assert_eq!(verdict(call, AUDIT_ARCH_X86_64, 0), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(verdict(libc::SYS_read, 0x4000_0003, 0), absent);
        assert_eq!(verdict(libc::SYS_read | 0x4000_0000, AUDIT_ARCH_X86_64, 0), absent);
    }

    #[test]
    fn directory_notification_is_unknown() {
        let unknown = libc::SECCOMP_RET_ERRNO | libc::EINVAL as u32;
        assert_eq!(verdict(libc::SYS_fcntl, AUDIT_ARCH_X86_64, 3), unknown);
    }

    #[test]
    fn userfaultfd_is_the_engine_s_alone() {
        let absent = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
        assert_eq!(verdict(libc::SYS_userfaultfd, AUDIT_ARCH_X86_64, 1), absent);
        let marked = u64::from(USERFAULTFD_MARK) << 32 | 1;
        assert_eq!(verdict(libc::SYS_userfaultfd, AUDIT_ARCH_X86_64, marked), libc::SECCOMP_RET_ALLOW);
    }
}
