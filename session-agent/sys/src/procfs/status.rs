//! /proc/PID/status (proc(5)): the fields that only it has.

use std::io;

/// What a checkpoint reads from it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Status {
    /// The process it belongs to, as the reader sees it.
    pub tgid: i32,
    /// Umask.
    pub umask: u32,
    /// Real, effective, saved and file system user id, as the reader's namespace shows them.
    pub uid: [u32; 4],
    /// The same for groups.
    pub gid: [u32; 4],
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// The id in each nested pid namespace, outermost first.
    pub ns_pid: Vec<i32>,
    /// The session's id in each, outermost first.
    pub ns_sid: Vec<i32>,
    /// The group's id in each, outermost first.
    pub ns_pgid: Vec<i32>,
    /// NoNewPrivs.
    pub no_new_privs: bool,
    /// Seccomp mode: 0, 1 strict, 2 filter.
    pub seccomp: u32,
    /// Number of seccomp filters (Linux 5.9).
    pub seccomp_filters: u32,
    /// CapInh, CapPrm, CapEff, CapBnd, CapAmb.
    pub capabilities: [u64; 5],
    /// TracerPid: 0 for none.
    pub tracer: i32,
    /// Number of threads.
    pub threads: u32,
    /// VmRSS in bytes (0 for zombies).
    pub resident: u64,
    /// VmLck in bytes.
    pub locked: u64,
    /// Voluntary context switches of the thread.
    pub voluntary_switches: u64,
}

/// Parses the file; fields that are missing stay zero.
#[must_use]
pub fn parse(text: &[u8]) -> Status {
    let mut status = Status::default();
    for line in text.split(|b| *b == b'\n') {
        let Some(colon) = line.iter().position(|b| *b == b':') else { continue };
        let value = String::from_utf8_lossy(&line[colon + 1..]);
        let value = value.trim();
        let list = || value.split_ascii_whitespace().filter_map(|w| w.parse::<u32>().ok());
        let pids = || value.split_ascii_whitespace().filter_map(|w| w.parse::<i32>().ok()).collect();
        let kib = || value.split(' ').next().and_then(|v| v.parse::<u64>().ok()).unwrap_or(0) * 1024;
        let hex = || u64::from_str_radix(value, 16).unwrap_or(0);
        let four = || {
            let mut ids = [0; 4];
            for (slot, id) in ids.iter_mut().zip(list()) {
                *slot = id;
            }
            ids
        };
        match &line[..colon] {
            b"Umask" => status.umask = u32::from_str_radix(value, 8).unwrap_or(0),
            b"Uid" => status.uid = four(),
            b"Gid" => status.gid = four(),
            b"Groups" => status.groups = list().collect(),
            b"NSpid" => status.ns_pid = pids(),
            b"NSsid" => status.ns_sid = pids(),
            b"NSpgid" => status.ns_pgid = pids(),
            b"NoNewPrivs" => status.no_new_privs = value == "1",
            b"Tgid" => status.tgid = value.parse().unwrap_or(0),
            b"Seccomp" => status.seccomp = value.parse().unwrap_or(0),
            b"Seccomp_filters" => status.seccomp_filters = value.parse().unwrap_or(0),
            b"CapInh" => status.capabilities[0] = hex(),
            b"CapPrm" => status.capabilities[1] = hex(),
            b"CapEff" => status.capabilities[2] = hex(),
            b"CapBnd" => status.capabilities[3] = hex(),
            b"CapAmb" => status.capabilities[4] = hex(),
            b"TracerPid" => status.tracer = value.parse().unwrap_or(0),
            b"Threads" => status.threads = value.parse().unwrap_or(0),
            b"VmRSS" => status.resident = kib(),
            b"VmLck" => status.locked = kib(),
            b"voluntary_ctxt_switches" => {
                status.voluntary_switches = value.parse().unwrap_or(0);
            }
            _ => {}
        }
    }
    status
}

/// Reads it for a process.
///
/// # Errors
/// ENOENT or ESRCH if it is gone.
pub fn read(pid: i32) -> io::Result<Status> {
    Ok(parse(&super::read(&format!("/proc/{pid}/status"))?))
}

/// Reads it for a thread of a process.
///
/// # Errors
/// ENOENT or ESRCH if it is gone.
pub fn read_thread(pid: i32, tid: i32) -> io::Result<Status> {
    Ok(parse(&super::read(&format!("/proc/{pid}/task/{tid}/status"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_by_name() {
        let status = parse(
            b"Name:\tx\nUmask:\t0022\nUid:\t1\t2\t3\t4\nNSpid:\t900\t7\nNoNewPrivs:\t1\nSeccomp:\t2\n\
              Seccomp_filters:\t1\nCapEff:\t00000000000000ff\nVmRSS:\t  12 kB\nvoluntary_ctxt_switches:\t3\n\
              nonvoluntary_ctxt_switches:\t4\n",
        );
        assert_eq!(status.umask, 0o22);
        assert_eq!(status.uid, [1, 2, 3, 4]);
        assert_eq!(status.ns_pid, [900, 7]);
        assert!(status.no_new_privs);
        assert_eq!((status.seccomp, status.seccomp_filters), (2, 1));
        assert_eq!(status.capabilities[2], 0xff);
        assert_eq!((status.resident, status.voluntary_switches), (12288, 3));
    }
}
