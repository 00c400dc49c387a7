//! One session that moves to and fro, and at each move one part of Roam is killed with -9, each time a little later in
//! the move. Afterwards the session runs, in one place, and can be moved again; nobody mends anything but
//! the agent that was killed, which is started again as systemd would.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use roam_api::session::SessionState;
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::roam::{Part, await_snapshot, processes};

use crate::kinds::{self, roam};

/// Moments of a move at which each part is killed.
const MOMENTS: u32 = 10;
/// Seconds until it must be clear who has the session.
const SETTLED: u64 = 120;

/// Who is killed: a part, at the source or at the target.
const VICTIMS: [(&str, Part, bool); 4] = [
    ("source's keeper", Part::Keeper, true),
    ("target's keeper", Part::Keeper, false),
    ("source's agent", Part::Agent, true),
    ("target's agent", Part::Agent, false),
];

/// Tells it.
pub fn tell() -> Result<()> {
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    let (host, inside) = lab.folder_in_home("kills")?;
    let program = kinds::folder()?.join("anonymous-memory");
    let program = program.to_str().context("a path in UTF-8")?;
    kinds::session(&lab, "survivor", &[program], &host, &inside, |lab, session| {
        roam(lab, &["send", session, "laptop"])?;
        let said = roam(lab, &["send", session, "desk", "--json"])?;
        let done: serde_json::Value =
            serde_json::from_str(said.lines().last().context("it says something")?)?;
        let whole = done["total_ms"].as_u64().context("how long it took")? + 20;
        let mut at = "desk".to_owned();
        for moment in 0..MOMENTS {
            for (name, part, source) in VICTIMS {
                let after = Duration::from_millis(whole * u64::from(moment) / u64::from(MOMENTS));
                let to = if at == "desk" { "laptop" } else { "desk" };
                let victim = if source { at.as_str() } else { to };
                let what = format!("{name} killed after {after:?}, from {at} to {to}");
                let code = kill_in_a_move(lab, session, to, victim, part, after).context(what.clone())?;
                at = settled(lab, session, program).with_context(|| format!("{what}, exit code {code}"))?;
                eprintln!("{what}: exit code {code}, it runs on {at}");
                ensure!(code != 4 || at != to, "{what}: undone, and it runs on {at}");
                ensure!(code != 0 || at == to, "{what}: done, and it runs on {at}");
            }
        }
        Ok(())
    })?;
    lab.down()
}

fn kill_in_a_move(
    lab: &LabGuard,
    session: &str,
    to: &str,
    victim: &str,
    part: Part,
    after: Duration,
) -> Result<i32> {
    let machine = lab.machine(victim)?;
    // Asked of an agent that is not killed.
    let asks = if victim == "desk" { "laptop" } else { "desk" };
    let mut send = lab.on(asks, &["roam", "send", session, to])?;
    let mut sending = send.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    // Not waiting for anything: the moment is what is tried.
    std::thread::sleep(after);
    for process in processes(&machine, part, None)? {
        process.end()?;
    }
    let status = wait::for_end(&mut sending, "`roam send` gives up", Limit::seconds(SETTLED))?;
    let code = status.code().context("`roam send` was killed")?;
    ensure!([0, 3, 4, 5, 6].contains(&code), "`roam send` ended with {code}");
    wait::success(&mut lab.lab(&["up"]), Limit::seconds(60))?;
    Ok(code)
}

/// Waits until one machine has the session and it runs, and the other has nothing of it; returns where.
fn settled(lab: &LabGuard, session: &str, program: &str) -> Result<String> {
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
        if one == other && copies(program)? == 1 {
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
