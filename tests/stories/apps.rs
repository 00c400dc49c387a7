//! Real apps on the road: each goes desk, laptop, desk, laptop, answers keys after each move, and
//! still has what it held.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::report::Report;
use roam_tests::harness::wait::{self, Limit};

use crate::desktop::Key::{self, Named, Text};
use crate::desktop::Screen;
use crate::kinds::{roam, send};

/// How an app shows that it has answered.
enum Proof {
    /// The file `NAME` in HOME's `apps` holds this; `#` stands for the move's number.
    File(&'static str),
    /// The picture has changed.
    Picture,
    /// The picture changes by itself.
    Moving,
}

struct App {
    name: &'static str,
    command: &'static [&'static str],
    /// Pressed once, on desk.
    before: &'static [Key<'static>],
    /// Pressed after each move; `#` in text stands for the move's number.
    after: &'static [Key<'static>],
    proof: Proof,
}

const RETURN: Key<'static> = Named("Return");

const APPS: &[App] = &[
    App {
        name: "bash",
        command: &["xterm"],
        before: &[Text("X=held"), RETURN],
        after: &[Text("echo $X > apps/bash.new; mv apps/bash.new apps/bash"), RETURN],
        proof: Proof::File("held\n"),
    },
    App {
        name: "vim",
        command: &["xterm", "-e", "vim.tiny", "-u", "NONE"],
        before: &[Text("iunsaved text"), Named("Escape")],
        after: &[Text("A #"), Named("Escape"), Text(":w! apps/vim"), RETURN],
        proof: Proof::File("unsaved text #\n"),
    },
    App {
        name: "python",
        command: &["xterm", "-e", "python3", "-q"],
        before: &[Text("x = 41"), RETURN],
        after: &[Text("open('apps/python','w').write(str(x + 1))"), RETURN],
        proof: Proof::File("42"),
    },
    App {
        name: "mousepad",
        command: &["mousepad", "apps/mousepad"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved #"),
    },
    App {
        name: "featherpad",
        command: &["featherpad", "apps/featherpad"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved #"),
    },
    App {
        name: "gnome-text-editor",
        command: &["gnome-text-editor", "-s", "apps/gnome-text-editor"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved #"),
    },
    App {
        name: "emacs",
        command: &["emacs", "-q", "apps/emacs"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+x"), Named("ctrl+s")],
        proof: Proof::File("unsaved #"),
    },
    App {
        name: "xcalc",
        command: &["xcalc"],
        before: &[Text("12+")],
        after: &[Text("3+")],
        proof: Proof::Picture,
    },
    App {
        name: "galculator",
        command: &["galculator"],
        before: &[Text("12+")],
        after: &[Text("3+")],
        proof: Proof::Picture,
    },
    App { name: "glxgears", command: &["glxgears"], before: &[], after: &[], proof: Proof::Moving },
];

/// Runs all apps, or those named.
pub fn tell(only: &[String]) -> Report {
    let mut report = Report::new(&["apps"]);
    match LabGuard::up(&["desk", "laptop"], false) {
        Err(error) => report.add("up", "apps", Err(format!("{error:#}"))),
        Ok(lab) => {
            let only: Vec<&String> = only.iter().filter(|name| !name.is_empty()).collect();
            for app in APPS.iter().filter(|app| only.is_empty() || only.iter().any(|name| *name == app.name))
            {
                let result = ride(&lab, app);
                eprintln!("{} {}", if result.is_ok() { "ok    " } else { "FAILED" }, app.name);
                let _gone = roam(&lab, &["stop", app.name]);
                report.add(app.name, "apps", result.map_err(|error| format!("{error:#}")));
            }
            report.add("down", "apps", lab.down().map_err(|error| format!("{error:#}")));
        }
    }
    report
}

fn ride(lab: &LabGuard, app: &App) -> Result<()> {
    let (host, _) = lab.folder_in_home("apps")?;
    let mut argv = vec!["run", "--name", app.name, "--"];
    argv.extend(app.command);
    roam(lab, &argv)?;
    let title = format!("{}@", app.name);
    let desk = Screen::of(lab, "desk");
    desk.focus(&title)?;
    desk.settle().or_else(|error| if matches!(app.proof, Proof::Moving) { Ok(()) } else { Err(error) })?;
    desk.press(app.before)?;
    let mut said = String::new();
    for (number, machine) in ["laptop", "desk", "laptop"].iter().enumerate() {
        send(lab, app.name, machine).with_context(|| format!("move {}", number + 1))?;
        let screen = Screen::of(lab, machine);
        screen.focus(&title)?;
        answer(lab, app, &screen, number + 1, &host, &mut said)
            .with_context(|| format!("after move {}", number + 1))?;
    }
    Ok(())
}

fn answer(
    lab: &LabGuard,
    app: &App,
    screen: &Screen<'_>,
    number: usize,
    host: &Path,
    said: &mut String,
) -> Result<()> {
    let picture = |name: &str| lab.folder().path().join(format!("{}-{name}.png", app.name));
    let (before, after) = (picture("before"), picture("after"));
    let press = || -> Result<()> {
        let number = number.to_string();
        let texts: Vec<Option<String>> = app
            .after
            .iter()
            .map(|key| if let Text(text) = key { Some(text.replace('#', &number)) } else { None })
            .collect();
        let keys: Vec<Key<'_>> =
            app.after.iter().zip(&texts).map(|(key, text)| text.as_deref().map_or(*key, Text)).collect();
        screen.press(&keys)
    };
    match app.proof {
        Proof::File(wanted) => {
            // A `#` is what was typed after every move so far.
            said.push_str(if said.is_empty() { "" } else { " " });
            said.push_str(&number.to_string());
            let wanted = wanted.replace('#', said);
            press()?;
            let file = host.join(app.name);
            wait::for_content(&file, Limit::seconds(30), |text| text.trim_end() == wanted.trim_end())
                .with_context(|| {
                    format!(
                        "{} holds {:?}, not {wanted:?}",
                        file.display(),
                        fs::read_to_string(&file).unwrap_or_default()
                    )
                })
        }
        Proof::Picture => {
            screen.shot(&before)?;
            press()?;
            screen.shot(&after)?;
            ensure!(fs::read(&before)? != fs::read(&after)?, "the keys changed nothing");
            Ok(())
        }
        Proof::Moving => screen.moves(),
    }
}
