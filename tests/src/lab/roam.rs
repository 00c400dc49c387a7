//! Roam on a machine: its agent, and which process plays which part.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result, anyhow, bail};
use clap::ValueEnum;
use roam_api::agent::{Reply, Request, Snapshot};
use roam_api::codec;

use super::enter::{as_root, as_user, roam_lab};
use super::proc::{self, Proc, Running};
use super::screen::service;
use super::state::{Folder, Machine};
use crate::harness::wait::{self, Limit, Lines};

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
    if !processes(machine, Part::Agent, None)?.is_empty() {
        return Ok(());
    }
    let argv = ["roam", "agent", "--name", &machine.name];
    let mut child = service(folder, machine, &argv)?.stdout(Stdio::piped()).spawn()?;
    let mut lines = Lines::of(child.stdout.take().context("stdout was piped")?);
    let said = lines.next("the agent starts", Limit::seconds(20))?;
    child.wait()?;
    if said.as_deref() != Some("ready") {
        let log = folder.of(&machine.name).join("log/roam.log");
        let log = fs::read_to_string(&log).unwrap_or_default();
        bail!("the agent did not start: {}", log.trim().lines().last().unwrap_or("it said nothing"));
    }
    Ok(())
}

/// All processes of a machine.
pub fn running(machine: &Machine) -> Result<Vec<Running>> {
    if machine.hardware.is_none() {
        return proc::in_namespace_of(machine.init);
    }
    let mut ask = as_root(machine, roam_lab());
    let said = wait::success(ask.args(["internal", "processes"]).stdin(Stdio::null()), Limit::seconds(20))?;
    Ok(serde_json::from_str(&said)?)
}

/// The processes of a part on a machine; of one session, or of all.
pub fn processes(machine: &Machine, part: Part, session: Option<&str>) -> Result<Vec<Proc>> {
    let id = session.map(|session| session_id(machine, session)).transpose()?;
    let mut found = Vec::new();
    for Running { process, name, arguments, parent } in running(machine)? {
        // The kernel keeps 15 bytes of a name; ours are shorter. `roam agent` is the agent itself.
        let is_agent =
            part == Part::Agent && name == "roam" && arguments.get(1).is_some_and(|a| a == "agent");
        // A keeper is started by way of `roam-agent --detach`, which is not the agent; nor is its child before that,
        // for a moment its copy.
        let starts = arguments.get(1).is_some_and(|a| a == "--detach") || parent == arguments;
        if (name != part.program() && !is_agent) || (part == Part::Agent && starts) {
            continue;
        }
        let of_session = match (&id, part) {
            (None, _) | (_, Part::Agent) => true,
            (Some(id), Part::Keeper) => arguments.iter().any(|a| a.contains(id.as_str())),
            // A display is its keeper's child.
            (Some(id), Part::Display) => parent.iter().any(|a| a.contains(id.as_str())),
            (Some(_), Part::Viewer) => {
                let name = session.unwrap_or_default();
                arguments.iter().any(|a| a == name || a.starts_with(&format!("{name}@")))
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
    if machine.hardware.is_none() {
        return found.iter().try_for_each(Proc::end);
    }
    let mut end = as_root(machine, roam_lab());
    end.args(["internal", "end"]).arg(serde_json::to_string(&found)?).stdin(Stdio::null());
    wait::success(&mut end, Limit::seconds(30)).map(drop)
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

/// Pairs two machines the way two people would: one asks, the other shows a code, the code is typed.
pub fn pair(asking: &Machine, asked: &Machine) -> Result<()> {
    let limit = Limit::seconds(60);
    let knows = |snapshot: &Snapshot, name: &str, paired: bool| {
        snapshot.machines.iter().any(|m| m.name == name && m.online && (m.paired || !paired))
    };
    let found =
        await_snapshot(asking, "it finds the other", limit, |snapshot| knows(snapshot, &asked.name, false))?;
    if knows(&found, &asked.name, true) {
        return Ok(());
    }
    let roam = |arguments: &[&str]| {
        wait::success(as_user(asking, "roam").args(arguments).stdin(Stdio::null()), limit)
    };
    roam(&["pair", &asked.name])?;
    let shown = await_snapshot(asked, "it shows a code", limit, |snapshot| snapshot.pairing_code.is_some())?;
    let (code, _) = shown.pairing_code.context("a code was shown")?;
    roam(&["pair", &asked.name, "--code", &code])?;
    for (one, other) in [(asking, asked), (asked, asking)] {
        await_snapshot(one, "it is paired", limit, |snapshot| knows(snapshot, &other.name, true))?;
    }
    Ok(())
}

/// Waits until what a machine's agent knows is as wanted, and returns it.
pub fn await_snapshot(
    machine: &Machine,
    what: &str,
    limit: Limit,
    wanted: impl Fn(&Snapshot) -> bool,
) -> Result<Snapshot> {
    let mut command = as_user(machine, roam_lab());
    let mut child =
        command.args(["internal", "watch"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut lines = Lines::of(child.stdout.take().context("stdout was piped")?);
    let what = format!("{}: {what}", machine.name);
    let result = loop {
        match lines.next(&what, limit) {
            Ok(Some(line)) => match serde_json::from_str(&line) {
                Ok(snapshot) if wanted(&snapshot) => break Ok(snapshot),
                Ok(_) => {}
                Err(error) => break Err(error.into()),
            },
            Ok(None) => break Err(anyhow!("{what}: the agent has gone")),
            Err(error) => break Err(error),
        }
    };
    child.kill()?;
    child.wait()?;
    result
}

/// `roam-lab internal watch`: what the agent of this user knows, one JSON object a line, now and
/// after every change.
pub fn watch() -> Result<()> {
    let folder = std::env::var_os("XDG_RUNTIME_DIR").context("XDG_RUNTIME_DIR is not set")?;
    let mut agent = UnixStream::connect(Path::new(&folder).join("roam/agent.sock"))
        .context("the agent can't be reached")?;
    agent.write_all(&codec::encode_frame(&Request::Watch)?)?;
    loop {
        let mut header = [0; codec::HEADER_LEN];
        agent.read_exact(&mut header)?;
        let mut body = vec![0; codec::parse_header(header)?.len];
        agent.read_exact(&mut body)?;
        match codec::decode_body(&body)? {
            Reply::Snapshot(snapshot) => println!("{}", serde_json::to_string(&snapshot)?),
            Reply::Failed(failure) => bail!("{failure}"),
            _ => {}
        }
    }
}
