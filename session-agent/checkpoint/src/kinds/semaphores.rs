//! System V semaphores: sets with their values, the last user of each, and what each process's end will
//! undo (SEM_UNDO).
//!
//! The kernel shows nobody what it will undo. But it keeps the amount within bounds, and answers ERANGE
//! where an operation would leave them. So each process tries operations that lead up to a bound
//! and end, whatever the answer, with one that can't be done: nothing changes ([`probe`]).
//!
//! Refused: a list of such amounts that several processes share, or a thread's own. What differs afterwards:
//! the order of those that wait for the same semaphore, the last user if it has ended, the times.

use std::cmp::Ordering;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::{Batch, RetOf};
use roam_sys::descriptor::{Shared, compare_shared};
use serde::{Deserialize, Serialize};

use super::helper::Helper;
use super::ipc::{self, check_id, column, lines, want_id};
use crate::capture::ask_alone;
use crate::error::Error;
use crate::freeze::{Frozen, FrozenProcess};
use crate::stubs::Stubs;

const GETPID: i32 = 11;
const GETALL: i32 = 13;
/// The highest value, and the bound of what is undone.
const HIGHEST: i32 = 32767;
/// Semaphores looked at in one batch.
const MANY: usize = 400;
/// Semaphores in one trial: with four operations for each, below the kernel's limit of 500.
const TRIED: usize = 100;

/// A set.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Set {
    /// Its id.
    pub semid: i32,
    /// Its key.
    pub key: i32,
    /// Permission bits.
    pub mode: u32,
    /// Value and last user of each semaphore.
    pub semaphores: Vec<(u16, i32)>,
    /// What is undone at a process's end: its pid, the semaphore, what is added.
    pub undo: Vec<(i32, u16, i16)>,
}

/// The sets of the list, without their content.
pub fn parse(text: &str) -> Vec<Set> {
    lines(text)
        .filter_map(|words| {
            Some(Set {
                key: ipc::key(&words)?,
                semid: column(&words, 1)?,
                mode: ipc::mode(&words)?,
                semaphores: vec![(0, 0); column(&words, 3)?],
                undo: Vec::new(),
            })
        })
        .collect()
}

/// Fills the sets.
///
/// # Errors
/// A failed call, or [`Error::Refused`].
pub fn capture(mut sets: Vec<Set>, frozen: &Frozen, helper: &mut Helper) -> Result<Vec<Set>, Error> {
    if sets.is_empty() {
        return Ok(sets);
    }
    for set in &mut sets {
        values(set, helper)?;
    }
    let mut lists: Vec<i32> = Vec::new();
    for process in frozen.living() {
        if !has_list(process, &lists, helper)? {
            continue;
        }
        lists.push(process.host);
        for set in &mut sets {
            let found = probe(set, process)?;
            set.undo.extend(found.into_iter().map(|(number, amount)| (process.node.pid, number, amount)));
        }
    }
    Ok(sets)
}

fn values(set: &mut Set, helper: &mut Helper) -> Result<(), Error> {
    let mut batch = Batch::new();
    let all = batch.room(set.semaphores.len() * 2);
    let ask = [set.semid.into(), 0.into(), GETALL.into(), all.into()];
    batch.must("reading semaphores", libc::SYS_semctl, &ask);
    let done = helper.run(&batch)?;
    for (semaphore, value) in set.semaphores.iter_mut().zip(done.bytes(all).chunks_exact(2)) {
        semaphore.0 = u16::from_le_bytes([value[0], value[1]]);
    }
    for first in (0..set.semaphores.len()).step_by(MANY) {
        let part = first..(first + MANY).min(set.semaphores.len());
        let mut batch = Batch::new();
        let asked: Vec<RetOf> = part
            .clone()
            .map(|number| {
                let ask = [set.semid.into(), number.into(), GETPID.into(), 0.into()];
                batch.must("reading a semaphore's last user", libc::SYS_semctl, &ask)
            })
            .collect();
        let done = helper.run(&batch)?;
        for (number, ret) in part.zip(asked) {
            set.semaphores[number].1 = done.ret(ret) as i32;
        }
    }
    Ok(())
}

