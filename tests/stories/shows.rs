//! Only the screen goes: an app stays on desk and is shown on laptop; viewer and display are killed;
//! the app notices nothing and is shown again.

use std::fs;

use anyhow::{Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};

use crate::desktop::Key::{Named, Text};
use crate::desktop::Screen;
use crate::kinds::roam;

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["shows"]);
    report.add("shows", "shows", shows().map_err(|error| format!("{error:#}")));
    report
}

fn shows() -> Result<()> {
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    let (desk, laptop) = (Screen::of(&lab, "desk"), Screen::of(&lab, "laptop"));
    roam(&lab, &["run", "--name", "terminal", "--", "xterm"])?;
    desk.focus("terminal@")?;
    desk.press(&[Text("X=held"), Named("Return")])?;
    let first = says(&lab, &desk, "echo $X $$", "first")?;
    ensure!(first.starts_with("held "), "the shell on desk says {first:?}");

    roam(&lab, &["show", "terminal", "--on", "laptop"])?;
    laptop.focus("terminal@")?;
    ensure!(says(&lab, &laptop, "echo $X $$", "second")? == first, "another shell is shown on laptop");

    for part in [["laptop", "viewer"], ["desk", "display"]] {
        wait::success(&mut lab.lab(&["kill", part[0], part[1], "terminal"]), Limit::seconds(30))?;
    }
    roam(&lab, &["hide", "terminal"])?;
    roam(&lab, &["show", "terminal", "--on", "desk"])?;
    desk.focus("terminal@")?;
    ensure!(says(&lab, &desk, "echo $X $$", "third")? == first, "the shell is another one");
    roam(&lab, &["stop", "terminal"])?;
    lab.down()
}

/// Types a command into a shell and returns what it printed.
fn says(lab: &LabGuard, screen: &Screen<'_>, command: &str, name: &str) -> Result<String> {
    // Renamed into place: whoever sees the file sees all of it.
    let line = format!("( {command} ) > .{name}; mv .{name} {name}");
    screen.press(&[Text(&line), Named("Return")])?;
    let file = lab.folder().home().join(name);
    wait::for_path(&file, Limit::seconds(30))?;
    Ok(fs::read_to_string(file)?)
}
