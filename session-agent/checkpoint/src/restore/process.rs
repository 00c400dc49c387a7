//! A process in the last part of a restore: the calls that it must make itself, or that are made in its name.

use roam_sys::batch::Batch;
use roam_sys::confine;
use roam_sys::inject::must;
use roam_sys::ptrace::{Stop, Tracee};

use super::stub::Stub;
use crate::error::Error;
use crate::image::Image;
use crate::kinds::affinity;
use crate::kinds::aio;
use crate::kinds::capabilities;
use crate::kinds::extended;
use crate::kinds::filters::{self, Filter};
use crate::kinds::folders::StandIns;
use crate::kinds::local_descriptors;
use crate::kinds::memory_settings;
use crate::kinds::memory_traits;
use crate::kinds::process::{self, ProcessState};
use crate::kinds::signals::{self, Action, Pending};
use crate::kinds::threads::{self, ThreadState};
use crate::kinds::{descriptors, timers};
use crate::pages::ProcessLayout;
use crate::pod::Pod;

/// A process that is being built.
pub(super) struct Building<'a> {
    pub(super) state: &'a ProcessState,
    pub(super) layout: &'a ProcessLayout,
    pub(super) stub: Stub,
    /// One for each thread, the leader first.
    pub(super) threads: Vec<Tracee>,
    /// The signals that its zombies sent when they ended once more.
    pub(super) told: Vec<i32>,
}

