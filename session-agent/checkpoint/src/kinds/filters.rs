//! Filters of system calls (seccomp) that programs install for themselves. They can't be read back, so they are
//! recorded in the session's [`Book`] when they are installed, with a few instructions of the engine's before them
//! (`roam_sys::confine::passable`): by these a filter tells its number, and a thread's newest filter tells
//! all, since each was installed on top of another (docs/adr/0030).
//!
//! Refuses: threads with a filter that is not in the book. That is so where somebody else listens already (Roam
//! in a container with a listener of its own), for programs that were being debugged when they installed one,
//! and for filters that leave no room for the engine's instructions (more than 4055 of 4096 instructions).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

use roam_sys::batch::{Batch, Done, RetOf};
use roam_sys::confine;
use roam_sys::procfs::status::{self, Status};
use serde::{Deserialize, Serialize};

use crate::freeze::FrozenProcess;
use crate::kinds::affinity::Wanted;
use crate::kinds::notifications::{self, Key, Notification, Recorded};
use crate::kinds::process::ProcessState;
use crate::pod::Pod;

/// Flags that belong to the filter; the others say what else the call does.
const KEPT_FLAGS: u32 = (libc::SECCOMP_FILTER_FLAG_LOG | libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW) as u32;
/// The largest number of three digits of ten bits.
const LAST: u32 = (1 << 30) - 1;
/// In the book's header: some filter was not recorded.
const INCOMPLETE: u64 = 1;
const HEADER: u64 = 16;
const ENTRY: usize = 12;
/// Below what no filter lies: an entry that is a notification's record.
const NOTIFICATION: u32 = u32::MAX;
/// Likewise: CPUs that a thread wants.
const CPUS: u32 = u32::MAX - 1;

/// One filter, as its program gave it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    /// Number of the filter on which it was installed; 0 for none but Roam's.
    pub below: u32,
    /// Flags of seccomp(2) that stay with it.
    pub flags: u32,
    /// Its instructions, as they lie in memory.
    pub program: Vec<u8>,
}

impl Filter {
    /// As it was asked for: without what the call did besides.
    #[must_use]
    pub fn new(below: u32, flags: u32, program: Vec<u8>) -> Self {
        Self { below, flags: flags & KEPT_FLAGS, program }
    }
}

/// All filters that were installed in a pod, by number (from 1), and what else the kernel can't give back. It lies in a
/// file that outlives the keeper.
#[derive(Debug)]
pub struct Book {
    file: File,
    pass: u64,
    state: Mutex<State>,
    free: Condvar,
}

#[derive(Debug)]
struct State {
    filters: Vec<Filter>,
    notifications: Recorded,
    cpus: HashMap<i32, Wanted>,
    incomplete: bool,
    end: u64,
    busy: bool,
}

/// The right to stop threads of the session, until it is dropped.
#[derive(Debug)]
pub struct Turn(std::sync::Arc<Book>);

impl Drop for Turn {
    fn drop(&mut self) {
        self.0.lock().busy = false;
        self.0.free.notify_one();
    }
}

impl Book {
    /// A new book's content.
    #[must_use]
    pub fn blank(pass: u64) -> [u8; HEADER as usize] {
        let mut header = [0; HEADER as usize];
        header[..8].copy_from_slice(&pass.to_le_bytes());
        header
    }

