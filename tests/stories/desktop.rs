//! A person at a machine's screen: finds windows, types, looks. Everything goes through the machine's
//! own X server, as a real keyboard's keys would.

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
        let seen = self
            .lab
            .run(self.machine, &["xdotool", "search", "--sync", "--onlyvisible", "--name", title], PATIENCE)
            .with_context(|| format!("no window called {title:?}"))?;
        let window = seen.lines().last().context("xdotool printed no window")?.to_owned();
        self.lab.run(self.machine, &["xdotool", "windowactivate", "--sync", &window], PATIENCE).map(drop)
    }

    /// Types.
    pub fn press(&self, keys: &[Key<'_>]) -> Result<()> {
        for key in keys {
            let argv: Vec<&str> = match key {
                Key::Text(text) => vec!["xdotool", "type", "--delay", "12", text],
                Key::Named(name) => vec!["xdotool", "key", "--delay", "12", name],
            };
            self.lab.run(self.machine, &argv, PATIENCE)?;
        }
        Ok(())
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
}
