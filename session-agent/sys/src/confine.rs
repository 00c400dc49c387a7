//! What every program of a session is held to: no new privileges, and no system call whose effects
//! could not be carried to another machine. And how filters that programs install themselves are made such that
//! the engine knows them again and can work in spite of them (docs/adr/0030).

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

/// The upper half of the first argument by which the engine's own userfaultfd calls pass ("Roam").
pub const USERFAULTFD_MARK: u32 = 0x526f_616d;

/// A call that no kernel has. With the pass and a digit's place (0 to 2), the newest filter of a thread
/// answers with that digit of its number, as minus ([`DIGIT`] + digit).
pub const ASK: libc::c_long = 0x0052_6f61;
/// What is added to a digit, so that it is no errno of the kernel's.
pub const DIGIT: u32 = 1024;
/// How many digits a number has; each is ten bits.
pub const DIGITS: u32 = 3;

const AUDIT_ARCH_X86_64: u32 = 0xc000_003e;
const OFFSET_NUMBER: u32 = 0;
const OFFSET_ARCH: u32 = 4;

/// Where in struct seccomp_data an argument's lower half is, on a little-endian machine.
const fn low(argument: u32) -> u32 {
    16 + 8 * argument
}

/// Its upper half.
const fn high(argument: u32) -> u32 {
    low(argument) + 4
}

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AT_LEAST: u16 = (libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

/// Calls that answer ENOSYS, as on a kernel built without them; programs have a fallback for that.
const ABSENT: [libc::c_long; 13] = [
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
    // What a program forbids itself by Landlock can't be read back, so that it would be allowed again after a move.
    libc::SYS_landlock_create_ruleset,
    libc::SYS_landlock_add_rule,
    libc::SYS_landlock_restrict_self,
];

/// Calls that programs make all the time and the engine never makes in them: the kernel goes on remembering what
/// a filter says of them, which it can't where arguments are looked at.
const USUAL: [libc::c_long; 17] = [
    libc::SYS_read,
    libc::SYS_write,
    libc::SYS_poll,
    libc::SYS_readv,
    libc::SYS_writev,
    libc::SYS_sched_yield,
    libc::SYS_nanosleep,
    libc::SYS_sendto,
    libc::SYS_recvfrom,
    libc::SYS_sendmsg,
    libc::SYS_recvmsg,
    libc::SYS_futex,
    libc::SYS_clock_nanosleep,
    libc::SYS_epoll_wait,
    libc::SYS_ppoll,
    libc::SYS_epoll_pwait,
    libc::SYS_rt_sigreturn,
];

/// Options of sockets that younger headers name so.
const SO_ATTACH_BPF: u32 = 50;
const SO_ATTACH_REUSEPORT_CBPF: u32 = 51;
const SO_ATTACH_REUSEPORT_EBPF: u32 = 52;
const SO_INQ: u32 = 84;
const TCP_ULP: u32 = 31;
const TCP_MD5SIG_EXT: u32 = 32;
const TCP_AO_ADD_KEY: u32 = 38;

const fn op(code: u16, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    libc::sock_filter { code, jt, jf, k }
}

fn error(number: i32) -> u32 {
    libc::SECCOMP_RET_ERRNO | number as u32
}

/// Roam's own filter as the kernel takes it. With a pass, programs that install filters, or ask to be notified of
/// messages, are told of to the listener, and the engine, which has the pass, is not.
#[must_use]
pub fn filter(pass: Option<u64>) -> Vec<libc::sock_filter> {
    let absent = error(libc::ENOSYS);
    let mut program = vec![
        // Programs of other architectures (32-bit, x32) could not be carried: nothing works in them.
        op(LOAD, 0, 0, OFFSET_ARCH),
        op(EQUAL, 1, 0, AUDIT_ARCH_X86_64),
        op(RETURN, 0, 0, absent),
        op(LOAD, 0, 0, OFFSET_NUMBER),
        op(AT_LEAST, 0, 1, 0x4000_0000),
        op(RETURN, 0, 0, absent),
        op(EQUAL, 0, 1, ASK as u32),
        op(RETURN, 0, 0, error(DIGIT as i32)),
    ];
    for call in ABSENT {
        program.push(op(EQUAL, 0, 1, call as u32));
        program.push(op(RETURN, 0, 0, absent));
    }
    if let Some(pass) = pass {
        program.extend([
            // Of what is asked for the kernel shows only a part later.
            op(EQUAL, 0, 6, libc::SYS_mq_notify as u32),
            op(LOAD, 0, 0, low(5)),
            op(EQUAL, 0, 3, pass as u32),
            op(LOAD, 0, 0, high(5)),
            op(EQUAL, 0, 1, (pass >> 32) as u32),
            op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            op(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            op(EQUAL, 0, 8, libc::SYS_seccomp as u32),
            op(LOAD, 0, 0, low(0)),
            op(EQUAL, 0, 4, libc::SECCOMP_SET_MODE_FILTER),
            op(LOAD, 0, 0, low(5)),
            op(EQUAL, 0, 3, pass as u32),
            op(LOAD, 0, 0, high(5)),
            op(EQUAL, 0, 1, (pass >> 32) as u32),
            op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
            op(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            op(EQUAL, 0, 6, libc::SYS_prctl as u32),
            op(LOAD, 0, 0, low(0)),
            op(EQUAL, 0, 3, libc::PR_SET_SECCOMP as u32),
            op(LOAD, 0, 0, low(1)),
            op(EQUAL, 0, 1, libc::SECCOMP_MODE_FILTER),
            op(RETURN, 0, 0, libc::SECCOMP_RET_USER_NOTIF),
            op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        ]);
    }
    program.extend([
        // Sockets that can't be carried; kernels are built without them, too. Who wants several paths for TCP
        // (Go programs ask for that unasked) takes plain TCP then.
        op(EQUAL, 0, 8, libc::SYS_socket as u32),
        op(LOAD, 0, 0, low(0)),
        op(EQUAL, 1, 0, libc::AF_ALG as u32),
        op(EQUAL, 0, 1, libc::AF_VSOCK as u32),
        op(RETURN, 0, 0, error(libc::EAFNOSUPPORT)),
        op(LOAD, 0, 0, low(2)),
        op(EQUAL, 0, 1, libc::IPPROTO_MPTCP as u32),
        op(RETURN, 0, 0, error(libc::EPROTONOSUPPORT)),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        // Options of sockets that can't be read back, and that change who gets a packet or what comes with it: BPF for the
        // sockets of a port, how much waits in a unix socket, signatures, the kernel's TLS. Kernels are built without them, too.
        op(EQUAL, 0, 16, libc::SYS_setsockopt as u32),
        op(LOAD, 0, 0, low(1)),
        op(EQUAL, 0, 5, libc::SOL_SOCKET as u32),
        op(LOAD, 0, 0, low(2)),
        op(EQUAL, 10, 0, SO_ATTACH_BPF),
        op(EQUAL, 9, 0, SO_ATTACH_REUSEPORT_CBPF),
        op(EQUAL, 8, 0, SO_INQ),
        op(EQUAL, 7, 8, SO_ATTACH_REUSEPORT_EBPF),
        op(EQUAL, 0, 7, libc::IPPROTO_TCP as u32),
        op(LOAD, 0, 0, low(2)),
        op(EQUAL, 4, 0, libc::TCP_MD5SIG as u32),
        op(EQUAL, 3, 0, TCP_MD5SIG_EXT),
        op(EQUAL, 2, 0, TCP_AO_ADD_KEY),
        op(EQUAL, 1, 0, TCP_ULP),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(RETURN, 0, 0, error(libc::ENOPROTOOPT)),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        // Directory notification can't be read back; a kernel may be built without it.
        op(EQUAL, 0, 4, libc::SYS_fcntl as u32),
        op(LOAD, 0, 0, low(1)),
        op(EQUAL, 0, 1, libc::F_NOTIFY as u32),
        op(RETURN, 0, 0, error(libc::EINVAL)),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(EQUAL, 0, 3, libc::SYS_userfaultfd as u32),
        op(LOAD, 0, 0, high(0)),
        op(EQUAL, 1, 0, USERFAULTFD_MARK),
        op(RETURN, 0, 0, absent),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
    ]);
    program
}

/// A program's own filter with the engine's instructions before it: what carries the pass is allowed, and
/// [`ASK`] is answered with a digit of `number`. None if it becomes longer than the kernel takes.
#[must_use]
pub fn passable(pass: u64, number: u32, own: &[u8]) -> Option<Vec<u8>> {
    let digit = |place: u32| error((DIGIT + (number >> (10 * place) & 1023)) as i32);
    let (lower, upper) = (pass as u32, (pass >> 32) as u32);
    let mut program = vec![op(LOAD, 0, 0, OFFSET_NUMBER)];
    // The last instruction is where the program's own begin; LENGTH counts from the first behind the usual calls.
    const LENGTH: u8 = 22;
    for (index, call) in USUAL.iter().enumerate() {
        program.push(op(EQUAL, (USUAL.len() - index - 1) as u8 + LENGTH, 0, *call as u32));
    }
    program.extend([
        op(EQUAL, 11, 0, ASK as u32),
        op(EQUAL, 5, 0, libc::SYS_mmap as u32),
        op(LOAD, 0, 0, low(5)),
        op(EQUAL, 0, 18, lower),
        op(LOAD, 0, 0, high(5)),
        op(EQUAL, 0, 16, upper),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        // mmap has six arguments; without a file it ignores the fifth.
        op(LOAD, 0, 0, low(4)),
        op(EQUAL, 0, 13, lower),
        op(LOAD, 0, 0, high(4)),
        op(EQUAL, 0, 11, upper),
        op(RETURN, 0, 0, libc::SECCOMP_RET_ALLOW),
        op(LOAD, 0, 0, low(5)),
        op(EQUAL, 0, 8, lower),
        op(LOAD, 0, 0, high(5)),
        op(EQUAL, 0, 6, upper),
        op(LOAD, 0, 0, low(0)),
        op(EQUAL, 0, 1, 0),
        op(RETURN, 0, 0, digit(0)),
        op(EQUAL, 0, 1, 1),
        op(RETURN, 0, 0, digit(1)),
        op(RETURN, 0, 0, digit(2)),
        // Programs may count on an accumulator of zero.
        op(AND, 0, 0, 0),
    ]);
    let mut raw = bytes(&program);
    raw.extend_from_slice(own);
    (raw.len() / 8 <= libc::BPF_MAXINSNS as usize).then_some(raw)
}

/// Instructions as they lie in memory.
fn bytes(program: &[libc::sock_filter]) -> Vec<u8> {
    let mut raw = Vec::with_capacity(program.len() * 8);
    for op in program {
        raw.extend_from_slice(&op.code.to_le_bytes());
        raw.extend_from_slice(&[op.jt, op.jf]);
        raw.extend_from_slice(&op.k.to_le_bytes());
    }
    raw
}

/// Puts the filter on this thread and all that it starts; returns where to hear of filters that are installed,
/// or nothing if somebody else hears of such already (a container may).
///
/// # Errors
/// The kernel's; EACCES without CAP_SYS_ADMIN over its user namespace.
pub fn confine(pass: u64) -> io::Result<Option<OwnedFd>> {
    match install(&filter(Some(pass)), libc::SECCOMP_FILTER_FLAG_NEW_LISTENER) {
        // SAFETY: made just now, owned by nobody else.
        Ok(listener) => Ok(Some(unsafe { OwnedFd::from_raw_fd(listener as i32) })),
        Err(error) if error.raw_os_error() == Some(libc::EBUSY) => install(&filter(None), 0).map(|_| None),
        Err(error) => Err(error),
    }
}

fn install(filter: &[libc::sock_filter], flags: libc::c_ulong) -> io::Result<i64> {
    let program = libc::sock_fprog { len: filter.len() as u16, filter: filter.as_ptr().cast_mut() };
    // SAFETY: the kernel reads the program and its instructions during the call; both outlive it.
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, flags, &raw const program) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Sets no_new_privs in this thread. Async-signal-safe.
///
/// # Errors
/// The kernel's.
pub fn forbid_privileges() -> io::Result<()> {
    // SAFETY: this prctl takes numbers only.
    if unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) } < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// A number that nobody can guess, and never 0.
///
/// # Errors
/// The kernel's.
pub fn secret() -> io::Result<u64> {
    let mut bytes = [0u8; 8];
    // SAFETY: the kernel fills exactly these bytes.
    if unsafe { libc::getrandom(bytes.as_mut_ptr().cast(), bytes.len(), 0) } != 8 {
        return Err(io::Error::last_os_error());
    }
    Ok(u64::from_le_bytes(bytes) | 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASS: u64 = 0x1234_5678_9abc_def1;

    fn absent() -> u32 {
        error(libc::ENOSYS)
    }

    /// What a filter says: the instructions it uses, evaluated here.
    fn run(program: &[libc::sock_filter], number: libc::c_long, arch: u32, args: [u64; 6]) -> u32 {
        let (mut at, mut accumulator) = (0usize, 0u32);
        loop {
            let step = &program[at];
            at += 1;
            match step.code {
                LOAD => {
                    accumulator = match step.k {
                        OFFSET_NUMBER => number as u32,
                        OFFSET_ARCH => arch,
                        other => {
                            let argument = args[(other as usize - 16) / 8];
                            if other % 8 == 0 { argument as u32 } else { (argument >> 32) as u32 }
                        }
                    }
                }
                EQUAL => at += usize::from(if accumulator == step.k { step.jt } else { step.jf }),
                AT_LEAST => at += usize::from(if accumulator >= step.k { step.jt } else { step.jf }),
                AND => accumulator &= step.k,
                RETURN => return step.k,
                other => panic!("code {other}"),
            }
        }
    }

    fn verdict(number: libc::c_long, args: [u64; 6]) -> u32 {
        let told = run(&filter(Some(PASS)), number, AUDIT_ARCH_X86_64, args);
        let untold = run(&filter(None), number, AUDIT_ARCH_X86_64, args);
        assert!(told == untold || told == libc::SECCOMP_RET_USER_NOTIF);
        told
    }

    #[test]
    fn only_what_can_not_be_carried_is_absent() {
        for call in ABSENT {
            assert_eq!(verdict(call, [0; 6]), absent());
        }
        for call in [libc::SYS_read, libc::SYS_clone3, libc::SYS_execve, libc::SYS_seccomp, libc::SYS_prctl] {
            assert_eq!(verdict(call, [0; 6]), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(run(&filter(None), libc::SYS_read, 0x4000_0003, [0; 6]), absent());
        assert_eq!(verdict(libc::SYS_read | 0x4000_0000, [0; 6]), absent());
    }

    #[test]
    fn directory_notification_is_unknown() {
        let notify = [3, libc::F_NOTIFY as u64, 0, 0, 0, 0];
        assert_eq!(verdict(libc::SYS_fcntl, notify), error(libc::EINVAL));
        assert_eq!(verdict(libc::SYS_fcntl, [3, 1, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn options_that_can_not_be_read_back_are_unknown() {
        let option =
            |level: i32, name: u32| verdict(libc::SYS_setsockopt, [3, level as u64, name.into(), 0, 4, 0]);
        let unknown = error(libc::ENOPROTOOPT);
        for name in [SO_ATTACH_BPF, SO_ATTACH_REUSEPORT_CBPF, SO_ATTACH_REUSEPORT_EBPF, SO_INQ] {
            assert_eq!(option(libc::SOL_SOCKET, name), unknown);
            assert_eq!(option(libc::IPPROTO_IPV6, name), libc::SECCOMP_RET_ALLOW);
        }
        for name in [libc::TCP_MD5SIG as u32, TCP_MD5SIG_EXT, TCP_AO_ADD_KEY, TCP_ULP] {
            assert_eq!(option(libc::IPPROTO_TCP, name), unknown);
            assert_eq!(option(libc::SOL_SOCKET, name), libc::SECCOMP_RET_ALLOW);
        }
        for name in [libc::SO_ATTACH_FILTER, libc::SO_REUSEADDR, libc::SO_MARK] {
            assert_eq!(option(libc::SOL_SOCKET, name as u32), libc::SECCOMP_RET_ALLOW);
        }
        assert_eq!(option(libc::IPPROTO_TCP, libc::TCP_NODELAY as u32), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn sockets_that_can_not_be_carried_are_unknown() {
        let socket = |family: i32, protocol: i32| {
            let (family, kind) = (family as u64, (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as u64);
            verdict(libc::SYS_socket, [family, kind, protocol as u64, 0, 0, 0])
        };
        for family in [libc::AF_UNIX, libc::AF_INET, libc::AF_INET6, libc::AF_NETLINK] {
            assert_eq!(socket(family, 0), libc::SECCOMP_RET_ALLOW);
            assert_eq!(socket(family, libc::IPPROTO_TCP), libc::SECCOMP_RET_ALLOW);
        }
        for family in [libc::AF_ALG, libc::AF_VSOCK] {
            assert_eq!(socket(family, 0), error(libc::EAFNOSUPPORT));
        }
        for family in [libc::AF_INET, libc::AF_INET6] {
            assert_eq!(socket(family, libc::IPPROTO_MPTCP), error(libc::EPROTONOSUPPORT));
        }
    }

    #[test]
    fn userfaultfd_is_the_engine_s_alone() {
        assert_eq!(verdict(libc::SYS_userfaultfd, [1, 0, 0, 0, 0, 0]), absent());
        let marked = u64::from(USERFAULTFD_MARK) << 32 | 1;
        assert_eq!(verdict(libc::SYS_userfaultfd, [marked, 0, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn filters_are_told_of_but_the_engine_s_are_not() {
        let told = libc::SECCOMP_RET_USER_NOTIF;
        let set = u64::from(libc::SECCOMP_SET_MODE_FILTER);
        assert_eq!(verdict(libc::SYS_seccomp, [set, 0, 99, 0, 0, 0]), told);
        assert_eq!(verdict(libc::SYS_seccomp, [set, 0, 99, 0, 0, PASS ^ 1]), told);
        assert_eq!(verdict(libc::SYS_seccomp, [set, 0, 99, 0, 0, PASS ^ 1 << 40]), told);
        assert_eq!(verdict(libc::SYS_seccomp, [set, 0, 99, 0, 0, PASS]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(verdict(libc::SYS_prctl, [22, 2, 99, 0, 0, 0]), told);
        assert_eq!(verdict(libc::SYS_mq_notify, [3, 99, 0, 0, 0, 0]), told);
        assert_eq!(verdict(libc::SYS_mq_notify, [3, 99, 0, 0, 0, PASS ^ 1]), told);
        assert_eq!(verdict(libc::SYS_mq_notify, [3, 99, 0, 0, 0, PASS]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(verdict(libc::SYS_prctl, [22, 1, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
        assert_eq!(verdict(libc::SYS_prctl, [15, 2, 0, 0, 0, 0]), libc::SECCOMP_RET_ALLOW);
    }

    #[test]
    fn the_pass_opens_a_filter_that_forbids_everything() {
        let number = 5 | 7 << 10 | 9 << 20;
        let kill = [op(RETURN, 0, 0, libc::SECCOMP_RET_KILL_PROCESS)];
        let raw = passable(PASS, number, &bytes(&kill)).unwrap();
        let program: Vec<_> = raw
            .chunks(8)
            .map(|c| {
                let k = u32::from_le_bytes(c[4..8].try_into().unwrap());
                op(u16::from_le_bytes([c[0], c[1]]), c[2], c[3], k)
            })
            .collect();
        let say = |call, args| run(&program, call, AUDIT_ARCH_X86_64, args);
        let killed = libc::SECCOMP_RET_KILL_PROCESS;
        let calls = [libc::SYS_munmap, libc::SYS_prctl, libc::SYS_getpid, libc::SYS_mmap, ASK];
        for call in calls.into_iter().chain(USUAL) {
            for other in [0, PASS ^ 1, PASS ^ 1 << 63] {
                assert_eq!(say(call, [0, 0, 0, 0, other, other]), killed, "call {call}");
            }
        }
        for call in calls {
            let mut args = [0, 0, 0, 0, if call == libc::SYS_mmap { u64::MAX } else { 0 }, 0];
            crate::pass::set(PASS);
            crate::pass::show(call, &mut args);
            crate::pass::set(0);
            let wanted = if call == ASK { error(1024 + 5) } else { libc::SECCOMP_RET_ALLOW };
            assert_eq!(say(call, args), wanted, "call {call}");
        }
        assert_eq!(say(ASK, [1, 0, 0, 0, 0, PASS]), error(1024 + 7));
        assert_eq!(say(ASK, [2, 0, 0, 0, 0, PASS]), error(1024 + 9));
        assert_eq!(passable(PASS, 1, &vec![0; 4096 * 8]), None);
    }
}