    /// Reads what was recorded so far.
    ///
    /// # Errors
    /// The file's, or one that is no book.
    pub fn open(file: OwnedFd) -> io::Result<Self> {
        let file = File::from(file);
        let mut bytes = vec![0; file.metadata()?.len() as usize];
        file.read_exact_at(&mut bytes, 0)?;
        let odd = || io::Error::new(io::ErrorKind::InvalidData, "not a book of filters");
        let word = |at: usize| {
            bytes
                .get(at..at + 8)
                .map(|w| u64::from_le_bytes(w.try_into().expect("eight bytes")))
                .ok_or_else(odd)
        };
        let (pass, flags) = (word(0)?, word(8)?);
        let (mut filters, mut notifications, mut cpus) = (Vec::new(), Recorded::new(), HashMap::new());
        let mut at = HEADER as usize;
        // A keeper that died while it wrote left an entry that was never installed.
        while let Some(entry) = bytes.get(at..at + ENTRY) {
            let half = |at: usize| u32::from_le_bytes(entry[at..at + 4].try_into().expect("four bytes"));
            let Some(program) = bytes.get(at + ENTRY..at + ENTRY + half(0) as usize) else { break };
            match half(4) {
                NOTIFICATION => {
                    let record = Notification::from_record(program);
                    notifications.extend(record.map(|(key, what)| (key, ((at + ENTRY) as u64, what))));
                }
                CPUS => cpus.extend(Wanted::from_record(program)),
                below => filters.push(Filter { below, flags: half(8), program: program.to_vec() }),
            }
            at += ENTRY + program.len();
        }
        let incomplete = flags & INCOMPLETE != 0;
        let state = State { filters, notifications, cpus, incomplete, end: at as u64, busy: false };
        Ok(Self { file, pass, state: Mutex::new(state), free: Condvar::new() })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The session's pass ([`roam_sys::pass`]).
    #[must_use]
    pub fn pass(&self) -> u64 {
        self.pass
    }

    /// Waits until nobody else stops threads of the session.
    #[must_use]
    pub fn turn(self: &std::sync::Arc<Self>) -> Turn {
        let mut state = self.lock();
        while state.busy {
            state = self.free.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        state.busy = true;
        drop(state);
        Turn(self.clone())
    }

    /// Whether every filter is recorded.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        !self.lock().incomplete
    }

    /// A filter could not be recorded: from now on programs with filters can't be carried.
    ///
    /// # Errors
    /// The file's.
    pub fn give_up(&self) -> io::Result<()> {
        self.lock().incomplete = true;
        self.file.write_all_at(&INCOMPLETE.to_le_bytes(), 8)
    }

    /// Records a filter, before it is installed, and returns its number: that of the same filter on the same one,
    /// if there is one.
    ///
    /// # Errors
    /// The file's, or no numbers left.
    pub fn add(&self, filter: &Filter) -> io::Result<u32> {
        let mut state = self.lock();
        if let Some(index) = state.filters.iter().position(|known| known == filter) {
            return Ok(index as u32 + 1);
        }
        let number = state.filters.len() as u32 + 1;
        if number > LAST {
            return Err(io::Error::other("too many filters"));
        }
        self.append(&mut state, [filter.below, filter.flags], &filter.program)?;
        state.filters.push(filter.clone());
        Ok(number)
    }

    /// Adds an entry; returns where its content lies.
    fn append(&self, state: &mut State, words: [u32; 2], content: &[u8]) -> io::Result<u64> {
        let mut entry = (content.len() as u32).to_le_bytes().to_vec();
        words.iter().for_each(|word| entry.extend(word.to_le_bytes()));
        entry.extend(content);
        self.file.write_all_at(&entry, state.end)?;
        let at = state.end + ENTRY as u64;
        state.end += entry.len() as u64;
        Ok(at)
    }

    /// Records what a process asks a queue for, before it does; only the last counts.
    ///
    /// # Errors
    /// The file's.
    pub fn note(&self, key: Key, what: Notification) -> io::Result<()> {
        let mut state = self.lock();
        let record = what.record(key);
        let before = match state.notifications.remove(&key) {
            Some((at, _)) => Some(at),
            None => notifications::forget_one(&mut state.notifications),
        };
        let at = match before {
            Some(at) => self.file.write_all_at(&record, at).map(|()| at)?,
            None => self.append(&mut state, [NOTIFICATION, 0], &record)?,
        };
        state.notifications.insert(key, (at, what));
        Ok(())
    }

    /// What this process last asked this queue for.
    #[must_use]
    pub fn noted(&self, key: Key) -> Option<Notification> {
        self.lock().notifications.get(&key).map(|(_, what)| what.clone())
    }

    /// Records which CPUs a thread wants.
    ///
    /// # Errors
    /// The file's.
    pub fn want_cpus(&self, tid: i32, wanted: Wanted) -> io::Result<()> {
        let mut state = self.lock();
        self.append(&mut state, [CPUS, 0], &wanted.record(tid))?;
        state.cpus.insert(tid, wanted);
        Ok(())
    }

    /// Which CPUs a thread wants, if this machine could not give it all of them.
    #[must_use]
    pub fn wanted_cpus(&self, tid: i32) -> Option<Wanted> {
        self.lock().cpus.get(&tid).cloned()
    }

    /// The filters with these numbers and those below them, renumbered, and the new number of each.
    ///
    /// # Errors
    /// A number that is not in the book.
    pub fn used(&self, numbers: impl Iterator<Item = u32>) -> Result<(Vec<Filter>, BTreeMap<u32, u32>), u32> {
        let state = self.lock();
        let mut wanted = BTreeSet::new();
        for mut number in numbers {
            while number != 0 && wanted.insert(number) {
                let filter = state.filters.get(number as usize - 1).ok_or(number)?;
                // What is below was there before.
                number = if filter.below < number { filter.below } else { return Err(number) };
            }
        }
        let mut renumbered = BTreeMap::from([(0, 0)]);
        let mut list = Vec::new();
        for number in wanted {
            let filter = &state.filters[number as usize - 1];
            list.push(Filter { below: renumbered[&filter.below], ..filter.clone() });
            renumbered.insert(number, list.len() as u32);
        }
        Ok((list, renumbered))
    }
}

/// Whether threads that have filters of their own can be carried.
#[must_use]
pub fn recorded(pod: &dyn Pod) -> bool {
    pod.filters().is_some_and(|book| book.is_complete())
}

/// Whether a thread has filters besides those of roam-init, from which all programs of the pod have theirs.
#[must_use]
pub fn has_own(thread: &Status, init: &Status) -> bool {
    thread.seccomp == 1 || thread.seccomp_filters > common(init)
}

/// How many filters everything in the pod has. A roam-init from before it had one itself gave one to each program.
fn common(init: &Status) -> u32 {
    init.seccomp_filters.max(1)
}

/// Why such a thread is refused, and what helps.
pub const NOT_RECORDED: (&str, &str) = (
    "it installed a seccomp filter that was not recorded",
    "Quit the program and start it again in this session's place: filters of programs that are being debugged, and \
     those on machines where something else listens to filters already (some containers), can't be recorded.",
);

/// Takes the filters of these processes from the book and gives each thread the number that its filter has in
/// the image. Returns the filters, and the processes with filters that were not recorded.
pub fn collect(
    pod: &dyn Pod,
    frozen: &[FrozenProcess],
    processes: &mut [ProcessState],
) -> (Vec<Filter>, Vec<i32>) {
    let init = status::read(pod.init().as_raw()).unwrap_or_default();
    let threads = || processes.iter().flat_map(|p| &p.threads).map(|t| t.filter);
    let found = match pod.filters() {
        Some(book) => book.used(threads()).ok(),
        None => threads().all(|number| number == 0).then(|| (Vec::new(), BTreeMap::from([(0, 0)]))),
    };
    let Some((filters, numbers)) = found else {
        return (Vec::new(), processes.iter().map(|p| p.pid).collect());
    };
    let mut odd = Vec::new();
    for process in processes {
        let counts = |tid: i32| {
            let process = frozen.iter().find(|f| f.node.pid == process.pid)?;
            let thread = process.threads.iter().find(|t| t.tid == tid)?;
            Some(status::read_thread(process.host, thread.tracee.tid()).ok()?.seccomp_filters)
        };
        let right = process.threads.iter().all(|thread| {
            let own = chain(&filters, numbers[&thread.filter]).map_or(u32::MAX, |chain| chain.len() as u32);
            counts(thread.tid).and_then(|all| all.checked_sub(common(&init))) == Some(own)
        });
        if !right {
            odd.push(process.pid);
        }
        for thread in &mut process.threads {
            thread.filter = numbers[&thread.filter];
        }
    }
    (filters, odd)
}

/// The filters from the oldest to this one, by number; none for 0.
///
/// # Errors
/// If the list contradicts itself.
pub fn chain(filters: &[Filter], mut number: u32) -> Result<Vec<u32>, String> {
    let mut chain = Vec::new();
    while number != 0 {
        let filter =
            filters.get(number as usize - 1).ok_or_else(|| format!("there is no filter {number}"))?;
        chain.push(number);
        if filter.below >= number {
            return Err(format!("filter {number} lies on a later one"));
        }
        number = filter.below;
    }
    chain.reverse();
    Ok(chain)
}

/// A question to a thread for its newest filter.
#[derive(Debug)]
pub struct Asked(Vec<RetOf>);

/// Adds the question to a batch that the thread runs.
pub fn ask(batch: &mut Batch) -> Asked {
    Asked(
        (0..confine::DIGITS)
            .map(|digit| batch.may("asking a filter", confine::ASK, &[digit.into()]))
            .collect(),
    )
}

/// The number of the thread's newest filter; 0 for none but Roam's.
///
/// # Errors
/// The answer, if it is no filter's.
pub fn answer(asked: &Asked, done: &Done) -> Result<u32, i64> {
    let mut number = 0;
    for (place, ret) in asked.0.iter().enumerate() {
        let ret = done.ret(*ret);
        let digit = u32::try_from(-ret).ok().and_then(|n| n.checked_sub(confine::DIGIT)).ok_or(ret)?;
        number |= (digit & 1023) << (10 * place);
    }
    Ok(number)
}

/// Adds the call that installs a program with the engine's instructions before it.
pub fn install(program: &[u8], flags: u64, batch: &mut Batch) -> RetOf {
    let code = batch.data(program);
    let header = batch.room(16);
    batch.fill(header, 0, &((program.len() / 8) as u16).to_le_bytes());
    batch.pointer(header, 8, code);
    let args = [libc::SECCOMP_SET_MODE_FILTER.into(), flags.into(), header.into()];
    batch.may("installing a program's filter", libc::SYS_seccomp, &args)
}

/// A step of making a process's threads with their filters. Threads go by their place in the list, the leader is 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// This thread, which is there, installs this filter.
    Install(usize, u32),
    /// The first thread makes the second, which has the same filters from then on.
    Clone(usize, usize),
}

