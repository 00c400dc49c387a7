//! One stub: a traced process with nothing in it but the interpreter and the kernel's vdso.

use roam_sys::batch::{Batch, Done};
use roam_sys::inject::{Area, InjectError, Site, must};
use roam_sys::memory;
use roam_sys::procfs::maps;
use roam_sys::ptrace::{EXITKILL, FOLLOW, Stop, Tracee};

use crate::error::Error;
use crate::kinds::namespaces::Places;
use crate::kinds::pid_namespaces::Level;
use crate::kinds::vdso;

/// Room for batches at first; it grows when a batch is larger.
const ROOM: u64 = 256 << 10;
const PAGE: u64 = 4096;
/// How long roam-init may take to reap a helper.
const REAPED: std::time::Duration = std::time::Duration::from_secs(2);
/// Everything but SIGTRAP is blocked while a stub is at work.
const QUIET: u64 = !(1 << (libc::SIGTRAP - 1));

/// A stub.
#[derive(Debug, Clone, Copy)]
pub struct Stub {
    /// Its only thread, or its leader.
    pub tracee: Tracee,
    /// Its pid as the keeper sees it.
    pub host: i32,
    /// Its pid in the pod.
    pub pid: i32,
    /// The interpreter's area.
    pub area: Area,
    /// The pid namespace that it is in.
    pub level: Level,
    /// The other namespaces that it is in.
    pub within: Places,
}

/// How a new task gets its number; the last is always that in the pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Number {
    /// The stub that clones it gives the first, which is that in its own pid namespace. Those further out were
    /// announced to the kernel.
    Given(i32, i32),
    /// The kernel was told what to give next.
    Announced(i32),
}

/// The kernel's own areas in a stub: the same in all, since all are forks of one.
#[derive(Debug, Clone)]
pub struct KernelBlock {
    /// Start and length of each area, ascending.
    pub areas: Vec<(u64, u64)>,
    /// Where the vdso itself is.
    pub vdso: u64,
    /// Offset in it of a `syscall` instruction.
    pub site: u64,
    /// Its functions.
    pub symbols: std::collections::HashMap<Vec<u8>, (u64, u64)>,
}

pub(crate) fn inject_error(pid: i32, error: InjectError) -> Error {
    match error {
        InjectError::Call(source) => Error::Call { pid, source },
        InjectError::Io(source) => Error::system(format!("building process {pid}"), source),
        InjectError::Odd(stop) => Error::system(
            format!("building process {pid}"),
            std::io::Error::other(format!("odd stop: {stop:?}")),
        ),
    }
}

impl Stub {
    /// Takes hold of a fresh stub program: leaves nothing in it but the interpreter at `base` and, right
    /// above it, the vdso.
    ///
    /// # Errors
    /// If it can't be traced or does not do as told.
    pub fn take(host: i32, base: u64) -> Result<(Self, KernelBlock), Error> {
        let io = |e| Error::system("taking hold of a new process", e);
        let tracee = Tracee::seize(host, FOLLOW | EXITKILL).map_err(io)?;
        tracee.interrupt().map_err(io)?;
        loop {
            match tracee.wait().map_err(io)? {
                Stop::Event { event: libc::PTRACE_EVENT_STOP, .. } => break,
                Stop::Ended(_) => return Err(Error::Vanished { pid: 0, during: "its making" }),
                Stop::Signal(signal) => tracee.resume_interrupted(signal).map_err(io)?,
                Stop::Event { .. } | Stop::Syscall => tracee.resume_interrupted(0).map_err(io)?,
            }
        }
        tracee.set_signal_mask(QUIET).map_err(io)?;
        let pid = roam_sys::procfs::status::read(host).map_err(io)?.ns_pid.get(1).copied().unwrap_or(host);
        let all = maps::read(host).map_err(io)?;
        let vdso_area = all
            .iter()
            .find(|a| a.name == b"[vdso]")
            .ok_or_else(|| Error::Image("this kernel gives programs no vdso".to_owned()))?;
        let code = memory::read_vec(host, vdso_area.start, vdso_area.len() as usize).map_err(io)?;
        let site = Site::in_area(host, vdso_area).map_err(io)?;
        let kernel: Vec<&maps::Area> =
            all.iter().filter(|a| a.is_kernel() && a.name != b"[vsyscall]").collect();
        let mut block = KernelBlock {
            areas: kernel.iter().map(|a| (a.start, a.len())).collect(),
            vdso: vdso_area.start,
            site: site.0 - vdso_area.start,
            symbols: vdso::symbols(&code)
                .ok_or_else(|| Error::Image("this kernel's vdso is unknown".to_owned()))?,
        };
        let area =
            Area::install(tracee, host, site, Some(base), PAGE + ROOM).map_err(|e| inject_error(pid, e))?;
        let mut stub = Self { tracee, host, pid, area, level: Level::default(), within: Places::default() };
        stub.move_kernel_block(&mut block, base + PAGE + ROOM * 64)?;
        let mut batch = Batch::new();
        for old in all.iter().filter(|a| !a.is_kernel()) {
            batch.must("unmapping the stub", libc::SYS_munmap, &[old.start.into(), old.len().into()]);
        }
        batch.must("closing descriptors", libc::SYS_close_range, &[0.into(), u32::MAX.into(), 0.into()]);
        // Every open file of the session is in one table for a while; the limit itself is restored later.
        let (_, most) = roam_sys::limits::get(host, libc::RLIMIT_NOFILE).map_err(io)?;
        let limit = batch.data(&[most, most].map(u64::to_le_bytes).concat());
        batch.must(
            "raising the number of open files",
            libc::SYS_prlimit64,
            &[0.into(), libc::RLIMIT_NOFILE.into(), limit.into(), 0.into()],
        );
        // What roam-init ignores, exec keeps ignored.
        let default = batch.room(32);
        for signal in (1..=64).filter(|s| *s != libc::SIGKILL && *s != libc::SIGSTOP) {
            batch.must(
                "resetting a signal",
                libc::SYS_rt_sigaction,
                &[signal.into(), default.into(), 0.into(), 8.into()],
            );
        }
        stub.run(&batch)?;
        Ok((stub, block))
    }

