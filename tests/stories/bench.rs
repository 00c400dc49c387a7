//! `make bench`: how long sessions stand still, how long waking takes, how large they are.
//!
//! Each kind of work is put to sleep and woken on one machine, then sent to and fro, many times. What is
//! printed are medians with the least and the most; nothing here passes or fails by a time.

use anyhow::{Context, Result};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};
use serde_json::Value;

use crate::desktop::{Key, Screen};
use crate::kinds::{self, roam};

/// A kind of work, and what CRIU 4.2 needs for the like, as root, on another machine of this size:
/// milliseconds frozen and restoring, megabytes.
struct Work {
    name: &'static str,
    what: &'static str,
    reference: (f64, f64, f64),
}

const A: Work =
    Work { name: "A", what: "2 threads, 10 heaps, 15 kernel objects", reference: (14.9, 2.4, 1.16) };
const B: Work = Work { name: "B", what: "X server + GTK editor", reference: (70.8, 28.5, 48.7) };

/// Figures of one kind of work.
#[derive(Default)]
struct Figures {
    frozen: Vec<f64>,
    restored: Vec<f64>,
    pod: Vec<f64>,
    megabytes: Vec<f64>,
    down: Vec<f64>,
    total: Vec<f64>,
}

/// Measures, `rounds` times each.
pub fn tell(rounds: usize) -> Report {
    let mut report = Report::new(&["bench"]);
    report.add("bench", "bench", bench(rounds).map_err(|error| format!("{error:#}")));
    report
}

fn bench(rounds: usize) -> Result<()> {
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    let (host, inside) = lab.folder_in_home("bench")?;
    let program = kinds::folder()?.join("mixture");
    let variable = format!("ROAM_TEST_DIR={}", inside.display());
    let program = program.to_str().context("a path in UTF-8")?;
    roam(&lab, &["run", "--no-screen", "--name", A.name, "--env", &variable, "--", program])?;
    wait::for_path(&host.join("ready"), Limit::seconds(30))?;
    let of_a = measure(&lab, &A, rounds)?;
    roam(&lab, &["stop", A.name])?;

    roam(&lab, &["run", "--name", B.name, "--", "mousepad"])?;
    let desk = Screen::of(&lab, "desk");
    desk.focus("B@")?;
    desk.press(&[Key::Text("A letter that was never saved.")])?;
    desk.settle()?;
    let of_b = measure(&lab, &B, rounds)?;
    roam(&lab, &["stop", B.name])?;
    lab.down()?;

    println!("\nms: median [least..most] of {rounds}; in brackets CRIU 4.2's median for the like");
    for (work, figures) in [(&A, &of_a), (&B, &of_b)] {
        let Work { name, what, reference } = work;
        println!("{name}: {what}");
        let line = |what: &str, values: &[f64], reference: Option<f64>| {
            let reference =
                reference.map_or(String::new(), |r| format!("  ({r}, ratio {:.2})", median(values) / r));
            println!("   {what:<22} {}{reference}", spread(values));
        };
        line("parked: frozen", &figures.frozen, Some(reference.0));
        line("resumed: restored", &figures.restored, Some(reference.1));
        line("resumed: pod", &figures.pod, None);
        line("file, MB", &figures.megabytes, Some(reference.2));
        line("moved: down", &figures.down, None);
        line("moved: in all", &figures.total, None);
    }
    Ok(())
}

fn measure(lab: &LabGuard, work: &Work, rounds: usize) -> Result<Figures> {
    let mut figures = Figures::default();
    let number =
        |value: &Value, name: &str| value[name].as_f64().with_context(|| format!("{value} has no {name}"));
    for round in 0..=rounds {
        let parked: Value = serde_json::from_str(&roam(lab, &["park", work.name, "--json"])?)?;
        let resumed: Value = serde_json::from_str(&roam(lab, &["resume", work.name, "--json"])?)?;
        // The first warms up.
        if round > 0 {
            figures.frozen.push(number(&parked, "frozen_ms")?);
            figures.megabytes.push(number(&parked, "bytes")? / 1e6);
            figures.restored.push(number(&resumed, "restored_ms")?);
            figures.pod.push(number(&resumed, "pod_ms")?);
        }
    }
    for round in 0..=rounds {
        let target = if round % 2 == 0 { "laptop" } else { "desk" };
        let said = roam(lab, &["send", work.name, target, "--json"])?;
        let done: Value = serde_json::from_str(said.lines().last().context("`roam send` printed nothing")?)?;
        if round > 0 {
            figures.down.push(number(&done, "downtime_ms")?);
            figures.total.push(number(&done, "total_ms")?);
        }
    }
    Ok(figures)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(f64::NAN)
}

fn spread(values: &[f64]) -> String {
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    let most = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    format!("{:.1} [{least:.1}..{most:.1}]", median(values))
}
