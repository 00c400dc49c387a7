//! One session that moves to and fro, and at each move one part of Roam is killed with -9, each time a little later in
//! the move. The command says how it came out (0, 4 or 6), and the session runs exactly where that says, in one
//! place, and can be moved again. Nobody mends anything but the agent that was killed, which is started again as
//! systemd would, or by the command itself, if that was talking to it.

use std::fs;
use std::io::Read;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use roam_api::session::SessionState;
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::roam::{Part, await_snapshot, processes};

use crate::kinds::{self, roam};

/// What is moved, and at how many moments of a move each part is killed: a process alone, and a tree in namespaces
/// and behind filters of its own, whose building takes many more steps.
const CASES: [(&str, u32); 2] = [("anonymous-memory", 10), ("sandboxed-zygote", 6)];
/// Seconds until it must be clear who has the session.
const SETTLED: u64 = 120;

/// Who is killed, and when.
#[derive(Debug, Clone, Copy)]
struct Victim {
    name: &'static str,
    part: Part,
    /// At the source, or else at the target.
    at_source: bool,
    /// Whether the move is asked for at that machine, or at the other.
    asked_there: bool,
}

const VICTIMS: [Victim; 6] = [
    Victim { name: "source's keeper", part: Part::Keeper, at_source: true, asked_there: false },
    Victim { name: "target's keeper", part: Part::Keeper, at_source: false, asked_there: false },
    Victim { name: "source's agent", part: Part::Agent, at_source: true, asked_there: false },
    Victim { name: "target's agent", part: Part::Agent, at_source: false, asked_there: false },
    Victim { name: "source's own agent", part: Part::Agent, at_source: true, asked_there: true },
    Victim { name: "target's own agent", part: Part::Agent, at_source: false, asked_there: true },
];

/// Tells it.
pub fn tell() -> Result<()> {
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    for (program, moments) in CASES {
        survive(&lab, program, moments).context(program)?;
    }
    lab.down()
}

fn survive(lab: &LabGuard, program: &str, moments: u32) -> Result<()> {
    let (host, inside) = lab.folder_in_home(&format!("kills-{program}"))?;
    let program = kinds::folder()?.join(program);
    let program = program.to_str().context("a path in UTF-8")?;
    kinds::session(lab, "survivor", &[program], &host, &inside, |lab, session| {
        let one = copies(program)?;
        roam(lab, &["send", session, "laptop"])?;
        let said = roam(lab, &["send", session, "desk", "--json"])?;
        let done: serde_json::Value =
            serde_json::from_str(said.lines().last().context("it says something")?)?;
        let whole = done["total_ms"].as_u64().context("how long it took")? + 20;
        let mut at = "desk".to_owned();
        for moment in 0..moments {
            for victim in VICTIMS {
                let after = Duration::from_millis(whole * u64::from(moment) / u64::from(moments));
                let (from, to) = if at == "desk" { ("desk", "laptop") } else { ("laptop", "desk") };
                let what = format!("{} killed after {after:?}, from {from} to {to}", victim.name);
                let (code, said) =
                    kill_in_a_move(lab, session, (from, to), victim, after).context(what.clone())?;
                let what = format!("{what}, exit code {code} ({said})");
                at = settled(lab, session, program, one).with_context(|| what.clone())?;
                eprintln!("{what}: it runs on {at}");
                let meant = match code {
                    0 | 6 => to,
                    4 => from,
                    _ => bail!("{what}: that says nothing of where it runs"),
                };
                ensure!(at == meant, "{what}: it runs on {at}");
            }
        }
        if at != "desk" {
            roam(lab, &["send", session, "desk"])?;
        }
        sleep_through_kills(lab, session, moments).context("put to sleep")?;
        hurry(lab, session).context("in a hurry")
    })?;
    // Machines tell each other a tenth of a second later at most: the next case has a session of the same name.
    let laptop = lab.machine("laptop")?;
    let over = |snapshot: &roam_api::agent::Snapshot| snapshot.sessions.is_empty();
    await_snapshot(&laptop, "laptop hears that it is over", Limit::seconds(SETTLED), over)?;
    Ok(())
}

