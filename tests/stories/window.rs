//! Roam's window and tray as a person uses them: real keys and a real mouse on the machines' screens,
//! real agents behind it, and after each step what the agents say. Pictures go to `target/window`.

mod looks;
mod machines;
mod tray;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use roam_api::agent::Snapshot;
use roam_api::session::{SessionInfo, SessionState};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::enter;
use roam_tests::lab::roam::await_snapshot;

use crate::desktop::Key::{Named, Text};
use crate::desktop::Screen;
use crate::kinds::roam;

/// The title of Roam's window, for `xdotool`.
const ROAM: &str = "^Roam$";
/// The title of the editor's window.
const EDITOR: &str = "Mousepad.*@";
/// What is written in it; a file of the shared home.
const LETTER: &str = "Letter to Grace.txt";
/// Slow enough that there is a middle to a move: some 20 MiB.
const SLOW: &str = "16mbit";

/// Tells the story.
pub fn tell() -> Report {
    let mut report = Report::new(&["window"]);
    let mut note = |case: &str, result: Result<()>| {
        eprintln!("{} {case}", if result.is_ok() { "ok    " } else { "FAILED" });
        report.add(case, "window", result.map_err(|error| format!("{error:#}")));
    };
    match Window::up() {
        Err(error) => note("up", Err(error)),
        Ok(window) => {
            for (name, chapter) in CHAPTERS {
                let begun = std::time::Instant::now();
                let result = chapter(&window);
                if result.is_err() {
                    let _only_to_look_at =
                        window.desk().photograph(&window.file(&format!("failed-at-{name}")));
                }
                eprint!("{:5.1} s  ", begun.elapsed().as_secs_f32());
                note(name, result);
                let _as_it_was = window.restore();
            }
            note("down", window.lab.down());
        }
    }
    report
}