    /// Moves the kernel's areas so that the first begins at `to`; they keep their distances.
    ///
    /// # Errors
    /// If the kernel does not move them.
    pub fn move_kernel_block(&self, block: &mut KernelBlock, to: u64) -> Result<(), Error> {
        let from = block.areas[0].0;
        let mut batch = Batch::new();
        for (start, len) in &block.areas {
            batch.must(
                "moving the vdso",
                libc::SYS_mremap,
                &[
                    (*start).into(),
                    (*len).into(),
                    (*len).into(),
                    (libc::MREMAP_MAYMOVE | libc::MREMAP_FIXED).into(),
                    (to + (start - from)).into(),
                ],
            );
        }
        self.run_fitting(&batch)?;
        for (start, _) in &mut block.areas {
            *start = to + (*start - from);
        }
        block.vdso = to + (block.vdso - from);
        Ok(())
    }

    /// Runs a batch, making room for it first if it is large.
    ///
    /// # Errors
    /// A call that had to succeed and did not, or a stub that died.
    pub fn run(&mut self, batch: &Batch) -> Result<Done, Error> {
        self.make_room(batch)?;
        self.run_fitting(batch)
    }

    /// Makes room for a batch, if it is large: [`Stub::run_in`] needs it.
    ///
    /// # Errors
    /// A batch that is too large, or no memory for it.
    pub fn make_room(&mut self, batch: &Batch) -> Result<(), Error> {
        let need = batch.encoded_len() as u64;
        if need > self.area.room() {
            let (base, len) = self.area.range();
            let wanted = (PAGE + need).next_multiple_of(PAGE);
            if wanted > ROOM * 63 {
                return Err(Error::Image(
                    "a part of the checkpoint is larger than can be put back".to_owned(),
                ));
            }
            let ret = self
                .area
                .site()
                .call(
                    self.tracee,
                    libc::SYS_mmap,
                    [
                        base + len,
                        wanted - len,
                        (libc::PROT_READ | libc::PROT_WRITE) as u64,
                        (libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED_NOREPLACE) as u64,
                        u64::MAX,
                        0,
                    ],
                )
                .map_err(|e| inject_error(self.pid, e))?;
            must("making room for injected calls", ret)
                .map_err(|source| Error::Call { pid: self.pid, source })?;
            self.area = self.area.at(base, wanted);
        }
        Ok(())
    }

    fn run_fitting(&self, batch: &Batch) -> Result<Done, Error> {
        self.run_in(self.tracee, batch)
    }

    /// Runs a batch in another thread of this process.
    ///
    /// # Errors
    /// As [`Stub::run`].
    pub fn run_in(&self, thread: Tracee, batch: &Batch) -> Result<Done, Error> {
        self.area.run(thread, self.host, batch).map_err(|e| inject_error(self.pid, e))
    }

    /// Has a thread load these sets of registers (a bit for each) from an area in the standard XSAVE form.
    ///
    /// # Errors
    /// If the kernel does not let it, or the processor has none such.
    pub fn load_registers(&self, thread: Tracee, area: &[u8], sets: u64) -> Result<(), Error> {
        self.area.load_registers(thread, self.host, area, sets).map_err(|e| inject_error(self.pid, e))
    }

    /// Clones a process or thread with the wanted number; returns it stopped.
    ///
    /// # Errors
    /// EEXIST if the pid is in use, or a stub that died.
    pub fn clone_task(&self, flags: u64, exit_signal: i32, number: Number) -> Result<Tracee, Error> {
        self.clone_task_of(self.tracee, flags, exit_signal, number)
    }

