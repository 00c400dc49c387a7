//! From a frozen session to its [`Image`].

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Done, RetOf};
use roam_sys::borrowed::Borrowed;
use roam_sys::inject::{Area, InjectError, rest};
use roam_sys::limits::Raised;
use roam_sys::procfs::status;
use roam_sys::ptrace::Stop;
use roam_sys::runs::Run;

use crate::error::{Error, passes};
use crate::freeze::{Frozen, FrozenProcess, room};
use crate::image::{Clocks, Image};
use crate::kinds::affinity;
use crate::kinds::aio;
use crate::kinds::descriptors::{self, Holder};
use crate::kinds::filters;
use crate::kinds::folders::{self, Folders};
use crate::kinds::ipc;
use crate::kinds::local_descriptors;
use crate::kinds::locks::{self, Place};
use crate::kinds::memory;
use crate::kinds::memory_send::{Access, Sender};
use crate::kinds::memory_settings;
use crate::kinds::namespace_content::Inside;
use crate::kinds::namespace_finder::Finder;
use crate::kinds::namespaces;
use crate::kinds::open_file::Kind;
use crate::kinds::pid_namespaces::Level;
use crate::kinds::private_files;
use crate::kinds::process::{self, ProcessState};
use crate::kinds::resident;
use crate::kinds::sharing;
use crate::kinds::sysv;
use crate::kinds::threads;
use crate::kinds::timers;
use crate::kinds::tree::{self, Node};
use crate::kinds::unix_waiting::Hands;
use crate::kinds::vdso;
use crate::kinds::wants::{Is, Want, Wants};
use crate::objects::Objects;
use crate::pages::{Layout, PAGE, PageSink, PageStats};
use crate::pod::{Externals, Pod};
use crate::stopping::list;
use crate::track::{Tracker, with_rings};

/// Steps after which a thread that does not leave the vdso is given up on.
const STEPS: u32 = 20_000;
/// Bytes for the questions to a process; its local descriptor table is the longest answer.
const ROOM: u64 = (local_descriptors::LARGEST as u64) + (16 << 10);

/// What helps where a program has walled itself off, as browsers do.
pub(crate) const APART: &str = "Programs that wall themselves off like this can't be moved yet. It can stay where it is, and \
                     only its screen go elsewhere: roam show.";

/// How often a check looks before it refuses.
const LOOKS: u32 = 3;
/// How long it goes on looking while all that it sees may pass.
const PASSING: Duration = Duration::from_secs(1);

/// What is known of a session before it is frozen.
#[derive(Debug, Default)]
pub struct Outlook {
    /// What can't be carried.
    pub refusals: Vec<Refusal>,
    /// What its target must have of its own.
    pub wants: Vec<Want>,
}