impl Building<'_> {
    /// Asks for the sets of registers that it has asked for.
    pub(super) fn request_registers(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new();
        let asked = extended::request(self.state.permitted, &mut batch);
        if batch.is_empty() {
            return Ok(());
        }
        let done = self.stub.run(&batch)?;
        match asked.iter().find(|(_, ret)| done.ret(*ret) < 0) {
            Some((set, _)) => Err(extended::refusal(*set, &self.state.threads[0].name, self.state.pid)),
            None => Ok(()),
        }
    }

    /// What was asked for on its memory, now that all of it is in place.
    pub(super) fn memory(&mut self) -> Result<(), Error> {
        let mut batch = Batch::new();
        memory_settings::restore_keys(&self.state.memory, &mut batch);
        memory_settings::restore_guards(&self.state.memory, &mut batch);
        let name = &self.state.threads[0].name;
        aio::restore(&self.state.rings, &self.layout.mappings, name, &mut self.stub)?;
        memory_traits::restore(&self.layout.mappings, &mut batch);
        local_descriptors::restore(&self.state.segments, &mut batch);
        if batch.is_empty() { Ok(()) } else { self.stub.run(&batch).map(drop) }
    }

    pub(super) fn enter_root(&mut self, stand_ins: &StandIns) -> Result<(), Error> {
        let mut batch = Batch::new();
        self.state.folders.enter_root(stand_ins, &mut batch);
        if batch.is_empty() { Ok(()) } else { self.stub.run(&batch).map(drop) }
    }

    /// A filter that its program had installed; from then on only calls that carry the pass are sure.
    pub(super) fn install(
        &mut self,
        thread: Tracee,
        filters: &[Filter],
        number: u32,
        pod: &dyn Pod,
    ) -> Result<(), Error> {
        let io = |e| Error::system("recording a program's filter", e);
        let book = pod.filters().ok_or_else(|| {
            io(std::io::Error::other("something else listens to filters on this machine already"))
        })?;
        // Its numbers in this pod's book: those below it were recorded just before.
        let mut here = 0;
        for below in filters::chain(filters, number).map_err(Error::Image)? {
            let filter = &filters[below as usize - 1];
            here = book.add(&Filter { below: here, ..filter.clone() }).map_err(io)?;
        }
        let filter = &filters[number as usize - 1];
        let program = confine::passable(book.pass(), here, &filter.program)
            .ok_or_else(|| Error::Image("a filter is too long".to_owned()))?;
        let mut batch = Batch::new();
        let ret = filters::install(&program, u64::from(filter.flags), &mut batch);
        let ret = self.stub.run_in(thread, &batch)?.ret(ret);
        must("installing a program's filter", ret)
            .map(drop)
            .map_err(|source| Error::Call { pid: self.state.pid, source })
    }

    /// Stops the process as job control did, whatever it does on that signal itself. Its parent is told.
    pub(super) fn stop(&mut self, signal: i32) -> Result<(), Error> {
        let io = |e| Error::system("stopping a process", e);
        let leader = self.threads[0];
        let number = nix::sys::signal::Signal::try_from(signal)
            .map_err(|_| Error::Image(format!("process {} is stopped by signal {signal}", self.state.pid)))?;
        if signal != libc::SIGSTOP {
            let mut batch = Batch::new();
            let default = Action { signal, raw: [0; 32] };
            signals::restore_actions(&[default], &mut batch);
            self.stub.run(&batch)?;
        }
        // Should it not stop, it makes a harmless call and reports back.
        let mut registers = leader.registers().map_err(io)?;
        registers.rip = self.stub.area.site().0;
        registers.rax = libc::SYS_getpid as u64;
        registers.r9 = roam_sys::pass::get();
        registers.orig_rax = u64::MAX;
        leader.set_registers(&registers).map_err(io)?;
        let mask = leader.signal_mask().map_err(io)?;
        leader.set_signal_mask(mask & !(1 << (signal - 1))).map_err(io)?;
        nix::sys::signal::kill(nix::unistd::Pid::from_raw(self.stub.host), number)
            .map_err(|e| Error::system("stopping a process", e))?;
        for thread in &self.threads {
            thread.resume(0).map_err(io)?;
            loop {
                match thread.wait().map_err(io)? {
                    Stop::Event { event: libc::PTRACE_EVENT_STOP, signal } if signal != libc::SIGTRAP => {
                        break;
                    }
                    Stop::Signal(libc::SIGTRAP) => {
                        let why = format!("process {} does not stop by signal {signal}", self.state.pid);
                        return Err(Error::Image(why));
                    }
                    Stop::Signal(other) => thread.resume(other).map_err(io)?,
                    Stop::Event { .. } | Stop::Syscall => thread.resume(0).map_err(io)?,
                    Stop::Ended(_) => {
                        return Err(Error::Vanished { pid: self.state.pid, during: "its stop" });
                    }
                }
            }
        }
        leader.set_signal_mask(mask).map_err(io)?;
        let action: Vec<Action> = self.state.actions.iter().filter(|a| a.signal == signal).cloned().collect();
        let mut batch = Batch::new();
        signals::restore_actions(&action, &mut batch);
        if batch.is_empty() { Ok(()) } else { self.stub.run(&batch).map(drop) }
    }

    /// What each thread must call itself; last of all it gives up its privileges.
    pub(super) fn finish_calls(&mut self, image: &Image, pod: &dyn Pod) -> Result<(), Error> {
        // Before it may keep /proc to itself.
        if let Some(filter) = self.state.core_filter {
            let path = format!("/proc/{}/coredump_filter", self.stub.host);
            // A kernel without core dumps has none.
            let _ = std::fs::write(path, format!("{filter:#x}"));
        }
        let oom = format!("/proc/{}/oom_score_adj", self.stub.host);
        if self.state.oom_score_adj != 0 {
            // Lowering it needs a right; the program runs without.
            let _ = std::fs::write(oom, self.state.oom_score_adj.to_string());
        }
        for (index, state) in self.state.threads.iter().enumerate().rev() {
            let mut batch = Batch::new();
            signals::make_room(self.stub.host, &mut batch);
            if index == 0 {
                let is_ours = |pid: i32| {
                    let mut all = image.layout.processes.iter().map(|p| p.node);
                    all.any(|n| n.pid == pid && n.ppid == self.state.pid)
                };
                let told =
                    image.processes.iter().filter(|p| p.stopped.is_some_and(|s| s.told) && is_ours(p.pid));
                for child in told {
                    let how = (libc::WSTOPPED | libc::WNOHANG).into();
                    let number = self.number(&image.layout.pids, child.pid);
                    let wait = [libc::P_PID.into(), number.into(), 0.into(), how, 0.into()];
                    batch.may("taking note of a stop", libc::SYS_waitid, &wait);
                }
                self.forget_signals(&mut batch);
                if !self.state.timers.posix.is_empty() {
                    self.run_in(0, &std::mem::take(&mut batch))?;
                    self.timers(image)?;
                }
                let namespace = self.layout.node.level.namespace;
                let number = |pod: i32| image.layout.pids.number(namespace, pod);
                descriptors::give_to_threads(&image.descriptors, self.state.pid, &number, &mut batch);
            }
            let [own, tid] = [self.state.pid, state.tid].map(|id| self.number(&image.layout.pids, id));
            // Before the limits: more may wait than its limit lets in from now on.
            let shared: &[Pending] = if index == 0 { &self.state.pending } else { &[] };
            for (pending, to) in [(&state.pending[..], Some(tid)), (shared, None)] {
                for some in pending.chunks(signals::MANY) {
                    signals::restore_pending(some, own, to, &mut batch);
                    self.run_in(index, &std::mem::take(&mut batch))
                        .map_err(|e| signals::explained(e, &self.state.threads[0].name, self.state.pid))?;
                }
            }
            threads::restore(state, &mut batch);
            if index == 0 {
                process::restore_last(self.state, self.stub.host, &mut batch);
                memory_settings::restore_last(&self.state.memory, &mut batch);
            }
            confine(self.state, state, &mut batch);
            self.run_in(index, &batch)?;
            affinity::remember(pod, self.stub.host, self.threads[index].tid(), &state.affinity)?;
        }
        Ok(())
    }

    /// Runs a batch in one of its threads.
    fn run_in(&mut self, thread: usize, batch: &Batch) -> Result<(), Error> {
        self.stub.make_room(batch)?;
        self.stub.run_in(self.threads[thread], batch).map(drop)
    }

    /// What ended helpers and zombies left in the queue is not of the session's making.
    fn forget_signals(&self, batch: &mut Batch) {
        let none = batch.room(16);
        for signal in [libc::SIGCHLD].iter().chain(&self.told).filter(|s| (1..=64).contains(*s)) {
            let set = batch.data(&(1u64 << (signal - 1)).to_le_bytes());
            batch.may(
                "forgetting a signal",
                libc::SYS_rt_sigtimedwait,
                &[set.into(), 0.into(), none.into(), 8.into()],
            );
        }
    }

    fn timers(&mut self, image: &Image) -> Result<(), Error> {
        let (state, namespace) = (self.state, self.layout.node.level.namespace);
        let number = |tid: i32| image.layout.pids.number(namespace, tid).unwrap_or(0);
        let owner = (&state.threads[0].name[..], state.pid);
        timers::restore_posix(&state.timers, owner, timers_by_id(), &number, &mut |batch| {
            self.run_in(0, batch)
        })
    }
}

/// Gives up all privileges, as every program of a session runs, but those that it has over a user namespace of
/// its own.
fn confine(state: &ProcessState, thread: &ThreadState, batch: &mut Batch) {
    const PR_SET_NO_NEW_PRIVS: i32 = 38;
    match &thread.capabilities {
        Some(capabilities) if state.namespaces.user != 0 => capabilities.restore(batch),
        _ => capabilities::give_up(batch),
    }
    if state.no_new_privs {
        batch.must(
            "forbidding new privileges",
            libc::SYS_prctl,
            &[PR_SET_NO_NEW_PRIVS.into(), 1.into(), 0.into(), 0.into(), 0.into()],
        );
    }
}

/// Whether this kernel makes timers under a wanted id.
fn timers_by_id() -> bool {
    // Asking for the state changes nothing; older kernels know no such option.
    static SUPPORTED: std::sync::OnceLock<bool> = std::sync::OnceLock::new();
    *SUPPORTED.get_or_init(roam_sys::limits::timer_ids_can_be_chosen)
}
