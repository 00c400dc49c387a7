//! From an [`Image`] and pages back to running processes.
//!
//! All processes begin as forks of one stub. Each is made at the latest when its memory comes ([`births`]), which is
//! mapped and filled, as often as rounds of pages come while the source still runs. [`Restorer::build`] then makes
//! everything else: descriptors, program, threads, timers, signals; the last thing a process
//! loses is the stub itself. [`Prepared::activate`] lets all threads go at once.
//!
//! Until the descriptors are in place all stubs share one descriptor table.

mod births;
mod build;
mod mapped_files;
mod mappings;
mod namespaces;
mod objects;
mod pids;
mod place;
mod process;
pub(crate) mod stub;

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Done};
use roam_sys::descriptor::{pidfd_getfd, pidfd_open};
use roam_sys::memory::{self, MemFile};
use roam_sys::runs::Run;

use births::{Heir, Newborn};
pub use build::Prepared;
use stub::{KernelBlock, Stub};

use crate::error::Error;
use crate::kinds::late;
use crate::kinds::namespaces::Id;
use crate::kinds::pid_namespaces::{Level, Pids};
use crate::kinds::private_files;
use crate::kinds::tree::{Node, Step};
use crate::objects::ObjectId;
use crate::pages::{Layout, MappedFile, PageSink, Space};
use crate::pod::Pod;
use crate::stubs::Stubs;

/// Where stubs have their interpreter, if the session leaves that place free.
const USUAL_PLACE: u64 = 0x6000_0000_0000;
/// Address room that a stub needs: the interpreter, batches as they grow, the vdso.
const PLACE_LEN: u64 = 32 << 20;

/// A shared object that has been made.
enum Made {
    /// The descriptor's number in the shared table, that of one for reading only if some mapping needs it, and a
    /// duplicate here.
    File { number: i32, reader: Option<i32>, file: File },
    /// A System V segment, and where the holder has it attached.
    Segment { shmid: i32, address: u64 },
}

/// A session under restore. Dropping it ends all stubs.
pub struct Restorer {
    root: PathBuf,
    stubs: HashMap<i32, Stub>,
    holder: i32,
    kernel: KernelBlock,
    layout: Layout,
    /// Shared objects, by id.
    objects: Vec<Made>,
    private_folders: Vec<PathBuf>,
    /// Which stub keeps which namespace.
    sentries: HashMap<Id, i32>,
    /// The processes of the layout, their pid namespaces, and the numbers in them.
    nodes: Vec<Node>,
    pids: Pids,
    /// The first process of each pid namespace that has been made.
    firsts: HashMap<Id, i32>,
    /// Of processes in pid namespaces of their own: the network that they go to.
    networks: HashMap<i32, Id>,
    /// /proc/PID/mem of stubs whose memory is not all writable.
    files_of_memory: HashMap<i32, MemFile>,
    /// Mapped files: their descriptors in the shared table, for reading and for writing.
    files: HashMap<(u32, bool), i32>,
    /// Whether a layout may name files that are not here, as long as the last one does not; which it does.
    may_want: bool,
    /// Files of the last layout that are not here.
    absent: HashSet<MappedFile>,
    wanting: Vec<Refusal>,
    /// Processes whose mappings came in several rounds, so that one may lie in pieces.
    in_pieces: HashSet<i32>,
    /// What is still to be done to make the layout's tree.
    steps: VecDeque<Step>,
    newborns: HashMap<i32, Newborn>,
    heirs: HashMap<i32, Heir>,
    /// How often each process's memory was written to or dropped.
    filled: HashMap<i32, u64>,
    channel: Option<(OwnedFd, i32)>,
}

