//! What rights processes have, by /proc as the host of the lab sees it.
//!
//! Everything of Roam runs without capabilities but roam-init, pid 1 of each pod: it keeps all of them
//! in the pod's own user namespace, where they reach what the pod's namespaces hold and nothing else. On
//! the machine, and on the host, it is an ordinary process of its user.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::enter;

/// The four sets by which a process can have a capability.
const SETS: [&str; 4] = ["CapInh", "CapPrm", "CapEff", "CapAmb"];
const NONE: &str = "0000000000000000";

/// The programs that run on a machine, outside of pods; the agent is `roam agent`.
const PARTS: [&str; 5] = ["roam", "roam-app", "roam-keeper", "roam-display", "roam-viewer"];

/// One process.
pub struct Process {
    /// As the host counts.
    pub pid: i32,
    status: BTreeMap<String, String>,
}

/// Every process of the host that has not ended.
pub fn all() -> Result<Vec<Process>> {
    let mut found = Vec::new();
    for entry in fs::read_dir("/proc")? {
        let Some(pid) = entry?.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        // One that ends meanwhile is not there any more.
        let Ok(status) = fs::read_to_string(format!("/proc/{pid}/status")) else { continue };
        let fields = status.lines().filter_map(|line| line.split_once(':'));
        let status = fields.map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect();
        found.push(Process { pid, status });
    }
    found.retain(|process| !process.field("State").starts_with('Z'));
    Ok(found)
}

impl Process {
    /// The link of one of its namespaces; none if it has just ended.
    pub fn namespace(&self, kind: &str) -> Option<PathBuf> {
        fs::read_link(format!("/proc/{}/ns/{kind}", self.pid)).ok()
    }

    /// Its pid where it lives.
    pub fn pid_inside(&self) -> Option<i32> {
        self.field("NSpid").split_ascii_whitespace().last()?.parse().ok()
    }

    /// The pid of a pod's process on its machine.
    fn pid_on_machine(&self) -> Option<&str> {
        self.field("NSpid").split_ascii_whitespace().rev().nth(1)
    }

    fn field(&self, name: &str) -> &str {
        self.status.get(name).map_or("", String::as_str)
    }

    fn named(&self) -> String {
        format!("{} (process {})", self.field("Name"), self.pid)
    }

    fn has_none(&self) -> Result<()> {
        SETS.iter().try_for_each(|set| {
            ensure!(self.field(set) == NONE, "{} has {set} {}", self.named(), self.field(set));
            Ok(())
        })
    }
}

/// The pid namespace of a session's pod.
pub fn pod_of(lab: &LabGuard, machine: &str, session: &str) -> Result<PathBuf> {
    let words = ["roam", "exec", session, "--", "readlink", "/proc/self/ns/pid"];
    Ok(lab.run(machine, &words, 60)?.trim().into())
}

/// Looks at every process of Roam and of these sessions on a machine, and fails if one has a right too
/// many. Each part of Roam must be among them.
pub fn check(lab: &LabGuard, name: &str, sessions: &[&str]) -> Result<()> {
    let machine = lab.machine(name)?;
    let (outside, pids) =
        (fs::read_link(machine.init.path("ns/user"))?, fs::read_link(machine.init.path("ns/pid"))?);
    let pods = sessions.iter().map(|session| pod_of(lab, name, session)).collect::<Result<Vec<_>>>()?;
    let mut seen: BTreeMap<String, usize> = BTreeMap::new();
    for process in all()? {
        let Some((user, pid)) = process.namespace("user").zip(process.namespace("pid")) else { continue };
        let role = if pid == pids && PARTS.contains(&process.field("Name")) {
            process.has_none()?;
            ensure!(user == outside, "{} is in another user namespace", process.named());
            process.field("Name")
        } else if !pods.contains(&pid) {
            continue;
        } else if process.pid_inside() == Some(1) {
            ensure!(user != outside, "{} has no user namespace of its own", process.named());
            powerless_outside(lab, name, &process)?;
            "roam-init"
        } else {
            process.has_none()?;
            ensure!(user != outside, "{} is outside its pod", process.named());
            for (field, wanted) in [("NoNewPrivs", "1"), ("Seccomp", "2")] {
                let found = process.field(field);
                ensure!(found == wanted, "{} has {field} {found}", process.named());
            }
            "in pods"
        };
        *seen.entry(role.to_owned()).or_default() += 1;
    }
    eprintln!("{name}, processes without a right too many: {seen:?}");
    for role in PARTS.iter().chain(&["roam-init", "in pods"]) {
        ensure!(seen.contains_key(*role), "no {role} was seen on {name}, only {seen:?}");
    }
    // As a person would look.
    for session in sessions {
        let words = ["roam", "exec", session, "--", "grep", "^Cap", "/proc/self/status"];
        let said = lab.run(name, &words, 60)?;
        for set in SETS {
            ensure!(said.contains(&format!("{set}:\t{NONE}")), "`roam exec {session}` says {said}");
        }
    }
    Ok(())
}

/// What roam-init has ends at its pod: with all its capabilities, in its user namespace, a process can't
/// do on the machine what takes a right there.
fn powerless_outside(lab: &LabGuard, name: &str, init: &Process) -> Result<()> {
    let machine = lab.machine(name)?;
    let pid = init.pid_on_machine().context("it has a pid on its machine")?;
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path in UTF-8")?;
    let step = ["step", "rename-machine", "--with-rights-of", pid, "--to", "other"];
    wait::success(enter::as_root(&machine, program).args(step), Limit::seconds(20))
        .with_context(|| format!("{} can do what takes a right on {name}", init.named()))
        .map(drop)
}

/// In a process of its own: takes the rights of a user namespace in place of its own, and is refused.
pub fn try_to_rename(with_rights_of: i32, to: &str) -> std::io::Result<()> {
    let namespace = fs::File::open(format!("/proc/{with_rights_of}/ns/user"))?;
    nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWUSER)?;
    let status = fs::read_to_string("/proc/self/status")?;
    let rights = status.lines().find_map(|line| line.strip_prefix("CapEff:")).unwrap_or_default().trim();
    if rights == NONE {
        return Err(std::io::Error::other("the rights in the namespace were not taken"));
    }
    match nix::unistd::sethostname(to) {
        Err(nix::errno::Errno::EPERM) => Ok(()),
        Err(error) => Err(error.into()),
        Ok(()) => Err(std::io::Error::other("the machine could be renamed")),
    }
}
