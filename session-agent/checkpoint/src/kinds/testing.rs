//! A session in small for the tests of the kinds: processes that hold what a test opened, captured from
//! outside and made anew in others, without ptrace and without a pod.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use nix::unistd::Pid;
use roam_api::error::Refusal;
use roam_sys::batch::{Batch, Done};
use roam_sys::descriptor;
use roam_sys::testing::Siblings;

use super::descriptors::{self, Descriptors, Holder};
use super::gather::gather;
use super::namespace_content::Inside;
use super::open_file::Look;
use super::unix_waiting::Hands;
use crate::error::Error;
use crate::objects::{Object, ObjectSlots, Objects};
use crate::pod::{ExternalName, Externals, Pod};
use crate::stubs::Stubs;

/// This process's own surroundings as a pod.
pub struct Here(OwnedFd);

impl Here {
    pub fn new() -> Self {
        use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
        let diag = socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        );
        Self(diag.unwrap())
    }
}

impl Pod for Here {
    fn init(&self) -> Pid {
        Pid::this()
    }

    fn spawn_stub(&self) -> io::Result<Pid> {
        Err(io::ErrorKind::Unsupported.into())
    }

    fn socket_diag(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Nobody is frozen, so that nobody can be made to do anything.
struct NoHands;

impl Hands for NoHands {
    fn run(&self, pid: i32, _batch: &Batch) -> Result<Done, Error> {
        Err(Error::Vanished { pid, during: "a test" })
    }
}

/// Open files that the test, as a keeper, knows by name.
#[derive(Default)]
pub struct Named(pub HashMap<ExternalName, OwnedFd>);

impl Externals for Named {
    fn identify(&self, file: BorrowedFd<'_>) -> Option<ExternalName> {
        let same = |known: &OwnedFd| descriptor::compare_files(known.as_fd(), file).unwrap().is_eq();
        self.0.iter().find(|(_, known)| same(known)).map(|(name, _)| name.clone())
    }

    fn provide(&mut self, name: &ExternalName) -> io::Result<OwnedFd> {
        self.0.get(name).ok_or(io::ErrorKind::NotFound)?.try_clone()
    }
}

struct TestStubs<'a> {
    siblings: &'a mut Siblings,
    /// Pids of the image, in the order of the siblings after the first, which is the holder.
    pids: Vec<i32>,
}

impl Stubs for TestStubs<'_> {
    fn holder(&self) -> i32 {
        -1
    }

    fn run(&mut self, pid: i32, batch: &Batch) -> Result<Done, Error> {
        let which = match pid {
            -1 => 0,
            _ => 1 + self.pids.iter().position(|&p| p == pid).expect("a process of the image"),
        };
        self.siblings.run(which, batch).map_err(|source| Error::Call { pid, source })
    }

    fn import(&mut self, fd: BorrowedFd<'_>) -> Result<i32, Error> {
        Ok(take(self.siblings, 0, fd))
    }
}

/// Brings a descriptor of this process into a sibling.
fn take(siblings: &mut Siblings, which: usize, fd: BorrowedFd<'_>) -> i32 {
    let mut batch = Batch::new();
    let me = std::process::id();
    let pidfd = batch.must("pidfd_open", libc::SYS_pidfd_open, &[me.into(), 0u32.into()]);
    let args = [pidfd.into(), fd.as_raw_fd().into(), 0u32.into()];
    let new = batch.must("pidfd_getfd", libc::SYS_pidfd_getfd, &args);
    batch.must("close", libc::SYS_close, &[pidfd.into()]);
    siblings.run(which, &batch).unwrap().ret(new) as i32
}

/// Terminals are numbered for the whole machine; tests that need a certain number take turns.
pub static TERMINALS: std::sync::Mutex<()> = std::sync::Mutex::new(());

/// Processes with descriptors, their image, and what was made of it.
pub struct Session {
    source: Option<Siblings>,
    image: Descriptors,
    objects: Objects,
    target: Option<Siblings>,
    pub named: Named,
}