impl Restorer {
    /// Begins a restore in a prepared pod.
    ///
    /// # Errors
    /// If the pod gives no stub or it can't be traced.
    pub fn begin(pod: &dyn Pod) -> Result<Self, Error> {
        let host = pod.spawn_stub().map_err(|e| Error::system("starting the first process in the pod", e))?;
        let (mut first, kernel) = Stub::take(host.as_raw(), USUAL_PLACE)?;
        widen_table(&mut first)?;
        Ok(Self {
            root: pod.root(),
            private_folders: private_files::folders(pod)?,
            sentries: HashMap::new(),
            nodes: Vec::new(),
            pids: Pids::default(),
            firsts: HashMap::new(),
            networks: HashMap::new(),
            files_of_memory: HashMap::new(),
            holder: first.pid,
            stubs: HashMap::from([(first.pid, first)]),
            kernel,
            layout: Layout::default(),
            objects: Vec::new(),
            files: HashMap::new(),
            may_want: false,
            absent: HashSet::new(),
            wanting: Vec::new(),
            in_pieces: HashSet::new(),
            steps: VecDeque::new(),
            newborns: HashMap::new(),
            heirs: HashMap::new(),
            filled: HashMap::new(),
            channel: None,
        })
    }

    /// What comes was written down at one time and may tell of files that were replaced before its end: only
    /// those of the last layout must be here.
    pub fn expect_record(&mut self) {
        self.may_want = true;
    }

    fn stub(&mut self, pid: i32) -> Result<&mut Stub, Error> {
        self.stubs.get_mut(&pid).ok_or_else(|| Error::Image(format!("there is no process {pid}")))
    }

    /// Gives the holder a number that no process of the session has.
    fn move_holder(&mut self) -> Result<(), Error> {
        let taken = |pid: i32| self.nodes.iter().any(|n| n.pid == pid || n.sid == pid || n.pgid == pid);
        if !taken(self.holder) && self.holder > 20_000 {
            return Ok(());
        }
        let pid = self.free_number()?;
        let old = self.stubs[&self.holder];
        let flags = (libc::CLONE_PARENT | libc::CLONE_FILES) as u64;
        let holder = self.bear(&old, flags, 0, (pid, Level::default()))?;
        self.stubs.insert(pid, holder);
        self.holder = pid;
        self.stubs.remove(&old.pid);
        old.exit(0)
    }

    /// Moves interpreter and vdso out of the way of the session's own mappings.
    fn make_way(&mut self, layout: &Layout) -> Result<(), Error> {
        let (base, _) = self.stubs[&self.holder].area.range();
        if place::is_free(layout, base, PLACE_LEN) {
            return Ok(());
        }
        let to = place::find_free(layout, PLACE_LEN).map_err(Error::Image)?;
        let mut moved = self.kernel.clone();
        for stub in self.stubs.values_mut() {
            let mut kernel = self.kernel.clone();
            let (base, len) = stub.area.range();
            let by = kernel.areas[0].0 - base;
            let site = stub.area.site();
            let fresh = roam_sys::inject::Area::install(stub.tracee, stub.host, site, Some(to), len)
                .map_err(|e| stub::inject_error(stub.pid, e))?;
            let old = std::mem::replace(&mut stub.area, fresh);
            stub.move_kernel_block(&mut kernel, to + by)?;
            old.remove(stub.tracee, fresh.site()).map_err(|e| stub::inject_error(stub.pid, e))?;
            moved = kernel;
        }
        self.kernel = moved;
        Ok(())
    }

    /// A tree that grew since the last round: only births below living parents are possible.
    fn new_steps(&self, nodes: &[Node]) -> Result<Vec<Step>, Error> {
        let before: HashMap<i32, Node> = self.layout.processes.iter().map(|p| (p.node.pid, p.node)).collect();
        let mut steps = Vec::new();
        let mut groups = Vec::new();
        for node in nodes {
            match before.get(&node.pid) {
                Some(old) if old.sid != node.sid => {
                    if node.sid != node.pid {
                        return Err(Error::Image("the process tree changed during the move".to_owned()));
                    }
                    steps.push(Step::SetSid(node.pid));
                }
                Some(old) if old.pgid != node.pgid => {
                    groups.push(Step::SetPgid { pid: node.pid, pgid: node.pgid });
                }
                Some(_) => {}
                None => {
                    let creator = if node.ppid == 1 { 0 } else { node.ppid };
                    steps.push(Step::Fork {
                        creator,
                        pid: node.pid,
                        as_sibling: creator == 0,
                        exit_signal: node.exit_signal,
                        level: node.level,
                    });
                    if node.sid == node.pid {
                        steps.push(Step::SetSid(node.pid));
                    } else {
                        groups.push(Step::SetPgid { pid: node.pid, pgid: node.pgid });
                    }
                }
            }
        }
        // Founders before followers.
        groups.sort_by_key(|s| !matches!(s, Step::SetPgid { pid, pgid } if pid == pgid));
        steps.extend(groups);
        Ok(steps)
    }

