//! Processes that keep their memory to themselves (PR_SET_DUMPABLE 0), as key agents and password stores do: /proc
//! belongs to nobody the keeper could be. While such a process is frozen it is made readable; what it had is
//! put back before it goes on, and travels with it.

use roam_sys::inject::{Site, rest};
use roam_sys::ptrace::Tracee;

use crate::error::Error;
use crate::freeze::FrozenProcess;

const PR_GET_DUMPABLE: u64 = 3;
const PR_SET_DUMPABLE: u64 = 4;
/// All signals but SIGTRAP, which a step ends in.
const QUIET: u64 = !(1 << (libc::SIGTRAP - 1));

/// Makes a frozen process readable if it is not, and notes how it was.
///
/// # Errors
/// If it can't be done.
pub fn open(process: &mut FrozenProcess) -> Result<(), Error> {
    let closed = std::fs::File::open(format!("/proc/{}/pagemap", process.host))
        .is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    if process.node.ended.is_none() && closed {
        let was = exchange(process.threads[0].tracee, process.host, 1)
            .map_err(|e| Error::system(format!("opening the memory of process {}", process.node.pid), e))?;
        process.dumpable = Some(was);
    }
    Ok(())
}

/// Puts back what [`open`] changed.
pub fn close(process: &FrozenProcess) {
    if let Some(was) = process.dumpable {
        // 2 is the kernel's to set and means the same to everybody but root.
        if let Err(error) = exchange(process.threads[0].tracee, process.host, u64::from(was == 1)) {
            tracing::warn!(%error, pid = process.node.pid, "the memory of a process stays readable");
        }
    }
}

/// Sets PR_SET_DUMPABLE by a stopped thread of the process and returns what it was.
///
/// # Errors
/// A ptrace failure.
pub fn exchange(leader: Tracee, host: i32, value: u64) -> std::io::Result<i32> {
    // Two calls by single steps: borrowing a thread properly needs the memory that is closed.
    let site = Site::in_vdso(host)?;
    let (registers, mask) = (leader.registers()?, leader.signal_mask()?);
    leader.set_signal_mask(QUIET)?;
    let call = |option, value| site.call(leader, libc::SYS_prctl, [option, value, 0, 0, 0, 0]);
    let was = call(PR_GET_DUMPABLE, 0).and_then(|was| call(PR_SET_DUMPABLE, value).map(|_| was));
    leader.set_registers(&registers)?;
    leader.set_signal_mask(mask)?;
    rest(leader)?;
    was.map(|was| was as i32).map_err(|e| std::io::Error::other(e.to_string()))
}
