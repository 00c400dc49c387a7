//! The road: one session that holds everything goes desk, laptop, desk, laptop, and is whole.
//!
//! What it holds are the programs of the kinds, all at once in one pod, below `programs/road`.

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;

use crate::kinds::{self, roam, send};

/// Left out: those that keep both cores busy for their whole life, which would only make the road
/// long, three that leave too few descriptor numbers to all the others together, and one that watches /tmp,
/// where others work.
const NOT_ON_THE_ROAD: [&str; 17] = [
    "busy-forked",
    "busy-memory",
    "busy-shared",
    "changing-maps",
    "changing-processes",
    "children-ending",
    "descriptors-high",
    "descriptors-thousands",
    "direct-reads",
    "fork-relay",
    "heap-arenas",
    "inotify-many",
    "inside-handler",
    "limits",
    "own-syscalls",
    "registers",
    "wide-registers",
];

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["road"]);
    let result = road();
    report.add("road", "road", result.map_err(|error| format!("{error:#}")));
    report
}

fn road() -> Result<()> {
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    along(&lab, |_| true)?;
    lab.down()
}

/// Takes the road between desk and laptop with those of the programs that are `wanted`.
pub fn along(lab: &LabGuard, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let folder = kinds::folder()?;
    let path = |name: &str| {
        Ok::<_, anyhow::Error>(folder.join(name).to_str().context("a path in UTF-8")?.to_owned())
    };
    let programs = kinds::names()?;
    let mut argv = vec![path("road")?];
    // What is refused would refuse the whole session; the kinds count each of them.
    let left_out = |name: &str| NOT_ON_THE_ROAD.contains(&name) || kinds::is_refused(name);
    for name in programs.iter().filter(|name| !left_out(name) && wanted(name)) {
        argv.push(path(name)?);
    }
    let argv: Vec<&str> = argv.iter().map(String::as_str).collect();
    let (host, inside) = lab.folder_in_home("road")?;
    kinds::session(lab, "road", &argv, &host, &inside, |lab, session| {
        for machine in ["laptop", "desk", "laptop"] {
            send(lab, session, machine).with_context(|| format!("to {machine}"))?;
            let status = roam(lab, &["exec", session, "--", "cat", "/proc/self/status"])?;
            for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                ensure!(
                    status.contains(&format!("{set}:\t0000000000000000")),
                    "{set} is not empty on {machine}"
                );
            }
        }
        Ok(())
    })
}
