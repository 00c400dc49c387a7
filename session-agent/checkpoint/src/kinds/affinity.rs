//! The CPUs that a thread may run on (sched_setaffinity(2)).
//!
//! Every thread of a session begins with those of roam-init, which never asks for any: one that has the same has not
//! chosen, and gets those of the target's roam-init. What a thread chose it gets at every target as far as that has
//! these CPUs, and may run on any where that has none of them. The kernel shows no more than what it could give then;
//! so what was wanted is kept in the pod's book beside the filters, for the next move. What the program sets
//! itself afterwards counts instead.
//!
//! What is not carried: that a thread which began on such a machine would have inherited more than that has.

use std::io;

use roam_sys::batch::Batch;
use roam_sys::procfs::stat;
use roam_sys::sched;

use crate::error::Error;
use crate::freeze::FrozenProcess;
use crate::kinds::process::ProcessState;
use crate::pod::Pod;

/// The CPUs that a thread wants where not all of them are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// When the thread started, in clock ticks since boot: others get its number later.
    pub started: u64,
    /// What it got.
    pub given: Vec<u64>,
    /// What it wants.
    pub wanted: Vec<u64>,
}

impl Wanted {
    /// As it lies in the book.
    #[must_use]
    pub fn record(&self, tid: i32) -> Vec<u8> {
        let head = [u64::from(tid.unsigned_abs()), self.started, self.given.len() as u64];
        head.iter().chain(&self.given).chain(&self.wanted).flat_map(|word| word.to_le_bytes()).collect()
    }

    /// From the book.
    #[must_use]
    pub fn from_record(bytes: &[u8]) -> Option<(i32, Self)> {
        let words: Vec<u64> =
            bytes.chunks_exact(8).map(|c| u64::from_le_bytes(c.try_into().expect("eight bytes"))).collect();
        let [tid, started, given, sets @ ..] = &words[..] else { return None };
        let (given, wanted) = sets.split_at_checked(usize::try_from(*given).ok()?)?;
        let this = Self { started: *started, given: given.to_vec(), wanted: wanted.to_vec() };
        Some((i32::try_from(*tid).ok()?, this))
    }
}

/// Leaves of the CPUs that the threads have only what was chosen.
///
/// # Errors
/// If roam-init is gone.
pub fn collect(pod: &dyn Pod, frozen: &[FrozenProcess], processes: &mut [ProcessState]) -> Result<(), Error> {
    let every = sched::affinity(pod.init().as_raw()).map_err(failed)?;
    for process in processes {
        let Some(frozen) = frozen.iter().find(|f| f.node.pid == process.pid) else { continue };
        for thread in &mut process.threads {
            let host = frozen.threads.iter().find(|t| t.tid == thread.tid).map(|t| t.tracee.tid());
            let wanted = host.and_then(|tid| {
                let wanted = pod.filters()?.wanted_cpus(tid)?;
                (wanted.started == stat::read_thread(frozen.host, tid).ok()?.starttime).then_some(wanted)
            });
            thread.affinity = chosen(std::mem::take(&mut thread.affinity), &every, wanted);
        }
    }
    Ok(())
}

/// What a thread chose that has these CPUs, of those that every thread here has.
fn chosen(has: Vec<u64>, every: &[u64], wanted: Option<Wanted>) -> Vec<u64> {
    match wanted {
        Some(wanted) if wanted.given == has => wanted.wanted,
        _ if has == every => Vec::new(),
        _ => has,
    }
}

/// Adds the call that asks for what the thread chose.
pub fn restore(chosen: &[u64], batch: &mut Batch) {
    if !chosen.is_empty() {
        let set = batch.data(&chosen.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<_>>());
        // Where none of them is, it runs on any.
        let args = [0.into(), (chosen.len() * 8).into(), set.into()];
        batch.may("setting the CPUs", libc::SYS_sched_setaffinity, &args);
    }
}

/// Keeps what this machine could not give a thread that has asked.
///
/// # Errors
/// If the thread is gone or the book can't be written.
pub fn remember(pod: &dyn Pod, pid: i32, tid: i32, chosen: &[u64]) -> Result<(), Error> {
    let Some(book) = pod.filters().filter(|_| !chosen.is_empty()) else { return Ok(()) };
    let given = sched::affinity(tid).map_err(failed)?;
    if given == chosen {
        return Ok(());
    }
    let started = stat::read_thread(pid, tid).map_err(failed)?.starttime;
    book.want_cpus(tid, Wanted { started, given, wanted: chosen.to_vec() }).map_err(failed)
}

fn failed(error: io::Error) -> Error {
    Error::system("looking at the CPUs of a thread", error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_what_all_have_never_chose() {
        let every = [0b0101_0101];
        assert_eq!(chosen(vec![0b0101_0101], &every, None), [0u64; 0]);
        assert_eq!(chosen(vec![0b0000_0100], &every, None), [0b0000_0100]);
        assert_eq!(chosen(vec![0b1111_1111], &every, None), [0b1111_1111]);
    }

    #[test]
    fn a_narrow_machine_does_not_narrow_what_is_wanted() {
        let wanted = || Some(Wanted { started: 3, given: vec![0b0011], wanted: vec![0b1111, 1] });
        assert_eq!(chosen(vec![0b0011], &[0b0011], wanted()), [0b1111, 1]);
        // What the program set since then counts.
        assert_eq!(chosen(vec![0b0001], &[0b0011], wanted()), [0b0001]);
        // The machine has none of the wanted ones.
        let none = Some(Wanted { started: 3, given: vec![0b0011], wanted: vec![0b1100] });
        assert_eq!(chosen(vec![0b0011], &[0b0011], none), [0b1100]);
    }

    #[test]
    fn records_are_read_back() {
        let wanted = Wanted { started: 1 << 40, given: vec![3], wanted: vec![0, 7] };
        let record = wanted.record(4711);
        assert_eq!(Wanted::from_record(&record), Some((4711, wanted)));
        assert_eq!(Wanted::from_record(&record[..20]), None);
        assert_eq!(Wanted::from_record(&[255; 32]), None);
    }
}
