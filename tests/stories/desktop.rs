//! A person at a machine's screen: finds windows, types, looks. Everything goes through the machine's
//! own X server, as a real keyboard's keys would.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::wait::{self, Limit};

use crate::reader::Seen;

/// Seconds that a window or a picture may take to come.
const PATIENCE: u64 = 20;

/// What a window looks like.
#[derive(Debug, PartialEq)]
pub struct Looks {
    /// Its width and height.
    pub size: (i32, i32),
    /// What is on the screen of it.
    pub pixels: Vec<[u8; 3]>,
}

/// The screen of one machine.
#[derive(Debug, Clone, Copy)]
pub struct Screen<'a> {
    lab: &'a LabGuard,
    machine: &'a str,
}

impl<'a> Screen<'a> {
    /// The screen of this machine.
    pub fn of(lab: &'a LabGuard, machine: &'a str) -> Self {
        Self { lab, machine }
    }

    /// Waits for a window whose title matches, and gives it the keyboard.
    pub fn focus(&self, title: &str) -> Result<()> {
        let window = self.window(title)?;
        self.xdotool(&["windowactivate", "--sync", &window]).map(drop)
    }

    /// Waits for a window whose title matches, without touching it.
    pub fn comes(&self, title: &str) -> Result<()> {
        self.window(title).map(drop)
    }

    /// Waits until the window in front, which has the keyboard, is one whose title holds these words.
    pub fn in_front(&self, words: &str) -> Result<()> {
        self.step(&["front", words]).map(drop)
    }

    /// Has the machine's programs tell what they show, for [`see`](Self::see) and what follows.
    pub fn readable(&self) -> Result<()> {
        self.step(&["readable"]).map(drop)
    }

    /// Waits until Roam's window shows an element of this name (`*`: any words, `?`: one character).
    pub fn see(&self, name: &str) -> Result<Seen> {
        self.look(&["name", "--", name])
    }

    /// Waits until Roam's window shows none of this name.
    pub fn gone(&self, name: &str) -> Result<()> {
        self.look(&["gone", "--", name]).map(drop)
    }

    /// Waits until another element than the one of this name has the keyboard; its name.
    pub fn focused(&self, not: &str) -> Result<String> {
        Ok(self.look(&["focus", "--", not])?.name)
    }

    /// Where Roam's window is, without its frame: left, top, width and height.
    pub fn roam_window(&self) -> Result<(i32, i32, i32, i32)> {
        Ok(self.look(&["window"])?.place)
    }

    /// Moves the pointer to where it touches nothing.
    pub fn pointer_away(&self) -> Result<()> {
        self.lab.run(self.machine, &["xdotool", "mousemove", "2", "700"], PATIENCE).map(drop)
    }

    /// Clicks on an element of Roam's window.
    pub fn click(&self, name: &str) -> Result<()> {
        let (left, top, width, height) = self.see(name)?.place;
        self.click_at(left + width / 2, top + height / 2, "1")
    }

    /// Clicks somewhere with a button of the mouse.
    pub fn click_at(&self, x: i32, y: i32, button: &str) -> Result<()> {
        let (x, y) = (x.to_string(), y.to_string());
        // Two commands, as with a hand: what is below the pointer has seen it come before it is pressed.
        self.lab.run(self.machine, &["xdotool", "mousemove", &x, &y], PATIENCE)?;
        self.lab.run(self.machine, &["xdotool", "click", button], PATIENCE).map(drop)
    }

    /// Waits until a panel has an icon in its tray.
    pub fn wait_for_tray(&self) -> Result<()> {
        self.step(&["tray"]).map(drop)
    }

    fn look(&self, wanted: &[&str]) -> Result<Seen> {
        let limit = PATIENCE.to_string();
        let mut argv = vec!["look", "--seconds", &limit];
        argv.extend(wanted);
        let said = self.step(&argv)?;
        let (place, name) = said.split_once('\n').context("a place and a name")?;
        let numbers: Vec<i32> = place.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        let [left, top, width, height] = numbers[..] else { bail!("no place: {place}") };
        Ok(Seen { name: name.trim_end_matches('\n').to_owned(), place: (left, top, width, height) })
    }

    fn step(&self, arguments: &[&str]) -> Result<String> {
        let program = std::env::current_exe()?;
        let mut argv = vec![program.to_str().context("a path in UTF-8")?, "step"];
        argv.extend(arguments);
        self.lab.run(self.machine, &argv, PATIENCE + 10)
    }

