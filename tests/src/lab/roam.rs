//! Roam on a machine: its agent, and which process plays which part.

use std::fs;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;

use super::enter::as_user;
use super::proc::{self, Proc};
use super::screen::service;
use super::state::{Folder, Machine};
use crate::harness::wait::{self, Limit};

/// A part of Roam that can be killed to see what the others do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// The machine's agent.
    Agent,
    /// A session's keeper.
    Keeper,
    /// What captures a session's windows.
    Display,
    /// What shows a session's windows here.
    Viewer,
}

impl Part {
    fn program(self) -> &'static str {
        match self {
            Self::Agent => "roam-agent",
            Self::Keeper => "roam-keeper",
            Self::Display => "roam-display",
            Self::Viewer => "roam-viewer",
        }
    }
}

/// True if Roam itself is there to be started, and not only the lab.
#[must_use]
pub fn is_built(machine: &Machine) -> bool {
    machine
        .binaries
        .first()
        .is_some_and(|folder| folder.join("roam").exists() && folder.join("roam-agent").exists())
}

/// Starts the machine's agent unless it runs; returns once it answers.
pub fn start_agent(folder: &Folder, machine: &Machine) -> Result<()> {
    if processes(machine, Part::Agent, None)?.is_empty() {
        let argv = ["roam", "agent", "--name", &machine.name];
        service(folder, machine, &argv)?.status()?;
    }
    let socket = machine.init.path("root").join(machine.runtime().strip_prefix("/")?).join("roam/agent.sock");
    let log = folder.of(&machine.name).join("log/roam.log");
    wait::for_path(&socket, Limit::seconds(20))
        .with_context(|| format!("the agent did not start; see {}", log.display()))?;
    wait::success(as_user(machine, "roam").args(["machines"]), Limit::seconds(20))?;
    Ok(())
}

/// The processes of a part on a machine; of one session, or of all.
pub fn processes(machine: &Machine, part: Part, session: Option<&str>) -> Result<Vec<Proc>> {
    let id = session.map(|session| session_id(machine, session)).transpose()?;
    let mut found = Vec::new();
    for (process, name) in proc::in_namespace_of(machine.init)? {
        // The kernel keeps 15 bytes of a name; ours are shorter.
        if name != part.program() {
            continue;
        }
        let of_session = match (&id, part) {
            (None, _) | (_, Part::Agent) => true,
            (Some(id), Part::Keeper) => arguments(process).iter().any(|a| a.contains(id.as_str())),
            // A display is its keeper's child.
            (Some(id), Part::Display) => parent(process)
                .is_some_and(|parent| arguments(parent).iter().any(|a| a.contains(id.as_str()))),
            (Some(_), Part::Viewer) => {
                let name = session.unwrap_or_default();
                arguments(process).iter().any(|a| a == name || a.starts_with(&format!("{name}@")))
            }
        };
        if of_session {
            found.push(process);
        }
    }
    Ok(found)
}

/// Ends a part with SIGKILL, as a crash would.
pub fn kill(machine: &Machine, part: Part, session: Option<&str>) -> Result<()> {
    let found = processes(machine, part, session)?;
    if found.is_empty() {
        let of = session.map(|session| format!(" of {session}")).unwrap_or_default();
        bail!("no {}{of} runs on {}", part.program(), machine.name);
    }
    if found.len() > 1 && session.is_none() {
        bail!("{} of {} run on {}; name the session", found.len(), part.program(), machine.name);
    }
    found.iter().try_for_each(Proc::end)
}

/// The sessions that a machine's agent knows, as `roam list --json` prints them.
pub fn sessions(machine: &Machine) -> Result<serde_json::Value> {
    let said = wait::success(as_user(machine, "roam").args(["list", "--json"]), Limit::seconds(20))?;
    serde_json::from_str(&said).context("`roam list --json` printed no JSON")
}

fn session_id(machine: &Machine, session: &str) -> Result<String> {
    let list = sessions(machine)?;
    let found =
        all_objects(&list).find(|object| object.get("name").and_then(|name| name.as_str()) == Some(session));
    let id = found.and_then(|object| object.get("id")).and_then(|id| id.as_str());
    id.map(str::to_owned).with_context(|| format!("{} knows no session called {session}", machine.name))
}

/// The objects of a list, whether it is bare or a field of an object.
fn all_objects(list: &serde_json::Value) -> impl Iterator<Item = &serde_json::Value> {
    let array = list.as_array().or_else(|| list.get("sessions").and_then(|field| field.as_array()));
    array.into_iter().flatten()
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

/// Pairs two machines the way two people would: one asks, the other shows a code, the code is typed.
pub fn pair(asking: &Machine, asked: &Machine) -> Result<()> {
    bail!("{} can't be paired with {} yet", asking.name, asked.name)
}