/// Says what of this session can't be carried. Nothing is frozen; it also reads and remembers the
/// content of mapped files, so that the freeze need not.
///
/// # Errors
/// If the pod can't be looked at.
pub fn check(pod: &dyn Pod, externals: &dyn Externals) -> Result<Outlook, Error> {
    let begun = Instant::now();
    let mut looks = 0;
    loop {
        looks += 1;
        let outlook = look(pod, externals)?;
        let passing = outlook.refusals.iter().all(passes) && begun.elapsed() < PASSING;
        // A program that is just starting looks, half seen, like a connection with somebody outside.
        if outlook.refusals.is_empty() || looks >= LOOKS && !passing {
            return Ok(outlook);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn look(pod: &dyn Pod, externals: &dyn Externals) -> Result<Outlook, Error> {
    let _room = room();
    let mut objects = Objects::default();
    let mut builder = memory::Builder::new(pod, &mut objects);
    let mut finder = Finder::new(pod);
    let (mut refusals, mut wants) = (Vec::new(), Wants::default());
    let mut holders = Vec::new();
    for host in list(pod).map_err(|e| Error::system("listing the processes", e))? {
        // One that ends meanwhile is no reason to refuse.
        let (Ok(stat), Ok(status)) = (roam_sys::procfs::stat::read(host), status::read(host)) else {
            continue;
        };
        let name = String::from_utf8_lossy(&stat.comm).into_owned();
        let mut refuse = |reason: &str, remedy: &str| {
            refusals.push(Refusal {
                process: name.clone(),
                pid: status.ns_pid.get(1).copied().unwrap_or(host) as u32,
                what: "the process itself".to_owned(),
                reason: reason.to_owned(),
                remedy: remedy.to_owned(),
            });
        };
        let threads = sharing::among_threads(host, pod);
        if stat.state == b'Z' && threads.is_none() {
            continue;
        }
        if let Some((reason, remedy)) = &threads {
            refuse(reason, remedy);
        }
        if stat.state == b'Z' {
            continue;
        }
        let (Some(&pid), Ok(level)) = (status.ns_pid.get(1), Level::of(host, &status)) else { continue };
        let apart = namespaces::not_carried(host, pod.init());
        if !apart.is_empty() {
            refuse(&format!("it made namespaces of its own ({})", apart.join(", ")), APART);
            continue;
        }
        if roam_sys::procfs::threads(host).is_ok_and(|threads| threads.len() > 1)
            && timers::any_of_a_thread(
                &roam_sys::procfs::read(&format!("/proc/{host}/timers")).unwrap_or_default(),
            )
        {
            refuse(
                "it has a timer on the CPU time of one of its threads, and the kernel does not say of which",
                "Let the program delete the timer, then try again.",
            );
        }
        // One that ends has no root any more.
        match folders::of(host, pod) {
            Ok(Ok(folders)) => {
                for (what, path) in folders.wanted() {
                    let (process, what, path) = (name.clone(), what.to_owned(), path.to_vec());
                    wants.add(Want { process, pid: pid.unsigned_abs(), what, path, is: Is::Folder });
                }
            }
            Ok(Err((reason, remedy))) => refuse(reason, remedy),
            Err(_) => {}
        }
        let node = Node { pid, ppid: 1, pgid: 0, sid: 0, exit_signal: stat.exit_signal, ended: None, level };
        // One that ends meanwhile is no reason to refuse.
        if let Err(error) = finder.add(host, node, &name)
            && roam_sys::procfs::stat::read(host).is_ok_and(|s| s.state != b'Z')
        {
            refusals.push(namespaces::unseen(node.pid, &name, &error));
        }
        if let Err(error) = builder.add(host, &name, node)
            && std::path::Path::new(&format!("/proc/{host}/maps")).exists()
            && roam_sys::procfs::stat::read(host).is_ok_and(|s| s.state != b'Z')
        {
            return Err(error);
        }
        if let Ok(holder) = holder(host, node.pid, &name) {
            holders.push(holder);
        }
    }
    refusals.append(&mut builder.refusals);
    refusals.extend(finder.refusals());
    let mut inside = finder.look_inside(pod, true)?;
    refusals.append(&mut inside.refusals);
    refusals.extend(sharing::between_processes(&holders));
    let (of_descriptors, wanted) = descriptors::check(&holders, pod, &inside, externals)?;
    refusals.extend(of_descriptors);
    wanted.into_iter().for_each(|want| wants.add(want));
    Ok(Outlook { refusals, wants: wants.list() })
}

/// What of a frozen process came up since the check.
fn apart(process: &FrozenProcess, pod: &dyn Pod) -> Option<Refusal> {
    let own = namespaces::not_carried(process.host, pod.init());
    if !own.is_empty() {
        return Some(refusal(
            process,
            (&format!("it made namespaces of its own ({})", own.join(", ")), APART),
        ));
    }
    if process.threads.iter().any(|t| namespaces::is_apart(process.host, t.tracee.tid())) {
        return Some(refusal(process, ("a thread is in other namespaces than its process", APART)));
    }
    let init = status::read(pod.init().as_raw()).ok()?;
    // Every thread has a tracer now, which is this engine.
    let status =
        process.threads.iter().filter_map(|t| status::read_thread(process.host, t.tracee.tid()).ok());
    let own = status.into_iter().any(|s| filters::has_own(&s, &init));
    (own && !filters::recorded(pod)).then(|| not_recorded(process))
}

fn not_recorded(process: &FrozenProcess) -> Refusal {
    refusal(process, filters::NOT_RECORDED)
}

fn refusal(process: &FrozenProcess, (reason, remedy): (&str, &str)) -> Refusal {
    Refusal {
        process: process.name.clone(),
        pid: process.node.pid as u32,
        what: "the process itself".to_owned(),
        reason: reason.to_owned(),
        remedy: remedy.to_owned(),
    }
}

fn folders_of(process: &FrozenProcess, pod: &dyn Pod) -> Result<Folders, Error> {
    folders::of(process.host, pod)
        .map_err(|e| Error::system(format!("looking where process {} stands", process.node.pid), e))?
        .map_err(|why| Error::Refused(vec![refusal(process, why)]))
}

fn holder(host: i32, pid: i32, name: &str) -> Result<Holder, Error> {
    let pidfd = roam_sys::descriptor::pidfd_open(nix::unistd::Pid::from_raw(host))
        .map_err(|e| Error::system(format!("opening a handle to process {name}"), e))?;
    Ok(Holder { host: nix::unistd::Pid::from_raw(host), pid, name: name.to_owned(), pidfd })
}

impl Frozen {
    /// Captures all kernel state. The session stays frozen and can still go on as it was.
    ///
    /// # Errors
    /// [`Error::Refused`] for what can't be carried, or a failed call.
    pub fn capture(
        &mut self,
        pod: &dyn Pod,
        externals: &dyn Externals,
        tracker: Option<&mut Tracker>,
    ) -> Result<Image, Error> {
        let Some(tracker) = tracker else {
            return self.capture_with(pod, externals, &mut Objects::default());
        };
        let mut objects = tracker.take_objects();
        let image = self.capture_with(pod, externals, &mut objects);
        if image.is_err() {
            // What the target was told of so far keeps its numbers.
            tracker.give_objects(objects);
        }
        image
    }

    fn capture_with(
        &mut self,
        pod: &dyn Pod,
        externals: &dyn Externals,
        objects: &mut Objects,
    ) -> Result<Image, Error> {
        self.leave_vdso()?;
        let (finder, inside) = self.look_inside(pod)?;
        let nodes: Vec<Node> = self.processes.iter().map(|p| p.node).collect();
        tree::plan(&nodes, &finder.pids()).map_err(|tree::NoWay { pid, why }| {
            let process = self.processes.iter().find(|p| p.node.pid == pid);
            Error::Refused(vec![Refusal {
                process: process.map_or_else(|| "?".to_owned(), |p| p.name.clone()),
                pid: pid.unsigned_abs(),
                what: "its place in the process tree".to_owned(),
                reason: why,
                remedy: "Close the program's background processes and try again.".to_owned(),
            }])
        })?;
        let holders =
            self.living().map(|p| holder(p.host, p.node.pid, &p.name)).collect::<Result<Vec<_>, _>>()?;
        let mut refusals = sharing::between_processes(&holders);
        refusals.extend(self.living().filter_map(|process| apart(process, pod)));
        refusals.extend(finder.refusals().into_iter().chain(inside.refusals.iter().cloned()));
        if !refusals.is_empty() {
            return Err(Error::Refused(refusals));
        }
        let mut rings = HashMap::new();
        if aio::any() {
            for process in self.living() {
                rings.insert(process.node.pid, aio::capture(process)?);
            }
        }
        let private = private_files::capture(pod, &holders, objects)?;
        let (ipc, unattached, attached, helper) =
            match self.living().find(|p| finder.places(p.node.pid).ipc == 0) {
                Some(first) => {
                    let _raised = Raised::take(first.host, &[libc::RLIMIT_NOFILE]);
                    let lists = ipc::lists(&mut |batch| self.run(first.node.pid, batch))?;
                    ipc::capture(&lists, self, pod, objects)?
                }
                None => Default::default(),
            };
        self.helper = helper;
        // Descriptors before memory: they know the true size of the objects that are mapped as well.
        let descriptors = descriptors::capture(&holders, pod, &inside, externals, objects, self)?;
        let mut builder = memory::Builder::new(pod, objects).of_a_still_session();
        for process in &self.processes {
            builder.add(process.host, &process.name, process.node)?;
        }
        if !builder.refusals.is_empty() {
            return Err(Error::Refused(builder.refusals));
        }
        let (mut layout, mut views, areas) = builder.finish(&finder);
        let stranger = sysv::stranger(&attached, &views);
        if let Some(process) = self.living().find(|p| Some(p.host) == stranger) {
            return Err(Error::Refused(vec![refusal(process, sysv::OF_NO_LIST)]));
        }
        views.extend(unattached);
        layout.private = private;
        layout.namespaces = inside.namespaces;
        let mut processes = self
            .living()
            .map(|p| capture_process(self, p, &layout, pod, &finder))
            .collect::<Result<Vec<_>, _>>()?;
        let (filters, odd) = filters::collect(pod, &self.processes, &mut processes);
        if !odd.is_empty() {
            let odd = self.living().filter(|p| odd.contains(&p.node.pid));
            return Err(Error::Refused(odd.map(not_recorded).collect()));
        }
        affinity::collect(pod, &self.processes, &mut processes)?;
        self.locks = locks::all(&descriptors);
        for process in &mut processes {
            self.ask_of_stop(process)?;
            process.rings = rings.remove(&process.pid).unwrap_or_default();
        }
        self.objects = std::mem::take(objects);
        self.views = views;
        self.areas = areas;
        let clocks = clocks(pod)?;
        Ok(Image { layout, processes, descriptors, filters, ipc, clocks })
    }

    /// The namespaces of the processes, and what is in them.
    fn look_inside(&self, pod: &dyn Pod) -> Result<(Finder, Inside), Error> {
        let finder = Finder::of(pod, self.processes.iter())?;
        let inside = finder.look_inside(pod, false)?;
        Ok((finder, inside))
    }

    /// Whether the parent of a stopped process has been told, which only it can ask.
    fn ask_of_stop(&self, process: &mut ProcessState) -> Result<(), Error> {
        let Some(stopped) = &mut process.stopped else { return Ok(()) };
        let Some(child) = self.living().find(|p| p.node.pid == process.pid) else { return Ok(()) };
        let Some(parent) = self.living().find(|p| p.node.pid == child.node.ppid) else { return Ok(()) };
        let number = parent.node.level.number(&child.status.ns_pid).unwrap_or(process.pid);
        let (info, done) = ask_alone(parent, |batch| {
            let info = batch.room(128);
            let how = libc::WSTOPPED | libc::WNOHANG | libc::WNOWAIT;
            let wait = [libc::P_PID.into(), number.into(), info.into(), how.into(), 0.into()];
            batch.may("asking whether a stop was told", libc::SYS_waitid, &wait);
            info
        })?;
        // si_pid stays zero where there is nothing to tell.
        stopped.told = done.u32(info.skip(16)) == 0;
        Ok(())
    }

    /// Sends the memory of the captured session: all of it, or what was written since the tracker last
    /// looked. The sink is told the layout first.
    ///
    /// # Errors
    /// If it can't be read, or the sink does not take it.
    pub fn send_pages(
        &mut self,
        image: &Image,
        tracker: Option<&mut Tracker>,
        sink: &mut dyn PageSink,
    ) -> Result<PageStats, Error> {
        sink.layout(&image.layout)?;
        let mut sender = Sender::new(sink);
        sender.there = resident::all(self, &self.objects, &self.views)?;
        match tracker {
            Some(tracker) => {
                sender.again = written_by_devices(image, tracker);
                tracker.send(&self.open_memory(&self.areas)?, &image.layout, &mut sender)?;
                tracker.send_objects(&image.layout, (&self.objects, &self.views), &mut sender)?;
            }
            None => {
                let open = self.open_memory(&self.areas)?;
                sender.inheritance.told(&image.layout, &open, true);
                for process in &image.layout.processes {
                    if let Some(access) = open.get(&process.node.pid) {
                        sender.process(access, process)?;
                    }
                }
                sender.shown.told(&image.layout.objects);
                sender.objects(&self.objects, &self.views)?;
            }
        }
        Ok(sender.stats)
    }

    /// The file locks that it had when it was captured.
    #[must_use]
    pub fn locks(&self) -> &[Place] {
        &self.locks
    }

    /// Gives these locks back, so that the session can take them elsewhere. It must not run until it has them
    /// again.
    ///
    /// # Errors
    /// If a process can't be told to.
    pub fn give_locks(&self, places: &[Place]) -> Result<(), Error> {
        self.set_locks(places, false).map(drop)
    }

    /// Takes these locks, without waiting; returns those that others have.
    ///
    /// # Errors
    /// If a process can't be told to.
    pub fn take_locks(&self, places: &[Place]) -> Result<Vec<Place>, Error> {
        self.set_locks(places, true)
    }

    fn set_locks(&self, places: &[Place], take: bool) -> Result<Vec<Place>, Error> {
        let mut left = Vec::new();
        for process in self.living() {
            let own: Vec<&Place> = places.iter().filter(|place| place.pid == process.node.pid).collect();
            for some in own.chunks(100) {
                let (rets, done) = ask_alone(process, |batch| -> Vec<RetOf> {
                    some.iter().map(|place| place.held.set(take, place.number, batch)).collect()
                })?;
                let failed =
                    some.iter().zip(rets).filter(|(_, ret)| done.ret(*ret) < 0).map(|(place, _)| *place);
                let (leases, locks): (Vec<&Place>, Vec<&Place>) =
                    failed.partition(|place| place.held.is_lease());
                left.extend(locks.into_iter().cloned());
                if take && !leases.is_empty() {
                    ask_alone(process, |batch| {
                        leases.iter().for_each(|place| locks::tell_lost(place, batch));
                    })?;
                }
            }
        }
        Ok(left)
    }

    /// The memory of every living process, by pod pid.
    pub(crate) fn open_memory(&self, areas: &memory::AreasOf) -> Result<HashMap<i32, Access>, Error> {
        let open = |process: &FrozenProcess| {
            let areas = areas.get(&process.node.pid).cloned();
            let areas = areas.ok_or_else(|| Error::Image(format!("{} was not looked at", process.name)))?;
            Ok((process.node.pid, Access::open(process.host, areas)?))
        };
        self.living().map(open).collect()
    }

    fn leave_vdso(&self) -> Result<(), Error> {
        for process in self.living() {
            let mut inside: Option<Vec<(u64, u64)>> = None;
            for thread in &process.threads {
                let io = |e| Error::system(format!("stepping thread {}", thread.tid), e);
                let mut stepped = false;
                for _ in 0..STEPS {
                    let registers = thread.tracee.registers().map_err(io)?;
                    if inside.is_none() {
                        inside = Some(vdso::places(process.host).map_err(io)?);
                    }
                    let is_at = |(start, end): &(u64, u64)| (*start..*end).contains(&registers.rip);
                    if !inside.iter().flatten().any(is_at) {
                        break;
                    }
                    let borrowed = thread.tracee.signal_mask().map_err(io)?;
                    thread.tracee.set_signal_mask(!(1 << (libc::SIGTRAP - 1))).map_err(io)?;
                    thread.tracee.step().map_err(io)?;
                    match thread.tracee.wait().map_err(io)? {
                        Stop::Ended(_) => {
                            return Err(Error::Vanished { pid: process.node.pid, during: "the freeze" });
                        }
                        Stop::Signal(_) | Stop::Event { .. } | Stop::Syscall => {}
                    }
                    thread.tracee.set_signal_mask(borrowed).map_err(io)?;
                    stepped = true;
                }
                if stepped {
                    // Not before the delivery of the step's SIGTRAP, which kills if this process dies.
                    rest(thread.tracee).map_err(io)?;
                }
            }
        }
        Ok(())
    }
}

impl Hands for Frozen {
    fn run(&self, pid: i32, batch: &Batch) -> Result<Done, Error> {
        let process = self.living().find(|process| process.node.pid == pid);
        let process = process.ok_or(Error::Vanished { pid, during: "the freeze" })?;
        ask_alone(process, |own| own.clone_from(batch)).map(|((), done)| done)
    }
}

/// Has the leader of a frozen process answer a batch of questions.
pub(crate) fn ask_alone<T>(
    process: &FrozenProcess,
    ask: impl FnOnce(&mut Batch) -> T,
) -> Result<(T, Done), Error> {
    let pid = process.node.pid;
    let io = |e: std::io::Error| Error::system(format!("asking process {pid}"), e);
    let inject = |e| inject_error(pid, e);
    let leader = process.threads[0].tracee;
    let borrowed = Borrowed::take(leader, process.host).map_err(io)?;
    let answer = (|| {
        let mut batch = Batch::new();
        let asked = ask(&mut batch);
        let room = batch.encoded_len() as u64 + 4096;
        // A session that is held has a SIGSTOP waiting.
        borrowed.take_stop().map_err(inject)?;
        let area = install(process, &borrowed, room).map_err(inject)?;
        let done = borrowed.run(area, &batch).map_err(inject);
        borrowed.remove(area).map_err(inject)?;
        Ok((asked, done?))
    })();
    borrowed.give_back().map_err(io)?;
    answer
}

/// Maps room for injected calls, where the program's own limits leave none above them.
fn install(process: &FrozenProcess, borrowed: &Borrowed, room: u64) -> Result<Area, InjectError> {
    let _raised = Raised::take(process.host, &[libc::RLIMIT_AS, libc::RLIMIT_DATA]);
    borrowed.install(room)
}

fn inject_error(pid: i32, error: InjectError) -> Error {
    match error {
        InjectError::Call(source) => Error::Call { pid, source },
        InjectError::Io(source) => Error::system(format!("asking process {pid}"), source),
        InjectError::Odd(stop) => Error::system(
            format!("asking process {pid}"),
            std::io::Error::other(format!("odd stop {stop:?}")),
        ),
    }
}

fn capture_process(
    frozen: &Frozen,
    process: &FrozenProcess,
    layout: &Layout,
    pod: &dyn Pod,
    finder: &Finder,
) -> Result<ProcessState, Error> {
    let pid = process.node.pid;
    let inject = |e| inject_error(pid, e);
    let io = |e: std::io::Error| Error::system(format!("asking process {pid}"), e);
    let leader = process.threads[0].tracee;
    let layout = layout
        .processes
        .iter()
        .find(|l| l.node.pid == pid)
        .ok_or(Error::Vanished { pid, during: "the freeze" })?;
    let borrowed = Borrowed::take(leader, process.host).map_err(io)?;
    let result = (|| {
        let area = install(process, &borrowed, ROOM).map_err(inject)?;
        let answers = (|| {
            let locked = locked_by_itself(process, area).map_err(io)?;
            let mut batch = Batch::new();
            let asked = process::ask(process, &mut batch)?;
            let of_memory = memory_settings::ask(&mut batch);
            let of_leader = threads::ask(&mut batch);
            let extended = leader.extended_state().map_err(io)?;
            let done = borrowed.run(area, &batch).map_err(inject)?;
            if memory_settings::disturbs(&of_memory) {
                leader.set_extended_state(&extended).map_err(io)?;
            }
            let memory = memory_settings::capture(process.host, layout, locked, &of_memory, &done)?;
            let mut segments = Vec::new();
            if asked.has_segments(&done) {
                let mut batch = Batch::new();
                let table = local_descriptors::ask(&mut batch);
                segments = local_descriptors::answer(table, &borrowed.run(area, &batch).map_err(inject)?);
            }
            let mut states = vec![threads::capture(
                process,
                &process.threads[0],
                &borrowed.kept(),
                &frozen.waits,
                finder.places(pid).user,
                (&of_leader, &done),
            )?];
            for thread in &process.threads[1..] {
                let mut batch = Batch::new();
                let asked = threads::ask(&mut batch);
                let borrowed = Borrowed::take_beside(thread.tracee, process.host, area).map_err(io)?;
                let ran = borrowed.run(area, &batch).map_err(inject);
                let kept = borrowed.kept();
                borrowed.give_back().map_err(io)?;
                let answers = (&asked, &ran?);
                let user = finder.places(pid).user;
                states.push(threads::capture(process, thread, &kept, &frozen.waits, user, answers)?);
            }
            let surroundings = (folders_of(process, pod)?, finder.places(pid));
            let state = process::capture(process, states, layout, memory, surroundings, &asked, &done)?;
            Ok(ProcessState { segments, ..state })
        })();
        borrowed.remove(area).map_err(inject)?;
        answers
    })();
    borrowed.give_back().map_err(io)?;
    result
}

/// Whether the memory that was just mapped for the injection is locked, because the program asked so for all
/// that comes, and whether it was filled with pages too.
fn locked_by_itself(process: &FrozenProcess, area: Area) -> std::io::Result<(bool, bool)> {
    let now = status::read(process.host)?.locked;
    if now <= process.status.locked {
        return Ok((false, false));
    }
    let (start, len) = area.range();
    let last = start + len - PAGE;
    let own = roam_sys::pagemap::Pagemap::open(process.host)?
        .own_pages(&[Run { start: last, end: last + PAGE }])?;
    Ok((true, !own.is_empty()))
}

/// Processes whose memory devices write: what comes past the cache (O_DIRECT), or for a request of asynchronous I/O, is
/// not noted as written if the page was looked at while it was under way. Of what was closed since nothing is known.
fn written_by_devices(image: &Image, tracker: &Tracker) -> HashSet<i32> {
    let reads_directly = |file: &descriptors::OpenFile| {
        file.flags & libc::O_DIRECT != 0
            && file.flags & libc::O_ACCMODE != libc::O_WRONLY
            // A pipe of packets has the same flag.
            && matches!(file.kind, Kind::Regular(_) | Kind::Memory(_))
    };
    let files = &image.descriptors.files;
    let directly = image.descriptors.tables.iter().filter(|table| {
        table.entries.iter().any(|entry| files.get(entry.file.0 as usize).is_some_and(reads_directly))
    });
    let rings = with_rings(&image.layout).chain(tracker.rings().iter().copied());
    rings.chain(directly.map(|table| table.pid)).collect()
}

/// The pod's clocks now, as a process of it reads them.
///
/// # Errors
/// The kernel's.
pub fn clocks(pod: &dyn Pod) -> Result<Clocks, Error> {
    use nix::time::{ClockId, clock_gettime};
    let now = |clock| -> Result<i64, Error> {
        let t = clock_gettime(clock).map_err(|e| Error::system("reading a clock", e))?;
        Ok(t.tv_sec() * 1_000_000_000 + t.tv_nsec())
    };
    let offsets = |pid: &str| {
        let text = roam_sys::procfs::read(&format!("/proc/{pid}/timens_offsets")).unwrap_or_default();
        parse_offsets(&String::from_utf8_lossy(&text))
    };
    let (own, theirs) = (offsets("self"), offsets(&pod.init().to_string()));
    Ok(Clocks {
        monotonic: now(ClockId::CLOCK_MONOTONIC)? - own.0 + theirs.0,
        boottime: now(ClockId::CLOCK_BOOTTIME)? - own.1 + theirs.1,
        realtime: now(ClockId::CLOCK_REALTIME)?,
    })
}

/// Monotonic and boottime offsets in nanoseconds.
fn parse_offsets(text: &str) -> (i64, i64) {
    let of = |name: &str| {
        text.lines()
            .find_map(|line| {
                let mut words = line.split_ascii_whitespace();
                (words.next()? == name).then_some(())?;
                let seconds: i64 = words.next()?.parse().ok()?;
                Some(seconds * 1_000_000_000 + words.next()?.parse::<i64>().ok()?)
            })
            .unwrap_or(0)
    };
    (of("monotonic"), of("boottime"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_parse() {
        let text = "monotonic        100         5\nboottime       86400         0\n";
        assert_eq!(parse_offsets(text), (100_000_000_005, 86_400_000_000_000));
        assert_eq!(parse_offsets(""), (0, 0));
    }
}