/// Agent or keeper are killed while the session is put to sleep: it runs, or it sleeps and can be woken.
fn sleep_through_kills(lab: &LabGuard, session: &str, moments: u32) -> Result<()> {
    let desk = lab.machine("desk")?;
    let said = roam(lab, &["park", session, "--json"])?;
    let whole: f64 = serde_json::from_str::<serde_json::Value>(&said)?["frozen_ms"]
        .as_f64()
        .context("how long it took")?;
    roam(lab, &["resume", session])?;
    // The command, its way to the keeper and what goes ahead take a while, too.
    let whole = Duration::from_secs_f64(whole / 1000.0) + Duration::from_millis(80);
    for moment in 0..moments {
        for part in [Part::Agent, Part::Keeper] {
            let after = whole * moment / moments;
            let what = format!("{part:?} killed after {after:?}");
            let mut park = lab.on("desk", &["roam", "park", session])?;
            let mut parking = park.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
            // Not waiting for anything: the moment is what is tried.
            std::thread::sleep(after);
            for process in processes(&desk, part, None)? {
                process.end()?;
            }
            wait::for_end(&mut parking, "`roam park` gives up", Limit::seconds(SETTLED))?;
            wait::success(&mut lab.lab(&["up"]), Limit::seconds(60))?;
            let found = |snapshot: &roam_api::agent::Snapshot| {
                snapshot.sessions.iter().find(|info| info.name == session).map(|info| info.state.clone())
            };
            let limit = Limit::seconds(SETTLED);
            loop {
                let state = await_snapshot(&desk, "the session is known", limit, |s| found(s).is_some())
                    .with_context(|| what.clone())?;
                match found(&state) {
                    Some(SessionState::Parked { .. }) => {
                        eprintln!("{what}: it sleeps");
                        roam(lab, &["resume", session]).with_context(|| what.clone())?;
                    }
                    // Its keeper may just be ending: what it has written down counts.
                    _ => eprintln!("{what}: it runs"),
                }
                let mut exec = lab.on("desk", &["roam", "exec", session, "--", "echo", "alive"])?;
                if wait::output(&mut exec, Limit::seconds(60))?.stdout == b"alive\n" {
                    break;
                }
                limit.left(&what)?;
            }
        }
    }
    Ok(())
}

/// Nobody waits until late words of earlier stays have been heard.
fn hurry(lab: &LabGuard, session: &str) -> Result<()> {
    for _ in 0..6 {
        for words in [&["send", session, "laptop"][..], &["send", session, "desk"]] {
            roam(lab, words)?;
        }
        for words in [["park", session], ["resume", session], ["park", session], ["resume", session]] {
            roam(lab, &words)?;
        }
    }
    Ok(())
}

/// Its exit code, and what it said.
fn kill_in_a_move(
    lab: &LabGuard,
    session: &str,
    (from, to): (&str, &str),
    victim: Victim,
    after: Duration,
) -> Result<(i32, String)> {
    let (there, other) = if victim.at_source { (from, to) } else { (to, from) };
    let machine = lab.machine(there)?;
    let mut send = lab.on(if victim.asked_there { there } else { other }, &["roam", "send", session, to])?;
    let mut sending = send.stdout(Stdio::null()).stderr(Stdio::piped()).spawn()?;
    // Not waiting for anything: the moment is what is tried.
    std::thread::sleep(after);
    for process in processes(&machine, victim.part, None)? {
        process.end()?;
    }
    if !victim.asked_there {
        wait::success(&mut lab.lab(&["up"]), Limit::seconds(60))?;
    }
    let status = wait::for_end(&mut sending, "`roam send` gives up", Limit::seconds(SETTLED))?;
    let code = status.code().context("`roam send` was killed")?;
    let mut said = String::new();
    sending.stderr.take().context("stderr was piped")?.read_to_string(&mut said)?;
    wait::success(&mut lab.lab(&["up"]), Limit::seconds(60))?;
    Ok((code, said.trim().replace('\n', " ")))
}

/// Waits until one machine has the session and it runs, and the other has nothing of it; returns where.
fn settled(lab: &LabGuard, session: &str, program: &str, processes: usize) -> Result<String> {
    let limit = Limit::seconds(SETTLED);
    let runs = |snapshot: &roam_api::agent::Snapshot| {
        snapshot
            .sessions
            .iter()
            .find(|info| info.name == session && info.state == SessionState::Running)
            .map(|info| info.host.clone())
    };
    loop {
        for machine in ["desk", "laptop"] {
            let machine = lab.machine(machine)?;
            await_snapshot(&machine, "the session runs", limit, |snapshot| runs(snapshot).is_some())?;
        }
        limit.left("the session is in one place")?;
        let hosts = ["desk", "laptop"].map(|machine| {
            let machine = lab.machine(machine)?;
            runs(&await_snapshot(&machine, "it runs", limit, |_| true)?).context("it runs no more")
        });
        let [Ok(one), Ok(other)] = hosts else { continue };
        if one == other && copies(program)? == processes {
            // By way of desk: a link to an agent that was killed is noticed to be dead after a while.
            let mut exec = lab.on("desk", &["roam", "exec", session, "--", "echo", "alive"])?;
            let said = wait::output(&mut exec, Limit::seconds(60))?;
            if said.status.success() {
                ensure!(said.stdout == b"alive\n", "the session says {:?}", said.stdout);
                return Ok(one);
            }
        }
    }
}

/// Processes of the program, wherever they are.
fn copies(program: &str) -> Result<usize> {
    let mut count = 0;
    for entry in fs::read_dir("/proc")? {
        let command = fs::read(entry?.path().join("cmdline")).unwrap_or_default();
        count += usize::from(command.split(|&byte| byte == 0).next() == Some(program.as_bytes()));
    }
    Ok(count)
}
