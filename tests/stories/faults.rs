//! The bad cases: whatever breaks in the middle of a move, the session runs at exactly one place
//! afterwards and is whole; what can't be done is refused with its reason and changes nothing.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStdout, Stdio};

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use roam_api::session::SessionState;
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit, Lines};
use roam_tests::lab::roam::await_snapshot;

use crate::desktop::Screen;
use crate::kills;
use crate::kinds::{self, roam};
use crate::refusals;

/// Something that breaks while memory streams.
type Break = fn(&LabGuard, &Sending) -> Result<()>;

/// What breaks, the exit codes that `roam send` may end with, and what mends it.
const BREAKS: [(&str, Break, &[i32]); 7] = [
    ("ctrl-c", |_, sending| sending.interrupt(), &[4]),
    ("cut", |lab, _| tell_lab(lab, &["cut", "laptop"]), &[4]),
    ("target-agent", |lab, _| tell_lab(lab, &["kill", "laptop", "agent"]), &[0, 4, 6]),
    ("target-keeper", |lab, s| tell_lab(lab, &["kill", "laptop", "keeper", &s.session]), &[4]),
    ("source-agent", |lab, _| tell_lab(lab, &["kill", "desk", "agent"]), &[4]),
    ("source-keeper", |lab, s| tell_lab(lab, &["kill", "desk", "keeper", &s.session]), &[4]),
    ("target-down", |lab, _| tell_lab(lab, &["down", "laptop"]), &[4]),
];

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["faults"]);
    let mut note = |case: &str, result: Result<()>| {
        eprintln!("{} {case}", if result.is_ok() { "ok    " } else { "FAILED" });
        report.add(case, "faults", result.map_err(|error| format!("{error:#}")));
    };
    match LabGuard::up(&["desk", "laptop"], false) {
        Err(error) => note("up", Err(error)),
        Ok(lab) => {
            note("unknown", unknown(&lab));
            for (name, result) in refusals::cases(&lab) {
                note(name, result);
            }
            note("garbage", garbage(&lab));
            for (name, with, codes) in BREAKS {
                note(name, broken(&lab, name, with, codes));
            }
            note("down", lab.down());
            note("kills", kills::tell());
            // Machines of its own: it unpairs them, and guessing is paused after it.
            let guessed = LabGuard::up(&["desk", "laptop"], false)
                .and_then(|lab| wrong_code(&lab).and_then(|()| lab.down()));
            note("wrong-code", guessed);
        }
    }
    report
}

/// Only what targets refuse.
pub fn refusals() -> Report {
    let mut report = Report::new(&["faults"]);
    match LabGuard::up(&["desk", "laptop"], false) {
        Err(error) => report.add("up", "faults", Err(format!("{error:#}"))),
        Ok(lab) => {
            for (name, result) in refusals::cases(&lab) {
                report.add(name, "faults", result.map_err(|error| format!("{error:#}")));
            }
            report.add("down", "faults", lab.down().map_err(|error| format!("{error:#}")));
        }
    }
    report
}

/// Only the kills.
pub fn kills() -> Report {
    let mut report = Report::new(&["faults"]);
    report.add("kills", "faults", kills::tell().map_err(|error| format!("{error:#}")));
    report
}

/// A `roam send` under way.
struct Sending {
    session: String,
    child: Child,
    lines: Lines<ChildStdout>,
}

impl Sending {
    /// Starts it and returns once memory streams.
    fn begin(lab: &LabGuard, session: &str) -> Result<Self> {
        let mut child =
            lab.on("desk", &["roam", "send", session, "laptop", "--json"])?.stdout(Stdio::piped()).spawn()?;
        let mut lines = Lines::of(child.stdout.take().context("stdout was piped")?);
        let limit = Limit::seconds(30);
        loop {
            let line = lines.next("memory streams", limit)?.context("`roam send` ended before it began")?;
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if event["stage"] == "pre_copy" && event["bytes_sent"].as_u64() > Some(0) {
                return Ok(Self { session: session.to_owned(), child, lines });
            }
            ensure!(event["event"] == "progress", "`roam send` ended before it began: {line}");
        }
    }

