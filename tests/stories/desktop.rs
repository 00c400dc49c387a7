//! A person at a machine's screen: finds windows, types, looks. Everything goes through the machine's
//! own X server, as a real keyboard's keys would.

use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use roam_tests::harness::guard::LabGuard;
use roam_tests::harness::wait::{self, Limit};

/// Seconds that a window or a picture may take to come.
const PATIENCE: u64 = 30;

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

    /// What a window looks like, once the picture rests: its size, and its pixels.
    pub fn looks(&self, title: &str) -> Result<(u32, u32, Vec<u8>)> {
        let window = self.window(title)?;
        let said = self.xdotool(&["getwindowgeometry", "--shell", &window])?;
        let number = |name: &str| -> Result<u32> {
            let line = said.lines().find_map(|line| line.strip_prefix(name));
            line.context("a geometry")?.parse().context("a window on the screen")
        };
        let (x, y, width, height) = (number("X=")?, number("Y=")?, number("WIDTH=")?, number("HEIGHT=")?);
        let file = self.lab.folder().path().join("looks.png");
        self.shot(&file)?;
        let mut picture = png::Decoder::new(BufReader::new(File::open(&file)?)).read_info()?;
        let mut bytes = vec![0; picture.output_buffer_size().context("a picture has a size")?];
        let frame = picture.next_frame(&mut bytes)?;
        ensure!(x + width <= frame.width && y + height <= frame.height, "{title:?} is not all on the screen");
        let pixel = frame.line_size / frame.width as usize;
        let rows = bytes.chunks_exact(frame.line_size).skip(y as usize).take(height as usize);
        let part = x as usize * pixel..(x + width) as usize * pixel;
        Ok((width, height, rows.flat_map(|row| &row[part.clone()]).copied().collect()))
    }

    /// Waits for a window whose title matches, and returns its number.
    fn window(&self, title: &str) -> Result<String> {
        let seen = self
            .xdotool(&["search", "--sync", "--onlyvisible", "--name", title])
            .with_context(|| format!("no window called {title:?}"))?;
        Ok(seen.lines().last().context("xdotool printed no window")?.to_owned())
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