/// What it is called, and what is done.
type Chapter = (&'static str, fn(&Window) -> Result<()>);

/// One after the other in one lab; a chapter begins where the one before it ended.
const CHAPTERS: [Chapter; 14] = [
    ("empty", empty),
    ("start", start),
    ("send", send),
    ("cancel", cancel),
    ("reopened", reopened),
    ("refused", refused),
    ("agent-killed", agent_killed),
    ("shown", machines::shown),
    ("asked", machines::asked),
    ("arriving", machines::arriving),
    ("keys", machines::keys_alone),
    ("tray", tray::tray),
    ("paired", machines::paired),
    ("looks", looks::looks),
];

/// The lab, and where its pictures go.
pub struct Window {
    lab: LabGuard,
    pictures: PathBuf,
}

impl Window {
    fn up() -> Result<Self> {
        let pictures = crate::demo::pictures("window")?;
        let lab = LabGuard::up(&["desk", "laptop"], false)?;
        let window = Self { lab, pictures };
        window.desk().readable()?;
        Ok(window)
    }

    fn desk(&self) -> Screen<'_> {
        Screen::of(&self.lab, "desk")
    }

    fn laptop(&self) -> Screen<'_> {
        Screen::of(&self.lab, "laptop")
    }

    fn file(&self, name: &str) -> PathBuf {
        self.pictures.join(format!("{name}.png"))
    }

    /// Opens the app on a machine, or brings it to the front.
    fn open(&self, machine: &str, variables: &[(&str, &str)]) -> Result<()> {
        let mut app = self.lab.on(machine, &["setsid", "--fork", "roam-app"])?;
        let null = std::process::Stdio::null;
        app.envs(variables.iter().copied()).stdout(null()).stderr(null());
        ensure!(app.status()?.success(), "roam-app can't be started");
        Screen::of(&self.lab, machine).focus(ROAM)
    }

    /// Closes the app, and returns once its window has gone.
    fn close(&self, machine: &str) -> Result<()> {
        let screen = Screen::of(&self.lab, machine);
        screen.focus(ROAM)?;
        screen.press(&[Named("ctrl+q")])?;
        screen.gone("This machine")
    }

    /// A picture of Roam's window on a machine, without what is around it.
    fn picture(&self, machine: &str, name: &str) -> Result<()> {
        let screen = Screen::of(&self.lab, machine);
        screen.pointer_away()?;
        screen.settle()?;
        self.picture_now(machine, name)
    }

    fn picture_now(&self, machine: &str, name: &str) -> Result<()> {
        let file = self.file(name);
        Screen::of(&self.lab, machine).photograph(&file)?;
        let (left, top, width, height) = Screen::of(&self.lab, machine).roam_window()?;
        let place = [left, top, width, height].map(|number| u32::try_from(number).unwrap_or(0));
        crop(&file, place).with_context(|| format!("{name} can't be cut out"))
    }

    /// Waits for what a machine's agent says.
    fn agent(&self, machine: &str, what: &str, wanted: impl Fn(&Snapshot) -> bool) -> Result<Snapshot> {
        await_snapshot(&self.lab.machine(machine)?, what, Limit::seconds(60), wanted)
    }

    /// Waits until a session runs on a machine and its move is over, by desk's agent.
    fn runs_on(&self, session: &str, machine: &str) -> Result<()> {
        let there =
            |s: &SessionInfo| s.name == session && s.host == machine && s.state == SessionState::Running;
        let over = |snapshot: &Snapshot| snapshot.moves.iter().all(|m| m.end.is_some());
        let what = format!("{session} runs on {machine}");
        self.agent("desk", &what, |snapshot| snapshot.sessions.iter().any(there) && over(snapshot)).map(drop)
    }

    /// The editor answers keys where it is shown: it writes its text, with these words, to a file.
    fn answers(&self, machine: &str, words: &str) -> Result<()> {
        let screen = Screen::of(&self.lab, machine);
        let file = self.lab.folder().home().join(LETTER);
        screen.focus(EDITOR)?;
        screen.press(&[Named("ctrl+End"), Text(words), Named("ctrl+s")])?;
        wait::for_content(&file, Limit::seconds(20), |text| text.contains(words))
            .with_context(|| format!("the editor on {machine} does not write what is typed"))
    }

    /// What every chapter begins with, however the one before it ended: the editor on desk, a fast link.
    fn restore(&self) -> Result<()> {
        self.tell_lab(&["link", "laptop", "--rate", "none"])?;
        self.lab.run("laptop", &["roam", "allow", "desk", "send=always"], 30)?;
        roam(&self.lab, &["send", "mousepad", "desk"])?;
        // Its window takes the keyboard when it comes: better now than in the middle of the next chapter.
        self.desk().focus(EDITOR)
    }

    fn tell_lab(&self, arguments: &[&str]) -> Result<()> {
        wait::success(&mut self.lab.lab(arguments), Limit::seconds(120)).map(drop)
    }
}

/// Cuts a picture down to a part of it.
fn crop(file: &Path, [left, top, width, height]: [u32; 4]) -> Result<()> {
    let mut reader = png::Decoder::new(std::io::BufReader::new(std::fs::File::open(file)?)).read_info()?;
    let mut all = vec![0; reader.output_buffer_size().context("a picture of a size")?];
    let info = reader.next_frame(&mut all)?;
    let (width, height) = (width.min(info.width - left), height.min(info.height - top));
    let part: Vec<u8> = (top..top + height)
        .flat_map(|y| {
            let from = (y * info.width + left) as usize * 3;
            all[from..from + width as usize * 3].iter().copied()
        })
        .collect();
    let mut encoder = png::Encoder::new(std::fs::File::create(file)?, width, height);
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_compression(png::Compression::High);
    encoder.write_header()?.write_image_data(&part)?;
    Ok(())
}

/// Paired, and nothing runs: the window says what to do.
fn empty(window: &Window) -> Result<()> {
    window.open("desk", &[])?;
    let desk = window.desk();
    for words in ["desk, No apps yet", "laptop, Online", "No apps yet", "Start an app"] {
        desk.see(words)?;
    }
    window.picture("desk", "empty")
}

/// An app is started from the launcher, by its name.
fn start(window: &Window) -> Result<()> {
    let desk = window.desk();
    desk.click("Start an app")?;
    desk.see("Back")?;
    window.picture("desk", "launcher")?;
    desk.press(&[Text("mousepad 'Letter to Grace.txt'")])?;
    desk.see("Run “mousepad 'Letter to Grace.txt'”")?;
    desk.press(&[Named("Return")])?;
    window.runs_on("mousepad", "desk")?;
    desk.focus(EDITOR)?;
    desk.press(&[Text("Dear Grace, this was never saved.")])?;
    desk.focus(ROAM)?;
    // The window's title as the app sets it, with its mark of unsaved text.
    desk.see("Send *Letter to Grace.txt - Mousepad to laptop")?;
    desk.see("desk, 1 app")?;
    window.picture("desk", "session")
}