    /// Ctrl+C at the command: to `roam` itself, which is `nsenter`'s child.
    fn interrupt(&self) -> Result<()> {
        let pid = self.child.id();
        let children = std::fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        let roam: i32 = children.split(' ').next().unwrap_or_default().trim().parse()?;
        Ok(kill(Pid::from_raw(roam), Signal::SIGINT)?)
    }

    /// Its exit code.
    fn end(mut self) -> Result<i32> {
        let limit = Limit::seconds(90);
        while self.lines.next("`roam send` gives up", limit)?.is_some() {}
        let status = wait::for_end(&mut self.child, "`roam send` ends", limit)?;
        status.code().context("`roam send` was killed")
    }
}

fn broken(lab: &LabGuard, name: &str, with: Break, codes: &[i32]) -> Result<()> {
    let session = format!("fault-{name}");
    let (host, inside) = lab.folder_in_home(&session)?;
    let program = program("anonymous-memory")?;
    let outcome = kinds::session(lab, &session, &[&program], &host, &inside, |lab, session| {
        // Slow enough that there is a middle to break: some 30 MiB at 3 MB/s.
        tell_lab(lab, &["link", "laptop", "--rate", "25mbit"])?;
        let sending = Sending::begin(lab, session)?;
        with(lab, &sending)?;
        let code = sending.end()?;
        restore(lab)?;
        ensure!(codes.contains(&code), "`roam send` ended with {code}, not with one of {codes:?}");
        let host = if code == 4 { "desk" } else { "laptop" };
        await_snapshot(
            &lab.machine("desk")?,
            "it runs where the code says",
            Limit::seconds(60),
            |snapshot| {
                let one = snapshot.sessions.iter().find(|info| info.name == session);
                one.is_some_and(|info| info.state == SessionState::Running && info.host == host)
            },
        )?;
        let said = roam(lab, &["exec", session, "--", "echo", "alive"])?;
        ensure!(said == "alive\n", "the session says {said:?}");
        Ok(())
    });
    // What went wrong first is what is told.
    outcome.and(restore(lab))
}

/// Everything up, paired, whole and fast again.
fn restore(lab: &LabGuard) -> Result<()> {
    if lab.machine("laptop").is_ok() {
        tell_lab(lab, &["mend", "laptop"])?;
        tell_lab(lab, &["link", "laptop", "--rate", "none"])?;
    }
    tell_lab(lab, &["up"])
}

/// Names that nobody has: wrong use, and said so.
fn unknown(lab: &LabGuard) -> Result<()> {
    expect(lab, &["send", "nobody", "laptop"], &[2], "nobody")?;
    roam(lab, &["run", "--no-screen", "--name", "here", "--", "sleep", "1000"])?;
    expect(lab, &["send", "here", "nowhere"], &[2], "nowhere")?;
    expect(lab, &["exec", "nobody", "--", "true"], &[125], "nobody")?;
    roam(lab, &["stop", "here"]).map(drop)
}

/// Garbage on every socket: that connection ends, all else goes on.
fn garbage(lab: &LabGuard) -> Result<()> {
    roam(lab, &["run", "--no-screen", "--name", "target", "--", "sleep", "1000"])?;
    roam(lab, &["run", "--name", "shown", "--", "xterm"])?;
    Screen::of(lab, "desk").focus("shown@")?;
    let desk = lab.machine("desk")?;
    let runtime = desk.init.path("root").join(desk.runtime().strip_prefix("/")?).join("roam");
    let mut sockets = vec![runtime.join("agent.sock")];
    for session in std::fs::read_dir(runtime.join("sessions"))? {
        let session = session?.path();
        sockets.extend(["keeper.sock", "init.sock"].map(|name| session.join(name)));
    }
    let program = std::env::current_exe()?;
    let program = program.to_str().context("a path in UTF-8")?;
    for socket in sockets.iter().filter(|socket| socket.exists()) {
        // As the user: anyone else is turned away before the first byte.
        let inside =
            socket.strip_prefix(desk.init.path("root")).map(|path| format!("/{}", path.display()))?;
        lab.run("desk", &[program, "step", "garbage", &inside], 60)?;
    }
    // A stranger at the socket: we are root, and still not its user.
    let mut stranger = UnixStream::connect(&sockets[0])?;
    let _closed = stranger.write_all(&[0; 64]);
    let mut answer = Vec::new();
    let _closed = stranger.read_to_end(&mut answer);
    // The ports that everybody on the network can speak to, as a machine that is not paired would.
    let port = lab.run("desk", &["sh", "-c", "cat ~/.local/state/roam/port"], 20)?;
    let address = format!("{}:{}", desk.address(), port.trim());
    lab.run("laptop", &[program, "step", "garbage-net", &address], 60)?;
    // A viewer that was let in and then talks nonsense: the window of another is still there.
    let keeper = inside_of(lab, "desk", "shown")?;
    lab.run("desk", &[program, "step", "garbage-viewer", &keeper], 60)?;
    Screen::of(lab, "desk").focus("shown@")?;
    for session in ["target", "shown"] {
        let said = roam(lab, &["exec", session, "--", "echo", "alive"])?;
        ensure!(said == "alive\n", "{session} says {said:?}");
    }
    roam(lab, &["send", "target", "laptop"])?;
    roam(lab, &["stop", "shown"])?;
    roam(lab, &["stop", "target"]).map(drop)
}

