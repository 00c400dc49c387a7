//! Thirty moves in a row of one session leave nothing behind: the machines are counted after two
//! moves and after thirty-two, when the session is at the same place.

use std::fmt;

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::enter;

use crate::kinds::{self, roam, send};

/// How many moves are counted.
const MOVES: usize = 30;

/// What a machine holds.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Footprint {
    processes: usize,
    descriptors: usize,
    namespaces: usize,
    mounts: usize,
}

impl fmt::Display for Footprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { processes, descriptors, namespaces, mounts } = self;
        write!(
            f,
            "{processes} processes, {descriptors} descriptors, {namespaces} namespaces, {mounts} mounts"
        )
    }
}

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["leaks"]);
    report.add("thirty-moves", "leaks", thirty_moves().map_err(|error| format!("{error:#}")));
    report
}

fn thirty_moves() -> Result<()> {
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    let (host, inside) = lab.folder_in_home("leaks")?;
    let program = kinds::folder()?.join("anonymous-memory");
    let program = program.to_str().context("a path in UTF-8")?;
    kinds::session(&lab, "mover", &[program], &host, &inside, |lab, session| {
        let there_and_back = || ["laptop", "desk"].iter().try_for_each(|machine| send(lab, session, machine));
        there_and_back()?;
        let before = (footprint(lab, "desk")?, footprint(lab, "laptop")?, memory(lab, session)?);
        for _ in 0..MOVES / 2 {
            there_and_back()?;
        }
        no_more_than(lab, "desk", &before.0)?;
        no_more_than(lab, "laptop", &before.1)?;
        let grown = memory(lab, session)?.saturating_sub(before.2);
        ensure!(grown < 1 << 20, "the session has grown by {grown} bytes");
        Ok(())
    })?;
    lab.down()
}

/// What the last move leaves is still on its way out when `roam send` says done, so it is counted again
/// until it is gone.
fn no_more_than(lab: &LabGuard, machine: &str, before: &Footprint) -> Result<()> {
    let limit = Limit::seconds(20);
    loop {
        let now = footprint(lab, machine)?;
        let fits = now.processes <= before.processes
            && now.descriptors <= before.descriptors
            && now.namespaces <= before.namespaces
            && now.mounts <= before.mounts;
        if fits {
            return Ok(());
        }
        limit
            .left("what the last move leaves is gone")
            .with_context(|| format!("{machine} held {before} and holds {now}"))?;
    }
}

/// Counted as root from inside, so that pods are seen too and other labs are not.
fn footprint(lab: &LabGuard, name: &str) -> Result<Footprint> {
    let machine = lab.machine(name)?;
    let count = |script: &str| -> Result<usize> {
        let said = wait::success(enter::as_root(&machine, "sh").args(["-c", script]), Limit::seconds(30))?;
        Ok(said.trim().parse()?)
    };
    // What a counting command itself holds is the same each time.
    Ok(Footprint {
        processes: count("ls -d /proc/[0-9]* | wc -l")?,
        descriptors: count("ls /proc/[0-9]*/fd 2>/dev/null | grep -c '^[0-9]'")?,
        namespaces: count("for n in /proc/[0-9]*/ns/*; do readlink $n; done | sort -u | wc -l")?,
        mounts: count("cat /proc/[0-9]*/mountinfo 2>/dev/null | cut -d' ' -f1 | sort -u | wc -l")?,
    })
}

fn memory(lab: &LabGuard, session: &str) -> Result<u64> {
    let list: serde_json::Value = serde_json::from_str(&roam(lab, &["list", "--json"])?)?;
    let sessions = list["sessions"].as_array().context("a list of sessions")?;
    let found = sessions.iter().find(|entry| entry["name"] == session).context("it is in no list")?;
    found["memory_bytes"].as_u64().context("its memory is known")
}
