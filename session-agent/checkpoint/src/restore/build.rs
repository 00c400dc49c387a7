//! The last part of a restore: everything but memory, then letting go.

use std::time::{Duration, Instant};

use roam_api::error::Refusal;
use roam_sys::batch::Batch;
use roam_sys::inject::Site;
use roam_sys::memory::{self, MemFile};
use roam_sys::ptrace::{Registers, Tracee, registers_from_words};

use super::process::Building;
use super::{Made, Restorer};
use crate::error::Error;
use crate::image::Image;
use crate::kinds::extended;
use crate::kinds::filters::{self, Step};
use crate::kinds::folders::StandIns;
use crate::kinds::ipc;
use crate::kinds::locks::{self, Place};
use crate::kinds::memory_file;
use crate::kinds::message_queue;
use crate::kinds::notifications;
use crate::kinds::private_files;
use crate::kinds::process;
use crate::kinds::sysv;
use crate::kinds::tree::Node;
use crate::kinds::{descriptors, inotify, late, vdso};
use crate::objects::{ObjectId, ObjectKind, ObjectSlots};
use crate::pages::Backing;
use crate::pod::{Externals, Pod};

/// How long a file lock is tried to be taken once the source has let go of it.
const LOCK_PATIENCE: Duration = Duration::from_secs(3);

/// A session that is whole again and stands still. Dropping it ends it.
pub struct Prepared {
    restorer: Restorer,
    threads: Vec<Tracee>,
}

