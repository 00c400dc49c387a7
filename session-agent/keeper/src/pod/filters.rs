//! Recording the filters (seccomp) that programs of the session install: they can't be read back later.
//!
//! Roam's own filter, on everything in the pod, makes a thread wait that asks for a filter. The keeper then stops it
//! by ptrace, writes the filter into the session's [`Book`], has the thread install it with the engine's
//! instructions before it, and lets it go on with what that call returned. The program sees an ordinary call.
//! While no keeper is there, the thread waits.
//!
//! What is asked of message queues (mq_notify(3)) is recorded likewise, without touching the thread.
//!
//! What can't be recorded is installed all the same, and the session's programs with filters can't be moved from then
//! on: filters of a thread that is being debugged, and those without room for the engine's instructions.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::statfs::{FsType, fstatfs};
use nix::unistd::Pid;
use roam_checkpoint::kinds::dumpable;
use roam_checkpoint::kinds::filters::{self, Book, Filter};
use roam_checkpoint::kinds::notifications::{self, Notification, Shown};
use roam_sys::batch::Batch;
use roam_sys::borrowed::Borrowed;
use roam_sys::inject::InjectError;
use roam_sys::memory::{self, MemFile};
use roam_sys::notify::{self, Told};
use roam_sys::procfs::status;
use roam_sys::ptrace::{Registers, Stop, Tracee};
use roam_sys::{confine, descriptor, limits};

/// As roam-init keeps the listener.
pub const LISTENER: &str = "filters";
/// As roam-init keeps the book.
pub const BOOK: &str = "filters-book";

/// A system call that a signal or a tracer interrupted, before it is made again (linux/errno.h).
const ERESTARTSYS: i64 = -512;
/// The most instructions that the kernel takes.
const MOST: usize = libc::BPF_MAXINSNS as usize;

/// Puts Roam's filter on this process and all that it starts; returns what the keeper needs to record others.
///
/// # Errors
/// The kernel's.
pub fn prepare() -> io::Result<Vec<(&'static str, OwnedFd)>> {
    let pass = confine::secret()?;
    let Some(listener) = confine::confine(pass)? else { return Ok(Vec::new()) };
    let book = roam_sys::spawn::memory_file(c"filters", &Book::blank(pass))?;
    Ok(vec![(LISTENER, listener), (BOOK, book)])
}

/// Records filters until it is dropped.
#[derive(Debug)]
pub struct Recorder {
    /// Its thread ends when this is closed.
    _stop: io::PipeWriter,
}

impl Recorder {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel's.
    pub fn start(listener: OwnedFd, book: Arc<Book>) -> io::Result<Self> {
        let (stopped, stop) = io::pipe()?;
        std::thread::Builder::new().name("filters".into()).spawn(move || {
            while let Some(told) = next(&listener, &stopped) {
                if told.nr == libc::SYS_mq_notify {
                    note(told, &listener, &book);
                } else {
                    record(told, &listener, &book);
                }
            }
        })?;
        Ok(Self { _stop: stop })
    }
}

/// The next thread that asks for a filter; none if it is time to end.
fn next(listener: &OwnedFd, stopped: &io::PipeReader) -> Option<Told> {
    loop {
        let mut ready = [
            PollFd::new(listener.as_fd(), PollFlags::POLLIN),
            PollFd::new(stopped.as_fd(), PollFlags::POLLIN),
        ];
        match poll(&mut ready, PollTimeout::NONE) {
            Ok(_) | Err(nix::errno::Errno::EINTR) => {}
            Err(_) => return None,
        }
        let came = |at: usize| ready[at].revents().unwrap_or(PollFlags::empty());
        // The listener hangs up when the last process of the pod is gone.
        if !came(1).is_empty() || came(0).contains(PollFlags::POLLHUP) {
            return None;
        }
        if came(0).contains(PollFlags::POLLIN)
            && let Ok(told) = notify::receive(listener.as_fd())
        {
            return Some(told);
        }
    }
}

/// The file system of message queues.
const MQUEUE: FsType = FsType(0x1980_0202);

/// What a process asks a message queue for goes into the book, and the call goes on.
fn note(told: Told, listener: &OwnedFd, book: &Book) {
    if let Err(error) = remember(told, book) {
        // Such as a call that the kernel will refuse. What is not in the book can't be moved.
        tracing::debug!(%error, thread = told.tid, "a notification is not recorded");
    }
    // If the thread was stopped meanwhile, it asks again.
    let _ = told.go_on(listener.as_fd());
}

fn remember(told: Told, book: &Book) -> io::Result<()> {
    let [number, event, ..] = told.args;
    let pid = status::read(told.tid)?.tgid;
    if event == 0 {
        return Ok(());
    }
    // Whatever else it may be, opening it could wait.
    let pidfd = descriptor::pidfd_open(Pid::from_raw(pid))?;
    let file = descriptor::pidfd_getfd(pidfd.as_fd(), number as i32)?;
    if fstatfs(&file)?.filesystem_type() != MQUEUE {
        return Ok(());
    }
    let key = notifications::key(pid, number as i32)?;
    // Whoever comes second gets EBUSY.
    let queue = std::fs::File::open(format!("/proc/{pid}/fd/{}", number as i32))?;
    if Shown::of(queue.as_fd())?.is_none() {
        book.note(key, Notification::read(pid, event)?)?;
    }
    Ok(())
}

