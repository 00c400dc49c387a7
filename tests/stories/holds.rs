//! What must hold whatever happens around a session: the machine it came from goes down, agents and
//! keepers are killed, and no process of it, nor of Roam, has more rights than its user.
//!
//! Two sessions play in each case: one without a screen that has many processes and checks itself, and
//! a terminal with a shell that remembers.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, bail, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};

use crate::desktop::Key::{Named, Text};
use crate::desktop::Screen;
use crate::kinds;
use crate::rights;

/// Seconds that each command may take.
const STEP: u64 = 60;

/// What the session without a screen holds.
const PROGRAMS: [&str; 5] = ["process-tree", "threads", "pipe-data", "sessions-groups", "anonymous-memory"];

type Case = fn() -> Result<()>;

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["holds"]);
    let cases: [(&str, Case); 3] =
        [("source-down", source_down), ("agents-killed", agents_killed), ("keepers-killed", keepers_killed)];
    for (name, case) in cases {
        let result = case().map_err(|error| format!("{error:#}"));
        eprintln!("{} {name}", if result.is_ok() { "ok    " } else { "FAILED" });
        report.add(name, "holds", result);
    }
    report
}

/// The two sessions, started on desk.
struct Sessions {
    lab: LabGuard,
    folder: PathBuf,
    shell: String,
    asked: u32,
}

/// Their names.
const BOTH: [&str; 2] = ["tree", "terminal"];

impl Sessions {
    fn start() -> Result<Self> {
        let lab = LabGuard::up(&["desk", "laptop"], false)?;
        let (folder, inside) = lab.folder_in_home("tree")?;
        let variable = format!("ROAM_TEST_DIR={}", inside.display());
        let path = |name: &str| -> Result<String> {
            Ok(kinds::folder()?.join(name).to_str().context("a path in UTF-8")?.to_owned())
        };
        let mut run = vec!["roam", "run", "--no-screen", "--name", "tree", "--env", &variable, "--"];
        let programs =
            ["road"].iter().chain(&PROGRAMS).map(|name| path(name)).collect::<Result<Vec<String>>>()?;
        run.extend(programs.iter().map(String::as_str));
        lab.run("desk", &run, STEP)?;
        wait::for_path(&folder.join("ready"), Limit::seconds(STEP))?;
        lab.run("desk", &["roam", "run", "--name", "terminal", "--", "xterm"], STEP)?;
        let mut sessions = Self { lab, folder, shell: String::new(), asked: 0 };
        let desk = Screen::of(&sessions.lab, "desk");
        desk.focus("terminal@")?;
        desk.press(&[Text("X=held"), Named("Return")])?;
        sessions.shell = sessions.shell_says("desk")?;
        ensure!(sessions.shell.starts_with("held "), "the shell says {:?}", sessions.shell);
        Ok(sessions)
    }

    /// What the shell says of itself, by the window on this machine's screen.
    fn shell_says(&mut self, machine: &str) -> Result<String> {
        self.asked += 1;
        let name = format!("said-{}", self.asked);
        let screen = Screen::of(&self.lab, machine);
        screen.focus("terminal@")?;
        // Renamed into place: whoever sees the file sees all of it.
        let line = format!("echo $X $$ > .{name}; mv .{name} {name}");
        screen.press(&[Text(&line), Named("Return")])?;
        let file = self.lab.folder().home().join(name);
        wait::for_path(&file, Limit::seconds(30))?;
        Ok(fs::read_to_string(file)?)
    }

    /// Both are on this machine and answer: by the list, a command in the pod, and the window.
    fn answer(&mut self, machine: &str) -> Result<()> {
        let list: serde_json::Value =
            serde_json::from_str(&self.lab.run(machine, &["roam", "list", "--json"], STEP)?)?;
        for name in BOTH {
            let sessions = list["sessions"].as_array().context("a list of sessions")?;
            let found = sessions.iter().find(|one| one["name"] == name);
            let host = &found.with_context(|| format!("{name} is in no list"))?["host"];
            ensure!(host == machine, "{name} is on {host}, not on {machine}");
            let said = self.lab.run(machine, &["roam", "exec", name, "--", "echo", "alive"], STEP)?;
            ensure!(said == "alive\n", "{name} says {said:?}");
        }
        let log = self.lab.run(machine, &["roam", "log", "tree"], STEP)?;
        ensure!(log.contains("ready"), "its log is {log:?}");
        let now = self.shell_says(machine)?;
        ensure!(now == self.shell, "the shell was {:?} and is {now:?}", self.shell);
        Ok(())
    }

    /// Moves both, by a command on the machine where they are.
    fn send(&self, from: &str, to: &str) -> Result<()> {
        BOTH.iter().try_for_each(|name| self.lab.run(from, &["roam", "send", name, to], STEP).map(drop))
    }

    /// Roam's own window, on a machine.
    fn app(&self, machine: &str) -> Result<Child> {
        let app = self.lab.on(machine, &["roam-app"])?.stdout(Stdio::null()).spawn()?;
        Screen::of(&self.lab, machine).focus("^Roam")?;
        Ok(app)
    }

