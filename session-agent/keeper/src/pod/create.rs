//! Making a pod. Runs in `roam-init create`, which has one thread: forking into namespaces needs that.
//!
//! ```text
//! keeper            roam-init create (outside)      pid 1 (inside)
//!   | PodSpec, listener --> | fork into namespaces --> | waits
//!   |                       | id maps ---------------> | mounts, clocks, loopback
//!   |                       | <--- reason, or the end -| execs roam-init run
//!   | <------------ Created |
//! ```
//! The socket to the keeper stays with pid 1 as its guard: until the pod is live, it ends when
//! that socket does. Whatever fails, pid 1 ends and the kernel takes the pod apart.

use std::ffi::CString;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use nix::sched::{CloneFlags, setns, unshare};
use nix::unistd::Pid;
use roam_api::init::{Clocks, Created, PodSpec};
use roam_sys::namespaces::{Forked, NEW_TIME, fork_into, loopback_up};
use roam_sys::{caps, spawn};

use super::mounts;
use crate::wire;

/// An error with what was being done.
pub type Step<T> = Result<T, String>;

/// Adds what was being done to an error.
pub trait Doing<T> {
    /// `doing("mounting /proc")` gives "mounting /proc: Operation not permitted".
    ///
    /// # Errors
    /// The error itself, as text.
    fn doing(self, what: &str) -> Step<T>;
}

impl<T, E: std::fmt::Display> Doing<T> for Result<T, E> {
    fn doing(self, what: &str) -> Step<T> {
        self.map_err(|e| format!("{what}: {e}"))
    }
}

/// The whole of `roam-init create`: standard input is a socket to the keeper.
///
/// # Errors
/// If there is no talking to the keeper.
pub fn main(keeper: UnixStream) -> io::Result<()> {
    let (spec, mut descriptors) = wire::receive::<PodSpec>(&keeper)?;
    let created = match descriptors.pop() {
        Some(listener) if descriptors.is_empty() => match create(&spec, &listener, &keeper) {
            Ok(pid) => Created::Pod { pid: pid.as_raw() },
            Err(reason) => Created::Failed { reason },
        },
        _ => Created::Failed { reason: "one listening socket had to come along".into() },
    };
    wire::send(&keeper, &created, &[])
}

fn create(spec: &PodSpec, listener: &OwnedFd, keeper: &UnixStream) -> Step<Pid> {
    let namespaces = CloneFlags::CLONE_NEWUSER
        | CloneFlags::CLONE_NEWPID
        | CloneFlags::CLONE_NEWNS
        | CloneFlags::CLONE_NEWNET
        | CloneFlags::CLONE_NEWIPC
        | CloneFlags::CLONE_NEWUTS;
    let image = std::fs::File::open("/proc/self/exe").doing("opening roam-init")?;
    let (mut gate_out, gate_in) = io::pipe().doing("making a pipe")?;
    let (mut report_out, mut report_in) = io::pipe().doing("making a pipe")?;
    match fork_into(namespaces).doing("making namespaces (are user namespaces allowed here?)")? {
        Forked::Child => {
            drop((gate_in, report_out));
            let mut go = [0];
            if gate_out.read_exact(&mut go).is_err() {
                std::process::exit(1); // the outside half gave up
            }
            let reason = match furnish(spec) {
                Ok(()) => become_init(image.into(), listener, keeper),
                Err(reason) => reason,
            };
            let _ = report_in.write_all(reason.as_bytes());
            std::process::exit(1)
        }
        Forked::Parent { pid, .. } => {
            drop((gate_out, report_in));
            let outcome = write_id_maps(pid, spec).and_then(|()| {
                { gate_in }.write_all(b"x").doing("starting roam-init")?;
                let mut reason = String::new();
                report_out.read_to_string(&mut reason).doing("hearing from roam-init")?;
                if reason.is_empty() { Ok(()) } else { Err(reason) }
            });
            if let Err(reason) = outcome {
                let _ = nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL);
                let _ = nix::sys::wait::waitpid(pid, None);
                return Err(reason);
            }
            Ok(pid)
        }
    }
}