/// Whether anything is to be undone at this process's end. The helper has never used a semaphore.
fn has_list(process: &FrozenProcess, others: &[i32], helper: &Helper) -> Result<bool, Error> {
    let order = |a: i32, b: i32| {
        compare_shared(Pid::from_raw(a), Pid::from_raw(b), Shared::Undo)
            .map_err(|e| Error::system("comparing semaphore operations to be undone", e))
    };
    let refuse = |reason: &str| {
        Err(Error::Refused(vec![Refusal {
            process: process.name.clone(),
            pid: process.node.pid as u32,
            what: "its semaphore operations to be undone (SEM_UNDO)".to_owned(),
            reason: reason.to_owned(),
            remedy: "This rare kind of program can't be moved yet.".to_owned(),
        }]))
    };
    for thread in &process.threads {
        let tid = thread.tracee.tid();
        if tid != process.host && order(process.host, tid)? != Ordering::Equal {
            // Threads share from the moment there are two of them.
            if order(helper.host(), tid)? != Ordering::Equal {
                return refuse("a thread has its own");
            }
        }
    }
    if order(helper.host(), process.host)? == Ordering::Equal {
        return Ok(false);
    }
    for other in others {
        if order(*other, process.host)? == Ordering::Equal {
            return refuse("it shares them with another process");
        }
    }
    Ok(true)
}

/// One semaphore operation: its number, the change, whether it is undone at the end.
type Operation = (u16, i32, bool);

fn encode(operations: &[Operation], flags: i32) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(operations.len() * 6);
    for (number, change, undone) in operations {
        let flags = flags | if *undone { libc::SEM_UNDO } else { 0 };
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.extend_from_slice(&(*change as i16).to_le_bytes());
        bytes.extend_from_slice(&(flags as i16).to_le_bytes());
    }
    bytes
}

fn add(batch: &mut Batch, semid: i32, operations: &[Operation], flags: i32, must: bool) -> RetOf {
    let bytes = batch.data(&encode(operations, flags));
    let args = [semid.into(), bytes.into(), operations.len().into()];
    if must {
        batch.must("operating semaphores", libc::SYS_semop, &args)
    } else {
        batch.may("trying semaphores", libc::SYS_semop, &args)
    }
}

/// For a semaphore, its value and an amount: what leaves the bounds if at least so much is to be undone.
type Trial = fn(u16, u16, i32) -> Vec<Operation>;

/// Operations that leave the bounds if at least so much is to be added to the semaphore of this value.
fn more_than(number: u16, value: u16, at_least: i32) -> Vec<Operation> {
    // Adding k more leaves the bound if what is to be added is above HIGHEST - k.
    let k = HIGHEST - at_least + 1;
    let mut trial = Vec::new();
    if i32::from(value) < HIGHEST {
        trial.push((number, HIGHEST - i32::from(value), false));
    }
    trial.push((number, -k, true));
    trial
}

/// The same for an amount that is to be taken away.
fn less_than(number: u16, value: u16, at_least: i32) -> Vec<Operation> {
    // The lower bound is one further away than any single operation reaches.
    let k = HIGHEST - at_least + 1;
    let mut trial = Vec::new();
    if value > 0 {
        trial.push((number, -i32::from(value), false));
    }
    trial.extend([(number, 1, true), (number, -1, false), (number, k, true)]);
    trial
}

/// What can't be done afterwards, however the trial left the semaphore.
const IMPOSSIBLE: i32 = -HIGHEST - 1;

/// What is to be added to each semaphore of the set at the process's end, where it is not zero.
///
/// # Errors
/// If the process can't be asked.
fn probe(set: &Set, process: &FrozenProcess) -> Result<Vec<(u16, i16)>, Error> {
    let out_of_bounds = |trials: Vec<Vec<Operation>>| -> Result<Vec<bool>, Error> {
        let (asked, done) = ask_alone(process, |batch| {
            trials
                .iter()
                .map(|trial| {
                    let mut trial = trial.clone();
                    let last = trial.last().map_or(0, |(number, ..)| *number);
                    trial.push((last, IMPOSSIBLE, false));
                    add(batch, set.semid, &trial, libc::IPC_NOWAIT, false)
                })
                .collect::<Vec<_>>()
        })?;
        Ok(asked.into_iter().map(|ret| done.ret(ret) == -i64::from(libc::ERANGE)).collect())
    };
    let numbered: Vec<(u16, u16)> =
        set.semaphores.iter().enumerate().map(|(i, (value, _))| (i as u16, *value)).collect();
    let mut found = Vec::new();
    let trials: [(Trial, i32); 2] = [(more_than, 1), (less_than, -1)];
    for (trial, sign) in trials {
        // First whole groups: nearly always there is nothing.
        let groups: Vec<&[(u16, u16)]> = numbered.chunks(TRIED).collect();
        let whole = groups.iter().map(|g| g.iter().flat_map(|(n, v)| trial(*n, *v, 1)).collect()).collect();
        for (group, any) in groups.iter().zip(out_of_bounds(whole)?) {
            if !any {
                continue;
            }
            let each = out_of_bounds(group.iter().map(|(n, v)| trial(*n, *v, 1)).collect())?;
            for ((number, value), _) in group.iter().zip(each).filter(|(_, hit)| *hit) {
                // The largest amount that it is at least, found by halves.
                let (mut least, mut most) = (1, HIGHEST);
                while least < most {
                    let middle = (least + most + 1) / 2;
                    if out_of_bounds(vec![trial(*number, *value, middle)])?[0] {
                        least = middle;
                    } else {
                        most = middle - 1;
                    }
                }
                found.push((*number, (sign * least) as i16));
            }
        }
    }
    Ok(found)
}