    fn make_private_folders(&mut self, layout: &Layout) -> Result<(), Error> {
        let mut batch = Batch::new();
        private_files::make_folders(&layout.private, &self.private_folders, &mut batch)?;
        if batch.is_empty() { Ok(()) } else { self.run_in_holder(&batch).map(drop) }
    }

    fn run_in_holder(&mut self, batch: &Batch) -> Result<Done, Error> {
        let holder = self.holder;
        self.stub(holder)?.run(batch)
    }

    /// A duplicate, here, of a descriptor of the shared table.
    fn fetch(&self, number: i32) -> Result<OwnedFd, Error> {
        let holder = nix::unistd::Pid::from_raw(self.stubs[&self.holder].host);
        pidfd_open(holder)
            .and_then(|pidfd| pidfd_getfd(pidfd.as_fd(), number))
            .map_err(|e| Error::system("fetching a descriptor of the pod", e))
    }
}

/// How many descriptors the stubs' table has room for from the beginning.
const TABLE: u64 = 4096;

/// Makes the descriptor table large while one process has it. One that is shared waits for all processors
/// (synchronize_rcu in the kernel's `expand_fdtable`) each time it grows, 10 to 20 ms.
fn widen_table(stub: &mut Stub) -> Result<(), Error> {
    let (limit, _) = roam_sys::limits::get(stub.host, libc::RLIMIT_NOFILE)
        .map_err(|e| Error::system("reading a limit of descriptors", e))?;
    let last = limit.min(TABLE).saturating_sub(1);
    let mut batch = Batch::new();
    let some = batch.must("widening the descriptor table", libc::SYS_eventfd2, &[0.into(), 0.into()]);
    // Without room it grows when it must.
    let high = batch.may("widening the descriptor table", libc::SYS_dup2, &[some.into(), last.into()]);
    batch.may("closing a descriptor", libc::SYS_close, &[high.into()]);
    batch.must("closing a descriptor", libc::SYS_close, &[some.into()]);
    stub.run(&batch).map(drop)
}

impl PageSink for Restorer {
    fn layout(&mut self, layout: &Layout) -> Result<(), Error> {
        // A session that idles has the same in all rounds.
        if *layout == self.layout && self.wanting.is_empty() {
            return Ok(());
        }
        place::validate(layout).map_err(Error::Image)?;
        self.settle_all()?;
        let absent = self.absent_files(layout)?;
        let nodes: Vec<Node> = layout.processes.iter().map(|p| p.node).collect();
        self.make_way(layout)?;
        (self.nodes, self.pids) = (nodes.clone(), layout.pids.clone());
        self.move_holder()?;
        self.make_private_folders(layout)?;
        self.make_objects(&layout.objects)?;
        self.open_files(layout, &absent)?;
        self.open_readers(layout)?;
        self.make_users(&layout.users)?;
        self.make_namespaces(&layout.namespaces)?;
        self.grow_tree(&nodes)?;
        self.map(layout)?;
        self.layout = layout.clone();
        self.bring_strangers_forth()
    }

    fn pages(&mut self, space: Space, address: u64, bytes: &[u8]) -> Result<(), Error> {
        match space {
            Space::Process(pid) => {
                let Some(writable) = self.mapped(pid, address, bytes.len() as u64) else {
                    return Err(Error::Image(format!("pages for nowhere: process {pid}, {address:x}")));
                };
                self.fill(pid)?;
                self.write_private(pid, address, bytes, writable)
                    .map_err(|e| Error::system(format!("filling memory of process {pid} at {address:x}"), e))
            }
            Space::Object(ObjectId(id)) => {
                let (Some(made), Some(object)) =
                    (self.objects.get(id as usize), self.layout.objects.get(id as usize))
                else {
                    return Err(Error::Image("pages for an unknown object".to_owned()));
                };
                let len = object.size.saturating_sub(address).min(bytes.len() as u64) as usize;
                match made {
                    Made::File { file, .. } => file.write_all_at(&bytes[..len], address),
                    Made::Segment { address: base, .. } => {
                        memory::write(self.stubs[&self.holder].host, base + address, &bytes[..len])
                    }
                }
                .map_err(|e| Error::system("filling shared memory", e))
            }
        }
    }

