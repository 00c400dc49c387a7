//! Processes the lab holds on to. A pid alone may be reused, so a process is its pid and the time
//! it was started; nothing is ever ended by name.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid as RustixPid, PidfdFlags, pidfd_open};
use serde::{Deserialize, Serialize};

/// One process, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proc {
    /// Its pid as the host counts.
    pub pid: i32,
    /// When it was started, in clock ticks since boot.
    started: u64,
}

impl Proc {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Result<Self> {
        let started = start_time(pid).with_context(|| format!("process {pid} is gone"))?;
        Ok(Self { pid, started })
    }

    /// True while it runs (a zombie does not).
    #[must_use]
    pub fn alive(&self) -> bool {
        start_time(self.pid) == Some(self.started)
    }

    /// Ends it with SIGKILL and waits until it is gone; one that is gone already is fine.
    pub fn end(&self) -> Result<()> {
        let pid = RustixPid::from_raw(self.pid).context("a process id is positive")?;
        // The descriptor is taken before the check, so that it can't be a later process.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return Ok(()) };
        if !self.alive() {
            return Ok(());
        }
        match kill(Pid::from_raw(self.pid), Signal::SIGKILL) {
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(error) => bail!("process {} can't be ended: {error}", self.pid),
        }
        let limit = Duration::from_secs(20);
        let limit = Timespec { tv_sec: limit.as_secs().try_into()?, tv_nsec: 0 };
        if poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit))? == 0 {
            bail!("process {} did not end within 20 s of SIGKILL", self.pid);
        }
        Ok(())
    }

    /// A path below its `/proc` folder.
    #[must_use]
    pub fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{below}", self.pid))
    }
}

/// Field 22 of `/proc/PID/stat`; none for a process that is gone or a zombie.
fn start_time(pid: i32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    parse_stat(&stat)
}

fn parse_stat(stat: &str) -> Option<u64> {
    // The name stands in brackets and may itself hold brackets and spaces.
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    if matches!(state, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

/// A process of a machine, with what tells its part in Roam.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Running {
    /// In a virtual machine, by the pid there.
    pub process: Proc,
    /// At most 15 bytes.
    pub name: String,
    /// Its argv.
    pub arguments: Vec<String>,
    /// The argv of its parent.
    pub parent: Vec<String>,
}

/// Every process in the pid namespace of `init` itself (not in namespaces below it).
pub fn in_namespace_of(init: Proc) -> Result<Vec<Running>> {
    let namespace = fs::read_link(init.path("ns/pid")).context("the machine's process 1 is gone")?;
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // A process may end while we look at it: it is simply not there any more.
        if fs::read_link(format!("/proc/{pid}/ns/pid")).ok().as_ref() != Some(&namespace) {
            continue;
        }
        let (Ok(process), Ok(name)) = (Proc::of(pid), fs::read_to_string(format!("/proc/{pid}/comm"))) else {
            continue;
        };
        let parent = parent(process).map(arguments).unwrap_or_default();
        found.push(Running {
            process,
            name: name.trim_end().to_owned(),
            arguments: arguments(process),
            parent,
        });
    }
    Ok(found)
}

fn arguments(process: Proc) -> Vec<String> {
    let bytes = fs::read(process.path("cmdline")).unwrap_or_default();
    bytes.split(|&b| b == 0).map(|argument| String::from_utf8_lossy(argument).into_owned()).collect()
}

fn parent(process: Proc) -> Option<Proc> {
    let status = fs::read_to_string(process.path("status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("PPid:"))?;
    Proc::of(line.trim().parse().ok()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::{Command, Stdio};

    #[test]
    fn a_stat_line_with_brackets_in_the_name_is_read() {
        let line = "7 (a) b) c) S 1 7 7 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 1 0 4242 1 1 1";
        assert_eq!(parse_stat(line), Some(4242));
        assert_eq!(parse_stat(&line.replace(" S ", " Z ")), None);
        assert_eq!(parse_stat("garbage"), None);
        assert_eq!(parse_stat("7 (a) S 1 2"), None);
    }

    #[test]
    fn ending_is_certain_and_may_be_said_twice() {
        let mut child = Command::new("sleep").arg("60").stdin(Stdio::null()).spawn().expect("sleep");
        let process = Proc::of(i32::try_from(child.id()).expect("pid")).expect("it runs");
        assert!(process.alive());
        process.end().expect("first");
        assert!(!process.alive());
        process.end().expect("second");
        child.wait().expect("reaped");
    }
}