    /// Types.
    pub fn press(&self, keys: &[Key<'_>]) -> Result<()> {
        for key in keys {
            match key {
                Key::Text(text) => self.xdotool(&["type", "--delay", "12", text])?,
                Key::Named(name) => self.xdotool(&["key", "--delay", "12", name])?,
                Key::Click(title, x, y) => {
                    let window = self.window(title)?;
                    let (x, y) = (x.to_string(), y.to_string());
                    self.xdotool(&["mousemove", "--sync", "--window", &window, &x, &y, "click", "1"])?;
                    // Out of the way: what is under the pointer looks different.
                    self.xdotool(&["mousemove", "0", "0"])?
                }
            };
        }
        Ok(())
    }

    /// What a window looks like, once the picture rests.
    pub fn looks(&self, title: &str) -> Result<Looks> {
        let window = self.window(title)?;
        // Not xdotool's, which counts the frame twice.
        let said = self.step(&["place", &window])?;
        let numbers: Vec<i32> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        let [x, y, width, height] = numbers[..] else { bail!("no place: {said}") };
        let file = self.lab.folder().path().join("looks.png");
        self.shot(&file)?;
        let mut picture = png::Decoder::new(BufReader::new(File::open(&file)?)).read_info()?;
        let mut bytes = vec![0; picture.output_buffer_size().context("a picture has a size")?];
        let frame = picture.next_frame(&mut bytes)?;
        ensure!(frame.color_type == png::ColorType::Rgb, "not a picture of this screen");
        let on_screen = |from: i32, length: i32, most: u32| {
            let at =
                |place: i32| place.clamp(0, i32::try_from(most).unwrap_or(i32::MAX)).unsigned_abs() as usize;
            at(from)..at(from + length)
        };
        let (across, down) = (on_screen(x, width, frame.width), on_screen(y, height, frame.height));
        let rows = bytes.chunks_exact(frame.line_size).skip(down.start).take(down.len());
        let pixels = rows.flat_map(|row| row.as_chunks().0[across.clone()].iter().copied()).collect();
        Ok(Looks { size: (width, height), pixels })
    }

    /// Waits for a window whose title matches, and returns its number.
    fn window(&self, title: &str) -> Result<String> {
        let limit = Limit::seconds(PATIENCE);
        loop {
            let seen = self.xdotool(&["search", "--sync", "--onlyvisible", "--name", title]);
            // A window that goes while it is looked at ends the search.
            let raced = seen.as_ref().is_err_and(|error| format!("{error:#}").contains("BadWindow"));
            if raced && limit.left(title).is_ok() {
                continue;
            }
            let seen = seen.with_context(|| format!("no window called {title:?}"))?;
            return Ok(seen.lines().last().context("xdotool printed no window")?.to_owned());
        }
    }

    fn xdotool(&self, arguments: &[&str]) -> Result<String> {
        let mut argv = vec!["xdotool"];
        argv.extend(arguments);
        self.lab.run(self.machine, &argv, PATIENCE)
    }

    /// Waits until the picture rests.
    pub fn settle(&self) -> Result<()> {
        let program = std::env::current_exe()?.with_file_name("roam-lab");
        let program = program.to_str().context("a path in UTF-8")?;
        self.lab.run(self.machine, &[program, "internal", "settle"], PATIENCE).map(drop)
    }

    /// Makes sure that the picture does not rest.
    pub fn moves(&self) -> Result<()> {
        let program = std::env::current_exe()?.with_file_name("roam-lab");
        let program = program.to_str().context("a path in UTF-8")?;
        let mut settle = self.lab.on(self.machine, &["timeout", "3", program, "internal", "settle"])?;
        let ended = wait::output(&mut settle, Limit::seconds(PATIENCE))?;
        // 124: still drawing after three seconds.
        ensure!(ended.status.code() == Some(124), "the picture rests");
        Ok(())
    }

    /// Waits until the picture rests and writes it down.
    pub fn shot(&self, file: &Path) -> Result<()> {
        self.settle()?;
        self.photograph(file)
    }

    /// Writes the picture down as it is.
    pub fn photograph(&self, file: &Path) -> Result<()> {
        let file = file.to_str().context("a path in UTF-8")?;
        wait::success(&mut self.lab.lab(&["shot", self.machine, file]), Limit::seconds(PATIENCE)).map(drop)
    }
}

/// What a person presses.
#[derive(Debug, Clone, Copy)]
pub enum Key<'a> {
    /// Letters, as they are.
    Text(&'a str),
    /// A key or a chord, as xdotool names it.
    Named(&'a str),
    /// The mouse's first button, in the window of this title, so many pixels from its left and top.
    Click(&'a str, i32, i32),
}
