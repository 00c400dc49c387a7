//! Real apps on the road: each goes desk, laptop, desk, laptop, answers keys after each move, and
//! still has what it held. A complete run writes the figures of
//! those that did into tests/README.md.

mod figures;
mod list;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};
use serde_json::Value;

use self::figures::Figures;
use self::list::{App, Proof, apps};
use crate::desktop::{Key, Looks, Screen};
use crate::kinds::roam;

/// Runs all apps, or those named.
pub fn tell(only: &[String]) -> Report {
    let mut report = Report::new(&["apps"]);
    if let Err(error) = run(only, &mut report) {
        report.add("the lab", "apps", Err(format!("{error:#}")));
    }
    report
}

fn run(only: &[String], report: &mut Report) -> Result<()> {
    let only: Vec<&String> = only.iter().filter(|name| !name.is_empty()).collect();
    for name in &only {
        ensure!(apps().any(|app| app.name == *name), "no app is called {name}");
    }
    let pictures = pictures()?;
    let lab = LabGuard::up(&["desk", "laptop"], false)?;
    let (folder, _) = lab.folder_in_home("apps")?;
    fs::write(folder.join("two-processes.py"), include_str!("two-processes.py"))?;
    fs::write(folder.join("Swing.java"), include_str!("Swing.java"))?;
    fs::write(folder.join("browser.py"), include_str!("browser.py"))?;
    fs::write(folder.join("nginx.sh"), include_str!("nginx.sh"))?;
    let mut figures = Vec::new();
    for app in apps().filter(|app| only.is_empty() || only.iter().any(|name| *name == app.name)) {
        let result = Ride { lab: &lab, app, folder: &folder, pictures: &pictures }.whole();
        eprintln!("{} {}", if result.is_ok() { "ok    " } else { "FAILED" }, app.name);
        let _gone = roam(&lab, &["stop", app.name]);
        report.add(
            app.name,
            "apps",
            result.map(|of_app| figures.push(of_app)).map_err(|error| format!("{error:#}")),
        );
    }
    if only.is_empty() {
        figures::write(&figures)?;
    }
    lab.down()
}

/// One app's way.
struct Ride<'a> {
    lab: &'a LabGuard,
    app: &'a App,
    /// HOME's `apps`, where the apps write what they are asked for.
    folder: &'a Path,
    pictures: &'a Path,
}

