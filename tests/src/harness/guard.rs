//! A lab for one test. `roam-lab up --hold` brings it up and takes it down when its standard input
//! ends; that pipe's other end is ours alone, so the lab goes when the test does, however it goes.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};

use super::wait::{self, Limit};
use crate::lab::enter;
use crate::lab::state::{Folder, Machine, machine};

/// A lab that stands as long as this value.
#[derive(Debug)]
pub struct LabGuard {
    folder: Folder,
    program: PathBuf,
    holder: Option<Child>,
    kept: bool,
    step: u64,
}

impl LabGuard {
    /// Brings up machines in a new folder; `bare` ones have no agents. With `ROAM_LAB_DIR` set that
    /// folder is used, and kept up at the end for a person to look at if `ROAM_LAB_KEEP` is set.
    pub fn up(names: &[&str], bare: bool) -> Result<Self> {
        Self::of(names, bare, None)
    }

    /// The same with virtual machines, of these kernels and CPU models in turn, as `roam-lab up --vm=`
    /// takes them.
    pub fn virtual_machines(names: &[&str], hardware: &str) -> Result<Self> {
        Self::of(names, false, Some(hardware))
    }

    fn of(names: &[&str], bare: bool, hardware: Option<&str>) -> Result<Self> {
        let program = std::env::current_exe()?.parent().context("a program has a folder")?.join("roam-lab");
        let path = std::env::var_os("ROAM_LAB_DIR").map_or_else(
            || std::env::temp_dir().join(format!("roam-lab-{:08x}", rand::random::<u32>())),
            PathBuf::from,
        );
        let folder = Folder::at(&path)?;
        let kept = std::env::var_os("ROAM_LAB_KEEP").is_some();
        let mut command = Command::new(&program);
        command.arg("up").args(names).env("ROAM_LAB_DIR", &path);
        if bare {
            command.arg("--bare");
        }
        if let Some(hardware) = hardware {
            command.arg(format!("--vm={hardware}"));
        }
        // Emulation is ten times slower, and waiting longer costs nothing where all goes well.
        let step = if hardware.is_some() { 300 } else { 60 };
        if kept {
            wait::success(&mut command, Limit::seconds(2 * step))?;
            return Ok(Self { folder, program, holder: None, kept, step });
        }
        // In a group of its own: Ctrl+C at the test must not stop it in the middle of its work.
        let mut holder = command
            .arg("--hold")
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("{} can't be started", program.display()))?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().context("stdout was piped")?).read_line(&mut line)?;
        let guard = Self { folder, program, holder: Some(holder), kept, step };
        if line.trim() != "up" {
            bail!("the lab did not come up (see above)");
        }
        Ok(guard)
    }

    /// Seconds that a step may take on these machines.
    #[must_use]
    pub fn step(&self) -> u64 {
        self.step
    }

    /// The lab's folder.
    #[must_use]
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// A machine as it stands now.
    pub fn machine(&self, name: &str) -> Result<Machine> {
        machine(&self.folder.read()?, name).cloned()
    }

    /// A `roam-lab` command on this lab.
    #[must_use]
    pub fn lab(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("ROAM_LAB_DIR", self.folder.path()).stdin(Stdio::null());
        command
    }

    /// A command on a machine, as its user; arguments may be added.
    pub fn on(&self, name: &str, argv: &[&str]) -> Result<Command> {
        let (program, arguments) = argv.split_first().context("a command has a program")?;
        let mut command = enter::as_user(&self.machine(name)?, program);
        command.args(arguments).stdin(Stdio::null());
        Ok(command)
    }

    /// Runs a command on a machine; an exit code other than 0 is an error.
    pub fn run(&self, name: &str, argv: &[&str], seconds: u64) -> Result<String> {
        wait::success(&mut self.on(name, argv)?, Limit::seconds(seconds))
            .with_context(|| format!("on {name}"))
    }

    /// A new folder in the shared home: its path on the host, and as the machines see it.
    pub fn folder_in_home(&self, name: &str) -> Result<(PathBuf, PathBuf)> {
        let host = self.folder.home().join(name);
        fs::create_dir_all(&host)?;
        std::os::unix::fs::chown(
            &host,
            Some(crate::lab::state::HOME_OWNER),
            Some(crate::lab::state::HOME_OWNER),
        )?;
        Ok((host, Path::new("/home").join(crate::lab::state::USER).join(name)))
    }

    /// Takes the lab down now and says so if anything is left.
    pub fn down(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.kept {
            return Ok(());
        }
        let Some(mut holder) = self.holder.take() else { return Ok(()) };
        drop(holder.stdin.take());
        let status = wait::for_end(&mut holder, "`roam-lab` takes the lab down", Limit::seconds(60))?;
        if !status.success() {
            bail!("the lab was not taken down: {status}");
        }
        Ok(())
    }
}

impl Drop for LabGuard {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}
