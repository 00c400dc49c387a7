//! Processes that run batches for tests, without ptrace: siblings that share one descriptor table.
//!
//! Each waits on a word of shared memory, runs the batch that lies behind it, and says so there;
//! no descriptor is needed, so that a test may take the table apart. Not for the product.

use std::io;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::batch::{Batch, CallFailed, Done, end_offset, interpreter};

const ROOM: usize = 1 << 20;
const HEAD: usize = 4096;

const IDLE: u32 = 0;
const WORK: u32 = 1;

/// Some processes with one descriptor table between them, empty at first.
pub struct Siblings {
    shared: *mut u8,
    code: *mut u8,
    count: usize,
    pids: Vec<i32>,
}

impl Siblings {
    /// Starts this many.
    ///
    /// # Errors
    /// If memory or processes are short.
    pub fn start(count: usize) -> io::Result<Self> {
        let shared = map(ROOM * count, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED)?;
        let code = map(4096, libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE)?;
        let program = interpreter();
        // SAFETY: `code` is a fresh page of ours, larger than the interpreter. Its end becomes a return.
        unsafe {
            std::ptr::copy_nonoverlapping(program.as_ptr(), code, program.len());
            *code.add(end_offset() as usize) = 0xc3;
            libc::mprotect(code.cast(), 4096, libc::PROT_READ | libc::PROT_EXEC);
        }
        let mut this = Self { shared, code, count, pids: Vec::new() };
        // SAFETY: integers. The siblings may look at this process where only relatives are allowed to.
        unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
        // SAFETY: the child calls only raw system calls and never returns.
        let first = unsafe { libc::fork() };
        if first == 0 {
            this.child_main();
        }
        crate::descriptor::check(first.into())?;
        for i in 0..count {
            let pid = this.word(i, 1);
            wait_while(pid, 0);
            this.pids.push(pid.load(Ordering::Acquire) as i32);
        }
        Ok(this)
    }

    /// Their pids.
    #[must_use]
    pub fn pids(&self) -> &[i32] {
        &self.pids
    }

    /// Runs a batch in one of them.
    ///
    /// # Errors
    /// A call that had to succeed and did not.
    ///
    /// # Panics
    /// If the batch is too large for the test's memory.
    pub fn run(&mut self, which: usize, batch: &Batch) -> Result<Done, CallFailed> {
        assert!(batch.encoded_len() <= ROOM - HEAD, "too large a batch");
        let place = self.place(which);
        let bytes = batch.encode(place as u64);
        // SAFETY: the region is as large as asserted, and its process sleeps.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place, bytes.len()) };
        self.word(which, 2).store(batch.len() as u32, Ordering::Relaxed);
        let state = self.word(which, 0);
        state.store(WORK, Ordering::Release);
        wake(state);
        wait_while(state, WORK);
        // SAFETY: as above; it sleeps again.
        let result = unsafe { std::slice::from_raw_parts(place, bytes.len()) };
        batch.decode(result)
    }

    fn place(&self, which: usize) -> *mut u8 {
        // SAFETY: inside the mapping made in `start`.
        unsafe { self.shared.add(ROOM * which + HEAD) }
    }

    fn word(&self, which: usize, index: usize) -> &'static AtomicU32 {
        assert!(which < self.count, "no such process");
        // SAFETY: inside the mapping, aligned; it stays mapped for good (tests end soon).
        unsafe { &*self.shared.add(ROOM * which + 4 * index).cast::<AtomicU32>() }
    }

    fn child_main(&self) -> ! {
        // SAFETY: raw system calls on integers; clone without a stack is a fork that shares descriptors.
        unsafe {
            libc::syscall(libc::SYS_close_range, 0, u32::MAX, 0);
            let mut me = 0;
            for i in 1..self.count {
                let flags = libc::CLONE_FILES | libc::SIGCHLD;
                if libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) == 0 {
                    me = i;
                    break;
                }
            }
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            let pid = self.word(me, 1);
            pid.store(libc::syscall(libc::SYS_getpid) as u32, Ordering::Release);
            wake(pid);
            let state = self.word(me, 0);
            loop {
                wait_while(state, IDLE);
                let entries = self.place(me) as u64;
                let count = u64::from(self.word(me, 2).load(Ordering::Relaxed));
                std::arch::asm!(
                    "call {code}",
                    code = in(reg) self.code,
                    inout("r12") entries => _, inout("r13") count => _, out("r14") _,
                    out("rax") _, out("rcx") _, out("rdx") _, out("rsi") _, out("rdi") _,
                    out("r8") _, out("r9") _, out("r10") _, out("r11") _,
                );
                state.store(IDLE, Ordering::Release);
                wake(state);
            }
        }
    }
}

impl Drop for Siblings {
    fn drop(&mut self) {
        for &pid in self.pids.iter().rev() {
            // SAFETY: integers; these are our children and grandchildren.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
        if let Some(&first) = self.pids.first() {
            // SAFETY: no status is asked for.
            unsafe { libc::waitpid(first, std::ptr::null_mut(), 0) };
        }
    }
}

fn map(len: usize, prot: i32, flags: i32) -> io::Result<*mut u8> {
    // SAFETY: a new anonymous mapping.
    let at = unsafe { libc::mmap(std::ptr::null_mut(), len, prot, flags | libc::MAP_ANONYMOUS, -1, 0) };
    if at == libc::MAP_FAILED { Err(io::Error::last_os_error()) } else { Ok(at.cast()) }
}

fn wait_while(word: &AtomicU32, value: u32) {
    while word.load(Ordering::Acquire) == value {
        // SAFETY: the word is alive; no time limit.
        unsafe {
            libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAIT, value, std::ptr::null::<u8>());
        }
    }
}

fn wake(word: &AtomicU32) {
    // SAFETY: the word is alive.
    unsafe { libc::syscall(libc::SYS_futex, word.as_ptr(), libc::FUTEX_WAKE, i32::MAX) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_opens_the_other_has_until_it_is_split_off() {
        let mut siblings = Siblings::start(2).unwrap();
        let mut open = Batch::new();
        let fd = open.must("eventfd2", libc::SYS_eventfd2, &[5u32.into(), 0u32.into()]);
        open.must("dup3", libc::SYS_dup3, &[fd.into(), 70u32.into(), 0u32.into()]);
        siblings.run(0, &open).unwrap();
        let mut split = Batch::new();
        split.must("dup", libc::SYS_dup3, &[70u32.into(), 71u32.into(), 0u32.into()]);
        split.must("split", libc::SYS_close_range, &[0u32.into(), 70u32.into(), 2u32.into()]);
        siblings.run(1, &split).unwrap();
        let mut look = Batch::new();
        let r = look.may("F_GETFD", libc::SYS_fcntl, &[70u32.into(), (libc::F_GETFD as u32).into()]);
        assert_eq!(siblings.run(0, &look).unwrap().ret(r), 0);
        assert_eq!(siblings.run(1, &look).unwrap().ret(r), -i64::from(libc::EBADF));
    }
}