fn record(told: Told, listener: &OwnedFd, book: &Arc<Book>) {
    let _turn = book.turn();
    // If it was interrupted meanwhile it will ask again.
    if !told.waits(listener.as_fd()) {
        return;
    }
    let done = if book.is_complete() { instead(told, book) } else { Err(Failed::Unrecordable) };
    let reason = match done {
        Ok(()) => return,
        Err(Failed::Unrecordable) => "it can't be recorded".to_owned(),
        Err(Failed::By(error)) => error.to_string(),
    };
    if let Err(error) = book.give_up() {
        tracing::error!(%error, "the book of filters can't be written");
    }
    tracing::warn!(reason, thread = told.tid, "a filter is installed without being recorded");
    // If the thread was stopped meanwhile, it asks again and gets the same answer.
    let _ = told.go_on(listener.as_fd());
}

enum Failed {
    Unrecordable,
    By(io::Error),
}

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Self::By(error)
    }
}

impl From<InjectError> for Failed {
    fn from(error: InjectError) -> Self {
        Self::By(io::Error::other(error.to_string()))
    }
}

/// Makes the call in its place. Ok also if the thread ended or will ask again.
fn instead(told: Told, book: &Book) -> Result<(), Failed> {
    let thread = match Tracee::seize(told.tid, libc::PTRACE_O_TRACESYSGOOD) {
        Ok(thread) => thread,
        Err(error) if error.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
        // It has another tracer.
        Err(_) => return Err(Failed::Unrecordable),
    };
    thread.interrupt()?;
    let asks = loop {
        match thread.wait()? {
            Stop::Ended(_) => return Ok(()),
            Stop::Event { event: libc::PTRACE_EVENT_STOP, signal } => break signal == libc::SIGTRAP,
            Stop::Signal(signal) => thread.resume_interrupted(signal)?,
            Stop::Event { .. } | Stop::Syscall => thread.resume_interrupted(0)?,
        }
    };
    let registers = thread.registers()?;
    let interrupted = registers.orig_rax as i64 == told.nr && registers.rax as i64 == ERESTARTSYS;
    let result = if asks && interrupted { install(told, thread, book) } else { Ok(None) };
    if let Ok(Some(ret)) = result {
        thread.set_registers(&Registers { rax: ret as u64, orig_rax: u64::MAX, ..registers })?;
    }
    thread.detach(0)?;
    result.map(drop)
}

/// Installs the filter; returns the call's result.
fn install(told: Told, thread: Tracee, book: &Book) -> Result<Option<i64>, Failed> {
    let status = status::read(told.tid)?;
    let pid = status.tgid;
    let flags = if told.nr == libc::SYS_seccomp { told.args[1] } else { 0 };
    let own = match program(pid, told.args[2]) {
        Ok(own) => own,
        Err(errno) => return Ok(Some(-i64::from(errno))),
    };
    let closed = MemFile::open(pid).is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied);
    let was = if closed { Some(dumpable::exchange(thread, pid, 1)?) } else { None };
    // Room for the injection is not the program's.
    let raised = limits::Raised::take(pid, &[libc::RLIMIT_AS, libc::RLIMIT_DATA]);
    let borrowed = Borrowed::take(thread, pid)?;
    let made = (|| {
        let area = borrowed.install(own.len() as u64 + (16 << 10))?;
        let made = (|| {
            let mut batch = Batch::new();
            let asked = filters::ask(&mut batch);
            let below =
                filters::answer(&asked, &borrowed.run(area, &batch)?).map_err(|_| Failed::Unrecordable)?;
            let filter = Filter::new(below, flags as u32, own);
            let number = book.add(&filter)?;
            let program =
                confine::passable(book.pass(), number, &filter.program).ok_or(Failed::Unrecordable)?;
            let mut batch = Batch::new();
            let ret = filters::install(&program, flags, &mut batch);
            Ok(borrowed.run(area, &batch)?.ret(ret))
        })();
        borrowed.remove(area)?;
        made
    })();
    borrowed.give_back()?;
    drop(raised);
    if let Some(was) = was {
        dumpable::exchange(thread, pid, u64::from(was == 1))?;
    }
    made.map(Some)
}

/// The instructions behind a struct sock_fprog, or the errno that the kernel would answer.
fn program(pid: i32, at: u64) -> Result<Vec<u8>, i32> {
    let mut header = [0; 16];
    memory::read(pid, at, &mut header).map_err(|_| libc::EFAULT)?;
    let count = usize::from(u16::from_le_bytes([header[0], header[1]]));
    let instructions = u64::from_le_bytes(header[8..].try_into().expect("eight bytes"));
    if count == 0 || count > MOST {
        return Err(libc::EINVAL);
    }
    memory::read_vec(pid, instructions, count * 8).map_err(|_| libc::EFAULT)
}
