//! Between two kernels: a part of the kinds and the road on virtual machines with Debian 12's 6.1 and
//! 6.12, in both directions and onto another processor. Emulation is slow, so it is a part:
//! the programs whose kernel objects newer calls read or make, where an older kernel takes another way.

use std::sync::{Mutex, PoisonError};

use anyhow::{Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};

use crate::kinds::{self, Lane, add};
use crate::road;

/// A column of the table: desk and laptop, and how far the programs go.
struct Way {
    name: &'static str,
    hardware: &'static str,
    lane: Lane,
    /// Programs whose kernel object the target's kernel does not have, so that they go on without or are refused.
    without: &'static [&'static str],
}

/// One way each onto a processor that can do more (but has no sets of registers that an older
/// program's loader has no room for: that is refused, and nothing here would move); there and back on equal ones, since a program may
/// use what the richer one has.
const WAYS: [Way; 3] = [
    Way { name: "to 6.12", hardware: "6.1:Haswell 6.12:max,-mpx,-la57", lane: Lane::Moved, without: &[] },
    Way {
        name: "to 6.1",
        hardware: "6.12:Haswell 6.1:max,-mpx,-la57",
        lane: Lane::Moved,
        without: &["memfd-noexec", "pidfd-thread", "sealed-memory"],
    },
    Way {
        name: "there, back, there",
        hardware: "6.1:Haswell 6.12:Haswell",
        lane: Lane::Moved3,
        without: &[],
    },
];

/// The part: what is read or made by calls that 6.1 lacks (PAGEMAP_SCAN, PROCMAP_QUERY, timers of a wanted id),
/// what kernels have changed since (pidfd, epoll, guard pages, seals, rseq, vdso), registers, namespaces, and one or two
/// of each other kind.
const PART: [&str; 78] = [
    "absent-calls",
    "anonymous-memory",
    "cold-memory",
    "copied-on-write",
    "core-filter",
    "credentials",
    "deleted-file",
    "deleted-program",
    "descriptors-many",
    "descriptors-thousands",
    "epoll",
    "epoll-copies",
    "epoll-many",
    "eventfd",
    "file-locks",
    "fpu-control",
    "guard-install",
    "huge-pages",
    "huge-reservation",
    "inotify",
    "ipc-namespace",
    "mapped-private",
    "mapped-shared",
    "memfd-exec",
    "memfd-noexec",
    "memfd-seals",
    "memory-names",
    "message-queue",
    "moved-mappings",
    "namespace-handles",
    "namespaces-entered",
    "net-namespace",
    "new-programs",
    "not-dumpable",
    "own-soft-dirty",
    "pid-namespace",
    "pid-namespace-nested",
    "pid-namespace-orphans",
    "pid-namespace-signals",
    "pidfd",
    "pidfd-ended",
    "pidfd-thread",
    "pipe-data",
    "posix-timer-date",
    "posix-timer-ids",
    "posix-timer-ids-high",
    "posix-timers",
    "process-tree",
    "protection-keys",
    "robust-futex",
    "root-deleted",
    "root-folder",
    "rseq",
    "sandboxed-zygote",
    "sealed-memory",
    "seccomp-strict",
    "shared-anonymous",
    "signals-pending",
    "sysv-semaphores",
    "sysv-shm",
    "tcp-connections",
    "tcp-waiting-shared",
    "terminal",
    "thread-files",
    "thread-schedule",
    "threads",
    "timerfd",
    "unix-passed-fds",
    "unix-stream",
    "user-namespace",
    "user-namespace-root",
    "user-namespaces-nested",
    "uts-namespace",
    "vdso-clock",
    "vdso-random",
    "wide-registers",
    "written-every-way",
    "zero-pages",
];

/// Tells the story, with these programs or, if none are named, the part chosen here.
pub fn tell(only: &[String]) -> Report {
    let columns: Vec<&str> = WAYS.iter().map(|way| way.name).collect();
    let report = Mutex::new(Report::new(&columns));
    for way in &WAYS {
        if let Err(error) = run(way, only, &report) {
            add(&report, "the lab", way.name, Err(error));
        }
    }
    report.into_inner().unwrap_or_else(PoisonError::into_inner)
}

fn run(way: &Way, only: &[String], report: &Mutex<Report>) -> Result<()> {
    let named = only.iter().any(|name| !name.is_empty());
    let programs = kinds::chosen(&if named { only.to_vec() } else { PART.map(str::to_owned).to_vec() })?;
    let lab = LabGuard::virtual_machines(&["desk", "laptop"], way.hardware)?;
    let here = programs.iter().filter(|name| !way.without.contains(&name.as_str()));
    let cases = here.map(|name| (name.clone(), way.lane)).collect();
    kinds::all(&lab, cases, |name, _, result| add(report, name, way.name, result));
    match way.lane {
        Lane::Moved3 => {
            add(report, "the road", way.name, road::along(&lab, |name| programs.iter().any(|p| p == name)))
        }
        _ => add(report, "a poorer processor", way.name, poorer(&lab)),
    }
    lab.down()
}

/// From the richer processor nothing goes to the poorer one, and what is missing is named.
fn poorer(lab: &LabGuard) -> Result<()> {
    let run = ["roam", "run", "--no-screen", "--name", "rich", "--", "sleep", "1000"];
    lab.run("laptop", &run, lab.step())?;
    let mut send = lab.on("laptop", &["roam", "send", "rich", "desk"])?;
    let output = wait::output(&mut send, Limit::seconds(lab.step()))?;
    let said = String::from_utf8_lossy(&output.stderr);
    lab.run("laptop", &["roam", "stop", "rich"], lab.step())?;
    ensure!(output.status.code() == Some(3), "not refused ({}): {}", output.status, said.trim());
    // Which only the richer one has, and programs can use.
    ensure!(said.contains("sse4a"), "the refusal does not name sse4a: {}", said.trim());
    Ok(())
}