impl Restorer {
    /// Makes all that is not memory. The last layout given must be the image's. `ask_for_locks` is called
    /// when somebody has a file lock that the session held; it returns when the source has let go of it.
    ///
    /// # Errors
    /// A failed call, or an image that contradicts itself; all stubs end then.
    pub fn build(
        mut self,
        image: &Image,
        pod: &dyn Pod,
        externals: &mut dyn Externals,
        ask_for_locks: &mut dyn FnMut() -> Result<(), Error>,
    ) -> Result<Prepared, Error> {
        if !self.wanting.is_empty() {
            return Err(Error::Refused(std::mem::take(&mut self.wanting)));
        }
        if self.layout != image.layout {
            return Err(Error::Image("the memory that was sent is not this image's".to_owned()));
        }
        self.settle_all()?;
        let slots = ObjectSlots(
            self.objects
                .iter()
                .enumerate()
                .filter_map(|(i, made)| match made {
                    Made::File { number, .. } => Some((ObjectId(i as u32), *number)),
                    Made::Segment { .. } => None,
                })
                .collect(),
        );
        let mut building = Vec::new();
        for state in &image.processes {
            let layout = image
                .layout
                .processes
                .iter()
                .find(|p| p.node.pid == state.pid && p.node.ended.is_none())
                .ok_or_else(|| Error::Image(format!("process {} has no memory", state.pid)))?;
            if state.threads.first().map(|t| t.tid) != Some(state.pid) {
                return Err(Error::Image(format!("process {} has no first thread", state.pid)));
            }
            let stub = *self.stub(state.pid)?;
            let zombies = image.layout.processes.iter().map(|p| p.node);
            // A helper ended before each first process of a pid namespace, and told of it likewise.
            let told = zombies.filter(|n| (n.ended.is_some() || n.level.first) && n.ppid == state.pid);
            let told = told.map(|n| n.exit_signal);
            let told = told.collect();
            building.push(Building { state, layout, stub, threads: vec![stub.tracee], told });
        }
        let living = image.layout.processes.iter().filter(|p| p.node.ended.is_none()).count();
        if building.len() != living {
            return Err(Error::Image("processes and memory do not belong together".to_owned()));
        }
        for one in &mut building {
            self.rejoin(one.state.pid, &one.layout.mappings)?;
            one.stub = *self.stub(one.state.pid)?;
            self.program(one, &slots)?;
            one.request_registers()?;
            one.memory()?;
            *self.stub(one.state.pid)? = one.stub;
        }
        let pids: Vec<i32> = image.processes.iter().map(|p| p.pid).collect();
        ipc::restore(&image.ipc, &pids, &mut self)?;
        self.furnish(&image.layout.namespaces)?;
        let elsewhere = |one: &&Building<'_>| {
            one.layout.node.level.namespace != 0 && one.state.namespaces.net != one.stub.within.net
        };
        let inside = building.iter().filter(elsewhere);
        self.networks = inside.map(|one| (one.state.pid, one.state.namespaces.net)).collect();
        // Whoever opens a file breaks the leases that the source has on it.
        if locks::any_lease(&image.descriptors) {
            ask_for_locks()?;
        }
        descriptors::verify(&image.descriptors, pod, self.may_want)?;
        let late = descriptors::restore(&image.descriptors, &mut self, &slots, pod, externals)?;
        let stand_ins = self.make_folders(image, pod)?;
        for one in &mut building {
            one.stub = *self.stub(one.state.pid)?;
            let mut batch = Batch::new();
            process::restore(one.state, &stand_ins, &mut batch);
            one.stub.run(&batch)?;
            *self.stub(one.state.pid)? = one.stub;
        }
        self.end_zombies(image)?;
        self.finish_objects(image)?;
        inotify::watch(&image.descriptors, &mut self)?;
        let mut order: Vec<&mut Building<'_>> = building.iter_mut().collect();
        // The first of a pid namespace announces numbers in it, for which it has the right until it has entered.
        order.sort_by_key(|one| (one.layout.node.level.first, one.layout.node.level.ending()));
        for one in order {
            one.stub = *self.stub(one.state.pid)?;
            // What is entered is found below /proc, which another root does not have.
            self.enter(&mut one.stub, &one.state.namespaces)?;
            one.enter_root(&stand_ins)?;
            self.make_threads(one, image, pod)?;
        }
        late::make(&image.descriptors, &late, &mut self)?;
        // Children before their parents, which are told of their stops.
        for one in building.iter_mut().rev() {
            if let Some(stopped) = one.state.stopped {
                one.stop(stopped.signal)?;
            }
            one.finish_calls(image, pod)?;
        }
        self.delete_folders(&stand_ins)?;
        for one in &building {
            self.ask_for_notifications(one, image, pod)?;
        }
        self.close_shared_table()?;
        self.take_locks(image, ask_for_locks)?;
        let mut threads = Vec::new();
        for one in &building {
            self.leave(one)?;
            threads.extend(&one.threads);
        }
        self.dismiss_sentries()?;
        // The holder has done its service.
        let holder = self.holder;
        let stub = *self.stub(holder)?;
        self.stubs.remove(&holder);
        stub.exit(0)?;
        Ok(Prepared { restorer: self, threads })
    }

    /// What a process asked message queues for: last, since it forgets that with each descriptor that it closes.
    fn ask_for_notifications(
        &mut self,
        one: &Building<'_>,
        image: &Image,
        pod: &dyn Pod,
    ) -> Result<(), Error> {
        let io = |e| Error::system("recording a notification", e);
        for (number, what) in message_queue::of_process(&image.descriptors, one.state.pid)? {
            let mut batch = Batch::new();
            what.ask(number, &mut batch);
            self.stub(one.state.pid)?.run(&batch)?;
            if let Some(book) = pod.filters() {
                book.note(notifications::key(one.stub.host, number).map_err(io)?, what.clone())
                    .map_err(io)?;
            }
        }
        Ok(())
    }

    /// What was open for the restore only would be somebody who has the file open besides the owner of a lease.
    fn close_shared_table(&mut self) -> Result<(), Error> {
        self.objects.clear();
        self.channel = None;
        let mut batch = Batch::new();
        batch.must("closing descriptors", libc::SYS_close_range, &[0.into(), u32::MAX.into(), 0.into()]);
        self.run_in_holder(&batch).map(drop)
    }

    fn take_locks(&mut self, image: &Image, ask: &mut dyn FnMut() -> Result<(), Error>) -> Result<(), Error> {
        let mut left = self.try_locks(locks::all(&image.descriptors))?;
        if left.is_empty() {
            return Ok(());
        }
        if !locks::any_lease(&image.descriptors) {
            ask()?;
        }
        // On a file server it may take a moment until everyone knows.
        let deadline = Instant::now() + LOCK_PATIENCE;
        loop {
            left = self.try_locks(left)?;
            if left.is_empty() {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(Error::Refused(locks::refusals(&image.descriptors, &left)));
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Takes them one after the other; returns those that others have.
    fn try_locks(&mut self, places: Vec<Place>) -> Result<Vec<Place>, Error> {
        let mut left = Vec::new();
        for place in places {
            let mut batch = Batch::new();
            let ret = place.held.set(true, place.number, &mut batch);
            if self.stub(place.pid)?.run(&batch)?.ret(ret) >= 0 {
                continue;
            }
            if place.held.is_lease() {
                let mut batch = Batch::new();
                locks::tell_lost(&place, &mut batch);
                self.stub(place.pid)?.run(&batch)?;
            } else {
                left.push(place);
            }
        }
        Ok(left)
    }

    fn program(&mut self, one: &mut Building<'_>, slots: &ObjectSlots) -> Result<(), Error> {
        let mut batch = Batch::new();
        let opened = process::open_executable(&one.state.program, slots, &mut batch);
        let executable = match opened {
            Some(ret) => Some(one.stub.run(&batch)?.ret(ret) as i32).filter(|fd| *fd >= 0),
            None => None,
        };
        let mut batch = Batch::new();
        process::restore_program(&one.state.program, executable, &mut batch);
        one.stub.run(&batch)?;
        for m in &one.layout.mappings {
            if m.backing == Backing::Jumps {
                let io = |e| Error::system("putting jumps where the vdso was", e);
                let mut page =
                    memory::read_vec(one.stub.host, m.start, (m.end - m.start) as usize).map_err(io)?;
                vdso::redirect(&mut page, &self.kernel.symbols, self.kernel.vdso).map_err(Error::Image)?;
                MemFile::open(one.stub.host).and_then(|file| file.write(m.start, &page)).map_err(io)?;
            }
        }
        Ok(())
    }

    /// What objects get once their content is there and everybody maps them.
    fn finish_objects(&mut self, image: &Image) -> Result<(), Error> {
        let mut batch = Batch::new();
        for (object, made) in image.layout.objects.iter().zip(&self.objects) {
            match (&object.kind, made) {
                (ObjectKind::Memfd { seals, mode, .. }, Made::File { number, .. }) => {
                    memory_file::finish(*number, *seals, *mode, &mut batch);
                }
                (ObjectKind::Unlinked { mode: Some(mode), .. }, Made::File { number, .. }) => {
                    let args = [(*number).into(), (*mode).into()];
                    batch.must("setting the permissions of an unlinked file", libc::SYS_fchmod, &args);
                }
                (ObjectKind::SysV { mode, .. }, Made::Segment { shmid, .. }) => {
                    sysv::finish(*shmid, *mode, &mut batch);
                }
                _ => {}
            }
        }
        private_files::finish(&image.layout.private, &mut batch);
        if batch.is_empty() {
            return Ok(());
        }
        let holder = self.holder;
        self.stub(holder)?.run(&batch).map(drop)
    }

    /// Makes what stands for folders that are gone; no other is missing here.
    fn make_folders(&mut self, image: &Image, pod: &dyn Pod) -> Result<StandIns, Error> {
        let (root, mut refusals) = (pod.root(), Vec::new());
        for state in &image.processes {
            for (what, reason, remedy) in state.folders.missing(&root) {
                let process = String::from_utf8_lossy(&state.threads[0].name).into_owned();
                let pid = state.pid.unsigned_abs();
                refusals.push(Refusal { process, pid, what: what.to_owned(), reason, remedy });
            }
        }
        if !refusals.is_empty() {
            return Err(Error::Refused(refusals));
        }
        let stand_ins = StandIns::of(image.processes.iter().map(|p| &p.folders));
        let mut batch = Batch::new();
        stand_ins.make(&mut batch);
        if !batch.is_empty() {
            self.run_in_holder(&batch)?;
        }
        Ok(stand_ins)
    }

    fn delete_folders(&mut self, stand_ins: &StandIns) -> Result<(), Error> {
        let mut batch = Batch::new();
        stand_ins.delete(&mut batch);
        if batch.is_empty() { Ok(()) } else { self.run_in_holder(&batch).map(drop) }
    }

    /// Zombies end now, and their parents forget the SIGCHLD that this sent: theirs comes from the image.
    fn end_zombies(&mut self, image: &Image) -> Result<(), Error> {
        let mut nodes: Vec<Node> = image.layout.processes.iter().map(|p| p.node).collect();
        nodes.sort_by_key(|node| node.level.ending());
        for node in nodes {
            let Some(status) = node.ended else { continue };
            let stub = *self.stub(node.pid)?;
            let signal = status & 0x7f;
            if signal == 0 {
                stub.exit((status >> 8) & 0xff)?
            } else {
                stub.die_of(signal)?
            }
            self.stubs.remove(&node.pid);
        }
        Ok(())
    }

    fn make_threads(&mut self, one: &mut Building<'_>, image: &Image, pod: &dyn Pod) -> Result<(), Error> {
        let flags = libc::CLONE_VM
            | libc::CLONE_FS
            | libc::CLONE_FILES
            | libc::CLONE_SIGHAND
            | libc::CLONE_THREAD
            | libc::CLONE_SYSVSEM;
        let chains = one.state.threads.iter().map(|t| filters::chain(&image.filters, t.filter));
        let chains = chains.collect::<Result<Vec<_>, _>>().map_err(Error::Image)?;
        let mut made = vec![None; chains.len()];
        made[0] = Some(one.stub.tracee);
        let there =
            |made: &[Option<Tracee>], thread: usize| made[thread].expect("a plan makes threads first");
        for step in filters::plan(&chains) {
            match step {
                Step::Install(thread, filter) => {
                    one.install(there(&made, thread), &image.filters, filter, pod)?;
                }
                Step::Clone(from, to) => {
                    let from = there(&made, from);
                    let tid = one.state.threads[to].tid;
                    let number = self.thread_number(one, tid)?;
                    made[to] = Some(one.stub.clone_task_of(from, flags as u64, 0, number)?);
                }
            }
        }
        one.threads = made.into_iter().flatten().collect();
        Ok(())
    }

    /// The last call: the stub unmaps itself from a place that stays, and the threads get their registers.
    fn leave(&self, one: &Building<'_>) -> Result<(), Error> {
        let pid = one.state.pid;
        let io = |e| Error::system(format!("finishing process {pid}"), e);
        for (state, tracee) in one.state.threads.iter().zip(&one.threads) {
            if let Some((address, timespec)) = state.timespec {
                let bytes: Vec<u8> = timespec.iter().flat_map(|v| v.to_le_bytes()).collect();
                // Below its stack, so writable; and /proc may be closed to us by now.
                memory::write(one.stub.host, address, &bytes).map_err(io)?;
            }
            let fpu = |e| Error::system(format!("setting the FPU state of thread {}", state.tid), e);
            let extended = state
                .extended
                .fitted(tracee.extended_state().map_err(fpu)?)
                .map_err(|set| extended::refusal(set, &one.state.threads[0].name, pid))?;
            let sets = extended::to_be_loaded(&extended);
            if sets != 0 {
                one.stub.load_registers(*tracee, &extended, sets)?;
            }
            tracee.set_extended_state(&extended).map_err(fpu)?;
        }
        let site = Site(self.kernel.vdso + self.kernel.site);
        one.stub.area.remove(one.stub.tracee, site).map_err(|e| super::stub::inject_error(pid, e))?;
        for (state, tracee) in one.state.threads.iter().zip(&one.threads) {
            let registers: Registers = registers_from_words(&state.registers)
                .ok_or_else(|| Error::Image(format!("thread {} has no registers", state.tid)))?;
            tracee.set_registers(&registers).map_err(io)?;
            tracee.set_signal_mask(state.mask).map_err(io)?;
            if state.dispatch.is_some() {
                tracee.set_syscall_dispatch(state.dispatch).map_err(io)?;
            }
        }
        Ok(())
    }
}

impl Prepared {
    /// Lets every thread go. From here on the session runs here.
    ///
    /// # Errors
    /// If a thread is gone; the others run all the same.
    pub fn activate(mut self) -> Result<(), Error> {
        self.restorer.stubs.clear();
        let mut failed = None;
        for thread in std::mem::take(&mut self.threads) {
            // One of a stopped process goes back into its stop. A thread that was let go may have ended its
            // whole process already.
            if let Err(error) = thread.detach(0)
                && error.raw_os_error() != Some(libc::ESRCH)
            {
                failed.get_or_insert(Error::system("letting a thread go", error));
            }
        }
        failed.map_or(Ok(()), Err)
    }
}