/// Begins a send that has a middle, and returns in it.
fn begin(window: &Window) -> Result<()> {
    let desk = window.desk();
    window.open("desk", &[])?;
    window.tell_lab(&["link", "laptop", "--rate", SLOW])?;
    desk.click("Send * to laptop")?;
    desk.see("Moving to laptop")?;
    desk.see("Copying while it runs*MB of*").map(drop)
}

/// One click, and it goes; the stages are told; and Undo brings it back.
fn send(window: &Window) -> Result<()> {
    begin(window)?;
    window.picture_now("desk", "moving")?;
    let desk = window.desk();
    window.tell_lab(&["link", "laptop", "--rate", "none"])?;
    window.runs_on("mousepad", "laptop")?;
    desk.see("Moved to laptop. It paused for *")?;
    desk.see("laptop, 1 app")?;
    window.laptop().focus(EDITOR)?;
    window.picture("desk", "moved")?;
    desk.click("Undo")?;
    window.runs_on("mousepad", "desk")?;
    desk.see("Moved here. It paused for *")?;
    desk.click("Dismiss")?;
    desk.gone("Moved here*")
}

/// Cancelled in the middle: it never left.
fn cancel(window: &Window) -> Result<()> {
    begin(window)?;
    let desk = window.desk();
    desk.click("Cancel moving *")?;
    desk.see("Cancelled. It stays on desk.")?;
    window.runs_on("mousepad", "desk")?;
    window.picture("desk", "cancelled")?;
    desk.click("Dismiss")?;
    window.answers("desk", "Still here.")
}

/// The window is closed in the middle of a move and opened again: the move goes on, and shows.
fn reopened(window: &Window) -> Result<()> {
    begin(window)?;
    window.close("desk")?;
    window.open("desk", &[])?;
    let desk = window.desk();
    desk.see("Moving to laptop")?;
    desk.see("Cancel moving *")?;
    window.tell_lab(&["link", "laptop", "--rate", "none"])?;
    window.runs_on("mousepad", "laptop")?;
    desk.see("Moved to laptop. It paused for *")?;
    desk.click("Bring * here")?;
    window.runs_on("mousepad", "desk")?;
    desk.click("Dismiss")?;
    window.answers("desk", "And back.")
}

/// What can't be done is said in a sentence, with what to do; and done once that is mended.
fn refused(window: &Window) -> Result<()> {
    let laptop = window.lab.machine("laptop")?;
    let as_root = |command: &str| {
        wait::success(enter::as_root(&laptop, "sh").args(["-c", command]), Limit::seconds(20)).map(drop)
    };
    as_root("cp --preserve=all /usr/bin/mousepad /root/ && printf x >> /usr/bin/mousepad")?;
    let desk = window.desk();
    window.open("desk", &[])?;
    desk.click("Send * to laptop")?;
    desk.see("laptop can't take mousepad.")?;
    desk.see("*/usr/bin/mousepad*")?;
    window.picture("desk", "refused")?;
    window.runs_on("mousepad", "desk")?;
    as_root("cp --preserve=all /root/mousepad /usr/bin/mousepad")?;
    desk.click("Try again")?;
    window.runs_on("mousepad", "laptop")?;
    desk.see("Moved to laptop. It paused for *")?;
    desk.click("Undo")?;
    window.runs_on("mousepad", "desk")?;
    desk.click("Dismiss")
}

/// The agent is killed under the window: the window starts another, and nothing is lost.
fn agent_killed(window: &Window) -> Result<()> {
    window.tell_lab(&["kill", "desk", "agent"])?;
    let desk = window.desk();
    let name = roam(&window.lab, &["list"]).context("an agent answers")?;
    ensure!(name.contains("mousepad"), "the new agent lists {name:?}");
    desk.see("laptop, Online")?;
    desk.see("Send * to laptop").map(drop)
}