impl Session {
    /// One process that holds these descriptors as 0, 1, 2…
    pub fn of(files: &[BorrowedFd<'_>]) -> Self {
        Self::of_processes(&[files])
    }

    /// Several processes that hold these descriptors each.
    pub fn of_processes(processes: &[&[BorrowedFd<'_>]]) -> Self {
        Self::with_externals(processes, Named::default())
    }

    pub fn with_externals(processes: &[&[BorrowedFd<'_>]], named: Named) -> Self {
        let source = populate(processes);
        let holders = holders(source.pids());
        let mut objects = Objects::default();
        assert_eq!(descriptors::check(&holders, &Here::new(), &Inside::default(), &named).unwrap().0, []);
        let image =
            descriptors::capture(&holders, &Here::new(), &Inside::default(), &named, &mut objects, &NoHands)
                .unwrap();
        Self { source: Some(source), image, objects, target: None, named }
    }

    /// What a check says of a process with these descriptors.
    pub fn refusals(files: &[BorrowedFd<'_>]) -> Vec<Refusal> {
        let source = populate(&[files]);
        let holders = holders(source.pids());
        descriptors::check(&holders, &Here::new(), &Inside::default(), &Named::default()).unwrap().0
    }

    /// The open file that the first process has as this number, as a capture finds it.
    pub fn look(&self, number: i32) -> Rc<Look> {
        let holders = holders(&self.source.as_ref().unwrap().pids()[..1]);
        let pod = Here::new();
        let inside = Inside::default();
        let known = gather(&holders, &pod, &inside, &self.named, false).unwrap();
        known.look(known.tables[0].iter().find(|e| e.number == number).unwrap().file)
    }

    /// How long a capture takes.
    pub fn time_capture(&self) -> std::time::Duration {
        let holders = holders(self.source.as_ref().unwrap().pids());
        let (pod, mut objects) = (Here::new(), Objects::default());
        let start = std::time::Instant::now();
        descriptors::capture(&holders, &pod, &Inside::default(), &self.named, &mut objects, &NoHands)
            .unwrap();
        start.elapsed()
    }

    pub fn image(&self) -> &Descriptors {
        &self.image
    }

    pub fn image_mut(&mut self) -> &mut Descriptors {
        &mut self.image
    }

    pub fn objects(&self) -> Vec<Object> {
        self.objects.image()
    }

    /// Ends the first processes, for what there can only be one of.
    pub fn end_source(&mut self) {
        self.source = None;
    }

    /// Makes everything anew in other processes, and captures that: it must be the same.
    pub fn round_trip(&mut self) {
        // A process that another test is just starting may hold a terminal for a moment.
        while let Err(e) = self.restore() {
            assert!(e.to_string().contains("is taken"), "{e}");
            std::thread::yield_now();
        }
        assert_eq!(self.capture_target(), self.image);
    }

    /// What a capture finds after a restore, with the pids of the image.
    pub fn capture_target(&self) -> Descriptors {
        let target = self.target.as_ref().unwrap();
        let holders = holders(&target.pids()[1..]);
        let mut objects = Objects::default();
        let again = descriptors::capture(
            &holders,
            &Here::new(),
            &Inside::default(),
            &self.named,
            &mut objects,
            &NoHands,
        );
        let mut again = again.unwrap_or_else(|e| panic!("{e}"));
        for (table, original) in again.tables.iter_mut().zip(&self.image.tables) {
            table.pid = original.pid;
        }
        again
    }

    /// Makes everything anew in other processes.
    pub fn restore(&mut self) -> Result<(), Error> {
        let mut siblings = Siblings::start(1 + self.image.tables.len()).unwrap();
        let mut slots = ObjectSlots::default();
        for (id, object, file) in self.objects.iter() {
            let copy = nix::sys::memfd::memfd_create("object", nix::sys::memfd::MFdFlags::MFD_CLOEXEC);
            let copy = std::fs::File::from(copy.unwrap());
            let from = std::fs::File::from(file.unwrap().try_clone().unwrap());
            let mut bytes = vec![0; object.size as usize];
            std::os::unix::fs::FileExt::read_exact_at(&from, &mut bytes, 0).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&copy, &bytes, 0).unwrap();
            slots.0.insert(id, take(&mut siblings, 0, copy.as_fd()));
        }
        let pids = self.image.tables.iter().map(|t| t.pid).collect();
        let mut stubs = TestStubs { siblings: &mut siblings, pids };
        descriptors::verify(&self.image, &Here::new(), false)?;
        let late = descriptors::restore(&self.image, &mut stubs, &slots, &Here::new(), &mut self.named)?;
        super::late::make(&self.image, &late, &mut stubs)?;
        super::inotify::watch(&self.image, &mut stubs)?;
        for place in super::locks::all(&self.image) {
            let mut batch = Batch::new();
            place.held.set(true, place.number, &mut batch);
            stubs.run(place.pid, &batch)?;
        }
        self.target = Some(siblings);
        Ok(())
    }

    /// What a restore complains of.
    pub fn restore_error(&mut self) -> String {
        self.restore().unwrap_err().to_string()
    }

    /// Runs a batch in one of the new processes.
    pub fn run(&mut self, process: usize, batch: &Batch) -> Done {
        self.target.as_mut().expect("restored").run(1 + process, batch).unwrap()
    }

    /// Reads in the first of the new processes; empty at the end.
    pub fn read(&mut self, number: i32, most: usize) -> Vec<u8> {
        let mut batch = Batch::new();
        let room = batch.room(most);
        let n = batch.must("read", libc::SYS_read, &[number.into(), room.into(), most.into()]);
        let done = self.run(0, &batch);
        done.bytes(room)[..done.ret(n) as usize].to_vec()
    }

    /// Writes in the first of the new processes.
    pub fn write(&mut self, number: i32, bytes: &[u8]) {
        let mut batch = Batch::new();
        let data = batch.data(bytes);
        batch.must("write", libc::SYS_write, &[number.into(), data.into(), bytes.len().into()]);
        self.run(0, &batch);
    }
}

fn populate(processes: &[&[BorrowedFd<'_>]]) -> Siblings {
    use nix::sys::resource::{Resource::RLIMIT_NOFILE, getrlimit, setrlimit};
    let (_, hard) = getrlimit(RLIMIT_NOFILE).unwrap();
    setrlimit(RLIMIT_NOFILE, hard, hard).unwrap();
    let mut source = Siblings::start(processes.len()).unwrap();
    for which in 0..processes.len() {
        let mut own = Batch::new();
        let args = [0u32.into(), u32::MAX.into(), 2u32.into()];
        own.must("a table of its own", libc::SYS_close_range, &args);
        source.run(which, &own).unwrap();
    }
    for (which, files) in processes.iter().enumerate() {
        for (number, file) in files.iter().enumerate() {
            // pidfd_getfd first makes the helper's number, so place each where it belongs.
            let new = take(&mut source, which, *file);
            let mut batch = Batch::new();
            let at = 1000 + number as i32;
            batch.must("dup", libc::SYS_dup3, &[new.into(), at.into(), 0u32.into()]);
            batch.must("close", libc::SYS_close, &[new.into()]);
            source.run(which, &batch).unwrap();
        }
        let mut batch = Batch::new();
        for number in 0..files.len() as i32 {
            let dup = [(1000 + number).into(), number.into(), libc::O_CLOEXEC.into()];
            batch.must("dup", libc::SYS_dup3, &dup);
        }
        let range = [1000u32.into(), u32::MAX.into(), 0u32.into()];
        batch.must("close", libc::SYS_close_range, &range);
        source.run(which, &batch).unwrap();
    }
    source
}

fn holders(pids: &[i32]) -> Vec<Holder> {
    let holder = |&pid: &i32| Holder {
        host: Pid::from_raw(pid),
        pid,
        name: "test".into(),
        pidfd: descriptor::pidfd_open(Pid::from_raw(pid)).unwrap(),
    };
    pids.iter().map(holder).collect()
}

/// The value of an event counter, untouched.
pub fn value(event: &impl AsFd) -> u64 {
    let path = format!("/proc/self/fdinfo/{}", event.as_fd().as_raw_fd());
    let info = roam_sys::procfs::fdinfo::FdInfo::parse(&std::fs::read_to_string(path).unwrap());
    info.unwrap().hex("eventfd-count").unwrap()
}