/// How threads get these chains such that what they have in common is one filter: installing for all
/// threads at once (SECCOMP_FILTER_FLAG_TSYNC) demands that later.
#[must_use]
pub fn plan(chains: &[Vec<u32>]) -> Vec<Step> {
    let mut steps = Vec::new();
    if !chains.is_empty() {
        grow(chains, 0, 0, (1..chains.len()).collect(), &mut steps);
    }
    steps
}

/// `carrier` is there with the first `depth` filters, which `others`, yet to be made, have as well.
fn grow(
    chains: &[Vec<u32>],
    carrier: usize,
    mut depth: usize,
    mut others: Vec<usize>,
    steps: &mut Vec<Step>,
) {
    loop {
        let own = chains[carrier].get(depth).copied();
        // Whoever goes another way from here is made by the carrier before it goes its own.
        let (along, apart): (Vec<usize>, Vec<usize>) =
            others.iter().partition(|t| own.is_some() && chains[**t].get(depth).copied() == own);
        let mut ways: BTreeMap<Option<u32>, Vec<usize>> = BTreeMap::new();
        for thread in apart {
            ways.entry(chains[thread].get(depth).copied()).or_default().push(thread);
        }
        for (way, threads) in ways {
            match way {
                None => steps.extend(threads.iter().map(|t| Step::Clone(carrier, *t))),
                Some(_) => {
                    steps.push(Step::Clone(carrier, threads[0]));
                    grow(chains, threads[0], depth, threads[1..].to_vec(), steps);
                }
            }
        }
        let Some(filter) = own else { return };
        steps.push(Step::Install(carrier, filter));
        depth += 1;
        others = along;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(below: u32, fill: u8) -> Filter {
        Filter::new(below, 0, vec![fill; 16])
    }

    fn book() -> (OwnedFd, Book) {
        let file = roam_sys::spawn::memory_file(c"book", &Book::blank(77)).unwrap();
        let book = Book::open(file.try_clone().unwrap()).unwrap();
        (file, book)
    }

    #[test]
    fn the_next_keeper_reads_the_same_book() {
        let (file, first) = book();
        assert_eq!((first.add(&filter(0, 1)).unwrap(), first.add(&filter(1, 2)).unwrap()), (1, 2));
        assert_eq!(first.add(&filter(1, 2)).unwrap(), 2, "the same again");
        assert_eq!(first.add(&filter(0, 2)).unwrap(), 3, "the same on another");
        first.give_up().unwrap();
        let second = Book::open(file).unwrap();
        assert_eq!((second.pass(), second.is_complete()), (77, false));
        assert_eq!(second.add(&filter(0, 2)).unwrap(), 3);
        let (list, numbers) = second.used([2, 2].into_iter()).unwrap();
        assert_eq!(list, [filter(0, 1), filter(1, 2)]);
        assert_eq!(numbers[&2], 2);
        let (list, numbers) = second.used([3, 0].into_iter()).unwrap();
        assert_eq!((list, numbers[&3], numbers[&0]), (vec![filter(0, 2)], 1, 0));
        assert_eq!(second.used([9].into_iter()).unwrap_err(), 9);
    }

    #[test]
    fn the_last_notification_counts() {
        let (file, first) = book();
        let (key, other) = ((1, 2, 3), (1, 2, 4));
        let what =
            |value: u8| Notification { event: [vec![value; 8], vec![0; 56]].concat(), cookie: Vec::new() };
        first.note(key, what(1)).unwrap();
        assert_eq!(first.add(&filter(0, 1)).unwrap(), 1);
        first.note(other, what(2)).unwrap();
        first.note(key, what(3)).unwrap();
        let second = Book::open(file).unwrap();
        assert_eq!((second.noted(key), second.noted(other)), (Some(what(3)), Some(what(2))));
        assert_eq!(second.noted((1, 2, 5)), None);
        assert_eq!(second.add(&filter(0, 1)).unwrap(), 1);
    }

    #[test]
    fn wanted_cpus_outlive_a_keeper() {
        let (file, first) = book();
        let wanted = |started| Wanted { started, given: vec![1], wanted: vec![6] };
        first.want_cpus(12, wanted(3)).unwrap();
        assert_eq!(first.add(&filter(0, 1)).unwrap(), 1);
        first.want_cpus(12, wanted(4)).unwrap();
        let second = Book::open(file).unwrap();
        assert_eq!((second.wanted_cpus(12), second.wanted_cpus(13)), (Some(wanted(4)), None));
        assert_eq!(second.add(&filter(0, 1)).unwrap(), 1);
    }

    #[test]
    fn an_entry_that_broke_off_is_none() {
        let (file, book) = book();
        book.add(&filter(0, 1)).unwrap();
        let whole = File::from(file.try_clone().unwrap()).metadata().unwrap().len();
        File::from(file.try_clone().unwrap())
            .write_all_at(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 7], whole)
            .unwrap();
        let again = Book::open(file).unwrap();
        assert_eq!(again.add(&filter(1, 3)).unwrap(), 2);
        assert!(Book::open(roam_sys::spawn::memory_file(c"none", b"short").unwrap()).is_err());
    }

    #[test]
    fn chains_are_checked() {
        let list = [filter(0, 1), filter(1, 2)];
        assert_eq!(chain(&list, 2).unwrap(), [1, 2]);
        assert_eq!(chain(&list, 0).unwrap(), [0u32; 0]);
        assert!(
            chain(&list, 3).is_err()
                && chain(&[filter(1, 1)], 1).is_err()
                && chain(&[filter(5, 1)], 1).is_err()
        );
    }

    /// What each thread has when the plan was followed, as objects: a clone shares, an installation is a new one.
    fn follow(chains: &[Vec<u32>]) -> Vec<Vec<(usize, u32)>> {
        let mut have: Vec<Option<Vec<(usize, u32)>>> = vec![None; chains.len()];
        have[0] = Some(Vec::new());
        for (at, step) in plan(chains).into_iter().enumerate() {
            match step {
                Step::Install(thread, filter) => have[thread].as_mut().unwrap().push((at, filter)),
                Step::Clone(from, to) => {
                    assert!(have[to].is_none(), "made twice");
                    have[to] = have[from].clone();
                }
            }
        }
        have.into_iter().map(|h| h.expect("every thread is made")).collect()
    }

    #[test]
    fn threads_share_what_they_have_in_common() {
        let cases: [&[&[u32]]; 6] = [
            &[&[]],
            &[&[], &[1], &[1, 2]],
            &[&[1, 2], &[1], &[1, 2], &[], &[1, 2, 3]],
            &[&[1, 2, 3], &[1, 4, 5], &[1, 4, 5], &[1, 4]],
            &[&[1], &[2], &[2], &[1]],
            &[&[], &[], &[3], &[3]],
        ];
        for case in cases {
            let chains: Vec<Vec<u32>> = case.iter().map(|c| c.to_vec()).collect();
            let made = follow(&chains);
            for (a, of_a) in made.iter().enumerate() {
                assert_eq!(of_a.iter().map(|(_, f)| *f).collect::<Vec<_>>(), chains[a]);
                for (b, of_b) in made.iter().enumerate() {
                    let common = chains[a].iter().zip(&chains[b]).take_while(|(x, y)| x == y).count();
                    assert_eq!(of_a[..common], of_b[..common], "threads {a} and {b} of {case:?}");
                }
            }
        }
    }
}
