//! `make demo`: an editor with unsaved text and a terminal go from desk to laptop, the last line is
//! undone over there, desk goes down, and the typing goes on. Pictures and a table tell of it.

use std::fs;
use std::io::Write;
use std::os::unix::fs::chown;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::machine::screen_socket;
use serde_json::Value;

use crate::desktop::Key::{Named, Text};
use crate::desktop::Screen;

/// One line of the table.
struct Row {
    app: &'static str,
    memory: u64,
    done: Value,
}

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["demo"]);
    report.add("demo", "demo", demo().map_err(|error| format!("{error:#}")));
    report
}

fn demo() -> Result<()> {
    let pictures = pictures("demo")?;
    println!("Two machines come up: desk and laptop.");
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    let (desk, laptop) = (Screen::of(&lab, "desk"), Screen::of(&lab, "laptop"));

    let window = open_app(&lab)?;
    println!("On desk: an editor with unsaved text, and a terminal.");
    // One after the other: a window that opens takes the keyboard from the one that is typed into.
    start(&lab, "terminal", "xterm")?;
    desk.focus("terminal@")?;
    desk.press(&[Text("W='typed on desk'"), Named("Return")])?;
    start(&lab, "editor", "mousepad")?;
    desk.focus("editor@")?;
    desk.press(&[Text("Dear reader,"), Named("Return"), Text("this was never saved."), Named("Return")])?;
    desk.press(&[Text("Undo-me-over-there.")])?;
    desk.shot(&pictures.join("1-desk-before.png"))?;

    println!("Both are sent to laptop.");
    let rows = [send(&lab, "editor")?, send(&lab, "terminal")?];
    laptop.focus("terminal@")?;
    laptop.focus("editor@")?;
    laptop.shot(&pictures.join("2-laptop-after.png"))?;
    desk.shot(&pictures.join("3-desk-after.png"))?;

    println!("On laptop: Ctrl+Z.");
    laptop.press(&[Named("ctrl+z")])?;
    laptop.shot(&pictures.join("4-laptop-undone.png"))?;

    println!("desk goes down; on laptop the typing goes on.");
    wait::success(&mut lab.lab(&["down", "desk"]), Limit::seconds(60))?;
    laptop.press(&[Text("Desk is gone, I go on.")])?;
    laptop.focus("terminal@")?;
    laptop.press(&[Text("echo $W | tee said"), Named("Return")])?;
    wait::for_path(&lab.folder().home().join("said"), Limit::seconds(30))?;
    laptop.shot(&pictures.join("5-laptop-alone.png"))?;
    let said = fs::read_to_string(lab.folder().home().join("said"))?;
    ensure!(said == "typed on desk\n", "the shell on laptop says {said:?}");

    println!("\n{}", table(&rows));
    println!("Pictures: {}", pictures.display());
    if let Some(mut window) = window {
        println!("Roam's window of laptop is open on your screen; close it to end the demo.");
        window.wait()?;
    }
    lab.down()
}

fn start(lab: &LabGuard, name: &str, command: &str) -> Result<()> {
    let said = lab.run("desk", &["roam", "run", "--name", name, "--", command], 60)?;
    ensure!(said.trim() == name, "`roam run` printed {said:?}");
    Ok(())
}

/// On a machine with a real screen, Roam's window of laptop is opened there.
fn open_app(lab: &LabGuard) -> Result<Option<Child>> {
    let Ok(display) = std::env::var("DISPLAY") else { return Ok(None) };
    let laptop = lab.machine("laptop")?;
    let socket = screen_socket(&display);
    if !laptop.init.path("root").join(socket.strip_prefix("/")?).exists() {
        return Ok(None);
    }
    // The person's cookie, for any address: the machine has another host name.
    let cookie = "xauth nlist \"$DISPLAY\" | sed 's/^..../ffff/'";
    let cookie = wait::success(Command::new("sh").args(["-c", cookie]), Limit::seconds(20))?;
    let authority = laptop.runtime().join("real-screen");
    let file = authority.to_str().context("a path in UTF-8")?;
    let mut store = lab.on("laptop", &["xauth", "-q", "-f", file, "nmerge", "-"])?;
    let mut merge = store.stdin(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    merge.stdin.take().context("stdin was piped")?.write_all(cookie.as_bytes())?;
    merge.wait()?;
    let mut app = lab.on("laptop", &["roam-app"])?;
    Ok(Some(app.env("DISPLAY", display).env("XAUTHORITY", authority).spawn()?))
}

fn send(lab: &LabGuard, app: &'static str) -> Result<Row> {
    let list: Value = serde_json::from_str(&lab.run("desk", &["roam", "list", "--json"], 30)?)?;
    let sessions = list["sessions"].as_array().context("a list of sessions")?;
    let memory =
        sessions.iter().find(|session| session["name"] == app).and_then(|s| s["memory_bytes"].as_u64());
    let said = lab.run("desk", &["roam", "send", app, "laptop", "--json"], 120)?;
    let done: Value = serde_json::from_str(said.lines().last().context("`roam send` printed nothing")?)?;
    ensure!(done["event"] == "done" && done["to"] == "laptop", "`roam send` ended with {done}");
    Ok(Row { app, memory: memory.unwrap_or(0), done })
}

fn table(rows: &[Row]) -> String {
    let mib = |bytes: u64| format!("{:.1} MiB", bytes as f64 / 1_048_576.0);
    let mut text = format!(
        "{:10} {:>11} {:>11} {:>7} {:>16} {:>9}\n",
        "app", "memory", "checkpoint", "rounds", "downtime", "total"
    );
    for row in rows {
        let number = |field: &str| row.done[field].as_f64().unwrap_or(0.0);
        text.push_str(&format!(
            "{:10} {:>11} {:>11} {:>7} {:>16} {:>9}\n",
            row.app,
            mib(row.memory),
            mib(row.done["checkpoint_bytes"].as_u64().unwrap_or(0)),
            row.done["rounds"].as_array().map_or(0, Vec::len),
            format!("{:.1} ± {:.1} ms", number("downtime_ms"), number("downtime_uncertainty_ms")),
            format!("{} ms", number("total_ms")),
        ));
    }
    text
}

/// A folder below `target`, emptied, and the person's even when root makes it.
pub fn pictures(name: &str) -> Result<PathBuf> {
    let programs = std::env::current_exe()?.parent().context("a program has a folder")?.to_owned();
    let folder = programs.parent().context("a target folder")?.join(name);
    if folder.exists() {
        fs::remove_dir_all(&folder)?;
    }
    fs::create_dir_all(&folder)?;
    let id = |name: &str| std::env::var(name).ok().and_then(|id| id.parse().ok());
    chown(&folder, id("SUDO_UID"), id("SUDO_GID"))?;
    Ok(folder)
}