    fn forget(&mut self, space: Space, address: u64, len: u64) -> Result<(), Error> {
        match space {
            Space::Process(pid) => {
                if self.mapped(pid, address, len).is_none() || len == 0 {
                    return Err(Error::Image(format!("nothing to forget in process {pid} at {address:x}")));
                }
                self.fill(pid)?;
                let mut batch = Batch::new();
                batch.must(
                    "forgetting pages",
                    libc::SYS_madvise,
                    &[address.into(), len.into(), libc::MADV_DONTNEED.into()],
                );
                self.stub(pid)?.run(&batch).map(drop)
            }
            // The sender never takes back what it sent of an object; it sends it anew.
            Space::Object(_) => Err(Error::Image("a shared object can't be forgotten".to_owned())),
        }
    }

    fn inherited(&mut self, pid: i32, from: i32, address: u64, len: u64) -> Result<(), Error> {
        let end = address.checked_add(len).filter(|_| len > 0);
        let end = end.ok_or_else(|| Error::Image(format!("nothing to inherit for process {pid}")))?;
        self.inherit(pid, from, Run { start: address, end })
    }
}

impl Stubs for Restorer {
    fn holder(&self) -> i32 {
        self.holder
    }

    fn run(&mut self, pid: i32, batch: &Batch) -> Result<Done, Error> {
        self.stub(pid)?.run(batch)
    }

    fn sentry(&self, namespace: Id) -> Result<i32, Error> {
        self.sentry_of(namespace)
    }

    fn network_of(&self, pid: i32) -> Option<Id> {
        let stub = self.stubs.get(&pid)?;
        (stub.level.namespace != 0).then_some(stub.within.net)
    }

    fn enter_networks(&mut self) -> Result<(), Error> {
        self.enter_own_networks()
    }

    fn number(&self, viewer: i32, pod: i32) -> Option<i32> {
        self.pids.number(self.stubs.get(&viewer)?.level.namespace, pod)
    }

    fn import(&mut self, fd: BorrowedFd<'_>) -> Result<i32, Error> {
        let number = match &self.channel {
            Some((_, number)) => *number,
            None => {
                let mut batch = Batch::new();
                let ends = batch.room(8);
                batch.must(
                    "making a channel",
                    libc::SYS_socketpair,
                    &[
                        libc::AF_UNIX.into(),
                        (libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC).into(),
                        0.into(),
                        ends.into(),
                    ],
                );
                let done = self.run_in_holder(&batch)?;
                let (ours, theirs) = (done.u32(ends) as i32, done.u32(ends.skip(4)) as i32);
                let socket = self.fetch(ours)?;
                self.channel = Some((socket, theirs));
                theirs
            }
        };
        let (socket, _) = self.channel.as_ref().expect("made above");
        let io = |e: nix::Error| Error::system("handing a descriptor into the pod", e);
        let descriptors = [fd.as_raw_fd()];
        nix::sys::socket::sendmsg::<()>(
            socket.as_fd().as_raw_fd(),
            &[std::io::IoSlice::new(b"f")],
            &[nix::sys::socket::ControlMessage::ScmRights(&descriptors)],
            nix::sys::socket::MsgFlags::empty(),
            None,
        )
        .map_err(io)?;
        let mut batch = Batch::new();
        let got = late::receive(number, &mut batch);
        Ok(self.run_in_holder(&batch)?.u32(got) as i32)
    }
}

impl Drop for Restorer {
    fn drop(&mut self) {
        for stub in self.stubs.values() {
            stub.kill();
        }
        crate::freeze::await_ends(self.stubs.values().map(|stub| stub.host));
    }
}