fn write_id_maps(pid: Pid, spec: &PodSpec) -> Step<()> {
    let write = |file: &str, text: String| {
        std::fs::write(format!("/proc/{pid}/{file}"), text).doing(&format!("writing {file}"))
    };
    write("setgroups", "deny".into())?;
    write("uid_map", format!("{} {} 1\n", spec.uid, nix::unistd::getuid()))?;
    write("gid_map", format!("{} {} 1\n", spec.gid, nix::unistd::getgid()))
}

/// Everything of the pod that is made from inside, before roam-init is execed there.
fn furnish(spec: &PodSpec) -> Step<()> {
    let root = mounts::build(spec)?;
    nix::unistd::sethostname(&spec.hostname).doing("setting the host name")?;
    enter_time(&root, spec.clocks)?;
    loopback_up().doing("bringing the loopback interface up")?;
    mounts::enter(&root)
}

/// Moves this process into a time namespace with these offsets; they can't be changed later.
fn enter_time(root: &std::path::Path, clocks: Clocks) -> Step<()> {
    unshare(NEW_TIME).doing("making a time namespace")?;
    let line = |name: &str, ns: i64| {
        format!("{name} {} {}\n", ns.div_euclid(1_000_000_000), ns.rem_euclid(1_000_000_000))
    };
    // Offsets count from the kernel's own clocks; this machine may have offsets itself.
    let file = root.join("proc/self/timens_offsets");
    let machine = std::fs::read_to_string(&file).doing("reading the machine's clocks")?;
    let text = line("monotonic", offset_of(&machine, "monotonic") + clocks.monotonic_ns)
        + &line("boottime", offset_of(&machine, "boottime") + clocks.boottime_ns);
    std::fs::write(&file, text).doing("setting the pod's clocks")?;
    let entry = std::fs::File::open(root.join("proc/self/ns/time_for_children"))
        .doing("opening the time namespace")?;
    setns(entry.as_fd(), NEW_TIME).doing("entering the time namespace")
}

/// One clock's offset in the text of timens_offsets, in nanoseconds.
fn offset_of(text: &str, clock: &str) -> i64 {
    text.lines()
        .find_map(|line| {
            let mut words = line.split_ascii_whitespace().filter(|word| *word != clock);
            line.starts_with(clock).then_some(())?;
            let seconds: i64 = words.next()?.parse().ok()?;
            let nanoseconds: i64 = words.next()?.parse().ok()?;
            Some(seconds * 1_000_000_000 + nanoseconds)
        })
        .unwrap_or(0)
}

/// Execs roam-init again, now as the pod's pid 1 with its capabilities kept. Returns only a reason.
fn become_init(image: OwnedFd, listener: &OwnedFd, guard: &UnixStream) -> String {
    let prepare = || -> Step<()> {
        caps::keep_across_exec().doing("keeping capabilities")?;
        spawn::let_inherit(listener.as_fd()).doing("passing the listener on")?;
        spawn::let_inherit(guard.as_fd()).doing("passing the guard on")?;
        let null = std::fs::File::options().read(true).write(true).open("/dev/null");
        let null = null.doing("opening /dev/null")?;
        nix::unistd::dup2_stdin(&null).doing("closing standard input")?;
        nix::unistd::dup2_stdout(&null).doing("closing standard output")?;
        nix::unistd::dup2_stderr(&null).doing("closing standard error")
    };
    if let Err(reason) = prepare() {
        return reason;
    }
    let argument = |text: String| CString::new(text).unwrap_or_default();
    let argv =
        ["roam-init".into(), "run".into(), listener.as_raw_fd().to_string(), guard.as_raw_fd().to_string()]
            .map(argument);
    format!("starting roam-init in the pod: {}", spawn::exec_descriptor(image.as_fd(), &argv, &[]))
}