/// The socket of a session's keeper, as the machine sees it.
fn inside_of(lab: &LabGuard, machine: &str, session: &str) -> Result<String> {
    let list: serde_json::Value = serde_json::from_str(&roam(lab, &["list", "--json"])?)?;
    let sessions = list["sessions"].as_array().context("a list of sessions")?;
    let found = sessions.iter().find(|one| one["name"] == session).context("it is in no list")?;
    let id = found["id"].as_str().context("it has an id")?;
    let socket = lab.machine(machine)?.runtime().join("roam/sessions").join(id).join("keeper.sock");
    Ok(socket.display().to_string())
}

/// Three wrong codes and no more; the right pairing works later.
fn wrong_code(lab: &LabGuard) -> Result<()> {
    roam(lab, &["unpair", "laptop"])?;
    roam(lab, &["run", "--no-screen", "--name", "alone", "--", "sleep", "1000"])?;
    expect(lab, &["send", "alone", "laptop"], &[2, 3, 5], "laptop")?;
    roam(lab, &["stop", "alone"])?;
    // Nor may the other one send here, which was unpaired too.
    lab.run("laptop", &["roam", "run", "--no-screen", "--name", "stranger", "--", "sleep", "1000"], 60)?;
    let mut send = lab.on("laptop", &["roam", "send", "stranger", "desk"])?;
    let ended = wait::output(&mut send, Limit::seconds(60))?;
    let said = String::from_utf8_lossy(&ended.stderr);
    ensure!(matches!(ended.status.code(), Some(2 | 3 | 5)), "not refused ({}): {said}", ended.status);
    ensure!(said.contains("desk"), "it does not name desk: {said}");
    lab.run("laptop", &["roam", "stop", "stranger"], 60)?;
    roam(lab, &["pair", "laptop"])?;
    for _ in 0..3 {
        expect(lab, &["pair", "laptop", "--code", "000000"], &[2, 3, 4], "")?;
    }
    Ok(())
}

/// A `roam` command on desk that must fail with one of these codes and name something.
fn expect(lab: &LabGuard, arguments: &[&str], codes: &[i32], named: &str) -> Result<()> {
    let mut argv = vec!["roam"];
    argv.extend(arguments);
    let output = wait::output(&mut lab.on("desk", &argv)?, Limit::seconds(60))?;
    let said = String::from_utf8_lossy(&output.stderr);
    let code = output.status.code().context("it was killed")?;
    if !codes.contains(&code) {
        bail!("`{}` ended with {code}, not with one of {codes:?}: {}", argv.join(" "), said.trim());
    }
    ensure!(said.contains(named), "`{}` does not name {named}: {}", argv.join(" "), said.trim());
    Ok(())
}

fn tell_lab(lab: &LabGuard, arguments: &[&str]) -> Result<()> {
    wait::success(&mut lab.lab(arguments), Limit::seconds(120)).map(drop)
}

fn program(name: &str) -> Result<String> {
    Ok(kinds::folder()?.join(name).to_str().context("a path in UTF-8")?.to_owned())
}