impl Ride<'_> {
    fn whole(&self) -> Result<Figures> {
        let app = self.app;
        let mut argv = vec!["run", "--name", app.name, "--"];
        argv.extend(app.command);
        roam(self.lab, &argv)?;
        let desk = Screen::of(self.lab, "desk");
        desk.focus(&self.title())?;
        if !matches!(app.proof, Proof::Moving) {
            desk.settle()?;
        }
        self.press(&desk, app.before, 0)?;
        let undisturbed = match app.proof {
            Proof::Job(job) => Some(self.start_job(&desk, job)?),
            _ => None,
        };
        let mut figures = Figures::of(self.lab, app.name)?;
        for (number, [from, to]) in
            [["desk", "laptop"], ["laptop", "desk"], ["desk", "laptop"]].iter().enumerate()
        {
            let number = number + 1;
            let downtime = self.leg(number, from, to).with_context(|| format!("move {number}"))?;
            figures.downtimes.push(downtime);
        }
        if let Some(undisturbed) = undisturbed {
            self.end_job(&undisturbed)?;
        }
        let last = self.pictures.join(format!("{}.png", app.name));
        Screen::of(self.lab, "laptop").photograph(&last)?;
        Ok(figures)
    }

    /// One move, and what is done before and after it. Returns how long the app stood still, in milliseconds.
    fn leg(&self, number: usize, from: &str, to: &str) -> Result<f64> {
        let app = self.app;
        let (source, target) = (Screen::of(self.lab, from), Screen::of(self.lab, to));
        self.press(&source, app.held, number)?;
        let open = app.open.map(|title| source.looks(title).map(|looks| (title, looks))).transpose()?;
        let looked = matches!(app.proof, Proof::Picture).then(|| self.looks(&source)).transpose()?;
        let downtime = self.send(to)?;
        if number == 1 && matches!(app.proof, Proof::Job(_)) {
            ensure!(!self.folder.join(app.name).exists(), "the job had ended before the first move was over");
        }
        if let Some((title, looked)) = open {
            ensure!(target.looks(title)? == looked, "{title:?} looks different on {to}");
        }
        // It came without the keyboard, since nobody asked for it at that screen. Not by a click, which would
        // close an open menu.
        target.focus(&self.title())?;
        if let Some(looked) = looked {
            self.comes_to_look(&target, &looked).with_context(|| format!("on {to}"))?;
        }
        self.answer(&target, number).with_context(|| format!("on {to}"))?;
        Ok(downtime)
    }

    /// Lets a job run undisturbed, then starts it in the session's shell. Returns what it printed.
    fn start_job(&self, screen: &Screen<'_>, job: &str) -> Result<String> {
        let job = job.replace("$SOURCES", concat!(env!("CARGO_MANIFEST_DIR"), "/programs"));
        let undisturbed = self.lab.run("desk", &["sh", "-c", &format!("{job}; rm -rf /tmp/made")], 120)?;
        ensure!(!undisturbed.is_empty(), "`{job}` prints nothing");
        let name = self.app.name;
        // Renamed into place: whoever sees the file sees all of it.
        let line = format!("( {job} ) >apps/{name}.new 2>&1; mv apps/{name}.new apps/{name}");
        screen.press(&[Key::Text(&line), Key::Named("Return")])?;
        wait::for_path(&self.folder.join(format!("{name}.new")), Limit::seconds(30))?;
        Ok(undisturbed)
    }

    fn end_job(&self, undisturbed: &str) -> Result<()> {
        let file = self.folder.join(self.app.name);
        wait::for_path(&file, Limit::seconds(120))?;
        let said = fs::read_to_string(&file)?;
        ensure!(said == undisturbed, "the job said {said:?}, undisturbed {undisturbed:?}");
        Ok(())
    }

    fn title(&self) -> String {
        format!("{}.*{}@", self.app.title, self.app.name)
    }

    fn press(&self, screen: &Screen<'_>, keys: &[Key<'_>], number: usize) -> Result<()> {
        for key in keys {
            match key {
                Key::Text(text) => screen.press(&[Key::Text(&text.replace('#', &number.to_string()))])?,
                key => screen.press(&[*key])?,
            }
        }
        Ok(())
    }

    fn send(&self, machine: &str) -> Result<f64> {
        let said = roam(self.lab, &["send", self.app.name, machine, "--json"])?;
        let done: Value = serde_json::from_str(said.lines().last().context("`roam send` printed nothing")?)?;
        ensure!(done["event"] == "done" && done["to"] == machine, "`roam send` ended with {done}");
        done["downtime_ms"].as_f64().context("a downtime")
    }

    /// What its window looks like when the pointer is elsewhere.
    fn looks(&self, screen: &Screen<'_>) -> Result<Looks> {
        screen.pointer_away()?;
        screen.looks(&self.title())
    }

    /// Waits until its window looks as it did, but for one pixel in fifty: cursors blink, scroll bars fade, hints go.
    fn comes_to_look(&self, screen: &Screen<'_>, looked: &Looks) -> Result<()> {
        let limit = Limit::seconds(20);
        loop {
            let looks = self.looks(screen)?;
            let differ = looks.pixels.iter().zip(&looked.pixels).filter(|(one, other)| one != other).count();
            if looks.size == looked.size && differ * 50 < looked.pixels.len() {
                return Ok(());
            }
            limit.left("it looks as it did before the move").with_context(|| {
                let all = looked.pixels.len();
                format!("{:?} is {:?}, {differ} of {all} pixels differ", looked.size, looks.size)
            })?;
        }
    }

    /// What a proof's texts say after so many moves.
    fn wanted(first: &str, each: &str, number: usize) -> String {
        let moves = (1..=number).map(|number| each.replace('#', &number.to_string()));
        format!("{first}{}", moves.collect::<String>())
    }

    fn answer(&self, screen: &Screen<'_>, number: usize) -> Result<()> {
        let app = self.app;
        match app.proof {
            Proof::File(first, each) => {
                self.press(screen, app.after, number)?;
                let wanted = Self::wanted(first, each, number);
                let file = self.folder.join(app.name);
                // Some editors end the last line, some do not.
                wait::for_content(&file, Limit::seconds(30), |text| text.trim_end() == wanted.trim_end())
                    .with_context(|| {
                        let holds = fs::read_to_string(&file).unwrap_or_default();
                        format!("{} holds {holds:?}, not {wanted:?}", file.display())
                    })
            }
            Proof::Copied(first, each) => {
                self.press(screen, app.after, number)?;
                let wanted = Self::wanted(first, each, number);
                let limit = Limit::seconds(30);
                let paste = ["exec", app.name, "--", "xclip", "-o", "-selection", "clipboard"];
                loop {
                    // It fails while nobody has copied anything.
                    let pasted = roam(self.lab, &paste).unwrap_or_default();
                    if pasted.trim_end() == wanted.trim_end() {
                        return Ok(());
                    }
                    limit
                        .left("its text comes")
                        .with_context(|| format!("it copied {pasted:?}, not {wanted:?}"))?;
                }
            }
            Proof::Picture => {
                let picture = |name: &str| self.lab.folder().path().join(format!("{}-{name}.png", app.name));
                let (before, after) = (picture("before"), picture("after"));
                screen.shot(&before)?;
                self.press(screen, app.after, number)?;
                screen.shot(&after)?;
                ensure!(fs::read(&before)? != fs::read(&after)?, "the keys changed nothing");
                Ok(())
            }
            // What it prints is looked at when it has ended.
            Proof::Job(_) => Ok(()),
            Proof::Moving => screen.moves(),
        }
    }
}

/// `target/apps`, where the last picture of each app goes.
fn pictures() -> Result<PathBuf> {
    let programs = std::env::current_exe()?;
    let folder = programs.ancestors().nth(2).context("a target folder")?.join("apps");
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