    fn tell_lab(&self, arguments: &[&str]) -> Result<()> {
        wait::success(&mut self.lab.lab(arguments), Limit::seconds(120)).map(drop)
    }

    /// The processes of a session's pod as the host of the lab counts them, and as the pod does.
    fn pids(&self, machine: &str, session: &str) -> Result<(BTreeSet<i32>, BTreeSet<i32>)> {
        let pod = rights::pod_of(&self.lab, machine, session)?;
        let (mut host, mut inside) = (BTreeSet::new(), BTreeSet::new());
        for process in rights::all()? {
            if process.namespace("pid").is_some_and(|link| link == pod) {
                host.insert(process.pid);
                inside.extend(process.pid_inside());
            }
        }
        ensure!(host.len() > 3, "{session} has only the processes {host:?}");
        Ok((host, inside))
    }

    /// The session without a screen looks at all that it held, and ends.
    fn check(&self, machine: &str) -> Result<()> {
        let pid = fs::read_to_string(self.folder.join("ready"))?;
        let tell = format!("kill -USR2 {}", pid.trim());
        let mut exec = self.lab.on(machine, &["roam", "exec", "tree", "--", "sh", "-c", &tell])?;
        let ended = wait::output(&mut exec, Limit::seconds(STEP))?;
        // 137: it was told, checked, and took the session and this command with it.
        if !matches!(ended.status.code(), Some(0 | 137)) {
            bail!("it can't be told to check: {}", String::from_utf8_lossy(&ended.stderr).trim());
        }
        self.lab.run(machine, &["roam", "wait", "tree"], STEP).context("it checks")?;
        let verdict = fs::read_to_string(self.folder.join("result"))?;
        ensure!(verdict == "PASS\n", "{}", verdict.trim());
        Ok(())
    }

    fn end(self, machine: &str) -> Result<()> {
        self.check(machine)?;
        self.lab.run(machine, &["roam", "stop", "terminal"], STEP)?;
        self.lab.down()
    }
}

/// After the move the source goes down, and with it all that it had; the sessions do not notice. No
/// process of them is one that was there before.
fn source_down() -> Result<()> {
    let mut sessions = Sessions::start()?;
    let before = BOTH.map(|name| sessions.pids("desk", name));
    let mut app = sessions.app("desk")?;
    rights::check(&sessions.lab, "desk", &BOTH)?;
    app.kill()?;
    app.wait()?;
    sessions.send("desk", "laptop")?;
    for (name, before) in BOTH.iter().zip(before) {
        let ((host, inside), (host_now, inside_now)) = (before?, sessions.pids("laptop", name)?);
        eprintln!("{name}: {host:?} before, {host_now:?} after");
        ensure!(host.is_disjoint(&host_now), "{name}: {host:?} before, {host_now:?} after");
        let gone: Vec<&i32> = inside.difference(&inside_now).collect();
        ensure!(gone.is_empty(), "{name}: processes {gone:?} of the pod did not come along");
    }
    let mut app = sessions.app("laptop")?;
    rights::check(&sessions.lab, "laptop", &BOTH)?;
    app.kill()?;
    app.wait()?;
    sessions.answer("laptop")?;
    sessions.tell_lab(&["down", "desk"])?;
    sessions.answer("laptop").context("with desk down")?;
    sessions.end("laptop")
}

/// kill -9 to both agents, while the sessions run on one machine and then on the other.
fn agents_killed() -> Result<()> {
    let mut sessions = Sessions::start()?;
    for (here, there) in [("desk", "laptop"), ("laptop", "desk"), ("desk", "laptop")] {
        for machine in [here, there] {
            sessions.tell_lab(&["kill", machine, "agent"])?;
        }
        sessions.tell_lab(&["up"])?;
        sessions.answer(here).with_context(|| format!("on {here}, with new agents"))?;
        sessions.send(here, there)?;
        sessions.answer(there).with_context(|| format!("on {there}"))?;
    }
    sessions.end("laptop")
}

/// kill -9 to the keepers: new ones take over, show and move what they took over.
fn keepers_killed() -> Result<()> {
    let mut sessions = Sessions::start()?;
    for (here, there) in [("desk", "laptop"), ("laptop", "desk")] {
        for name in BOTH {
            sessions.tell_lab(&["kill", here, "keeper", name])?;
        }
        sessions.answer(here).with_context(|| format!("on {here}, with new keepers"))?;
        sessions.send(here, there)?;
        sessions.answer(there).with_context(|| format!("on {there}"))?;
    }
    // Everything at once: the agent that must start the keepers again has to come back itself.
    for name in BOTH {
        sessions.tell_lab(&["kill", "desk", "keeper", name])?;
    }
    sessions.tell_lab(&["kill", "desk", "agent"])?;
    sessions.tell_lab(&["up"])?;
    // Nobody is left who knew what was shown where.
    sessions.lab.run("desk", &["roam", "show", "terminal"], STEP)?;
    sessions.answer("desk").context("with new keepers and a new agent")?;
    sessions.end("desk")
}