    /// The same by another thread of the stub.
    ///
    /// # Errors
    /// As [`Stub::clone_task`].
    pub fn clone_task_of(
        &self,
        by: Tracee,
        flags: u64,
        exit_signal: i32,
        number: Number,
    ) -> Result<Tracee, Error> {
        let data = self.area.range().0 + PAGE;
        // struct clone_args: flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls,
        // set_tid, set_tid_size, cgroup; then the pid itself.
        let (given, pid) = match number {
            Number::Given(inner, pid) => (Some(inner), pid),
            Number::Announced(pid) => (None, pid),
        };
        let (set, size) = given.map_or((0, 0), |_| (data + 88, 1));
        let inner = given.unwrap_or(0) as u64;
        let words = [flags, 0, 0, 0, exit_signal as u64, 0, 0, 0, set, size, 0, inner];
        let bytes: Vec<u8> = words.iter().flat_map(|w| w.to_le_bytes()).collect();
        memory::write(self.host, data, &bytes).map_err(|e| Error::system("preparing a clone", e))?;
        let deadline = std::time::Instant::now() + REAPED;
        let (ret, born) = loop {
            let (ret, born) = self
                .area
                .site()
                .clone_call(by, [data, 88, 0, 0, 0, 0])
                .map_err(|e| inject_error(self.pid, e))?;
            // A helper that had the number may not be reaped by roam-init yet.
            if ret != -i64::from(libc::EEXIST) || std::time::Instant::now() > deadline {
                break (ret, born);
            }
            std::thread::sleep(std::time::Duration::from_micros(200));
        };
        must("giving a process its number", ret).map_err(|source| Error::Call { pid, source })?;
        let born = born.ok_or_else(|| Error::Image(format!("process {pid} was made but not seen")))?;
        if number != Number::Given(pid, pid) {
            let status = roam_sys::procfs::status::read(born.tid())
                .map_err(|e| Error::system(format!("looking at process {pid}"), e))?;
            if status.ns_pid.get(1) != Some(&pid) {
                let why = format!("the number {pid} was taken by another process of the pod");
                return Err(Error::system("giving a process its number", std::io::Error::other(why)));
            }
        }
        Ok(born)
    }

    /// Its number in the pid namespace so far below the pod's.
    ///
    /// # Errors
    /// If it is gone, or not in there.
    pub fn number_in(&self, depth: u32) -> Result<i32, Error> {
        let failed = |e| Error::system(format!("looking at process {}", self.pid), e);
        let status = roam_sys::procfs::status::read(self.host).map_err(failed)?;
        let number = Level { depth, ..Level::default() }.number(&status.ns_pid);
        number.ok_or_else(|| Error::Image(format!("process {} is in another pid namespace", self.pid)))
    }

    /// Makes one call in the main thread.
    ///
    /// # Errors
    /// The call's own failure, or a stub that died.
    pub fn call(&self, what: &'static str, nr: i64, args: [u64; 6]) -> Result<i64, Error> {
        let ret = self.area.site().call(self.tracee, nr, args).map_err(|e| inject_error(self.pid, e))?;
        must(what, ret).map_err(|source| Error::Call { pid: self.pid, source })
    }

    /// Ends the stub with an exit code and waits until it has.
    ///
    /// # Errors
    /// If it does not end.
    pub fn exit(&self, code: i32) -> Result<(), Error> {
        let io = |e| Error::system("ending a process", e);
        match self.area.site().call(self.tracee, libc::SYS_exit_group, [code as u64, 0, 0, 0, 0, 0]) {
            Err(InjectError::Odd(Stop::Ended(_))) => Ok(()),
            Err(error) => Err(inject_error(self.pid, error)),
            Ok(_) => {
                self.tracee.resume(0).map_err(io)?;
                self.await_end()
            }
        }
    }

    /// Ends the stub by a signal and waits until it has.
    ///
    /// # Errors
    /// If it does not end.
    pub fn die_of(&self, signal: i32) -> Result<(), Error> {
        let io = |e| Error::system("ending a process", e);
        if signal == libc::SIGKILL {
            self.kill();
        } else {
            // As if delivered: its action is the default one.
            self.tracee.set_signal_mask(0).map_err(io)?;
            let no_core = [0u64, 0].map(u64::to_le_bytes).concat();
            let data = self.area.range().0 + PAGE;
            memory::write(self.host, data, &no_core).map_err(io)?;
            self.call(
                "forbidding a core file",
                libc::SYS_prlimit64,
                [0, libc::RLIMIT_CORE as u64, data, 0, 0, 0],
            )?;
            let own = self.number_in(self.level.depth)?;
            self.call("ending by a signal", libc::SYS_kill, [own as u64, signal as u64, 0, 0, 0, 0]).ok();
            self.tracee.resume(signal).ok();
        }
        self.await_end()
    }

    fn await_end(&self) -> Result<(), Error> {
        loop {
            match self.tracee.wait() {
                Ok(Stop::Ended(_)) => return Ok(()),
                Ok(Stop::Signal(signal)) => self.tracee.resume(signal).ok(),
                Ok(Stop::Event { .. } | Stop::Syscall) => self.tracee.resume(0).ok(),
                Err(_) => return Ok(()),
            };
        }
    }

    /// SIGKILL.
    pub fn kill(&self) {
        let _ =
            nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.host), nix::sys::signal::Signal::SIGKILL);
    }
}