/// Makes the sets anew.
///
/// # Errors
/// A call that had to succeed and did not.
pub fn restore(sets: &[Set], processes: &[i32], stubs: &mut dyn Stubs) -> Result<(), Error> {
    for set in sets {
        let mut batch = Batch::new();
        want_id("sem", set.semid, &mut batch);
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | (set.mode & 0o777) as i32;
        let make = [set.key.into(), set.semaphores.len().into(), flags.into()];
        let got = batch.must("making semaphores", libc::SYS_semget, &make);
        let done = stubs.run(stubs.holder(), &batch)?;
        check_id(&done, got, set.semid)?;
        for (pid, number, amount) in &set.undo {
            if usize::from(*number) >= set.semaphores.len() || !processes.contains(pid) {
                return Err(Error::Image("semaphores are damaged".to_owned()));
            }
            // What was done has its value by now; here it is done and taken back at once.
            let amount = i32::from(*amount).max(-HIGHEST);
            let pair = if amount > 0 {
                [(*number, amount, false), (*number, -amount, true)]
            } else {
                [(*number, -amount, true), (*number, amount, false)]
            };
            let mut batch = Batch::new();
            add(&mut batch, set.semid, &pair, libc::IPC_NOWAIT, true);
            stubs.run(*pid, &batch)?;
        }
        // The last user of each gives it its value.
        let mut users: Vec<i32> = set.semaphores.iter().map(|(_, pid)| *pid).collect();
        users.sort_unstable();
        users.dedup();
        for user in users {
            let mut batch = Batch::new();
            let theirs = set
                .semaphores
                .iter()
                .enumerate()
                .filter(|(_, (value, pid))| *pid == user && (*value > 0 || user != 0));
            let theirs: Vec<Operation> =
                theirs.map(|(i, (value, _))| (i as u16, i32::from(*value), false)).collect();
            for some in theirs.chunks(TRIED) {
                add(&mut batch, set.semid, some, libc::IPC_NOWAIT, true);
            }
            if !batch.is_empty() {
                let by = if processes.contains(&user) { user } else { stubs.holder() };
                stubs.run(by, &batch)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The kernel's own rule, for one semaphore: where a sequence of operations ends.
    fn kernel(mut value: i32, mut adjust: i32, operations: &[Operation]) -> &'static str {
        for (_, change, undone) in operations {
            if *change == 0 && value != 0 || value + change < 0 {
                return "EAGAIN";
            }
            if value + change > HIGHEST {
                return "ERANGE";
            }
            if *undone {
                adjust -= change;
                if !(-HIGHEST - 1..=HIGHEST).contains(&adjust) {
                    return "ERANGE";
                }
            }
            value += change;
        }
        "done"
    }

    #[test]
    fn trials_tell_what_is_undone_and_never_succeed() {
        for value in [0u16, 1, 5, 32766, 32767] {
            for adjust in [-32767, -9, -2, -1, 0, 1, 2, 9, 32767] {
                for least in [1, 2, 9, 10, 32766, 32767] {
                    for (trial, wanted) in [
                        (more_than(0, value, least), adjust >= least),
                        (less_than(0, value, least), -adjust >= least),
                    ] {
                        let mut trial = trial;
                        trial.push((0, IMPOSSIBLE, false));
                        let answer = kernel(value.into(), adjust, &trial);
                        assert_ne!(answer, "done");
                        assert_eq!(answer == "ERANGE", wanted, "{value} {adjust} {least}: {trial:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_list_parses() {
        let text = "       key      semid perms      nsems   uid   gid  cuid  cgid      otime      ctime\n\
                    -559038737          3   640          2  1000  1000  1000  1000          0 1700000000\n";
        let sets = parse(text);
        assert_eq!((sets[0].key as u32, sets[0].semid, sets[0].mode), (0xdead_beef, 3, 0o640));
        assert_eq!(sets[0].semaphores.len(), 2);
    }
}
